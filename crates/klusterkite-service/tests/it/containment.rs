use klusterkite_processes::{ControlGroup, Controller};
use klusterkite_wire::link::ContainmentLevel;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::bench::{Host, ServiceDirectory, runs, until};

/// What this machine can limit; nothing where it allows no control groups.
fn limitable() -> Option<Vec<Controller>> {
    let tag = format!("klusterkite-test-{}", std::process::id());
    let own = ControlGroup::own(&tag).ok()?;
    let controllers = own.controllers().collect();
    own.close();
    Some(controllers)
}

/// The rungs of the ladder that can be tried here.
fn rungs() -> Vec<bool> {
    match limitable() {
        Some(_) => vec![false, true],
        None => vec![false],
    }
}

fn errors(host: &Host) -> String {
    host.err.lock().unwrap().clone()
}

async fn end(mut host: Host) -> String {
    host.signal(Signal::TERM);
    let (code, err) = host.end().await;
    assert_eq!(code, 0, "{err}");
    err
}

#[tokio::test]
async fn a_daemon_that_forked_twice_into_a_session_of_its_own_is_killed_before_the_restart() {
    for groups in rungs() {
        let directory = ServiceDirectory::new(&json!({ "a": { "command": ["a"], "restarts": 1 } }));
        directory.script(
            "a",
            "if test -f daemon; then exec sleep 1000; fi\n\
             (setsid sh -c '(echo $BASHPID$$ > daemon; exec sleep 1000) & ' &)\n\
             setsid sh -c 'echo $$ > second; exec sleep 1000' &\n\
             while ! test -s daemon || ! test -s second; do sleep 0.01; done\n\
             exit 9",
        );
        let host = directory.host_with_groups(groups);
        until(|| errors(&host).matches("started").count() == 2).await;
        assert!(!runs(&directory.read("second")), "control groups: {groups}");
        let err = end(host).await;
        let rung = if groups {
            "a control group for each process"
        } else {
            "process groups and a mark in the environment"
        };
        assert!(err.contains(rung), "{err}");
    }
}

#[tokio::test]
async fn an_ordered_stop_waits_for_what_left_the_process_group_and_kills_it_after_the_grace() {
    for groups in rungs() {
        let directory = ServiceDirectory::new(&json!({
            "a": { "command": ["a"], "stop": { "grace": "200ms" } },
        }));
        directory.script(
            "a",
            "setsid sh -c 'trap \"\" TERM; echo $$ > daemon; while :; do sleep 1; done' &\n\
             while ! test -s daemon; do sleep 0.01; done\n\
             echo $$ > pid\n\
             exec sleep 1000",
        );
        let host = directory.host_with_groups(groups);
        directory.wait_for("pid").await;
        end(host).await;
        assert!(!runs(&directory.read("daemon")), "control groups: {groups}");
    }
}

#[tokio::test]
async fn a_process_that_closes_its_output_runs_on_and_is_seen_when_it_ends() {
    for groups in rungs() {
        let directory = ServiceDirectory::new(&json!({ "a": { "command": ["a"] } }));
        directory.script(
            "a",
            "exec >&- 2>&-; while ! test -f end; do sleep 0.01; done; exit 5",
        );
        let mut host = directory.host_with_groups(groups);
        until(|| errors(&host).contains("status=Ready")).await;
        directory.write("end", "");
        let (code, err) = host.end().await;
        assert_eq!(code, 1);
        assert!(err.contains("process `a` ended (exit 5)"), "{err}");
    }
}

