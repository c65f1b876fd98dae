//! Packages of other feeds: looked for, kept, and served when the other feed is away.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use klusterkite_nuget::Sha512Hash;
use serde_json::{Value, json};

use crate::fake::{Does, Fake};
use crate::harness::{ADMIN, TestFeed, large_package, package, wait_for};

/// A feed whose upstream is another feed.
fn behind(upstream: &TestFeed, members: &str) -> TestFeed {
    TestFeed::start(&settings_behind(upstream, members))
}

fn settings_behind(upstream: &TestFeed, members: &str) -> String {
    format!(
        "upstream = [{{name = central, url = \"{}\", password = {ADMIN}, fresh = 0s, absent = 0s, {members}}}]\n",
        upstream.url("/v3/index.json")
    )
}

fn versions(feed: &TestFeed, id: &str) -> Vec<String> {
    let answer = feed.get(&format!("/v3/flat/{id}/index.json"));
    if answer.status == 404 {
        return Vec::new();
    }
    assert_eq!(answer.status, 200, "{answer:?}");
    texts(&answer.json()["versions"])
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn nupkg(id: &str, version: &str) -> String {
    format!("/v3/flat/{id}/{version}/{id}.{version}.nupkg")
}

/// Ids and versions that a search finds.
fn found(feed: &TestFeed, query: &str) -> Vec<(String, usize)> {
    let answer = feed.get(&format!("/v3/search?{query}")).json();
    let hits = answer["data"].as_array().unwrap().iter();
    hits.map(|hit| {
        let versions = hit["versions"].as_array().unwrap().len();
        (hit["id"].as_str().unwrap().to_owned(), versions)
    })
    .collect()
}

#[test]
fn what_an_upstream_has_is_found_fetched_once_and_served_when_it_is_away() {
    let mut central = TestFeed::start("");
    let bytes = package("Lib.A", "1.0.0");
    central.push(&bytes);
    central.push(&package("Lib.A", "2.0.0-rc.1"));
    central.push(&package("Lib.B", "1.0.0"));
    let feed = behind(&central, "");
    feed.push(&package("Acme.Own", "1.0.0"));

    assert_eq!(versions(&feed, "lib.a"), ["1.0.0", "2.0.0-rc.1"]);
    let registration = feed.get("/v3/registration/lib.a/index.json").json();
    let items = registration["items"][0]["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(
        items[0]["packageContent"],
        feed.url(&nupkg("lib.a", "1.0.0"))
    );
    let leaf = feed.get("/v3/registration/lib.a/1.0.0.json");
    assert_eq!(
        leaf.json()["packageContent"],
        feed.url(&nupkg("lib.a", "1.0.0"))
    );
    let all = [
        ("Acme.Own".to_owned(), 1),
        ("Lib.A".to_owned(), 1),
        ("Lib.B".to_owned(), 1),
    ];
    assert_eq!(found(&feed, "semVerLevel=2.0.0"), all);
    assert_eq!(
        found(&feed, "prerelease=true&semVerLevel=2.0.0")[1],
        ("Lib.A".to_owned(), 2)
    );
    assert_eq!(found(&feed, "skip=1&take=1"), all[1..2]);
    assert_eq!(found(&feed, "skip=2&take=5"), all[2..]);
    assert_eq!(feed.get("/v3/search?skip=1&take=1").json()["totalHits"], 3);
    let completed = feed.get("/v3/autocomplete?q=lib").json();
    assert_eq!(texts(&completed["data"]), ["Lib.A", "Lib.B"]);
    // Looking is not fetching.
    assert!(feed.files("upstream").is_empty());

    // The facts are made here, from the package.
    let facts = feed.get("/v3/facts/lib.a/1.0.0.json").json();
    assert_eq!(facts["sha512"], Sha512Hash::of(&bytes).to_string());
    assert_eq!(facts["manifest"], "roles = [orders]\n");
    assert_eq!(feed.get(&nupkg("lib.a", "1.0.0")).body, bytes);
    let nuspec = feed.get("/v3/flat/lib.a/1.0.0/lib.a.nuspec");
    assert!(
        String::from_utf8(nuspec.body)
            .unwrap()
            .contains("<id>Lib.A</id>")
    );
    assert_eq!(feed.files("upstream").len(), 1);
    assert_eq!(
        found(&feed, "q=lib.a&prerelease=true&semVerLevel=2.0.0"),
        [("Lib.A".to_owned(), 2)]
    );

    central.stop();
    assert_eq!(feed.get(&nupkg("lib.a", "1.0.0")).body, bytes);
    assert_eq!(feed.get("/v3/facts/lib.a/1.0.0.json").status, 200);
    assert_eq!(versions(&feed, "lib.a"), ["1.0.0"]);
    assert_eq!(found(&feed, ""), all[..2]);
    let registration = feed.get("/v3/registration/lib.a/index.json").json();
    assert_eq!(
        registration["items"][0]["items"].as_array().unwrap().len(),
        1
    );
    // What may be there is not "not found".
    for path in [
        &nupkg("lib.b", "1.0.0"),
        "/v3/flat/lib.b/index.json",
        "/v3/registration/lib.b/index.json",
        "/v3/facts/lib.b/1.0.0.json",
    ] {
        let answer = feed.get(path);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "upstreamAway"),
            "{path}"
        );
        assert!(
            answer.json()["detail"]
                .as_str()
                .unwrap()
                .contains("`central`")
        );
    }
    // What is ours is not.
    assert_eq!(feed.get(&nupkg("acme.own", "9.0.0")).status, 404);
}

