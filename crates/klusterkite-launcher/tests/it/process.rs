use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::cluster::{Container, large_package};

#[test]
fn a_crash_is_backed_off_from_and_reported_with_the_last_lines() {
    let mut container = Container::new();
    container.configure("backoffMin = 40ms, backoffMax = 200ms");
    container.answer_with(&container.release(1, "print exit-3"));
    container.launch();
    container.wait_for_start(3);
    let crash = container.wait_for_request("/configuration")["crash"].clone();
    assert_eq!(crash["exit"], "exit 3");
    let lines: Vec<&str> = crash["lastLines"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(lines.contains(&"words on stderr"), "{lines:?}");
    assert!(lines.contains(&"words on stdout"), "{lines:?}");
    assert!(lines.contains(&"last words"), "{lines:?}");
    assert!(lines.iter().all(|line| line.len() <= 2048));
    assert!(container.state()["backoffMilliseconds"].as_u64() >= Some(40));
    let out = container.stdout();
    let out = String::from_utf8_lossy(&out);
    assert!(out.contains("words on stdout\n"), "{out}");
    assert!(out.lines().all(|line| line.len() <= 8192));
    assert!(container.log().contains("words on stderr\n"));

    // A node that works ends it.
    container.answer_with(&container.release(2, "die"));
    container.wait_for("the signal", || {
        let crash = container.wait_for_request("/configuration")["crash"].clone();
        (crash["exit"] == "signal 9").then_some(())
    });
    container.answer_with(&container.release(3, ""));
    container.wait_for_log("the node is ready");
    container.stop();
}

#[test]
fn a_node_that_keeps_crashing_does_not_fill_the_disk() {
    let mut container = Container::new();
    container.answer_with(&container.release(1, "exit-3"));
    container.launch();
    container.wait_for_start(6);
    let releases = fs::read_dir(container.path("releases")).unwrap().count();
    assert!(releases <= 3, "{releases}");
    container.stop();
}

#[test]
fn a_flood_of_output_is_handed_on_whole() {
    let mut container = Container::new();
    container.answer_with(&container.release(1, "flood"));
    container.launch();
    container.wait_for_ready(1);
    container.stop();
    let out = String::from_utf8(container.stdout()).unwrap();
    assert!(!container.log().contains("were dropped"));
    assert!(
        out.lines()
            .eq((0..20_000).map(|line| format!("line {line}"))),
        "{}",
        out.len()
    );
}

#[test]
fn a_node_does_not_wait_for_output_that_nobody_reads() {
    let mut container = Container::new();
    container.answer_with(&container.release(1, "flood"));
    // A pipe that is open and never read takes 64 KiB.
    let (_reader, writer) = std::io::pipe().unwrap();
    container.launch_with_stdout(container.command(), writer.into());
    container.wait_for_start(1);
    container.wait_for("readiness", || {
        (!container.state()["good"].is_null()).then_some(())
    });
    container.stop();
}

#[test]
fn the_back_off_is_obeyed_by_the_next_launcher() {
    let mut container = Container::new();
    container.configure("backoffMin = 1h, backoffMax = 1h");
    container.answer_with(&container.release(1, "exit-3"));
    container.launch();
    container.wait_for_log("the node ended by itself: exit 3");
    container.wait_for_log("asking again in 3600.0 s");
    container.stop();
    container.launch();
    container.wait_for("the rest of the pause", || {
        (container.log().matches("asking again in 3").count() == 2).then_some(())
    });
    assert_eq!(container.requests("/configuration"), 1);
    container.stop();
}

#[test]
fn term_leaves_no_process_whatever_the_node_does() {
    let mut container = Container::new();
    container.configure("stopGrace = 100ms");
    container.answer_with(&container.release(1, "daemon ignore-term"));
    container.launch();
    container.wait_for_ready(1);
    assert_eq!(container.running().len(), 2);
    container.stop();
    assert_eq!(container.running(), [0; 0]);
    assert!(container.log().contains("did not stop in time"));
}

/// A launcher may use 6 MB while a node runs. 4 MB of that are its program's, which is not larger;
/// what is left is for the memory that it takes, also after it has fetched and extracted a lot.
#[test]
fn a_launcher_that_runs_a_node_needs_little_memory() {
    const ANONYMOUS_KILOBYTES_MAX: u64 = 2 * 1024;
    let mut container = Container::new();
    let mut release = container.release(1, "");
    release.packages.push(large_package(&container));
    container.answer_with(&release);
    container.launch();
    container.wait_for_ready(1);
    let status = fs::read_to_string(format!("/proc/{}/status", container.launcher_id())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kilobytes <= ANONYMOUS_KILOBYTES_MAX, "{line}");
    container.stop();
}

#[test]
fn a_second_term_does_not_wait() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut container = Container::new();
        container.configure("stopGrace = 1h");
        container.answer_with(&container.release(1, "daemon ignore-term"));
        container.launch();
        container.wait_for_ready(1);
        container.signal(signal);
        container.wait_for_log("told to stop: stopping the node");
        container.stop();
        assert_eq!(container.running(), [0; 0]);
    }
}

