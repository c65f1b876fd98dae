//! The process is killed at any moment: each package is whole or absent afterwards.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use klusterkite_nuget::Sha512Hash;

use crate::harness::{ADMIN, TestFeed, large_package, multipart, package, symbols, wait_for};

/// Every version that the feed lists can be fetched whole, its hash is right, and there are no
/// other bytes; returns the versions.
fn assert_whole(feed: &TestFeed, id: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let listing = feed.get(&format!("/v3/flat/{id}/index.json"));
    let versions = if listing.status == 404 {
        Vec::new()
    } else {
        listing.json()["versions"].as_array().unwrap().clone()
    };
    for version in versions {
        let version = version.as_str().unwrap().to_owned();
        let answer = feed.get(&format!("/v3/flat/{id}/{version}/{id}.{version}.nupkg"));
        assert_eq!(answer.status, 200, "{version}");
        let facts = feed.get(&format!("/v3/facts/{id}/{version}.json")).json();
        assert_eq!(
            facts["sha512"],
            Sha512Hash::of(&answer.body).to_string(),
            "{version}"
        );
        found.insert(version, answer.body);
    }
    let mut expected: Vec<String> = found
        .values()
        .map(|bytes| Sha512Hash::of(bytes).hex() + ".nupkg")
        .collect();
    expected.sort();
    assert_eq!(feed.files("blobs"), expected);
    let mut expected: Vec<String> = found
        .keys()
        .filter_map(|version| {
            let answer = feed.get(&format!("/v3/flat/{id}/{version}/{id}.{version}.snupkg"));
            (answer.status == 200).then(|| Sha512Hash::of(&answer.body).hex() + ".snupkg")
        })
        .collect();
    expected.sort();
    assert_eq!(feed.files("symbols"), expected);
    assert!(feed.files("incoming").is_empty());
    found
}

#[test]
fn a_kill_in_the_middle_of_an_upload_leaves_nothing() {
    let mut feed = TestFeed::start("");
    assert_eq!(feed.push(&package("acme", "1.0.0")).status, 201);
    let body = multipart(&large_package("acme", "2.0.0", 2_000_000));
    for part in [0, 100, 100_000, body.len() - 1] {
        let mut stream = TcpStream::connect(&feed.address).unwrap();
        write!(
            stream,
            "PUT /api/v2/package/ HTTP/1.1\r\nHost: a\r\nX-NuGet-ApiKey: {ADMIN}\r\nTransfer-Encoding: chunked\r\n\
             Content-Type: multipart/form-data; boundary=b-1\r\n\r\n"
        )
        .unwrap();
        if part > 0 {
            write!(stream, "{part:x}\r\n").unwrap();
            stream.write_all(&body[..part]).unwrap();
            stream.write_all(b"\r\n").unwrap();
        }
        wait_for("the upload's file", || {
            (!feed.files("incoming").is_empty()).then_some(())
        });
        feed.kill();
        feed.restart();
        assert_eq!(
            assert_whole(&feed, "acme").into_keys().collect::<Vec<_>>(),
            ["1.0.0"]
        );
    }
    assert_eq!(
        feed.push(&large_package("acme", "2.0.0", 2_000_000)).status,
        201
    );
    assert_eq!(assert_whole(&feed, "acme").len(), 2);
}

#[test]
fn after_kills_at_any_moment_each_package_is_whole_or_absent() {
    let mut feed = TestFeed::start("");
    let mut acknowledged = BTreeMap::new();
    let mut number = 0;
    for round in 0..12_u64 {
        // From the first bytes of the first push to some pushes later.
        let delay = Duration::from_millis(round * 7 % 40);
        let address = feed.address.clone();
        let first = number;
        let pushed = thread::scope(|scope| {
            let pusher = scope.spawn(move || push_until_killed(&address, first));
            thread::sleep(delay);
            feed.kill();
            pusher.join().unwrap()
        });
        number += pushed.len() as u32 + 1;
        acknowledged.extend(pushed);
        feed.restart();
        let found = assert_whole(&feed, "acme");
        for (version, bytes) in &acknowledged {
            assert!(
                found.get(version) == Some(bytes),
                "round {round}: {version} was acknowledged and is lost"
            );
        }
    }
    // At most the push that was cut may be there beyond the acknowledged ones of each round.
    assert!(assert_whole(&feed, "acme").len() <= acknowledged.len() + 12);
    assert_eq!(feed.stop(), Some(0));
    let (code, output) = feed.maintain("check");
    assert_eq!(code, Some(0), "{output}");
}

/// Pushes version after version until the feed is gone; returns what the feed acknowledged.
fn push_until_killed(address: &str, first: u32) -> BTreeMap<String, Vec<u8>> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .into();
    let mut acknowledged = BTreeMap::new();
    for number in first.. {
        let version = format!("1.{number}.0");
        let bytes = large_package("acme", &version, 50_000);
        let push = |path: &str, bytes: &[u8]| {
            let request = agent
                .put(format!("http://{address}{path}"))
                .header("X-NuGet-ApiKey", ADMIN)
                .header("Content-Type", "multipart/form-data; boundary=b-1");
            let answer = request.send(multipart(bytes)).ok()?;
            assert_eq!(answer.status().as_u16(), 201);
            Some(())
        };
        if push("/api/v2/package", &bytes).is_none() {
            break;
        }
        acknowledged.insert(version.clone(), bytes);
        if push("/api/v2/symbolpackage", &symbols("acme", &version)).is_none() {
            break;
        }
    }
    acknowledged
}
