//! Start settings: what the launcher wrote for this node.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use klusterkite_hocon::Document;
use klusterkite_tls::Trust;
use klusterkite_wire::ids::ParseIdError;
use klusterkite_wire::service_directory::START_SETTINGS;
use klusterkite_wire::{
    ConfigurationId, ContainerType, Incarnation, NodeId, Runtime, TemplateCode,
};
use serde_json::Value;

use crate::Error;

/// What the launcher wrote for this node (`KlusterKite.NodeManager` and `KlusterKite.Cluster` of the settings).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartSettings {
    /// Identity of the launcher and its node.
    pub node_id: NodeId,
    /// Incarnation of this run.
    pub incarnation: Incarnation,
    /// Template that the node is made from.
    pub template: TemplateCode,
    /// Configuration of the template.
    pub configuration_id: ConfigurationId,
    /// Kind of the container.
    pub container_type: ContainerType,
    /// Runtime (RID) of the container.
    pub runtime: Runtime,
    /// Origins of the managers, tried in turn; empty: there is no manager.
    pub urls: Vec<String>,
    /// Whose certificates managers may show: what the launcher trusts (`KlusterKite.NodeManager.Tls.Ca`).
    pub trust: Trust,
    /// Addresses by which services find their own cluster.
    pub seeds: Vec<String>,
    /// How long a stop by a signal may take before the launcher kills (`KlusterKite.NodeManager.StopGraceMilliseconds`).
    pub stop_grace: Option<Duration>,
    /// Address by which other nodes reach this one (`KlusterKite.Cluster.Address`).
    pub address: Option<String>,
    /// Roles whose members are watched (`KlusterKite.Cluster.Watch`); `*`, the default, for all.
    pub watch: Vec<String>,
}

impl StartSettings {
    /// Reads the start settings of a service directory, for a node that is its own host.
    pub fn read(service_directory: &Path) -> Result<Self, Error> {
        let path = service_directory.join(START_SETTINGS);
        let text = fs::read_to_string(&path).map_err(|source| Error::Read {
            path: path.clone(),
            source,
        })?;
        let settings = Document::parse(&text, START_SETTINGS)
            .and_then(|document| document.resolve(&BTreeMap::new()))
            .map_err(|source| Error::StartSettings { path, source })?;
        Self::from_settings(&settings.as_value().to_json())
    }

    /// Reads the start settings out of the merged settings of a service directory.
    pub fn from_settings(settings: &Value) -> Result<Self, Error> {
        let read = Reader { settings };
        let watch = read.texts("KlusterKite.Cluster.Watch")?;
        Ok(Self {
            node_id: read.id("KlusterKite.NodeManager.NodeId")?,
            incarnation: read.id("KlusterKite.NodeManager.Incarnation")?,
            template: read.id("KlusterKite.NodeManager.NodeTemplate")?,
            configuration_id: read.id("KlusterKite.NodeManager.ConfigurationId")?,
            container_type: read.id("KlusterKite.NodeManager.ContainerType")?,
            runtime: read.id("KlusterKite.NodeManager.Runtime")?,
            urls: read
                .texts("KlusterKite.NodeManager.Url")?
                .unwrap_or_default(),
            trust: Trust::from_files(
                read.texts("KlusterKite.NodeManager.Tls.Ca")?
                    .unwrap_or_default()
                    .into_iter()
                    .map(PathBuf::from),
            ),
            seeds: read.texts("KlusterKite.Cluster.Seeds")?.unwrap_or_default(),
            stop_grace: read.milliseconds("KlusterKite.NodeManager.StopGraceMilliseconds")?,
            address: read.text("KlusterKite.Cluster.Address")?,
            watch: watch.unwrap_or_else(|| vec!["*".to_owned()]),
        })
    }
}

/// Looks settings up by their dotted path; numbers count as texts, because HOCON does not tell them apart either.
struct Reader<'a> {
    settings: &'a Value,
}