#[test]
fn what_a_dead_host_leaves_is_killed_before_the_next_start() {
    let mut container = Container::new();
    container.answer_with(&container.release(1, "daemon"));
    container.launch();
    let host = container.wait_for_ready(1)["pid"].as_i64().unwrap();
    let daemon = *container
        .running()
        .iter()
        .find(|pid| i64::from(**pid) != host)
        .unwrap();
    let host = rustix::process::Pid::from_raw(i32::try_from(host).unwrap()).unwrap();
    container.answer_with(&container.release(2, ""));
    rustix::process::kill_process(host, Signal::KILL).unwrap();
    container.wait_for_ready(2);
    assert!(!container.running().contains(&daemon));
    assert_eq!(container.running().len(), 1);
    container.stop();
}

#[test]
fn a_node_whose_launcher_is_killed_is_told_to_stop() {
    let mut container = Container::new();
    container.answer_with(&container.release(1, ""));
    container.launch();
    container.wait_for_ready(1);
    container.kill();
    container.wait_for("the host's end", || {
        container.running().is_empty().then_some(())
    });
    assert_eq!(
        container.notes("stops").len(),
        1,
        "it was asked, not killed"
    );
    container.launch();
    container.wait_for_ready(2);
    container.stop();
}

#[test]
fn the_next_launcher_ends_what_a_killed_one_left_before_it_starts_a_node() {
    let mut container = Container::new();
    container.configure("stopGrace = 100ms");
    container.answer_with(&container.release(1, "daemon ignore-term"));
    container.launch();
    container.wait_for_ready(1);
    let left = container.running();
    assert_eq!(left.len(), 2);
    container.kill();
    assert_eq!(container.running(), left, "they ignore TERM");
    container.answer_with(&container.release(2, ""));
    container.launch();
    container.wait_for_log("2 processes that it left were ended");
    container.wait_for_ready(2);
    assert!(container.running().iter().all(|pid| !left.contains(pid)));
    container.stop();
}

#[test]
fn two_launchers_cannot_run_in_one_directory() {
    let mut container = Container::new();
    container.answer_with(&container.release(1, ""));
    container.launch();
    container.wait_for_ready(1);
    let mut second = container.command();
    let second = second
        .env("KLUSTERKITE_API_CLIENT_SECRET", "x")
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let error = String::from_utf8(second.stderr).unwrap();
    let expected = format!(
        "another launcher (process {}) runs in",
        container.launcher_id()
    );
    assert!(error.contains(&expected), "{error}");
    assert_eq!(
        container.running().len(),
        1,
        "the first one does not notice"
    );
    container.stop();
}

#[test]
fn with_a_stop_action_the_launcher_ends_after_the_node() {
    for (action, code) in [("touch acted", 0), ("touch acted; exit 5", 1)] {
        let mut container = Container::new();
        container.configure(&format!("stopMode = RunAction, stopAction = \"{action}\""));
        container.answer_with(&container.release(1, ""));
        container.launch();
        container.wait_for_ready(1);
        container.host_says(&json!({"type": "stopping", "orderId": 1}));
        assert_eq!(container.wait_for_exit().code(), Some(code));
        assert!(container.path("data/acted").exists());
    }
}

