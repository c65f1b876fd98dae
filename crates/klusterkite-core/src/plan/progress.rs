//! How long the update of a template may go without a newly stable node.
//!
//! A deadline is kept as the time that is left, so that neither a restart of the manager nor a pause uses
//! it up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klusterkite_wire::TemplateCode;

/// Counts the time that passed for the templates whose update runs and is not held, and forgets the others.
///
/// `start` tells how much a template has that is counted for the first time.
pub fn count(
    left: &mut BTreeMap<TemplateCode, Duration>,
    moving: BTreeSet<TemplateCode>,
    passed: Duration,
    start: impl Fn(&TemplateCode) -> Duration,
) {
    left.retain(|template, _| moving.contains(template));
    for template in moving {
        let before = left.get(&template).copied();
        let before = before.unwrap_or_else(|| start(&template));
        left.insert(template, before.saturating_sub(passed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_counted_only_while_a_template_moves() {
        let code: TemplateCode = "web".parse().unwrap();
        let moving = || BTreeSet::from([code.clone()]);
        let whole = |_: &TemplateCode| Duration::from_secs(10);
        let mut left = BTreeMap::new();
        count(&mut left, moving(), Duration::from_secs(4), whole);
        count(&mut left, moving(), Duration::ZERO, whole);
        assert_eq!(left[&code], Duration::from_secs(6));
        count(&mut left, BTreeSet::new(), Duration::from_secs(1), whole);
        count(&mut left, moving(), Duration::from_secs(20), whole);
        assert_eq!(left[&code], Duration::ZERO);
    }
}