#[test]
fn an_id_of_this_feed_is_never_looked_for_elsewhere() {
    let central = TestFeed::start("");
    for (id, version) in [
        ("Acme.Own", "1.0.0"),
        ("Acme.Own", "99.0.0"),
        ("Other", "1.0.0"),
    ] {
        central.push(&large_package(id, version, 1000));
    }
    let feed = behind(&central, "except = [other]");
    let own = package("Acme.Own", "1.0.0");
    feed.push(&own);
    let assert_ours = || {
        assert_eq!(feed.get(&nupkg("acme.own", "99.0.0")).status, 404);
        assert_eq!(feed.get("/v3/facts/acme.own/99.0.0.json").status, 404);
        assert_eq!(
            feed.get("/v3/registration/acme.own/99.0.0.json").status,
            404
        );
        assert!(versions(&feed, "other").is_empty());
        assert!(feed.files("upstream").is_empty());
    };
    assert_ours();
    assert_eq!(versions(&feed, "acme.own"), ["1.0.0"]);
    assert_eq!(feed.get(&nupkg("acme.own", "1.0.0")).body, own);
    assert_eq!(found(&feed, ""), [("Acme.Own".to_owned(), 1)]);
    // Not even when all its versions are gone.
    let auth = [("X-NuGet-ApiKey", ADMIN)];
    let purge = "/api/v2/package/Acme.Own/1.0.0?purge=true";
    assert_eq!(feed.call("DELETE", purge, &auth, Vec::new()).status, 204);
    assert_ours();
    assert!(versions(&feed, "acme.own").is_empty());
    assert!(found(&feed, "").is_empty());
}

#[test]
fn an_upstream_may_be_asked_for_some_prefixes_and_for_own_ids_if_the_settings_say_so() {
    let central = TestFeed::start("");
    for (id, version) in [("Acme.Own", "2.0.0"), ("Other", "1.0.0")] {
        central.push(&package(id, version));
    }
    let feed = behind(&central, "prefixes = [Acme.], localIds = true");
    let own = large_package("Acme.Own", "1.0.0", 1000);
    feed.push(&own);
    assert_eq!(versions(&feed, "acme.own"), ["1.0.0", "2.0.0"]);
    assert_eq!(feed.get(&nupkg("acme.own", "1.0.0")).body, own);
    assert_eq!(feed.get(&nupkg("acme.own", "2.0.0")).status, 200);
    assert!(versions(&feed, "other").is_empty());
    assert_eq!(feed.get(&nupkg("other", "1.0.0")).status, 404);
}

#[test]
fn many_who_ask_for_one_package_wait_for_one_download() {
    let fake = Fake::start();
    let bytes = large_package("lib", "1.0.0", 3_000_000);
    fake.package("lib", "1.0.0", Does::Answer(bytes.clone()));
    let feed = TestFeed::start(&fake.settings(""));
    thread::scope(|scope| {
        let gets: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| feed.get(&nupkg("lib", "1.0.0"))))
            .collect();
        for get in gets {
            assert!(get.join().unwrap().body == bytes);
        }
    });
    assert_eq!(fake.requests("1.0.0.nupkg").len(), 1);
    assert_eq!(fake.requests("/flat/lib/index.json").len(), 1);
    assert_eq!(feed.files("upstream").len(), 1);
}

