//! What changes between two settings, in the operator's words.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::settings::{MigratorTemplateSettings, NodeTemplateSettings, PackagePin, Settings};

/// Says what changes from one configuration to another. Order in lists that mean sets does not matter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SettingsDiff {
    /// Packages that are added, removed or have another version, by id.
    pub packages: Vec<PackageChange>,
    /// Node templates that are added, removed or changed, by code.
    pub node_templates: Vec<TemplateChange>,
    /// Migrator templates that are added, removed or changed, by code.
    pub migrator_templates: Vec<TemplateChange>,
    /// Everything else: seeds, feed, runtimes, assignment.
    pub other: Vec<FieldChange>,
}

impl SettingsDiff {
    /// Tells whether both settings describe the same cluster.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Says what happened to a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PackageChange {
    /// Package id.
    pub id: String,
    /// Version before; absent when it is added.
    pub from: Option<String>,
    /// Version after; absent when it is removed.
    pub to: Option<String>,
}

/// Says what happened to a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TemplateChange {
    /// Code of the template.
    pub code: String,
    /// What happened to it.
    pub kind: ChangeKind,
    /// Fields that differ, by name; those of `rollout` as `rollout.batch`.
    pub fields: Vec<FieldChange>,
}

/// Says how a member of a list changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is not there any more.
    Removed,
    /// It is there before and after, and differs.
    Changed,
}

/// Says what happened to a field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldChange {
    /// Name of the field, as in the JSON of the settings.
    pub field: String,
    /// Value before.
    pub from: Value,
    /// Value after.
    pub to: Value,
}

/// Compares two settings.
pub fn diff(from: &Settings, to: &Settings) -> SettingsDiff {
    SettingsDiff {
        packages: packages(&from.packages, &to.packages),
        node_templates: templates(
            &by_code(&from.node_templates, |template| &template.code, node_fields),
            &by_code(&to.node_templates, |template| &template.code, node_fields),
        ),
        migrator_templates: templates(
            &by_code(
                &from.migrator_templates,
                |template| &template.code,
                migrator_fields,
            ),
            &by_code(
                &to.migrator_templates,
                |template| &template.code,
                migrator_fields,
            ),
        ),
        other: changed_fields(&other_fields(from), &other_fields(to)),
    }
}

type Fields = BTreeMap<String, Value>;

/// A template's code and its place among templates of the same code: a Draft may repeat one.
type Key = (String, usize);

fn packages(from: &[PackagePin], to: &[PackagePin]) -> Vec<PackageChange> {
    // NuGet ids mean the same in any case.
    let by_id = |pins: &[PackagePin]| -> BTreeMap<String, PackagePin> {
        pins.iter()
            .map(|pin| (pin.id.to_lowercase(), pin.clone()))
            .collect()
    };
    let (before, after) = (by_id(from), by_id(to));
    let ids: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |id: &String| {
        let (from, to) = (before.get(id), after.get(id));
        let change = PackageChange {
            id: to.or(from)?.id.clone(),
            from: from.map(|pin| pin.version.clone()),
            to: to.map(|pin| pin.version.clone()),
        };
        (change.from != change.to).then_some(change)
    };
    ids.into_iter().filter_map(change).collect()
}

fn by_code<T>(
    templates: &[T],
    code: impl Fn(&T) -> &String,
    fields: impl Fn(&T) -> Fields,
) -> BTreeMap<Key, Fields> {
    let mut found = BTreeMap::new();
    let mut seen: BTreeMap<&String, usize> = BTreeMap::new();
    for template in templates {
        let place = seen.entry(code(template)).or_default();
        found.insert((code(template).clone(), *place), fields(template));
        *place += 1;
    }
    found
}

fn templates(from: &BTreeMap<Key, Fields>, to: &BTreeMap<Key, Fields>) -> Vec<TemplateChange> {
    let keys: BTreeSet<&Key> = from.keys().chain(to.keys()).collect();
    let empty = Fields::new();
    let change = |key: &Key| {
        let (before, after) = (from.get(key), to.get(key));
        let kind = match (before, after) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            _ => ChangeKind::Changed,
        };
        let fields = changed_fields(before.unwrap_or(&empty), after.unwrap_or(&empty));
        let code = key.0.clone();
        (!fields.is_empty()).then_some(TemplateChange { code, kind, fields })
    };
    keys.into_iter().filter_map(change).collect()
}

fn changed_fields(from: &Fields, to: &Fields) -> Vec<FieldChange> {
    let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let value = |fields: &Fields, name: &String| fields.get(name).cloned().unwrap_or(Value::Null);
    let change = |name: &String| {
        let (from, to) = (value(from, name), value(to, name));
        (from != to).then(|| FieldChange {
            field: name.clone(),
            from,
            to,
        })
    };
    names.into_iter().filter_map(change).collect()
}

