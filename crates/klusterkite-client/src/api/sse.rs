//! Server-sent events (HTML standard 9.2.6) without IO: lines in, events out.

/// Longest line that is read, in bytes: an event has some hundred.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;

/// Most data of one event that is kept, in bytes; what comes after it is dropped with the event.
const DATA_BYTES_MAX: usize = 4 << 20;

/// One event of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) data: String,
}

/// Puts lines together.
#[derive(Debug, Default)]
pub(super) struct Parser {
    id: String,
    data: String,
    has_data: bool,
    is_too_long: bool,
}

impl Parser {
    /// Takes a line without its end; an empty one ends an event.
    pub(super) fn line(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            return self.end();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" if self.data.len() + value.len() > DATA_BYTES_MAX => self.is_too_long = true,
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.has_data = true;
                self.data.push_str(value);
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            // Comments keep the connection alive; the kind stands in the data.
            _ => {}
        }
        None
    }

    fn end(&mut self) -> Option<Message> {
        let data = std::mem::take(&mut self.data);
        let has_data = std::mem::take(&mut self.has_data);
        let is_too_long = std::mem::take(&mut self.is_too_long);
        (has_data && !is_too_long).then(|| Message {
            id: self.id.clone(),
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<(String, String)> {
        let mut parser = Parser::default();
        let messages = text.lines().filter_map(|line| parser.line(line));
        messages.map(|message| (message.id, message.data)).collect()
    }

    fn pair(id: &str, data: &str) -> (String, String) {
        (id.to_owned(), data.to_owned())
    }

    #[test]
    fn events_are_put_together_as_the_standard_says() {
        let text =
            ": hello\nid: 1\nevent: x\ndata: a\ndata:b\n\n: ping\n\nid:2\ndata\n\ndata: no end";
        assert_eq!(parse(text), [pair("1", "a\nb"), pair("2", "")]);
    }

    #[test]
    fn an_event_without_an_id_of_its_own_keeps_the_last_one() {
        assert_eq!(
            parse("id: 7\ndata: a\n\ndata: b\n\n"),
            [pair("7", "a"), pair("7", "b")]
        );
    }

    #[test]
    fn an_event_that_is_too_long_is_dropped_and_the_next_one_is_not() {
        let long = "x".repeat(LINE_BYTES_MAX);
        let mut text = format!("data: {long}\n").repeat(5);
        text.push_str("\ndata: next\n\n");
        assert_eq!(parse(&text), [pair("", "next")]);
    }
}
