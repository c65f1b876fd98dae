//! Nodes and templates.

use std::fmt::Write as _;

use klusterkite_api::nodes::{Node, NodeExplanation, NodeLine, NodeOrder, Template};
use klusterkite_wire::link::{Containment, ContainmentLevel};

use super::{NONE, joined, one_line, or_none, pairs, table, waits, word, yes_or_no};

/// Renders a list of nodes.
pub fn list(nodes: &[Node]) -> String {
    let rows = nodes.iter().map(|node| {
        [
            node.node_id.to_string(),
            node.template.to_string(),
            word(&node.status),
            node.configuration_id.to_string(),
            if node.address.is_empty() {
                NONE.to_owned()
            } else {
                node.address.clone()
            },
            marks(node),
            node.since.clone(),
        ]
    });
    table(
        [
            "NODE", "TEMPLATE", "STATUS", "CONFIG", "ADDRESS", "MARKS", "SINCE",
        ],
        rows,
    )
}

/// Renders a line that a process wrote.
pub fn line(line: &NodeLine) -> String {
    let NodeLine {
        at,
        process,
        stream,
        line,
        ..
    } = line;
    one_line(&format!("{at}  {process}  {stream}  {line}"))
}

/// Says in a few words what is special about a node.
fn marks(node: &Node) -> String {
    let mut marks = Vec::new();
    if node.is_obsolete {
        marks.push("obsolete".to_owned());
    }
    if node.cordoned {
        marks.push("cordoned".to_owned());
    }
    if let Some(order) = &node.order {
        marks.push(format!("stopping for {}", order.reason));
    } else if let Some(asked) = &node.asked {
        marks.push(format!("{asked} asked"));
    }
    joined(&marks)
}

/// Renders one node.
pub fn show(node: &Node) -> String {
    let endpoints: Vec<_> = node
        .endpoints
        .iter()
        .map(|endpoint| {
            format!(
                "{} {}:{} -> {}{}",
                endpoint.name, node.address, endpoint.port, endpoint.host, endpoint.route
            )
        })
        .collect();
    let mut text = pairs([
        ("node", node.node_id.to_string()),
        ("template", node.template.to_string()),
        ("configuration", node.configuration_id.to_string()),
        (
            "status",
            format!("{} since {}", word(&node.status), node.since),
        ),
        ("reason", or_none(node.reason.as_ref())),
        (
            "obsolete",
            node.obsolete_reason
                .clone()
                .unwrap_or_else(|| yes_or_no(node.is_obsolete)),
        ),
        (
            "container",
            format!("{}, {}", node.container_type, node.runtime),
        ),
        ("cordoned", yes_or_no(node.cordoned)),
        (
            "address",
            if node.address.is_empty() {
                NONE.to_owned()
            } else {
                node.address.clone()
            },
        ),
        (
            "containment",
            or_none(node.containment.as_ref().map(containment)),
        ),
        ("roles", joined(&node.roles)),
        ("endpoints", joined(&endpoints)),
        ("incarnation", node.incarnation.to_string()),
        ("asked", or_none(node.asked.as_ref())),
        (
            "order",
            node.order.as_ref().map_or_else(|| NONE.to_owned(), order),
        ),
        ("last crash", or_none(node.last_crash.as_ref())),
    ]);
    if !node.processes.is_empty() {
        let rows = node.processes.iter().map(|process| {
            let exit = or_none(process.exit.as_ref());
            [
                process.name.clone(),
                word(&process.state),
                process.restarts.to_string(),
                exit,
            ]
        });
        let _ = write!(
            text,
            "\n{}",
            table(["PROCESS", "STATE", "RESTARTS", "LAST EXIT"], rows)
        );
    }
    if !node.modules.is_empty() {
        let rows = node
            .modules
            .iter()
            .map(|module| [module.id.clone(), module.version.clone()]);
        let _ = write!(text, "\n{}", table(["PACKAGE", "VERSION"], rows));
    }
    text
}

fn containment(containment: &Containment) -> String {
    let means = match containment.level {
        ContainmentLevel::ControlGroups => "control groups",
        ContainmentLevel::ProcessGroups => "process groups and a mark",
    };
    let limits = match containment.limits.as_slice() {
        [] => "no limits".to_owned(),
        some => format!("limits of {}", some.join(", ")),
    };
    match &containment.reason {
        Some(reason) => format!("{means}, {limits}: {reason}"),
        None => format!("{means}, {limits}"),
    }
}

