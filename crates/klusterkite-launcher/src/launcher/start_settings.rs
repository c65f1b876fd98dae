//! The start settings of a node: the layer of settings with the highest priority.

use klusterkite_wire::start::StartConfiguration;
use klusterkite_wire::{Incarnation, NodeId};
use serde_json::json;

use crate::config::Config;

/// Renders the start settings, as JSON, which is HOCON too. The seeds are shuffled, so that not
/// every node asks the same one first.
pub(crate) fn render(
    start: &StartConfiguration,
    node_id: &NodeId,
    incarnation: Option<Incarnation>,
    config: &Config,
    mut random: impl FnMut() -> u64,
) -> String {
    let mut seeds = start.seeds.clone();
    for last in (1..seeds.len()).rev() {
        let chosen = random() % (last as u64 + 1);
        seeds.swap(last, usize::try_from(chosen).unwrap_or(last));
    }
    let stop_grace = config.policy.stop_grace.as_millis();
    let stop_grace = u64::try_from(stop_grace).unwrap_or(u64::MAX);
    let mut settings = json!({
        "KlusterKite": {
            "NodeManager": {
                "ConfigurationId": start.configuration_id,
                "NodeTemplate": start.node_template,
                "ContainerType": config.container_type,
                "Runtime": config.runtime,
                "NodeId": node_id,
                "Incarnation": incarnation,
                "Url": config.manager_urls,
                "StopGraceMilliseconds": stop_grace,
            },
            "Cluster": { "Seeds": seeds },
        }
    });
    // The node's link and the manager, if this is its node, call by the same authority as the launcher.
    let authorities = config.trust.files();
    if !authorities.is_empty() {
        settings["KlusterKite"]["NodeManager"]["Tls"] = json!({ "Ca": authorities });
    }
    format!("{settings:#}\n")
}
