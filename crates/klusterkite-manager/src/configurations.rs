//! Configurations: Drafts are written, checked and frozen here; what is not a Draft never changes (B3).

mod check;
mod shown;

use klusterkite_api::configurations::{
    Configuration, ConfigurationCreate, ConfigurationPatch, StableRequest,
};
use klusterkite_api::page::Page;
use klusterkite_core::configuration::{ConfigurationContext, ConfigurationState, Trigger, allowed};
use klusterkite_core::settings::{PackagePin, Settings};
use klusterkite_nuget::Version;
use klusterkite_store::Change;
use klusterkite_store::rows::ConfigurationRow;
use klusterkite_wire::ConfigurationId;

use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::state::{Draft, State};

/// Longest name of a configuration, in characters: it stands in lists.
const NAME_CHARS_MAX: usize = 200;

/// Largest part of a version label.
const LABEL_MAX: i64 = 1_000_000;

/// Which revision a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMatch {
    /// The request does not say.
    Absent,
    /// Whatever is there: `*`.
    Any,
    /// This one.
    Revision(i64),
}

impl Cluster {
    /// Lists configurations, newest first, without their settings.
    pub async fn configuration_list(
        &self,
        only: Option<ConfigurationState>,
        limit: usize,
        before: Option<ConfigurationId>,
    ) -> Result<Page<Configuration>, Fault> {
        let state = self.read().await;
        let wanted = |row: &&ConfigurationRow| only.is_none_or(|only| row.state == only);
        let total = state.configurations.values().filter(wanted).count() as u64;
        let rest = state.configurations.values().rev().filter(wanted);
        let rest = rest.filter(|row| before.is_none_or(|before| row.id < before));
        let mut rows: Vec<_> = rest.take(limit + 1).collect();
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows
            .last()
            .filter(|_| has_more)
            .map(|row| row.id.to_string());
        let items = rows
            .into_iter()
            .map(|row| shown::without_settings(&state, row))
            .collect();
        Ok(Page {
            items,
            next_cursor,
            total,
        })
    }

    /// Shows a configuration.
    pub async fn configuration_get(&self, id: ConfigurationId) -> Result<Configuration, Fault> {
        let state = self.read().await;
        Ok(shown::whole(&state, row(&state, id)?))
    }

    /// Makes a Draft: empty, of given settings, or as a copy.
    pub async fn configuration_create(
        &self,
        create: ConfigurationCreate,
        actor: &str,
    ) -> Result<Configuration, Fault> {
        let (original, mut settings) = match (create.copy_of, create.settings) {
            (Some(_), Some(_)) => {
                let message = "give either `copyOf` or `settings`, not both";
                return Err(Fault::invalid("copyOf", message));
            }
            (Some(id), None) => {
                let original = row(&*self.read().await, id)?.clone();
                let settings = copied(&original.settings);
                (Some(original), settings)
            }
            (None, settings) => (None, settings.unwrap_or_default()),
        };
        if create.newest_packages {
            self.pin_newest(&mut settings).await?;
        }
        let labels = Labels {
            name: create
                .name
                .or_else(|| original.as_ref().map(|row| row.name.clone())),
            notes: create.notes,
            major_version: create.major_version,
            minor_version: create.minor_version,
        };
        labels.check()?;
        let id = self
            .transact(|draft| {
                let id = draft.next_configuration_id();
                let row = ConfigurationRow {
                    id,
                    name: labels.name.unwrap_or_else(|| format!("Configuration {id}")),
                    major_version: labels
                        .major_version
                        .unwrap_or_else(|| original.as_ref().map_or(1, |row| row.major_version)),
                    minor_version: labels.minor_version.unwrap_or_else(|| {
                        original
                            .as_ref()
                            .map_or(0, |row| row.minor_version.saturating_add(1))
                    }),
                    notes: labels.notes.unwrap_or_default(),
                    state: ConfigurationState::Draft,
                    is_stable: false,
                    created: draft.now.0,
                    started: None,
                    finished: None,
                    revision: 1,
                    settings,
                    frozen: None,
                };
                let from = original
                    .as_ref()
                    .map(|row| format!(" as a copy of {}", row.id));
                let message = format!("Draft {id} was made{}", from.unwrap_or_default());
                event(draft, "configurationCreated", actor, id, message);
                draft.put(Change::ConfigurationPut(row));
                Ok(id)
            })
            .await?;
        self.configuration_get(id).await
    }

    /// Changes a Draft, if it still is the revision that the request is about.
    pub async fn configuration_patch(
        &self,
        id: ConfigurationId,
        if_match: IfMatch,
        patch: ConfigurationPatch,
        actor: &str,
    ) -> Result<Configuration, Fault> {
        let labels = Labels {
            name: patch.name,
            notes: patch.notes,
            major_version: patch.major_version,
            minor_version: patch.minor_version,
        };
        labels.check()?;
        self.transact(|draft| {
            let before = row(draft.state, id)?;
            allowed(before.state, Trigger::Update, &context(draft.state, before))?;
            if if_match == IfMatch::Absent {
                return Err(Fault::PreconditionMissing);
            }
            same_revision(before, if_match)?;
            let mut after = before.clone();
            set(&mut after.name, labels.name);
            set(&mut after.notes, labels.notes);
            set(&mut after.major_version, labels.major_version);
            set(&mut after.minor_version, labels.minor_version);
            set(&mut after.settings, patch.settings);
            if after != *before {
                let message = format!("Draft {id} was changed");
                event(draft, "configurationUpdated", actor, id, message);
                put(draft, after);
            }
            Ok(())
        })
        .await?;
        self.configuration_get(id).await
    }

