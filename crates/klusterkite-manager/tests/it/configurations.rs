//! Configurations: Drafts, the check, Ready, and who wins when two operators are at it.

use std::time::{Duration, Instant};

use klusterkite_core::configuration::ConfigurationState;
use klusterkite_core::settings::PackagePin;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::harness::{DEADLINE, Server, eventually, settings};

const ALL: &str = "/api/v1/configurations";

fn of(id: &Value, call: &str) -> String {
    format!("{ALL}/{id}{call}")
}

/// Makes a Draft that passes the check.
fn draft(server: &Server) -> Value {
    server.admin("POST", ALL, json!({"copyOf": 1})).ok(201)["id"].clone()
}

fn patch(server: &Server, id: &Value, revision: &str, body: &Value) -> crate::harness::Answer {
    let call = server
        .request("PATCH", &of(id, ""))
        .bearer(&server.token("admin"));
    call.header("if-match", revision).json(body).send()
}

#[test]
fn a_copy_takes_settings_and_labels_and_clears_force_update() {
    let server = Server::start();
    let mut original = server.row(1).unwrap();
    original.settings.node_templates[1].force_update = true;
    original.id = klusterkite_wire::ConfigurationId(2);
    original.state = ConfigurationState::Archived;
    server.put(klusterkite_store::Change::ConfigurationPut(original));

    let answer = server.admin("POST", ALL, json!({"copyOf": 2}));
    let copy = answer.ok(201);
    assert_eq!(answer.headers["etag"], "\"1\"");
    assert_eq!(
        (&copy["id"], &copy["state"], &copy["name"]),
        (&json!(3), &json!("draft"), &json!("first"))
    );
    assert_eq!(
        (&copy["majorVersion"], &copy["minorVersion"]),
        (&json!(1), &json!(1))
    );
    assert_eq!((&copy["notes"], &copy["revision"]), (&json!(""), &json!(1)));
    assert_eq!(
        copy["settings"],
        serde_json::to_value(settings(&server.feed)).unwrap()
    );
    assert_eq!(copy.get("started"), None);
}

#[test]
fn a_copy_with_newest_packages_asks_the_feed() {
    let server = Server::start();
    for version in ["2.0.0", "1.5.0", "3.0.0-beta"] {
        server.feed.publish("Hello", version);
    }
    let copy = server
        .admin("POST", ALL, json!({"copyOf": 1, "newestPackages": true}))
        .ok(201);
    let packages = &copy["settings"]["packages"];
    assert_eq!(packages[2], json!({"id": "Hello", "version": "2.0.0"}));
    assert_eq!(packages[0]["version"], "1.0.0");
}

#[test]
fn a_draft_starts_empty_or_with_settings_and_gets_a_name() {
    let server = Server::start();
    let empty = server.admin("POST", ALL, json!({})).ok(201);
    assert_eq!(
        (
            &empty["name"],
            &empty["majorVersion"],
            &empty["minorVersion"]
        ),
        (&json!("Configuration 2"), &json!(1), &json!(0))
    );
    let given = server
        .admin(
            "POST",
            ALL,
            json!({"name": "mine", "settings": {"runtimes": ["linux-x64"]}}),
        )
        .ok(201);
    assert_eq!(
        (&given["name"], &given["settings"]["runtimes"]),
        (&json!("mine"), &json!(["linux-x64"]))
    );
    server
        .admin("POST", ALL, json!({"copyOf": 99}))
        .problem(404, "notFound");
}

