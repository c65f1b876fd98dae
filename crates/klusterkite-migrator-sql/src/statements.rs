//! Looks into scripts: where their statements begin, and whether one of them would leave the transaction.
//!
//! A script that runs in a transaction is sent to the database as it is; this scanner only guards it. Scripts without a
//! transaction are run statement by statement as they are cut here.

/// One statement of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Statement<'a> {
    pub(crate) text: &'a str,
    /// Where it begins, counted from 1.
    pub(crate) line: usize,
}

/// Cuts a script at the semicolons between its statements.
///
/// Semicolons in strings, quoted names, comments, dollar quotes, parentheses, and in the bodies of triggers and SQL
/// functions (`BEGIN … END`) separate nothing.
pub(crate) fn statements(script: &str) -> Vec<Statement<'_>> {
    let mut found = Vec::new();
    let mut scanner = Scanner {
        script,
        position: 0,
    };
    let mut current = Current::default();
    while let Some(token) = scanner.next() {
        if token.kind == Kind::Semicolon && !current.is_nested() {
            current.finish(script, &mut found);
            current = Current::default();
        } else {
            current.add(script, &token);
        }
    }
    current.finish(script, &mut found);
    found
}

/// Tells why a statement cannot run inside of a transaction that belongs to somebody else.
pub(crate) fn forbidden(statement: &str) -> Option<&'static str> {
    let mut scanner = Scanner {
        script: statement,
        position: 0,
    };
    let mut words = Vec::new();
    while let Some(token) = scanner.next() {
        if token.kind == Kind::Word {
            words.push(statement[token.start..token.end].to_ascii_uppercase());
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["ROLLBACK", rest @ ..] if rest.contains(&"TO") => None,
        [
            "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT",
            ..,
        ]
        | ["PREPARE", "TRANSACTION", ..] => {
            Some("the point is one transaction already, which the script must not begin or end")
        }
        ["COPY", rest @ ..] if rest.contains(&"STDIN") => {
            Some("a script has no standard input; use INSERT")
        }
        _ => None,
    }
}

/// The statement that is being read.
#[derive(Default)]
struct Current {
    start: Option<usize>,
    end: usize,
    creates: bool,
    parentheses: usize,
    /// How many `BEGIN` and `CASE` wait for their `END`, inside of a `CREATE`.
    blocks: usize,
}

impl Current {
    fn is_nested(&self) -> bool {
        self.parentheses > 0 || self.blocks > 0
    }

    fn add(&mut self, script: &str, token: &Token) {
        let text = &script[token.start..token.end];
        let is = |word: &str| token.kind == Kind::Word && text.eq_ignore_ascii_case(word);
        if self.start.is_none() {
            self.start = Some(token.start);
            self.creates = is("CREATE");
        }
        self.end = token.end;
        match text {
            "(" => self.parentheses += 1,
            ")" => self.parentheses = self.parentheses.saturating_sub(1),
            _ if !self.creates => {}
            _ if is("BEGIN") || (self.blocks > 0 && is("CASE")) => self.blocks += 1,
            _ if is("END") => self.blocks = self.blocks.saturating_sub(1),
            _ => {}
        }
    }

    fn finish<'a>(&self, script: &'a str, found: &mut Vec<Statement<'a>>) {
        if let Some(start) = self.start {
            found.push(Statement {
                text: &script[start..self.end],
                line: line_of(script, start),
            });
        }
    }
}

/// Returns the line of a byte, counted from 1.
pub(crate) fn line_of(script: &str, position: usize) -> usize {
    let before = script.as_bytes().iter().take(position);
    before.filter(|byte| **byte == b'\n').count() + 1
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Word,
    Semicolon,
    /// A string, a quoted name or one character.
    Other,
}

struct Token {
    kind: Kind,
    start: usize,
    end: usize,
}

/// Cuts a script into tokens; whitespace and comments are none.
struct Scanner<'a> {
    script: &'a str,
    position: usize,
}

