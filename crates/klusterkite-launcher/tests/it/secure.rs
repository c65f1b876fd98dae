//! Manager, token endpoint and feed over TLS with an own authority.

use std::fs;

use klusterkite_tls::testing::{Authority, Ends};
use serde_json::json;

use crate::cluster::Container;

#[test]
fn a_launcher_with_an_own_authority_speaks_tls_to_everybody_and_tells_its_node() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = authority.write(directory.path());
    let files = authority.write_identity(directory.path(), &["127.0.0.1"], Ends::Late);
    let mut container = Container::secure(&files);
    container.configure(&format!("tls.ca = \"{}\"", ca.display()));
    container.answer_with(&container.release(7, ""));
    container.launch();
    let start = container.wait_for_ready(1);
    assert_eq!(
        start["start"]["NodeManager"]["Url"],
        json!([container.url()])
    );
    assert_eq!(start["start"]["NodeManager"]["Tls"]["Ca"], json!([ca]));
    assert_eq!(container.requests("/oauth/token"), 1);
    container.stop();
    assert!(!container.log().contains("ERROR"), "{}", container.log());
}

#[test]
fn a_manager_that_nobody_trusted_has_signed_is_away_until_its_authority_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let files = authority.write_identity(directory.path(), &["127.0.0.1"], Ends::Late);
    let mut container = Container::secure(&files);
    let ca = Authority::new("stranger").write(directory.path());
    container.configure(&format!("tls.ca = \"{}\"", ca.display()));
    container.answer_with(&container.release(7, ""));
    container.launch();
    container.wait_for_log("is not signed by the authority in `");
    let log = container.log();
    let line = log.lines().find(|line| line.contains("is not signed by"));
    assert!(line.unwrap().contains(container.url()), "{log}");
    assert_eq!(container.requests("/oauth/token"), 0);

    let half = directory.path().join("half");
    fs::create_dir(&half).unwrap();
    fs::rename(authority.write(&half), &ca).unwrap();
    container.wait_for_ready(1);
    container.stop();
}

#[test]
fn a_plain_url_of_a_manager_with_tls_is_refused_with_what_to_write() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let files = authority.write_identity(directory.path(), &["127.0.0.1"], Ends::Late);
    let mut container = Container::secure(&files);
    let plain = container.url().replace("https://", "http://");
    container.configure(&format!("nodeManagerUrl = \"{plain}\""));
    container.launch();
    container.wait_for_log("answered 400 `httpsRequired`: this port speaks https");
    container.stop();
}
