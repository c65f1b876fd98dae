use klusterkite_wire::link::{
    AckState, ManagerMessage, NodeMessage, Order, OrderKind, ReportedStatus,
};
use klusterkite_wire::socket::{HostMessage, LauncherMessage};
use klusterkite_wire::{LeaderEpoch, OrderId};
use rustix::process::Signal;
use serde_json::json;

use crate::bench::{Host, LauncherSocket, ManagerLink, ServiceDirectory, order, release, runs};

/// A ready node with one process that writes its signals into `log`.
async fn ready(stop: serde_json::Value) -> (ServiceDirectory, Host, ManagerLink, LauncherSocket) {
    let mut directory = ServiceDirectory::new(&json!({ "a": { "command": ["a"], "stop": stop } }));
    directory.script(
        "a",
        "trap 'echo term >> log; kill $child; exit 0' TERM\n\
         trap 'echo int >> log; kill $child; exit 0' INT\n\
         echo $$ > pid\n\
         sleep 1000 & child=$!\n\
         wait",
    );
    let manager = directory.manager().await;
    let launcher = directory.launcher();
    let host = directory.host();
    let mut socket = launcher.accept().await;
    assert_eq!(socket.next().await, HostMessage::Ready);
    let (link, hello) = manager.welcome().await;
    assert_eq!(hello.report.status, ReportedStatus::Ready);
    directory.wait_for("pid").await;
    (directory, host, link, socket)
}

#[tokio::test]
async fn a_stop_order_goes_through_all_its_steps_in_order() {
    let stop = json!({ "grace": "60s", "drain": "50ms" });
    let (directory, mut host, mut link, mut socket) = ready(stop).await;
    link.order(order(5, OrderKind::Stop)).await;
    socket.store(5).await;
    assert_eq!(
        link.rest().await,
        [
            "Accepted 5",
            "Draining",
            "Stopping",
            "Done 5",
            "bye: update"
        ]
    );
    assert_eq!(host.end().await.0, 0);
    assert_eq!(directory.read("log"), "term\n");
    assert!(!runs(&directory.read("pid")));
}

#[tokio::test]
async fn nothing_is_signalled_before_the_endpoints_are_withdrawn_and_the_drain_delay_is_over() {
    let stop = json!({ "signal": "INT", "grace": "60s", "drain": "3600s" });
    let (directory, mut host, mut link, mut socket) = ready(stop).await;
    link.order(order(5, OrderKind::Stop)).await;
    socket.store(5).await;
    assert_eq!(link.ack().await.1, AckState::Accepted);
    let report = link.status(ReportedStatus::Draining).await;
    assert_eq!(report.reason.as_deref(), Some("update"));
    assert_eq!(directory.read("log"), "");
    assert!(runs(&directory.read("pid")));
    // A signal to the host ends the delay.
    host.signal(Signal::TERM);
    assert_eq!(link.rest().await, ["Stopping", "Done 5", "bye: update"]);
    assert_eq!(host.end().await.0, 0);
    assert_eq!(directory.read("log"), "int\n");
}

#[tokio::test]
async fn nothing_is_stopped_when_what_comes_next_cannot_be_stored() {
    let (directory, mut host, mut link, mut socket) = ready(json!({})).await;
    link.order(order(5, OrderKind::Stop)).await;
    let HostMessage::Stopping { order_id, .. } = socket.next().await else {
        panic!("the host asks to store");
    };
    let error = Some("no space left".to_owned());
    socket
        .send(&LauncherMessage::Stopping { order_id, error })
        .await;
    let refused = (5, AckState::Refused, "no space left".to_owned());
    assert_eq!(link.ack().await, refused);
    assert!(runs(&directory.read("pid")));
    // Without a launcher nothing could start what comes next.
    drop(socket);
    link.order(order(6, OrderKind::Prefetch)).await;
    assert_eq!(link.ack().await.1, AckState::Refused);
    link.order(order(7, OrderKind::Stop)).await;
    let (id, state, reason) = link.ack().await;
    assert_eq!((id, state), (7, AckState::Refused));
    assert!(reason.contains("no launcher"), "{reason}");
    host.signal(Signal::TERM);
    link.rest().await;
    assert_eq!(host.end().await.0, 0);
}

#[tokio::test]
async fn a_drained_node_keeps_running() {
    let (directory, mut host, mut link, _socket) = ready(json!({})).await;
    link.order(order(5, OrderKind::Drain)).await;
    link.status(ReportedStatus::Draining).await;
    assert_eq!(link.ack().await, (5, AckState::Done, String::new()));
    assert!(runs(&directory.read("pid")));
    assert_eq!(directory.read("log"), "");
    host.signal(Signal::TERM);
    link.rest().await;
    assert_eq!(host.end().await.0, 0);
}

