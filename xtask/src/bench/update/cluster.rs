//! Our cluster: a launcher and a service host for each process.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use klusterkite_tests::api::Operator;
use klusterkite_tests::local::{LocalCluster, Options};
use klusterkite_tests::process::wait_until;
use serde_json::{Value, json};

use super::{BATCH, Order, PATIENCE, PROCESSES, measured};
use crate::bench::sleeper::{self, Stamps};
use crate::tools::root;

/// Containers: those of the processes, and as many as a batch with surge takes.
const CONTAINERS: usize = PROCESSES + BATCH;

pub(super) struct Ours {
    cluster: LocalCluster,
    operator: Operator,
    stamps: Stamps,
    updates: usize,
}

impl Ours {
    pub(super) fn start(
        directory: &Path,
        programs: &Path,
        launcher: PathBuf,
        program: &Path,
    ) -> Result<Self> {
        let stamps = Stamps::new(directory.join("cluster.stamps"))?;
        let sample = directory.join("sample");
        let template = json!({
            "configuration": sleeper::settings(stamps.path(), "v1"),
            "minimumRequiredInstances": PROCESSES - BATCH, "maximumNeededInstances": PROCESSES,
            "rollout": { "batch": BATCH.to_string(), "minStableSeconds": 0, "surge": BATCH },
        });
        sleeper::write_sample(&sample, program, &template)?;
        let mut cluster = LocalCluster::launch(Options {
            directory: directory.join("cluster"),
            programs: programs.to_owned(),
            launcher: Some(launcher),
            repository: root(),
            sample: sample.display().to_string(),
            workers: CONTAINERS,
            tls: false,
        })?;
        cluster.wait_for_nodes(PROCESSES + 1)?;
        Ok(Self {
            operator: cluster.operator()?,
            cluster,
            stamps,
            updates: 0,
        })
    }

    /// Moves all processes to a new configuration; returns the milliseconds from the request to the last start.
    pub(super) fn update(&mut self, order: Order) -> Result<f64> {
        self.updates += 1;
        let tag = format!("v{}", self.updates + 1);
        // The floor of an update is the higher minimum of both ends, so that what is stopped first needs two steps.
        let floor = match order {
            Order::StopFirst => PROCESSES - BATCH,
            Order::StartFirst => PROCESSES,
        };
        let active = self.operator.get("/cluster/state")?["activeConfigurationId"].clone();
        let active = self.operator.get(&format!("/configurations/{active}"))?;
        let before = self.ready_with_floor(&active["settings"], floor)?;
        let id = self.configuration(&before, &tag)?;
        self.wait_until_idle()?;
        let begin = sleeper::now()?;
        let request = json!({ "toConfigurationId": id, "mode": "automatic" });
        self.operator.post("/migrations", request)?;
        let milliseconds = measured(&self.stamps, &tag, begin, floor)?;
        self.wait_until_idle()?;
        let nodes = self.operator.get("/nodes?template=sleeper&limit=100")?;
        let nodes = nodes["items"].as_array().cloned().unwrap_or_default();
        let moved = |node: &&Value| node["configurationId"] == id && node["status"] == "ready";
        ensure!(
            nodes.iter().filter(moved).count() >= PROCESSES,
            "not all nodes are at configuration {id}: {nodes:#?}"
        );
        Ok(milliseconds)
    }

    pub(super) fn stop(&mut self) -> Result<()> {
        self.cluster.stop()
    }

    /// Moves to a configuration that differs in its minimum only, which restarts nobody; returns its settings.
    fn ready_with_floor(&self, settings: &Value, floor: usize) -> Result<Value> {
        let mut settings = settings.clone();
        if settings["nodeTemplates"][0]["minimumRequiredInstances"] == floor {
            return Ok(settings);
        }
        settings["nodeTemplates"][0]["minimumRequiredInstances"] = json!(floor);
        let id = self.ready(&settings)?;
        self.wait_until_idle()?;
        let request = json!({ "toConfigurationId": id, "mode": "automatic" });
        self.operator.post("/migrations", request)?;
        self.wait_until_idle()?;
        Ok(settings)
    }

    /// Makes a configuration whose processes have another argument.
    fn configuration(&self, settings: &Value, tag: &str) -> Result<i64> {
        let mut settings = settings.clone();
        settings["nodeTemplates"][0]["configuration"] =
            json!(sleeper::settings(self.stamps.path(), tag));
        self.ready(&settings)
    }

    fn ready(&self, settings: &Value) -> Result<i64> {
        let draft = json!({ "name": "bench", "settings": settings });
        let made = self.operator.post("/configurations", draft)?;
        let id = made["id"].as_i64().context("a configuration has an id")?;
        self.operator
            .post(&format!("/configurations/{id}/ready"), json!({}))?;
        Ok(id)
    }

    /// Waits until the last migration is over and all nodes are ready.
    fn wait_until_idle(&self) -> Result<()> {
        let mut seen = Value::Null;
        let idle = wait_until(PATIENCE, || {
            seen = self.operator.get("/cluster/state").unwrap_or_default();
            let operations = seen["operations"].as_array().cloned().unwrap_or_default();
            operations
                .iter()
                .any(|one| one["id"] == "createMigration" && one["allowed"] == true)
        });
        ensure!(idle, "the cluster does not come to rest: {seen:#}");
        Ok(())
    }
}
