//! A folder of scripts as a line of points.
//!
//! `0001_customers.up.sql` goes to the point `0001_customers`, `0001_customers.down.sql` takes it back. A point
//! without a script down is irreversible.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use klusterkite_migrator::points::numbered;
use klusterkite_wire::Point;
use sha2::{Digest, Sha256};

use crate::statements::{forbidden, statements};

/// Comment, first in a script, with which it runs statement by statement, each by itself.
const WITHOUT_TRANSACTION: &str = "-- klusterkite: no transaction";

/// Begin of every comment that is meant for this program, so that a misspelt one is not taken for prose.
const DIRECTIVE: &str = "-- klusterkite:";

/// Largest script, in bytes: data belongs elsewhere.
const SCRIPT_BYTES_MAX: u64 = 16 << 20;

/// Most points of a folder.
const POINTS_MAX: usize = 10_000;

/// One point and its scripts.
#[derive(Debug, Clone)]
pub(crate) struct Migration {
    pub(crate) point: Point,
    pub(crate) up: Script,
    pub(crate) down: Option<Script>,
}

/// One script.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// Name of its file.
    pub(crate) file: String,
    pub(crate) text: String,
    /// SHA-256 of the text with line feeds alone, in hexadecimal digits: how a checkout ends lines does not count.
    pub(crate) checksum: String,
    /// Whether all of it happens or nothing.
    pub(crate) in_transaction: bool,
}

/// Reads a folder, all of it: what is wrong is found before anything moves.
pub(crate) fn load(folder: &Path) -> anyhow::Result<Vec<Migration>> {
    let shown = folder.display();
    let mut ups = BTreeMap::new();
    let mut downs = BTreeMap::new();
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read the folder of scripts `{shown}`"))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read the folder `{shown}`"))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            bail!("a file of `{shown}` has a name that is no UTF-8");
        };
        let (scripts, point) = if let Some(point) = name.strip_suffix(".up.sql") {
            (&mut ups, point)
        } else if let Some(point) = name.strip_suffix(".down.sql") {
            (&mut downs, point)
        } else {
            let extension = Path::new(name).extension();
            ensure!(
                !extension.is_some_and(|extension| extension.eq_ignore_ascii_case("sql")),
                "`{shown}/{name}` is neither `….up.sql` nor `….down.sql`"
            );
            continue;
        };
        scripts.insert(point.to_owned(), read(&entry.path(), name)?);
        ensure!(
            scripts.len() <= POINTS_MAX,
            "`{shown}` has more than {POINTS_MAX} points"
        );
    }
    let points = numbered(ups.keys().cloned())
        .with_context(|| format!("the scripts of `{shown}` are no line of points"))?;
    ensure!(!points.is_empty(), "`{shown}` has no script `….up.sql`");
    let mut line = Vec::new();
    for point in points {
        let up = ups.remove(point.as_str());
        line.push(Migration {
            up: up.with_context(|| format!("`{point}` has no script"))?,
            down: downs.remove(point.as_str()),
            point,
        });
    }
    if let Some((point, _)) = downs.first_key_value() {
        bail!("`{shown}/{point}.down.sql` takes back what no `{point}.up.sql` does");
    }
    Ok(line)
}

/// Lists the points.
pub(crate) fn points(line: &[Migration]) -> Vec<Point> {
    line.iter()
        .map(|migration| migration.point.clone())
        .collect()
}

/// Lists the points without a way back.
pub(crate) fn irreversible(line: &[Migration]) -> Vec<Point> {
    let stuck = line.iter().filter(|migration| migration.down.is_none());
    stuck.map(|migration| migration.point.clone()).collect()
}

fn read(path: &Path, name: &str) -> anyhow::Result<Script> {
    let failed = || format!("cannot read `{}`", path.display());
    let mut text = String::new();
    let file = File::open(path).with_context(failed)?;
    let read = file
        .take(SCRIPT_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(failed)?;
    ensure!(
        read as u64 <= SCRIPT_BYTES_MAX,
        "`{}` has more than {SCRIPT_BYTES_MAX} bytes",
        path.display()
    );
    script(name, text).with_context(|| format!("`{}`", path.display()))
}

/// Makes a script and looks for what would tear its point apart.
pub(crate) fn script(file: &str, text: String) -> anyhow::Result<Script> {
    let text = text.trim_start_matches('\u{feff}').to_owned();
    let first = text.lines().map(str::trim).find(|line| !line.is_empty());
    let in_transaction = first != Some(WITHOUT_TRANSACTION);
    for (number, line) in (1..).zip(text.lines()) {
        ensure!(
            !line.trim().starts_with(DIRECTIVE)
                || (line.trim() == WITHOUT_TRANSACTION && !in_transaction),
            "line {number}: the one comment of this kind is `{WITHOUT_TRANSACTION}`, as the first line"
        );
    }
    for statement in statements(&text) {
        if let Some(problem) = forbidden(statement.text) {
            bail!("line {}: {problem}", statement.line);
        }
    }
    let digest = Sha256::digest(text.replace("\r\n", "\n").as_bytes());
    Ok(Script {
        file: file.to_owned(),
        checksum: hexadecimal(&digest),
        in_transaction,
        text,
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> anyhow::Result<Vec<Migration>> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        load(directory.path())
    }

    #[test]
    fn a_folder_is_a_line_of_points() {
        let line = folder(&[
            ("0010_c.up.sql", "C"),
            ("0002_b.up.sql", "B"),
            ("0002_b.down.sql", "b"),
            ("README.md", "read"),
        ])
        .unwrap();
        assert_eq!(points(&line).len(), 2);
        assert_eq!(line[0].point.as_str(), "0002_b");
        assert_eq!(irreversible(&line)[0].as_str(), "0010_c");
    }

    #[test]
    fn what_is_no_line_is_named() {
        for (files, expected) in [
            (&[][..], "has no script"),
            (&[("1_a.sql", "")], "neither"),
            (&[("a.up.sql", "")], "does not begin with a number"),
            (&[("1_a.up.sql", ""), ("01_b.up.sql", "")], "same number"),
            (&[("1_a.up.sql", ""), ("2_b.down.sql", "")], "2_b.down.sql"),
            (&[("1_a.up.sql", "A;\nCOMMIT;")], "line 2: the point is one"),
            (
                &[("1_a.up.sql", "-- klusterkite: no-transaction")],
                "line 1",
            ),
            (
                &[("1_a.up.sql", "A;\n-- klusterkite: no transaction")],
                "line 2",
            ),
        ] {
            let error = format!("{:#}", folder(files).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn line_ends_do_not_change_a_checksum() {
        let checksum = |text: &str| script("x", text.to_owned()).unwrap().checksum;
        assert_eq!(checksum("A;\r\nB;\r\n"), checksum("A;\nB;\n"));
        assert_ne!(checksum("A;\nB;\n"), checksum("A;\nB; \n"));
    }

    #[test]
    fn a_script_says_that_it_needs_no_transaction() {
        let script = |text: &str| script("x", text.to_owned()).unwrap();
        assert!(script("A").in_transaction);
        assert!(!script("\n-- klusterkite: no transaction\nA").in_transaction);
    }
}
