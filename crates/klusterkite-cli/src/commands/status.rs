use klusterkite_api::cluster::ClusterState;
use klusterkite_api::nodes::{Container, Template};
use klusterkite_api::operations::OperationId;
use klusterkite_api::page::Page;
use serde_json::json;

use super::container;
use crate::context::Context;
use crate::exit::Exit;
use crate::render;

/// Shows the cluster at a glance.
pub(crate) fn show(context: &mut Context) -> anyhow::Result<Exit> {
    let client = context.client()?;
    let state: ClusterState = client.operation(OperationId::ClusterStateGet).send()?;
    let templates: Page<Template> = client.operation(OperationId::TemplateList).send()?;
    let waiting: Page<Container> = client
        .operation(OperationId::ContainerList)
        .query("limit", 1)
        .query("state", "waiting")
        .send()?;
    let url = client.url();
    let cordoned = container::of_state(context, Some("cordoned"))?.items;
    let result = json!({ "url": url, "cluster": state, "templates": templates.items,
        "containersWaiting": waiting.total, "containersCordoned": cordoned });
    context.print(&result, |_| {
        render::cluster::status(&url, &state, &templates.items, waiting.total, &cordoned)
    })?;
    Ok(Exit::Done)
}
