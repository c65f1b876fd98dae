//! Versions that the rules of retention name go, and nothing else.

use std::fs;
use std::process::Command;

use klusterkite_nuget::{Dependency, DependencyGroup, PackageBuilder};

use crate::harness::{ADMIN, TestFeed, large_package, nuspec, package, symbols, wait_for};

const RULES: &str = "retention { every = 1s, rules = [{idPrefix = Acme., keepStable = 1}] }";

fn versions(feed: &TestFeed, id: &str) -> Vec<String> {
    let answer = feed.get(&format!("/v3/flat/{id}/index.json"));
    if answer.status == 404 {
        return Vec::new();
    }
    let versions = answer.json()["versions"].as_array().unwrap().clone();
    let text = |version: serde_json::Value| version.as_str().unwrap().to_owned();
    versions.into_iter().map(text).collect()
}

/// A package that needs another one.
fn needing(id: &str, version: &str, needed: &str, range: &str) -> Vec<u8> {
    let mut nuspec = nuspec(id, version);
    nuspec.dependency_groups = vec![DependencyGroup {
        target_framework: None,
        dependencies: vec![Dependency {
            id: needed.parse().unwrap(),
            range: range.parse().unwrap(),
            include: None,
            exclude: None,
        }],
    }];
    PackageBuilder::new(nuspec).to_bytes().unwrap()
}

/// Runs the command on the feed's settings; returns its exit code, output and messages.
fn retain(feed: &TestFeed, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_klusterkite-feed"))
        .arg("retain")
        .args(arguments)
        .arg(feed.settings_path())
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn pin(feed: &TestFeed, pins: &str) {
    let auth = [("X-NuGet-ApiKey", ADMIN)];
    let answer = feed.call("PUT", "/pins/prod", &auth, pins.as_bytes().to_vec());
    assert_eq!(answer.status, 204, "{answer:?}");
}

/// Four versions of which the rule keeps one, one is pinned and one is needed by it.
fn fill(feed: &TestFeed) {
    for version in ["1.0.0", "2.0.0", "3.0.0", "4.0.0"] {
        assert_eq!(feed.push(&package("Acme.Lib", version)).status, 201);
    }
    assert_eq!(feed.push_symbols(&symbols("Acme.Lib", "1.0.0")).status, 201);
    let app = needing("Other.App", "1.0.0", "Acme.Lib", "[2.0,3.0)");
    assert_eq!(feed.push(&app).status, 201);
    pin(feed, r#"[{"id": "Other.App", "version": "1.0.0"}]"#);
}

#[test]
fn a_dry_run_beside_a_running_feed_tells_each_reason_and_removes_nothing() {
    let feed = TestFeed::start(&RULES.replace("1s", "1h"));
    fill(&feed);
    let (code, output, _) = retain(&feed, &["--dry-run"]);
    assert_eq!(code, Some(0), "{output}");
    for line in [
        "goes   Acme.Lib 1.0.0: rule `acme.`: 3 higher stable versions are listed, 1 are kept",
        "stays  Acme.Lib 2.0.0: needed by Other.App 1.0.0, which `prod` needs",
        "goes   Acme.Lib 3.0.0: rule `acme.`: 1 higher stable versions are listed, 1 are kept",
        "stays  Acme.Lib 4.0.0: rule `acme.`: 0 higher stable versions are listed, 1 are kept",
        "stays  Other.App 1.0.0: pinned by `prod`",
        "2 of 5 versions would go",
    ] {
        assert!(output.contains(line), "{line} in {output}");
    }
    assert_eq!(versions(&feed, "acme.lib").len(), 4);
    // What changes the feed wants it stopped.
    assert_eq!(retain(&feed, &[]).0, Some(1));
}

#[test]
fn a_running_feed_removes_versions_with_their_symbols_and_logs_the_rule() {
    let mut feed = TestFeed::start("");
    fill(&feed);
    feed.stop();
    let settings = fs::read_to_string(feed.settings_path()).unwrap();
    fs::write(feed.settings_path(), settings + RULES).unwrap();
    feed.restart();
    wait_for("the removals", || {
        (versions(&feed, "acme.lib") == ["2.0.0", "4.0.0"]).then_some(())
    });
    assert_eq!(versions(&feed, "other.app"), ["1.0.0"]);
    assert!(feed.files("symbols").is_empty());
    wait_for("the log", || {
        let log = feed.log();
        (log.contains("removed by retention") && log.contains("rule `acme.`")).then_some(())
    });
}

#[test]
fn what_went_can_only_come_back_with_the_same_bytes() {
    let mut feed = TestFeed::start(&RULES.replace("1s", "1h"));
    fill(&feed);
    feed.stop();
    let (code, output, messages) = retain(&feed, &[]);
    assert_eq!(code, Some(0), "{messages}");
    assert!(output.starts_with("2 versions removed"), "{output}");
    let (code, output) = feed.maintain("check");
    assert_eq!(code, Some(0), "{output}");
    feed.restart();
    assert_eq!(versions(&feed, "acme.lib"), ["2.0.0", "4.0.0"]);
    let other = feed.push(&large_package("Acme.Lib", "1.0.0", 1000));
    assert_eq!(
        (other.status, other.code().as_str()),
        (409, "versionPurged")
    );
    assert_eq!(feed.push(&package("Acme.Lib", "1.0.0")).status, 201);
}

#[test]
fn a_feed_without_rules_says_that_there_are_none() {
    let feed = TestFeed::start("");
    let (code, _, messages) = retain(&feed, &["--dry-run"]);
    assert_eq!(code, Some(2));
    assert!(messages.contains("`retention` is missing"), "{messages}");
}

#[test]
fn a_key_with_a_prefix_pins_only_packages_with_it() {
    let feed = TestFeed::start(
        "keys += {name = orders, key = orders-0123456789abcdef, scopes = [pin], idPrefix = Acme.}",
    );
    let headers = [("X-NuGet-ApiKey", "orders-0123456789abcdef")];
    let put = |pins: &str| feed.call("PUT", "/pins/orders", &headers, pins.as_bytes().to_vec());
    assert_eq!(put(r#"[{"id": "Acme.A", "version": "1.0"}]"#).status, 204);
    let refused = put(r#"[{"id": "Other", "version": "1.0"}]"#);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (403, "prefixRequired")
    );
    // It cannot take other pins away either.
    let admin = [("X-NuGet-ApiKey", ADMIN)];
    let other = br#"[{"id": "Other", "version": "1.0"}]"#.to_vec();
    assert_eq!(feed.call("PUT", "/pins/orders", &admin, other).status, 204);
    assert_eq!(put("[]").code(), "prefixRequired");
}
