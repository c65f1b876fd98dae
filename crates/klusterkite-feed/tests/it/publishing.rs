//! Push, unlist, relist, purge and pins.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use klusterkite_nuget::{PackageBuilder, Sha512Hash};
use klusterkite_tests::disk::SmallDisk;

use crate::harness::{ADMIN, TestFeed, large_package, multipart, nuspec, package};

fn auth() -> [(&'static str, &'static str); 1] {
    [("X-NuGet-ApiKey", ADMIN)]
}

/// What must be true after a refused push.
fn assert_empty(feed: &TestFeed) {
    assert!(feed.files("incoming").is_empty());
    assert!(feed.files("blobs").is_empty());
    assert_eq!(feed.get("/v3/search").json()["totalHits"], 0);
}

#[test]
fn a_pushed_package_comes_back_byte_for_byte() {
    let feed = TestFeed::start("");
    let bytes = large_package("Acme.Large", "1.0.0-RC.1", 3_000_000);
    let answer = feed.push(&bytes);
    assert_eq!(answer.status, 201);
    let url = answer.header("location");
    assert!(
        url.ends_with("/v3/flat/acme.large/1.0.0-rc.1/acme.large.1.0.0-rc.1.nupkg"),
        "{url}"
    );
    let answer = feed.get("/v3/flat/Acme.Large/1.0.0-RC.1/Acme.Large.1.0.0-RC.1.NUPKG");
    assert_eq!(answer.status, 200);
    assert!(answer.body == bytes, "other bytes");
    assert_eq!(
        answer.header("etag"),
        format!("\"{}\"", Sha512Hash::of(&bytes).hex())
    );
    let head = feed.call(
        "HEAD",
        "/v3/flat/acme.large/1.0.0-rc.1/acme.large.1.0.0-rc.1.nupkg",
        &auth(),
        Vec::new(),
    );
    assert_eq!(head.header("content-length"), bytes.len().to_string());
}

#[test]
fn an_interrupted_download_can_be_resumed() {
    let feed = TestFeed::start("");
    let bytes = package("Acme.A", "1.0.0");
    feed.push(&bytes);
    let get = |headers: &[(&str, &str)]| {
        let headers = [&auth()[..], headers].concat();
        feed.call(
            "GET",
            "/v3/flat/acme.a/1.0.0/acme.a.1.0.0.nupkg",
            &headers,
            Vec::new(),
        )
    };
    let tag = get(&[]).header("etag");
    let rest = get(&[("Range", "bytes=100-"), ("If-Range", &tag)]);
    assert_eq!((rest.status, rest.body.as_slice()), (206, &bytes[100..]));
    assert_eq!(
        rest.header("content-range"),
        format!("bytes 100-{}/{}", bytes.len() - 1, bytes.len())
    );
    assert_eq!(
        get(&[("Range", "bytes=100-"), ("If-Range", "\"other\"")]).body,
        bytes
    );
    assert_eq!(get(&[("Range", "bytes=9999999-")]).status, 416);
    assert_eq!(get(&[("If-None-Match", &tag)]).status, 304);
}

#[test]
fn a_version_is_never_overwritten() {
    let feed = TestFeed::start("");
    let first = package("Acme.A", "1.0.0");
    assert_eq!(feed.push(&first).status, 201);
    for second in [
        first.clone(),
        package("ACME.a", "1.0.0+other"),
        large_package("Acme.A", "1.0", 1000),
    ] {
        let answer = feed.push(&second);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (409, "versionExists")
        );
    }
    assert_eq!(
        feed.get("/v3/flat/acme.a/1.0.0/acme.a.1.0.0.nupkg").body,
        first
    );
    assert_eq!(feed.files("blobs").len(), 1);
}

#[test]
fn concurrent_pushes_of_one_version_have_one_winner() {
    let feed = TestFeed::start("");
    let packages: Vec<Vec<u8>> = (0..8)
        .map(|index| large_package("Acme.A", "1.0.0", 10_000 + index))
        .collect();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let pushes: Vec<_> = packages
            .iter()
            .map(|package| scope.spawn(|| feed.push(package).status))
            .collect();
        pushes
            .into_iter()
            .map(|push| push.join().unwrap())
            .collect()
    });
    assert_eq!(
        statuses.iter().filter(|status| **status == 201).count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|status| **status == 409).count(),
        7,
        "{statuses:?}"
    );
    let served = feed.get("/v3/flat/acme.a/1.0.0/acme.a.1.0.0.nupkg").body;
    let winner = statuses.iter().position(|status| *status == 201).unwrap();
    assert!(served == packages[winner]);
    assert_eq!(feed.files("blobs").len(), 1);
}

