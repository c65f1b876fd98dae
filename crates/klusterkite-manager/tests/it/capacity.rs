//! Too few and spare containers: redistribution, surge.

use klusterkite_core::settings::NodeTemplateSettings;
use klusterkite_wire::link::{AckState, ReportedStatus};
use serde_json::{Value, json};

use crate::fleet::{
    Container, led, migrate, migration_eventually, other_text, ready, template, waits_for,
};
use crate::harness::eventually;

#[test]
fn a_template_below_its_minimum_gets_the_container_of_a_less_important_one() {
    let server = led(|_, _| {});
    let mut nodes: Vec<_> = (1..=2)
        .map(|number| Container::new(&server, number).started())
        .collect();
    let to = ready(&server, 2, |row| {
        let urgent = NodeTemplateSettings {
            code: "urgent".to_owned(),
            priority: 9.0,
            minimum_required_instances: 1,
            maximum_needed_instances: Some(1),
            ..template(&mut row.settings).clone()
        };
        row.settings.node_templates.push(urgent);
        let frozen = row.frozen.as_mut().unwrap();
        let packages = frozen.node_templates[&"hello".parse().unwrap()].clone();
        let urgent = "urgent".parse().unwrap();
        frozen.node_templates.insert(urgent, packages);
    });
    migrate(&server, to, &Value::Null);
    // Among equals the newest node is missed least.
    let stop = nodes[1].told_to_stop();
    let next = stop.next.as_ref().unwrap();
    assert_eq!(next.node_template.as_str(), "urgent");
    nodes[1].replaced(&stop);
    migration_eventually(&server, "completed");
    assert_eq!(nodes[1].shown()["template"], "urgent");
    assert_eq!(nodes[0].shown()["template"], "hello");
    assert!(nodes[0].beats(), "the other one stays what it is");
}

#[test]
fn a_template_at_its_minimum_is_updated_with_a_waiting_container() {
    let server = led(|hello, _| {
        hello.minimum_required_instances = 1;
        hello.maximum_needed_instances = Some(1);
        hello.rollout.surge = 1;
    });
    let mut old = Container::new(&server, 1).started();
    migrate(&server, ready(&server, 2, other_text), &Value::Null);
    let prefetch = old.order();
    old.ack(&prefetch, AckState::Done, None);
    waits_for(&server, "needsContainer");

    let mut spare = Container::new(&server, 2);
    eventually("the spare container gets it", || {
        let answer = spare.ask();
        if answer.status == 503 {
            answer.problem(503, "clusterFull");
        }
        answer.status == 200
    });
    let start = spare.start.clone().unwrap();
    assert_eq!(start.configuration_id.0, 2);
    assert!(old.shown()["order"].is_null(), "it serves until then");
    spare.connect(ReportedStatus::Ready);
    let stop = old.told_to_stop();
    assert!(stop.next.is_none(), "one is enough");
    old.leaves();
    old.ask().problem(503, "clusterFull");
    migration_eventually(&server, "completed");
    assert_eq!(spare.shown()["status"], json!("ready"));
}
