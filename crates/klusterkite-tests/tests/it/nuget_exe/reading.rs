//! Install, restore, search, credentials.

use std::fs;
use std::path::Path;

use super::client::NuGet;
use super::feed::{Feed, PUBLISHER, READER, write_package};

/// Pushes all packages of a directory.
fn push_all(nuget: &NuGet, directory: &Path) {
    let all = directory.join("*.nupkg");
    let push = [
        "push",
        all.to_str().unwrap(),
        "-Source",
        "feed",
        "-ApiKey",
        PUBLISHER,
    ];
    nuget.run(&push).succeeds();
}

/// Names what is in a directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn install_and_restore_take_the_versions_that_dependencies_allow() {
    let feed = Feed::start();
    let nuget = feed.reader("developer");
    let packages = feed.path("packages");
    write_package(
        &packages,
        "Acme.Orders",
        "1.0.0",
        &[("Acme.Money", "[1.5.0, 2.0.0)"), ("Acme.Log", "1.0.0")],
    );
    for version in ["1.0.0", "1.5.0", "1.6.0-rc.1", "2.0.0"] {
        write_package(&packages, "Acme.Money", version, &[("Acme.Log", "1.1.0")]);
    }
    for version in ["1.0.0", "1.1.0", "1.2.0.4", "3.0.0-beta.2+build.7"] {
        write_package(&packages, "Acme.Log", version, &[]);
    }
    push_all(&nuget, &packages);

    let install = |directory: &str, arguments: &[&str]| {
        let command = ["install", "-Source", "feed", "-OutputDirectory", directory];
        nuget.run(&[&command[..], arguments].concat()).succeeds();
        names(&nuget.home().join(directory))
    };
    assert_eq!(
        install("lowest", &["Acme.Orders"]),
        ["Acme.Log.1.1.0", "Acme.Money.1.5.0", "Acme.Orders.1.0.0"]
    );
    assert_eq!(
        install("highest", &["Acme.Orders", "-DependencyVersion", "Highest"]),
        ["Acme.Log.1.2.0.4", "Acme.Money.1.5.0", "Acme.Orders.1.0.0"]
    );
    assert_eq!(
        install("newest", &["Acme.Log", "-Prerelease"]),
        ["Acme.Log.3.0.0-beta.2"]
    );
    nuget
        .run(&["install", "Acme.Nothing", "-Source", "feed"])
        .fails_with("Unable to find package 'Acme.Nothing'");

    let config = "<?xml version=\"1.0\"?><packages>
        <package id=\"Acme.Money\" version=\"2.0.0\" /><package id=\"acme.log\" version=\"1.2.0.4\" />
        </packages>";
    fs::write(nuget.home().join("packages.config"), config).unwrap();
    let restore = [
        "restore",
        "packages.config",
        "-PackagesDirectory",
        "restored",
        "-Source",
        "feed",
    ];
    nuget.run(&restore).succeeds();
    let restored = nuget.home().join("restored");
    assert_eq!(names(&restored), ["Acme.Log.1.2.0.4", "Acme.Money.2.0.0"]);
    let content =
        fs::read_to_string(restored.join("Acme.Log.1.2.0.4/content/version.txt")).unwrap();
    assert_eq!(content, "1.2.0.4");
}

#[test]
fn search_finds_ids_texts_and_prereleases() {
    let feed = Feed::start();
    let nuget = feed.reader("developer");
    let packages = feed.path("packages");
    for (id, version) in [
        ("Acme.Orders", "1.0.0"),
        ("Acme.Orders", "2.0.0-rc.1"),
        ("Acme.Orders.Api", "1.0.0"),
        ("Acme.Money", "3.1.0"),
        ("Acme.Early", "0.1.0-alpha"),
    ] {
        write_package(&packages, id, version, &[]);
    }
    push_all(&nuget, &packages);
    for (arguments, expected) in [
        (
            &["orders"][..],
            &["Acme.Orders | 1.0.0", "Acme.Orders.Api | 1.0.0"][..],
        ),
        (&["orders", "-Take", "1"], &["Acme.Orders | 1.0.0"]),
        (
            &["orders", "-PreRelease"],
            &["Acme.Orders | 2.0.0-rc.1", "Acme.Orders.Api | 1.0.0"],
        ),
        (&["id:money"], &["Acme.Money | 3.1.0"]),
        (&["early"], &[]),
    ] {
        let found = nuget.run(&[&["search", "-Source", "feed"], arguments].concat());
        let found = found.succeeds();
        let mut lines: Vec<&str> = found
            .lines()
            .filter_map(|line| line.strip_prefix("> "))
            .filter_map(|line| line.split(" | Downloads").next())
            .collect();
        lines.sort_unstable();
        assert_eq!(lines, expected, "{arguments:?}: {found}");
    }
}

#[test]
fn an_id_with_many_versions_is_read_in_pages() {
    const VERSIONS: usize = 130;
    let feed = Feed::start();
    let nuget = feed.reader("developer");
    let packages = feed.path("packages");
    for patch in 0..VERSIONS {
        write_package(&packages, "Acme.Many", &format!("1.0.{patch}"), &[]);
    }
    write_package(
        &packages,
        "Acme.User",
        "1.0.0",
        &[("Acme.Many", "[1.0.70, 2.0.0)")],
    );
    push_all(&nuget, &packages);

    let install = |directory: &str, arguments: &[&str]| {
        let command = ["install", "-Source", "feed", "-OutputDirectory", directory];
        nuget.run(&[&command[..], arguments].concat()).succeeds();
        names(&nuget.home().join(directory))
    };
    assert_eq!(
        install("one", &["Acme.Many", "-Version", "1.0.17"]),
        ["Acme.Many.1.0.17"]
    );
    assert_eq!(install("newest", &["Acme.Many"]), ["Acme.Many.1.0.129"]);
    assert_eq!(
        install("user", &["Acme.User"]),
        ["Acme.Many.1.0.70", "Acme.User.1.0.0"]
    );
    let log = feed.log();
    assert!(
        log.contains("/v3/registration/acme.many/page/"),
        "no page was read:\n{log}"
    );
}

#[test]
fn reading_needs_credentials_that_the_feed_knows() {
    let feed = Feed::start();
    let package = write_package(&feed.path("packages"), "Acme.Orders", "1.0.0", &[]);
    let publisher = feed.reader("publisher");
    let push = ["push", &package, "-Source", "feed", "-ApiKey", PUBLISHER];
    publisher.run(&push).succeeds();

    let install = ["install", "Acme.Orders", "-Source", "feed"];
    for (name, password) in [
        ("stranger", None),
        ("liar", Some("a-key-that-nobody-knows")),
    ] {
        let nuget = NuGet::new(&feed.path(name), &feed.url(), password);
        nuget
            .run(&install)
            .fails_with("401 (the request has no known API key");
    }
    // As an operator would do it, without touching files.
    let nuget = NuGet::with_config(
        &feed.path("reader"),
        "<packageSources><clear /></packageSources>",
    );
    let add = [
        "sources",
        "add",
        "-Name",
        "feed",
        "-Source",
        &feed.url(),
        "-Username",
        "anybody",
        "-Password",
        READER,
        "-StorePasswordInClearText",
    ];
    nuget.run(&add).succeeds();
    nuget.run(&install).succeeds();
    assert_eq!(
        names(&nuget.home().join("Acme.Orders.1.0.0/content")),
        ["version.txt"]
    );
}
