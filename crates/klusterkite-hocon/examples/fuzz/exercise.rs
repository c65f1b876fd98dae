//! What every input has to stand: all that the crate does with texts of others.

use klusterkite_hocon::{
    Config, Document, Error, IncludeReader, IncludeRequest, IncludedText, ParseOptions, Path,
    Syntax, Value, ValueKind, units,
};

use crate::mutate::Input;

/// How far an input came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    Refused,
    Parsed,
    Resolved,
}

/// Runs an input, and tells what does not hold.
pub(crate) fn exercise(input: &Input) -> Result<Reached, String> {
    for text in &input.layers {
        strict_json(text)?;
        drop(parse(text, Syntax::Properties, input));
    }
    let mut merged = Document::empty();
    for text in input.layers.iter().rev() {
        let document = match parse(text, Syntax::Hocon, input) {
            Ok(document) => document,
            Err(error) => {
                places_are_true(&error, text)?;
                return Ok(Reached::Refused);
            }
        };
        drop(document.literals());
        for path in ["a", "a.b", "x.y.z"] {
            let path = Path::parse(path).map_err(|error| error.to_string())?;
            drop(document.written(&path));
        }
        merged = document.with_fallback(merged);
    }
    let Ok(config) = merged.resolve(&input.environment) else {
        return Ok(Reached::Parsed);
    };
    reads_back(&config)?;
    read_all(config.as_value());
    Ok(Reached::Resolved)
}

fn parse(text: &str, syntax: Syntax, input: &Input) -> Result<Document, Error> {
    let options = ParseOptions {
        syntax,
        includes: Some(&Included(input)),
    };
    Document::parse_with(text, "input", &options)
}

struct Included<'a>(&'a Input);

impl IncludeReader for Included<'_> {
    fn read(&self, request: &IncludeRequest<'_>) -> Result<Option<IncludedText>, String> {
        let choice = request.name.len() % (self.0.included.len() + 2);
        if choice > self.0.included.len() {
            return Err("it cannot be read".to_owned());
        }
        Ok(self.0.included.get(choice).map(|text| IncludedText {
            text: text.clone(),
            source: request.name.to_owned(),
        }))
    }
}

/// An error in the text itself names a line that is there.
fn places_are_true(error: &Error, text: &str) -> Result<(), String> {
    let origin = error.origin();
    let beyond = origin
        .line()
        .is_none_or(|line| line as usize > text.split('\n').count());
    if origin.source() == "input" && beyond {
        return Err(format!("the place of `{error}` is not in the text"));
    }
    drop(origin.excerpt(text));
    Ok(())
}

/// What is rendered, as HOCON and as JSON, is the same again.
fn reads_back(config: &Config) -> Result<(), String> {
    let rendered = config.render();
    let again = Document::parse(&rendered, "rendered")
        .and_then(|document| document.literals())
        .map_err(|error| format!("what is rendered does not parse: {error}\n{rendered}"))?;
    if again != *config {
        return Err(format!("what is rendered reads differently\n{rendered}"));
    }
    let json = config.to_json();
    let again = Document::from_json(&json, "json")
        .and_then(|document| document.literals())
        .map_err(|error| format!("its JSON cannot be read: {error}\n{json}"))?;
    if again.to_json() != json {
        return Err(format!("its JSON reads differently\n{json}"));
    }
    // It may fail, on a number that no float can hold.
    drop(config.deserialize::<serde_json::Value>(""));
    Ok(())
}

/// Reads all values as whatever they may be.
fn read_all(value: &Value) {
    match value.kind() {
        ValueKind::List(list) => list.items().iter().for_each(read_all),
        ValueKind::Object(object) => object.iter().for_each(|(_, value)| read_all(value)),
        ValueKind::Number(number) => {
            let _ = (number.as_i64(), number.as_f64());
        }
        _ => {}
    }
    if let Some(text) = value.as_text() {
        drop(units::parse_duration(text));
        drop(units::parse_period(text));
        drop(units::parse_size(text));
        drop(Path::parse(text));
    }
}

/// Strict JSON is what `serde_json` says it is.
fn strict_json(text: &str) -> Result<(), String> {
    let options = ParseOptions {
        syntax: Syntax::Json,
        includes: None,
    };
    let ours = Document::parse_with(text, "input", &options);
    let peer: Result<serde_json::Value, _> = serde_json::from_str(text);
    match (ours, peer) {
        (Ok(_), Err(error)) => {
            // It refuses what no float can hold, and byte order marks.
            let message = error.to_string();
            if !message.contains("out of range") && !text.starts_with('\u{feff}') {
                return Err(format!("accepted as JSON, serde_json says: {message}"));
            }
        }
        (Err(error), Ok(peer)) if peer.is_object() => {
            let deliberate =
                matches!(error, Error::Limit { .. }) || error.to_string().contains("duplicate key");
            if !deliberate {
                return Err(format!("refused as JSON, serde_json accepts it: {error}"));
            }
        }
        _ => {}
    }
    Ok(())
}
