//! The process that benches of supervision start, and what it wrote down.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use klusterkite_tests::process::wait_until;
use klusterkite_tests::sample::manager_and;
use serde_json::{Value, json};

use crate::tools::root;

/// A program of one file, so that containers made from nothing can run it.
const SOURCE: &str = include_str!("sleeper.c");

/// Manifest of the sample's package.
const MANIFEST: &str = "\
priority = role
processes {
  sleeper {
    command = [sleeper, ${Sleeper.Tag}]
    env { SLEEPER_LOG = ${Sleeper.Log} }
    restarts = 5
  }
}
";

/// Compiles the program, static, as `<directory>/sleeper`.
pub(super) fn build(directory: &Path) -> Result<PathBuf> {
    let program = directory.join("sleeper");
    let mut compiler = Command::new("cc")
        .args(["-O2", "-static", "-x", "c", "-", "-o"])
        .arg(&program)
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start cc")?;
    let mut input = compiler.stdin.take().context("cc has no input")?;
    input.write_all(SOURCE.as_bytes())?;
    drop(input);
    ensure!(compiler.wait()?.success(), "cc refuses the sleeper");
    Ok(program)
}

/// Writes a sample of one template, `sleeper`, for `worker` containers; the manager is that of `hello`.
///
/// `more` says what else there is to the template.
pub(super) fn write_sample(sample: &Path, program: &Path, more: &Value) -> Result<()> {
    let package = sample.join("packages/Sleeper/1.0.0");
    fs::create_dir_all(package.join("content"))?;
    let facts = "id = Sleeper\ndescription = \"Sleeps\"\n";
    fs::write(package.join("pack.hocon"), facts)?;
    fs::write(package.join("klusterkite.hocon"), MANIFEST)?;
    fs::copy(program, package.join("content/sleeper"))?;
    let mut settings = manager_and(&root(), "Sleeper")?;
    let mut template = json!({
        "code": "sleeper", "name": "Sleeper", "containerTypes": ["worker"], "priority": 1,
        "packageRequirements": [{ "id": "Sleeper" }],
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        template[key] = value.clone();
    }
    let templates = settings["nodeTemplates"].as_array_mut();
    let templates = templates.context("the sample has templates")?;
    templates.insert(0, template);
    let text = serde_json::to_vec_pretty(&settings)?;
    fs::write(sample.join("cluster.json"), text)?;
    Ok(())
}

/// Returns the settings of the template: where its processes write, and what.
pub(super) fn settings(stamps: &Path, tag: &str) -> String {
    json!({ "Sleeper": { "Log": stamps, "Tag": tag } }).to_string()
}

/// Nanoseconds since 1970, as the stamps have them.
pub(super) fn now() -> Result<u128> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(now.as_nanos())
}

/// One line that a sleeper wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Whether it started; otherwise it was told to end.
    pub(super) is_start: bool,
    /// The argument that it was started with.
    pub(super) tag: String,
    /// Its process id, as it sees it.
    pub(super) process: u32,
    /// Nanoseconds since 1970.
    pub(super) at: u128,
}

/// The file that sleepers write to.
#[derive(Debug, Clone)]
pub(super) struct Stamps(PathBuf);

impl Stamps {
    pub(super) fn new(path: PathBuf) -> Result<Self> {
        fs::write(&path, "").with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns all whole lines so far.
    pub(super) fn all(&self) -> Vec<Stamp> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().filter_map(parse).collect()
    }

    /// Returns the starts with a tag.
    pub(super) fn starts(&self, tag: &str) -> Vec<Stamp> {
        let mut stamps = self.all();
        stamps.retain(|stamp| stamp.is_start && stamp.tag == tag);
        stamps
    }

    /// Waits for so many starts with a tag, and returns them.
    pub(super) fn wait_for(&self, tag: &str, count: usize, time: Duration) -> Result<Vec<Stamp>> {
        let mut seen = Vec::new();
        let in_time = wait_until(time, || {
            seen = self.starts(tag);
            seen.len() >= count
        });
        ensure!(
            in_time,
            "{} of {count} processes `{tag}` were started in {time:?}",
            seen.len()
        );
        Ok(seen)
    }
}

fn parse(line: &str) -> Option<Stamp> {
    let mut fields = line.split(' ');
    let is_start = fields.next()? == "+";
    Some(Stamp {
        is_start,
        tag: fields.next()?.to_owned(),
        process: fields.next()?.parse().ok()?,
        at: fields.next()?.parse().ok()?,
    })
}

/// Returns the milliseconds from a moment to the latest of some stamps.
pub(super) fn milliseconds_to_last(stamps: &[Stamp], since: u128) -> f64 {
    let last = stamps.iter().map(|stamp| stamp.at).max().unwrap_or(since);
    last.saturating_sub(since) as f64 / 1e6
}

/// Returns the fewest processes that ran at once from a moment on, of those that ran then and those that came.
pub(super) fn fewest(stamps: &[Stamp], since: u128) -> usize {
    let mut ordered = stamps.to_vec();
    ordered.sort_by_key(|stamp| stamp.at);
    let (mut running, mut fewest) = (0_usize, None);
    for stamp in &ordered {
        if stamp.at >= since && fewest.is_none() {
            fewest = Some(running);
        }
        running = if stamp.is_start {
            running + 1
        } else {
            running.saturating_sub(1)
        };
        fewest = fewest.map(|fewest| fewest.min(running));
    }
    fewest.unwrap_or(running)
}

#[cfg(test)]
mod tests {
    use super::{fewest, milliseconds_to_last, parse};

    #[test]
    fn the_fewest_at_once_are_counted_from_the_stamps() {
        let lines = [
            "+ a 1 1000000",
            "+ a 2 2000000",
            "- a 1 5000000",
            "+ b 3 6000000",
            "- a 2 7000000",
            "+ b 4 8000000",
        ];
        let stamps: Vec<_> = lines.into_iter().filter_map(parse).collect();
        assert_eq!(stamps.len(), 6);
        assert_eq!(fewest(&stamps, 4_000_000), 1);
        assert_eq!(fewest(&stamps, 9_000_000), 2);
        assert!((milliseconds_to_last(&stamps, 4_000_000) - 4.0).abs() < f64::EPSILON);
        assert_eq!(parse("+ cut"), None);
    }
}
