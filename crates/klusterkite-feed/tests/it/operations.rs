//! What operators see of a feed, and how it bears clients that are slow, many or wrong.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use crate::harness::{ADMIN, TestFeed, large_package, package, wait_for};

/// Sends bytes and reads until the feed closes the connection.
fn talk(feed: &TestFeed, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(&feed.address).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // A reset at the end is an end too.
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// Splits answers with `Content-Length` into heads and bodies.
fn split(mut bytes: &[u8]) -> Vec<(String, &[u8])> {
    let mut answers = Vec::new();
    while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = String::from_utf8(bytes[..end].to_vec())
            .unwrap()
            .to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        answers.push((head, &bytes[end + 4..end + 4 + length]));
        bytes = &bytes[end + 4 + length..];
    }
    assert!(bytes.is_empty());
    answers
}

#[test]
fn requests_are_counted_by_route_and_status() {
    let feed = TestFeed::start("anonymousMetrics = true");
    assert_eq!(feed.push(&package("Acme.A", "1.0.0")).status, 201);
    let bytes = feed
        .get("/v3/flat/acme.a/1.0.0/acme.a.1.0.0.nupkg")
        .body
        .len();
    feed.get("/v3/flat/acme.a/1.0.0/acme.a.1.0.0.nupkg");
    feed.get("/v3/flat/acme.b/index.json");
    feed.call(
        "GET",
        "/v3/search",
        &[("X-NuGet-ApiKey", "wrong")],
        Vec::new(),
    );
    let answer = feed.call("GET", "/metrics", &[], Vec::new());
    assert!(answer.header("content-type").starts_with("text/plain"));
    let text = String::from_utf8(answer.body).unwrap();
    for line in [
        "klusterkite_feed_requests_total{route=\"/api/v2/package\",status=\"201\"} 1".to_owned(),
        "klusterkite_feed_requests_total{route=\"/v3/flat/{id}/{version}/{file}\",status=\"200\"} 1".to_owned(),
        "klusterkite_feed_requests_total{route=\"lately\",status=\"200\"} 1".to_owned(),
        "klusterkite_feed_requests_total{route=\"/v3/flat/{id}/index.json\",status=\"404\"} 1".to_owned(),
        "klusterkite_feed_requests_total{route=\"/v3/search\",status=\"401\"} 1".to_owned(),
        format!("klusterkite_feed_sent_bytes_total{{route=\"lately\"}} {bytes}"),
        "klusterkite_feed_request_duration_seconds_count{route=\"/v3/search\"} 1".to_owned(),
        "klusterkite_feed_packages 1".to_owned(),
        format!("klusterkite_feed_package_bytes {bytes}"),
        "klusterkite_feed_pushes_total 1".to_owned(),
        "klusterkite_feed_wrong_keys_total 1".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

#[test]
fn each_request_has_its_line_in_the_access_log_and_no_secret_is_in_it() {
    let feed = TestFeed::start("accessLog = access.log, trustedProxies = [127.0.0.1]");
    assert_eq!(feed.push(&package("Acme.A", "1.0.0")).status, 201);
    let path = "/v3/flat/acme.a/1.0.0/acme.a.1.0.0.nupkg";
    let size = feed.get(path).body.len();
    let headers = [
        ("X-NuGet-ApiKey", "wrong-key-0123456789"),
        ("X-Forwarded-For", "10.1.2.3"),
    ];
    feed.call("GET", "/v3/search?q=secret", &headers, Vec::new());
    let log = feed.settings_path().with_file_name("access.log");
    let text = wait_for("three lines", || {
        let text = fs::read_to_string(&log).unwrap();
        (text.lines().count() == 3).then_some(text)
    });
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (line, expected) in lines.iter().zip([
        ("PUT", "/api/v2/package", 201, "127.0.0.1", Some("admin")),
        ("GET", path, 200, "127.0.0.1", Some("admin")),
        ("GET", "/v3/search", 401, "10.1.2.3", None),
    ]) {
        let found = (
            line["method"].as_str().unwrap(),
            line["path"].as_str().unwrap(),
            line["status"].as_u64().unwrap(),
            line["client"].as_str().unwrap(),
            line["key"].as_str(),
        );
        assert_eq!(found, expected, "{text}");
        assert!(line["milliseconds"].as_f64().is_some() && line["time"].as_str().is_some());
    }
    assert_eq!(lines[1]["bytes"], size);
    for secret in [ADMIN, "wrong-key", "secret"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn a_feed_without_room_lives_and_says_that_it_takes_no_packages() {
    let feed = TestFeed::start("limits.freeBytes = 1000000 TiB");
    assert_eq!(feed.call("GET", "/healthz", &[], Vec::new()).status, 200);
    let answer = feed.call("GET", "/readyz", &[], Vec::new());
    assert_eq!((answer.status, answer.code().as_str()), (503, "notReady"));
    assert!(
        String::from_utf8(answer.body)
            .unwrap()
            .contains("disk is full")
    );
    assert_eq!(feed.push(&package("Acme.A", "1.0.0")).status, 507);
}

#[test]
fn only_a_trusted_proxy_says_how_clients_see_the_feed() {
    let headers = [
        ("X-NuGet-ApiKey", ADMIN),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "packages.example.org"),
        ("X-Forwarded-Prefix", "/nuget"),
    ];
    for (settings, base) in [
        (
            "trustedProxies = [127.0.0.0/8]",
            Some("https://packages.example.org/nuget"),
        ),
        ("trustedProxies = [10.0.0.0/8]", None),
        ("", None),
        (
            "publicUrl = \"https://a.example/b/\"",
            Some("https://a.example/b"),
        ),
    ] {
        let feed = TestFeed::start(settings);
        let own = feed.url("");
        let base = base.unwrap_or(&own);
        for round in 0..2 {
            let index = feed
                .call("GET", "/v3/index.json", &headers, Vec::new())
                .json();
            for resource in index["resources"].as_array().unwrap() {
                let url = resource["@id"].as_str().unwrap();
                assert!(
                    url.starts_with(&format!("{base}/")),
                    "{settings}, {round}: {url}"
                );
            }
        }
        // What one client is told is not told to another one.
        let plain = feed.get("/v3/index.json").json();
        let expected = if settings.starts_with("publicUrl") {
            base
        } else {
            own.as_str()
        };
        let url = plain["resources"][0]["@id"].as_str().unwrap();
        assert!(url.starts_with(&format!("{expected}/")), "{url}");
    }
}

#[test]
fn documents_are_compressed_and_asked_for_again_only_after_a_change() {
    let feed = TestFeed::start("");
    for number in 0..20 {
        feed.push(&package("Acme.A", &format!("1.{number}.0")));
    }
    let path = "/v3/registration/acme.a/index.json";
    let get = |headers: &[(&str, &str)]| {
        let headers = [&[("X-NuGet-ApiKey", ADMIN)], headers].concat();
        feed.call("GET", path, &headers, Vec::new())
    };
    let plain = get(&[("Accept-Encoding", "identity")]);
    assert_eq!(plain.header("content-encoding"), "");
    // The first answer is made, the second one kept.
    for _ in 0..2 {
        let raw = talk(
            &feed,
            format!(
                "GET {path} HTTP/1.1\r\nHost: {}\r\nX-NuGet-ApiKey: {ADMIN}\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n",
                feed.address
            )
            .as_bytes(),
        );
        let answers = split(&raw);
        let (head, body) = &answers[0];
        assert!(
            head.contains("content-encoding: gzip") && head.contains("vary: accept-encoding"),
            "{head}"
        );
        assert!(body.starts_with(&[0x1f, 0x8b]) && body.len() * 4 < plain.body.len());
    }
    let tag = plain.header("etag");
    assert_eq!(plain.header("cache-control"), "no-cache");
    let same = get(&[("Accept-Encoding", "identity"), ("If-None-Match", &tag)]);
    assert_eq!((same.status, same.body.len()), (304, 0));
    feed.push(&package("Acme.A", "2.0.0"));
    let newer = get(&[("Accept-Encoding", "identity"), ("If-None-Match", &tag)]);
    assert_eq!(newer.status, 200);
    assert_ne!(newer.header("etag"), tag);
    assert!(String::from_utf8(newer.body).unwrap().contains("2.0.0"));
}

#[test]
fn a_change_is_seen_by_the_next_request_whatever_was_kept() {
    let feed = TestFeed::start("");
    let versions = "/v3/flat/acme.a/index.json";
    for (number, size) in [(0, 1_000), (1, 100_000)] {
        let version = format!("1.{number}.0");
        let nupkg = format!("/v3/flat/acme.a/{version}/acme.a.{version}.nupkg");
        assert_eq!(feed.get(&nupkg).status, 404);
        let bytes = large_package("Acme.A", &version, size);
        assert_eq!(feed.push(&bytes).status, 201);
        for _ in 0..2 {
            assert_eq!(feed.get(&nupkg).body, bytes);
            let listed = feed.get(versions).json();
            assert_eq!(listed["versions"].as_array().unwrap().len(), 1);
        }
        let purged = feed.call(
            "DELETE",
            &format!("/api/v2/package/Acme.A/{version}?purge=true"),
            &[("X-NuGet-ApiKey", ADMIN)],
            Vec::new(),
        );
        assert_eq!(purged.status, 204);
        assert_eq!(feed.get(&nupkg).status, 404);
        assert_eq!(feed.get(versions).status, 404);
    }
}

#[test]
fn answers_to_requests_that_come_at_once_are_in_order_and_whole() {
    let feed = TestFeed::start("");
    let (small, large) = (
        package("Acme.A", "1.0.0"),
        large_package("Acme.B", "1.0.0", 3_000_000),
    );
    assert_eq!(feed.push(&small).status, 201);
    assert_eq!(feed.push(&large).status, 201);
    let small_path = "/v3/flat/acme.a/1.0.0/acme.a.1.0.0.nupkg";
    let large_path = "/v3/flat/acme.b/1.0.0/acme.b.1.0.0.nupkg";
    let asked = [
        ("GET", large_path, "", &large[..]),
        ("HEAD", large_path, "", &[]),
        ("GET", small_path, "", &small[..]),
        (
            "GET",
            large_path,
            "bytes=1000000-2000000",
            &large[1_000_000..=2_000_000],
        ),
        (
            "GET",
            large_path,
            "bytes=-500000",
            &large[large.len() - 500_000..],
        ),
        ("GET", small_path, "bytes=10-19", &small[10..20]),
        ("GET", large_path, "", &large[..]),
    ];
    let (mut request, mut expected) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        for (method, path, range, body) in asked {
            write!(
                request,
                "{method} {path} HTTP/1.1\r\nHost: a\r\nX-NuGet-ApiKey: {ADMIN}\r\nRange: {range}\r\n\r\n"
            )
            .unwrap();
            expected.push(body);
        }
    }
    request.extend_from_slice(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    expected.push(b"ok\n");
    let raw = talk(&feed, &request);
    let mut rest = &raw[..];
    for (number, body) in expected.iter().enumerate() {
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("answer {number} is missing"));
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        assert!(head.starts_with("HTTP/1.1 20"), "{number}: {head}");
        rest = &rest[end + 4..];
        assert!(
            rest.starts_with(body),
            "the body of answer {number} is another one: {head}"
        );
        rest = &rest[body.len()..];
    }
    assert!(rest.is_empty());
}

#[test]
fn wrong_keys_are_slowed_down_and_the_right_one_is_never_locked_out() {
    let feed = TestFeed::start("");
    let get = |key: &str| {
        feed.call(
            "GET",
            "/v3/index.json",
            &[("X-NuGet-ApiKey", key)],
            Vec::new(),
        )
    };
    let refused = (0..100)
        .map(|_| get("wrong-key-0123456789"))
        .find(|answer| answer.status != 401);
    let refused = refused.expect("guesses are limited");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "tooManyWrongKeys")
    );
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(get(ADMIN).status, 200);
    // NuGet clients ask without a key first.
    assert_eq!(
        feed.call("GET", "/v3/index.json", &[], Vec::new()).status,
        401
    );
    assert_eq!(get("wrong-key-0123456789").status, 429);
}

#[test]
fn a_connection_too_many_is_told_to_come_again() {
    let feed = TestFeed::start("limits.connections = 1");
    let mut first = TcpStream::connect(&feed.address).unwrap();
    let request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    first.write_all(request).unwrap();
    let mut answer = [0; 12];
    first.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");

    let refused = feed.call("GET", "/healthz", &[], Vec::new());
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "tooManyConnections")
    );
    assert_eq!(refused.header("retry-after"), "5");
    // One that ends makes room.
    drop(first);
    assert_eq!(feed.call("GET", "/healthz", &[], Vec::new()).status, 200);
}

#[test]
fn a_client_that_drips_the_head_of_a_request_loses_its_connection() {
    let feed = TestFeed::start("limits { connections = 1, headTime = 100ms }");
    let mut slow = TcpStream::connect(&feed.address).unwrap();
    wait_for("the end of the connection", || {
        slow.write_all(b"G").err()?;
        Some(())
    });
    assert_eq!(feed.call("GET", "/healthz", &[], Vec::new()).status, 200);
}
