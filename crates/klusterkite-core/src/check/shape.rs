//! What can be said about the settings alone: ids, numbers, lists, the manager's template.

use std::collections::BTreeSet;
use std::str::FromStr;

use klusterkite_wire::{ContainerType, Runtime, TemplateCode};

use super::CheckContext;
use super::finding::{FindingCode, Findings};
use crate::release::{Batch, SECONDS_MAX};
use crate::settings::{MANAGER_PACKAGE, NodeTemplateSettings, Settings};

pub(super) fn check(settings: &Settings, context: CheckContext, findings: &mut Findings) {
    cluster(settings, findings);
    let codes = settings.node_templates.iter();
    let codes: Vec<&str> = codes.map(|template| template.code.as_str()).collect();
    template_codes("nodeTemplates", &codes, findings);
    let codes: BTreeSet<&str> = codes.into_iter().collect();
    for template in &settings.node_templates {
        node_template(template, &codes, findings);
    }
    let codes = settings.migrator_templates.iter();
    let codes: Vec<&str> = codes.map(|template| template.code.as_str()).collect();
    template_codes("migratorTemplates", &codes, findings);
    for template in &settings.migrator_templates {
        let field = format!("migratorTemplates[\"{}\"].priority", template.code);
        priority(&field, template.priority, findings);
    }
    manager(settings, context, findings);
}

/// Checks the keys of templates; a key that is none cannot name its template, so its place does.
fn template_codes(list: &str, codes: &[&str], findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (index, code) in codes.iter().enumerate() {
        id::<TemplateCode>(&format!("{list}[{index}].code"), code, findings);
        if !seen.insert(code) {
            let message = format!("template code `{code}` is used twice; give each its own");
            let field = format!("{list}[\"{code}\"].code");
            findings.error(FindingCode::Duplicate, field, message);
        }
    }
}

fn cluster(settings: &Settings, findings: &mut Findings) {
    if settings.node_templates.is_empty() {
        findings.error(
            FindingCode::NodeTemplatesMissing,
            "nodeTemplates",
            "there is no node template; add one",
        );
    }
    if settings.packages.is_empty() {
        findings.error(
            FindingCode::PackagesMissing,
            "packages",
            "no packages are listed; add them with their versions",
        );
    }
    if settings.seed_addresses.is_empty() {
        findings.error(
            FindingCode::SeedAddressesMissing,
            "seedAddresses",
            "there is no seed address; add one as `host:port`",
        );
    }
    for (index, address) in settings.seed_addresses.iter().enumerate() {
        if !is_address(address) {
            let message = format!("`{address}` is not an address; write `host:port`");
            findings.error(
                FindingCode::SeedAddressInvalid,
                format!("seedAddresses[{index}]"),
                message,
            );
        }
    }
    if !is_http_url(&settings.nuget_feed) {
        let message = format!(
            "`{}` is not the URL of a feed; write `http://host/v3/index.json`",
            settings.nuget_feed
        );
        findings.error(FindingCode::NugetFeedInvalid, "nugetFeed", message);
    }
    if settings.runtimes.is_empty() {
        findings.error(
            FindingCode::RuntimesMissing,
            "runtimes",
            "there is no runtime; add one such as `linux-x64`",
        );
    }
    unique(
        "runtimes",
        settings.runtimes.iter().map(String::as_str),
        findings,
    );
    for runtime in &settings.runtimes {
        id::<Runtime>("runtimes", runtime, findings);
    }
}

fn node_template(template: &NodeTemplateSettings, codes: &BTreeSet<&str>, findings: &mut Findings) {
    let field = |name: &str| format!("nodeTemplates[\"{}\"].{name}", template.code);
    if template.container_types.is_empty() {
        let message = "no container type may run this template; add one";
        findings.error(
            FindingCode::ContainerTypesMissing,
            field("containerTypes"),
            message,
        );
    }
    unique(
        &field("containerTypes"),
        template.container_types.iter().map(String::as_str),
        findings,
    );
    for container_type in &template.container_types {
        id::<ContainerType>(&field("containerTypes"), container_type, findings);
    }
    for replaced in &template.replaces {
        id::<TemplateCode>(&field("replaces"), replaced, findings);
        if codes.contains(replaced.as_str()) {
            let message = format!(
                "`{replaced}` is in this configuration, so nothing takes over from it; remove one of the two"
            );
            findings.error(FindingCode::ReplacesPresent, field("replaces"), message);
        }
    }
    if let Some(entry_point) = &template.entry_point
        && !is_path_below(entry_point)
    {
        let message = format!(
            "`{entry_point}` is not a file below the service directory; write a relative path"
        );
        findings.error(FindingCode::EntryPointInvalid, field("entryPoint"), message);
    }
    if template.exclusive {
        let message = "this release does not stop nodes whose lease ends yet; a promise that is not kept is refused";
        findings.error(FindingCode::NotSupported, field("exclusive"), message);
    }
    priority(&field("priority"), template.priority, findings);
    instances(template, findings);
    rollout(template, findings);
}

