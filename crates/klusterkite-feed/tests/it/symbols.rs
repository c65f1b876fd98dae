//! Symbols: pushed after their package, kept and removed with it.

use std::fs;

use klusterkite_nuget::Sha512Hash;

use crate::harness::{ADMIN, TestFeed, multipart, package, symbols, symbols_with};

const PATH: &str = "/v3/flat/acme.a/1.0.0/acme.a.1.0.0.snupkg";

#[test]
fn symbols_of_a_package_come_back_byte_for_byte_and_in_parts() {
    let feed = TestFeed::start("");
    let index = feed.get("/v3/index.json").json();
    let resources = index["resources"].as_array().unwrap();
    assert!(resources.iter().any(|resource| {
        resource["@type"] == serde_json::json!(["SymbolPackagePublish/4.9.0"])
            && resource["@id"] == feed.url("/api/v2/symbolpackage")
    }));
    assert_eq!(feed.push(&package("Acme.A", "1.0.0")).status, 201);
    assert_eq!(feed.get(PATH).status, 404);
    let bytes = symbols("Acme.A", "1.0.0");
    let answer = feed.push_symbols(&bytes);
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("location"), feed.url(PATH));
    let answer = feed.get(PATH);
    assert_eq!(answer.body, bytes);
    assert_eq!(
        answer.header("etag"),
        format!("\"{}\"", Sha512Hash::of(&bytes).hex())
    );
    let headers = [("X-NuGet-ApiKey", ADMIN), ("Range", "bytes=10-19")];
    let part = feed.call("GET", PATH, &headers, Vec::new());
    assert_eq!((part.status, part.body.as_slice()), (206, &bytes[10..20]));
    // They are no version of their own.
    let versions = feed.get("/v3/flat/acme.a/index.json").json();
    assert_eq!(versions["versions"], serde_json::json!(["1.0.0"]));
    assert_eq!(feed.get("/v3/search").json()["totalHits"], 1);
}

#[test]
fn symbols_that_fit_no_package_are_refused_with_the_reason_and_leave_nothing() {
    let mut feed = TestFeed::start("");
    assert_eq!(feed.push(&package("Acme.A", "1.0.0")).status, 201);
    let cut = {
        let mut bytes = symbols("Acme.A", "1.0.0");
        bytes.truncate(bytes.len() / 2);
        bytes
    };
    for (what, bytes, status, code) in [
        (
            "of no package",
            symbols("Acme.B", "1.0.0"),
            404,
            "packageMissing",
        ),
        (
            "of no version",
            symbols("Acme.A", "2.0.0"),
            404,
            "packageMissing",
        ),
        ("a package", package("Acme.A", "1.0.0"), 400, "notSymbols"),
        ("no zip", b"no zip".to_vec(), 400, "packageInvalid"),
        ("cut", cut, 400, "packageInvalid"),
    ] {
        let answer = feed.push_symbols(&bytes);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{what}"
        );
        assert!(feed.files("symbols").is_empty(), "{what}");
        assert!(feed.files("incoming").is_empty(), "{what}");
    }
    let answer = feed.push(&symbols("Acme.A", "2.0.0"));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "symbolsAsPackage")
    );
    assert_eq!(feed.files("blobs").len(), 1);
    assert_eq!(feed.stop(), Some(0));
    assert_eq!(feed.maintain("check").0, Some(0));
}

#[test]
fn symbols_never_change_and_go_and_come_back_with_their_package() {
    let feed = TestFeed::start("");
    let (bytes, first) = (package("Acme.A", "1.0.0"), symbols("Acme.A", "1.0.0"));
    let second = symbols_with("Acme.A", "1.0.0", "other");
    assert_eq!(feed.push(&bytes).status, 201);
    assert_eq!(feed.push_symbols(&first).status, 201);
    for again in [&first, &second] {
        let answer = feed.push_symbols(again);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (409, "symbolsExist")
        );
    }
    let auth = [("X-NuGet-ApiKey", ADMIN)];
    let purge = "/api/v2/package/Acme.A/1.0.0?purge=true";
    assert_eq!(feed.call("DELETE", purge, &auth, Vec::new()).status, 204);
    assert!(feed.files("symbols").is_empty());
    assert!(feed.files("blobs").is_empty());
    assert_eq!(feed.get(PATH).status, 404);
    assert_eq!(feed.push_symbols(&first).code(), "packageMissing");
    assert_eq!(feed.push(&bytes).status, 201);
    assert_eq!(feed.push_symbols(&second).code(), "symbolsPurged");
    assert_eq!(feed.push_symbols(&first).status, 201);
    assert_eq!(feed.get(PATH).body, first);
}

#[test]
fn a_key_pushes_symbols_only_with_its_scope_and_prefix() {
    let feed = TestFeed::start(
        "keys += {name = ci, key = ci-key-0123456789abcdef, scopes = [push], idPrefix = Other.}
         keys += {name = reader, key = reader-0123456789abcdef, scopes = [read]}",
    );
    assert_eq!(feed.push(&package("Acme.A", "1.0.0")).status, 201);
    let body = multipart(&symbols("Acme.A", "1.0.0"));
    for (key, code) in [
        ("ci-key-0123456789abcdef", "prefixRequired"),
        ("reader-0123456789abcdef", "scopeMissing"),
    ] {
        let headers = [
            ("X-NuGet-ApiKey", key),
            ("Content-Type", "multipart/form-data; boundary=b-1"),
        ];
        let answer = feed.call("PUT", "/api/v2/symbolpackage", &headers, body.clone());
        assert_eq!((answer.status, answer.code().as_str()), (403, code));
    }
    assert!(feed.files("symbols").is_empty());
}

#[test]
fn lost_and_unlisted_symbols_are_found_and_put_right() {
    let mut feed = TestFeed::start("");
    for version in ["1.0.0", "2.0.0"] {
        assert_eq!(feed.push(&package("Acme.A", version)).status, 201);
        assert_eq!(feed.push_symbols(&symbols("Acme.A", version)).status, 201);
    }
    feed.stop();
    let (code, output) = feed.maintain("check");
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("4 packages intact"), "{output}");
    let lost = Sha512Hash::of(&symbols("Acme.A", "2.0.0")).hex() + ".snupkg";
    fs::remove_file(feed.data().join("symbols").join(&lost)).unwrap();
    let (code, output) = feed.maintain("check");
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains(&lost), "{output}");
    for name in feed.files(".") {
        if name.starts_with("index.sqlite") {
            fs::remove_file(feed.data().join(name)).unwrap();
        }
    }
    let (code, output) = feed.maintain("reindex");
    assert_eq!(code, Some(0), "{output}");
    assert!(
        output.contains("listed the symbols of `Acme.A` `1.0.0`"),
        "{output}"
    );
    assert_eq!(feed.maintain("check").0, Some(0));
    feed.restart();
    assert_eq!(feed.get(PATH).body, symbols("Acme.A", "1.0.0"));
}