#[tokio::test]
async fn a_fork_bomb_is_held_by_its_limit_and_killed_whole() {
    let bomb = json!({ "a": { "command": ["a"], "limits": { "processes": 40 } } });
    let directory = ServiceDirectory::new(&bomb);
    directory.script(
        "a",
        "exec python3 -c 'import os, time\n\
         while True:\n\
         \x20   try:\n\
         \x20       os.fork()\n\
         \x20   except OSError:\n\
         \x20       open(\"full\", \"w\").write(\"full\\n\"); time.sleep(0.01)'",
    );
    let can = limitable().is_some_and(|limits| limits.contains(&Controller::Pids));
    if !can {
        // A bomb that nothing holds must not be thrown: here it only counts that the host says so.
        directory.script("a", "exec sleep 1000");
        let host = directory.host();
        until(|| errors(&host).contains("status=Ready")).await;
        let err = end(host).await;
        assert!(err.contains("limit"), "{err}");
        return;
    }
    let host = directory.host_with_groups(true);
    directory.wait_for("full").await;
    let mark = format!("00000000-0000-4000-8000-000000000001/{}/a", host.pid());
    let members = || count_marked(&mark);
    assert!((2..=40).contains(&members()), "{}", members());
    end(host).await;
    assert_eq!(members(), 0);
}

/// Counts running processes with this mark in their environment.
fn count_marked(mark: &str) -> usize {
    let variable = format!("KLUSTERKITE_PROCESS={mark}");
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| {
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let is_marked = environment
                .split(|byte| *byte == 0)
                .any(|one| one == variable.as_bytes());
            is_marked && runs(&entry.file_name().to_string_lossy())
        })
        .count()
}

#[tokio::test]
async fn a_process_that_needs_more_memory_than_its_limit_is_killed_and_that_is_said() {
    let can = limitable().is_some_and(|limits| limits.contains(&Controller::Memory));
    if !can {
        eprintln!("skipped: memory cannot be limited here");
        return;
    }
    let limited = |process: Value, package: Value| json!({ "processes": { "a": { "command": ["a"], "limits": process } }, "limits": package });
    for manifest in [
        limited(json!({ "memory": "48MiB" }), json!({})),
        limited(json!({}), json!({ "memory": "48MiB" })),
    ] {
        let directory = ServiceDirectory::new(&json!({}));
        directory.write(
            "packages/Acme.Orders/klusterkite.hocon",
            &manifest.to_string(),
        );
        directory.script(
            "a",
            "exec python3 -c 'x = bytearray(200 << 20); import time; time.sleep(1000)'",
        );
        let mut host = directory.host_with_groups(true);
        let (code, err) = host.end().await;
        assert_eq!(code, 1, "{err}");
        assert!(
            err.contains("signal 9, memory was short"),
            "{manifest}: {err}"
        );
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named_on_every_rung() {
    for groups in rungs() {
        let directory = ServiceDirectory::new(&json!({ "a": { "command": ["no-such-program"] } }));
        let (code, err) = directory.host_with_groups(groups).end().await;
        assert_eq!(code, 1);
        assert!(
            err.contains("could not be started") && err.contains("`no-such-program`"),
            "{err}"
        );
    }
}

#[tokio::test]
async fn limits_that_nothing_enforces_are_said() {
    let limits = json!({ "memory": "1GiB", "cpu": 1 });
    let directory =
        ServiceDirectory::new(&json!({ "a": { "command": ["sleep", "1000"], "limits": limits } }));
    let host = directory.host();
    until(|| errors(&host).contains("status=Ready")).await;
    let err = end(host).await;
    for controller in ["controller=cpu", "controller=memory"] {
        assert!(
            err.contains(controller) && err.contains("a limit is not enforced"),
            "{err}"
        );
    }
}

#[tokio::test]
async fn a_node_tells_the_manager_its_rung_of_the_ladder_and_which_limits_it_enforces() {
    for groups in rungs() {
        let mut directory =
            ServiceDirectory::new(&json!({ "a": { "command": ["sleep", "1000"] } }));
        let manager = directory.manager().await;
        let host = directory.host_with_groups(groups);
        let (link, hello) = manager.welcome().await;
        let told = hello.containment.unwrap();
        if groups {
            let limitable = limitable().unwrap();
            let names = limitable.iter().map(|controller| controller.name());
            assert!(names.eq(told.limits.iter().map(String::as_str)), "{told:?}");
            assert_eq!(told.level, ContainmentLevel::ControlGroups);
            assert_eq!(told.reason, None);
        } else {
            assert_eq!(told.level, ContainmentLevel::ProcessGroups);
            assert!(told.limits.is_empty() && told.reason.is_some(), "{told:?}");
        }
        end(host).await;
        drop(link);
    }
}