fn node_fields(template: &NodeTemplateSettings) -> Fields {
    let mut template = template.clone();
    template.container_types.sort();
    template.replaces.sort();
    template
        .package_requirements
        .sort_by_key(|requirement| requirement.id.to_lowercase());
    fields(&template)
}

fn migrator_fields(template: &MigratorTemplateSettings) -> Fields {
    let mut template = template.clone();
    template
        .package_requirements
        .sort_by_key(|requirement| requirement.id.to_lowercase());
    fields(&template)
}

fn other_fields(settings: &Settings) -> Fields {
    let mut runtimes = settings.runtimes.clone();
    runtimes.sort();
    fields(&Settings {
        packages: Vec::new(),
        node_templates: Vec::new(),
        migrator_templates: Vec::new(),
        runtimes,
        ..settings.clone()
    })
}

/// Returns the fields of a settings object by name, those of inner objects with a dot.
fn fields(object: &impl Serialize) -> Fields {
    let mut fields = Fields::new();
    let value = serde_json::to_value(object).expect("settings have text keys and finite structure");
    flatten(String::new(), value, &mut fields);
    fields
}

fn flatten(name: String, value: Value, fields: &mut Fields) {
    let Value::Object(members) = value else {
        fields.insert(name, value);
        return;
    };
    for (member, value) in members {
        let name = if name.is_empty() {
            member
        } else {
            format!("{name}.{member}")
        };
        flatten(name, value, fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(value: Value) -> Settings {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_diff_names_packages_templates_and_fields() {
        let from = settings(json!({
            "packages": [{"id": "A", "version": "1.0.0"}, {"id": "B", "version": "1.0.0"}, {"id": "D", "version": "1.0.0"}],
            "nodeTemplates": [{"code": "x", "minimumRequiredInstances": 1}, {"code": "old"}],
            "nugetFeed": "http://one",
        }));
        let to = settings(json!({
            "packages": [{"id": "a", "version": "1.0.0"}, {"id": "B", "version": "2.0.0"}, {"id": "C", "version": "1.0.0"}],
            "nodeTemplates": [{"code": "x", "minimumRequiredInstances": 2, "rollout": {"batch": "2"}}],
            "migratorTemplates": [{"code": "db"}],
            "nugetFeed": "http://two",
        }));
        let diff = diff(&from, &to);
        let packages: Vec<_> = diff
            .packages
            .iter()
            .map(|change| {
                (
                    change.id.as_str(),
                    change.from.as_deref(),
                    change.to.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            packages,
            [
                ("B", Some("1.0.0"), Some("2.0.0")),
                ("C", None, Some("1.0.0")),
                ("D", Some("1.0.0"), None),
            ]
        );
        let templates: Vec<_> = diff
            .node_templates
            .iter()
            .map(|change| (change.code.as_str(), change.kind))
            .collect();
        assert_eq!(
            templates,
            [("old", ChangeKind::Removed), ("x", ChangeKind::Changed)]
        );
        let fields: Vec<_> = diff.node_templates[1]
            .fields
            .iter()
            .map(|change| change.field.as_str())
            .collect();
        assert_eq!(fields, ["minimumRequiredInstances", "rollout.batch"]);
        assert_eq!(diff.migrator_templates[0].kind, ChangeKind::Added);
        assert_eq!(
            diff.other,
            [FieldChange {
                field: "nugetFeed".into(),
                from: json!("http://one"),
                to: json!("http://two")
            }]
        );
    }

    #[test]
    fn the_order_of_sets_is_no_difference() {
        let one = settings(json!({"runtimes": ["a", "b"], "nodeTemplates": [
            {"code": "y"}, {"code": "x", "containerTypes": ["w", "m"], "replaces": ["q", "r"],
             "packageRequirements": [{"id": "B"}, {"id": "A"}]}]}));
        let other = settings(json!({"runtimes": ["b", "a"], "nodeTemplates": [
            {"code": "x", "containerTypes": ["m", "w"], "replaces": ["r", "q"],
             "packageRequirements": [{"id": "A"}, {"id": "B"}]}, {"code": "y"}]}));
        assert!(diff(&one, &other).is_empty());
    }

    #[test]
    fn a_repeated_template_code_in_a_draft_is_not_lost() {
        let one = settings(json!({"nodeTemplates": [{"code": "x"}]}));
        let two =
            settings(json!({"nodeTemplates": [{"code": "x"}, {"code": "x", "name": "again"}]}));
        assert_eq!(diff(&one, &two).node_templates[0].kind, ChangeKind::Added);
    }
}
