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
    let named = !name.is_empty() && message.contains(name);
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
        assert_eq!(line("", "started"), "t  k  started");
    }
}
