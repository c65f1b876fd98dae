use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use klusterkite_wire::link::{ProcessState, ReportedStatus};
use klusterkite_wire::socket::HostMessage;
use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

use crate::bench::ServiceDirectory;

/// A health page that the test switches.
async fn health_page(healthy: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /health?x=1 HTTP/1.1\r\n"));
            let status = if healthy.load(Ordering::SeqCst) {
                "204 No Content"
            } else {
                "503 Later"
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}/health?x=1")
}

#[tokio::test]
async fn a_node_is_ready_when_each_kind_of_probe_says_so() {
    let healthy = Arc::new(AtomicBool::new(false));
    let url = health_page(Arc::clone(&healthy)).await;
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = reserved.local_addr().unwrap().to_string();
    let sleep = json!(["sleep", "1000"]);
    let mut directory = ServiceDirectory::new(&json!({
        "exec": { "command": sleep, "after": [], "readiness": { "exec": ["test", "-f", "exec-is-ready"], "interval": "20ms" } },
        "http": { "command": sleep, "after": [], "readiness": { "http": url, "interval": "20ms" } },
        "none": { "command": sleep, "after": [] },
        "notify": { "command": ["notifier"], "after": [], "readiness": { "notify": true } },
        "tcp": { "command": sleep, "after": [], "readiness": { "tcp": address, "interval": "20ms" } },
    }));
    directory.script(
        "notifier",
        "while ! test -f notify-is-ready; do sleep 0.02; done\n\
         python3 -c 'import os, socket\n\
         notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
         notify.sendto(b\"STATUS=well\\nREADY=1\", os.environ[\"NOTIFY_SOCKET\"])'\n\
         exec sleep 1000",
    );
    let manager = directory.manager().await;
    let launcher = directory.launcher();
    let mut host = directory.host();
    let mut socket = launcher.accept().await;
    let (mut link, _) = manager.welcome().await;

    directory.write("exec-is-ready", "");
    let ready = |report: &klusterkite_wire::link::NodeReport, name: &str| {
        let mut processes = report.processes.iter();
        let process = processes.find(|process| process.name == name).unwrap();
        process.state == ProcessState::Ready
    };
    let mut report = link.status(ReportedStatus::Starting).await;
    while !ready(&report, "exec") {
        report = link.status(ReportedStatus::Starting).await;
    }
    assert!(ready(&report, "none"));
    assert!(!ready(&report, "http") && !ready(&report, "tcp") && !ready(&report, "notify"));

    healthy.store(true, Ordering::SeqCst);
    while !ready(&report, "http") {
        report = link.status(ReportedStatus::Starting).await;
    }
    directory.write("notify-is-ready", "");
    while !ready(&report, "notify") {
        report = link.status(ReportedStatus::Starting).await;
    }
    let reason = report.reason.unwrap();
    assert!(
        reason.starts_with("process `tcp` is not ready: connect to"),
        "{reason}"
    );
    let _listener = reserved.listen(8).unwrap();
    link.status(ReportedStatus::Ready).await;
    assert_eq!(socket.next().await, HostMessage::Ready);

    // What is ready can lose it.
    healthy.store(false, Ordering::SeqCst);
    let report = link.status(ReportedStatus::Starting).await;
    assert!(!ready(&report, "http"));
    assert!(report.reason.unwrap().ends_with("answered 503"));
    healthy.store(true, Ordering::SeqCst);
    link.status(ReportedStatus::Ready).await;
    host.signal(Signal::TERM);
    link.rest().await;
    assert_eq!(host.end().await.0, 0);
}

#[tokio::test]
async fn a_process_that_does_not_answer_its_liveness_probe_is_restarted() {
    let directory = ServiceDirectory::new(&json!({
        "a": {
            "command": ["a"],
            "liveness": { "exec": ["test", "!", "-f", "dead"], "interval": "20ms", "failures": 2 },
            "restarts": 1,
        },
    }));
    directory.script("a", "rm -f dead; echo start >> starts; exec sleep 1000");
    let mut host = directory.host();
    directory.wait_for("starts").await;
    directory.write("dead", "");
    crate::bench::until(|| directory.read("starts") == "start\nstart\n").await;
    directory.write("dead", "");
    let (code, err) = host.end().await;
    assert_eq!(code, 1);
    assert!(
        err.contains("stopped because its liveness probe failed: `test` ended with exit status: 1"),
        "{err}"
    );
}

#[tokio::test]
async fn processes_start_one_after_the_other_as_they_become_ready() {
    let exec = |file: &str| json!({ "exec": ["test", "-f", file], "interval": "20ms" });
    let mut directory = ServiceDirectory::new(&json!({
        "db": { "command": ["start", "db"], "readiness": exec("db-is-ready") },
        "web": { "command": ["start", "web"], "readiness": exec("web-is-ready") },
        "aside": { "command": ["start", "aside"], "after": [] },
        "last": { "command": ["start", "last"], "after": ["aside", "web"] },
    }));
    directory.script("start", "echo $1 >> starts; exec sleep 1000");
    let manager = directory.manager().await;
    let mut host = directory.host();
    let (mut link, _) = manager.welcome().await;
    crate::bench::until(|| directory.read("starts").lines().count() == 2).await;
    let started = |count: usize| {
        let text = directory.read("starts");
        let names: Vec<&str> = text.lines().skip(count).collect();
        names.join(" ")
    };
    assert!(["db aside", "aside db"].contains(&started(0).as_str()));
    let mut reason = None;
    while reason.as_deref() != Some("process `db` is not ready: `test` ended with exit status: 1") {
        reason = link.status(ReportedStatus::Starting).await.reason;
    }
    directory.write("db-is-ready", "");
    crate::bench::until(|| started(2) == "web").await;
    directory.write("web-is-ready", "");
    crate::bench::until(|| started(2) == "web last").await;
    link.status(ReportedStatus::Ready).await;
    host.signal(Signal::TERM);
    link.rest().await;
    assert_eq!(host.end().await.0, 0);
}

#[tokio::test]
async fn a_process_that_does_not_say_that_it_is_alive_in_time_is_restarted() {
    let directory = ServiceDirectory::new(&json!({
        "a": {
            "command": ["a"],
            "readiness": { "notify": true },
            "liveness": { "notify": true, "interval": "100ms", "failures": 3 },
            "restarts": 1,
        },
    }));
    directory.script(
        "a",
        "echo $WATCHDOG_USEC >> starts\n\
         exec python3 -c 'import os, socket, time\n\
         notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
         def say(text): notify.sendto(text, os.environ[\"NOTIFY_SOCKET\"])\n\
         say(b\"READY=1\")\n\
         while not os.path.exists(\"hang\"):\n\
         \x20   say(b\"WATCHDOG=1\"); time.sleep(0.02)\n\
         os.remove(\"hang\")\n\
         time.sleep(1000)'",
    );
    let mut host = directory.host();
    crate::bench::until(|| host.err.lock().unwrap().contains("status=Ready")).await;
    directory.write("hang", "");
    crate::bench::until(|| directory.read("starts") == "300000\n300000\n").await;
    directory.write("hang", "");
    let (code, err) = host.end().await;
    assert_eq!(code, 1);
    assert!(
        err.contains("stopped because it said no `WATCHDOG=1` in time"),
        "{err}"
    );
}