    /// Deletes a Draft.
    pub async fn configuration_delete(
        &self,
        id: ConfigurationId,
        if_match: IfMatch,
        actor: &str,
    ) -> Result<(), Fault> {
        self.transact(|draft| {
            let row = row(draft.state, id)?;
            allowed(row.state, Trigger::Delete, &context(draft.state, row))?;
            same_revision(row, if_match)?;
            let message = format!("Draft {id} `{}` was deleted", row.name);
            event(draft, "configurationDeleted", actor, id, message);
            draft.put(Change::ConfigurationDelete(id));
            Ok(())
        })
        .await
    }

    /// Discards a Ready configuration.
    pub async fn configuration_obsolete(
        &self,
        id: ConfigurationId,
        actor: &str,
    ) -> Result<Configuration, Fault> {
        self.transact(|draft| {
            let mut row = row(draft.state, id)?.clone();
            row.state = allowed(row.state, Trigger::SetObsolete, &context(draft.state, &row))?;
            let message = format!("configuration {id} was made obsolete");
            event(draft, "configurationObsolete", actor, id, message);
            put(draft, row);
            Ok(())
        })
        .await?;
        self.configuration_get(id).await
    }

    /// Marks the Active configuration as stable or not (B2).
    pub async fn configuration_stable(
        &self,
        id: ConfigurationId,
        request: StableRequest,
        actor: &str,
    ) -> Result<Configuration, Fault> {
        self.transact(|draft| {
            let mut row = row(draft.state, id)?.clone();
            let trigger = Trigger::SetStable(request.is_stable);
            row.state = allowed(row.state, trigger, &context(draft.state, &row))?;
            row.is_stable = request.is_stable;
            let mark = if request.is_stable {
                "stable"
            } else {
                "not stable"
            };
            let message = format!("configuration {id} was marked as {mark}");
            event(draft, "configurationStable", actor, id, message);
            put(draft, row);
            Ok(())
        })
        .await?;
        self.configuration_get(id).await
    }

    /// Sets every package to the newest version in the feed. A version that is newer than those listed stays,
    /// and so does a package that the feed does not have: the check says so.
    async fn pin_newest(&self, settings: &mut Settings) -> Result<(), Fault> {
        let ids = settings
            .packages
            .iter()
            .filter_map(|pin| pin.id.parse().ok())
            .collect();
        let newest = self.feed().newest(&settings.nuget_feed, ids).await?;
        for PackagePin { id, version } in &mut settings.packages {
            let found = id.parse().ok().and_then(|id| newest.get(&id));
            let is_newer = |found: &&Version| {
                version
                    .parse::<Version>()
                    .map_or(true, |pinned| pinned < **found)
            };
            if let Some(found) = found.filter(is_newer) {
                *version = found.to_string();
            }
        }
        Ok(())
    }
}

/// Labels that a request may give.
struct Labels {
    name: Option<String>,
    notes: Option<String>,
    major_version: Option<i64>,
    minor_version: Option<i64>,
}

impl Labels {
    fn check(&self) -> Result<(), Fault> {
        if let Some(name) = &self.name
            && (name.trim().is_empty()
                || name.chars().count() > NAME_CHARS_MAX
                || name.chars().any(char::is_control))
        {
            let message = format!("a name has 1 to {NAME_CHARS_MAX} characters in one line");
            return Err(Fault::invalid("name", message));
        }
        let labels = [
            ("majorVersion", self.major_version),
            ("minorVersion", self.minor_version),
        ];
        for (field, value) in labels {
            if value.is_some_and(|value| !(0..=LABEL_MAX).contains(&value)) {
                let message = format!("a version label lies between 0 and {LABEL_MAX}");
                return Err(Fault::invalid(field, message));
            }
        }
        Ok(())
    }
}

fn row(state: &State, id: ConfigurationId) -> Result<&ConfigurationRow, Fault> {
    state
        .configurations
        .get(&id)
        .ok_or_else(|| Fault::not_found("configuration", id))
}

/// Returns what besides its state decides about a configuration.
fn context(state: &State, row: &ConfigurationRow) -> ConfigurationContext {
    let ready = state.configurations.values();
    let mut ready = ready.filter(|other| other.state == ConfigurationState::Ready);
    ConfigurationContext {
        is_stable: row.is_stable,
        other_ready: ready.find(|other| other.id != row.id).map(|other| other.id),
        is_migration_target: state.migration.as_ref().is_some_and(|m| m.to == row.id),
    }
}

fn same_revision(row: &ConfigurationRow, if_match: IfMatch) -> Result<(), Fault> {
    match if_match {
        IfMatch::Revision(revision) if revision != row.revision => {
            Err(Fault::Precondition(format!(
                "configuration {} is at revision {} and not at {revision}: somebody changed it; read it again",
                row.id, row.revision
            )))
        }
        IfMatch::Revision(_) | IfMatch::Any | IfMatch::Absent => Ok(()),
    }
}

/// Returns the settings for a copy: the mark `forceUpdate` was about the original.
fn copied(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    for template in &mut settings.node_templates {
        template.force_update = false;
    }
    settings
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn put(draft: &mut Draft<'_>, mut row: ConfigurationRow) {
    row.revision += 1;
    draft.put(Change::ConfigurationPut(row));
}

fn event(draft: &mut Draft<'_>, kind: &str, actor: &str, id: ConfigurationId, message: String) {
    draft.event(kind, actor, format!("configuration:{id}"), message);
}