#[test]
fn what_is_not_there_is_not_asked_for_again_at_once() {
    let fake = Fake::start();
    let feed = TestFeed::start(&fake.settings("absent = 1h"));
    for _ in 0..5 {
        assert_eq!(feed.get(&nupkg("lib", "1.0.0")).status, 404);
        assert_eq!(feed.get("/v3/flat/lib/index.json").status, 404);
        assert_eq!(feed.get("/v3/registration/lib/index.json").status, 404);
    }
    assert_eq!(fake.requests("/flat/lib/index.json").len(), 1);
    assert_eq!(fake.requests("/reg/lib/index.json").len(), 1);
}

#[test]
fn a_dead_upstream_is_asked_three_times_and_then_left_alone() {
    let fake = Fake::start();
    for id in 0..20 {
        fake.on(&format!("/flat/lib{id}/index.json"), Does::Status(500));
    }
    let feed = TestFeed::start(&fake.settings(""));
    feed.push(&package("Acme.Own", "1.0.0"));
    for id in 0..20 {
        assert_eq!(
            feed.get(&format!("/v3/flat/lib{id}/index.json")).status,
            503
        );
        assert_eq!(feed.get(&nupkg("acme.own", "1.0.0")).status, 200);
        assert_eq!(found(&feed, "").len(), 1);
    }
    assert!(
        feed.log().contains("the upstream counts as away"),
        "{}",
        feed.log()
    );
    // The first answers of the search came between the failures.
    let asked = fake.requests("index.json").len() + fake.requests("/search").len();
    assert!(asked < 12, "{asked} requests");
}

#[test]
fn an_upstream_that_hangs_holds_up_nobody_else() {
    let fake = Fake::start();
    fake.on("/flat/lib/index.json", Does::Stall(b"{".to_vec()));
    let feed = TestFeed::start(&fake.settings("timeout = 1s"));
    let own = package("Acme.Own", "1.0.0");
    feed.push(&own);
    thread::scope(|scope| {
        let hung = scope.spawn(|| feed.get("/v3/flat/lib/index.json"));
        assert_eq!(feed.get(&nupkg("acme.own", "1.0.0")).body, own);
        assert_eq!(hung.join().unwrap().code(), "upstreamAway");
    });
}

#[test]
fn a_package_that_is_not_the_right_one_is_refused_and_not_fetched_again() {
    let fake = Fake::start();
    let whole = package("lib", "1.0.0");
    for (id, bytes, reason) in [
        (
            "other",
            package("lib", "1.0.0"),
            "it is package `lib` `1.0.0`",
        ),
        ("damaged", whole[..whole.len() / 2].to_vec(), "not usable"),
        (
            "page",
            b"<html>sign in</html>".to_vec(),
            "not a readable zip archive",
        ),
        (
            "large",
            large_package("large", "1.0.0", 200_000),
            "larger than 102400 bytes",
        ),
    ] {
        fake.package(id, "1.0.0", Does::Answer(bytes));
        let feed = TestFeed::start(&format!(
            "{} limits.packageBytes = 100 KiB",
            fake.settings("")
        ));
        for _ in 0..3 {
            let answer = feed.get(&nupkg(id, "1.0.0"));
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (502, "upstreamPackage"),
                "{id}"
            );
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(reason), "{id}: {detail}");
            assert!(detail.contains("`fake`"), "{id}: {detail}");
        }
        assert_eq!(fake.requests(&format!("{id}.1.0.0.nupkg")).len(), 1, "{id}");
        assert!(feed.files("upstream").is_empty() && feed.files("incoming").is_empty());
    }
}

#[test]
fn a_download_that_breaks_off_leaves_nothing_and_is_tried_again() {
    let fake = Fake::start();
    let bytes = package("lib", "1.0.0");
    fake.package("lib", "1.0.0", Does::BreakOff(bytes[..100].to_vec()));
    let feed = TestFeed::start(&fake.settings(""));
    assert_eq!(feed.get(&nupkg("lib", "1.0.0")).code(), "upstreamAway");
    assert!(feed.files("upstream").is_empty() && feed.files("incoming").is_empty());
    fake.package("lib", "1.0.0", Does::Answer(bytes.clone()));
    assert_eq!(feed.get(&nupkg("lib", "1.0.0")).body, bytes);
}

