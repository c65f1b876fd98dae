//! Inputs made of the corpus: the same ones for the same seed, number and corpus.

use std::collections::BTreeMap;

/// What the grammar treats specially.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "=",
    ":",
    "+=",
    ",",
    ".",
    "..",
    "\"",
    "\"\"\"",
    "$",
    "${",
    "${?",
    "}",
    "[]}",
    "#",
    "//",
    "\\",
    "\\u",
    "\\ud83d",
    "\n",
    " ",
    "\t",
    "\r\n",
    "\u{a0}",
    "\u{feff}",
    "\u{e9}",
    "\u{1f600}",
    "\u{0}",
    "\u{7f}",
    "-",
    "+",
    "0",
    "1e",
    "1e400",
    "9223372036854775808",
    "true",
    "false",
    "null",
    "include ",
    "include \"x\"",
    "required(",
    "file(",
    "classpath(",
    "a",
    "a.b",
    "${a}",
    "${?a}",
    "${a.b}",
    "${?A}",
    "${L[]}",
    "a += 1",
    "a = ${a}",
    "{ b = ${a} }",
    "10 ms",
    "5 GiB",
    "3 months",
];

/// Longest input, in characters.
const INPUT_CHARS_MAX: usize = 20_000;

/// A linear congruential generator whose high half is used.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        // A round of SplitMix64, so that neighbouring numbers have nothing in common.
        let mut mixed = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(mixed ^ (mixed >> 31))
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// One input: layers, what they include, and the environment.
#[derive(Debug)]
pub(crate) struct Input {
    /// Highest priority first; at least one.
    pub(crate) layers: Vec<String>,
    /// Every name that ends in one of these digits stands for the text.
    pub(crate) included: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
}

impl Input {
    pub(crate) fn new(seed: u64, number: u64, corpus: &[String]) -> Self {
        let mut random = Random::new(seed, number);
        let layers = 1 + random.below(8) / 6;
        let mut text = |changes| mutated(&mut random, corpus, changes);
        Self {
            layers: (0..layers).map(|_| text(4)).collect(),
            included: (0..2).map(|_| text(2)).collect(),
            environment: ["A", "a", "a.b", "L_0", "L_1", "HOME"]
                .map(|name| (name.to_owned(), text(1).chars().take(20).collect()))
                .into(),
        }
    }
}

/// Returns a text of the corpus with up to so many changes.
fn mutated(random: &mut Random, corpus: &[String], changes: usize) -> String {
    let mut text: Vec<char> = random.pick(corpus).chars().collect();
    for _ in 0..random.below(changes + 1) {
        change(&mut text, random, corpus);
        text.truncate(INPUT_CHARS_MAX);
    }
    text.into_iter().collect()
}

fn change(text: &mut Vec<char>, random: &mut Random, corpus: &[String]) {
    let at = random.below(text.len() + 1);
    let end = at + random.below(text.len() - at + 1).min(random.below(40));
    match random.below(9) {
        0 | 1 => {
            let word = random.pick(WORDS);
            text.splice(at..at, word.chars());
        }
        2 => {
            let word = random.pick(WORDS);
            text.splice(at..end, word.chars());
        }
        3 => drop(text.drain(at..end)),
        4 => text.truncate(at),
        5 => {
            let other: Vec<char> = random.pick(corpus).chars().collect();
            let from = random.below(other.len());
            let length = random.below(60);
            text.splice(at..at, other[from..].iter().copied().take(length));
        }
        6 => {
            // The same part again and again: depth, and long runs.
            let part: Vec<char> = text[at..end].to_vec();
            for _ in 0..random.below(100) {
                text.splice(at..at, part.iter().copied());
            }
        }
        7 => {
            let part: Vec<char> = text.drain(at..end).collect();
            let to = random.below(text.len() + 1);
            text.splice(to..to, part);
        }
        _ => {
            text.push('\n');
            text.extend(random.pick(corpus).chars());
        }
    }
}
