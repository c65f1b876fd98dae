use klusterkite_api::events::Event;
use klusterkite_api::operations::OperationId;
use klusterkite_api::page::{PAGE_LIMIT_MAX, Page};

use crate::arguments::EventsArguments;
use crate::context::Context;
use crate::exit::Exit;
use crate::render;

/// Shows events, and goes on with those that happen if asked.
pub(crate) fn run(arguments: &EventsArguments, context: &mut Context) -> anyhow::Result<Exit> {
    let limit = arguments.limit.clamp(1, PAGE_LIMIT_MAX);
    let page = page(context, arguments.from, limit)?;
    if !arguments.follow {
        context.print(&page, |page| render::events::list(&page.items))?;
        return Ok(Exit::Done);
    }
    for event in &page.items {
        context.print_line(event, render::events::line)?;
    }
    // An empty history begins with the first event.
    let before = arguments.from.map_or(0, |from| from.saturating_sub(1));
    let last = page.items.last().map_or(before, |event| event.id);
    context.client()?;
    let context = &*context;
    let client = context.logged_in();
    for event in client.events(Some(last)) {
        context.print_line(&event?, render::events::line)?;
    }
    Ok(Exit::Done)
}

/// Returns the events from an id on, or the newest ones; oldest first.
pub(crate) fn page(
    context: &mut Context,
    from: Option<i64>,
    limit: u32,
) -> anyhow::Result<Page<Event>> {
    let call = context.client()?.operation(OperationId::EventStream);
    Ok(call
        .query_optional("from", from)
        .query("limit", limit)
        .send()?)
}
