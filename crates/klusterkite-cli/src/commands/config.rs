use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use klusterkite_api::configurations::{
    CheckResult, Configuration, ConfigurationCreate, ConfigurationDiff, ConfigurationPatch,
    StableRequest,
};
use klusterkite_api::operations::OperationId;
use klusterkite_api::page::Page;
use klusterkite_core::check::Severity;
use klusterkite_core::settings::Settings;
use klusterkite_wire::ConfigurationId;
use serde_json::json;

use crate::arguments::ConfigCommand;
use crate::context::Context;
use crate::exit::{Exit, Stop};
use crate::input::read_text;
use crate::render;

/// Largest settings file that is read, in bytes: the largest settings of a cluster have under one megabyte.
const FILE_BYTES_MAX: u64 = 16 << 20;

pub(crate) fn run(command: &ConfigCommand, context: &mut Context) -> anyhow::Result<Exit> {
    match command {
        ConfigCommand::List { state, limit } => list(context, state.as_deref(), *limit),
        ConfigCommand::Show { id, settings } => show(context, *id, *settings),
        ConfigCommand::Copy {
            id,
            newest,
            name,
            notes,
        } => {
            let copy_of = Some(or_active(context, *id)?);
            let (name, notes) = (name.clone(), notes.clone());
            let new = ConfigurationCreate {
                copy_of,
                newest_packages: *newest,
                name,
                notes,
                ..Default::default()
            };
            create(context, &new)
        }
        ConfigCommand::Create { file, name, notes } => {
            let settings = Some(read_settings(file)?);
            let (name, notes) = (name.clone(), notes.clone());
            create(
                context,
                &ConfigurationCreate {
                    settings,
                    name,
                    notes,
                    ..Default::default()
                },
            )
        }
        ConfigCommand::Edit {
            id,
            file,
            name,
            notes,
        } => {
            let labels = ConfigurationPatch {
                name: name.clone(),
                notes: notes.clone(),
                ..Default::default()
            };
            edit(context, *id, file.as_deref(), labels)
        }
        ConfigCommand::Check { id } => check(context, *id),
        ConfigCommand::Ready { id } => change(context, OperationId::ConfigurationReady, *id),
        ConfigCommand::Obsolete { id } => change(context, OperationId::ConfigurationObsolete, *id),
        ConfigCommand::Stable { id, unset } => stable(context, *id, !unset),
        ConfigCommand::Delete { id } => delete(context, *id),
        ConfigCommand::Diff { id, against } => diff(context, *id, *against),
    }
}

fn list(context: &mut Context, state: Option<&str>, limit: u32) -> anyhow::Result<Exit> {
    let call = context.client()?.operation(OperationId::ConfigurationList);
    let page: Page<Configuration> = call
        .query("limit", limit)
        .query_optional("state", state)
        .send()?;
    context.print(&page, |page| render::config::list(&page.items))?;
    Ok(Exit::Done)
}

fn show(
    context: &mut Context,
    id: Option<ConfigurationId>,
    settings_only: bool,
) -> anyhow::Result<Exit> {
    let id = or_active(context, id)?;
    let configuration = get(context, id)?;
    if settings_only {
        let settings = configuration.settings.unwrap_or_default();
        // JSON also as a table: it is what `edit --file` takes.
        context.print(&settings, pretty)?;
    } else {
        context.print(&configuration, render::config::show)?;
    }
    Ok(Exit::Done)
}

fn create(context: &mut Context, new: &ConfigurationCreate) -> anyhow::Result<Exit> {
    let made: Configuration = context
        .client()?
        .operation(OperationId::ConfigurationCreate)
        .body(new)
        .send()?;
    context.print(&made, |made| {
        format!("made Draft {} \"{}\"\n", made.id, made.name)
    })?;
    Ok(Exit::Done)
}

fn edit(
    context: &mut Context,
    id: ConfigurationId,
    file: Option<&Path>,
    mut patch: ConfigurationPatch,
) -> anyhow::Result<Exit> {
    let configuration = get(context, id)?;
    let before = configuration.settings.clone().unwrap_or_default();
    let only_labels = file.is_none() && patch != ConfigurationPatch::default();
    if !only_labels {
        let settings = match file {
            Some(file) => read_settings(file)?,
            None => edit_in_editor(id, &before)?,
        };
        patch.settings = (settings != before).then_some(settings);
    }
    if patch == ConfigurationPatch::default() {
        context.print(&configuration, |_| {
            format!("configuration {id} is unchanged\n")
        })?;
        return Ok(Exit::Done);
    }
    let call = context
        .client()?
        .operation(OperationId::ConfigurationPatch)
        .path("id", id);
    let changed: Configuration = call.if_match(configuration.revision).body(&patch).send()?;
    context.print(&changed, |_| format!("changed configuration {id}\n"))?;
    Ok(Exit::Done)
}

