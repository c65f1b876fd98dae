//! The line of points: its check, and the way from one point to another.

use klusterkite_wire::Point;
use klusterkite_wire::migrator::{MIGRATOR_PROTOCOL, MigratorDescription};

use crate::Error;

/// One step of a move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Apply this point.
    Up(Point),
    /// Take this point back.
    Down(Point),
}

/// Lists the steps that take a resource from `current` (`None`: not created) to `target`.
///
/// Only points between the two are touched: a move to a middle point never runs later ones (bug B52 of the original).
///
/// ```
/// # use klusterkite_migrator::points::{Step, steps};
/// # let point = |text: &str| text.parse::<klusterkite_wire::Point>().unwrap();
/// let line = [point("1"), point("2"), point("3")];
/// assert_eq!(steps(&line, &[], None, &line[1])?, [Step::Up(point("1")), Step::Up(point("2"))]);
/// assert_eq!(steps(&line, &[], Some(&line[2]), &line[1])?, [Step::Down(point("3"))]);
/// # Ok::<_, klusterkite_migrator::Error>(())
/// ```
pub fn steps(
    line: &[Point],
    irreversible: &[Point],
    current: Option<&Point>,
    target: &Point,
) -> Result<Vec<Step>, Error> {
    let place = |point: &Point| {
        let place = line.iter().position(|known| known == point);
        place.ok_or_else(|| Error::UnknownPoint {
            point: point.clone(),
            known: line.to_vec(),
        })
    };
    // How many points are applied before and after the move.
    let before = current.map_or(Ok(0), |point| place(point).map(|place| place + 1))?;
    let after = place(target)? + 1;
    if before <= after {
        return Ok(line[before..after].iter().cloned().map(Step::Up).collect());
    }
    let left = &line[after..before];
    if let Some(point) = left.iter().rev().find(|point| irreversible.contains(point)) {
        return Err(Error::Irreversible(point.clone()));
    }
    Ok(left.iter().rev().cloned().map(Step::Down).collect())
}

/// Makes a line of names that begin with a number, such as those of files: `0001_customers`, `0002_orders`.
///
/// They are ordered by their numbers, however many digits those have; two of one number have no order.
pub fn numbered(names: impl IntoIterator<Item = String>) -> Result<Vec<Point>, Error> {
    let mut line = std::collections::BTreeMap::new();
    for name in names {
        let digits = name.bytes().take_while(u8::is_ascii_digit).count();
        let number = name[..digits].parse::<u64>().ok();
        let (Some(number), Ok(point)) = (number, name.parse::<Point>()) else {
            return Err(Error::NoNumber(name));
        };
        if let Some(other) = line.insert(number, point) {
            return Err(Error::SameNumber(other.to_string(), name));
        }
    }
    Ok(line.into_values().collect())
}

/// Checks what a migrator says about itself: the protocol, and points that are a line.
pub fn check_description(description: &MigratorDescription) -> Result<(), Error> {
    if description.protocol != MIGRATOR_PROTOCOL {
        return Err(Error::Protocol(description.protocol));
    }
    if description.points.is_empty() {
        return Err(Error::NoPoints);
    }
    let mut seen = std::collections::BTreeSet::new();
    for point in &description.points {
        if !seen.insert(point) {
            return Err(Error::DuplicatePoint(point.clone()));
        }
    }
    for point in &description.irreversible {
        if !seen.contains(point) {
            return Err(Error::UnknownPoint {
                point: point.clone(),
                known: description.points.clone(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(text: &str) -> Point {
        text.parse().unwrap()
    }

    fn way(current: Option<&str>, target: &str, irreversible: &[&str]) -> String {
        let line = ["a", "b", "c", "d"].map(point);
        let irreversible: Vec<Point> = irreversible.iter().map(|text| point(text)).collect();
        match steps(
            &line,
            &irreversible,
            current.map(point).as_ref(),
            &point(target),
        ) {
            Ok(steps) => steps
                .iter()
                .map(|step| match step {
                    Step::Up(point) => format!("+{point}"),
                    Step::Down(point) => format!("-{point}"),
                })
                .collect(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn names_with_numbers_are_a_line() {
        let line = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned());
            numbered(names).map(|line| line.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(
            line(&["10_c", "0002_b", "1"]).unwrap(),
            ["1", "0002_b", "10_c"]
        );
        let error = line(&["first"]).unwrap_err().to_string();
        assert_eq!(
            error,
            "`first` does not begin with a number, which would say where it stands in the line"
        );
        let error = line(&["01_a", "1_b"]).unwrap_err().to_string();
        assert_eq!(
            error,
            "`01_a` and `1_b` have the same number, so that neither comes first"
        );
    }

    #[test]
    fn b52_a_move_touches_only_the_points_between_its_ends() {
        for (current, target, expected) in [
            (None, "a", "+a"),
            (None, "b", "+a+b"),
            (Some("a"), "c", "+b+c"),
            (Some("d"), "c", "-d"),
            (Some("d"), "a", "-d-c-b"),
            (Some("b"), "b", ""),
        ] {
            assert_eq!(way(current, target, &[]), expected, "{current:?} {target}");
        }
    }

    #[test]
    fn a_way_that_does_not_exist_says_why() {
        let unknown = "point `x` is not one of the migrator's points (`a`, `b`, `c`, `d`)";
        assert_eq!(way(Some("a"), "x", &[]), unknown);
        assert_eq!(way(Some("x"), "a", &[]), unknown);
        let stuck = "point `c` cannot be left downward: the migrator declares it irreversible";
        assert_eq!(way(Some("d"), "b", &["c"]), stuck);
        assert_eq!(way(Some("d"), "c", &["c"]), "-d");
        assert_eq!(way(Some("a"), "d", &["c"]), "+b+c+d");
    }
}
