//! Removing the versions that the rules of retention name: once, or again and again beside the
//! server.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use klusterkite_wire::chain;

use crate::counters::count;
use crate::feed::index_path;
use crate::index::Index;
use crate::retention::{Decision, Retention, Rule, Verdict, decide};
use crate::{Error, Feed};

/// How long after its start a server removes versions for the first time, if that is earlier than
/// the regular time: a server that is restarted often must not keep everything for ever.
const FIRST_RUN: Duration = Duration::from_mins(1);

/// How often one run decides anew because pins or listings changed under it; the next run does
/// the rest.
const DECISIONS_MAX: usize = 10;

/// What a run removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) versions: u64,
    pub(crate) bytes: u64,
}

impl Feed {
    /// Removes what the rules name, one version at a time; each is decided by what was pinned and
    /// listed when it goes.
    pub(crate) async fn retain(&self, rules: &[Rule]) -> Result<Removed, Error> {
        let mut removed = Removed::default();
        'decide: for _ in 0..DECISIONS_MAX {
            let decided_on = self.changes.load(Ordering::SeqCst);
            for decision in plan(&self.index, rules, SystemTime::now()).await? {
                let Verdict::Goes(..) = &decision.verdict else {
                    continue;
                };
                let writing = self.writing.lock().await;
                if self.changes.load(Ordering::SeqCst) != decided_on {
                    continue 'decide;
                }
                match self.remove(&decision.id, &decision.version, false).await {
                    Ok(()) => {}
                    // Purged by somebody since.
                    Err(Error::NotFound { .. }) => continue,
                    Err(error) => return Err(error),
                }
                drop(writing);
                count(&self.counters.retention_removals);
                removed.versions += 1;
                removed.bytes += decision.size;
                tracing::info!(id = %decision.id, version = %decision.version,
                    reason = %decision.verdict, "removed by retention");
            }
            return Ok(removed);
        }
        tracing::info!("pins change all the time; the next run of retention does the rest");
        Ok(removed)
    }
}

/// Says what a run now would do, also while a server is running.
pub(crate) async fn dry_run(directory: &Path, rules: &[Rule]) -> Result<Vec<Decision>, Error> {
    let index = Index::open_to_read(&index_path(directory)).await?;
    let decisions = plan(&index, rules, SystemTime::now()).await;
    index.close().await;
    decisions
}

async fn plan(index: &Index, rules: &[Rule], now: SystemTime) -> Result<Vec<Decision>, Error> {
    let (packages, pins) = index.candidates().await?;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let rules = rules.to_vec();
    // Thousands of versions take a while.
    let decided = move || decide(&rules, packages, &pins, now as i64);
    tokio::task::spawn_blocking(decided)
        .await
        .map_err(Error::Task)
}

/// Removes versions beside a server for as long as it runs.
pub(crate) async fn run_always(feed: Arc<Feed>, retention: Retention) {
    let mut ticks = Ticks::new(retention.every);
    loop {
        ticks.tick().await;
        match feed.retain(&retention.rules).await {
            Ok(Removed { versions: 0, .. }) => {}
            Ok(removed) => tracing::info!(
                versions = removed.versions,
                bytes = removed.bytes,
                "retention made room"
            ),
            Err(error) => {
                tracing::error!(error = chain(&error), "retention failed; it is tried again");
            }
        }
    }
}

/// Says when to run: soon after the start, and then so long after the end of each run.
struct Ticks {
    next: Duration,
    every: Duration,
}

impl Ticks {
    fn new(every: Duration) -> Self {
        let next = every.min(FIRST_RUN);
        Self { next, every }
    }

    /// Waits until it is time to run.
    async fn tick(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = self.every;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// In which minutes of the first five hours something that takes `length` runs.
    async fn runs(every: Duration, length: Duration) -> Vec<u64> {
        let started = Instant::now();
        let mut minutes = Vec::new();
        let mut ticks = Ticks::new(every);
        loop {
            ticks.tick().await;
            if started.elapsed() >= Duration::from_hours(5) {
                return minutes;
            }
            minutes.push(started.elapsed().as_secs() / 60);
            tokio::time::sleep(length).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retention_runs_soon_after_the_start_and_then_regularly() {
        let (hour, minute) = (Duration::from_hours(1), Duration::from_mins(1));
        assert_eq!(runs(hour, Duration::ZERO).await, [1, 61, 121, 181, 241]);
        // A long run is never joined by the next one.
        assert_eq!(runs(hour, hour).await, [1, 121, 241]);
        assert_eq!(runs(minute / 2, Duration::ZERO).await.len(), 599);
    }
}
