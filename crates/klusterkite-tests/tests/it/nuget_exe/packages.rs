//! Packages of `klusterkite package pack`, installed by nuget.exe.

use std::fs;
use std::path::Path;
use std::process::Command;

use klusterkite_tests::local::output;
use serde_json::Value;

use super::feed::{Feed, PUBLISHER};
use crate::support::{programs, repository};

#[test]
fn packages_of_ours_are_pushed_and_installed_by_nuget_exe() {
    let feed = Feed::start();
    let nuget = feed.reader("developer");
    let key = feed.path("publisher.json");
    fs::write(&key, format!("{{\"apiKey\": \"{PUBLISHER}\"}}")).unwrap();
    let sample = repository().join("samples/hello/packages");
    let service = pack(&sample.join("Hello/1.0.0"), &feed.path("packages"));
    let migrator = pack(&sample.join("Hello.Db/1.0.0"), &feed.path("packages"));

    // One by our command, one by nuget.exe: both install from the feed alike.
    let mut push = Command::new(programs().join("klusterkite"));
    push.args(["package", "push", "--feed", &feed.url(), "--feed-key-file"])
        .arg(&key)
        .arg(&service);
    output(&mut push).unwrap();
    let push = ["push", &migrator, "-Source", "feed", "-ApiKey", PUBLISHER];
    nuget.run(&push).succeeds();

    for id in ["Hello", "Hello.Db"] {
        nuget.run(&["install", id, "-Source", "feed"]).succeeds();
    }
    let installed = nuget.home().join("Hello.1.0.0");
    let native = installed.join("runtimes/linux-x64/native/hello");
    assert_same(&native, &programs().join("hello"));
    for file in ["klusterkite.hocon", "content/hello.json"] {
        assert_same(
            &installed.join(file),
            &sample.join("Hello/1.0.0").join(file),
        );
    }
    let up = "content/hello-db/0001_visitors.up.sql";
    assert_same(
        &nuget.home().join("Hello.Db.1.0.0").join(up),
        &sample.join("Hello.Db/1.0.0").join(up),
    );
}

/// Packs a package directory as an operator would; returns the file.
fn pack(directory: &Path, out: &Path) -> String {
    let mut pack = Command::new(programs().join("klusterkite"));
    pack.args(["package", "pack", "--output", "json", "--binaries"])
        .arg(programs())
        .arg("--out")
        .arg(out)
        .arg(directory);
    let packed: Value = serde_json::from_str(&output(&mut pack).unwrap()).unwrap();
    packed["file"].as_str().unwrap().to_owned()
}

fn assert_same(one: &Path, other: &Path) {
    let same = fs::read(one).unwrap() == fs::read(other).unwrap();
    assert!(same, "{} differs from {}", one.display(), other.display());
}