fn order(order: &NodeOrder) -> String {
    let next = order.next_configuration_id;
    let next = next.map_or(String::new(), |next| {
        format!(", next is configuration {next}")
    });
    let why = order.why.as_ref();
    let why = why.map_or(String::new(), |why| format!(": {why}"));
    format!(
        "stop for {} since {}{next}{why}",
        order.reason, order.ordered
    )
}

/// Renders why a node has its template.
pub fn explanation(explanation: &NodeExplanation) -> String {
    let mut text = format!("{}\n", explanation.sentence);
    if let Some(assignment) = &explanation.assignment {
        let rows = assignment.candidates.iter().map(|candidate| {
            [
                candidate.template.to_string(),
                candidate.count.to_string(),
                candidate.minimum.to_string(),
                or_none(candidate.maximum),
                candidate.priority.to_string(),
            ]
        });
        let candidates = table(["CANDIDATE", "COUNT", "MIN", "MAX", "PRIORITY"], rows);
        let _ = write!(text, "rule: {}\n\n{candidates}", word(&assignment.rule));
    }
    if let Some(reason) = &explanation.obsolete_reason {
        let _ = writeln!(text, "\nhas to restart: {}", one_line(reason));
    }
    if let Some(told) = &explanation.order {
        let _ = writeln!(text, "\ntold: {}", one_line(&order(told)));
    }
    if !explanation.waiting_on.is_empty() {
        let _ = write!(text, "\nwaiting\n{}", waits(&explanation.waiting_on));
    }
    text
}

/// Renders the counts of templates.
pub fn templates(templates: &[Template]) -> String {
    let rows = templates.iter().map(|template| {
        [
            template.code.to_string(),
            template.minimum.to_string(),
            or_none(template.maximum),
            template.priority.to_string(),
            template.ready.to_string(),
            template.starting.to_string(),
            template.obsolete.to_string(),
            template.upgrading.to_string(),
            template.unreachable.to_string(),
            joined(&template.container_types),
        ]
    });
    let mut text = table(
        [
            "TEMPLATE",
            "MIN",
            "MAX",
            "PRIORITY",
            "READY",
            "STARTING",
            "OBSOLETE",
            "UPGRADING",
            "UNREACHABLE",
            "CONTAINERS",
        ],
        rows,
    );
    if let Some(first) = templates.first() {
        text += &statistics(&first.statistics.since, templates);
    }
    for template in templates {
        if !template.waiting_on.is_empty() {
            let waits = waits(&template.waiting_on);
            let _ = write!(text, "\n{} waits\n{waits}", template.code);
        }
    }
    text
}

