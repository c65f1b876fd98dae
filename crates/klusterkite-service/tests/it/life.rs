use std::path::Path;

use klusterkite_node::program::members_at;
use klusterkite_wire::link::{
    ContainmentLevel, Endpoint, ManagerMessage, Member, Members, Module, NodeMessage,
    ReportedStatus,
};
use klusterkite_wire::socket::HostMessage;
use rustix::process::Signal;
use serde_json::json;

use crate::bench::{NODE_ID, ServiceDirectory, runs, until};

#[tokio::test]
async fn a_node_introduces_itself_with_everything_a_manager_needs() {
    let mut directory = ServiceDirectory::new(&json!({ "a": { "command": ["sleep", "1000"] } }));
    let manager = directory.manager().await;
    let mut host = directory.host();
    let (mut link, hello) = manager.welcome().await;
    assert_eq!(hello.protocol, 1);
    assert_eq!(hello.incarnation.0, 1_763_826_000_123);
    assert_eq!(hello.template.as_str(), "orders");
    assert_eq!(hello.configuration_id.0, 7);
    assert_eq!(hello.container_type.as_str(), "worker");
    assert_eq!(hello.runtime.as_str(), "linux-x64");
    let containment = hello.containment.unwrap();
    assert_eq!(containment.level, ContainmentLevel::ProcessGroups);
    assert_eq!(containment.limits, [""; 0]);
    let reason = containment.reason.unwrap();
    assert!(reason.contains("gave no control group"), "{reason}");
    assert_eq!(hello.address, "127.0.0.1");
    assert_eq!(hello.roles, ["orders"]);
    assert_eq!(
        hello.modules,
        [Module {
            id: "Acme.Orders".to_owned(),
            version: "1.4.0".to_owned(),
            sha512: "abc".to_owned(),
        }]
    );
    assert_eq!(
        hello.endpoints,
        [Endpoint {
            name: "orders".to_owned(),
            port: 8081,
            host: "default".to_owned(),
            route: "/api/orders".to_owned(),
        }]
    );
    host.signal(Signal::INT);
    let rest = link.rest().await;
    let bye = rest.last().unwrap();
    assert!(bye.starts_with("bye: "), "{rest:?}");
    assert_eq!(host.end().await.0, 0);
}

#[tokio::test]
async fn a_node_runs_without_manager_token_and_launcher() {
    let directory = ServiceDirectory::new(&json!({ "a": { "command": ["a"] } }));
    std::fs::remove_file(directory.path.join("node-token")).unwrap();
    directory.script("a", "echo out; echo err >&2; exec sleep 1000");
    let mut host = directory.host();
    until(|| host.out.lock().unwrap().contains("[a] out\n")).await;
    until(|| host.err.lock().unwrap().contains("[a] err\n")).await;
    until(|| host.err.lock().unwrap().contains("status=Ready")).await;
    host.signal(Signal::TERM);
    assert_eq!(host.end().await.0, 0);
}

#[tokio::test]
async fn a_manager_that_comes_back_meets_the_same_node_and_its_members_stay_served() {
    let mut directory = ServiceDirectory::new(&json!({ "a": { "command": ["sleep", "1000"] } }));
    let manager = directory.manager().await;
    let mut host = directory.host();
    let (mut link, first) = manager.welcome().await;
    let members = Members {
        version: 4,
        members: vec![Member {
            node_id: NODE_ID.parse().unwrap(),
            template: "orders".parse().unwrap(),
            roles: vec!["orders".to_owned()],
            address: "10.0.0.1".to_owned(),
            endpoints: Vec::new(),
        }],
    };
    link.send(&ManagerMessage::Members(members.clone())).await;
    let ask = |role: &'static str| {
        let socket = directory.path.join("members.sock");
        tokio::task::spawn_blocking(move || members_at(&socket, Some(role)).unwrap())
    };
    while ask("orders").await.unwrap() != members {
        tokio::task::yield_now().await;
    }
    drop(link);
    assert_eq!(ask("orders").await.unwrap(), members);
    assert!(ask("other").await.unwrap().members.is_empty());
    let (link, second) = manager.welcome().await;
    assert_eq!(second.incarnation, first.incarnation);
    assert_eq!(second.report.status, ReportedStatus::Ready);

    // After a restart without a manager the last members are served.
    let kept = directory.path.join("../data/.klusterkite/members.json");
    until(|| kept.exists()).await;
    drop((link, manager));
    host.signal(Signal::TERM);
    assert_eq!(host.end().await.0, 0);
    let mut again = directory.host();
    until(|| again.err.lock().unwrap().contains("status=Ready")).await;
    assert_eq!(ask("orders").await.unwrap(), members);
    again.signal(Signal::TERM);
    assert_eq!(again.end().await.0, 0);
}

