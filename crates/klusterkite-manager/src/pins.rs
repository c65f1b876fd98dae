//! Tells the feed which versions the cluster needs, so that it refuses to purge them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klusterkite_nuget::{PackageId, Version};
use klusterkite_store::rows::EventRow;
use klusterkite_wire::start::PackageReference;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::state::State;

/// Versions that are needed, by the feed that has them.
type Pins = BTreeMap<String, BTreeSet<(PackageId, Version)>>;

/// Pause after a feed could not be told.
const RETRY: Duration = Duration::from_secs(10);

/// How often a feed is told again what it was told before: it may have been restored from a backup.
const REPEAT: Duration = Duration::from_hours(1);

impl Cluster {
    /// Keeps the pins of the feeds up to date until the future is dropped.
    pub async fn pins_keep(&self) {
        let mut events = self.events();
        let mut told = Pins::new();
        loop {
            let wanted = wanted(&*self.read().await);
            let all_told = self.pins_tell(&wanted, &mut told).await;
            let pause = if all_told { REPEAT } else { RETRY };
            if timeout(pause, configuration_event(&mut events))
                .await
                .is_err()
                && all_told
            {
                told.clear();
            }
        }
    }

    /// Tells each feed what it does not know yet. Returns whether all of them know it now.
    async fn pins_tell(&self, wanted: &Pins, told: &mut Pins) -> bool {
        told.retain(|feed, _| wanted.contains_key(feed));
        for (feed, pins) in wanted {
            if told.get(feed) == Some(pins) {
                continue;
            }
            let name = &self.config().cluster_name;
            match self
                .feed()
                .pin(feed, name.clone(), pins.iter().cloned().collect())
                .await
            {
                Ok(()) => drop(told.insert(feed.clone(), pins.clone())),
                Err(fault) => {
                    tracing::warn!("the feed does not know which packages are needed: {fault}");
                }
            }
        }
        told.len() == wanted.len()
            && told
                .iter()
                .all(|(feed, pins)| wanted.get(feed) == Some(pins))
    }
}

/// Returns the packages of every configuration that is not a Draft: the cluster may go to it or back to it.
fn wanted(state: &State) -> Pins {
    let mut pins = Pins::new();
    for row in state.configurations.values() {
        let Some(frozen) = &row.frozen else {
            continue;
        };
        let of_feed = pins.entry(row.settings.nuget_feed.clone()).or_default();
        let templates = frozen
            .node_templates
            .values()
            .chain(frozen.migrator_templates.values());
        of_feed.extend(
            templates
                .flat_map(BTreeMap::values)
                .flatten()
                .filter_map(named),
        );
    }
    pins
}

fn named(package: &PackageReference) -> Option<(PackageId, Version)> {
    Some((package.id.parse().ok()?, package.version.parse().ok()?))
}

/// Waits until something happens to a configuration, or may have happened.
async fn configuration_event(events: &mut Receiver<EventRow>) {
    loop {
        match events.recv().await {
            Ok(event) if !event.object.starts_with("configuration:") => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            // The manager ends.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
