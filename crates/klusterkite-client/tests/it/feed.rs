use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use klusterkite_client::feed::{FeedClient, FeedCredential};
use klusterkite_client::{Error, Kind, Retry};
use klusterkite_nuget::{Nuspec, PackageBuilder, PackageId, Sha512Hash, Version};
use klusterkite_wire::Secret;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::{Reply, Request, Server};

/// Does not wait between tries.
const QUICK: Retry = Retry {
    tries: 3,
    pause: Duration::ZERO,
};

fn id(text: &str) -> PackageId {
    text.parse().unwrap()
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn index(url: &str, kinds: &[&str]) -> Reply {
    let resources: Vec<Value> = kinds
        .iter()
        .map(|kind| json!({ "@id": format!("{url}/{}/", kind.split('/').next().unwrap()), "@type": kind }))
        .collect();
    Reply::new(
        200,
        json!({ "version": "3.0.0", "resources": resources }).to_string(),
    )
}

const ALL: &[&str] = &[
    "PackageBaseAddress/3.0.0",
    "RegistrationsBaseUrl/3.6.0",
    "SearchQueryService",
    "PackagePublish/2.0.0",
    "KlusterKitePackageFacts/1.0.0",
];

/// A feed with all resources and one answer for everything but the service index.
fn feed(handler: impl Fn(&str, &Request) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |url, request| match request.target.as_str() {
        "/v3/index.json" => index(url, ALL),
        _ => handler(url, request),
    })
}

fn client(server: &Server) -> FeedClient {
    let credential = FeedCredential::new(Secret::new("k3y"));
    FeedClient::new(
        &format!("{}/v3/index.json", server.url()),
        Some(credential),
        QUICK,
    )
    .unwrap()
}