fn instances(template: &NodeTemplateSettings, findings: &mut Findings) {
    let field = |name: &str| format!("nodeTemplates[\"{}\"].{name}", template.code);
    let minimum = template.minimum_required_instances;
    count(&field("minimumRequiredInstances"), minimum, 0, findings);
    let Some(maximum) = template.maximum_needed_instances else {
        return;
    };
    count(&field("maximumNeededInstances"), maximum, 0, findings);
    if maximum < minimum {
        let message = format!("the maximum {maximum} is lower than the minimum {minimum}");
        findings.error(
            FindingCode::MaximumBelowMinimum,
            field("maximumNeededInstances"),
            message,
        );
    }
    if maximum == minimum && minimum > 0 && template.rollout.surge == 0 {
        let message =
            "minimum and maximum are the same and `surge` is 0, so no node could ever be replaced";
        findings.error(
            FindingCode::NoRoomForUpdate,
            field("rollout.surge"),
            message,
        );
    }
}

fn rollout(template: &NodeTemplateSettings, findings: &mut Findings) {
    let field = |name: &str| format!("nodeTemplates[\"{}\"].rollout.{name}", template.code);
    let rollout = &template.rollout;
    if let Err(error) = rollout.batch.parse::<Batch>() {
        findings.error(FindingCode::OutOfRange, field("batch"), error.to_string());
    }
    seconds(
        &field("minStableSeconds"),
        rollout.min_stable_seconds,
        0,
        findings,
    );
    seconds(
        &field("progressDeadlineSeconds"),
        rollout.progress_deadline_seconds,
        1,
        findings,
    );
    seconds(
        &field("startDeadlineSeconds"),
        rollout.start_deadline_seconds,
        1,
        findings,
    );
    count(&field("maxFailed"), rollout.max_failed, 0, findings);
    count(&field("canary"), rollout.canary, 0, findings);
    count(&field("surge"), rollout.surge, 0, findings);
    let stable_after = rollout
        .start_deadline_seconds
        .saturating_add(rollout.min_stable_seconds);
    if rollout.progress_deadline_seconds < stable_after {
        let message = format!(
            "a node may take {stable_after} s to become stable, longer than the progress deadline"
        );
        findings.warning(
            FindingCode::DeadlineTooShort,
            field("progressDeadlineSeconds"),
            message,
        );
    }
}

/// A configuration without a manager could never be left again, and two managers cannot share a SQLite file.
fn manager(settings: &Settings, context: CheckContext, findings: &mut Findings) {
    let managers: Vec<&NodeTemplateSettings> = settings
        .node_templates
        .iter()
        .filter(|template| {
            template
                .package_requirements
                .iter()
                .any(|requirement| requirement.id.eq_ignore_ascii_case(MANAGER_PACKAGE))
        })
        .collect();
    let [manager] = managers[..] else {
        if !settings.node_templates.is_empty() {
            let message = format!(
                "{} templates require `{MANAGER_PACKAGE}`; exactly one has to",
                managers.len()
            );
            findings.error(FindingCode::ManagerTemplateCount, "nodeTemplates", message);
        }
        return;
    };
    let is_single = manager.minimum_required_instances <= 0
        && manager.maximum_needed_instances == Some(1)
        && manager.rollout.surge == 0;
    if context.single_manager && !is_single {
        let message = "the manager's store is a SQLite file, so there is one manager: minimum 0, maximum 1, surge 0";
        findings.error(
            FindingCode::SingleManager,
            format!("nodeTemplates[\"{}\"]", manager.code),
            message,
        );
    }
}

fn id<T: FromStr<Err = klusterkite_wire::ids::ParseIdError>>(
    field: &str,
    text: &str,
    findings: &mut Findings,
) {
    if let Err(error) = text.parse::<T>() {
        findings.error(FindingCode::IdInvalid, field, error.to_string());
    }
}

fn unique<'a>(field: &str, keys: impl Iterator<Item = &'a str>, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for key in keys {
        if !seen.insert(key) {
            findings.error(
                FindingCode::Duplicate,
                field,
                format!("`{key}` is listed twice"),
            );
        }
    }
}

fn count(field: &str, value: i64, minimum: i64, findings: &mut Findings) {
    if value < minimum || value > i64::from(u32::MAX) {
        let message = format!("{value} is not a count; write a whole number from {minimum}");
        findings.error(FindingCode::OutOfRange, field, message);
    }
}

fn seconds(field: &str, value: i64, minimum: i64, findings: &mut Findings) {
    if value < minimum || value > SECONDS_MAX {
        let message = format!(
            "{value} seconds are not possible; write a number from {minimum} to {SECONDS_MAX}"
        );
        findings.error(FindingCode::OutOfRange, field, message);
    }
}

fn priority(field: &str, value: f64, findings: &mut Findings) {
    if !value.is_finite() || value < 0.0 {
        findings.error(
            FindingCode::OutOfRange,
            field,
            format!("{value} is not a priority; write a number from 0"),
        );
    }
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let is_host = !host.is_empty()
        && !host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/');
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

pub(super) fn is_http_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && !rest.contains(|c: char| c.is_whitespace() || c.is_control())
    })
}

fn is_path_below(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part != "." && part != "..";
    !text.contains(|c: char| c == '\\' || c.is_control()) && text.split('/').all(is_part)
}
