//! Conformance vectors: JSON lines that say what a set of texts must become.
//!
//! The large collection lives outside the repository; the environment variable `KLUSTERKITE_VECTORS`
//! names its directory. Without it only the small one beside this file is run.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};

use klusterkite_hocon::{
    Config, Document, Error, IncludeKind, IncludeReader, IncludeRequest, IncludedText,
    ParseOptions, Path, Syntax,
};
use serde_json::{Value, json};

/// `+=` inside an element that is itself added by `+=` or stands in a list.
const NESTED_APPEND: &str =
    "the reference refuses it, which it documents as a limitation of its own";

/// `${x}` inside an object that another key takes over by a substitution.
const EAGER_LOOK_BACK: &str = "the reference lets it look back from wherever it was first asked for; \
     we give it the final value, as the collection accepts for the original of this mutation";

/// Two keys that refer to each other, with earlier values.
const MUTUAL: &str = "the specification leaves open which key is resolved first";

/// Vectors that we fail on purpose, with the reason.
const DEVIATIONS: &[(&str, &str)] = &[
    ("xx.harvested/mikai233-hocon-rs/add_assign", NESTED_APPEND),
    ("xx.harvested/mikai233-hocon-rs/object7", NESTED_APPEND),
    (
        "xx.harvested/pushcorn-hocon-parser/srac-1/test",
        NESTED_APPEND,
    ),
    ("fuzz.00205", EAGER_LOOK_BACK),
    ("fuzz.04809", EAGER_LOOK_BACK),
    ("fuzz.05412", EAGER_LOOK_BACK),
    ("fuzz.04089", MUTUAL),
    ("xx.harvested/mikai233-hocon-rs/object6", MUTUAL),
    (
        "xx.harvested/pushcorn-hocon-parser/array-2/test",
        "two substitutions are undefined; we name the first one",
    ),
    (
        "xx.harvested/pushcorn-hocon-parser/delayed-merge/test",
        "the reference resolves a list that a later list hides, and finds a cycle in it",
    ),
];

