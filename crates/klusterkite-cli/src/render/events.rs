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

/// Renders an event as one line; the object stands there only when the message does not name it.
pub fn line(event: &Event) -> String {
    let Event {
        at,
        kind,
        object,
        message,
        ..
    } = event;
    let name = object.rsplit([':', '/']).next().unwrap_or_default();
    let named =
        message.contains(&format!("`{name}`")) || message.contains(&object.replace(':', " "));
    one_line(&if named || object.is_empty() {
        format!("{at}  {kind}  {message}")
    } else {
        format!("{at}  {kind}  {object}: {message}")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_line_names_the_object_once() {
        let line = |object: &str, message: &str| {
            let event = json!({ "id": 1, "at": "t", "kind": "k", "object": object, "actor": "manager", "message": message });
            super::line(&serde_json::from_value(event).unwrap())
        };
        assert_eq!(
            line("node:0a-1", "node `0a-1` is ready"),
            "t  k  node `0a-1` is ready"
        );
        assert_eq!(
            line("template:hello", "paused"),
            "t  k  template:hello: paused"
        );
        assert_eq!(
            line("migration:1", "migration 1 is completed"),
            "t  k  migration 1 is completed"
        );
        assert_eq!(
            line("migration:1", "nodes move from configuration 1 to 2"),
            "t  k  migration:1: nodes move from configuration 1 to 2"
        );
        assert_eq!(line("", "started"), "t  k  started");
    }
}
