//! A rolling update of all nodes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use klusterkite_tests::api::Operator;
use klusterkite_tests::process::wait_until;
use serde_json::{Value, json};

use super::cluster::Crowd;

/// How long a node of the crowd takes from its end to its next `hello`.
const RESTART_SECONDS: f64 = 1.0;

/// A tenth of the nodes of each template may be away at once: ten times one after another, whatever their number.
const BATCHES: f64 = 10.0;

/// How long the migration may take to be called completed when all nodes are ready again.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// Moves all nodes to a configuration in which every template has other settings. Returns how many times the least
/// possible that took, from the request until the last of them is ready again.
pub(super) fn update(operator: &Operator, crowd: &mut Crowd, nodes: usize) -> Result<f64> {
    let to = ready_configuration(operator)?;
    let request = json!({ "toConfigurationId": to, "mode": "automatic" });
    let started = Instant::now();
    operator.post("/migrations", request)?;
    crowd.tell(&format!("ready {}", 2 * nodes))?;
    let seconds = started.elapsed().as_secs_f64();
    let mut last = Value::Null;
    let completed = wait_until(END_TIMEOUT, || {
        last = operator.get("/migrations?limit=1").unwrap_or_default();
        last["items"][0]["state"] == "completed"
    });
    ensure!(completed, "the migration is not completed: {last}");
    Ok(seconds / (BATCHES * RESTART_SECONDS))
}

/// Makes a configuration from the first one, and has it checked and frozen.
fn ready_configuration(operator: &Operator) -> Result<i64> {
    let mut settings = operator.get("/configurations/1")?["settings"].take();
    let templates = settings["nodeTemplates"].as_array_mut();
    for template in templates.context("no node templates")? {
        if template["code"] != "clusterManager" {
            template["configuration"] = json!("Crowd.Update = 2");
        }
    }
    let draft = json!({ "name": "update", "settings": settings });
    let draft = operator.post("/configurations", draft)?;
    let id = draft["id"].as_i64().context("a configuration without id")?;
    operator.post(&format!("/configurations/{id}/ready"), json!({}))?;
    Ok(id)
}
