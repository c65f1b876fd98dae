//! One module per noun; each command is a call, a rendering and an exit code.

mod config;
mod container;
mod events;
mod migration;
mod node;
mod package;
mod settings;
mod status;
mod watch;

use klusterkite_api::cluster::Accepted;
use klusterkite_api::nodes::Template;
use klusterkite_api::operations::OperationId;
use klusterkite_api::page::{PAGE_LIMIT_MAX, Page};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::arguments::{Command, TemplateCommand};
use crate::context::Context;
use crate::exit::Exit;
use crate::render;

/// Most pages of one list that are fetched: 100,000 entries, more than a cluster has nodes.
const PAGES_MAX: usize = 100;

/// Runs a command.
pub(crate) fn run(command: &Command, context: &mut Context) -> anyhow::Result<Exit> {
    match command {
        Command::Login => login(context),
        Command::Logout => context.log_out().map(|()| Exit::Done),
        Command::Status => status::show(context),
        Command::Config(command) => config::run(command, context),
        Command::Migration(command) => migration::run(command, context),
        Command::Node(command) => node::run(command, context),
        Command::Container(command) => container::run(command, context),
        Command::Template(TemplateCommand::List) => templates(context),
        Command::Package(command) => package::run(command, context),
        Command::Settings(command) => settings::run(command, context),
        Command::Events(arguments) => events::run(arguments, context),
    }
}

fn login(context: &mut Context) -> anyhow::Result<Exit> {
    let session = context.log_in_interactively()?;
    let result = json!({ "url": session.url, "user": session.user });
    context.print(&result, |_| {
        format!("logged in to {} as {}\n", session.url, session.user)
    })?;
    Ok(Exit::Done)
}

fn templates(context: &mut Context) -> anyhow::Result<Exit> {
    let page: Page<Template> = context
        .client()?
        .operation(OperationId::TemplateList)
        .send()?;
    context.print(&page, |page| render::node::templates(&page.items))?;
    Ok(Exit::Done)
}

/// Fetches all pages of a list.
fn all<T: DeserializeOwned>(
    context: &mut Context,
    operation: OperationId,
    filters: &[(&str, Option<&str>)],
) -> anyhow::Result<Page<T>> {
    let mut items = Vec::new();
    let mut cursor = None::<String>;
    for _ in 0..PAGES_MAX {
        let mut call = context
            .client()?
            .operation(operation)
            .query("limit", PAGE_LIMIT_MAX);
        for (name, value) in filters {
            call = call.query_optional(name, *value);
        }
        let page: Page<T> = call.query_optional("cursor", cursor.as_ref()).send()?;
        items.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let total = items.len() as u64;
    Ok(Page {
        items,
        next_cursor: cursor,
        total,
    })
}

/// Says what was set going.
fn accepted(context: &Context, accepted: &Accepted) -> anyhow::Result<Exit> {
    context.print(accepted, |accepted| format!("{}\n", accepted.message))?;
    Ok(Exit::Done)
}
