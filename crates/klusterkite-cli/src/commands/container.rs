use klusterkite_api::nodes::Container;
use klusterkite_api::operations::OperationId;
use klusterkite_api::page::Page;

use super::all;
use crate::arguments::ContainerCommand;
use crate::context::Context;
use crate::exit::Exit;
use crate::render;

pub(crate) fn run(command: &ContainerCommand, context: &mut Context) -> anyhow::Result<Exit> {
    let ContainerCommand::List { state } = command;
    let page = of_state(context, state.as_deref())?;
    context.print(&page, |page| render::container::list(&page.items))?;
    Ok(Exit::Done)
}

/// Fetches the containers in which nothing runs.
pub(super) fn of_state(
    context: &mut Context,
    state: Option<&str>,
) -> anyhow::Result<Page<Container>> {
    all(context, OperationId::ContainerList, &[("state", state)])
}