fn package(directory: &TempDir) -> PathBuf {
    let nuspec = Nuspec::new(id("Acme.Orders"), version("1.4.0"), "Acme", "Orders");
    let bytes = PackageBuilder::new(nuspec)
        .manifest("priority = role")
        .to_bytes()
        .unwrap();
    let path = directory.path().join("orders.nupkg");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn versions_come_sorted_and_an_unknown_package_has_none() {
    let server = feed(|_, request| match request.target.as_str() {
        "/PackageBaseAddress/acme.orders/index.json" => {
            Reply::new(200, r#"{"versions": ["1.10.0", "1.9.0", "not a version"]}"#)
        }
        _ => Reply::new(404, ""),
    });
    let client = client(&server);
    assert_eq!(
        client.versions(&id("Acme.Orders")).unwrap(),
        [version("1.9"), version("1.10")]
    );
    assert!(client.versions(&id("Nobody")).unwrap().is_empty());
    let requests = server.requests();
    assert_eq!(requests.len(), 3, "the service index is read once");
    assert_eq!(
        requests[0].header("authorization"),
        "Basic a2x1c3RlcmtpdGU6azN5"
    );
}

#[test]
fn the_newest_version_is_listed_and_stable_if_one_is() {
    let leaf = |version: &str, listed: bool| {
        json!({ "@id": "l", "packageContent": "p",
            "catalogEntry": { "@id": "c", "id": "A", "version": version, "listed": listed } })
    };
    let server = feed(move |url, request| {
        let page = |items: Option<Value>| json!({ "@id": format!("{url}/page.json"), "count": 1, "lower": "1", "upper": "9", "items": items });
        let body = match request.target.as_str() {
            "/RegistrationsBaseUrl/a/index.json" => json!({ "count": 1, "items": [page(Some(json!([
                leaf("1.0.0", true), leaf("3.0.0", false), leaf("2.0.0", true), leaf("4.0.0-rc", true)])))] }),
            // The page stands in a document of its own.
            "/RegistrationsBaseUrl/b/index.json" => json!({ "count": 1, "items": [page(None)] }),
            "/page.json" => page(Some(json!([leaf("1.0.0-a", true), leaf("1.0.0-b", true)]))),
            _ => return Reply::new(404, ""),
        };
        Reply::new(200, body.to_string())
    });
    let client = client(&server);
    assert_eq!(client.newest(&id("A")).unwrap(), Some(version("2.0.0")));
    assert_eq!(client.newest(&id("B")).unwrap(), Some(version("1.0.0-b")));
    assert_eq!(client.newest(&id("C")).unwrap(), None);
}

#[test]
fn a_search_text_travels_as_one_value() {
    let server = feed(|_, _| Reply::new(200, r#"{"totalHits": 0, "data": []}"#));
    client(&server).search("a&b=ü", 5, 10).unwrap();
    let target = &server.requests()[1].target;
    assert_eq!(
        target,
        "/SearchQueryService?q=a%26b%3D%C3%BC&skip=5&take=10&prerelease=true&semVerLevel=2.0.0"
    );
}

#[test]
fn facts_of_a_foreign_feed_come_from_the_package_itself() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(package(&directory)).unwrap();
    let hash = Sha512Hash::of(&bytes);
    let server = Server::start(move |url, request| match request.target.as_str() {
        "/v3/index.json" => index(url, &["PackageBaseAddress/3.0.0"]),
        "/PackageBaseAddress/acme.orders/1.4.0/acme.orders.1.4.0.nupkg" => {
            Reply::new(200, bytes.clone())
        }
        _ => Reply::new(404, ""),
    });
    let client = client(&server);
    let facts = client
        .facts(&id("acme.orders"), &version("1.4"))
        .unwrap()
        .unwrap();
    assert_eq!(
        (facts.sha512, facts.manifest.as_deref()),
        (hash, Some("priority = role"))
    );
    assert_eq!(client.facts(&id("Nobody"), &version("1.0")).unwrap(), None);
}

/// The facts of a package as a feed writes them.
fn document(key: &Value) -> Value {
    json!({
        "id": key["id"], "version": key["version"], "sha512": Sha512Hash::of(b"x"), "size": 1, "listed": true,
        "published": "2026-01-01T00:00:00Z", "files": []
    })
}

fn three_packages() -> Vec<(PackageId, Version)> {
    ["A", "B", "C"]
        .map(|text| (id(text), version("1.0")))
        .into()
}

#[test]
fn facts_of_many_packages_are_asked_for_at_once_and_what_is_left_again() {
    let server = Server::start(|url, request| {
        if request.target == "/v3/index.json" {
            return index(url, &["KlusterKitePackageFactsOfMany/1.0.0"]);
        }
        assert_eq!(request.method, "POST");
        assert!(request.header("authorization").starts_with("Basic "));
        let query: Value = serde_json::from_slice(&request.body).unwrap();
        let mut keys = query["packages"].as_array().unwrap().clone();
        // The second one is not there, and there is room for two.
        let left = keys.split_off(keys.len().min(2));
        keys.retain(|key| key["id"] != "B");
        let found: Vec<Value> = keys.iter().map(document).collect();
        Reply::new(200, json!({"packages": found, "left": left}).to_string())
    });
    let client = client(&server);
    assert_eq!(client.facts_at_once().unwrap(), 1000);
    let facts = client.facts_of_many(&three_packages()).unwrap();
    let ids: Vec<&str> = facts.iter().map(|facts| facts.id.as_str()).collect();
    assert_eq!(ids, ["A", "C"]);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_feed_that_never_gets_on_with_many_packages_is_an_error() {
    let server = Server::start(|url, request| {
        if request.target == "/v3/index.json" {
            return index(url, &["KlusterKitePackageFactsOfMany/1.0.0"]);
        }
        let query: Value = serde_json::from_slice(&request.body).unwrap();
        let left = &query["packages"];
        Reply::new(200, json!({"packages": [], "left": left}).to_string())
    });
    let error = client(&server)
        .facts_of_many(&three_packages())
        .unwrap_err();
    assert!(matches!(error, Error::NoProgress { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Server);
}

#[test]
fn a_feed_without_questions_for_many_is_asked_for_one_after_the_other() {
    let server = Server::start(|url, request| match request.target.as_str() {
        "/v3/index.json" => index(url, &["KlusterKitePackageFacts/1.0.0"]),
        "/KlusterKitePackageFacts/b/1.0.0.json" => Reply::new(404, ""),
        target => {
            let name = target.split('/').nth(2).unwrap();
            Reply::new(
                200,
                document(&json!({"id": name, "version": "1.0.0"})).to_string(),
            )
        }
    });
    let client = client(&server);
    assert_eq!(client.facts_at_once().unwrap(), 1);
    assert_eq!(client.facts_of_many(&three_packages()).unwrap().len(), 2);
}

#[test]
fn a_document_that_never_ends_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v3/index.json", listener.local_addr().unwrap());
    let drip = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let client = FeedClient::new(&url, None, Retry::NONE).unwrap();
    let client = client.with_document_time(Duration::from_millis(300));
    let error = client.service_index().unwrap_err();
    assert_eq!(error.kind(), Kind::Away, "{error:?}");
    drip.join().unwrap();
}

#[test]
fn a_push_streams_the_file_with_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = package(&directory);
    let server = feed(|_, _| Reply::new(201, ""));
    let pushed = client(&server).push(&path).unwrap();
    assert_eq!(
        (pushed.id, pushed.version, pushed.is_new),
        (id("Acme.Orders"), version("1.4.0"), true)
    );
    let request = server.requests().pop().unwrap();
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("PUT", "/PackagePublish/")
    );
    assert_eq!(request.header("x-nuget-apikey"), "k3y");
    let bytes = std::fs::read(&path).unwrap();
    assert!(
        request
            .body
            .windows(bytes.len())
            .any(|window| window == bytes)
    );
    assert!(request.body.starts_with(b"--klusterkite") && request.body.ends_with(b"--\r\n"));
}

#[test]
fn a_push_of_the_same_bytes_again_succeeds_and_of_others_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = package(&directory);
    let hash = Sha512Hash::of(&std::fs::read(&path).unwrap());
    for (there, expected) in [(hash, Some(false)), (Sha512Hash::of(b"other"), None)] {
        let server = feed(move |_, request| match request.target.as_str() {
            "/PackagePublish/" => Reply::new(409, ""),
            _ => Reply::new(
                200,
                json!({ "id": "Acme.Orders", "version": "1.4.0", "sha512": there.to_string(),
                "size": 1, "listed": true, "published": "", "files": [] })
                .to_string(),
            ),
        });
        let pushed = client(&server).push(&path);
        if let Some(is_new) = expected {
            assert_eq!(pushed.unwrap().is_new, is_new);
        } else {
            let error = pushed.unwrap_err();
            assert!(matches!(error, Error::OtherContent { .. }), "{error:?}");
            assert!(error.to_string().contains("`Acme.Orders 1.4.0`"), "{error}");
        }
    }
}

#[test]
fn a_file_that_is_no_package_never_travels() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.nupkg");
    std::fs::write(&path, "no zip").unwrap();
    let server = feed(|_, _| Reply::new(201, ""));
    let error = client(&server).push(&path).unwrap_err();
    assert!(
        matches!(error, Error::Package { .. }) && error.to_string().contains("x.nupkg"),
        "{error}"
    );
    assert!(server.requests().is_empty());
}

#[test]
fn unlisting_names_the_version_in_the_path() {
    let server = feed(|_, _| Reply::new(204, ""));
    client(&server)
        .unlist(&id("Acme.Orders"), &version("1.4"))
        .unwrap();
    let request = server.requests().pop().unwrap();
    assert_eq!(request.method, "DELETE");
    assert_eq!(request.target, "/PackagePublish/Acme.Orders/1.4.0");
}

#[test]
fn pins_go_to_our_feed_and_nowhere_else() {
    let pins = [(id("Acme.Orders"), version("1.4"))];
    let server = feed(|_, _| Reply::new(204, ""));
    assert!(client(&server).pins_replace("a b", &pins).unwrap());
    let request = server.requests().pop().unwrap();
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("PUT", "/pins/a%20b")
    );
    assert_eq!(request.header("x-nuget-apikey"), "k3y");
    assert_eq!(request.body, br#"[{"id":"Acme.Orders","version":"1.4.0"}]"#);

    let server = Server::start(|url, _| index(url, &["PackageBaseAddress/3.0.0"]));
    assert!(!client(&server).pins_replace("a", &pins).unwrap());
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_feed_that_is_away_for_a_moment_is_asked_again() {
    let away = AtomicU32::new(2);
    let server = feed(move |_, _| {
        if away.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Reply::new(503, "").header("retry-after", "0");
        }
        away.store(0, Ordering::SeqCst);
        Reply::new(200, r#"{"versions": []}"#)
    });
    client(&server).versions(&id("A")).unwrap();
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn a_refusal_is_not_repeated_and_names_url_and_sentence() {
    let server = feed(|_, _| {
        Reply::new(
            403,
            r#"{"status": 403, "code": "scopeMissing", "detail": "the key may not read"}"#,
        )
    });
    let error = client(&server).versions(&id("A")).unwrap_err();
    assert_eq!(error.kind(), Kind::Forbidden);
    assert_eq!(error.problem().unwrap().code, "scopeMissing");
    let expected = format!(
        "`{}/PackageBaseAddress/a/index.json` answered 403: the key may not read",
        server.url()
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_read_follows_a_redirect_without_its_key_and_a_change_follows_none() {
    let elsewhere = Server::start(|_, _| Reply::new(200, r#"{"versions": ["1.0.0"]}"#));
    let target = elsewhere.url();
    let server = feed(move |_, _| Reply::new(307, "").header("location", target.clone()));
    let client = client(&server);
    assert_eq!(client.versions(&id("A")).unwrap(), [version("1.0.0")]);
    assert_eq!(elsewhere.requests()[0].header("authorization"), "");
    let error = client.unlist(&id("A"), &version("1.0")).unwrap_err();
    assert_eq!(
        (error.kind(), elsewhere.requests().len()),
        (Kind::Server, 1),
        "{error}"
    );
}

#[test]
fn answers_that_are_no_feed_are_named() {
    let server = Server::start(|_, _| Reply::new(200, "<html>hello</html>"));
    let error = client(&server).versions(&id("A")).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is not a NuGet V3 service index"),
        "{error}"
    );

    let server = Server::start(|url, _| index(url, &[]));
    let error = client(&server).versions(&id("A")).unwrap_err();
    assert!(
        matches!(
            error,
            Error::NoResource {
                resource: "PackageBaseAddress/3.0.0",
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn a_feed_that_is_not_there_is_named() {
    let server = Server::start(|_, _| Reply::new(200, ""));
    let url = format!(
        "http://user:pw@{}/v3/index.json",
        server.url().trim_start_matches("http://")
    );
    drop(server);
    let client = FeedClient::new(&url, None, QUICK).unwrap();
    let error = client.service_index().unwrap_err();
    assert_eq!(error.kind(), Kind::Away);
    assert!(
        !format!("{error} {error:?}").contains("user:pw"),
        "{error:?}"
    );
}
