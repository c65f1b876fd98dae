//! Inputs that have brought down other implementations: deep, long, circular, multiplying.
//!
//! Tests take them by what they answer, the bench by how long it takes.

use std::collections::BTreeMap;
use std::fmt::Write;

use klusterkite_hocon::{
    Config, Document, Error, IncludeReader, IncludeRequest, IncludedText, ParseOptions, Syntax,
};

/// One input.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) text: String,
    /// Gives the texts that the input includes.
    pub(crate) included: fn(&str) -> Option<String>,
}

impl Row {
    fn new(name: &'static str, text: String) -> Self {
        Self::including(name, text, |_| None)
    }

    fn including(name: &'static str, text: String, included: fn(&str) -> Option<String>) -> Self {
        Self {
            name,
            text,
            included,
        }
    }

    /// Parses and resolves the input.
    pub(crate) fn run(&self) -> Result<Config, Error> {
        let options = ParseOptions {
            syntax: Syntax::Hocon,
            includes: Some(&Included(self.included)),
        };
        Document::parse_with(&self.text, "row", &options)?.resolve(&BTreeMap::new())
    }
}

/// Returns all inputs.
pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new("100,000 lists", "[".repeat(100_000)),
        Row::new("100,000 objects", "a{".repeat(100_000)),
        Row::new("path of 1,000 keys", format!("{}a = 1", "a.".repeat(999))),
        Row::new(
            "path of 100,000 keys",
            format!("{}a = 1", "a.".repeat(99_999)),
        ),
        Row::new(
            "1,000 lines `a.kN=1`",
            lines(1_000, |n| format!("a.k{n}=1")),
        ),
        Row::new(
            "20,000 lines `a.kN=1`",
            lines(20_000, |n| format!("a.k{n}=1")),
        ),
        Row::new("cycle of 3", "a = ${b}, b = ${c}, c = ${a}".to_owned()),
        Row::new("chain of 100 forward references", chain(100)),
        Row::new("chain of 1,000 forward references", chain(1_000)),
        Row::new("chain of 10,000 forward references", chain(10_000)),
        Row::new("20,000 lines `a += 1`", "a += 1\n".repeat(20_000)),
        Row::new(
            "20,000 lines `a += ${b}`",
            "a += ${b}\n".repeat(20_000) + "b = 1",
        ),
        Row::new(
            "list of 1,000,000 integers",
            format!("a = [{}1]", "1,".repeat(999_999)),
        ),
        Row::including(
            "include cycle",
            "include \"1.conf\"".to_owned(),
            |name| match name {
                "1.conf" => Some("include \"2.conf\"".to_owned()),
                "2.conf" => Some("include \"1.conf\"".to_owned()),
                _ => None,
            },
        ),
        Row::including("include fan-out of 2^20", fan_out(0), |name| {
            let level = name.split('-').next()?.parse::<usize>().ok()?;
            Some(if level == 20 {
                "x = 1".to_owned()
            } else {
                fan_out(level)
            })
        }),
        Row::new("list doubled 28 times", doubled("[?, ?]")),
        Row::new("object doubled 28 times", doubled("{ x = ?, y = ? }")),
        Row::new("string doubled 28 times", doubled("??")),
    ]
}

fn chain(length: usize) -> String {
    lines(length, |n| format!("a{n} = ${{a{}}}", n + 1)) + &format!("a{length} = 1")
}

/// Includes two texts of the next level.
fn fan_out(level: usize) -> String {
    let next = level + 1;
    format!("include \"{next}-left.conf\"\ninclude \"{next}-right.conf\"\n")
}

fn doubled(value: &str) -> String {
    let step = |n: usize| {
        let last = format!("${{a{n}}}");
        format!("a{} = {}", n + 1, value.replace('?', &last))
    };
    format!("a0 = 1\n{}", lines(28, step))
}

/// Writes something for each number.
fn lines(count: usize, mut line: impl FnMut(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut text, index| {
        writeln!(text, "{}", line(index)).expect("strings take all text");
        text
    })
}

struct Included(fn(&str) -> Option<String>);

impl IncludeReader for Included {
    fn read(&self, request: &IncludeRequest<'_>) -> Result<Option<IncludedText>, String> {
        Ok((self.0)(request.name).map(|text| IncludedText {
            text,
            source: request.name.to_owned(),
        }))
    }
}
