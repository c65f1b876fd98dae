//! Settings of clusters that tests and benches make up.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// Returns the settings of a cluster with the manager of the sample `hello` and, beside the packages of every cluster,
/// one package of its own in version 1.0.0; nodes and migrators are up to the caller.
///
/// # Errors
///
/// Fails when the sample is not below `repository`, or is no cluster.
pub fn manager_and(repository: &Path, package: &str) -> Result<Value> {
    let hello = fs::read(repository.join("samples/hello/cluster.json"))?;
    let mut settings: Value = serde_json::from_slice(&hello)?;
    let templates = settings["nodeTemplates"].as_array_mut();
    let templates = templates.context("the sample has templates")?;
    templates.retain(|template| template["code"] == "clusterManager");
    settings["migratorTemplates"] = json!([]);
    let packages = settings["packages"].as_array_mut();
    let packages = packages.context("the sample has packages")?;
    packages.retain(|package| {
        let id = package["id"].as_str();
        !id.is_some_and(|id| id.starts_with("Hello"))
    });
    packages.push(json!({ "id": package, "version": "1.0.0" }));
    Ok(settings)
}