/// Opens settings in the user's editor; what cannot be read stays in a file that is named.
fn edit_in_editor(id: ConfigurationId, settings: &Settings) -> anyhow::Result<Settings> {
    let editor = ["VISUAL", "EDITOR"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    let editor = editor
        .filter(|editor| !editor.trim().is_empty())
        .ok_or_else(|| {
            Stop::new(
                Exit::Usage,
                "no editor is named; set EDITOR, or give the settings with `--file`",
            )
        })?;
    let prefix = format!("klusterkite-{id}-");
    let mut file = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(".json")
        .tempfile()?;
    file.write_all(pretty(settings).as_bytes())?;
    // The variable may hold arguments, as in `code --wait`; a shell splits it as every program does.
    let status = Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(file.path())
        .status()
        .with_context(|| format!("cannot run the editor `{editor}`"))?;
    if !status.success() {
        bail!("the editor `{editor}` ended with {status}; nothing was changed");
    }
    read_settings(file.path()).or_else(|error| {
        let (_, path) = file.keep()?;
        Err(error.context(format!(
            "nothing was changed; your text is in `{}`",
            path.display()
        )))
    })
}

fn check(context: &mut Context, id: ConfigurationId) -> anyhow::Result<Exit> {
    let result: CheckResult = context
        .client()?
        .operation(OperationId::ConfigurationCheck)
        .path("id", id)
        .send()?;
    context.print(&result, |result| render::config::findings(&result.errors))?;
    let failed = result
        .errors
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    Ok(if failed { Exit::Refused } else { Exit::Done })
}

fn change(
    context: &mut Context,
    operation: OperationId,
    id: ConfigurationId,
) -> anyhow::Result<Exit> {
    let changed: Configuration = context
        .client()?
        .operation(operation)
        .path("id", id)
        .send()?;
    context.print(&changed, |changed| {
        format!("configuration {id} is {}\n", render::word(&changed.state))
    })?;
    Ok(Exit::Done)
}

fn stable(context: &mut Context, id: ConfigurationId, is_stable: bool) -> anyhow::Result<Exit> {
    let call = context
        .client()?
        .operation(OperationId::ConfigurationStable)
        .path("id", id);
    let changed: Configuration = call.body(&StableRequest { is_stable }).send()?;
    context.print(&changed, |changed| {
        let mark = if changed.is_stable {
            "stable"
        } else {
            "not stable"
        };
        format!("configuration {id} is marked as {mark}\n")
    })?;
    Ok(Exit::Done)
}

fn delete(context: &mut Context, id: ConfigurationId) -> anyhow::Result<Exit> {
    let call = context
        .client()?
        .operation(OperationId::ConfigurationDelete)
        .path("id", id);
    call.send::<()>()?;
    context.print(&json!({ "id": id }), |_| format!("deleted Draft {id}\n"))?;
    Ok(Exit::Done)
}

fn diff(
    context: &mut Context,
    id: ConfigurationId,
    against: Option<ConfigurationId>,
) -> anyhow::Result<Exit> {
    let call = context
        .client()?
        .operation(OperationId::ConfigurationDiff)
        .path("id", id);
    let diff: ConfigurationDiff = call.query_optional("against", against).send()?;
    context.print(&diff, render::config::diff)?;
    Ok(Exit::Done)
}

fn get(context: &mut Context, id: ConfigurationId) -> anyhow::Result<Configuration> {
    Ok(context
        .client()?
        .operation(OperationId::ConfigurationGet)
        .path("id", id)
        .send()?)
}

fn or_active(
    context: &mut Context,
    id: Option<ConfigurationId>,
) -> anyhow::Result<ConfigurationId> {
    id.map_or_else(|| context.active_configuration(), Ok)
}

fn pretty(settings: &Settings) -> String {
    serde_json::to_string_pretty(settings).expect("settings have text keys") + "\n"
}

/// Reads settings from JSON or HOCON.
fn read_settings(path: &Path) -> anyhow::Result<Settings> {
    let shown = path.display();
    let unusable = |error: anyhow::Error| {
        anyhow::Error::new(Stop::new(
            Exit::Usage,
            format!("`{shown}` holds no settings: {error:#}"),
        ))
    };
    let text = read_text(path, FILE_BYTES_MAX)?;
    parse_settings(&text, &shown.to_string()).map_err(unusable)
}

fn parse_settings(text: &str, origin: &str) -> anyhow::Result<Settings> {
    let document = klusterkite_hocon::Document::parse(text, origin)?;
    // Substitutions of a settings file see the file only: what it says does not depend on the shell.
    Ok(document
        .resolve(&std::collections::BTreeMap::new())?
        .deserialize("")?)
}
