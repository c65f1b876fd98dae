//! Scenarios: a text that sets a cluster up, lets things happen, and holds what is expected.
//!
//! Each line is a command; lines that begin with `|` are what came of the command above them, written by
//! `cargo xtask scenario FILE --update`. `docs/proof.md` lists the commands.

mod parse;
mod setup;

pub use parse::command;

use std::fmt::Write as _;

use klusterkite_core::plan::resources::ResourceKey;
use klusterkite_wire::Point;

use crate::cluster::{Asked, Cluster, Fault, Invariant, Mutation, Setup, SetupError, Violation};

/// A line that begins so is what came of the command above it.
const OUTPUT: &str = "    |";

/// Ticks after which a cluster that does not come to rest is left alone: 40 minutes of virtual time.
const SETTLE_TICKS_MAX: usize = 2400;

/// Says why a scenario cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A line is no command.
    #[error("line {line}: `{text}`: {expected}")]
    Command {
        /// Number of the line, from 1.
        line: usize,
        /// The line.
        text: String,
        /// What it should be.
        expected: String,
    },
    /// The setup is none.
    #[error("line {line}: the cluster cannot start")]
    Setup {
        /// Number of the line, from 1.
        line: usize,
        /// Why not.
        source: SetupError,
    },
}

/// Something that happens, or is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Seconds pass.
    Tick(usize),
    /// Time passes until nothing changes any more.
    Settle(usize),
    /// An operator asks.
    Ask(Asked),
    /// Something breaks or is repaired.
    Break(Fault),
    /// Somebody else changes a resource.
    Set(ResourceKey, Option<Point>),
    /// A decision is broken on purpose.
    Mutate(Mutation),
    /// Everything outside of the manager is repaired.
    AllWorks,
    /// Time passes until nothing changes any more; then what has to hold at rest is checked.
    Rest,
    /// Somebody looks.
    Look(Look),
}

/// What somebody looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Containers, resources, configurations, migration.
    Show,
    /// What the manager waits for.
    Waits,
    /// What an operator may do, and why not the rest.
    Operations,
    /// Steps, phases and positions of the running migration.
    Phases,
    /// What would happen is written down from here on, or not.
    Trace(bool),
}

/// What came of a scenario.
#[derive(Debug)]
pub struct Played {
    /// The scenario with what came of each command.
    pub text: String,
    /// What was found wrong.
    pub violations: Vec<Violation>,
}

/// Plays a scenario.
///
/// # Errors
///
/// Fails on a line that is no command, and on a setup that is none.
pub fn play(text: &str) -> Result<Played, Error> {
    let mut reader = setup::Reader::default();
    let mut cluster: Option<Cluster> = None;
    let mut traced = true;
    let mut out = String::new();
    for (index, raw) in text.lines().enumerate() {
        if raw.starts_with(OUTPUT) {
            continue;
        }
        let line = index + 1;
        out.push_str(raw.trim_end());
        out.push('\n');
        let words = raw.split('#').next().unwrap_or_default().trim();
        if words.is_empty() {
            continue;
        }
        let Some(cluster) = &mut cluster else {
            if reader
                .read(words)
                .map_err(|expected| command_error(line, words, expected))?
            {
                cluster = Some(started(&reader.setup, line)?);
            }
            continue;
        };
        let command = parse::command(words, &reader.setup)
            .map_err(|expected| command_error(line, words, expected))?;
        if let Command::Look(Look::Trace(on)) = command {
            traced = on;
            continue;
        }
        for output in run(cluster, &command) {
            let _ = writeln!(out, "{OUTPUT} {output}");
        }
        let traced = traced && words != parse::CALM;
        for output in cluster
            .heard()
            .into_iter()
            .filter(|line| traced || line.contains("VIOLATION"))
        {
            let _ = writeln!(out, "{OUTPUT} {output}");
        }
    }
    let violations = cluster.map_or_else(Vec::new, |cluster| cluster.violations().to_vec());
    Ok(Played {
        text: out,
        violations,
    })
}

/// Plays the commands of a scenario without writing anything down, up to the first violation.
///
/// # Errors
///
/// Fails as [`play`] does.
pub fn judge(text: &str) -> Result<Option<Violation>, Error> {
    let mut reader = setup::Reader::default();
    let mut cluster: Option<Cluster> = None;
    for (index, raw) in text.lines().enumerate() {
        let line = index + 1;
        let words = raw.split('#').next().unwrap_or_default().trim();
        if words.is_empty() || raw.starts_with(OUTPUT) {
            continue;
        }
        let Some(cluster) = &mut cluster else {
            if reader
                .read(words)
                .map_err(|expected| command_error(line, words, expected))?
            {
                let started = Cluster::new(&reader.setup);
                cluster = Some(started.map_err(|source| Error::Setup { line, source })?);
            }
            continue;
        };
        let command = parse::command(words, &reader.setup)
            .map_err(|expected| command_error(line, words, expected))?;
        obey(cluster, &command);
        if let Some(violation) = cluster.violations().first() {
            return Ok(Some(violation.clone()));
        }
    }
    Ok(None)
}