#[test]
fn the_key_of_an_upstream_goes_to_no_other_host() {
    let (fake, elsewhere) = (Fake::start(), Fake::start());
    let bytes = package("lib", "1.0.0");
    elsewhere.on("/files/lib", Does::Answer(bytes.clone()));
    let to = format!("http://{}/files/lib", elsewhere.address);
    fake.package("lib", "1.0.0", Does::Redirect(to));
    let feed = TestFeed::start(&fake.settings("user = me, password = p4ss"));
    assert_eq!(feed.get(&nupkg("lib", "1.0.0")).body, bytes);
    // "me:p4ss".
    let sent = fake.requests("/flat/lib/index.json")[0].1.clone();
    assert_eq!(sent.as_deref(), Some("Basic bWU6cDRzcw=="));
    assert_eq!(elsewhere.requests("/files/lib")[0].1, None);
    let leaked = ["p4ss", "bWU6cDRzcw"]
        .iter()
        .any(|text| feed.log().contains(text));
    assert!(!leaked, "{}", feed.log());
}

#[test]
fn documents_that_are_packed_or_have_odd_entries_are_read() {
    let fake = Fake::start();
    let entry = |version: &str, extra: Value| {
        let mut entry = json!({"@id": "x", "id": "Lib", "version": version, "listed": true});
        entry
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        json!({"@id": "x", "catalogEntry": entry, "packageContent": "x"})
    };
    let index = json!({"count": 1, "items": [{"@id": "x", "count": 3, "lower": "1.0.0", "upper": "3.0.0", "items": [
        entry("1.0.0", json!({"tags": "a b"})),
        entry("no version", json!({})),
        entry("2.0.0", json!({"dependencyGroups": [{"dependencies": [{"id": "Dep", "range": "[1.0, )"}]}]})),
    ]}]});
    let index = serde_json::to_vec(&index).unwrap();
    fake.on("/reg/lib/index.json", Does::AnswerPacked(index));
    let hit =
        json!({"id": "Lib", "version": "2.0.0", "versions": [{"@id": "x", "version": "2.0.0"}]});
    let search = json!({"totalHits": 2, "data": [hit, {"id": "no id at all!"}]});
    fake.json("/search", &search);
    let feed = TestFeed::start(&fake.settings(""));
    let registration = feed.get("/v3/registration/lib/index.json").json();
    let items = registration["items"][0]["items"]
        .as_array()
        .unwrap()
        .clone();
    let shown: Vec<&Value> = items
        .iter()
        .map(|item| &item["catalogEntry"]["version"])
        .collect();
    assert_eq!(shown, ["1.0.0", "2.0.0"]);
    assert_eq!(found(&feed, "q=lib"), [("Lib".to_owned(), 1)]);
    let hit = &feed.get("/v3/search?q=lib").json()["data"][0];
    assert_eq!(
        hit["registration"],
        feed.url("/v3/registration/lib/index.json")
    );
}

#[test]
fn a_version_that_was_purged_by_hand_is_not_fetched_again_and_one_that_retention_removed_is() {
    let central = TestFeed::start("");
    for version in ["1.0.0", "2.0.0"] {
        central.push(&package("Lib", version));
    }
    let rules = "retention { every = 1h, rules = [{origin = upstream, keepStable = 0}] }";
    let mut feed = TestFeed::start(&(settings_behind(&central, "") + rules));
    for version in ["1.0.0", "2.0.0"] {
        assert_eq!(feed.get(&nupkg("lib", version)).status, 200);
    }
    let auth = [("X-NuGet-ApiKey", ADMIN)];
    let purge = "/api/v2/package/lib/2.0.0?purge=true";
    assert_eq!(feed.call("DELETE", purge, &auth, Vec::new()).status, 204);
    feed.stop();
    let retained = Command::new(env!("CARGO_BIN_EXE_klusterkite-feed"))
        .arg("retain")
        .arg(feed.settings_path())
        .output()
        .unwrap();
    let output = String::from_utf8(retained.stdout).unwrap();
    assert!(output.starts_with("1 versions removed"), "{output}");
    assert!(feed.files("upstream").is_empty());
    feed.restart();
    assert_eq!(versions(&feed, "lib"), ["1.0.0"]);
    assert_eq!(feed.get(&nupkg("lib", "2.0.0")).status, 404);
    assert_eq!(feed.get(&nupkg("lib", "1.0.0")).status, 200);
}

