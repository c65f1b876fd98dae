//! What leases say about nodes, and what forbids every voluntary act while too little is known.
//!
//! A node speaks at least once per lease. Silence means nothing more than silence: the node may well be
//! serving, so it is out of reach first and given up later.

use std::time::Duration;

use crate::plan::rollout::NodeStatus;
use crate::reason::{ReasonCode, Waiting};
use crate::time::Timestamp;

/// At least so many nodes have to vanish at once to be a mass failure.
pub const MASS_FAILURE_MIN: usize = 3;

/// A mass failure holds voluntary acts as long as it is this recent and the nodes are not back.
pub const MASS_FAILURE_HOLD: Duration = Duration::from_mins(1);

/// How long silence is borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// A container that was told what to be joins, or reports progress, within this time.
    pub join_timeout: Duration,
    /// A node whose token was given, or which another manager knew, speaks within this time.
    pub failover_lease: Duration,
    /// A node that is out of reach for so long is given up.
    pub evict_after: Duration,
}

/// What is known about the run of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// What it said last.
    pub status: NodeStatus,
    /// Since when.
    pub status_since: Timestamp,
    /// End of its lease; of an assigned one: when it reported progress last.
    pub lease: Option<Timestamp>,
    /// Set while the node has not spoken since this manager started: until when that is borne.
    pub unconfirmed_until: Option<Timestamp>,
    /// True when it is the replacement that an open stop order waits for: that order ends by the planner.
    pub replaces: bool,
}

/// Says what a lease means for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// It counts as it is.
    Valid,
    /// It is out of reach.
    Lost,
    /// It is given up, with the reason.
    Gone(&'static str),
}

/// Judges the lease of one node.
pub fn lease(heard: &Heard, patience: &Patience, now: Timestamp) -> Lease {
    if heard.unconfirmed_until.is_some_and(|until| now < until) {
        return Lease::Valid;
    }
    let since = heard.status_since;
    match heard.status {
        NodeStatus::Assigned => {
            let renewed = heard.lease.unwrap_or(since).max(since);
            if heard.replaces || now.since(renewed) < patience.join_timeout {
                Lease::Valid
            } else {
                Lease::Gone("it did not join in time")
            }
        }
        NodeStatus::Unreachable if now.since(since) < patience.evict_after => Lease::Valid,
        NodeStatus::Unreachable => Lease::Gone("it was unreachable for too long"),
        _ if heard.unconfirmed_until.is_some() => Lease::Lost,
        _ => match heard.lease {
            Some(end) if now < end => Lease::Valid,
            // Its token was given, its link is not there yet.
            None if now.since(since) < patience.failover_lease => Lease::Valid,
            Some(_) | None => Lease::Lost,
        },
    }
}

/// What is known about all nodes together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Census {
    /// Nodes that run or are about to.
    pub running: usize,
    /// Nodes that have not spoken since this manager started.
    pub unconfirmed: usize,
    /// Until when that is borne.
    pub unconfirmed_until: Timestamp,
    /// Nodes that were lost within [`MASS_FAILURE_HOLD`] and are not back.
    pub lost: usize,
    /// The part of the nodes whose loss at once is a failure of something else (0 to 1).
    pub mass_failure_part: f64,
}

/// Collects what forbids every voluntary act.
pub fn holds(census: &Census, now: Timestamp) -> Vec<Waiting> {
    let Census {
        running,
        unconfirmed,
        unconfirmed_until,
        lost,
        mass_failure_part,
    } = *census;
    let mut holds = Vec::new();
    if unconfirmed > 0 {
        let message = format!(
            "nodes that have not spoken since this manager started: {unconfirmed}; they have {} s left",
            unconfirmed_until.since(now).as_secs()
        );
        holds.push(Waiting::new(ReasonCode::Unconfirmed, message));
    }
    if lost >= MASS_FAILURE_MIN && lost as f64 > running as f64 * mass_failure_part {
        let message = format!(
            "{lost} of {running} nodes vanished: nothing is stopped until they are back, for {} s at most",
            MASS_FAILURE_HOLD.as_secs()
        );
        holds.push(Waiting::new(ReasonCode::MassFailure, message));
    }
    holds
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        join_timeout: Duration::from_secs(30),
        failover_lease: Duration::from_secs(15),
        evict_after: Duration::from_mins(1),
    };

    fn heard(status: NodeStatus, since: u64, lease: Option<u64>) -> Heard {
        Heard {
            status,
            status_since: Timestamp(since),
            lease: lease.map(Timestamp),
            unconfirmed_until: None,
            replaces: false,
        }
    }

    #[test]
    fn a_lease_ends_in_two_steps() {
        let at = |heard: &Heard, now| lease(heard, &PATIENCE, Timestamp(now));
        let ready = heard(NodeStatus::Ready, 0, Some(10_000));
        assert_eq!(at(&ready, 9_999), Lease::Valid);
        assert_eq!(at(&ready, 10_000), Lease::Lost);
        let away = heard(NodeStatus::Unreachable, 10_000, None);
        assert_eq!(at(&away, 69_999), Lease::Valid);
        assert!(matches!(at(&away, 70_000), Lease::Gone(_)));
    }

    #[test]
    fn who_was_told_what_to_be_has_time_to_join_and_a_replacement_has_its_order() {
        let at = |heard: &Heard, now| lease(heard, &PATIENCE, Timestamp(now));
        let assigned = heard(NodeStatus::Assigned, 0, None);
        assert_eq!(at(&assigned, 29_999), Lease::Valid);
        assert!(matches!(at(&assigned, 30_000), Lease::Gone(_)));
        let loading = heard(NodeStatus::Assigned, 0, Some(20_000));
        assert_eq!(at(&loading, 49_999), Lease::Valid);
        let replaces = Heard {
            replaces: true,
            ..assigned
        };
        assert_eq!(at(&replaces, 1_000_000), Lease::Valid);
    }

    #[test]
    fn an_unconfirmed_node_counts_until_its_time_is_over() {
        let unconfirmed = Heard {
            unconfirmed_until: Some(Timestamp(15_000)),
            ..heard(NodeStatus::Ready, 0, None)
        };
        assert_eq!(
            lease(&unconfirmed, &PATIENCE, Timestamp(14_999)),
            Lease::Valid
        );
        assert_eq!(
            lease(&unconfirmed, &PATIENCE, Timestamp(15_000)),
            Lease::Lost
        );
    }

    #[test]
    fn few_losses_hold_nothing_and_many_hold_everything() {
        let census = |running, lost| Census {
            running,
            unconfirmed: 0,
            unconfirmed_until: Timestamp(0),
            lost,
            mass_failure_part: 0.3,
        };
        let held = |running, lost| !holds(&census(running, lost), Timestamp(0)).is_empty();
        assert!(!held(2, 2), "a small cluster is not held by every loss");
        assert!(!held(10, 3) && held(10, 4));
    }
}
