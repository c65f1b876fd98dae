//! Commands: which calls they make, what they write, how they end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use crate::manager::{
    Manager, Ran, cluster, configuration, container, migration, node, ok, page, problem,
};
use crate::server::Reply;

#[test]
fn the_status_is_the_apis_own_json() {
    let manager = Manager::start(|_, path, _| match path {
        "/cluster/state" => ok(&cluster(None)),
        "/templates" => page(&json!([])),
        "/containers?limit=1&state=waiting" => ok(&json!({ "items": [], "total": 7 })),
        "/containers?limit=1000&state=cordoned" => {
            page(&json!([container("0c000000-0000-4000-8000-000000000000")]))
        }
        _ => Reply::new(404, ""),
    });
    let ran = manager.run("status --output json");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["cluster"]["activeConfigurationId"], 1);
    assert_eq!(ran.json()["containersWaiting"], 7);
    assert_eq!(ran.json()["containersCordoned"][0]["state"], "cordoned");
    let ran = manager.run("status");
    assert!(
        ran.out.starts_with("manager        http://127.0.0.1:"),
        "{}",
        ran.out
    );
}

#[test]
fn a_copy_without_a_number_is_one_of_the_active_configuration() {
    let manager = Manager::start(|method, path, request| match (method, path) {
        ("GET", "/cluster/state") => ok(&cluster(None)),
        ("POST", "/configurations") => {
            let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
            assert_eq!(
                body,
                json!({ "copyOf": 1, "newestPackages": true, "name": "next" })
            );
            Reply::new(201, configuration(2, "draft").to_string())
        }
        _ => Reply::new(404, ""),
    });
    let ran = manager.run("config copy --newest --name next");
    assert_eq!(ran.out, "made Draft 2 \"First\"\n", "{ran:?}");
}

#[test]
fn an_edit_names_the_revision_and_sends_only_what_changed() {
    let manager = Manager::start(|method, _, request| {
        if method == "PATCH" {
            assert_eq!(request.header("if-match"), "\"3\"");
            let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
            assert_eq!(body["settings"]["nugetFeed"], "http://other/v3/index.json");
            assert!(body.get("name").is_none());
        }
        ok(&configuration(2, "draft"))
    });
    let editor = manager.path("editor");
    fs::write(
        &editor,
        "#!/bin/sh\nsed -i s,http://feed/,http://other/, \"$1\"\n",
    )
    .unwrap();
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).unwrap();
    let ran = Ran::of(manager.command("config edit 2").env("EDITOR", &editor));
    assert_eq!(ran.out, "changed configuration 2\n", "{ran:?}");

    // An editor that changes nothing.
    let ran = Ran::of(manager.command("config edit 2").env("EDITOR", "true"));
    assert_eq!(ran.out, "configuration 2 is unchanged\n", "{ran:?}");
    let patches = manager
        .calls()
        .into_iter()
        .filter(|call| call.starts_with("PATCH"))
        .count();
    assert_eq!(patches, 1);
}

#[test]
fn an_edit_that_cannot_be_read_is_kept_in_a_file() {
    let manager = Manager::start(|_, _, _| ok(&configuration(2, "draft")));
    let editor = manager.path("editor");
    fs::write(&editor, "#!/bin/sh\necho '{ \"packages\": 5 ' > \"$1\"\n").unwrap();
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).unwrap();
    let mut edit = manager.command("config edit 2");
    let ran = Ran::of(edit.env("VISUAL", &editor).env("TMPDIR", manager.path("")));
    assert_eq!(ran.code, 2, "{ran:?}");
    let kept = ran
        .err
        .split("your text is in `")
        .nth(1)
        .unwrap()
        .split('`')
        .next()
        .unwrap();
    assert_eq!(fs::read_to_string(kept).unwrap(), "{ \"packages\": 5 \n");
    let ran = Ran::of(&mut manager.command("config edit 2"));
    assert_eq!(ran.code, 2, "no editor is named: {ran:?}");
    assert!(manager.calls().iter().all(|call| call.starts_with("GET")));
}

#[test]
fn an_edit_from_a_file_may_be_hocon_and_a_conflict_says_what_to_do() {
    let manager = Manager::start(|method, _, _| match method {
        "PATCH" => problem(
            412,
            "revisionMismatch",
            "configuration 2 was changed meanwhile",
        ),
        _ => ok(&configuration(2, "draft")),
    });
    fs::write(
        manager.path("s.hocon"),
        "nugetFeed = \"http://x/v3/index.json\", runtimes = [linux-arm64]",
    )
    .unwrap();
    let ran = manager.run("config edit 2 --file s.hocon");
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(
        ran.err.contains("was changed meanwhile") && ran.err.contains("edit it again"),
        "{}",
        ran.err
    );
}

