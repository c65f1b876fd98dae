//! Starting, stopping, checking and repairing.

use std::fs;
use std::process::Command;

use crate::harness::{TestFeed, package};

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_klusterkite-feed"))
        .args(arguments)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a_taken_address_ends_the_start_with_code_2_and_names_the_address() {
    let feed = TestFeed::start("");
    let settings = fs::read_to_string(feed.settings_path()).unwrap();
    let settings = settings
        .replace("127.0.0.1:0", &feed.address)
        .replace("= data", "= other");
    let second = feed.settings_path().with_file_name("second.hocon");
    fs::write(&second, settings).unwrap();
    let (code, message) = run(&[second.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{message}");
    assert!(message.contains(&feed.address), "{message}");
}

#[test]
fn a_directory_in_use_is_refused() {
    let feed = TestFeed::start("");
    let settings = fs::read_to_string(feed.settings_path()).unwrap();
    let second = feed.settings_path().with_file_name("second.hocon");
    fs::write(&second, settings.replace("= address", "= address2")).unwrap();
    let (code, message) = run(&[second.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{message}");
    assert!(
        message.contains("in use by another feed process"),
        "{message}"
    );
    assert_eq!(feed.maintain("check").0, Some(1));
}

#[test]
fn wrong_settings_and_arguments_end_the_start_with_code_2() {
    let feed = TestFeed::prepare("tls { certificate = none.pem, key = none.key }");
    let (code, message) = run(&[feed.settings_path().to_str().unwrap()]);
    assert_eq!(code, Some(2), "{message}");
    assert!(message.contains("none.pem"), "{message}");
    for arguments in [&[][..], &["--serve"], &["check"], &["/nowhere/feed.hocon"]] {
        assert_eq!(run(arguments).0, Some(2), "{arguments:?}");
    }
    let (code, message) = run(&["/dev/zero"]);
    assert_eq!(code, Some(2));
    assert!(message.contains("cannot read `/dev/zero`"), "{message}");
    let (code, message) = run(&["check", "/nowhere"]);
    assert_eq!(code, Some(1));
    assert!(message.contains("/nowhere"), "{message}");
}

#[test]
fn a_stop_lets_everything_survive() {
    let mut feed = TestFeed::start("");
    let bytes = package("Acme.A", "1.0.0");
    feed.push(&bytes);
    assert_eq!(feed.stop(), Some(0));
    feed.restart();
    assert_eq!(
        feed.get("/v3/flat/acme.a/1.0.0/acme.a.1.0.0.nupkg").body,
        bytes
    );
}

#[test]
fn a_lost_index_stops_the_start_and_can_be_made_anew() {
    let mut feed = TestFeed::start("");
    let bytes = package("Acme.A", "1.0.0");
    feed.push(&bytes);
    feed.stop();
    for name in feed
        .files(".")
        .into_iter()
        .filter(|name| name.starts_with("index.sqlite"))
    {
        fs::remove_file(feed.data().join(name)).unwrap();
    }
    let (code, message) = run(&[feed.settings_path().to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(message.contains("reindex"), "{message}");
    let (code, output) = feed.maintain("reindex");
    assert_eq!(code, Some(0), "{output}");
    assert!(
        output.contains("listed package `Acme.A` `1.0.0`"),
        "{output}"
    );
    feed.restart();
    assert_eq!(
        feed.get("/v3/flat/acme.a/1.0.0/acme.a.1.0.0.nupkg").body,
        bytes
    );
}

#[test]
fn a_check_finds_lost_damaged_and_unknown_files() {
    let mut feed = TestFeed::start("");
    for version in ["1.0.0", "2.0.0", "3.0.0"] {
        feed.push(&package("Acme.A", version));
    }
    feed.stop();
    assert_eq!(feed.maintain("check").0, Some(0));
    let blobs = feed.data().join("blobs");
    let names = feed.files("blobs");
    fs::remove_file(blobs.join(&names[0])).unwrap();
    fs::write(blobs.join(&names[1]), "damaged").unwrap();
    let unknown = format!("{}.nupkg", "0".repeat(128));
    fs::write(blobs.join(&unknown), "unknown").unwrap();
    let (code, output) = feed.maintain("check");
    assert_eq!(code, Some(1), "{output}");
    for name in [&names[0], &names[1], &unknown] {
        assert!(output.contains(name.as_str()), "{name} in {output}");
    }
    assert!(output.contains("1 packages intact, 3 findings"), "{output}");

    // The feed runs on with what it has, and says what it has not.
    feed.restart();
    let statuses: Vec<u16> = ["1.0.0", "2.0.0", "3.0.0"]
        .map(|version| {
            feed.get(&format!("/v3/flat/acme.a/{version}/acme.a.{version}.nupkg"))
                .status
        })
        .to_vec();
    assert_eq!(
        statuses.iter().filter(|status| **status == 500).count(),
        1,
        "{statuses:?}"
    );
    assert!(feed.log().contains("files and index differ"));
    assert!(
        feed.log()
            .contains("is missing; run `klusterkite-feed check`")
    );
    feed.stop();
    feed.maintain("reindex");
    feed.restart();
    assert_eq!(
        feed.get("/v3/flat/acme.a/index.json").json()["versions"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
