//! Measures parsing and resolving: `cargo xtask bench hocon [--json]`.
//!
//! Every round measures all of a figure's sides once, in turn, so that a disturbance of the machine meets
//! all of them; a figure is the median of its rounds.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is a command line program"
)]

#[path = "../../tests/it/robustness/rows.rs"]
mod rows;
mod texts;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use klusterkite_hocon::{Config, Document};
use serde_json::json;

const ROUNDS: usize = 15;

/// How often a short text is measured in one round, so that a round takes a millisecond or more.
const REPEATS: u32 = 10;

const MIB: usize = 1 << 20;

/// How many times as long as `serde_json` on the same data we may take.
const PEER_FACTOR_MAX: f64 = 8.0;

/// How much more a piece of a large text may cost than one of a small text; a linear cost would be 1, caches
/// and the machine's noise take their share.
const GROWTH_MAX: f64 = 2.0;

/// How long the worst input may take.
const ROBUSTNESS_MAX: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let as_json = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--json") => true,
        Some(other) => {
            eprintln!("error: unknown argument `{other}`");
            return ExitCode::from(2);
        }
    };
    let mut report = Report {
        as_json,
        over_limit: Vec::new(),
    };
    for (name, substitutions) in [
        ("hoconServices", false),
        ("hoconServicesWithSubstitutions", true),
    ] {
        against_serde_json(&mut report, name, substitutions);
        let sizes = [MIB, 2 * MIB, 4 * MIB - 1024];
        let texts = sizes.map(|size| texts::services(size, substitutions));
        growth(&mut report, &format!("{name}Growth"), &texts, |text| {
            text.len()
        });
    }
    for (name, text) in [
        ("hoconKeysGrowth", texts::keys as fn(usize) -> String),
        ("hoconAppendsGrowth", texts::appends),
    ] {
        let texts = [1_000, 5_000, 20_000].map(text);
        growth(&mut report, name, &texts, |text| text.lines().count());
    }
    robustness(&mut report);
    if report.over_limit.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: over the limit: {}", report.over_limit.join(", "));
    ExitCode::FAILURE
}

fn load(text: &str) -> Config {
    let document = Document::parse(text, "bench").expect("a generated text is well-formed");
    let config = document.resolve(&BTreeMap::new());
    config.expect("a generated text can be resolved")
}

/// Compares with `serde_json` on the same data.
fn against_serde_json(report: &mut Report, name: &str, substitutions: bool) {
    let text = texts::services(MIB, substitutions);
    let json = load(&text).to_json().to_string();
    let [ours, peer] = interleaved(
        ROUNDS,
        1,
        [&|| drop(black_box(load(black_box(&text)))) as (), &|| {
            let value: serde_json::Value =
                serde_json::from_str(black_box(&json)).expect("it is JSON");
            drop(black_box(value));
        }],
    );
    report.figure(&Figure {
        name,
        unit: "ms",
        ours: ours.median_ms(),
        spread: ours.spread_ms(),
        peer: Some(peer.median_ms()),
        limit: peer.median_ms() * PEER_FACTOR_MAX,
        rounds: ROUNDS,
    });
}

/// Compares the cost of a unit in the largest text with that in the smallest.
fn growth(report: &mut Report, name: &str, texts: &[String; 3], units: impl Fn(&str) -> usize) {
    let repeats = if texts[0].len() < MIB { REPEATS } else { 1 };
    let [small, middle, large] = texts
        .each_ref()
        .map(|text| move || drop(black_box(load(black_box(text)))));
    let measured = interleaved(ROUNDS, repeats, [&small, &middle, &large]);
    let per_unit: Vec<f64> = (0..3)
        .map(|index| measured[index].median_ms() / units(&texts[index]) as f64)
        .collect();
    let worst = per_unit[1].max(per_unit[2]) / per_unit[0];
    let spread = [per_unit[1] / per_unit[0], per_unit[2] / per_unit[0]];
    report.figure(&Figure {
        name,
        unit: "times the cost per unit of the smallest text",
        ours: worst,
        spread: [spread[0].min(spread[1]), worst],
        peer: None,
        limit: GROWTH_MAX,
        rounds: ROUNDS,
    });
}

/// Measures the inputs that other implementations do not survive.
fn robustness(report: &mut Report) {
    const ROUNDS: usize = 3;
    for row in rows::rows() {
        let run = || drop(black_box(row.run()));
        let [measured] = interleaved(ROUNDS, 1, [&run]);
        report.figure(&Figure {
            name: &format!("hoconRobustness: {}", row.name),
            unit: "ms",
            ours: measured.median_ms(),
            spread: measured.spread_ms(),
            peer: None,
            limit: ROBUSTNESS_MAX.as_secs_f64() * 1e3,
            rounds: ROUNDS,
        });
    }
}

/// The times of one side, ascending.
struct Times(Vec<Duration>);

impl Times {
    fn median_ms(&self) -> f64 {
        self.0[self.0.len() / 2].as_secs_f64() * 1e3
    }

    fn spread_ms(&self) -> [f64; 2] {
        [self.0[0], self.0[self.0.len() - 1]].map(|time| time.as_secs_f64() * 1e3)
    }
}

/// Measures each side once per round, after a round that does not count.
fn interleaved<const N: usize>(rounds: usize, repeats: u32, sides: [&dyn Fn(); N]) -> [Times; N] {
    let mut times = sides.map(|side| {
        side();
        Times(Vec::with_capacity(rounds))
    });
    for _ in 0..rounds {
        for (side, times) in sides.iter().zip(&mut times) {
            let start = Instant::now();
            for _ in 0..repeats {
                side();
            }
            times.0.push(start.elapsed() / repeats);
        }
    }
    for times in &mut times {
        times.0.sort_unstable();
    }
    times
}

struct Figure<'a> {
    name: &'a str,
    unit: &'a str,
    ours: f64,
    /// Lowest and highest.
    spread: [f64; 2],
    peer: Option<f64>,
    limit: f64,
    rounds: usize,
}

struct Report {
    as_json: bool,
    over_limit: Vec<String>,
}

impl Report {
    fn figure(&mut self, figure: &Figure<'_>) {
        if figure.ours > figure.limit {
            self.over_limit.push(figure.name.to_owned());
        }
        if self.as_json {
            let line = json!({
                "name": figure.name, "unit": figure.unit, "ours": rounded(figure.ours),
                "peer": figure.peer.map(rounded), "limit": rounded(figure.limit), "rounds": figure.rounds,
            });
            println!("{line}");
            return;
        }
        let peer = figure.peer.map_or_else(String::new, |peer| {
            format!(", peer {peer:.2}, {:.1} times", figure.ours / peer)
        });
        println!(
            "{}: {:.2} {} ({:.2} to {:.2}{peer}; limit {:.2}, {} rounds)",
            figure.name,
            figure.ours,
            figure.unit,
            figure.spread[0],
            figure.spread[1],
            figure.limit,
            figure.rounds,
        );
    }
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
