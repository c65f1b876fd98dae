use klusterkite_api::nodes::{Node, NodeExplanation, NodeLine, NodeRequest};
use klusterkite_api::operations::OperationId;
use klusterkite_wire::NodeId;

use super::{accepted, all, container};
use crate::arguments::{NodeArguments, NodeCommand};
use crate::context::Context;
use crate::exit::{Exit, Stop};
use crate::render;

pub(crate) fn run(command: &NodeCommand, context: &mut Context) -> anyhow::Result<Exit> {
    match command {
        NodeCommand::List { template, status } => {
            list(context, template.as_deref(), status.as_deref())
        }
        NodeCommand::Show { id } => show(context, id),
        NodeCommand::Explain { id } => explain(context, id),
        NodeCommand::Logs {
            id,
            follow,
            process,
            lines,
        } => logs(context, id, *follow, process.as_deref(), *lines),
        NodeCommand::Restart(arguments) => stop(context, OperationId::NodeRestart, arguments),
        NodeCommand::Drain(arguments) => stop(context, OperationId::NodeDrain, arguments),
        NodeCommand::Cordon { id } => mark(context, OperationId::NodeCordon, id),
        NodeCommand::Uncordon { id } => mark(context, OperationId::NodeUncordon, id),
    }
}

fn list(
    context: &mut Context,
    template: Option<&str>,
    status: Option<&str>,
) -> anyhow::Result<Exit> {
    let filters = [("template", template), ("status", status)];
    let page = all::<Node>(context, OperationId::NodeList, &filters)?;
    // A container that was taken out of service and is empty is no node, but must not be forgotten.
    let out_of_service = if template.is_none() && status.is_none() {
        container::of_state(context, Some("cordoned"))?.items
    } else {
        Vec::new()
    };
    context.print(&page, |page| {
        render::node::list(&page.items) + &render::container::out_of_service(&out_of_service)
    })?;
    Ok(Exit::Done)
}

fn show(context: &mut Context, id: &str) -> anyhow::Result<Exit> {
    let id = full_id(context, id)?;
    let node: Node = context
        .client()?
        .operation(OperationId::NodeGet)
        .path("nodeId", id)
        .send()?;
    context.print(&node, render::node::show)?;
    Ok(Exit::Done)
}

fn explain(context: &mut Context, id: &str) -> anyhow::Result<Exit> {
    let id = full_id(context, id)?;
    let explanation: NodeExplanation = context
        .client()?
        .operation(OperationId::NodeExplain)
        .path("nodeId", id)
        .send()?;
    context.print(&explanation, render::node::explanation)?;
    Ok(Exit::Done)
}

/// Shows lines of processes: the last ones, and those that come if asked.
fn logs(
    context: &mut Context,
    id: &str,
    follow: bool,
    process: Option<&str>,
    lines: u32,
) -> anyhow::Result<Exit> {
    let id = full_id(context, id)?;
    context.client()?;
    let context = &*context;
    let call = context
        .logged_in()
        .operation(OperationId::NodeLogs)
        .path("nodeId", id)
        .query("lines", lines)
        .query_optional("process", process)
        .query_optional("follow", follow.then_some(true));
    for line in call.lines::<NodeLine>() {
        context.print_line(&line?, render::node::line)?;
    }
    Ok(Exit::Done)
}

fn stop(
    context: &mut Context,
    operation: OperationId,
    arguments: &NodeArguments,
) -> anyhow::Result<Exit> {
    let id = full_id(context, &arguments.id)?;
    let request = NodeRequest {
        force: arguments.force,
    };
    let answer = context
        .client()?
        .operation(operation)
        .path("nodeId", id)
        .body(&request)
        .send()?;
    accepted(context, &answer)
}

fn mark(context: &mut Context, operation: OperationId, id: &str) -> anyhow::Result<Exit> {
    let id = full_id(context, id)?;
    let answer = context
        .client()?
        .operation(operation)
        .path("nodeId", id)
        .send()?;
    accepted(context, &answer)
}

/// Completes the beginning of a node id; it has to fit one node, or one container in which nothing runs.
fn full_id(context: &mut Context, id: &str) -> anyhow::Result<NodeId> {
    if let Ok(id) = id.parse() {
        return Ok(id);
    }
    let nodes = all::<Node>(context, OperationId::NodeList, &[])?.items;
    let containers = container::of_state(context, None)?.items;
    let nodes = nodes.iter().map(|node| &node.node_id);
    let mut fitting = nodes
        .chain(containers.iter().map(|container| &container.node_id))
        .filter(|node| node.as_str().starts_with(id));
    match (fitting.next(), fitting.count()) {
        (Some(node), 0) => Ok(node.clone()),
        (None, _) => {
            Err(Stop::new(Exit::NotFound, format!("no node id begins with `{id}`")).into())
        }
        (Some(_), more) => {
            let sentence = format!("{} node ids begin with `{id}`; write more of it", more + 1);
            Err(Stop::new(Exit::Usage, sentence).into())
        }
    }
}
