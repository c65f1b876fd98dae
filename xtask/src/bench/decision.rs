//! What the manager decides in one round of its loop, and for one container that asks.

use anyhow::{Context, Result, ensure};

use super::figure::{Bar, Figure, Of, Samples};
use crate::tools::cargo;

/// Longest decision about the next step over 10,000 nodes and 1,000 resources, in milliseconds.
const STEP_MS_MAX: f64 = 5.0;

/// Answers to containers per second beside 10,000 nodes, at least.
const ANSWERS_MIN: f64 = 100_000.0;

/// Measures in release and fails when a bar is missed; the bench is an example of the simulation's crate.
pub(super) fn decision(as_json: bool) -> Result<()> {
    let mut command = cargo(&["run", "--quiet", "--locked", "--release"]);
    command.args(["--package=klusterkite-sim", "--example=decision"]);
    let output = command.output().context("cannot run cargo")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success(),
        "the decisions cannot be measured: {said}"
    );
    let text = String::from_utf8(output.stdout)?;
    let bars = [
        ("stepDecision", "ms", Bar::Most(STEP_MS_MAX, Of::Units)),
        (
            "assignmentDecision",
            "1/s",
            Bar::Least(ANSWERS_MIN, Of::Units),
        ),
    ];
    for (name, unit, bar) in bars {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let samples = line.with_context(|| format!("no `{name}` in the output"))?;
        let samples: Result<Vec<f64>, _> = samples.split_whitespace().map(str::parse).collect();
        let figure = Figure {
            name,
            unit,
            ours: Samples::new(samples?),
            peer: None,
            limit: None,
            bars: vec![bar],
        };
        figure.report(as_json)?;
    }
    Ok(())
}
