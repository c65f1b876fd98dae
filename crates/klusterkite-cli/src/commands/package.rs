use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use klusterkite_api::configurations::Package;
use klusterkite_api::operations::OperationId;
use klusterkite_api::page::Page;
use klusterkite_client::Error;
use klusterkite_client::feed::{FeedClient, Pushed};
use klusterkite_nuget::{PackageId, Sha512Hash};
use serde_json::json;

use crate::arguments::{PackArguments, PackageCommand};
use crate::context::Context;
use crate::exit::{Exit, Stop};
use crate::{pack, render};

pub(crate) fn run(command: &PackageCommand, context: &mut Context) -> anyhow::Result<Exit> {
    match command {
        PackageCommand::List { text, limit } => list(context, text.as_deref(), *limit),
        PackageCommand::Show { id } => show(context, id),
        PackageCommand::Pack(arguments) => make(context, arguments),
        PackageCommand::Push {
            files,
            skip_duplicate,
        } => push(context, files, *skip_duplicate),
        PackageCommand::Unlist { id, version } => unlist(context, id, version),
    }
}

/// Lists packages: from the feed if one was named, else through the manager.
fn list(context: &mut Context, text: Option<&str>, limit: u32) -> anyhow::Result<Exit> {
    let page: Page<Package> = if context.names_feed() {
        let found = context.feed()?.search(text.unwrap_or_default(), 0, limit)?;
        let items = found.data.into_iter().map(|hit| Package {
            id: hit.id.to_string(),
            version: hit.version.to_string(),
            versions: hit
                .versions
                .iter()
                .map(|version| version.version.to_string())
                .collect(),
            description: hit.description,
        });
        Page {
            items: items.collect(),
            next_cursor: None,
            total: found.total_hits,
        }
    } else {
        let call = context.client()?.operation(OperationId::PackageList);
        call.query("limit", limit)
            .query_optional("q", text)
            .send()?
    };
    context.print(&page, |page| render::package::list(&page.items))?;
    Ok(Exit::Done)
}

fn show(context: &mut Context, id: &str) -> anyhow::Result<Exit> {
    let package: Package = if context.names_feed() {
        from_feed(&context.feed()?, &package_id(id)?)?
    } else {
        context
            .client()?
            .operation(OperationId::PackageGet)
            .path("packageId", id)
            .send()?
    };
    context.print(&package, render::package::show)?;
    Ok(Exit::Done)
}

fn from_feed(feed: &FeedClient, id: &PackageId) -> anyhow::Result<Package> {
    let entries = feed.entries(id)?;
    let listed: Vec<_> = entries.iter().filter(|entry| entry.listed).collect();
    let stable = listed
        .iter()
        .rev()
        .find(|entry| !entry.version.is_prerelease());
    let newest = stable.or(listed.last()).ok_or_else(|| {
        Stop::new(
            Exit::NotFound,
            format!("package `{id}` is not in the feed `{}`", feed.url()),
        )
    })?;
    Ok(Package {
        id: newest.id.to_string(),
        version: newest.version.to_string(),
        versions: listed
            .iter()
            .map(|entry| entry.version.to_string())
            .collect(),
        description: newest.description.clone(),
    })
}

fn make(context: &mut Context, arguments: &PackArguments) -> anyhow::Result<Exit> {
    let made = pack::make(&pack::Source {
        directory: &arguments.directory,
        binaries: arguments.binaries.as_deref(),
        version: arguments.version.as_deref(),
        runtime: &arguments.runtime,
    })?;
    let is_file = arguments
        .out
        .extension()
        .is_some_and(|extension| extension == "nupkg");
    let path = if is_file {
        arguments.out.clone()
    } else {
        arguments
            .out
            .join(format!("{}.{}.nupkg", made.id, made.version))
    };
    write(&path, &made.bytes)?;
    let result = json!({
        "file": path,
        "id": made.id,
        "version": made.version,
        "size": made.bytes.len(),
        "sha512": Sha512Hash::of(&made.bytes),
    });
    context.print(&result, |_| format!("{}\n", path.display()))?;
    Ok(Exit::Done)
}

/// Writes a file, whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let replace = || -> anyhow::Result<()> {
        fs::create_dir_all(directory)?;
        let mut file = tempfile::Builder::new()
            .prefix(".pack-")
            .permissions(readable())
            .tempfile_in(directory)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.persist(path)?;
        Ok(())
    };
    replace().with_context(|| format!("cannot write `{}`", path.display()))
}

/// A package is for everybody, unlike other temporary files.
fn readable() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

fn push(context: &mut Context, files: &[PathBuf], skip_duplicate: bool) -> anyhow::Result<Exit> {
    let feed = context.feed()?;
    let mut items = Vec::new();
    for file in files {
        let (pushed, note) = match feed.push(file) {
            Ok(pushed) if pushed.is_new => (Some(pushed), "pushed"),
            Ok(pushed) => (Some(pushed), "unchanged"),
            Err(Error::OtherContent { .. }) if skip_duplicate => {
                (None, "skipped: another content is there")
            }
            Err(error) => {
                return Err(
                    anyhow::Error::new(error).context(format!("cannot push `{}`", file.display()))
                );
            }
        };
        let of = |part: fn(&Pushed) -> String| pushed.as_ref().map(part);
        let item = json!({
            "file": file,
            "id": of(|pushed| pushed.id.to_string()),
            "version": of(|pushed| pushed.version.to_string()),
            "result": note,
        });
        if context.output() == crate::arguments::Output::Table {
            // Large packages take a while: each one is said when it is there.
            context.print_line(&item, |_| format!("{note}  {}", file.display()))?;
        }
        items.push(item);
    }
    if context.output() == crate::arguments::Output::Json {
        context.print(&Page::whole(items), |_| String::new())?;
    }
    Ok(Exit::Done)
}

fn unlist(context: &mut Context, id: &str, version: &str) -> anyhow::Result<Exit> {
    let id = package_id(id)?;
    let parsed = version
        .parse()
        .map_err(|error| Stop::new(Exit::Usage, format!("{error}")))?;
    context.feed()?.unlist(&id, &parsed)?;
    let result = json!({ "id": id, "version": parsed });
    context.print(&result, |_| format!("unlisted {id} {parsed}\n"))?;
    Ok(Exit::Done)
}

fn package_id(text: &str) -> anyhow::Result<PackageId> {
    text.parse()
        .map_err(|error| Stop::new(Exit::Usage, format!("{error}")).into())
}