/// Plays a text to its end, as the start of something else.
///
/// # Errors
///
/// Fails as [`play`] does, and when nothing starts.
pub fn prepare(text: &str) -> Result<(Cluster, Setup), Error> {
    let mut reader = setup::Reader::default();
    let mut cluster: Option<Cluster> = None;
    for (index, raw) in text.lines().enumerate() {
        let line = index + 1;
        let words = raw.split('#').next().unwrap_or_default().trim();
        if words.is_empty() {
            continue;
        }
        let failed = |expected| command_error(line, words, expected);
        match &mut cluster {
            Some(cluster) => obey(cluster, &command(words, &reader.setup).map_err(failed)?),
            None if reader.read(words).map_err(failed)? => {
                let started = Cluster::new(&reader.setup);
                cluster = Some(started.map_err(|source| Error::Setup { line, source })?);
            }
            None => {}
        }
    }
    let nothing = || command_error(0, "", "a line `start N`".to_owned());
    Ok((cluster.ok_or_else(nothing)?, reader.setup))
}

fn started(setup: &Setup, line: usize) -> Result<Cluster, Error> {
    let mut cluster = Cluster::new(setup).map_err(|source| Error::Setup { line, source })?;
    cluster.listen();
    Ok(cluster)
}

fn command_error(line: usize, text: &str, expected: String) -> Error {
    let text = text.to_owned();
    Error::Command {
        line,
        text,
        expected,
    }
}

/// Does what a command says, without looking.
pub fn obey(cluster: &mut Cluster, command: &Command) {
    match command {
        Command::Tick(seconds) => {
            for _ in 0..*seconds {
                cluster.tick();
            }
        }
        Command::Settle(ticks) => {
            cluster.settle(*ticks);
        }
        Command::Ask(asked) => {
            // A refusal is an answer.
            let _ = cluster.operate(asked);
        }
        Command::Break(fault) => cluster.break_or_repair(fault),
        Command::Set(key, point) => cluster.resource_set(key, point.clone()),
        Command::Mutate(mutation) => cluster.mutate(*mutation),
        Command::AllWorks => cluster.repair_all(),
        Command::Rest => {
            if cluster.settle(SETTLE_TICKS_MAX) {
                cluster.check_rest();
            } else {
                cluster.restless();
            }
        }
        Command::Look(_) => {}
    }
}

/// Does what a command says; returns what is to be seen besides the trace.
fn run(cluster: &mut Cluster, command: &Command) -> Vec<String> {
    match command {
        Command::Ask(asked) => match cluster.operate(asked) {
            Ok(()) => Vec::new(),
            Err(refusal) => vec![format!(
                "refused, {}: {}",
                refusal.code,
                cluster.told(&refusal.message)
            )],
        },
        Command::Settle(ticks) if !cluster.settle(*ticks) => {
            vec!["it does not come to rest".to_owned()]
        }
        Command::Settle(_) => Vec::new(),
        Command::Look(Look::Show) => cluster.picture(),
        Command::Look(Look::Waits) => {
            let waits = cluster.waits();
            if waits.is_empty() {
                vec!["nothing".to_owned()]
            } else {
                waits
            }
        }
        Command::Look(Look::Phases) => cluster.picture_of_phases(),
        Command::Look(Look::Operations) => operations(cluster),
        _ => {
            obey(cluster, command);
            Vec::new()
        }
    }
}

fn operations(cluster: &Cluster) -> Vec<String> {
    let (mut allowed, mut refused) = (Vec::new(), Vec::new());
    for operation in cluster.operations() {
        match operation.reason {
            None if operation.recommended => allowed.push(format!("{}!", operation.id)),
            None => allowed.push(operation.id),
            Some(reason) => refused.push(format!("{} ({})", operation.id, reason.code)),
        }
    }
    vec![
        format!("allowed: {}", allowed.join(", ")),
        format!("refused: {}", refused.join(", ")),
    ]
}

/// Returns whether a text names an invariant that a scenario may break on purpose.
pub fn is_broken_on_purpose(text: &str, invariant: Invariant) -> bool {
    Mutation::ALL.iter().any(|(mutation, broken)| {
        *broken == invariant && text.contains(&format!("mutate {mutation:?}"))
    })
}
