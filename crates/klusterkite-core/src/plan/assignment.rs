//! What a container becomes when its launcher asks.
//!
//! Candidates are the templates of the Active configuration that the container may run. Among them:
//!
//! 1. some below their minimum: the highest priority (ties: larger shortage, then code);
//! 2. else some that an update needs spare capacity for;
//! 3. else some below their maximum, or without one: the highest priority;
//! 4. else the container waits, and is the cluster's spare capacity.
//!
//! Inside a stage a container goes back to the slot that is kept for it.

mod choose;
mod occupancy;

use std::fmt;
use std::time::Duration;

use klusterkite_wire::{ContainerType, NodeId, Runtime, TemplateCode};
use serde::{Deserialize, Serialize};

use crate::release::{NodeTemplate, Release};
pub use occupancy::{Occupancy, Occupant, Taken};

/// How long a container waits when the cluster is full.
///
/// New work for it appears when the operator changes something or a node dies; a minute is soon enough
/// and keeps 10,000 waiting containers at 170 requests a second.
pub const RETRY_AFTER_FULL: Duration = Duration::from_mins(1);

/// Questions a second of all waiting containers together, below which they may ask more often: an update with surge
/// goes on when the next one asks.
const WAITING_ASKS: u64 = 150;

/// The shortest wait: a second of an update is worth a question.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

/// How long a container waits while a migration runs: it is spare capacity that the next step may need.
pub const RETRY_AFTER_MIGRATING: Duration = Duration::from_secs(5);

/// Shortens a wait as far as the number of waiting containers allows.
pub fn wait_among(wait: Duration, waiting: usize) -> Duration {
    let shared = Duration::from_secs(waiting as u64 / WAITING_ASKS);
    wait.min(shared.max(RETRY_AFTER_MIN))
}

/// A launcher's question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Who asks.
    pub node_id: NodeId,
    /// Kind of its container.
    pub container_type: ContainerType,
    /// Its runtime.
    pub runtime: Runtime,
    /// True when an operator took the container out of service.
    pub cordoned: bool,
    /// A random number; decides among equals when the configuration asks for chance.
    pub draw: u64,
}

/// What a container becomes.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A node of this template, from the Active configuration.
    Start {
        /// The template.
        template: TemplateCode,
        /// Why this one.
        why: Explanation,
    },
    /// Nothing yet.
    Wait {
        /// Problem code of the 503.
        code: WaitCode,
        /// When to ask again, before jitter.
        retry_after: Duration,
        /// Why nothing.
        why: Explanation,
    },
}

/// Says why a container gets nothing; the launcher starts nothing and forgets what it ran last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum WaitCode {
    /// Every template that would do has as many nodes as it may have.
    ClusterFull,
    /// No template names this container type with packages for this runtime.
    NoTemplateForContainer,
    /// An operator took the container out of service.
    Cordoned,
}

impl WaitCode {
    /// Returns the code's text on the wire; one of [`klusterkite_wire::start::WAIT_CODES`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterFull => "clusterFull",
            Self::NoTemplateForContainer => "noTemplateForContainer",
            Self::Cordoned => "cordoned",
        }
    }
}

impl fmt::Display for WaitCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Names the rule that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Rule {
    /// The template was below its minimum.
    BelowMinimum,
    /// An update needs spare capacity of the template.
    Surge,
    /// The template was below its maximum or has none.
    Spare,
    /// Every candidate is at its maximum.
    Full,
    /// There is no candidate.
    NoCandidate,
    /// The container is out of service.
    Cordoned,
}

/// Says what was considered and why it came out so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// The rule that decided.
    pub rule: Rule,
    /// True when the container went back to a slot that was kept for it.
    #[serde(default)]
    pub kept_slot: bool,
    /// Every template that the container may run.
    pub candidates: Vec<Candidate>,
    /// The reason as a sentence.
    pub sentence: String,
}

/// Describes one template that was considered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Candidate {
    /// The template.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub template: TemplateCode,
    /// How many other nodes hold it or have a slot kept.
    pub count: u32,
    /// Its minimum.
    pub minimum: u32,
    /// Its maximum, if it has one.
    pub maximum: Option<u32>,
    /// Its priority.
    pub priority: f64,
}

/// Decides what the container that asks becomes; it costs nothing per node.
pub fn assign(release: &Release, ask: &Ask, taken: &Taken) -> Answer {
    let candidates = candidates(release, ask, taken);
    if ask.cordoned {
        let sentence =
            "the container is out of service; `uncordon` it to give it work again".to_owned();
        return wait(
            WaitCode::Cordoned,
            Rule::Cordoned,
            candidates,
            sentence,
            taken,
        );
    }
    if candidates.is_empty() {
        let sentence = format!(
            "no template of configuration {} names container type `{}` and has packages for runtime `{}`",
            release.id, ask.container_type, ask.runtime
        );
        return wait(
            WaitCode::NoTemplateForContainer,
            Rule::NoCandidate,
            candidates,
            sentence,
            taken,
        );
    }
    let Some((template, rule, kept_slot)) = choose::choose(release, ask, taken, &candidates) else {
        let sentence = format!(
            "every template for this container has as many nodes as it may have: {}",
            names(&candidates)
        );
        return wait(
            WaitCode::ClusterFull,
            Rule::Full,
            candidates,
            sentence,
            taken,
        );
    };
    let sentence = choose::sentence(&template, rule, kept_slot, &candidates);
    let why = Explanation {
        rule,
        kept_slot,
        candidates,
        sentence,
    };
    Answer::Start { template, why }
}

/// Tells whether a container may run a template: its type is listed and packages exist for its runtime.
pub fn fits(template: &NodeTemplate, container_type: &ContainerType, runtime: &Runtime) -> bool {
    template.container_types.contains(container_type) && template.packages.contains_key(runtime)
}

fn candidates(release: &Release, ask: &Ask, taken: &Taken) -> Vec<Candidate> {
    release
        .node_templates
        .values()
        .filter(|template| fits(template, &ask.container_type, &ask.runtime))
        .map(|template| Candidate {
            template: template.code.clone(),
            count: taken.counts.get(&template.code).copied().unwrap_or(0),
            minimum: template.minimum,
            maximum: template.maximum,
            priority: template.priority,
        })
        .collect()
}

fn names(candidates: &[Candidate]) -> String {
    let names: Vec<&str> = candidates
        .iter()
        .map(|candidate| candidate.template.as_str())
        .collect();
    names.join(", ")
}

fn wait(
    code: WaitCode,
    rule: Rule,
    candidates: Vec<Candidate>,
    sentence: String,
    taken: &Taken,
) -> Answer {
    let retry_after = if taken.migrating {
        RETRY_AFTER_MIGRATING
    } else {
        RETRY_AFTER_FULL
    };
    let why = Explanation {
        rule,
        kept_slot: false,
        candidates,
        sentence,
    };
    Answer::Wait {
        code,
        retry_after,
        why,
    }
}

#[cfg(test)]
mod tests;