/// Renders what happened to nodes since a manager leads.
fn statistics(since: &str, templates: &[Template]) -> String {
    let rows = templates.iter().map(|template| {
        let counts = &template.statistics;
        let average = counts
            .time_to_ready_total_ms
            .checked_div(counts.became_ready);
        let seconds = |milliseconds: u64| format!("{:.1} s", milliseconds as f64 / 1000.0);
        [
            template.code.to_string(),
            counts.starts.to_string(),
            counts.became_ready.to_string(),
            counts.failed_starts.to_string(),
            counts.crashes.to_string(),
            counts.lost.to_string(),
            or_none(average.map(seconds)),
            or_none(average.map(|_| seconds(counts.time_to_ready_max_ms))),
        ]
    });
    let header = [
        "TEMPLATE",
        "STARTS",
        "BECAME READY",
        "FAILED STARTS",
        "CRASHES",
        "LOST",
        "TIME TO READY",
        "LONGEST",
    ];
    format!("\nsince {since}\n{}", table(header, rows))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn node() -> Node {
        serde_json::from_value(json!({
            "nodeId": "0a000000-0000-4000-8000-000000000000", "template": "hello", "containerType": "worker",
            "runtime": "linux-x64", "configurationId": 1, "status": "ready", "isObsolete": true,
            "obsoleteReason": "package Hello changes from 1.0.0 to 2.0.0", "incarnation": 5,
            "address": "10.0.0.7", "roles": ["hello"], "modules": [{ "id": "Hello", "version": "1.0.0", "sha512": "" }],
            "endpoints": [{ "name": "hello", "port": 8080, "host": "default", "route": "/hello" }],
            "processes": [{ "name": "hello", "state": "ready", "restarts": 0 }],
            "since": "2026-11-22T12:00:00Z", "cordoned": false,
            "containment": { "level": "controlGroups", "limits": ["cpu", "pids"] },
            "order": { "reason": "update", "why": "package Hello changes", "ordered": "2026-11-22T12:00:01Z", "nextConfigurationId": 2 },
        }))
        .unwrap()
    }

    #[test]
    fn a_list_shows_what_is_special() {
        expect![[r"
            NODE                                  TEMPLATE  STATUS  CONFIG  ADDRESS   MARKS                          SINCE
            0a000000-0000-4000-8000-000000000000  hello     ready   1       10.0.0.7  obsolete, stopping for update  2026-11-22T12:00:00Z
        "]]
        .assert_eq(&list(&[node()]));
    }

    #[test]
    fn a_list_shows_what_was_asked_and_has_to_wait() {
        let node = Node {
            is_obsolete: false,
            order: None,
            asked: Some("drain".to_owned()),
            ..node()
        };
        assert_eq!(marks(&node), "drain asked");
    }

    #[test]
    fn a_node_shows_all_that_is_known() {
        expect![[r"
            node           0a000000-0000-4000-8000-000000000000
            template       hello
            configuration  1
            status         ready since 2026-11-22T12:00:00Z
            reason         -
            obsolete       package Hello changes from 1.0.0 to 2.0.0
            container      worker, linux-x64
            cordoned       no
            address        10.0.0.7
            containment    control groups, limits of cpu, pids
            roles          hello
            endpoints      hello 10.0.0.7:8080 -> default/hello
            incarnation    5
            asked          -
            order          stop for update since 2026-11-22T12:00:01Z, next is configuration 2: package Hello changes
            last crash     -

            PROCESS  STATE  RESTARTS  LAST EXIT
            hello    ready  0         -

            PACKAGE  VERSION
            Hello    1.0.0
        "]]
        .assert_eq(&show(&node()));
    }

    #[test]
    fn an_explanation_shows_rule_candidates_and_waits() {
        let value: NodeExplanation = serde_json::from_value(json!({
            "nodeId": "0a000000-0000-4000-8000-000000000000",
            "assignment": { "rule": "belowMinimum", "candidates": [
                { "template": "hello", "count": 1, "minimum": 2, "maximum": null, "priority": 100.5 }],
                "sentence": "unused" },
            "sentence": "`hello` was below its minimum",
            "obsoleteReason": "package Hello changes",
            "order": { "reason": "update", "why": "package Hello changes", "ordered": "2026-11-22T12:00:01Z" },
            "waitingOn": [{ "code": "atMinimum", "message": "hello is at its minimum" }],
        }))
        .unwrap();
        expect![[r"
            `hello` was below its minimum
            rule: belowMinimum

            CANDIDATE  COUNT  MIN  MAX  PRIORITY
            hello      1      2    -    100.5

            has to restart: package Hello changes

            told: stop for update since 2026-11-22T12:00:01Z: package Hello changes

            waiting
              atMinimum: hello is at its minimum
        "]]
        .assert_eq(&explanation(&value));
    }

    #[test]
    fn templates_show_counts_what_happened_and_what_is_waited_for() {
        let templates: Vec<Template> = serde_json::from_value(json!([{ "code": "hello", "name": "Hello", "minimum": 2,
            "maximum": 3, "priority": 100.0, "containerTypes": ["worker"], "ready": 2, "starting": 0, "obsolete": 1,
            "upgrading": 1, "unreachable": 0,
            "waitingOn": [{ "code": "atMinimum", "message": "hello is at its minimum" }],
            "statistics": { "since": "2026-11-22T12:00:00Z", "starts": 5, "becameReady": 4, "failedStarts": 1,
                "crashes": 2, "lost": 0, "timeToReadyTotalMs": 6000, "timeToReadyMaxMs": 3000 } }]))
        .unwrap();
        expect![[r"
            TEMPLATE  MIN  MAX  PRIORITY  READY  STARTING  OBSOLETE  UPGRADING  UNREACHABLE  CONTAINERS
            hello     2    3    100       2      0         1         1          0            worker

            since 2026-11-22T12:00:00Z
            TEMPLATE  STARTS  BECAME READY  FAILED STARTS  CRASHES  LOST  TIME TO READY  LONGEST
            hello     5       4             1              2        0     1.5 s          3.0 s

            hello waits
              atMinimum: hello is at its minimum
        "]]
        .assert_eq(&super::templates(&templates));
    }
}