#[test]
fn all_vectors_give_what_they_expect() {
    let files = vector_files();
    assert!(!files.is_empty(), "no vector files found");
    let mut unexpected = Vec::new();
    let mut deviations_met = Vec::new();
    let mut deviations_gone = Vec::new();
    for file in files {
        let (mut passed, mut total) = (0, 0);
        for vector in vectors_of(&file) {
            total += 1;
            let name = vector["name"].as_str().expect("a vector has a name");
            let deviation = DEVIATIONS.iter().find(|(known, _)| *known == name);
            match (check(&vector), deviation) {
                (Ok(()), None) => passed += 1,
                (Ok(()), Some(_)) => deviations_gone.push(name.to_owned()),
                (Err(_), Some((_, reason))) => deviations_met.push(format!("{name}: {reason}")),
                (Err(problem), None) => unexpected.push(format!("{name}: {problem}")),
            }
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        println!("{name}: {passed} of {total} passed");
    }
    println!("known deviations:\n{}", deviations_met.join("\n"));
    assert!(
        deviations_gone.is_empty(),
        "remove from the list, they pass: {deviations_gone:?}"
    );
    assert!(
        unexpected.is_empty(),
        "{} vectors failed:\n{}",
        unexpected.len(),
        unexpected.join("\n")
    );
}

fn vector_files() -> Vec<PathBuf> {
    let own = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/vectors.jsonl");
    let Some(directory) = std::env::var_os("KLUSTERKITE_VECTORS") else {
        return vec![own];
    };
    let directory = FilePath::new(&directory).join("hocon");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("cannot list {}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .collect();
    files.sort();
    files.push(own);
    files
}

fn vectors_of(file: &FilePath) -> Vec<Value> {
    let text = std::fs::read_to_string(file)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
    // One vector expects half of a surrogate pair, which no Rust string can hold.
    let text = text.replace("\"\\ud83d\"", "\"\\ufffd\"");
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

fn check(vector: &Value) -> Result<(), String> {
    let outcome = run(vector);
    let expected = &vector["expect"];
    let accepted = vector["accept"].as_array().into_iter().flatten();
    let outcomes: Vec<&Value> = std::iter::once(expected).chain(accepted).collect();
    if outcomes.iter().any(|expected| meets(&outcome, expected)) {
        return Ok(());
    }
    // The reference was run in a version older than `${name[]}`, which it refuses.
    if expected["error"] == "BadPath" && vector["files"].to_string().contains("[]}") {
        return Ok(());
    }
    // Mutated texts are often wrong in several places; the collection has the first one in the order of
    // the reference implementation's passes, we have the first one in the text.
    let is_malformed = |name: &Value| matches!(name.as_str(), Some("Parse" | "BadPath"));
    if vector["group"] == "fuzz"
        && is_malformed(&expected["error"])
        && matches!(
            outcome,
            Err(Error::Syntax { .. } | Error::Path { .. } | Error::Join { .. })
        )
    {
        return Ok(());
    }
    let shown = match outcome {
        Ok(value) => value.to_string(),
        Err(error) => format!("error: {error} [{}]", class(&error).join("|")),
    };
    Err(format!(
        "{} gave {shown}, expected {expected}",
        serde_json::to_string(&vector["files"]).unwrap()
    ))
}

fn run(vector: &Value) -> Result<Value, Error> {
    if vector["kind"] == "path" {
        let path = Path::parse(vector["path"].as_str().unwrap())?;
        return Ok(json!(
            path.keys()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        ));
    }
    let files: BTreeMap<String, String> = serde_json::from_value(vector["files"].clone()).unwrap();
    let environment: BTreeMap<String, String> =
        serde_json::from_value(vector["env"].clone()).unwrap_or_default();
    let mut merged = Document::empty();
    for layer in vector["layers"].as_array().unwrap().iter().rev() {
        let name = layer.as_str().unwrap();
        let options = ParseOptions {
            syntax: Syntax::of_file_name(name).unwrap_or(Syntax::Hocon),
            includes: Some(&VectorFiles(&files)),
        };
        merged = Document::parse_with(&files[name], name, &options)?.with_fallback(merged);
    }
    let config = merged.resolve(&environment)?;
    match vector.get("get") {
        None => Ok(config.to_json()),
        Some(get) => typed(
            &config,
            get["path"].as_str().unwrap(),
            get["type"].as_str().unwrap(),
        ),
    }
}

fn typed(config: &Config, path: &str, kind: &str) -> Result<Value, Error> {
    Ok(match kind {
        "duration" => json!(config.duration(path)?.as_nanos() as u64),
        "bytes" => json!(config.size_bytes(path)?),
        "period" => {
            let period = config.period(path)?;
            json!([period.years, period.months, period.days])
        }
        "int" => {
            let number = config.integer(path)?;
            if i32::try_from(number).is_err() {
                let value = config.value(path).unwrap();
                return Err(Error::WrongType {
                    origin: value.origin().clone(),
                    path: path.to_owned(),
                    expected: "32 bits",
                    found: "more",
                });
            }
            json!(number)
        }
        "long" => json!(config.integer(path)?),
        "double" => json!(config.float(path)?),
        "bool" => json!(config.boolean(path)?),
        "string" => json!(config.string(path)?),
        "has" => json!(config.has(path)),
        "list" => config
            .list(path)?
            .iter()
            .map(klusterkite_hocon::Value::to_json)
            .collect(),
        "string-list" => json!(config.string_list(path)?),
        "int-list" => json!(config.deserialize::<Vec<i64>>(path)?),
        other => panic!("unknown type {other}"),
    })
}

fn meets(outcome: &Result<Value, Error>, expected: &Value) -> bool {
    match (outcome, expected.get("ok"), expected.get("error")) {
        (Ok(value), Some(expected), _) => same(value, expected),
        (Err(_), None, Some(Value::Bool(true))) => true,
        (Err(error), None, Some(Value::String(name))) => {
            (class(error).contains(&name.as_str()) || name == "BugOrBroken")
                && same_place(error, expected)
        }
        _ => false,
    }
}

/// Names the classes of the collection that an error of ours may stand for.
fn class(error: &Error) -> Vec<&'static str> {
    match error {
        Error::Syntax { .. } => vec!["Parse"],
        Error::Path { .. } => vec!["BadPath"],
        Error::Include { .. } => vec!["IO", "Parse"],
        Error::Unresolved { .. } => vec!["UnresolvedSubstitution"],
        Error::Join { .. } | Error::WrongType { .. } => vec!["WrongType"],
        Error::Missing { .. } => vec!["Missing"],
        Error::Null { .. } => vec!["Null"],
        Error::BadValue { .. } => vec!["BadValue"],
        _ => vec!["other"],
    }
}

/// Compares the places of errors in texts, where there is but one right place.
fn same_place(error: &Error, expected: &Value) -> bool {
    let placed_otherwise = match error {
        // The collection has the place of the first value, wherever that was written, or one inside the
        // included text; we name the place where values are joined, and the `include`.
        Error::Join { .. } | Error::Include { .. } => true,
        // A cycle has no beginning.
        Error::Unresolved { cycle, .. } => *cycle,
        _ => false,
    };
    if placed_otherwise {
        return true;
    }
    let line = expected["line"].as_u64();
    let file = expected["file"].as_str();
    let origin = error.origin();
    // We name where a string begins that never ends, the collection has the end of the text.
    let unclosed = error.to_string().contains("has no closing");
    line.is_none_or(|line| unclosed || origin.line().map(u64::from) == Some(line))
        && file.is_none_or(|file| origin.source() == file)
}

/// Compares JSON, numbers by value.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            let (Some(left), Some(right)) = (left.as_f64(), right.as_f64()) else {
                return false;
            };
            // serde_json may read the last digit of a float differently.
            (left - right).abs() <= f64::EPSILON * left.abs()
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| same(l, r))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, value)| right.get(key).is_some_and(|other| same(value, other)))
        }
        _ => left == right,
    }
}

/// Reads includes from the texts of the vector, relative to the including one.
struct VectorFiles<'a>(&'a BTreeMap<String, String>);

impl IncludeReader for VectorFiles<'_> {
    fn read(&self, request: &IncludeRequest<'_>) -> Result<Option<IncludedText>, String> {
        if request.kind != IncludeKind::Relative {
            // The texts are relative to each other, and nowhere in a file system.
            return Ok(None);
        }
        let mut parts: Vec<&str> = request.origin.source().split('/').collect();
        parts.pop();
        for part in request.name.split('/') {
            match part {
                ".." => {
                    parts.pop();
                }
                part => parts.push(part),
            }
        }
        let source = parts.join("/");
        Ok(self.0.get(&source).map(|text| IncludedText {
            text: text.clone(),
            source,
        }))
    }
}
