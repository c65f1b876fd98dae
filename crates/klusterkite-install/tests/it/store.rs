use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use klusterkite_install::{
    Cancel, ContentStore, Error, FeedCredential, FeedSource, FetchLimits, FetchProgress, Trust,
};
use klusterkite_wire::Secret;
use klusterkite_wire::start::PackageReference;

use crate::feed::{Packages, pack, reference};
use crate::server::{Response, Server};

/// Limits with which a test that counts on failures ends soon.
const QUICK: FetchLimits = FetchLimits {
    connect: Duration::from_secs(5),
    idle: Duration::from_secs(5),
    retries_max: 3,
    retry_pause: Duration::from_millis(1),
};

pub(crate) fn source(server: &Server) -> FeedSource {
    let service_index = format!("{}/v3/index.json", server.url());
    FeedSource {
        service_index,
        mirrors: Vec::new(),
        credential: None,
        trust: Trust::System,
        limits: QUICK,
    }
}

fn nobody() -> FeedSource {
    let service_index = "http://127.0.0.1:1/v3/index.json".to_owned();
    FeedSource {
        service_index,
        mirrors: Vec::new(),
        credential: None,
        trust: Trust::System,
        limits: QUICK,
    }
}

fn ensure(
    store: &ContentStore,
    packages: &[PackageReference],
    source: &FeedSource,
) -> Result<Vec<String>, Error> {
    store.ensure(packages, source, &|_| {}, &Cancel::new())
}

/// Names of packages and partial files.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != "verified.json").collect();
    names.sort();
    names
}

pub(crate) fn stored_path(store: &Path, package: &PackageReference) -> PathBuf {
    let hash: klusterkite_nuget::Sha512Hash = package.sha512.parse().unwrap();
    store.join(hash.hex() + ".nupkg")
}

/// Changes the record of a package in the store's index.
fn edit_record(
    store: &Path,
    package: &PackageReference,
    edit: impl FnOnce(&mut serde_json::Value),
) {
    let hash: klusterkite_nuget::Sha512Hash = package.sha512.parse().unwrap();
    let path = store.join("verified.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut index["packages"][hash.hex()]);
    fs::write(&path, index.to_string()).unwrap();
}

/// Damages a stored package as a disk does: neither its size nor any of its times tells.
fn rot(store: &Path, package: &PackageReference) {
    let path = stored_path(store, package);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let file = fs::metadata(&path).unwrap();
    let time = |seconds: i64, nanoseconds: i64| seconds * 1_000_000_000 + nanoseconds;
    let modified = time(file.mtime(), file.mtime_nsec());
    let changed = time(file.ctime(), file.ctime_nsec());
    edit_record(store, package, |record| {
        record["stamp"] = serde_json::json!([file.size(), file.ino(), modified, changed]);
    });
}

/// A package whose bytes do not compress away.
fn large(id: &str) -> Vec<u8> {
    let mut state = 1_u64;
    let mut noise = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b' ' + ((state >> 33) % 90) as u8)
    };
    let content: String = (0..100_000).map(|_| noise()).collect();
    pack(id, "1.0.0", &[("content/data", &content, false)], None)
}

