//! What the mutations start from: the texts of the crate's own tests and, when `KLUSTERKITE_VECTORS` names
//! their directory, those of the conformance vectors.

use std::path::Path;
use std::{env, fs};

use serde_json::Value;

/// Sources whose string literals are taken.
const TESTS: [&str; 4] = [
    include_str!("../../tests/it/texts.rs"),
    include_str!("../../tests/it/configs.rs"),
    include_str!("../../tests/it/limits.rs"),
    include_str!("../../tests/it/explaining.rs"),
];

const VECTORS: &str = include_str!("../../tests/it/vectors.jsonl");

/// Longest text that is taken, in bytes: mutations of short texts hit more often.
const TEXT_BYTES_MAX: usize = 4096;

/// Returns the texts in a stable order, each once.
pub(crate) fn texts() -> Result<Vec<String>, String> {
    let mut texts: Vec<String> = TESTS.into_iter().flat_map(literals).collect();
    add_vectors(VECTORS, &mut texts)?;
    if let Some(directory) = env::var_os("KLUSTERKITE_VECTORS") {
        add_directory(&Path::new(&directory).join("hocon"), &mut texts)?;
    }
    texts.retain(|text| text.len() <= TEXT_BYTES_MAX);
    texts.sort_unstable();
    texts.dedup();
    Ok(texts)
}

fn add_directory(directory: &Path, texts: &mut Vec<String>) -> Result<(), String> {
    let failed = |error| format!("cannot read `{}`: {error}", directory.display());
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "jsonl")
        {
            add_vectors(&fs::read_to_string(path).map_err(failed)?, texts)?;
        }
    }
    Ok(())
}

fn add_vectors(lines: &str, texts: &mut Vec<String>) -> Result<(), String> {
    // One vector expects half of a surrogate pair, which no Rust string can hold.
    let lines = lines.replace("\"\\ud83d\"", "\"\\ufffd\"");
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let vector: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let files = vector["files"].as_object().into_iter().flatten();
        texts.extend(files.filter_map(|(_, text)| text.as_str().map(str::to_owned)));
    }
    Ok(())
}

/// Returns the string literals of a Rust source that look like settings.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in source.split('\n') {
        let mut chars = line.chars();
        while chars.any(|c| c == '"') {
            let text = literal(&mut chars);
            if text.len() > 2 && text.contains(['=', ':', '{', '[', '$']) {
                found.push(text);
            }
        }
    }
    found
}

/// Reads a literal up to its closing quote.
fn literal(chars: &mut impl Iterator<Item = char>) -> String {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => match chars.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some('u') => {
                    let digits = chars.by_ref().skip(1).take_while(|c| *c != '}');
                    let code = u32::from_str_radix(&digits.collect::<String>(), 16);
                    text.extend(code.ok().and_then(char::from_u32));
                }
                Some(other) => text.push(other),
                None => break,
            },
            c => text.push(c),
        }
    }
    text
}