#[test]
fn a_check_with_errors_is_refused_and_one_with_warnings_is_not() {
    for (severity, code) in [("error", 6), ("warning", 0)] {
        let manager = Manager::start(move |method, path, _| {
            assert_eq!((method, path), ("POST", "/configurations/2/check"));
            ok(
                &json!({ "errors": [{ "code": "packageUnused", "severity": severity, "message": "look at it" }] }),
            )
        });
        let ran = manager.run("config check 2");
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.out.contains("look at it"), "{}", ran.out);
    }
}

#[test]
fn a_blocked_plan_is_shown_and_ends_with_6() {
    let manager = Manager::start(|_, path, _| {
        assert_eq!(path, "/migrations/plan");
        ok(
            &json!({ "planId": "p", "fromConfigurationId": 1, "toConfigurationId": 2, "steps": [], "beforeNodes": [],
            "nodes": { "templates": [], "blockers": [] }, "afterNodes": [],
            "blockers": [{ "code": "packageMissing", "message": "Hello 2.0.0 is not in the feed" }] }),
        )
    });
    let ran = manager.run("migration plan 2");
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(
        ran.out
            .contains("packageMissing: Hello 2.0.0 is not in the feed"),
        "{}",
        ran.out
    );
}

#[test]
fn followed_lines_of_migrators_go_on_after_the_last_one_when_the_answer_breaks_off() {
    let line = |cursor: u32, text: &str| {
        json!({ "cursor": cursor.to_string(), "at": "t", "stream": "stderr", "line": text,
            "templateCode": "db", "migratorTypeName": "Acme.Db", "resourceCode": "main" })
        .to_string()
            + "\n"
    };
    let manager = Manager::start(move |_, path, _| match path {
        "/migrations?limit=1" => page(&json!([migration("ready")])),
        "/migrations/4/logs?template=db&migrator=Acme.Db&resource=main&follow=true" => {
            Reply::new(200, line(7, "one") + "\n" + "{\"cursor\": \"8\"")
        }
        "/migrations/4/logs?template=db&migrator=Acme.Db&resource=main&follow=true&after=7" => {
            Reply::new(200, "\n".to_owned() + &line(8, "two\u{1b}[31m"))
        }
        "/cluster/resources/logs?resource=main" => Reply::new(200, ""),
        _ => problem(404, "notFound", path),
    });
    let ran = manager.run("migration logs db:Acme.Db:main --follow");
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert_eq!(lines[0], "t  db:Acme.Db:main  stderr  one");
    assert!(!lines[1].contains('\u{1b}'), "{ran:?}");
    let ran = manager.run("migration logs main --repairs");
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{ran:?}");
    assert_eq!(manager.run("migration logs a:b").code, 2);
}

/// Starts a manager whose migration is running for some looks and then in a state.
fn migrating(looks: u32, last: &'static str) -> Manager {
    let look = AtomicU32::new(0);
    Manager::start(move |method, path, _| match (method, path) {
        ("POST", "/migrations") => Reply::new(201, migration("preparing").to_string()),
        ("GET", "/migrations/4") => {
            let look = look.fetch_add(1, Ordering::SeqCst);
            // The manager replaces itself in the middle.
            match look {
                1 => problem(503, "notLeading", "the manager does not lead yet"),
                look => ok(&migration(if look < looks { "ready" } else { last })),
            }
        }
        ("GET", "/cluster/state") => ok(&cluster(Some("nodesUpdating"))),
        ("GET", path) if path.starts_with("/events?") => {
            let event = json!({ "id": 1, "at": "t", "kind": "nodeReady", "actor": "manager", "object": "node:x",
                "message": "a node is ready" });
            let items = if path.contains("from=1&") {
                json!([event])
            } else {
                json!([])
            };
            ok(&json!({ "items": items, "total": 1 }))
        }
        _ => Reply::new(404, ""),
    })
}

#[test]
fn a_watched_migration_ends_with_0_when_it_completes_over_a_restart_of_the_manager() {
    let manager = migrating(6, "completed");
    let ran = manager.run("migration start 2 --automatic --watch");
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(
        lines[0],
        "migration 4 from configuration 1 to 2 has started"
    );
    assert!(lines.contains(&"step nodesUpdating"), "{}", ran.out);
    assert!(
        lines.contains(&"t  nodeReady  node:x: a node is ready"),
        "{}",
        ran.out
    );
    assert_eq!(lines.last(), Some(&"migration 4 is completed"));
}