#[test]
fn packages_that_are_there_are_not_fetched_again() {
    let packages = Packages::default();
    let mut wanted = Vec::new();
    for n in 0..9 {
        let id = format!("Acme.P{n}");
        let bytes = pack(&id, "1.0.0-Beta", &[("content/a", &id, false)], None);
        wanted.push(packages.add(&id, "1.0.0-Beta", bytes));
    }
    let (server, requests) = packages.serve();
    let directory = tempfile::tempdir().unwrap();
    let store = ContentStore::open(directory.path().join("a/store")).unwrap();
    assert!(!store.holds_all(&wanted).unwrap());

    let last = Mutex::new(FetchProgress { bytes: 0, total: 0 });
    let progress = |now: FetchProgress| {
        let mut last = last.lock().unwrap();
        if now.bytes >= last.bytes {
            *last = now;
        }
    };
    store
        .ensure(&wanted, &source(&server), &progress, &Cancel::new())
        .unwrap();
    let size = wanted.iter().map(|package| package.size).sum();
    assert_eq!(
        *last.lock().unwrap(),
        FetchProgress {
            bytes: size,
            total: size
        }
    );
    let downloads = requests.lock().unwrap();
    let downloads = downloads
        .iter()
        .filter(|request| request.path.starts_with("/flat"));
    assert_eq!(downloads.count(), 9);

    assert!(store.holds_all(&wanted).unwrap());
    drop(server);
    ensure(&store, &wanted, &nobody()).unwrap();
    assert_eq!(names(&directory.path().join("a/store")).len(), 9);
}

#[test]
fn a_download_that_breaks_off_is_resumed_where_it_was() {
    let packages = Packages::default();
    let wanted = packages.add("Acme", "1.0.0", large("Acme"));
    let tries = AtomicUsize::new(0);
    let ranges = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&ranges);
    let server = Server::start(move |request| {
        let response = packages.answer(request).unwrap();
        if !request.path.starts_with("/flat") {
            return response;
        }
        seen.lock()
            .unwrap()
            .push(request.header("range").map(str::to_owned));
        // More tries than retries are allowed: progress makes each failure the first one.
        let breaks_off = tries.fetch_add(1, Ordering::SeqCst) < 6;
        if breaks_off {
            response.cut_after(10_000)
        } else {
            response
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let store = ContentStore::open(directory.path()).unwrap();
    ensure(&store, slice::from_ref(&wanted), &source(&server)).unwrap();
    let ranges = ranges.lock().unwrap();
    assert_eq!(ranges.len(), 7);
    assert_eq!(ranges[0], None);
    assert_eq!(ranges[1].as_deref(), Some("bytes=10000-"));
    assert_eq!(ranges[6].as_deref(), Some("bytes=60000-"));
}

#[test]
fn a_partial_file_of_other_content_is_thrown_away() {
    let packages = Packages::default();
    let wanted = packages.add("Acme", "1.0.0", large("Acme"));
    let (server, _) = packages.serve();
    for length in [500, wanted.size as usize, wanted.size as usize + 5] {
        let directory = tempfile::tempdir().unwrap();
        let store = ContentStore::open(directory.path()).unwrap();
        ensure(&store, slice::from_ref(&wanted), &source(&server)).unwrap();
        let stored = directory.path().join(&names(directory.path())[0]);
        fs::remove_file(&stored).unwrap();
        fs::write(stored.with_extension("partial"), vec![b'x'; length]).unwrap();
        ensure(&store, slice::from_ref(&wanted), &source(&server)).unwrap();
        assert_eq!(fs::metadata(&stored).unwrap().len(), wanted.size);
        assert_eq!(names(directory.path()).len(), 1);
    }
}

#[test]
fn a_package_that_is_not_the_frozen_one_is_named_and_not_stored() {
    let packages = Packages::default();
    let mut bytes = large("Acme");
    let wanted = packages.add("Acme", "1.0.0", bytes.clone());
    let directory = tempfile::tempdir().unwrap();
    let store = ContentStore::open(directory.path()).unwrap();
    let (server, _) = packages.serve();

    bytes[100] ^= 1;
    packages.replace("Acme", "1.0.0", bytes.clone());
    let error = ensure(&store, slice::from_ref(&wanted), &source(&server)).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::WrongHash { .. }), "{text}");
    let got = reference("Acme", "1.0.0", &bytes).sha512;
    for part in [
        "`Acme 1.0.0`",
        &wanted.sha512,
        &got,
        "/flat/acme/1.0.0/acme.1.0.0.nupkg",
    ] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }

    bytes.pop();
    packages.replace("Acme", "1.0.0", bytes);
    let error = ensure(&store, slice::from_ref(&wanted), &source(&server)).unwrap_err();
    assert!(matches!(error, Error::WrongSize { .. }), "{error}");
    assert!(!store.holds_all(&[wanted]).unwrap());
}

