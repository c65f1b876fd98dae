//! Who may do what.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::{Answer, TestFeed, multipart, package};

const KEYS: &str = "
    keys = ${keys} [
        {name = reader, key = reader-key-0123456789, scopes = [read]}
        {name = pusher, key = pusher-key-0123456789, scopes = [push], idPrefix = Acme.}
        {name = unlister, key = unlister-key-0123456789, scopes = [unlist]}
        {name = purger, key = purger-key-0123456789, scopes = [purge]}
        {name = watcher, key = watcher-key-0123456789, scopes = [metrics]}
        {name = pinner, key = pinner-key-0123456789, scopes = [pin]}
    ]";

/// Every route with the scope that it needs.
const ROUTES: &[(&str, &str, &str)] = &[
    ("GET", "/v3/index.json", "reader"),
    ("GET", "/v3/flat/acme.a/index.json", "reader"),
    ("GET", "/v3/flat/acme.a/1.0.0/acme.a.1.0.0.nupkg", "reader"),
    ("GET", "/v3/flat/acme.a/1.0.0/acme.a.nuspec", "reader"),
    ("GET", "/v3/registration/acme.a/index.json", "reader"),
    ("GET", "/v3/registration/acme.a/1.0.0.json", "reader"),
    (
        "GET",
        "/v3/registration/acme.a/page/1.0.0/1.0.0.json",
        "reader",
    ),
    ("GET", "/v3/search?q=a", "reader"),
    ("GET", "/v3/autocomplete?q=a", "reader"),
    ("GET", "/v3/facts/acme.a/1.0.0.json", "reader"),
    ("GET", "/metrics", "watcher"),
    ("POST", "/v3/facts", "reader"),
    ("GET", "/nowhere", "reader"),
    ("PUT", "/api/v2/package", "pusher"),
    ("PUT", "/api/v2/package/", "pusher"),
    ("POST", "/api/v2/package/Acme.A/1.0.0", "unlister"),
    ("DELETE", "/api/v2/package/Acme.A/1.0.0", "unlister"),
    (
        "DELETE",
        "/api/v2/package/Acme.A/1.0.0?purge=true",
        "purger",
    ),
    ("PUT", "/pins/main", "pinner"),
];

const NAMES: [&str; 6] = [
    "reader", "pusher", "unlister", "purger", "pinner", "watcher",
];

fn call(feed: &TestFeed, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let body = match path {
        "/pins/main" => b"[]".to_vec(),
        _ if method == "PUT" => multipart(&package("Acme.A", "1.0.0")),
        _ => Vec::new(),
    };
    let mut headers = headers.to_vec();
    headers.push(("Content-Type", "multipart/form-data; boundary=b-1"));
    feed.call(method, path, &headers, body)
}

#[test]
fn every_route_needs_its_scope_and_no_other() {
    let feed = TestFeed::start(KEYS);
    assert_eq!(feed.push(&package("Acme.A", "1.0.0")).status, 201);
    for (method, path, allowed) in ROUTES {
        let answer = call(&feed, method, path, &[]);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "keyUnknown"),
            "{method} {path}"
        );
        assert!(answer.header("www-authenticate").starts_with("Basic"));
        let answer = call(
            &feed,
            method,
            path,
            &[("X-NuGet-ApiKey", "unknown-key-0123456789")],
        );
        assert_eq!(answer.status, 401, "{method} {path}");
        for name in NAMES {
            let key = format!("{name}-key-0123456789");
            let answer = call(&feed, method, path, &[("X-NuGet-ApiKey", &key)]);
            if name == *allowed {
                assert!(
                    !matches!(answer.status, 401 | 403),
                    "{method} {path} as {name}: {answer:?}"
                );
            } else {
                assert_eq!(
                    (answer.status, answer.code().as_str()),
                    (403, "scopeMissing"),
                    "{method} {path} as {name}"
                );
            }
        }
    }
}

#[test]
fn a_key_may_come_as_header_password_or_bearer_token() {
    let feed = TestFeed::start(KEYS);
    let basic = format!(
        "Basic {}",
        STANDARD.encode("klusterkite:reader-key-0123456789")
    );
    for (name, value) in [
        ("X-NuGet-ApiKey", "reader-key-0123456789"),
        ("Authorization", basic.as_str()),
        ("Authorization", "Bearer reader-key-0123456789"),
    ] {
        assert_eq!(
            feed.call("GET", "/v3/index.json", &[(name, value)], Vec::new())
                .status,
            200,
            "{name}"
        );
    }
}

#[test]
fn health_needs_no_key() {
    let feed = TestFeed::start("");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(feed.call("GET", path, &[], Vec::new()).status, 200);
    }
}

#[test]
fn anonymous_clients_may_read_if_the_settings_say_so_but_not_write() {
    let feed = TestFeed::start("anonymousRead = true");
    assert_eq!(
        feed.call("GET", "/v3/index.json", &[], Vec::new()).status,
        200
    );
    assert_eq!(call(&feed, "PUT", "/api/v2/package", &[]).status, 401);
}

#[test]
fn a_prefix_limits_which_packages_a_key_may_push() {
    let feed = TestFeed::start(KEYS);
    let push = |id: &str| {
        let headers = [
            ("X-NuGet-ApiKey", "pusher-key-0123456789"),
            ("Content-Type", "multipart/form-data; boundary=b-1"),
        ];
        feed.call(
            "PUT",
            "/api/v2/package",
            &headers,
            multipart(&package(id, "1.0.0")),
        )
    };
    assert_eq!(push("acme.orders").status, 201);
    let answer = push("Other");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, "prefixRequired")
    );
    assert_eq!(feed.get("/v3/flat/other/index.json").status, 404);
    assert!(feed.files("incoming").is_empty());
}

#[test]
fn no_key_gets_into_the_log_or_an_answer() {
    let feed = TestFeed::start(KEYS);
    let answer = feed.call(
        "PUT",
        "/pins/main",
        &[("X-NuGet-ApiKey", "reader-key-0123456789")],
        b"[]".to_vec(),
    );
    assert!(
        !String::from_utf8(answer.body)
            .unwrap()
            .contains("key-0123456789")
    );
    assert!(!feed.log().contains("key-0123456789"), "{}", feed.log());
}