#[test]
fn a_start_waits_until_the_resources_have_been_read() {
    let tries = AtomicU32::new(0);
    let manager = Manager::start(move |method, path, _| match (method, path) {
        ("POST", "/migrations") if tries.fetch_add(1, Ordering::SeqCst) < 2 => {
            problem(409, "busy", "resources are being read or moved")
        }
        ("POST", "/migrations") => Reply::new(201, migration("preparing").to_string()),
        _ => Reply::new(404, ""),
    });
    let ran = manager.run("migration start 2");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
}

#[test]
fn a_watched_manual_migration_ends_with_0_at_the_operators_turn() {
    let manager = Manager::start(|method, path, _| {
        let mut manual = migration("ready");
        manual["mode"] = json!("manual");
        match (method, path) {
            ("GET", "/migrations/4") => ok(&manual),
            ("GET", "/cluster/state") => {
                let mut state = cluster(Some("nodesUpdated"));
                state["migration"] = manual;
                state["operations"] =
                    json!([{ "id": "migrateResources", "allowed": true, "recommended": true }]);
                ok(&state)
            }
            ("GET", path) if path.starts_with("/events?") => {
                ok(&json!({ "items": [], "total": 0 }))
            }
            _ => Reply::new(404, ""),
        }
    });
    let ran = manager.run("migration watch 4");
    assert_eq!(ran.code, 0, "{ran:?}");
    let last = ran.out.lines().last().unwrap_or_default();
    assert!(
        last.contains("klusterkite migration resources") && last.contains("(next)"),
        "{}",
        ran.out
    );
}

#[test]
fn a_watched_migration_that_does_not_complete_ends_with_8_and_the_reason() {
    for (state, expected) in [
        ("paused", "migration 4 is paused: hello never became ready"),
        ("rolledBack", "migration 4 was rolled back"),
        ("failed", "migration 4 has failed"),
    ] {
        let ran = migrating(0, state).run("migration watch 4 --output json");
        assert_eq!(ran.code, 8, "{ran:?}");
        assert!(ran.err.contains(expected), "{}", ran.err);
        for line in ran.out.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }
}

