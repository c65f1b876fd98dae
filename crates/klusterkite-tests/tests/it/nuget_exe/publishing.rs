//! Push, delete, keys.

use std::fs;

use super::client::NuGet;
use super::feed::{Feed, ORDERS, PUBLISHER, READER, write_package};

#[test]
fn a_version_is_pushed_once_and_a_second_push_is_told_so() {
    let feed = Feed::start();
    let nuget = feed.reader("publisher");
    let file = nuget.home().join("orders.txt");
    fs::write(&file, "orders").unwrap();
    let package = nuget.pack("Acme.Orders", "1.0.0", &[(&file, "content")]);

    let saved = nuget.run(&["setapikey", PUBLISHER, "-Source", "feed"]);
    saved.succeeds();
    let push = ["push", &package, "-Source", "feed"];
    let text = nuget.run(&push).succeeds();
    assert!(text.contains("Your package was pushed"), "{text}");

    let exists = "409 (package `Acme.Orders` `1.0.0` exists already";
    nuget.run(&push).fails_with(exists);
    let skipped = nuget.run(&[&push[..], &["-SkipDuplicate"]].concat());
    let text = skipped.succeeds();
    assert!(text.contains("already exists at feed"), "{text}");

    fs::write(&file, "other orders").unwrap();
    nuget.pack("Acme.Orders", "1.0.0", &[(&file, "content")]);
    nuget.run(&push).fails_with(exists);
}

#[test]
fn what_is_no_package_is_refused_in_the_words_of_the_feed() {
    let feed = Feed::start();
    let nuget = feed.reader("publisher");
    let whole = write_package(&feed.path("packages"), "Acme.Whole", "1.0.0", &[]);
    let whole = fs::read(whole).unwrap();
    let manifest = nuget.home().join("klusterkite.hocon");
    fs::write(
        &manifest,
        "roles = [orders]\nprocesses { orders { comand = [orders] } }\n",
    )
    .unwrap();
    let misspelt = nuget.pack(
        "Acme.Misspelt",
        "1.0.0",
        &[(&manifest, "klusterkite.hocon")],
    );

    for (name, bytes, reason) in [
        ("garbage.nupkg", vec![b'x'; 3000], "truncated or no zip"),
        (
            "half.nupkg",
            whole[..whole.len() / 2].to_vec(),
            "truncated or no zip",
        ),
        ("misspelt.nupkg", fs::read(misspelt).unwrap(), "comand"),
    ] {
        let path = nuget.home().join(name);
        fs::write(&path, bytes).unwrap();
        let path = path.to_str().unwrap();
        let push = ["push", path, "-Source", "feed", "-ApiKey", PUBLISHER];
        let text = nuget.run(&push).fails_with("400 (");
        assert!(text.contains(reason), "{text}");
    }
    let found = nuget.run(&["search", "-Source", "feed"]).succeeds();
    assert!(!found.contains("Acme"), "{found}");
}

#[test]
fn a_key_may_do_what_its_scopes_say_and_the_refusal_says_what_is_missing() {
    let feed = Feed::start();
    let nuget = feed.reader("publisher");
    let packages = feed.path("packages");
    let orders = write_package(&packages, "Acme.Orders.Api", "1.0.0", &[]);
    let other = write_package(&packages, "Acme.Money", "1.0.0", &[]);
    let push =
        |package: &str, key: &str| nuget.run(&["push", package, "-Source", "feed", "-ApiKey", key]);
    let delete = |id: &str, key: &str| {
        nuget.run(&["delete", id, "1.0.0", "-Source", "feed", "-ApiKey", key])
    };

    push(&orders, READER).fails_with("403 (");
    push(&orders, "a-key-that-nobody-knows").fails_with("401 (");
    push(&other, ORDERS).fails_with("403 (");
    push(&orders, ORDERS).succeeds();
    delete("Acme.Orders.Api", ORDERS).fails_with("403 (");
    delete("Acme.Money", PUBLISHER)
        .fails_with("404 (package `Acme.Money` `1.0.0` is not in this feed)");

    let stranger = NuGet::new(&feed.path("stranger"), &feed.url(), None);
    let pushed = stranger.run(&["push", &other, "-Source", "feed", "-ApiKey", PUBLISHER]);
    pushed.fails_with("401 (");
}

#[test]
fn a_deleted_version_is_hidden_from_search_and_still_installed_by_name() {
    let feed = Feed::start();
    let nuget = feed.reader("publisher");
    let package = write_package(&feed.path("packages"), "Acme.Orders", "1.0.0", &[]);
    let push = ["push", &package, "-Source", "feed", "-ApiKey", PUBLISHER];
    nuget.run(&push).succeeds();
    let search = || {
        nuget
            .run(&["search", "orders", "-Source", "feed"])
            .succeeds()
    };
    let found = search();
    assert!(found.contains("> Acme.Orders | 1.0.0"), "{found}");

    let delete = [
        "delete",
        "Acme.Orders",
        "1.0.0",
        "-Source",
        "feed",
        "-ApiKey",
        PUBLISHER,
    ];
    nuget.run(&delete).succeeds();
    let found = search();
    assert!(!found.contains("Acme.Orders"), "{found}");
    let install = [
        "install",
        "Acme.Orders",
        "-Version",
        "1.0.0",
        "-Source",
        "feed",
    ];
    nuget.run(&install).succeeds();
    assert!(
        nuget
            .home()
            .join("Acme.Orders.1.0.0/content/version.txt")
            .exists()
    );
    // The version is taken for ever.
    nuget.run(&push).fails_with("409 (");
}

#[test]
fn a_large_package_passes_through_little_memory() {
    const FILE_BYTES: usize = 60 << 20;
    let feed = Feed::start();
    let nuget = feed.reader("publisher");
    let file = nuget.home().join("noise.bin");
    let mut noise = vec![0; FILE_BYTES];
    getrandom::fill(&mut noise).unwrap();
    fs::write(&file, &noise).unwrap();
    let package = nuget.pack("Acme.Large", "1.0.0", &[(&file, "content")]);

    let push = ["push", &package, "-Source", "feed", "-ApiKey", PUBLISHER];
    nuget.run(&push).succeeds();
    nuget
        .run(&["install", "Acme.Large", "-Source", "feed"])
        .succeeds();
    let installed = fs::read(nuget.home().join("Acme.Large.1.0.0/content/noise.bin")).unwrap();
    assert!(installed == noise, "other bytes came back");
    let memory = feed.memory_bytes_max();
    assert!(
        memory < (FILE_BYTES / 2) as u64,
        "the feed had {memory} bytes: it keeps packages in memory"
    );
}
