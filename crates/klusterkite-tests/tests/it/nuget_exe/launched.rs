//! Packages of `nuget pack`, run by launchers.

use std::fs;

use serde_json::{Value, json};

use super::client::NuGet;
use crate::support::{TestCluster, migrate, programs, ready_newest};

#[test]
fn a_cluster_moves_to_a_version_that_nuget_exe_packed_and_pushed() {
    let mut test = TestCluster::start("hello", 3);
    let operator = test.operator();
    let key = |name: &str| {
        let file = test.directory().join("feed").join(name);
        let credential: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        credential["apiKey"].as_str().unwrap().to_owned()
    };
    let nuget = NuGet::new(
        &test.directory().join("developer"),
        test.cluster.feed_url(),
        Some(&key("reader.json")),
    );

    // The program and its manifest stay, the version is another one.
    let content = nuget.home().join("hello.json");
    let first = test.cluster.sample().join("packages/Hello/1.0.0");
    let text = fs::read_to_string(first.join("content/hello.json")).unwrap();
    let mut hello: Value = serde_json::from_str(&text).unwrap();
    hello["version"] = json!("1.1.0 by nuget.exe");
    fs::write(&content, hello.to_string()).unwrap();
    let package = nuget.pack(
        "Hello",
        "1.1.0",
        &[
            // A target without an extension is a file when the source has none either.
            (&programs().join("hello"), "runtimes/linux-x64/native/hello"),
            (&first.join("klusterkite.hocon"), "klusterkite.hocon"),
            (&content, "content"),
        ],
    );
    let publisher = key("publisher.json");
    let push = ["push", &package, "-Source", "feed", "-ApiKey", &publisher];
    nuget.run(&push).succeeds();

    let next = ready_newest(&operator);
    migrate(&operator, next);
    let ended = test.migration_ended(&operator);
    assert_eq!(ended["state"], "completed", "{ended:#}\n{}", test.kept());
    for answer in test.answers("/version") {
        assert!(answer.contains("1.1.0 by nuget.exe"), "{answer}");
    }
    test.cluster.stop().unwrap();
}