#[test]
fn lines_that_the_launcher_does_not_understand_are_said_and_harm_nothing() {
    let mut container = Container::new();
    container.answer_with(&container.release(1, ""));
    container.launch();
    container.wait_for_ready(1);
    container.host_says(&json!({"type": "dance"}));
    container.wait_for_log("the host says something unknown");
    container.host_says(&json!({"type": "stopping", "orderId": 1}));
    container.wait_for_ready(2);
    container.stop();
}

#[test]
fn garbage_on_the_socket_of_the_host_ends_its_connection_and_nothing_else() {
    let mut container = Container::new();
    container.answer_with(&container.release(1, ""));
    container.launch();
    container.wait_for_ready(1);
    let path = container.path("current/launcher.sock");
    let garbage = [
        b"\n\n\n".to_vec(),
        vec![0xff; 5000],
        [&b"{\"type\":".repeat(50_000)[..], b"\n"].concat(),
        [&b"[".repeat(100_000)[..], b"\n"].concat(),
        b"{\"type\":\"ready\"".to_vec(),
        b"{\"type\":\"stopping\",\"orderId\":\"x\"}\n".to_vec(),
        b"{\"type\":\"stopping\",\"next\":{\"packages\":[{}]}}\n".to_vec(),
        vec![b'x'; 32 << 20],
    ];
    for bytes in garbage {
        let mut stream = UnixStream::connect(&path).unwrap();
        // The launcher may close before it has read everything.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    container.wait_for_log("a line is longer than");
    // More connections than a host has are closed, and places become free again.
    let many: Vec<_> = (0..50).map(|_| UnixStream::connect(&path)).collect();
    container.wait_for_log("too many connections");
    drop(many);
    assert!(!container.log().contains("panicked"), "{}", container.log());
    container.host_says(&json!({"type": "stopping", "orderId": 1}));
    container.wait_for_ready(2);
    container.stop();
}

#[test]
fn the_launcher_can_be_process_1() {
    let flags = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let tried = Command::new("unshare").args(flags).arg("true").output();
    if !tried.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no PID namespace can be made here: {tried:?}");
        return;
    }
    let mut container = Container::new();
    container.answer_with(&container.release(1, "daemon"));
    let launcher = container.command();
    let mut command = Command::new("unshare");
    command
        .args(flags)
        .arg(launcher.get_program())
        .args(launcher.get_args());
    container.launch_by(command);
    let start = container.wait_for_ready(1);
    assert_eq!(start["parent"], 1);
    let unshare = container.launcher_id();
    let children = format!("/proc/{unshare}/task/{unshare}/children");
    let launcher = fs::read_to_string(children)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let launcher = rustix::process::Pid::from_raw(launcher).unwrap();
    rustix::process::kill_process(launcher, Signal::TERM).unwrap();
    assert_eq!(container.wait_for_exit().code(), Some(0));
    assert_eq!(container.notes("stops").len(), 1);
}

#[test]
fn the_launcher_says_how_it_holds_its_node_together_and_leaves_no_control_group() {
    for (setting, expected) in [
        ("", "containment: "),
        (
            "controlGroups = false",
            "containment: sessions and descendants, because `controlGroups = false`",
        ),
    ] {
        let mut container = Container::new();
        container.configure(setting);
        container.answer_with(&container.release(1, "daemon"));
        container.launch();
        container.wait_for_ready(1);
        container.wait_for_log(expected);
        let id = fs::read_to_string(container.path("node-id")).unwrap();
        let groups = || control_groups(id.trim());
        let has_groups = container.log().contains("containment: control groups");
        assert_eq!(has_groups, !groups().is_empty(), "{:?}", groups());
        container.stop();
        assert_eq!(container.running(), [0; 0]);
        assert_eq!(groups(), Vec::<std::path::PathBuf>::new());
    }
}

/// Returns the control groups of a node, wherever they are.
fn control_groups(node_id: &str) -> Vec<std::path::PathBuf> {
    let mut open = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    let mut found = Vec::new();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().contains(node_id) {
                found.push(entry.path());
            }
            open.push(entry.path());
        }
    }
    found
}