#[tokio::test]
async fn a_prefetch_goes_to_the_launcher_once_and_is_answered_as_often_as_it_is_ordered() {
    let (_directory, mut host, mut link, mut socket) = ready(json!({})).await;
    link.order(order(5, OrderKind::Prefetch)).await;
    link.order(order(5, OrderKind::Prefetch)).await;
    let order_id = OrderId(5);
    let next = Box::new(release(8));
    let prefetch = HostMessage::Prefetch { order_id, next };
    assert_eq!(socket.next().await, prefetch);
    let (bytes, total) = (1, 2);
    let progress = LauncherMessage::Progress {
        order_id,
        bytes,
        total,
    };
    socket.send(&progress).await;
    let error = None;
    socket
        .send(&LauncherMessage::Prefetched { order_id, error })
        .await;
    let done = (5, AckState::Done, String::new());
    assert_eq!(link.ack().await, done);
    link.order(order(5, OrderKind::Prefetch)).await;
    assert_eq!(link.ack().await, done);

    link.order(order(6, OrderKind::Prefetch)).await;
    let HostMessage::Prefetch { order_id, .. } = socket.next().await else {
        panic!("the next message is about the next order");
    };
    let error = Some("package `Acme.Orders` has another hash".to_owned());
    socket
        .send(&LauncherMessage::Prefetched { order_id, error })
        .await;
    let (id, state, reason) = link.ack().await;
    assert_eq!((id, state), (6, AckState::Refused));
    assert!(reason.contains("another hash"), "{reason}");
    host.signal(Signal::TERM);
    link.rest().await;
    assert_eq!(host.end().await.0, 0);
}

#[tokio::test]
async fn an_order_of_an_older_leader_is_refused() {
    let (directory, mut host, mut link, _socket) = ready(json!({})).await;
    let old = Order {
        epoch: LeaderEpoch(2),
        ..order(5, OrderKind::Stop)
    };
    link.order(old).await;
    let (id, state, reason) = link.ack().await;
    assert_eq!((id, state), (5, AckState::Refused));
    assert!(reason.contains("epoch 2"), "{reason}");
    assert!(runs(&directory.read("pid")));
    host.signal(Signal::TERM);
    link.rest().await;
    assert_eq!(host.end().await.0, 0);
}

#[tokio::test]
async fn a_fenced_node_stops_and_says_why() {
    let (directory, mut host, mut link, _socket) = ready(json!({})).await;
    link.send(&ManagerMessage::Fenced).await;
    let (code, err) = host.end().await;
    assert_eq!(code, 1);
    assert!(
        err.contains("a newer incarnation of this node exists"),
        "{err}"
    );
    assert_eq!(directory.read("log"), "term\n");
    let rest = link.next().await;
    assert!(!matches!(rest, Some(NodeMessage::Bye { .. })), "{rest:?}");
}

#[tokio::test]
async fn the_stop_hook_of_a_process_runs_after_the_drain_delay_and_before_the_signal() {
    let stop =
        json!({ "drain": "50ms", "command": ["hook", "now"], "timeout": "60s", "grace": "60s" });
    let (directory, mut host, mut link, mut socket) = ready(stop).await;
    directory.script(
        "hook",
        "echo hook $1 $KLUSTERKITE_NODE_ID >> log; echo flushed",
    );
    link.order(order(5, OrderKind::Stop)).await;
    socket.store(5).await;
    assert_eq!(
        link.rest().await,
        [
            "Accepted 5",
            "Draining",
            "Stopping",
            "Done 5",
            "bye: update"
        ]
    );
    assert_eq!(host.end().await.0, 0);
    let expected = format!("hook now {}\nterm\n", crate::bench::NODE_ID);
    assert_eq!(directory.read("log"), expected);
    assert!(host.out.lock().unwrap().contains("[a] flushed\n"));
}

#[tokio::test]
async fn a_stop_hook_that_hangs_or_cannot_be_started_does_not_hold_the_stop() {
    let stop = json!({ "command": ["hook"], "timeout": "100ms", "grace": "60s" });
    let (directory, mut host, mut link, mut socket) = ready(stop).await;
    directory.script(
        "hook",
        "trap '' TERM; echo $$ > hook-pid; while :; do sleep 1; done",
    );
    link.order(order(5, OrderKind::Stop)).await;
    socket.store(5).await;
    link.rest().await;
    let (code, err) = host.end().await;
    assert_eq!(code, 0);
    assert!(err.contains("its stop hook failed: it was killed"), "{err}");
    assert_eq!(directory.read("log"), "term\n");
    assert!(!runs(&directory.read("hook-pid")));

    let stop = json!({ "command": ["no-such-program"], "timeout": "60s", "grace": "60s" });
    let (directory, mut host, mut link, _socket) = ready(stop).await;
    host.signal(Signal::TERM);
    link.rest().await;
    let (code, err) = host.end().await;
    assert_eq!(code, 0);
    assert!(
        err.contains("its stop hook failed: `no-such-program`"),
        "{err}"
    );
    assert_eq!(directory.read("log"), "term\n");
}