#[test]
fn uploads_that_are_no_packages_are_refused_and_leave_nothing() {
    let feed = TestFeed::start("");
    for body in [
        Vec::new(),
        b"PK".to_vec(),
        vec![0; 100_000],
        package("Acme.A", "1.0.0")[..500].to_vec(),
    ] {
        let answer = feed.push(&body);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "packageInvalid")
        );
    }
    let headers = [
        ("X-NuGet-ApiKey", ADMIN),
        ("Content-Type", "application/octet-stream"),
    ];
    assert_eq!(
        feed.call("PUT", "/api/v2/package", &headers, package("A", "1"))
            .code(),
        "badRequest"
    );
    let headers = [
        ("X-NuGet-ApiKey", ADMIN),
        ("Content-Type", "multipart/form-data; boundary=b-1"),
    ];
    for body in [&b""[..], b"garbage", b"--b-1--\r\n", b"--b-1\r\n\r\nno end"] {
        assert_eq!(
            feed.call("PUT", "/api/v2/package", &headers, body.to_vec())
                .status,
            400
        );
    }
    assert_empty(&feed);
}

#[test]
fn packages_that_would_leave_their_directory_are_refused_by_name() {
    let feed = TestFeed::start("");
    // Same length, so only the name changes in the archive.
    let bytes = PackageBuilder::new(nuspec("Acme.A", "1.0.0"))
        .file("content/evil", "x", false)
        .to_bytes()
        .unwrap();
    let mut text = bytes.clone();
    for position in 0..text.len() - 12 {
        if &text[position..position + 12] == b"content/evil" {
            text[position..position + 12].copy_from_slice(b"..//../.evil");
        }
    }
    assert_ne!(text, bytes);
    let answer = feed.push(&text);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "packageInvalid")
    );
    assert!(answer.json()["detail"].as_str().unwrap().contains("evil"));
    assert_empty(&feed);
}

#[test]
fn bombs_are_refused() {
    let feed = TestFeed::start("limits { entryBytes = 1 MiB, entries = 20 }");
    let zeros = PackageBuilder::new(nuspec("Acme.A", "1.0.0")).file(
        "content/zeros",
        vec![0; 2 << 20],
        false,
    );
    let answer = feed.push(&zeros.to_bytes().unwrap());
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "packageInvalid")
    );
    let mut many = PackageBuilder::new(nuspec("Acme.A", "1.0.0"));
    for index in 0..30 {
        many = many.file(&format!("content/{index}"), "x", false);
    }
    assert_eq!(
        feed.push(&many.to_bytes().unwrap()).code(),
        "packageInvalid"
    );
    assert_empty(&feed);
}

#[test]
fn a_manifest_that_cannot_be_understood_is_refused() {
    let feed = TestFeed::start("");
    for manifest in [
        "roles = [",
        "rolls = [orders]",
        "processes { orders { command = 5 } }",
    ] {
        let broken = PackageBuilder::new(nuspec("Acme.A", "1.0.0")).manifest(manifest);
        let answer = feed.push(&broken.to_bytes().unwrap());
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "manifestInvalid"),
            "{manifest}"
        );
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("Acme.A"), "{detail}");
    }
    assert_empty(&feed);
}

#[test]
fn too_large_packages_are_refused_and_leave_nothing() {
    let feed = TestFeed::start("limits.packageBytes = 100 KiB");
    let answer = feed.push(&large_package("Acme.A", "1.0.0", 150_000));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (413, "packageTooLarge")
    );
    let answer = feed.push(&large_package("Acme.A", "1.0.0", 400_000));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (413, "packageTooLarge")
    );
    assert_empty(&feed);
}

