//! A figure: what each side took in every round, and the bar that ours has to pass.

use anyhow::{Result, ensure};
use serde_json::json;

/// One figure of a bench, measured in rounds that alternate between the sides.
pub(crate) struct Figure<'a> {
    /// Name in the output, in camel case: `feedGetSmall`.
    pub(crate) name: &'a str,
    /// Unit of all samples: `ms`, `1/s`, `KiB`.
    pub(crate) unit: &'a str,
    /// Our samples, one a round.
    pub(crate) ours: Samples,
    /// The peer's name and samples.
    pub(crate) peer: Option<(&'a str, Samples)>,
    /// What the machine itself can do: name and samples.
    pub(crate) limit: Option<(&'a str, Samples)>,
    /// What has to hold; each that does not is an error.
    pub(crate) bars: Vec<Bar>,
}

/// The samples of one side, one a round.
#[derive(Clone, Debug)]
pub(crate) struct Samples(Vec<f64>);

/// What our median has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bar {
    /// At most this many of a measure.
    Most(f64, Of),
    /// At least this many of a measure.
    Least(f64, Of),
}

/// What a bar is a multiple of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of {
    /// The figure's unit.
    Units,
    /// The peer's median.
    Peer,
    /// The limit's median.
    Limit,
}

impl Samples {
    /// Takes the samples of all rounds.
    ///
    /// # Panics
    ///
    /// Without a sample: a bench has at least one round.
    pub(crate) fn new(mut samples: Vec<f64>) -> Self {
        assert!(!samples.is_empty(), "a figure without a round");
        samples.sort_by(f64::total_cmp);
        Self(samples)
    }

    /// The middle one, the upper of two.
    pub(crate) fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    fn spread(&self) -> String {
        let (min, max) = (self.0[0], self.0[self.0.len() - 1]);
        format!("{} [{}..{}]", short(self.median()), short(min), short(max))
    }
}

impl Figure<'_> {
    /// Prints the figure, as a line of JSON or for people; fails when a bar is missed.
    pub(crate) fn report(&self, as_json: bool) -> Result<()> {
        let median = |side: &Option<(&str, Samples)>| side.as_ref().map(|(_, s)| s.median());
        if as_json {
            let line = json!({
                "name": self.name, "unit": self.unit, "ours": self.ours.median(),
                "peer": median(&self.peer), "limit": median(&self.limit), "rounds": self.ours.0.len(),
            });
            println!("{line}");
        } else {
            println!("{}: {} {}", self.name, self.ours.spread(), self.unit);
            for (name, side) in self.peer.iter().chain(&self.limit) {
                let times = self.ours.median() / side.median();
                println!(
                    "    {name}: {}; ours is {} times that",
                    side.spread(),
                    short(times)
                );
            }
        }
        for bar in &self.bars {
            ensure!(
                bar.holds(self.ours.median(), median(&self.peer), median(&self.limit)),
                "`{}` misses its bar: {bar:?}, ours is {} {}",
                self.name,
                short(self.ours.median()),
                self.unit
            );
        }
        Ok(())
    }
}

/// Prints figures; returns what is wrong with those that missed a bar.
pub(crate) fn missed(figures: &[Figure<'_>], as_json: bool) -> Vec<String> {
    let reports = figures.iter().map(|figure| figure.report(as_json));
    reports
        .filter_map(Result::err)
        .map(|error| format!("{error:#}"))
        .collect()
}

/// Fails when anything was missed, and says all of it.
pub(crate) fn all_held(missed: &[String]) -> Result<()> {
    ensure!(missed.is_empty(), "{}", missed.join("\nerror: "));
    Ok(())
}

impl Bar {
    /// Says whether our median passes; a side that was not measured passes nothing.
    fn holds(self, ours: f64, peer: Option<f64>, limit: Option<f64>) -> bool {
        let measure = |of: Of| match of {
            Of::Units => Some(1.0),
            Of::Peer => peer,
            Of::Limit => limit,
        };
        match self {
            Self::Most(times, of) => measure(of).is_some_and(|measure| ours <= times * measure),
            Self::Least(times, of) => measure(of).is_some_and(|measure| ours >= times * measure),
        }
    }
}

/// Writes three digits that matter.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 4,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::{Bar, Of, Samples, short};

    #[test]
    fn the_median_is_the_middle_sample_whatever_their_order() {
        assert!((Samples::new(vec![9.0, 1.0, 5.0]).median() - 5.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_bar_compares_with_its_own_side_and_a_missing_side_passes_nothing() {
        let sides = |bar: Bar| bar.holds(10.0, Some(4.0), Some(20.0));
        for (measure, of) in [(1.0, Of::Units), (4.0, Of::Peer), (20.0, Of::Limit)] {
            let exactly = 10.0 / measure;
            assert!(sides(Bar::Most(exactly, of)) && sides(Bar::Least(exactly, of)));
            assert!(!sides(Bar::Most(exactly * 0.9, of)));
            assert!(!sides(Bar::Least(exactly * 1.1, of)));
        }
        assert!(!Bar::Most(99.0, Of::Peer).holds(1.0, None, Some(1.0)));
    }

    #[test]
    fn numbers_are_written_with_the_digits_that_matter() {
        assert_eq!(
            [123.456, 12.345, 1.234, 0.1234].map(short),
            ["123", "12.3", "1.23", "0.1234"]
        );
    }
}