impl Scanner<'_> {
    fn next(&mut self) -> Option<Token> {
        self.skip_space();
        let start = self.position;
        let bytes = self.script.as_bytes();
        let first = *bytes.get(start)?;
        let (kind, end) = match first {
            b';' => (Kind::Semicolon, start + 1),
            b'\'' | b'"' | b'`' => (Kind::Other, self.quoted(start, first, false)),
            b'E' | b'e' if bytes.get(start + 1) == Some(&b'\'') => {
                (Kind::Other, self.quoted(start + 1, b'\'', true))
            }
            b'$' => (Kind::Other, self.dollar_quoted(start)),
            first if is_word(first) => {
                let length = bytes[start..].iter().take_while(|byte| is_word(**byte));
                (Kind::Word, start + length.count())
            }
            _ => (Kind::Other, start + 1),
        };
        self.position = end;
        Some(Token { kind, start, end })
    }

    fn rest(&self) -> &[u8] {
        &self.script.as_bytes()[self.position..]
    }

    fn skip_space(&mut self) {
        loop {
            let rest = self.rest();
            if rest.starts_with(b"--") {
                let length = rest.iter().position(|byte| *byte == b'\n');
                self.position += length.unwrap_or(rest.len());
            } else if rest.starts_with(b"/*") {
                self.position += comment_length(rest);
            } else if rest.first().is_some_and(u8::is_ascii_whitespace) {
                self.position += 1;
            } else {
                return;
            }
        }
    }

    /// Returns the end of a string or quoted name; a doubled quote is one of its characters.
    fn quoted(&self, start: usize, quote: u8, escapes: bool) -> usize {
        let bytes = self.script.as_bytes();
        let mut position = start + 1;
        while let Some(byte) = bytes.get(position) {
            position += 1;
            if escapes && *byte == b'\\' {
                position += 1;
            } else if *byte == quote {
                if bytes.get(position) != Some(&quote) {
                    return position;
                }
                position += 1;
            }
        }
        bytes.len()
    }

    /// Returns the end of `$tag$ … $tag$`, or of a lone `$`.
    fn dollar_quoted(&self, start: usize) -> usize {
        let rest = &self.script[start..];
        let tag = rest[1..].find('$').map(|end| &rest[..end + 2]);
        let is_tag = |tag: &&str| {
            let inner = &tag.as_bytes()[1..tag.len() - 1];
            inner.iter().all(|byte| is_word(*byte))
                && !inner.first().is_some_and(u8::is_ascii_digit)
        };
        let Some(tag) = tag.filter(is_tag) else {
            return start + 1;
        };
        let body = start + tag.len();
        let end = self.script[body..].find(tag);
        end.map_or(self.script.len(), |end| body + end + tag.len())
    }
}

/// Returns the length of a comment `/* … */` with the comments inside of it.
fn comment_length(text: &[u8]) -> usize {
    let mut depth = 0;
    let mut position = 0;
    while position < text.len() {
        if text[position..].starts_with(b"/*") {
            depth += 1;
            position += 2;
        } else if text[position..].starts_with(b"*/") {
            depth -= 1;
            position += 2;
            if depth == 0 {
                return position;
            }
        } else {
            position += 1;
        }
    }
    text.len()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_separate_only_statements() {
        for (script, expected) in [
            ("", vec![]),
            (" ; ;\n-- nothing; at all\n/* ; /* ; */ */", vec![]),
            ("A;B", vec!["A", "B"]),
            ("A ';' ; B \";\" ;", vec!["A ';'", "B \";\""]),
            ("A 'it''s;' ; B", vec!["A 'it''s;'", "B"]),
            (r"A E'\';' ; B", vec![r"A E'\';'", "B"]),
            ("A $$ ; $$ ; B", vec!["A $$ ; $$", "B"]),
            ("A $f$ ; $$ ; $f$ ; B $1", vec!["A $f$ ; $$ ; $f$", "B $1"]),
            (
                "CREATE RULE r AS ON x DO (A; B); C",
                vec!["CREATE RULE r AS ON x DO (A; B)", "C"],
            ),
            (
                "CREATE TRIGGER t BEGIN A; CASE 1 END; B; END; C",
                vec!["CREATE TRIGGER t BEGIN A; CASE 1 END; B; END", "C"],
            ),
            ("A 'open ; B", vec!["A 'open ; B"]),
            ("A $$ open ; B", vec!["A $$ open ; B"]),
            ("ä; ö", vec!["ä", "ö"]),
        ] {
            let found = statements(script);
            let texts: Vec<&str> = found.iter().map(|statement| statement.text).collect();
            assert_eq!(texts, expected, "{script}");
        }
        let found = statements("\n-- x\nA;\n\n  B\n");
        let lines: Vec<usize> = found.iter().map(|statement| statement.line).collect();
        assert_eq!(lines, [3, 5]);
    }

    #[test]
    fn statements_that_leave_the_transaction_are_known() {
        for (statement, is_forbidden) in [
            ("COMMIT", true),
            ("begin", true),
            ("BEGIN TRANSACTION", true),
            ("start transaction", true),
            ("END", true),
            ("ROLLBACK", true),
            ("/* x */ Abort", true),
            ("PREPARE TRANSACTION 'x'", true),
            ("COPY t (a) FROM STDIN", true),
            ("COPY t FROM '/f'", false),
            ("ROLLBACK TO SAVEPOINT s", false),
            ("ROLLBACK TRANSACTION TO s", false),
            ("SAVEPOINT s", false),
            ("PREPARE q AS SELECT 1", false),
            ("CREATE TRIGGER t BEGIN A; END", false),
            ("INSERT INTO t VALUES ('COMMIT')", false),
        ] {
            assert_eq!(forbidden(statement).is_some(), is_forbidden, "{statement}");
        }
    }

    #[test]
    fn no_text_breaks_the_scanner() {
        for piece in [
            "'",
            "\"",
            "$",
            "$a$",
            "/*",
            "--",
            "E'\\",
            "ä$",
            "(",
            ";",
            "CREATE BEGIN (",
        ] {
            for count in [1, 2, 3, 1000] {
                let _ = statements(&piece.repeat(count));
            }
        }
    }
}