#[test]
fn a_full_disk_refuses_a_push_and_leaves_nothing() {
    let mut feed = TestFeed::start("limits.freeBytes = 1 EiB");
    let answer = feed.push(&package("Acme.A", "1.0.0"));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (507, "storageFull")
    );
    assert_empty(&feed);
    assert_eq!(feed.stop(), Some(0));

    // Files may not grow beyond 512 KiB: writing fails in the middle of the upload.
    let mut feed = TestFeed::prepare("");
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_klusterkite-feed");
    command
        .arg("-c")
        .arg("trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$1\"")
        .arg(program)
        .arg(feed.settings_path());
    feed.restart_as(command);
    let answer = feed.push(&large_package("Acme.A", "1.0.0", 2_000_000));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (507, "storageFull")
    );
    assert_empty(&feed);
    assert_eq!(feed.push(&package("Acme.A", "1.0.0")).status, 201);
}

#[test]
fn a_disk_that_becomes_full_refuses_pushes_serves_on_and_takes_more_when_there_is_room() {
    let mut feed = TestFeed::prepare("limits.freeBytes = 0");
    std::fs::create_dir(feed.data()).unwrap();
    let Some(_mount) = SmallDisk::mount(feed.data(), 1) else {
        return;
    };
    feed.restart();
    let mut pushed = Vec::new();
    let refused = loop {
        let version = format!("{}.0.0", pushed.len() + 1);
        let answer = feed.push(&large_package("Acme.A", &version, 150_000));
        if answer.status != 201 {
            break answer;
        }
        pushed.push(version);
        assert!(pushed.len() < 20, "the disk never becomes full");
    };
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (507, "storageFull")
    );
    assert!(feed.files("incoming").is_empty());
    for version in &pushed {
        let path = format!("/v3/flat/acme.a/{version}/acme.a.{version}.nupkg");
        assert_eq!(feed.get(&path).status, 200, "{version}");
    }
    // Room can be made on the full disk itself.
    let purge = format!("/api/v2/package/Acme.A/{}?purge=true", pushed[0]);
    let purged = feed.call("DELETE", &purge, &auth(), Vec::new());
    assert!(purged.status < 300, "{purged:?}");
    let again = feed.push(&large_package("Acme.A", "9.0.0", 100_000));
    assert_eq!(again.status, 201, "{again:?}");
}

#[test]
fn a_package_damaged_in_any_way_is_refused_or_whole() {
    let feed = TestFeed::start("");
    let whole = package("Acme.A", "1.0.0");
    let mut state = 1_u64;
    let mut random = |below: usize| {
        // Knuth's multiplier; the upper bits are the good ones.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for round in 0..300 {
        let mut bytes = whole.clone();
        match round % 3 {
            0 => bytes.truncate(random(whole.len())),
            1 => {
                for _ in 0..=random(8) {
                    let at = random(whole.len());
                    bytes[at] = random(256) as u8;
                }
            }
            _ => {
                let (at, length) = (random(whole.len()), random(64));
                bytes.splice(at..at, vec![random(256) as u8; length]);
            }
        }
        let answer = feed.push(&bytes);
        let status = answer.status;
        // Some bytes, such as a time, may differ without harm; the first such package is there then.
        assert!([201, 400, 409].contains(&status), "{round}: {answer:?}");
    }
    assert!(feed.files("incoming").is_empty());
    assert!(!feed.log().contains("panicked"), "{}", feed.log());
}