#[test]
fn each_failure_of_the_feed_says_what_to_do_about_it() {
    let wanted = [reference("Acme", "1.0.0", b"x")];
    let index = |resources: &str| format!(r#"{{"version": "3.0.0", "resources": [{resources}]}}"#);
    let base = |url: &str| {
        index(&format!(
            r#"{{"@id": "{url}", "@type": "PackageBaseAddress/3.0.0"}}"#
        ))
    };
    let good = base("http://HOST/flat");
    let cases = [
        (
            200,
            good.clone(),
            404,
            "package `Acme 1.0.0` is not on the feed",
        ),
        (
            200,
            good.clone(),
            503,
            "status 503 for `http://HOST/flat/acme/1.0.0/acme.1.0.0.nupkg`",
        ),
        (200, good, 401, "check the feed's credential file"),
        (
            200,
            base("no url"),
            200,
            "the feed does not answer at `no url/acme",
        ),
        (
            200,
            index(""),
            200,
            "has no resource `PackageBaseAddress/3.0.0`",
        ),
        (
            200,
            "<html>".to_owned(),
            200,
            "service index `http://HOST/v3/index.json` cannot be used",
        ),
        (404, String::new(), 200, "the feed answered status 404"),
    ];
    for (index_status, index, package_status, expected) in cases {
        let server = Server::start(move |request| {
            let host = request.header("host").unwrap();
            if request.path == "/v3/index.json" {
                Response::new(index_status, index.replace("HOST", host))
            } else {
                Response::new(package_status, "")
            }
        });
        let directory = tempfile::tempdir().unwrap();
        let store = ContentStore::open(directory.path()).unwrap();
        let error = ensure(&store, &wanted, &source(&server))
            .unwrap_err()
            .to_string();
        let expected = expected.replace("HOST", &server.url().replace("http://", ""));
        assert!(error.contains(&expected), "{expected}: {error}");
    }
    let directory = tempfile::tempdir().unwrap();
    let store = ContentStore::open(directory.path()).unwrap();
    let error = ensure(&store, &wanted, &nobody()).unwrap_err();
    assert!(error.is_transient());
    assert!(
        error
            .to_string()
            .contains("http://127.0.0.1:1/v3/index.json"),
        "{error}"
    );
}

#[test]
fn a_feed_that_recovers_is_tried_again() {
    let packages = Packages::default();
    let wanted = packages.add("Acme", "1.0.0", large("Acme"));
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |request| match tries.fetch_add(1, Ordering::SeqCst) {
        0 | 2 => Response::new(502, ""),
        3 => Response::new(429, ""),
        _ => packages.answer(request).unwrap(),
    });
    let directory = tempfile::tempdir().unwrap();
    let store = ContentStore::open(directory.path()).unwrap();
    ensure(&store, &[wanted], &source(&server)).unwrap();
}

#[test]
fn the_credential_is_sent_with_every_read() {
    let packages = Packages::default();
    let wanted = packages.add("Acme", "1.0.0", large("Acme"));
    let (server, requests) = packages.serve();
    let directory = tempfile::tempdir().unwrap();
    let store = ContentStore::open(directory.path()).unwrap();
    let mut source = source(&server);
    source.credential = Some(FeedCredential::from_api_key(Secret::new("key")));
    ensure(&store, &[wanted], &source).unwrap();
    let requests = requests.lock().unwrap();
    assert_eq!(requests.len(), 2);
    for request in requests.iter() {
        assert_eq!(
            request.header("authorization"),
            Some("Basic a2x1c3RlcmtpdGU6a2V5")
        );
    }
}