#[test]
fn resources_move_to_an_end_of_the_migration_or_without_one_to_their_last_point() {
    let manager = Manager::start(|method, path, request| match (method, path) {
        ("GET", "/cluster/state") => ok(&cluster(None)),
        ("POST", "/cluster/resources") => {
            let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
            assert_eq!(
                body,
                json!({ "resources": [{ "templateCode": "hello",
                "migratorTypeName": "Hello.Db", "resourceCode": "schema" }] })
            );
            Reply::new(202, r#"{"message": "1 resource moves"}"#)
        }
        _ => Reply::new(404, ""),
    });
    assert_eq!(manager.run("migration resources").out, "1 resource moves\n");
    assert_eq!(manager.run("migration resources nonsense").code, 2);

    let manager = Manager::start(|method, path, request| match (method, path) {
        ("GET", "/cluster/state") => {
            let mut state = cluster(Some("start"));
            state["migration"] = migration("ready");
            ok(&state)
        }
        ("POST", "/migrations/current/resources") => {
            let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
            assert_eq!(body["resources"][0]["target"], "source");
            Reply::new(202, r#"{"message": "1 resource moves"}"#)
        }
        _ => Reply::new(404, ""),
    });
    assert_eq!(
        manager
            .run("migration resources hello:Hello.Db:schema")
            .code,
        2,
        "which end?"
    );
    assert_eq!(
        manager
            .run("migration resources hello:Hello.Db:schema --to source")
            .code,
        0
    );
}

/// Answers as the table of operations says, so that a command that reads something else fails.
#[test]
fn every_simple_command_reads_what_its_operation_answers() {
    let manager = Manager::start(|method, path, _| {
        let accepted = || Reply::new(202, r#"{"message": "it goes on"}"#);
        match (method, path) {
            (
                "POST",
                "/migrations/current/pause"
                | "/migrations/current/cancel"
                | "/migrations/current/finish",
            ) => ok(&migration("paused")),
            (
                "POST",
                "/configurations/2/ready"
                | "/configurations/2/obsolete"
                | "/configurations/2/stable",
            ) => ok(&configuration(2, "ready")),
            ("GET", "/nodes/0a000000-0000-4000-8000-000000000000") => {
                ok(&node("0a000000-0000-4000-8000-000000000000"))
            }
            ("DELETE", "/configurations/2") => Reply::new(204, ""),
            ("POST", _) => accepted(),
            ("GET", "/migrations?limit=20") => page(&json!([migration("completed")])),
            ("GET", "/migrations/4/log") => page(&json!([])),
            ("GET", "/configurations?limit=100&state=draft") => {
                page(&json!([configuration(2, "draft")]))
            }
            _ => Reply::new(404, ""),
        }
    });
    let lines = [
        "migration pause",
        "migration resume",
        "migration rollback",
        "migration recheck",
        "migration cancel",
        "migration finish",
        "migration nodes source",
        "migration list",
        "migration log 4",
        "config ready 2",
        "config obsolete 2",
        "config stable 2 --unset",
        "config delete 2",
        "config list --state draft",
        "node show 0a000000-0000-4000-8000-000000000000",
        "node restart 0a000000-0000-4000-8000-000000000000",
        "node cordon 0a000000-0000-4000-8000-000000000000",
        "node uncordon 0a000000-0000-4000-8000-000000000000",
    ];
    for line in lines {
        let ran = manager.run(line);
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        let ran = manager.run(&format!("{line} --output json"));
        ran.json();
    }
}

#[test]
fn a_node_is_named_by_the_beginning_of_its_id() {
    const A: &str = "0a000000-0000-4000-8000-000000000000";
    const B: &str = "0b000000-0000-4000-8000-000000000000";
    const C: &str = "0c000000-0000-4000-8000-000000000000";
    let manager = Manager::start(|method, path, request| match (method, path) {
        ("GET", "/nodes?limit=1000") => page(&json!([node(A), node(B)])),
        ("GET", "/containers?limit=1000" | "/containers?limit=1000&state=cordoned") => {
            page(&json!([container(C)]))
        }
        ("POST", path) if path.ends_with("uncordon") => {
            assert_eq!(path, format!("/nodes/{C}/uncordon"));
            ok(&json!({ "message": "it gets work" }))
        }
        ("POST", path) => {
            assert_eq!(path, format!("/nodes/{A}/drain"));
            assert_eq!(request.body, br#"{"force":true}"#);
            Reply::new(202, r#"{"message": "it will drain"}"#)
        }
        _ => Reply::new(404, ""),
    });
    assert_eq!(manager.run("node drain 0a --force").out, "it will drain\n");
    assert_eq!(manager.run("node drain 0 --force").code, 2, "two fit");
    assert_eq!(manager.run("node drain ff --force").code, 5, "none fits");
    // Nothing runs in a container that is out of service; it is shown and named all the same.
    let listed = manager.run("node list").out;
    assert!(
        listed.contains(C) && listed.contains("cordoned"),
        "{listed}"
    );
    assert_eq!(manager.run("node uncordon 0c").out, "it gets work\n");
    let listed = manager.run("container list --state cordoned --output json");
    assert_eq!(listed.json()["items"][0]["nodeId"], C);
}

#[test]
fn lists_are_fetched_page_by_page() {
    let manager = Manager::start(|_, path, _| match path {
        "/nodes?limit=1000&status=ready" => ok(
            &json!({ "items": [node("0a000000-0000-4000-8000-000000000000")], "nextCursor": "x y", "total": 2 }),
        ),
        "/nodes?limit=1000&status=ready&cursor=x%20y" => {
            page(&json!([node("0b000000-0000-4000-8000-000000000000")]))
        }
        _ => Reply::new(404, ""),
    });
    let ran = manager.run("node list --status ready");
    assert_eq!(ran.out.lines().count(), 3, "{ran:?}");
}

#[test]
fn the_last_events_are_shown_and_followed_without_a_gap() {
    let event = |id: i64| json!({ "id": id, "at": "t", "kind": "k", "actor": "manager", "object": "o", "message": format!("event {id}") });
    let manager = Manager::start(move |_, path, request| {
        if request.header("accept") == "text/event-stream" {
            let stream = format!(": hello\n\nid: 8\ndata: {}\n\n", event(8));
            return match request.header("last-event-id") {
                "7" => Reply::new(200, stream).header("content-type", "text/event-stream"),
                // After the stream broke off it goes on behind the last event; then the test is over.
                "8" => problem(403, "forbidden", "enough"),
                _ => Reply::new(500, ""),
            };
        }
        match path {
            "/events?limit=2" => ok(&json!({ "items": [event(6), event(7)], "total": 4 })),
            _ => Reply::new(404, ""),
        }
    });
    let ran = manager.run("events --limit 2");
    assert_eq!(ran.out.lines().count(), 3, "{ran:?}");
    let ran = manager.run("events --limit 2 --follow");
    assert_eq!(ran.code, 4, "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(
        lines,
        ["t  k  o: event 6", "t  k  o: event 7", "t  k  o: event 8"]
    );
}
