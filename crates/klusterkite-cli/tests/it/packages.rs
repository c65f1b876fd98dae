//! Packing and publishing.

use std::fs;

use serde_json::json;

use crate::manager::{Manager, Ran, cluster, configuration, ok, problem};
use crate::server::{Reply, Server};

fn feed(status: u16) -> Server {
    Server::start(move |url, request| {
        match request.target.as_str() {
        "/v3/index.json" => Reply::new(200, json!({ "version": "3.0.0", "resources": [
            { "@id": format!("{url}/push"), "@type": "PackagePublish/2.0.0" },
            { "@id": format!("{url}/search"), "@type": "SearchQueryService" },
            { "@id": format!("{url}/facts"), "@type": "KlusterKitePackageFacts/1.0.0" }] }).to_string()),
        "/push/" => Reply::new(status, ""),
        path if path.starts_with("/facts/") => Reply::new(200, json!({ "id": "Acme", "version": "1.2.0",
            "sha512": klusterkite_nuget::Sha512Hash::of(b"other"), "size": 1, "listed": true, "published": "",
            "files": [] }).to_string()),
        path if path.starts_with("/search?q=ac&") => Reply::new(200, json!({ "totalHits": 1, "data": [{ "id": "Acme",
            "version": "1.2.0", "versions": [{ "@id": "v", "version": "1.2.0" }], "description": "A" }] }).to_string()),
        _ => Reply::new(404, ""),
    }
    })
}

fn packed(manager: &Manager) -> String {
    let source = manager.path("source");
    fs::create_dir_all(source.join("content")).unwrap();
    fs::write(source.join("pack.hocon"), "id = Acme").unwrap();
    fs::write(source.join("content/a.txt"), "a").unwrap();
    let ran =
        Ran::of(&mut manager.bare("package pack source --version 1.2 --out out --output json"));
    assert_eq!(ran.code, 0, "{ran:?}");
    let result = ran.json();
    assert_eq!(result["file"], "out/Acme.1.2.0.nupkg");
    assert_eq!(
        result["size"],
        fs::metadata(manager.path("out/Acme.1.2.0.nupkg"))
            .unwrap()
            .len()
    );
    result["file"].as_str().unwrap().to_owned()
}

#[test]
fn a_package_is_packed_and_pushed_without_a_manager() {
    let (manager, feed) = (Manager::start(|_, _, _| Reply::new(500, "")), feed(201));
    let file = packed(&manager);
    fs::write(manager.path("key.json"), r#"{"apiKey": "k3y"}"#).unwrap();
    let mut push = manager.bare(&format!("package push {file} --feed-key-file key.json"));
    let ran = Ran::of(push.env("KLUSTERKITE_FEED", format!("{}/v3/index.json", feed.url())));
    assert_eq!(ran.out, "pushed  out/Acme.1.2.0.nupkg\n", "{ran:?}");
    assert_eq!(
        feed.requests().pop().unwrap().header("x-nuget-apikey"),
        "k3y"
    );
    assert!(manager.server.requests().is_empty());
}

#[test]
fn another_content_is_refused_or_skipped() {
    let (manager, feed) = (Manager::start(|_, _, _| Reply::new(500, "")), feed(409));
    let file = packed(&manager);
    let url = format!("{}/v3/index.json", feed.url());
    let mut push = manager.bare(&format!("package push {file}"));
    let ran = Ran::of(push.env("KLUSTERKITE_FEED", &url));
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(
        ran.err.contains("`Acme 1.2.0`") && ran.err.contains("raise the version"),
        "{}",
        ran.err
    );
    let ran = Ran::of(push.args(["--skip-duplicate", "--output", "json"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        ran.json()["items"][0]["result"],
        "skipped: another content is there"
    );
}

#[test]
fn the_feed_is_that_of_the_active_configuration_unless_one_is_named() {
    let feed = feed(201);
    let url = format!("{}/v3/index.json", feed.url());
    let manager = Manager::start(move |_, path, _| match path {
        "/cluster/state" => ok(&cluster(None)),
        "/configurations/1" => {
            let mut active = configuration(1, "active");
            active["settings"]["nugetFeed"] = json!(url);
            ok(&active)
        }
        _ => Reply::new(404, ""),
    });
    let file = packed(&manager);
    let ran = manager.run(&format!("package push {file}"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(feed.requests().len(), 2);
}

#[test]
fn packages_are_searched_in_the_feed_or_through_the_manager() {
    let feed = feed(201);
    let manager = Manager::start(|_, path, _| {
        assert_eq!(path, "/packages?limit=100&q=ac");
        ok(
            &json!({ "items": [{ "id": "Acme", "version": "1.2.0", "versions": ["1.2.0"], "description": "A" }], "total": 1 }),
        )
    });
    let by_manager = manager.run("package list ac");
    let mut list = manager.bare("package list ac");
    let by_feed = Ran::of(list.env("KLUSTERKITE_FEED", format!("{}/v3/index.json", feed.url())));
    assert_eq!(
        by_manager.out, "PACKAGE  NEWEST  VERSIONS  DESCRIPTION\nAcme     1.2.0   1         A\n",
        "{by_manager:?}"
    );
    assert_eq!(by_feed.out, by_manager.out, "{by_feed:?}");
}

#[test]
fn what_cannot_be_packed_ends_with_2() {
    let manager = Manager::start(|_, _, _| Reply::new(500, ""));
    fs::create_dir(manager.path("source")).unwrap();
    fs::write(manager.path("source/pack.hocon"), "id = Acme").unwrap();
    let ran = Ran::of(&mut manager.bare("package pack source"));
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.err.contains("source/pack.hocon") && ran.err.contains("--version"),
        "{}",
        ran.err
    );
}

#[test]
fn a_feed_that_wants_a_key_says_how_to_give_it() {
    let manager = Manager::start(|_, _, _| Reply::new(500, ""));
    let feed = Server::start(|_, _| problem(401, "unauthorized", "no known API key"));
    let url = format!("{}/v3/index.json", feed.url());
    let ran = Ran::of(&mut manager.bare(&format!("package list --feed {url}")));
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.err.contains("--feed-key-file"), "{ran:?}");
    assert!(!ran.err.contains("klusterkite login"), "{ran:?}");
}
