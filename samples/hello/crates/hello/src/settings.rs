//! What the service is told: the node's merged settings, and the content of its own package.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;

/// File of the package that makes it a version, in the working directory.
const PACKAGE: &str = "hello.json";

/// What the service is and where it works.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) package: Package,
    pub(crate) node_id: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: PathBuf,
}

/// What differs between the versions of the package.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Package {
    pub(crate) version: String,
    /// Points that the database must have; later ones only add, so that they do no harm.
    pub(crate) schema_points: Vec<String>,
}

impl Settings {
    pub(crate) fn load() -> anyhow::Result<Self> {
        let path = std::env::var_os("KLUSTERKITE_CONFIG")
            .context("the variable `KLUSTERKITE_CONFIG` is not set: start me as a node")?;
        let settings = read_json(Path::new(&path))?;
        let package = serde_json::from_value(read_json(Path::new(PACKAGE))?)
            .with_context(|| format!("cannot understand `{PACKAGE}`"))?;
        let hello = settings.get("Hello").unwrap_or(&Value::Null);
        Ok(Self {
            package,
            node_id: std::env::var("KLUSTERKITE_NODE_ID").unwrap_or_else(|_| "-".to_owned()),
            host: text(hello, "Host")?,
            port: port(hello)?,
            database: text(hello, "Database")?.into(),
        })
    }
}

fn read_json(path: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("cannot parse `{}`", path.display()))
}

fn text(hello: &Value, key: &str) -> anyhow::Result<String> {
    match hello.get(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        _ => bail!("the setting `Hello.{key}` is missing or no text"),
    }
}

/// Reads the port, which is a text when it came from the environment.
fn port(hello: &Value) -> anyhow::Result<u16> {
    let number = match hello.get("Port") {
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_u64().and_then(|port| u16::try_from(port).ok()),
        None => None,
    };
    number.context("the setting `Hello.Port` is missing or no port number")
}
