//! The section `retention` of the settings.

use std::time::Duration;

use klusterkite_hocon::deserialize_duration;
use serde::{Deserialize, Deserializer};

use super::refused;
use crate::Error;
use crate::retention::{Origin, Retention, Rule};

/// How often versions are removed if nothing else is said.
const EVERY: Duration = Duration::from_hours(1);

/// The shortest time between two runs: each reads the whole index.
const EVERY_MIN: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RetentionWritten {
    #[serde(default = "every", deserialize_with = "deserialize_duration")]
    every: Duration,
    rules: Vec<RuleWritten>,
}

fn every() -> Duration {
    EVERY
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RuleWritten {
    #[serde(default)]
    id_prefix: String,
    #[serde(default = "any")]
    origin: String,
    keep_stable: Option<u32>,
    keep_prerelease: Option<u32>,
    #[serde(default, deserialize_with = "some_duration")]
    keep_for: Option<Duration>,
    #[serde(default)]
    keep_listed: bool,
}

fn any() -> String {
    "any".to_owned()
}

fn some_duration<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Duration>, D::Error> {
    deserialize_duration(source).map(Some)
}

impl RetentionWritten {
    pub(super) fn build(self) -> Result<Retention, Error> {
        if self.every < EVERY_MIN {
            return Err(refused("retention.every", "must be at least 1s"));
        }
        let rules = self.rules.into_iter().enumerate();
        Ok(Retention {
            every: self.every,
            rules: rules
                .map(|(index, rule)| rule.build(index))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl RuleWritten {
    fn build(self, index: usize) -> Result<Rule, Error> {
        let at = |member: &str| format!("retention.rules[{index}]{member}");
        let limits = (self.keep_stable, self.keep_prerelease, self.keep_for);
        if limits == (None, None, None) {
            let reason = "has no limit: write `keepStable`, `keepPrerelease` or `keepFor`";
            return Err(refused(&at(""), reason));
        }
        let origin = match self.origin.as_str() {
            "any" => Origin::Any,
            "local" => Origin::Local,
            "upstream" => Origin::Upstream,
            _ => {
                let reason = "must be `any`, `local` or `upstream`";
                return Err(refused(&at(".origin"), reason));
            }
        };
        Ok(Rule {
            id_prefix: self.id_prefix.to_lowercase(),
            origin,
            keep_stable: self.keep_stable,
            keep_prerelease: self.keep_prerelease,
            keep_for: self.keep_for,
            keep_listed: self.keep_listed,
        })
    }
}
