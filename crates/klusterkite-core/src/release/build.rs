//! Settings → release: every text is parsed, every number lies in its range.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use klusterkite_wire::ids::ParseIdError;
use klusterkite_wire::start::DEFAULT_ENTRY_POINT;
use klusterkite_wire::{ConfigurationId, TemplateCode};

use super::{FrozenPackages, MigratorTemplate, NodeTemplate, Release, Rollout};
use crate::Error;
use crate::settings::{
    MANAGER_PACKAGE, MigratorTemplateSettings, NodeTemplateSettings, PackageRequirement,
    RolloutSettings, Settings,
};

/// Longest time in rollout settings: a year. Longer ones are typing errors and would overflow somewhere.
pub(crate) const SECONDS_MAX: i64 = 365 * 24 * 3600;

pub(super) fn release(
    id: ConfigurationId,
    settings: &Settings,
    frozen: &FrozenPackages,
) -> Result<Release, Error> {
    let mut node_templates = BTreeMap::new();
    for template in &settings.node_templates {
        let template = node_template(template, frozen)?;
        let code = template.code.clone();
        if node_templates.insert(code.clone(), template).is_some() {
            return Err(duplicate("nodeTemplates", &code));
        }
    }
    let mut migrator_templates = BTreeMap::new();
    for template in &settings.migrator_templates {
        let template = migrator_template(template, frozen)?;
        let code = template.code.clone();
        if migrator_templates.insert(code.clone(), template).is_some() {
            return Err(duplicate("migratorTemplates", &code));
        }
    }
    Ok(Release {
        id,
        node_templates,
        migrator_templates,
        feed: settings.nuget_feed.clone(),
        seeds: settings.seed_addresses.clone(),
        runtimes: ids("runtimes", &settings.runtimes)?,
        assignment: settings.assignment,
    })
}

fn node_template(
    template: &NodeTemplateSettings,
    frozen: &FrozenPackages,
) -> Result<NodeTemplate, Error> {
    let code: TemplateCode = parse_id("nodeTemplates.code", &template.code)?;
    let field = |name: &str| format!("nodeTemplates[\"{code}\"].{name}");
    let minimum = count(
        &field("minimumRequiredInstances"),
        template.minimum_required_instances,
    )?;
    let maximum = match template.maximum_needed_instances {
        None => None,
        Some(maximum) => Some(count(&field("maximumNeededInstances"), maximum)?),
    };
    if maximum.is_some_and(|maximum| maximum < minimum) {
        return Err(Error::OutOfRange {
            field: field("maximumNeededInstances"),
            value: maximum.unwrap_or_default().to_string(),
            expected: "at least the minimum",
        });
    }
    Ok(NodeTemplate {
        name: template.name.clone(),
        configuration: template.configuration.clone(),
        container_types: ids(&field("containerTypes"), &template.container_types)?,
        minimum,
        maximum,
        priority: priority(&field("priority"), template.priority)?,
        persistent: template.persistent,
        exclusive: template.exclusive,
        force_update: template.force_update,
        entry_point: template
            .entry_point
            .clone()
            .unwrap_or_else(|| DEFAULT_ENTRY_POINT.to_owned()),
        replaces: ids(&field("replaces"), &template.replaces)?,
        requirements: requirements(&template.package_requirements),
        packages: frozen
            .node_templates
            .get(&code)
            .cloned()
            .unwrap_or_default(),
        rollout: rollout(&field("rollout"), &template.rollout)?,
        is_manager: requires(&template.package_requirements, MANAGER_PACKAGE),
        code,
    })
}

fn migrator_template(
    template: &MigratorTemplateSettings,
    frozen: &FrozenPackages,
) -> Result<MigratorTemplate, Error> {
    let code: TemplateCode = parse_id("migratorTemplates.code", &template.code)?;
    Ok(MigratorTemplate {
        name: template.name.clone(),
        configuration: template.configuration.clone(),
        priority: priority(
            &format!("migratorTemplates[\"{code}\"].priority"),
            template.priority,
        )?,
        packages: frozen
            .migrator_templates
            .get(&code)
            .cloned()
            .unwrap_or_default(),
        code,
    })
}

fn rollout(field: &str, rollout: &RolloutSettings) -> Result<Rollout, Error> {
    Ok(Rollout {
        batch: rollout.batch.parse()?,
        min_stable: seconds(
            &format!("{field}.minStableSeconds"),
            rollout.min_stable_seconds,
        )?,
        progress_deadline: seconds(
            &format!("{field}.progressDeadlineSeconds"),
            rollout.progress_deadline_seconds,
        )?,
        start_deadline: seconds(
            &format!("{field}.startDeadlineSeconds"),
            rollout.start_deadline_seconds,
        )?,
        max_failed: count(&format!("{field}.maxFailed"), rollout.max_failed)?,
        canary: count(&format!("{field}.canary"), rollout.canary)?,
        surge: count(&format!("{field}.surge"), rollout.surge)?,
    })
}

fn requirements(requirements: &[PackageRequirement]) -> BTreeMap<String, Option<String>> {
    requirements
        .iter()
        .map(|requirement| {
            (
                requirement.id.to_lowercase(),
                requirement.specific_version.clone(),
            )
        })
        .collect()
}

fn requires(requirements: &[PackageRequirement], package: &str) -> bool {
    requirements
        .iter()
        .any(|requirement| requirement.id.eq_ignore_ascii_case(package))
}

fn ids<T, C>(field: &str, texts: &[String]) -> Result<C, Error>
where
    T: FromStr<Err = ParseIdError>,
    C: FromIterator<T>,
{
    texts.iter().map(|text| parse_id(field, text)).collect()
}

fn parse_id<T: FromStr<Err = ParseIdError>>(field: &str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|source| Error::InvalidId {
        field: field.to_owned(),
        source,
    })
}

fn count(field: &str, value: i64) -> Result<u32, Error> {
    u32::try_from(value).map_err(|_| Error::OutOfRange {
        field: field.to_owned(),
        value: value.to_string(),
        expected: "a count, 0 or more",
    })
}

fn seconds(field: &str, value: i64) -> Result<Duration, Error> {
    match u64::try_from(value) {
        Ok(seconds) if value <= SECONDS_MAX => Ok(Duration::from_secs(seconds)),
        _ => Err(Error::OutOfRange {
            field: field.to_owned(),
            value: value.to_string(),
            expected: "seconds, from 0 to a year",
        }),
    }
}

fn priority(field: &str, value: f64) -> Result<f64, Error> {
    if value.is_finite() && value >= 0.0 {
        return Ok(value);
    }
    Err(Error::OutOfRange {
        field: field.to_owned(),
        value: value.to_string(),
        expected: "a number, 0 or more",
    })
}

fn duplicate(field: &'static str, code: &TemplateCode) -> Error {
    Error::DuplicateTemplate {
        field,
        code: code.to_string(),
    }
}
