//! A number for what a cluster is, so that equal situations are recognised.
//!
//! Numbers that only grow (incarnations, orders, journal) and moments are taken relative to the present:
//! two situations that differ in nothing else go on in the same way.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use klusterkite_core::time::Timestamp;
use klusterkite_wire::Incarnation;

use super::Cluster;
use super::containers::Life;
use super::leader::Busy;

/// Moments further away than so many units are all the same.
const UNITS_MAX: u64 = 9;

/// Incarnations further away than so many starts are all the same.
const STARTS_MAX: u64 = 3;

/// More failures than any gate of a model bears are all the same.
const FAILURES_MAX: u32 = 3;

/// How moments are seen.
#[derive(Debug, Clone, Copy)]
struct Clock {
    now: Timestamp,
    unit: Option<Duration>,
}

impl Clock {
    /// Returns how far away a moment is, in units; nothing when moments do not count.
    fn distance(self, at: Timestamp) -> (u64, u64) {
        let Some(unit) = self.unit else {
            return (0, 0);
        };
        let units = |time: Duration| {
            let units = time.as_millis().div_ceil(unit.as_millis().max(1));
            u64::try_from(units).unwrap_or(u64::MAX).min(UNITS_MAX)
        };
        (units(self.now.since(at)), units(at.since(self.now)))
    }
}

impl Cluster {
    /// Returns a number for everything but the time.
    pub fn fingerprint(&self) -> u64 {
        self.digest(Clock {
            now: self.now,
            unit: None,
        })
    }

    /// Returns a number for everything, deadlines in so many units included.
    pub fn fingerprint_with_deadlines(&self, unit: Duration) -> u64 {
        self.digest(Clock {
            now: self.now,
            unit: Some(unit),
        })
    }

    fn digest(&self, clock: Clock) -> u64 {
        let mut hasher = DefaultHasher::new();
        let out = &mut hasher;
        self.digest_store(clock, out);
        self.digest_leader(clock, out);
        for (index, container) in self.containers.iter().enumerate() {
            container.linked.hash(out);
            (container.deaf, container.crashed).hash(out);
            (&container.good, &container.ghost).hash(out);
            if let Some(stray) = &container.stray {
                (&stray.target, stray.status, clock.distance(stray.until)).hash(out);
                self.relative(index, stray.incarnation).hash(out);
            }
            (self.store.epoch - container.epoch.min(self.store.epoch))
                .min(1)
                .hash(out);
            for message in &container.inbox {
                (message.epoch == self.store.epoch).hash(out);
                self.relative(index, message.incarnation).hash(out);
                message.kind.hash(out);
            }
            match &container.life {
                Life::Off => 0_u8.hash(out),
                Life::Asking { at } => (1_u8, clock.distance(*at)).hash(out),
                Life::Fetching { target, until } => {
                    (2_u8, target, clock.distance(*until)).hash(out);
                }
                Life::Up(up) => {
                    (3_u8, &up.target, up.status, clock.distance(up.until)).hash(out);
                    (up.known, up.connected, &up.prefetched, &up.stops).hash(out);
                    (&up.before, &up.failure).hash(out);
                    let prefetching = up.prefetching.as_ref();
                    let prefetching = prefetching.map(|(_, to, at)| (to, clock.distance(*at)));
                    prefetching.hash(out);
                }
            }
        }
        self.resources.hash(out);
        for executor in &self.executors {
            (executor.epoch == self.store.epoch).hash(out);
            (&executor.planned.key, &executor.path, executor.hung).hash(out);
            (&executor.planned.point, clock.distance(executor.next_at)).hash(out);
            executor.orphan_until.map(|at| clock.distance(at)).hash(out);
        }
        self.faults.hash(out);
        self.monitor.digest(out);
        hasher.finish()
    }

    /// Returns an incarnation as its distance from the newest one of its container.
    fn relative(&self, index: usize, incarnation: Incarnation) -> u64 {
        let newest = self.containers[index].incarnation.0;
        newest.saturating_sub(incarnation.0).min(STARTS_MAX)
    }

    fn digest_store(&self, clock: Clock, out: &mut DefaultHasher) {
        let store = &self.store;
        for (id, row) in &store.configurations {
            (id, row.state, row.was_left).hash(out);
        }
        for (id, node) in &store.nodes {
            let index = super::index_of(id);
            (index, self.relative(index, node.incarnation)).hash(out);
            (node.cordoned, &node.last_template).hash(out);
            if let Some(run) = &node.run {
                (&run.target, run.status, clock.distance(run.status_since)).hash(out);
                self.relative(index, run.incarnation).hash(out);
            }
        }
        for order in store.orders.values() {
            let index = super::index_of(&order.node);
            (index, order.state, clock.distance(order.ordered)).hash(out);
            self.relative(index, order.incarnation).hash(out);
            order.kind.hash(out);
        }
        for (id, request) in &store.requests {
            let index = super::index_of(id);
            (
                index,
                request.force,
                self.relative(index, request.incarnation),
            )
                .hash(out);
            request.kind.hash(out);
        }
        for (code, gate) in &store.gates {
            (code, gate.failed.min(FAILURES_MAX), gate.reason.is_some()).hash(out);
        }
        if let Some(migration) = &store.migration {
            (migration.from, migration.to, migration.phase).hash(out);
            (
                migration.automatic,
                migration.rollback_on_failure,
                migration.goal,
            )
                .hash(out);
            let reason = migration.reason.as_ref();
            reason.map(|reason| &reason.message).hash(out);
        }
        store.ended.hash(out);
    }

    fn digest_leader(&self, clock: Clock, out: &mut DefaultHasher) {
        let Some(leader) = &self.leader else {
            return;
        };
        for (id, incarnation) in &leader.sessions {
            let index = super::index_of(id);
            (index, self.relative(index, *incarnation)).hash(out);
        }
        if clock.unit.is_some() {
            for (id, at) in leader.leases.iter().chain(&leader.losses) {
                (id, clock.distance(*at)).hash(out);
            }
            for (id, at) in &leader.prefetch_failures {
                (id, clock.distance(*at)).hash(out);
            }
            (
                &leader.unconfirmed,
                clock.distance(leader.unconfirmed_until),
            )
                .hash(out);
            leader.recheck_at.map(|at| clock.distance(at)).hash(out);
            leader.recheck.hash(out);
            clock.distance(leader.create_after).hash(out);
            for (code, left) in &leader.progress {
                (code, left.is_zero()).hash(out);
            }
        }
        for id in leader.waiting.keys() {
            id.hash(out);
        }
        for (id, readings) in &leader.readings {
            id.hash(out);
            let resources = readings.iter().flat_map(|reading| &reading.migrators);
            for migrator in resources {
                (&migrator.type_name, migrator.errors.is_empty()).hash(out);
                for resource in &migrator.resources {
                    (&resource.code, &resource.current_point).hash(out);
                }
            }
        }
        match leader.busy {
            None => 0_u8.hash(out),
            Some(Busy::Moving) => 1_u8.hash(out),
            // What cannot be read is read again and again; that is rest, too.
            Some(Busy::Reading { .. }) if clock.unit.is_none() => 0_u8.hash(out),
            Some(Busy::Reading { until }) => (2_u8, clock.distance(until)).hash(out),
        }
        (leader.executor_deaths, &leader.surge).hash(out);
        leader.moves.len().hash(out);
        for planned in &leader.moves {
            (&planned.key, &planned.point).hash(out);
        }
        leader.told_paused.hash(out);
    }
}
