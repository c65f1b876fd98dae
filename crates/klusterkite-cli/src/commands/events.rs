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
    let from = match arguments.from {
        Some(from) => from,
        None => before_last(context, limit)?,
    };
    let page = page(context, from, limit)?;
    if !arguments.follow {
        context.print(&page, |page| render::events::list(&page.items))?;
        return Ok(Exit::Done);
    }
    let mut last = from;
    for event in &page.items {
        last = event.id;
        context.print_line(event, render::events::line)?;
    }
    context.client()?;
    let context = &*context;
    let client = context.logged_in();
    for event in client.events(Some(last)) {
        context.print_line(&event?, render::events::line)?;
    }
    Ok(Exit::Done)
}

/// Returns the events after an id, oldest first.
pub(crate) fn page(context: &mut Context, from: i64, limit: u32) -> anyhow::Result<Page<Event>> {
    let call = context.client()?.operation(OperationId::EventStream);
    Ok(call.query("from", from).query("limit", limit).send()?)
}

/// Returns the id after which the last `count` events come. Ids have no gaps, but the oldest events may be
/// forgotten.
pub(crate) fn before_last(context: &mut Context, count: u32) -> anyhow::Result<i64> {
    let oldest = page(context, 0, 1)?;
    let first = oldest.items.first().map_or(1, |event| event.id);
    let total = i64::try_from(oldest.total).unwrap_or(i64::MAX);
    Ok(first
        .saturating_add(total)
        .saturating_sub(1)
        .saturating_sub(count.into())
        .max(0))
}