#[test]
fn one_package_is_downloaded_once_for_everybody_who_wants_it() {
    let packages = Packages::default();
    let wanted = packages.add("Acme", "1.0.0", large("Acme"));
    let (server, requests) = packages.serve();
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let store = ContentStore::open(directory.path()).unwrap();
                ensure(&store, slice::from_ref(&wanted), &source(&server)).unwrap();
            });
        }
    });
    let requests = requests.lock().unwrap();
    let downloads = requests
        .iter()
        .filter(|request| request.path.starts_with("/flat"));
    assert_eq!(downloads.count(), 1);
    assert_eq!(names(directory.path()).len(), 1);
}

#[test]
fn references_that_could_not_be_verified_are_refused() {
    let good = reference("Acme", "1.0.0", b"x");
    let text = str::to_owned;
    let cases = [
        (
            PackageReference {
                sha512: text(""),
                ..good.clone()
            },
            "is not a SHA-512 hash",
        ),
        (
            PackageReference {
                size: 0,
                ..good.clone()
            },
            "package `Acme 1.0.0` has a size that is not",
        ),
        (
            PackageReference {
                size: u64::MAX,
                ..good.clone()
            },
            "`Acme 1.0.0` has a size that is not",
        ),
        (
            PackageReference {
                id: text("../x"),
                ..good.clone()
            },
            "is not a package id",
        ),
        (
            PackageReference {
                version: text("latest"),
                ..good.clone()
            },
            "is not a version",
        ),
    ];
    let directory = tempfile::tempdir().unwrap();
    let store = ContentStore::open(directory.path()).unwrap();
    for (package, expected) in cases {
        let error = store.holds_all(&[package]).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        let text = format!("{error}: {}", source.unwrap_or_default());
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let twice = PackageReference {
        id: text("ACME"),
        ..good.clone()
    };
    let error = store.holds_all(&[good, twice]).unwrap_err().to_string();
    assert!(error.contains("package `ACME` is there twice"), "{error}");
}

#[test]
fn garbage_collection_takes_what_was_not_used_for_longest_and_never_what_is_pinned() {
    let directory = tempfile::tempdir().unwrap();
    let store = ContentStore::open(directory.path()).unwrap();
    let packages = Packages::default();
    let (server, _) = packages.serve();
    let mut all = Vec::new();
    for n in 0..4 {
        let id = format!("P{n}");
        let bytes = pack(&id, "1.0.0", &[("content/a", "same size", false)], None);
        let package = packages.add(&id, "1.0.0", bytes);
        ensure(&store, slice::from_ref(&package), &source(&server)).unwrap();
        edit_record(directory.path(), &package, |record| {
            record["used"] = (n * 100_000).into();
        });
        all.push(package);
    }
    fs::write(directory.path().join("left.partial"), "left by a kill").unwrap();
    // Its use makes the second oldest the newest.
    ensure(&store, &all[1..2], &source(&server)).unwrap();
    let freed = store
        .collect_garbage(all[0].size + all[1].size + 14, &all[0..1])
        .unwrap();
    assert_eq!(freed, all[2].size + all[3].size);
    let held = all
        .iter()
        .map(|package| store.holds_all(slice::from_ref(package)).unwrap());
    assert_eq!(held.collect::<Vec<_>>(), [true, true, false, false]);
    assert!(directory.path().join("verified.json").exists());
}

#[test]
fn damage_that_no_time_tells_is_found_by_reading_again_and_dropped() {
    let packages = Packages::default();
    let good = packages.add("Good", "1.0.0", large("Good"));
    let bad = packages.add("Bad", "1.0.0", large("Bad"));
    let both = [good.clone(), bad.clone()];
    let (server, _) = packages.serve();
    let directory = tempfile::tempdir().unwrap();
    let store = ContentStore::open(directory.path()).unwrap();
    ensure(&store, &both, &source(&server)).unwrap();
    rot(directory.path(), &bad);
    assert!(
        ensure(&store, &both, &nobody()).unwrap().is_empty(),
        "it is trusted"
    );

    let check = |age| store.check_again(age, Duration::ZERO, &Cancel::new());
    assert!(
        check(Duration::from_hours(1)).unwrap().is_empty(),
        "young hashes are believed"
    );
    edit_record(directory.path(), &bad, |record| {
        record["checked"] = 0.into();
    });
    assert_eq!(check(Duration::from_hours(1)).unwrap(), ["Bad 1.0.0"]);
    assert!(store.holds_all(slice::from_ref(&good)).unwrap());
    assert!(!store.holds_all(slice::from_ref(&bad)).unwrap());
    ensure(&store, &both, &source(&server)).unwrap();
    assert!(check(Duration::ZERO).unwrap().is_empty());
    assert!(store.holds_all(&both).unwrap());
}

#[test]
fn a_lost_or_broken_index_costs_a_hash_and_nothing_else() {
    let packages = Packages::default();
    let wanted = packages.add("Acme", "1.0.0", large("Acme"));
    let (server, _) = packages.serve();
    let directory = tempfile::tempdir().unwrap();
    let store = ContentStore::open(directory.path()).unwrap();
    let index = directory.path().join("verified.json");
    ensure(&store, slice::from_ref(&wanted), &source(&server)).unwrap();
    for content in ["", "{", "{\"packages\": 3}", "garbage"] {
        fs::write(&index, content).unwrap();
        ensure(&store, slice::from_ref(&wanted), &nobody()).unwrap();
        assert!(fs::read_to_string(&index).unwrap().contains("Acme 1.0.0"));
        rot(directory.path(), &wanted);
        fs::remove_file(&index).unwrap();
        let again = ensure(&store, slice::from_ref(&wanted), &source(&server));
        assert_eq!(again.unwrap(), ["Acme 1.0.0"], "it was not trusted");
    }
}

#[test]
fn mirrors_are_asked_first_and_the_feed_when_they_do_not_serve() {
    let packages = Packages::default();
    let wanted = packages.add("Acme", "1.0.0", large("Acme"));
    let (feed, asked) = packages.serve();
    let (mirror, _) = packages.serve();
    let empty = Packages::default();
    let (empty, _) = empty.serve();
    let wrong = Packages::default();
    wrong.replace("Acme", "1.0.0", large("Emca"));
    let (wrong, _) = wrong.serve();
    let busy = Server::start(|_| Response::new(503, ""));
    let index = |server: &Server| format!("{}/v3/index.json", server.url());
    let away = nobody().service_index;
    for (mirrors, serves) in [
        (vec![index(&mirror)], false),
        (vec![away.clone(), index(&mirror)], false),
        (vec![away], true),
        (vec![index(&empty)], true),
        (vec![index(&wrong)], true),
        (vec![index(&busy)], true),
    ] {
        asked.lock().unwrap().clear();
        let directory = tempfile::tempdir().unwrap();
        let store = ContentStore::open(directory.path()).unwrap();
        let mut source = source(&feed);
        source.credential = Some(FeedCredential::from_api_key(Secret::new("key")));
        source.mirrors.clone_from(&mirrors);
        ensure(&store, slice::from_ref(&wanted), &source).unwrap();
        let asked = asked.lock().unwrap().len();
        assert_eq!(asked > 0, serves, "{mirrors:?}");
    }
}

#[test]
fn a_mirror_gets_no_credential() {
    let packages = Packages::default();
    let wanted = packages.add("Acme", "1.0.0", large("Acme"));
    let (mirror, requests) = packages.serve();
    let directory = tempfile::tempdir().unwrap();
    let store = ContentStore::open(directory.path()).unwrap();
    let mut source = nobody();
    source.mirrors = vec![format!("{}/v3/index.json", mirror.url())];
    source.credential = Some(FeedCredential::from_api_key(Secret::new("key")));
    ensure(&store, &[wanted], &source).unwrap();
    let requests = requests.lock().unwrap();
    assert_eq!(requests.len(), 2);
    let has_key = |request: &crate::server::Request| request.header("authorization").is_some();
    assert!(!requests.iter().any(has_key));
}

#[test]
fn a_feed_that_drips_or_lies_about_the_size_is_given_up() {
    type Spoil = fn(Response, u64) -> Response;
    let spoilers: [(&str, Spoil, &str); 4] = [
        (
            "drips",
            |response, _| response.drip(Duration::from_millis(20)),
            "does not answer",
        ),
        (
            "announces more",
            |response, size| response.announce(size + 1),
            "is not the frozen package",
        ),
        (
            "announces less",
            |response, size| response.announce(size - 1),
            "is not the frozen package",
        ),
        (
            "resets at once",
            |response, _| response.cut_after(0),
            "does not answer",
        ),
    ];
    for (what, spoil, expected) in spoilers {
        let packages = Packages::default();
        let wanted = packages.add("Acme", "1.0.0", large("Acme"));
        let size = wanted.size;
        let server = Server::start(move |request| {
            let response = packages.answer(request).unwrap();
            if request.path.starts_with("/flat") {
                spoil(response, size)
            } else {
                response
            }
        });
        let directory = tempfile::tempdir().unwrap();
        let store = ContentStore::open(directory.path()).unwrap();
        let mut source = source(&server);
        source.limits.idle = Duration::from_millis(200);
        let error = ensure(&store, slice::from_ref(&wanted), &source).unwrap_err();
        assert!(error.to_string().contains(expected), "{what}: {error}");
        assert!(!store.holds_all(&[wanted]).unwrap(), "{what}");
    }
}

#[test]
fn a_download_is_resumed_by_another_process_and_the_whole_is_verified() {
    let packages = Packages::default();
    let bytes = large("Acme");
    let wanted = packages.add("Acme", "1.0.0", bytes.clone());
    let (server, requests) = packages.serve();
    for (left, range) in [(&bytes[..40_000], Some("bytes=40000-")), (&bytes[..], None)] {
        requests.lock().unwrap().clear();
        let directory = tempfile::tempdir().unwrap();
        let store = ContentStore::open(directory.path()).unwrap();
        let partial = stored_path(directory.path(), &wanted).with_extension("partial");
        fs::write(&partial, left).unwrap();
        let progress = Mutex::new(Vec::new());
        let note = |now: FetchProgress| progress.lock().unwrap().push(now.bytes);
        store
            .ensure(
                slice::from_ref(&wanted),
                &source(&server),
                &note,
                &Cancel::new(),
            )
            .unwrap();
        assert_eq!(
            fs::read(stored_path(directory.path(), &wanted)).unwrap(),
            bytes
        );
        let requests = requests.lock().unwrap();
        let download = requests
            .iter()
            .find(|request| request.path.starts_with("/flat"));
        assert_eq!(download.and_then(|request| request.header("range")), range);
        assert_eq!(download.is_some(), range.is_some());
        let progress = progress.lock().unwrap();
        assert_eq!(progress.first(), Some(&(left.len() as u64)));
        assert_eq!(progress.last(), Some(&wanted.size));
    }
}

#[test]
fn a_cancelled_download_ends_and_can_be_resumed() {
    let packages = Packages::default();
    let wanted = packages.add("Acme", "1.0.0", large("Acme"));
    let (server, _) = packages.serve();
    let directory = tempfile::tempdir().unwrap();
    let store = ContentStore::open(directory.path()).unwrap();
    let cancel = Cancel::new();
    let wanted = slice::from_ref(&wanted);
    let result = store.ensure(wanted, &source(&server), &|_| cancel.cancel(), &cancel);
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    ensure(&store, wanted, &source(&server)).unwrap();
}

#[test]
fn a_store_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = ContentStore::open(file.join("store"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("file/store"), "{error}");
}
