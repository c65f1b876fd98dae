//! Events.

use klusterkite_api::events::Event;

use super::{one_line, table};

/// Renders a list of events.
pub fn list(events: &[Event]) -> String {
    let rows = events.iter().map(|event| {
        [
            event.id.to_string(),
            event.at.clone(),
            event.kind.clone(),
            event.object.clone(),
            event.actor.clone(),
            event.message.clone(),
        ]
    });
    table(["ID", "AT", "KIND", "OBJECT", "WHO", "WHAT"], rows)
}

/// Renders an event as one line.
pub fn line(event: &Event) -> String {
    one_line(&format!(
        "{}  {}  {}: {}",
        event.at, event.kind, event.object, event.message
    ))
}