#[test]
fn lists_are_paged_newest_first_and_filtered() {
    let server = Server::start();
    for _ in 0..5 {
        draft(&server);
    }
    let mut seen = Vec::new();
    let mut path = format!("{ALL}?limit=2");
    loop {
        let page = server.admin("GET", &path, Value::Null).ok(200);
        assert_eq!(page["total"], 6);
        let items = page["items"].as_array().unwrap();
        assert!(items.iter().all(|item| item.get("settings").is_none()));
        seen.extend(items.iter().map(|item| item["id"].as_i64().unwrap()));
        match page["nextCursor"].as_str() {
            Some(cursor) => path = format!("{ALL}?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, [6, 5, 4, 3, 2, 1]);
    let active = server
        .admin("GET", &format!("{ALL}?state=active"), Value::Null)
        .ok(200);
    assert_eq!(
        (&active["total"], &active["items"][0]["id"]),
        (&json!(1), &json!(1))
    );
}

#[test]
fn a_patch_names_the_revision_and_writes_only_what_it_has() {
    let server = Server::start();
    let id = draft(&server);
    let body = json!({"notes": "changed"});
    let without = server.admin("PATCH", &of(&id, ""), body.clone());
    without.problem(428, "revisionMissing");
    patch(&server, &id, "\"7\"", &body).problem(412, "revisionMismatch");
    patch(&server, &id, "seven", &body).problem(400, "invalid");

    let changed = patch(&server, &id, "\"1\"", &body);
    assert_eq!(changed.headers["etag"], "\"2\"");
    let changed = changed.ok(200);
    assert_eq!(
        (&changed["notes"], &changed["name"]),
        (&json!("changed"), &json!("first"))
    );
    assert_eq!(changed["settings"]["packages"].as_array().unwrap().len(), 3);
    patch(&server, &id, "1", &body).problem(412, "revisionMismatch");

    let same = patch(&server, &id, "2", &body).ok(200);
    assert_eq!(same["revision"], 2, "nothing changed");
    let replaced = patch(&server, &id, "*", &json!({"settings": {}})).ok(200);
    assert_eq!(replaced["settings"]["packages"], json!([]));
    assert_eq!(replaced["revision"], 3);
}

#[test]
fn deleting_ends_a_draft_and_its_id_is_never_given_again() {
    let server = Server::start();
    let id = draft(&server);
    let stale = server
        .request("DELETE", &of(&id, ""))
        .bearer(&server.token("admin"));
    stale
        .header("if-match", "9")
        .send()
        .problem(412, "revisionMismatch");
    server.admin("DELETE", &of(&id, ""), Value::Null).ok(204);
    server
        .admin("GET", &of(&id, ""), Value::Null)
        .problem(404, "notFound");
    assert_ne!(draft(&server), id);
}

#[test]
fn the_check_says_what_is_wrong_and_stores_nothing() {
    let server = Server::start();
    let id = draft(&server);
    let good = server
        .admin("POST", &of(&id, "/check"), Value::Null)
        .ok(200);
    let errors = |answer: &Value| {
        let findings = answer["errors"].as_array().unwrap().clone();
        findings
            .into_iter()
            .filter(|finding| finding["severity"] == "error")
            .collect::<Vec<_>>()
    };
    assert_eq!(errors(&good), Vec::<Value>::new());

    let mut wrong = settings(&server.feed);
    wrong.packages[2].version = "9.9.9".to_owned();
    patch(&server, &id, "*", &json!({"settings": wrong})).ok(200);
    let before = server.row(id.as_i64().unwrap());
    let bad = server
        .admin("POST", &of(&id, "/check"), Value::Null)
        .ok(200);
    assert!(
        errors(&bad)[0]["field"].as_str().unwrap().contains("Hello"),
        "{bad}"
    );
    let refused = server.admin("POST", &of(&id, "/ready"), Value::Null);
    refused.problem(422, "checkFailed");
    assert!(
        refused.json()["errors"][0]["field"]
            .as_str()
            .unwrap()
            .contains("Hello")
    );
    assert_eq!(server.row(id.as_i64().unwrap()), before);
}

#[test]
fn ready_freezes_the_exact_packages() {
    let server = Server::start();
    let id = draft(&server);
    let ready = server
        .admin("POST", &of(&id, "/ready"), Value::Null)
        .ok(200);
    assert_eq!(
        (&ready["state"], &ready["revision"]),
        (&json!("ready"), &json!(2))
    );
    let row = server.row(id.as_i64().unwrap()).unwrap();
    let frozen = row.frozen.unwrap();
    let packages = &frozen.node_templates[&"hello".parse().unwrap()][&"linux-x64".parse().unwrap()];
    let hello = packages
        .iter()
        .find(|package| package.id == "Hello")
        .unwrap();
    assert_eq!(
        (hello.sha512.as_str(), hello.size),
        (crate::feed::sha512("Hello", "1.0.0").as_str(), 1000)
    );
    assert!(
        packages
            .iter()
            .any(|package| package.id == "KlusterKite.Core.Service")
    );
    let state = server.block_on(server.cluster.read());
    assert!(state.releases.contains_key(&row.id));
}

#[test]
fn ready_asks_the_feed_anew_because_a_package_may_be_purged_after_the_check() {
    let server = Server::start();
    let id = draft(&server);
    server
        .admin("POST", &of(&id, "/check"), Value::Null)
        .ok(200);
    let asked = server.feed.questions();
    server
        .admin("POST", &of(&id, "/check"), Value::Null)
        .ok(200);
    assert_eq!(server.feed.questions(), asked, "facts are remembered");
    server.feed.purge("Hello", "1.0.0");
    server
        .admin("POST", &of(&id, "/ready"), Value::Null)
        .problem(422, "checkFailed");
}

#[test]
fn one_configuration_is_ready_at_a_time() {
    let server = Server::start();
    let (first, second) = (draft(&server), draft(&server));
    server
        .admin("POST", &of(&first, "/ready"), Value::Null)
        .ok(200);
    let detail = server
        .admin("POST", &of(&second, "/ready"), Value::Null)
        .problem(409, "anotherIsReady");
    assert!(detail.contains(&first.to_string()), "{detail}");
    server
        .admin("POST", &of(&first, "/obsolete"), Value::Null)
        .ok(200);
    server
        .admin("POST", &of(&second, "/ready"), Value::Null)
        .ok(200);
}

#[test]
fn two_operators_who_change_one_draft_do_not_overwrite_each_other() {
    let server = Server::start();
    let id = draft(&server);
    let statuses = std::thread::scope(|scope| {
        let operators: Vec<_> = (0..8)
            .map(|n| {
                scope.spawn({
                    let (server, id) = (&server, &id);
                    move || {
                        patch(server, id, "1", &json!({"notes": format!("operator {n}")})).status
                    }
                })
            })
            .collect();
        operators
            .into_iter()
            .map(|operator| operator.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|status| **status == 412).count(),
        7,
        "{statuses:?}"
    );
    assert_eq!(server.row(id.as_i64().unwrap()).unwrap().revision, 2);
}

#[test]
fn two_operators_who_make_two_drafts_ready_at_once_get_one() {
    let server = Server::start();
    let ids = [draft(&server), draft(&server)];
    server.feed.set_open(false);
    let asked = server.feed.questions();
    let statuses = std::thread::scope(|scope| {
        let operators: Vec<_> = ids
            .iter()
            .map(|id| scope.spawn(|| server.admin("POST", &of(id, "/ready"), Value::Null).status))
            .collect();
        // Both have passed the first look and wait for the feed.
        server.block_on(server.feed.asked_since(asked + 1));
        server.feed.set_open(true);
        operators
            .into_iter()
            .map(|operator| operator.join().unwrap())
            .collect::<Vec<_>>()
    });
    let mut sorted = statuses.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [200, 409]);
}

#[test]
fn a_draft_that_changes_while_it_is_checked_does_not_become_ready() {
    let server = Server::start();
    let id = draft(&server);
    server.feed.set_open(false);
    let asked = server.feed.questions();
    let answer = std::thread::scope(|scope| {
        let ready = scope.spawn(|| server.admin("POST", &of(&id, "/ready"), Value::Null));
        server.block_on(server.feed.asked_since(asked));
        patch(&server, &id, "1", &json!({"notes": "meanwhile"})).ok(200);
        server.feed.set_open(true);
        ready.join().unwrap()
    });
    answer.problem(412, "revisionMismatch");
    assert_eq!(
        server.row(id.as_i64().unwrap()).unwrap().state,
        ConfigurationState::Draft
    );
}

#[test]
fn a_client_that_goes_away_does_not_leave_a_decision_half_done() {
    let server = Server::start();
    let id = draft(&server);
    server.feed.set_open(false);
    let asked = server.feed.questions();
    let impatient = ureq::Agent::config_builder()
        .timeout_global(Some(std::time::Duration::from_millis(200)))
        .build()
        .new_agent();
    let token = format!("Bearer {}", server.token("admin"));
    let url = server.url(&of(&id, "/ready"));
    assert!(
        impatient
            .post(&url)
            .header("authorization", &token)
            .send_empty()
            .is_err()
    );
    server.block_on(server.feed.asked_since(asked));
    server.feed.set_open(true);
    eventually("the configuration becomes Ready", || {
        server.row(id.as_i64().unwrap()).unwrap().state == ConfigurationState::Ready
    });
}

/// Makes a Draft with another feed and returns its id.
fn draft_with_feed(server: &Server, url: &str) -> Value {
    let mut settings = settings(&server.feed);
    url.clone_into(&mut settings.nuget_feed);
    let body = json!({"settings": settings, "minorVersion": 5});
    server.admin("POST", ALL, body).ok(201)["id"].clone()
}

#[test]
fn a_feed_that_is_down_is_a_finding_and_nothing_is_stored() {
    let server = Server::start();
    // Port 9 (discard) of this machine: nobody listens there.
    let url = "http://127.0.0.1:9/v3/index.json";
    let id = draft_with_feed(&server, url);
    let before = server.row(id.as_i64().unwrap());
    let check = server.admin("POST", &of(&id, "/check"), Value::Null);
    let ready = server.admin("POST", &of(&id, "/ready"), Value::Null);
    ready.problem(422, "checkFailed");
    for errors in [&check.ok(200)["errors"], &ready.json()["errors"]] {
        let errors = errors.as_array().unwrap();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(
            (
                &errors[0]["code"],
                &errors[0]["field"],
                &errors[0]["severity"]
            ),
            (
                &json!("feedUnavailable"),
                &json!("nugetFeed"),
                &json!("error")
            )
        );
        assert!(
            errors[0]["message"].as_str().unwrap().contains(url),
            "{errors:?}"
        );
    }
    assert_eq!(server.row(id.as_i64().unwrap()), before);
    let newest = json!({"copyOf": id, "newestPackages": true});
    server
        .admin("POST", ALL, newest)
        .problem(503, "feedUnavailable");
}

#[test]
fn feeds_of_every_bad_kind_are_findings_within_the_time_for_a_check() {
    let server = Server::start_with(|_, config| config.feed_timeout = Duration::from_secs(1));
    let index = |facts: &str| {
        let resources = json!([{"@id": facts, "@type": "KlusterKitePackageFactsOfMany/1.0.0"}]);
        json!({"version": "3.0.0", "resources": resources}).to_string()
    };
    for (behaviour, code) in [
        (Behaviour::Silent, "feedUnavailable"),
        (Behaviour::Drips, "feedUnavailable"),
        (Behaviour::Answers(500, String::new()), "feedUnavailable"),
        (Behaviour::Answers(401, String::new()), "feedCredential"),
        (Behaviour::Answers(403, String::new()), "feedCredential"),
        (Behaviour::Answers(404, String::new()), "feedAnswerInvalid"),
        (
            Behaviour::Answers(200, "garbage".to_owned()),
            "feedAnswerInvalid",
        ),
        (Behaviour::Answers(200, index("")), "nugetFeedInvalid"),
        (
            Behaviour::Answers(200, r#"{"version": "3.0.0", "resources": []}"#.to_owned()),
            "feedAnswerInvalid",
        ),
    ] {
        let url = bad_feed(&server, behaviour.clone());
        let id = draft_with_feed(&server, &url);
        let started = Instant::now();
        let answer = server.admin("POST", &of(&id, "/check"), Value::Null);
        let errors = answer.ok(200)["errors"].clone();
        let found: Vec<(&Value, &Value)> = errors
            .as_array()
            .unwrap()
            .iter()
            .filter(|finding| finding["severity"] == "error")
            .map(|finding| (&finding["code"], &finding["field"]))
            .collect();
        assert_eq!(
            found,
            [(&json!(code), &json!("nugetFeed"))],
            "{behaviour:?}: {errors}"
        );
        assert!(started.elapsed() < DEADLINE, "{behaviour:?}");
    }
}

/// What a feed does that is none.
#[derive(Debug, Clone)]
enum Behaviour {
    /// It accepts connections and says nothing.
    Silent,
    /// It sends an answer that never ends, a byte at a time.
    Drips,
    /// It answers everything so.
    Answers(u16, String),
}

/// Starts a server that ends with the test.
fn bad_feed(server: &Server, behaviour: Behaviour) -> String {
    let listener = server.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}/v3/index.json", listener.local_addr().unwrap());
    server.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let behaviour = behaviour.clone();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                match behaviour {
                    Behaviour::Silent => std::future::pending().await,
                    Behaviour::Drips => {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                        while stream.write_all(b" ").await.is_ok() {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                    Behaviour::Answers(status, body) => {
                        let length = body.len();
                        let answer = format!(
                            "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}"
                        );
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                }
            });
        }
    });
    url
}

#[test]
fn a_feed_that_answers_with_other_packages_is_not_believed() {
    let server = Server::start();
    server.feed.answer_with_other_packages();
    let id = draft(&server);
    let answer = server.admin("POST", &of(&id, "/check"), Value::Null);
    let error = &answer.ok(200)["errors"][0];
    assert_eq!(
        (&error["code"], &error["field"]),
        (&json!("feedAnswerInvalid"), &json!("nugetFeed"))
    );
}

#[test]
fn many_packages_are_asked_for_in_few_questions_and_none_of_them_twice() {
    let server = Server::start();
    let mut settings = settings(&server.feed);
    for number in 0..500 {
        let id = format!("Many{number}");
        server.feed.publish(&id, "1.0.0");
        settings.packages.push(PackagePin {
            id,
            version: "1.0.0".to_owned(),
        });
    }
    let draft = server.admin("POST", ALL, json!({"settings": settings}));
    let id = draft.ok(201)["id"].clone();
    let before = server.feed.questions();
    for _ in 0..2 {
        server
            .admin("POST", &of(&id, "/check"), Value::Null)
            .ok(200);
    }
    assert_eq!(
        server.feed.questions() - before,
        4,
        "503 packages, 128 at once, one time"
    );
}

#[test]
fn a_label_that_another_configuration_has_is_a_warning() {
    let server = Server::start();
    let id = draft(&server);
    let warnings = |id: &Value| {
        let answer = server.admin("POST", &of(id, "/check"), Value::Null).ok(200);
        let found = answer["errors"].as_array().unwrap().clone();
        let labels = found
            .into_iter()
            .filter(|finding| finding["code"] == "versionLabelTaken");
        labels.collect::<Vec<_>>()
    };
    patch(
        &server,
        &id,
        "*",
        &json!({"majorVersion": 1, "minorVersion": 0}),
    )
    .ok(200);
    let found = warnings(&id);
    assert_eq!(
        (&found[0]["severity"], &found[0]["field"]),
        (&json!("warning"), &json!("minorVersion"))
    );
    patch(&server, &id, "*", &json!({"minorVersion": 7})).ok(200);
    assert!(warnings(&id).is_empty());
}

#[test]
fn an_address_that_is_no_feed_is_a_finding_without_asking_anybody() {
    let server = Server::start();
    for url in ["ftp://feed", "", "http://"] {
        let id = draft_with_feed(&server, url);
        let answer = server
            .admin("POST", &of(&id, "/check"), Value::Null)
            .ok(200);
        let errors = answer["errors"].as_array().unwrap();
        assert_eq!(errors[0]["code"], "nugetFeedInvalid", "{url}: {errors:?}");
        assert_eq!(errors.len(), 1, "{url}: {errors:?}");
    }
}

#[test]
fn the_diff_names_what_changes_and_whose_nodes_restart() {
    let server = Server::start();
    server.feed.publish("Hello", "2.0.0");
    let copy = server
        .admin("POST", ALL, json!({"copyOf": 1, "newestPackages": true}))
        .ok(201);
    let diff = server
        .admin("GET", &of(&copy["id"], "/diff"), Value::Null)
        .ok(200);
    assert_eq!(diff["against"], 1);
    assert_eq!(
        diff["diff"]["packages"],
        json!([{"id": "Hello", "from": "1.0.0", "to": "2.0.0"}])
    );
    let restarts = diff["restarts"].as_array().unwrap();
    assert_eq!(restarts.len(), 1, "{restarts:?}");
    assert_eq!(restarts[0]["template"], "hello");
    let itself = server
        .admin("GET", &of(&json!(1), "/diff?against=1"), Value::Null)
        .ok(200);
    assert_eq!(itself["restarts"], json!([]));
    server
        .admin("GET", &of(&json!(1), "/diff?against=77"), Value::Null)
        .problem(404, "notFound");
}

#[test]
fn packages_of_the_feed_are_listed() {
    let server = Server::start();
    server.feed.publish("Hello", "1.1.0");
    let list = server
        .admin("GET", "/api/v1/packages?q=", Value::Null)
        .ok(200);
    assert!(list["total"].as_u64().unwrap() >= 3);
    let hello = server
        .admin("GET", "/api/v1/packages/hello", Value::Null)
        .ok(200);
    assert_eq!(
        (&hello["version"], &hello["versions"]),
        (&json!("1.1.0"), &json!(["1.0.0", "1.1.0"]))
    );
    server
        .admin("GET", "/api/v1/packages/a..b", Value::Null)
        .problem(400, "invalid");
}

#[test]
fn operations_say_what_enforcing_them_answers() {
    use ConfigurationState::{Archived, Draft, Faulted, Obsolete, Ready};
    let server = Server::start();
    for (id, state) in [
        (2, Draft),
        (3, Archived),
        (4, Obsolete),
        (5, Faulted),
        (6, Ready),
    ] {
        server.configuration(id, state);
    }
    let calls = [
        ("update", "PATCH", "", json!({"notes": "x"})),
        ("setStable", "POST", "/stable", json!({"isStable": true})),
        ("setObsolete", "POST", "/obsolete", Value::Null),
        ("check", "POST", "/check", Value::Null),
        ("delete", "DELETE", "", Value::Null),
    ];
    for id in 1..=6 {
        for (operation, method, path, body) in &calls {
            let Some(before) = server.row(id) else {
                continue;
            };
            let shown = server
                .admin("GET", &of(&json!(id), ""), Value::Null)
                .ok(200);
            let shown = shown["operations"].as_array().unwrap();
            let shown = shown
                .iter()
                .find(|o| o["id"] == *operation)
                .unwrap()
                .clone();
            let call = server
                .request(method, &of(&json!(id), path))
                .bearer(&server.token("admin"));
            let call = call.header("if-match", "*");
            let answer = if body.is_null() {
                call.send()
            } else {
                call.json(body).send()
            };
            assert_eq!(
                shown["allowed"],
                answer.status < 400,
                "{operation} of {id}: {}",
                answer.text
            );
            if answer.status >= 400 {
                assert_eq!(
                    shown["reason"]["code"],
                    answer.json()["code"],
                    "{operation} of {id}"
                );
                assert_eq!(server.row(id).as_ref(), Some(&before));
            }
        }
    }
}

#[test]
fn the_feed_is_told_what_every_configuration_but_drafts_needs() {
    let server = Server::start();
    let cluster = server.cluster.clone();
    server.spawn(async move { cluster.pins_keep().await });
    let pin = |id: &str, version: &str| json!({"id": id, "version": version});
    let first = json!([
        pin("Hello", "1.0.0"),
        pin("KlusterKite.Core.Service", "1.0.0"),
        pin("KlusterKite.NodeManager", "1.0.0"),
    ]);
    eventually("the Active configuration is pinned", || {
        server.feed.pins("test") == Some(first.clone())
    });

    server.feed.publish("Hello", "2.0.0");
    let newest = json!({"copyOf": 1, "newestPackages": true});
    let id = server.admin("POST", ALL, newest).ok(201)["id"].clone();
    assert_eq!(server.feed.pins("test"), Some(first));
    server
        .admin("POST", &of(&id, "/ready"), Value::Null)
        .ok(200);
    eventually("the Ready configuration is pinned, too", || {
        let pins = server.feed.pins("test").unwrap();
        pins.as_array().unwrap().contains(&pin("Hello", "2.0.0"))
    });
}
