//! Who needs a restart when another configuration comes into force.
//!
//! A node of template T from configuration X runs on under Y when T exists in Y with the same settings
//! text, the same entry point, the same direct requirements and the same resolved packages, hash by hash,
//! for the node's runtime, and Y does not force the update. Nothing is stored: the answer is computed
//! from content whenever it is asked, so it is the same forward and back (B22).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use klusterkite_wire::start::PackageReference;
use klusterkite_wire::{Runtime, TemplateCode};
use serde::{Deserialize, Serialize};

use crate::configuration::PackageChange;
use crate::release::{NodeTemplate, Release};

/// Says why a node cannot run on under another configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RestartReason {
    /// The other configuration has no such template.
    TemplateRemoved,
    /// The template's settings text differs.
    SettingsChanged,
    /// The template starts another program.
    EntryPointChanged,
    /// The template's direct packages differ.
    RequirementsChanged,
    /// The resolved packages differ for the node's runtime, indirect ones included.
    PackagesChanged {
        /// The packages that differ; the same version on both sides means another content.
        changed: Vec<PackageChange>,
    },
    /// The template is marked `forceUpdate` (B5).
    ForceUpdate,
    /// Nobody knows the configuration that the node runs.
    UnknownConfiguration,
}

impl fmt::Display for RestartReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TemplateRemoved => f.write_str("the template is not in the configuration"),
            Self::SettingsChanged => f.write_str("the template's settings changed"),
            Self::EntryPointChanged => f.write_str("the template's entry point changed"),
            Self::RequirementsChanged => f.write_str("the template's package requirements changed"),
            Self::PackagesChanged { changed } => {
                f.write_str("packages changed: ")?;
                write_changes(f, changed)
            }
            Self::ForceUpdate => f.write_str("the template is marked to be updated always"),
            Self::UnknownConfiguration => f.write_str("the node runs an unknown configuration"),
        }
    }
}

/// Returns why a node of `template` from `from` needs a restart under `to`, or `None` if it runs on.
pub fn restart_reason(
    from: &Release,
    to: &Release,
    template: &TemplateCode,
    runtime: &Runtime,
) -> Option<RestartReason> {
    if from.id == to.id {
        return None;
    }
    let Some(after) = to.node_templates.get(template) else {
        return Some(RestartReason::TemplateRemoved);
    };
    let Some(before) = from.node_templates.get(template) else {
        return Some(RestartReason::UnknownConfiguration);
    };
    if before.configuration != after.configuration {
        return Some(RestartReason::SettingsChanged);
    }
    if before.entry_point != after.entry_point {
        return Some(RestartReason::EntryPointChanged);
    }
    if before.requirements != after.requirements {
        return Some(RestartReason::RequirementsChanged);
    }
    let changed = changed_packages(packages(before, runtime), packages(after, runtime));
    if !changed.is_empty() {
        return Some(RestartReason::PackagesChanged { changed });
    }
    after.force_update.then_some(RestartReason::ForceUpdate)
}

fn packages<'a>(template: &'a NodeTemplate, runtime: &Runtime) -> &'a [PackageReference] {
    template.packages.get(runtime).map_or(&[], Vec::as_slice)
}

fn changed_packages(before: &[PackageReference], after: &[PackageReference]) -> Vec<PackageChange> {
    let by_id = |packages: &'_ [PackageReference]| -> BTreeMap<String, PackageReference> {
        packages
            .iter()
            .map(|package| (package.id.to_lowercase(), package.clone()))
            .collect()
    };
    let (before, after) = (by_id(before), by_id(after));
    let content = |package: Option<&PackageReference>| {
        package.map(|package| (package.version.clone(), package.sha512.clone()))
    };
    let ids: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut changed = Vec::new();
    for id in ids {
        let (from, to) = (before.get(id), after.get(id));
        if content(from) == content(to) {
            continue;
        }
        changed.push(PackageChange {
            id: to
                .or(from)
                .map_or_else(|| id.clone(), |package| package.id.clone()),
            from: from.map(|package| package.version.clone()),
            to: to.map(|package| package.version.clone()),
        });
    }
    changed
}

/// How many packages a sentence names before it counts the rest.
const NAMED_PACKAGES_MAX: usize = 3;

fn write_changes(f: &mut fmt::Formatter<'_>, changed: &[PackageChange]) -> fmt::Result {
    for (index, change) in changed.iter().take(NAMED_PACKAGES_MAX).enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        let id = &change.id;
        match (&change.from, &change.to) {
            (Some(from), Some(to)) if from == to => write!(f, "`{id}` {to} has another content"),
            (Some(from), Some(to)) => write!(f, "`{id}` {from} → {to}"),
            (None, Some(to)) => write!(f, "`{id}` {to} is new"),
            (_, None) => write!(f, "`{id}` is gone"),
        }?;
    }
    match changed.len().saturating_sub(NAMED_PACKAGES_MAX) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

#[cfg(test)]
mod tests;