#[test]
fn a_new_index_still_knows_what_came_from_an_upstream() {
    let central = TestFeed::start("");
    central.push(&package("Lib", "1.0.0"));
    let mut feed = behind(&central, "");
    assert_eq!(feed.get(&nupkg("lib", "1.0.0")).status, 200);
    feed.stop();
    assert_eq!(feed.maintain("check").0, Some(0));
    for name in feed.files(".") {
        if name.starts_with("index.sqlite") {
            fs::remove_file(feed.data().join(name)).unwrap();
        }
    }
    let (code, output) = feed.maintain("reindex");
    assert_eq!(code, Some(0), "{output}");
    central.push(&package("Lib", "2.0.0"));
    feed.restart();
    // It would be an id of ours otherwise.
    assert_eq!(versions(&feed, "lib"), ["1.0.0", "2.0.0"]);
}

#[test]
fn a_kill_in_the_middle_of_a_fetch_leaves_nothing() {
    let fake = Fake::start();
    let bytes = large_package("lib", "1.0.0", 1_000_000);
    let mut feed = TestFeed::start(&fake.settings(""));
    for part in [0, 100, 500_000, bytes.len() - 1] {
        fake.package("lib", "1.0.0", Does::Stall(bytes[..part].to_vec()));
        let url = feed.url(&nupkg("lib", "1.0.0"));
        thread::scope(|scope| {
            let get = scope.spawn(|| {
                let request = ureq::get(&url).header("X-NuGet-ApiKey", ADMIN);
                request.call().is_err()
            });
            wait_for("the download's file", || {
                (!feed.files("incoming").is_empty()).then_some(())
            });
            feed.kill();
            assert!(get.join().unwrap());
        });
        feed.restart();
        assert!(feed.files("incoming").is_empty());
        assert!(feed.files("upstream").is_empty());
    }
    fake.package("lib", "1.0.0", Does::Answer(bytes.clone()));
    assert!(feed.get(&nupkg("lib", "1.0.0")).body == bytes);
}

#[test]
fn a_feed_stops_while_a_download_from_an_upstream_hangs() {
    let fake = Fake::start();
    fake.package("lib", "1.0.0", Does::Stall(b"PK".to_vec()));
    let mut feed = TestFeed::start(&fake.settings(""));
    let mut asking = TcpStream::connect(&feed.address).unwrap();
    let path = nupkg("lib", "1.0.0");
    write!(
        asking,
        "GET {path} HTTP/1.1\r\nHost: a\r\nX-NuGet-ApiKey: {ADMIN}\r\n\r\n"
    )
    .unwrap();
    wait_for("the download's file", || {
        (!feed.files("incoming").is_empty()).then_some(())
    });
    drop(asking);
    assert_eq!(feed.stop(), Some(0));
    feed.restart();
    assert!(feed.files("incoming").is_empty());
}

#[test]
fn after_kills_at_any_moment_each_fetched_package_is_whole_or_absent() {
    let fake = Fake::start();
    let ids: Vec<String> = (0..8).map(|number| format!("lib{number}")).collect();
    let packages: Vec<Vec<u8>> = ids
        .iter()
        .map(|id| large_package(id, "1.0.0", 50_000))
        .collect();
    for (id, bytes) in ids.iter().zip(&packages) {
        fake.package(id, "1.0.0", Does::Answer(bytes.clone()));
    }
    let all: BTreeSet<String> = packages
        .iter()
        .map(|bytes| Sha512Hash::of(bytes).hex() + ".nupkg")
        .collect();
    let mut feed = TestFeed::start(&fake.settings(""));
    for round in 0..8_u64 {
        let urls: Vec<String> = ids.iter().map(|id| feed.url(&nupkg(id, "1.0.0"))).collect();
        thread::scope(|scope| {
            for url in urls {
                scope.spawn(move || {
                    let request = ureq::get(&url).header("X-NuGet-ApiKey", ADMIN);
                    drop(request.call());
                });
            }
            thread::sleep(Duration::from_millis(round * 6));
            feed.kill();
        });
        feed.restart();
        let kept: BTreeSet<String> = feed.files("upstream").into_iter().collect();
        assert!(kept.is_subset(&all), "{kept:?}");
        assert!(feed.files("incoming").is_empty());
    }
    for (id, bytes) in ids.iter().zip(&packages) {
        assert!(feed.get(&nupkg(id, "1.0.0")).body == *bytes);
    }
    feed.stop();
    let (code, output) = feed.maintain("check");
    assert_eq!(code, Some(0), "{output}");
}