/// Sends a request head and a part of the body on a raw connection.
fn half_a_push(feed: &TestFeed, head: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(&feed.address).unwrap();
    let head = format!(
        "PUT /api/v2/package/ HTTP/1.1\r\nHost: {}\r\nX-NuGet-ApiKey: {ADMIN}\r\n\
         Content-Type: multipart/form-data; boundary=\"b-1\"\r\n{head}\r\n\r\n",
        feed.address
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    stream
}

#[test]
fn a_chunked_push_as_nuget_sends_it_is_accepted_and_a_refusal_stands_in_the_status_line() {
    let feed = TestFeed::start("");
    let push = || {
        let body = multipart(&package("Acme.A", "1.0.0"));
        let mut stream = half_a_push(
            &feed,
            "Transfer-Encoding: chunked\r\nConnection: close",
            b"",
        );
        for chunk in body.chunks(300) {
            write!(stream, "{:x}\r\n", chunk.len()).unwrap();
            stream.write_all(chunk).unwrap();
            stream.write_all(b"\r\n").unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.lines().next().unwrap().to_owned()
    };
    assert_eq!(push(), "HTTP/1.1 201 Created");
    let refused = push();
    assert!(
        refused.starts_with("HTTP/1.1 409 package `Acme.A` `1.0.0` exists already"),
        "{refused}"
    );
}

#[test]
fn a_client_that_goes_away_leaves_nothing() {
    let feed = TestFeed::start("");
    let body = multipart(&large_package("Acme.A", "1.0.0", 1_000_000));
    let stream = half_a_push(
        &feed,
        &format!("Content-Length: {}", body.len()),
        &body[..500_000],
    );
    crate::harness::wait_for("the upload's file", || {
        (!feed.files("incoming").is_empty()).then_some(())
    });
    drop(stream);
    crate::harness::wait_for("the upload's end", || {
        feed.files("incoming").is_empty().then_some(())
    });
    assert_empty(&feed);
}

#[test]
fn an_unlisted_version_is_hidden_from_searches_only() {
    let feed = TestFeed::start("");
    feed.push(&package("Acme.A", "1.0.0"));
    feed.push(&package("Acme.A", "2.0.0+meta"));
    let version_path = "/api/v2/package/Acme.A/2.0.0+meta";
    for _ in 0..2 {
        assert_eq!(
            feed.call("DELETE", version_path, &auth(), Vec::new())
                .status,
            204
        );
    }
    assert_eq!(
        feed.get("/v3/search?q=acme").json()["data"][0]["version"],
        "1.0.0"
    );
    assert_eq!(
        feed.get("/v3/flat/acme.a/index.json").json()["versions"][1],
        "2.0.0"
    );
    assert_eq!(
        feed.get("/v3/flat/acme.a/2.0.0/acme.a.2.0.0.nupkg").status,
        200
    );
    assert_eq!(
        feed.get("/v3/facts/acme.a/2.0.0.json").json()["listed"],
        false
    );
    assert_eq!(
        feed.call("POST", version_path, &auth(), Vec::new()).status,
        200
    );
    let query = "/v3/search?q=acme&semVerLevel=2.0.0";
    assert_eq!(feed.get(query).json()["data"][0]["version"], "2.0.0+meta");
    for path in [
        "/api/v2/package/Acme.A/9.0.0",
        "/api/v2/package/Other/1.0.0",
        "/api/v2/package/a..b/x",
    ] {
        assert_eq!(
            feed.call("DELETE", path, &auth(), Vec::new()).code(),
            "notFound"
        );
    }
}

#[test]
fn purge_removes_the_bytes_but_not_what_a_cluster_pins() {
    let feed = TestFeed::start("");
    let bytes = package("Acme.A", "1.0.0");
    feed.push(&bytes);
    let pin = |list: &str| {
        feed.call("PUT", "/pins/main", &auth(), list.as_bytes().to_vec())
            .status
    };
    let purge = || {
        feed.call(
            "DELETE",
            "/api/v2/package/Acme.A/1.0.0?purge=true",
            &auth(),
            Vec::new(),
        )
    };
    assert_eq!(
        pin(r#"[{"id": "acme.a", "version": "1.0"}, {"id": "Other", "version": "2.0.0"}]"#),
        204
    );
    let answer = purge();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (409, "versionPinned")
    );
    assert!(answer.json()["detail"].as_str().unwrap().contains("`main`"));
    assert_eq!(
        feed.get("/v3/flat/acme.a/1.0.0/acme.a.1.0.0.nupkg").body,
        bytes
    );

    assert_eq!(pin("[]"), 204);
    assert_eq!(purge().status, 204);
    assert_eq!(purge().status, 404);
    assert!(feed.files("blobs").is_empty());
    assert_eq!(feed.get("/v3/flat/acme.a/index.json").status, 404);

    // Whoever froze the hash must never get other bytes under the same version.
    let answer = feed.push(&large_package("Acme.A", "1.0.0", 1000));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (409, "versionPurged")
    );
    assert_eq!(feed.push(&bytes).status, 201);
}

#[test]
fn pins_that_cannot_be_understood_are_refused() {
    let feed = TestFeed::start("");
    for (path, body) in [
        ("/pins/main", "{}"),
        ("/pins/main", "[{\"id\": \"a\"}]"),
        ("/pins/main", "[{\"id\": \"a/b\", \"version\": \"1\"}]"),
        ("/pins/a%2Fb", "[]"),
    ] {
        assert_eq!(
            feed.call("PUT", path, &auth(), body.as_bytes().to_vec())
                .code(),
            "badRequest",
            "{path} {body}"
        );
    }
}