impl Reader<'_> {
    fn id<T: FromStr<Err = ParseIdError>>(&self, setting: &'static str) -> Result<T, Error> {
        let text = self
            .text(setting)?
            .ok_or(Error::SettingMissing { setting })?;
        text.parse()
            .map_err(|source| Error::SettingId { setting, source })
    }

    fn text(&self, setting: &'static str) -> Result<Option<String>, Error> {
        let Some(value) = self.find(setting) else {
            return Ok(None);
        };
        let expected = "a text or a number";
        let text = scalar(value).ok_or(Error::SettingKind { setting, expected })?;
        Ok(Some(text))
    }

    fn milliseconds(&self, setting: &'static str) -> Result<Option<Duration>, Error> {
        let Some(text) = self.text(setting)? else {
            return Ok(None);
        };
        let expected = "a whole number of milliseconds";
        let milliseconds = text
            .parse()
            .map_err(|_| Error::SettingKind { setting, expected })?;
        Ok(Some(Duration::from_millis(milliseconds)))
    }

    fn texts(&self, setting: &'static str) -> Result<Option<Vec<String>>, Error> {
        let Some(value) = self.find(setting) else {
            return Ok(None);
        };
        let texts: Option<Vec<String>> = match value {
            Value::Array(items) => items.iter().map(scalar).collect(),
            single => scalar(single).map(|text| vec![text]),
        };
        let expected = "a list of texts";
        texts
            .ok_or(Error::SettingKind { setting, expected })
            .map(Some)
    }

    fn find(&self, setting: &str) -> Option<&Value> {
        let mut value = self.settings;
        for key in setting.split('.') {
            value = value.get(key)?;
        }
        (!value.is_null()).then_some(value)
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn complete() -> Value {
        json!({ "KlusterKite": {
            "NodeManager": {
                "ConfigurationId": "7", "NodeTemplate": "orders", "ContainerType": "worker",
                "Runtime": "linux-x64", "NodeId": "00000000-0000-4000-8000-000000000001",
                "Incarnation": 1_763_826_000_123_u64, "Url": ["http://a:1", "http://b:2"],
            },
            "Cluster": { "Seeds": ["10.0.0.5:3090"] },
        } })
    }

    #[test]
    fn start_settings_are_read_whether_numbers_are_quoted_or_not() {
        let settings = StartSettings::from_settings(&complete()).unwrap();
        assert_eq!(settings.configuration_id, ConfigurationId(7));
        assert_eq!(settings.incarnation, Incarnation(1_763_826_000_123));
        assert_eq!(settings.urls, ["http://a:1", "http://b:2"]);
        assert_eq!(settings.seeds, ["10.0.0.5:3090"]);
        assert_eq!(settings.watch, ["*"]);
        assert_eq!(settings.address, None);
        assert_eq!(settings.stop_grace, None);
        assert_eq!(settings.trust, Trust::System);
        let mut settings = complete();
        settings["KlusterKite"]["NodeManager"]["StopGraceMilliseconds"] = json!(1500);
        let read = StartSettings::from_settings(&settings).unwrap();
        assert_eq!(read.stop_grace, Some(Duration::from_millis(1500)));
        settings["KlusterKite"]["NodeManager"]["Tls"] = json!({ "Ca": ["/a/ca.pem"] });
        let settings = StartSettings::from_settings(&settings).unwrap();
        assert_eq!(settings.trust, Trust::Authorities(vec!["/a/ca.pem".into()]));
    }

    #[test]
    fn start_settings_are_read_as_the_launcher_writes_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(START_SETTINGS);
        let text = r#"
            KlusterKite.NodeManager {
                ConfigurationId = 7, NodeTemplate = orders, ContainerType = worker, Runtime = linux-x64
                NodeId = "00000000-0000-4000-8000-000000000001", Incarnation = 1763826000123
                Url = ["http://a:1", "http://b:2"]
            }
            KlusterKite.Cluster.Seeds = ["10.0.0.5:3090"]
        "#;
        fs::write(&path, text).unwrap();
        let read = StartSettings::read(directory.path()).unwrap();
        assert_eq!(read, StartSettings::from_settings(&complete()).unwrap());
        fs::write(&path, "a = {").unwrap();
        assert!(StartSettings::read(directory.path()).is_err());
    }

    #[test]
    fn a_missing_or_wrong_start_setting_is_named() {
        let cases = [
            (
                "NodeId",
                Value::Null,
                "setting `KlusterKite.NodeManager.NodeId` is missing",
            ),
            (
                "NodeId",
                json!("x"),
                "setting `KlusterKite.NodeManager.NodeId` is not valid",
            ),
            (
                "Runtime",
                json!({}),
                "setting `KlusterKite.NodeManager.Runtime` is not a text",
            ),
            (
                "Url",
                json!([[]]),
                "setting `KlusterKite.NodeManager.Url` is not a list of texts",
            ),
            (
                "Incarnation",
                json!(-1),
                "setting `KlusterKite.NodeManager.Incarnation` is not valid",
            ),
        ];
        for (key, value, expected) in cases {
            let mut settings = complete();
            settings["KlusterKite"]["NodeManager"][key] = value;
            let error = StartSettings::from_settings(&settings)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(expected), "{key}: {error}");
        }
    }
}
