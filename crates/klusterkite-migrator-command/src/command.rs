//! One command with its variables, run to its end.

use std::collections::BTreeMap;
use std::io::{BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};
use klusterkite_migrator::line::{Line, LineReader};

use crate::settings::CommandLine;

/// Longest answer of a command that says where a resource is, in bytes: a point and its line feed are far below.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Longest line of output that is passed on, in bytes.
const LINE_BYTES_MAX: usize = 16 << 10;

/// What a command may refer to: `{point}` in its arguments is `KLUSTERKITE_POINT` in its environment.
pub(crate) type Variables<'a> = BTreeMap<&'static str, &'a str>;

/// Runs a command and returns what it prints, without space around it.
pub(crate) fn answer(
    line: &CommandLine,
    variables: &Variables<'_>,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<String> {
    let mut child = start(line, variables, environment)?;
    let mut text = String::new();
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = stdout.take(ANSWER_BYTES_MAX + 1);
        let read = stdout.read_to_string(&mut text);
        if read.is_err() || text.len() as u64 > ANSWER_BYTES_MAX {
            give_up(&mut child);
        }
        read.with_context(|| format!("cannot read what {} prints", shown(line)))?;
    }
    ensure!(
        text.len() as u64 <= ANSWER_BYTES_MAX,
        "{} prints more than {ANSWER_BYTES_MAX} bytes",
        shown(line)
    );
    end(line, child)?;
    Ok(text.trim().to_owned())
}

/// Runs a command and passes on the lines that it prints.
pub(crate) fn run(
    line: &CommandLine,
    variables: &Variables<'_>,
    environment: &BTreeMap<String, String>,
    mut said: impl FnMut(&str),
) -> anyhow::Result<()> {
    let mut child = start(line, variables, environment)?;
    if let Some(stdout) = child.stdout.take() {
        let mut lines = LineReader::new(BufReader::new(stdout), LINE_BYTES_MAX);
        loop {
            match lines.read() {
                Ok(Line::Text(text)) => said(&String::from_utf8_lossy(&text)),
                Ok(Line::TooLong(length)) => {
                    said(&format!("(a line of {length} bytes is left out)"));
                }
                Ok(Line::End) => break,
                Err(error) => {
                    give_up(&mut child);
                    return Err(error)
                        .with_context(|| format!("cannot read what {} prints", shown(line)));
                }
            }
        }
    }
    end(line, child)
}

fn start(
    line: &CommandLine,
    variables: &Variables<'_>,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<Child> {
    let Some((program, arguments)) = line.split_first() else {
        bail!("the command names no program");
    };
    // As with the commands of a manifest: the service directory comes first.
    let ours = Path::new(".").join(program);
    let mut command = if program.contains('/') || ours.is_file() {
        Command::new(ours.canonicalize().unwrap_or(ours))
    } else {
        Command::new(program)
    };
    command.args(arguments.iter().map(|argument| filled(argument, variables)));
    command.envs(environment);
    for (name, value) in variables {
        command.env(format!("KLUSTERKITE_{}", name.to_ascii_uppercase()), value);
    }
    let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    started.with_context(|| format!("cannot start {}", shown(line)))
}

/// Ends a command that nobody listens to any more, before that is said.
fn give_up(child: &mut Child) {
    // Both fail only when it has ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

fn end(line: &CommandLine, mut child: Child) -> anyhow::Result<()> {
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for {}", shown(line)))?;
    ensure!(status.success(), "{} failed: {status}", shown(line));
    Ok(())
}

/// Puts variables into an argument; other braces stay.
fn filled(argument: &str, variables: &Variables<'_>) -> String {
    let mut filled = String::new();
    let mut rest = argument;
    while let Some(open) = rest.find('{') {
        let (before, from) = rest.split_at(open);
        filled.push_str(before);
        let named = from.find('}').map(|close| (&from[1..close], close + 1));
        let value = named.and_then(|(name, length)| Some((variables.get(name)?, length)));
        if let Some((value, length)) = value {
            filled.push_str(value);
            rest = &from[length..];
        } else {
            filled.push('{');
            rest = &from[1..];
        }
    }
    filled + rest
}

fn shown(line: &CommandLine) -> String {
    format!("`{}`", line.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_once() {
        let variables = Variables::from([("point", "{from}"), ("from", "1")]);
        for (argument, expected) in [
            ("plain", "plain"),
            ("{point}", "{from}"),
            ("a{from}b{from}", "a1b1"),
            ("{other} {", "{other} {"),
            ("{{from}}", "{1}"),
            ("ä{from}ö", "ä1ö"),
        ] {
            assert_eq!(filled(argument, &variables), expected);
        }
    }
}