#[tokio::test]
async fn a_process_that_ignores_its_signal_is_killed_with_everything_in_its_group() {
    let directory = ServiceDirectory::new(&json!({
        "a": { "command": ["a"], "stop": { "grace": "100ms" } },
    }));
    directory.script(
        "a",
        "trap '' TERM\n\
         (sh -c 'echo $$ > orphan; while :; do sleep 1; done' &)\n\
         echo $$ > pid\n\
         while :; do sleep 1; done",
    );
    let mut host = directory.host();
    let pid = directory.wait_for("pid").await;
    let orphan = directory.wait_for("orphan").await;
    host.signal(Signal::TERM);
    assert_eq!(host.end().await.0, 0);
    assert!(!runs(&pid));
    assert!(!runs(&orphan));
}

#[tokio::test]
async fn what_a_dead_process_leaves_behind_is_killed_before_its_restart() {
    let directory = ServiceDirectory::new(&json!({ "a": { "command": ["a"], "restarts": 1 } }));
    directory.script(
        "a",
        "if test -f orphan; then exec sleep 1000; fi\n\
         (sh -c 'echo $$ > orphan; exec sleep 1000' &)\n\
         while ! test -s orphan; do sleep 0.01; done\n\
         exit 9",
    );
    let mut host = directory.host();
    until(|| host.err.lock().unwrap().matches("started").count() == 2).await;
    assert!(!runs(&directory.read("orphan")));
    host.signal(Signal::TERM);
    assert_eq!(host.end().await.0, 0);
}

#[tokio::test]
async fn a_second_signal_kills_at_once() {
    let directory = ServiceDirectory::new(&json!({
        "a": { "command": ["a"], "stop": { "grace": "3600s", "drain": "3600s" } },
    }));
    directory.script(
        "a",
        "trap '' TERM; echo $$ > pid; while :; do sleep 1; done",
    );
    let mut host = directory.host();
    let pid = directory.wait_for("pid").await;
    until(|| host.err.lock().unwrap().contains("status=Ready")).await;
    host.signal(Signal::TERM);
    until(|| host.err.lock().unwrap().contains("status=Draining")).await;
    // One that follows at once is the same signal.
    until(|| {
        host.signal(Signal::TERM);
        !runs(&pid)
    })
    .await;
    assert_eq!(host.end().await.0, 0);
}

#[tokio::test]
async fn a_process_is_restarted_within_its_budget_and_then_the_node_fails_with_its_last_lines() {
    let mut directory = ServiceDirectory::new(&json!({
        "a": { "command": ["a"], "restarts": 2 },
        "b": { "command": ["b"], "stop": { "drain": "3600s" } },
    }));
    directory.script("a", "echo start >> starts; echo no database >&2; exit 3");
    directory.script(
        "b",
        "trap 'echo term > term; exit 0' TERM; sleep 1000 & wait",
    );
    let manager = directory.manager().await;
    let mut host = directory.host();
    let (mut link, _) = manager.welcome().await;
    let report = link.status(ReportedStatus::Failed).await;
    let reason = "process `a` ended (exit 3) and its 2 restarts are used up";
    assert_eq!(report.reason.as_deref(), Some(reason));
    let mut last = None;
    while let Some(message) = link.next().await {
        last = Some(message);
    }
    let bye = NodeMessage::Bye {
        reason: reason.to_owned(),
    };
    assert_eq!(last, Some(bye));
    let (code, err) = host.end().await;
    assert_eq!(code, 1);
    assert_eq!(directory.read("starts"), "start\n".repeat(3));
    assert_eq!(directory.read("term"), "term\n");
    let end = format!("  a: no database\nthe node failed: {reason}\n");
    assert!(err.ends_with(&end), "{err}");
}

#[tokio::test]
async fn a_node_serves_on_when_its_launcher_dies() {
    let directory = ServiceDirectory::new(&json!({ "a": { "command": ["a"] } }));
    directory.script("a", "echo $$ > pid; exec sleep 1000");
    let launcher = directory.launcher();
    let mut host = directory.host();
    let mut socket = launcher.accept().await;
    assert_eq!(socket.next().await, HostMessage::Ready);
    drop((socket, launcher));
    until(|| host.err.lock().unwrap().contains("the launcher is gone")).await;
    assert!(runs(&directory.read("pid")));
    assert!(Path::new(&format!("/proc/{}", host.pid())).exists());
    host.signal(Signal::TERM);
    assert_eq!(host.end().await.0, 0);
}

#[tokio::test]
async fn a_node_of_packages_that_only_carry_files_is_ready_at_once() {
    let directory = ServiceDirectory::new(&json!({}));
    let launcher = directory.launcher();
    let mut host = directory.host();
    let mut socket = launcher.accept().await;
    assert_eq!(socket.next().await, HostMessage::Ready);
    host.signal(Signal::TERM);
    assert_eq!(host.end().await.0, 0);
}
