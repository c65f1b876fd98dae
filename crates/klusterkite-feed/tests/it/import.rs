//! Taking over the packages of a folder or of another feed.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::fake::{Does, Fake};
use crate::harness::{ADMIN, TestFeed, large_package, package, symbols, symbols_with};

/// Runs an import into a stopped feed; returns its exit code, output and messages.
fn import(feed: &TestFeed, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_klusterkite-feed"))
        .arg("import")
        .arg(feed.settings_path())
        .args(arguments)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn write(folder: &Path, path: &str, bytes: &[u8]) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_folder_is_imported_once_and_each_refused_package_is_told_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().to_str().unwrap();
    // Flat, and as NuGet keeps packages.
    write(
        folder.path(),
        "Acme.A.1.0.0.nupkg",
        &package("Acme.A", "1.0.0"),
    );
    write(
        folder.path(),
        "acme.b/2.0.0/acme.b.2.0.0.nupkg",
        &package("Acme.B", "2.0.0"),
    );
    write(folder.path(), "acme.b/2.0.0/acme.b.nuspec", b"<x/>");
    write(
        folder.path(),
        "Acme.A.1.0.0.snupkg",
        &symbols("Acme.A", "1.0.0"),
    );
    let mut feed = TestFeed::prepare("");
    let (code, output, messages) = import(&feed, &[from]);
    assert_eq!(code, Some(0), "{output}{messages}");
    assert!(
        output.ends_with("3 imported, 0 there already, 0 refused\n"),
        "{output}"
    );
    let (code, output, _) = import(&feed, &[from]);
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(output, "0 imported, 3 there already, 0 refused\n");

    let whole = package("Acme.C", "1.0.0");
    write(folder.path(), "cut.nupkg", &whole[..whole.len() / 2]);
    write(
        folder.path(),
        "other.nupkg",
        &large_package("Acme.A", "1.0.0", 1000),
    );
    write(folder.path(), "alone.snupkg", &symbols("Acme.Z", "1.0.0"));
    write(
        folder.path(),
        "second.snupkg",
        &symbols_with("Acme.A", "1.0.0", "other"),
    );
    write(folder.path(), "wrong.nupkg", &symbols("Acme.Y", "1.0.0"));
    write(folder.path(), "z.nupkg", &package("Acme.D", "1.0.0"));
    let (code, output, _) = import(&feed, &[from]);
    assert_eq!(code, Some(1), "{output}");
    for (file, reason) in [
        ("cut.nupkg", "not a readable zip archive"),
        ("other.nupkg", "exists already"),
        ("alone.snupkg", "there is no package `Acme.Z`"),
        ("second.snupkg", "has symbols already"),
        ("wrong.nupkg", "is a symbols package"),
    ] {
        let line = output.lines().find(|line| line.contains(file)).unwrap();
        assert!(
            line.starts_with("refused") && line.contains(reason),
            "{line}"
        );
    }
    assert!(
        output.ends_with("1 imported, 3 there already, 5 refused\n"),
        "{output}"
    );
    let (code, output) = feed.maintain("check");
    assert_eq!(code, Some(0), "{output}");
    feed.restart();
    for (id, version) in [
        ("acme.a", "1.0.0"),
        ("acme.b", "2.0.0"),
        ("acme.d", "1.0.0"),
    ] {
        let answer = feed.get(&format!("/v3/flat/{id}/{version}/{id}.{version}.nupkg"));
        assert_eq!(answer.status, 200, "{id}");
    }
    // A running feed owns its directory.
    let (code, _, messages) = import(&feed, &[from]);
    assert_eq!(code, Some(1));
    assert!(
        messages.contains("in use by another feed process"),
        "{messages}"
    );
}

#[test]
fn another_feed_is_imported_by_ids_or_whole_with_listings_and_symbols() {
    let old = TestFeed::start("");
    for (id, version) in [
        ("Acme.A", "1.0.0"),
        ("Acme.A", "2.0.0-rc.1"),
        ("Acme.B", "1.0.0"),
    ] {
        old.push(&package(id, version));
    }
    old.push_symbols(&symbols("Acme.A", "1.0.0"));
    let auth = [("X-NuGet-ApiKey", ADMIN)];
    let unlist = "/api/v2/package/Acme.A/1.0.0";
    assert_eq!(old.call("DELETE", unlist, &auth, Vec::new()).status, 204);
    let mut feed = TestFeed::prepare("");
    let key = feed.settings_path().with_file_name("old-key");
    fs::write(&key, ADMIN).unwrap();
    let url = old.url("/v3/index.json");
    let from = [url.as_str(), "--credential-file", key.to_str().unwrap()];
    let (code, output, messages) = import(&feed, &[&from[..], &["--id", "acme.b"]].concat());
    assert_eq!(code, Some(0), "{output}{messages}");
    assert_eq!(
        output,
        "imported  acme.b 1.0.0\n1 imported, 0 there already, 0 refused\n"
    );
    let (code, output, messages) = import(&feed, &from);
    assert_eq!(code, Some(0), "{output}{messages}");
    assert!(
        output.ends_with("3 imported, 1 there already, 0 refused\n"),
        "{output}"
    );
    let (code, output, _) = import(&feed, &[&from[..], &["--id", "Acme.None"]].concat());
    assert_eq!(code, Some(1), "{output}");
    assert!(
        output.contains("refused   Acme.None: the feed has no version of it"),
        "{output}"
    );

    feed.restart();
    let listed = |feed: &TestFeed, version: &str| {
        feed.get(&format!("/v3/registration/acme.a/{version}.json"))
            .json()["listed"]
            == true
    };
    assert!(!listed(&feed, "1.0.0") && listed(&feed, "2.0.0-rc.1"));
    let answer = feed.get("/v3/flat/acme.a/1.0.0/acme.a.1.0.0.snupkg");
    assert_eq!(answer.body, symbols("Acme.A", "1.0.0"));
    // They are packages of this feed now.
    assert_eq!(feed.files("blobs").len(), 3);
    assert!(feed.files("upstream").is_empty());
}

#[test]
fn an_import_that_broke_off_is_continued_by_the_next() {
    let fake = Fake::start();
    let (first, second) = (package("a", "1.0.0"), package("b", "1.0.0"));
    fake.package("a", "1.0.0", Does::Answer(first));
    fake.package("b", "1.0.0", Does::BreakOff(second[..100].to_vec()));
    let feed = TestFeed::prepare("");
    let url = format!("http://{}/index.json", fake.address);
    let arguments = [url.as_str(), "--id", "a", "--id", "b"];
    let (code, output, messages) = import(&feed, &arguments);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("imported  a 1.0.0"), "{output}");
    assert!(
        messages.contains("run the command again to go on"),
        "{messages}"
    );
    fake.package("b", "1.0.0", Does::Answer(second));
    let (code, output, _) = import(&feed, &arguments);
    assert_eq!(code, Some(0), "{output}");
    assert!(
        output.ends_with("1 imported, 1 there already, 0 refused\n"),
        "{output}"
    );
    assert_eq!(fake.requests("a.1.0.0.nupkg").len(), 1);
}

#[test]
fn arguments_that_mean_nothing_end_an_import_with_code_2() {
    let feed = TestFeed::prepare("");
    for arguments in [&["folder", "--all", "x"][..], &["folder", "--id"]] {
        assert_eq!(import(&feed, arguments).0, Some(2), "{arguments:?}");
    }
    let (code, _, messages) = import(&feed, &["/nowhere"]);
    assert_eq!(code, Some(1));
    assert!(messages.contains("/nowhere"), "{messages}");
}
