//! What a database says about its points, held against the line of the package.

use anyhow::{bail, ensure};
use klusterkite_wire::Point;

use crate::line::Migration;

/// One record of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) point: Point,
    /// Checksum of the script that made the point.
    pub(crate) checksum: String,
    pub(crate) how: How,
}

/// How a point came into a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Applied,
    /// It was there before the first record, the settings say.
    Baseline,
    /// A script without transaction was begun, up or down, and has not ended. What it did is not known.
    Begun,
}

impl How {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Baseline => "baseline",
            Self::Begun => "begun",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let all = [Self::Applied, Self::Baseline, Self::Begun];
        all.into_iter().find(|how| how.as_str() == text)
    }
}

/// Returns the last point that is whole.
pub(crate) fn current(entries: &[Entry]) -> Option<&Point> {
    let whole = entries.iter().rev().find(|entry| entry.how != How::Begun);
    whole.map(|entry| &entry.point)
}

/// Returns the point that was begun and has not ended.
pub(crate) fn begun(entries: &[Entry]) -> Option<&Point> {
    let begun = entries.iter().find(|entry| entry.how == How::Begun);
    begun.map(|entry| &entry.point)
}

/// Refuses a database whose history is not the beginning of the line, or the line not the beginning of its history.
///
/// A longer history is that of a newer package, and no error: its last point tells where the database is.
pub(crate) fn check(line: &[Migration], entries: &[Entry]) -> anyhow::Result<()> {
    for (place, (migration, entry)) in line.iter().zip(entries).enumerate() {
        if migration.point != entry.point {
            bail!(
                "the database has `{}` as its point {}, the package has `{}` there: what is applied cannot be \
                 replaced or moved; add a new point at the end",
                entry.point,
                place + 1,
                migration.point
            );
        }
        ensure!(
            entry.how == How::Begun || entry.checksum == migration.up.checksum,
            "`{}` is not the script that was applied: it was changed since; bring it back and add a new point",
            migration.up.file
        );
    }
    let last = entries.len().saturating_sub(1);
    let is_torn = |(place, entry): (usize, &Entry)| entry.how == How::Begun && place != last;
    ensure!(
        !entries.iter().enumerate().any(is_torn),
        "a point in the middle of the history was begun and has not ended: somebody has changed the records"
    );
    Ok(())
}

/// Makes the records of a database that had its points before there were records.
pub(crate) fn baseline(line: &[Migration], point: &Point) -> anyhow::Result<Vec<Entry>> {
    let place = line.iter().position(|migration| migration.point == *point);
    let Some(place) = place else {
        bail!("the setting `baseline` is `{point}`, which is no point of the package");
    };
    let entries = line[..=place].iter().map(|migration| Entry {
        point: migration.point.clone(),
        checksum: migration.up.checksum.clone(),
        how: How::Baseline,
    });
    Ok(entries.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::script;

    fn line(points: &[&str]) -> Vec<Migration> {
        let migration = |point: &&str| Migration {
            point: point.parse().unwrap(),
            up: script(&format!("{point}.up.sql"), format!("-- {point}")).unwrap(),
            down: None,
        };
        points.iter().map(migration).collect()
    }

    fn entries(points: &[&str]) -> Vec<Entry> {
        let last = line(points).pop().unwrap().point;
        baseline(&line(points), &last).unwrap()
    }

    #[test]
    fn a_history_is_the_line_as_far_as_both_go() {
        let line = line(&["1", "2", "3"]);
        for known in [&["1"][..], &["1", "2", "3"], &["1", "2", "3", "4"]] {
            check(&line, &entries(known)).unwrap();
        }
        for (other, expected) in [(&["1", "3"][..], "point 2"), (&["0"], "point 1")] {
            let error = check(&line, &entries(other)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_edited_script_is_refused_by_name() {
        let mut edited = line(&["1", "2"]);
        edited[0].up.checksum = "other".to_owned();
        let error = check(&edited, &entries(&["1"])).unwrap_err().to_string();
        assert!(error.starts_with("`1.up.sql` is not the script"), "{error}");
    }

    #[test]
    fn a_point_that_was_begun_is_not_reached_and_may_be_repaired() {
        let mut entries = entries(&["1", "2"]);
        entries[1].how = How::Begun;
        let mut line = line(&["1", "2"]);
        line[1].up.checksum = "repaired".to_owned();
        check(&line, &entries).unwrap();
        assert_eq!(current(&entries).unwrap().as_str(), "1");
        assert_eq!(begun(&entries).unwrap().as_str(), "2");
        entries[0].how = How::Begun;
        assert!(check(&line, &entries).is_err());
    }
}
