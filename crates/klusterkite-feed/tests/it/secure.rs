//! The feed over HTTPS with an own authority.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use klusterkite_client::feed::{FeedClient, FeedCredential};
use klusterkite_client::{Error, Kind, Retry, Trust};
use klusterkite_tls::testing::{Authority, Ends};
use klusterkite_wire::Secret;
use tempfile::TempDir;

use crate::harness::{ADMIN, TestFeed, package};

/// A feed with a certificate, and the authority that has signed it.
struct Secure {
    feed: TestFeed,
    authority: Authority,
    directory: TempDir,
    ca: PathBuf,
}

impl Secure {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new("ours");
        let ca = authority.write(directory.path());
        let files = authority.write_identity(directory.path(), &["127.0.0.1"], Ends::Late);
        let feed = TestFeed::start(&format!(
            "tls {{ certificate = \"{}\", key = \"{}\" }}",
            files.certificate.display(),
            files.key.display()
        ));
        Self {
            feed,
            authority,
            directory,
            ca,
        }
    }

    fn client(&self, scheme: &str, ca: PathBuf) -> FeedClient {
        let credential = FeedCredential::new(Secret::new(ADMIN));
        let url = format!("{scheme}://{}/v3/index.json", self.feed.address);
        FeedClient::new(&url, Some(credential), Retry::NONE)
            .unwrap()
            .with_trust(Trust::Authorities(vec![ca]))
    }
}

#[test]
fn packages_are_pushed_and_read_over_https() {
    let secure = Secure::start();
    let client = secure.client("https", secure.ca.clone());
    let path = secure.directory.path().join("a.nupkg");
    fs::write(&path, package("Acme.A", "1.0.0")).unwrap();
    assert!(client.push(&path).unwrap().is_new);
    let (id, version) = ("Acme.A".parse().unwrap(), "1.0.0".parse().unwrap());
    assert!(client.facts(&id, &version).unwrap().is_some());
    assert_eq!(client.versions(&id).unwrap(), [version]);

    let index = client.service_index().unwrap();
    let address = format!("https://{}/", secure.feed.address);
    for resource in &index.resources {
        assert!(resource.id.starts_with(&address), "{}", resource.id);
        // Signed by nobody: clients would look for signatures that are not there.
        let kinds = resource.kinds.concat();
        assert!(!kinds.contains("RepositorySignatures"), "{kinds}");
    }
}

#[test]
fn whoever_trusts_somebody_else_or_speaks_plain_http_is_told_so() {
    let secure = Secure::start();
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Authority::new("stranger").write(elsewhere.path());
    let error = secure
        .client("https", stranger)
        .service_index()
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Away);
    let text = error.to_string();
    assert!(
        text.contains("is not signed by the authority in `"),
        "{text}"
    );
    assert!(text.contains(&secure.feed.address), "{text}");

    let error = secure
        .client("https", "/does/not/exist.pem".into())
        .service_index()
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("/does/not/exist.pem"), "{error}");

    let error = secure
        .client("http", secure.ca.clone())
        .service_index()
        .unwrap_err();
    assert!(matches!(&error, Error::Refused { problem, .. } if problem.code == "httpsRequired"));
    assert!(error.to_string().contains("https://"), "{error}");

    let plain = TestFeed::start("");
    let url = format!("https://{}/v3/index.json", plain.address);
    let client = FeedClient::new(&url, None, Retry::NONE).unwrap();
    let client = client.with_trust(Trust::Authorities(vec![secure.ca.clone()]));
    let text = client.service_index().unwrap_err().to_string();
    assert!(
        text.contains("does not speak TLS; write `http://`"),
        "{text}"
    );
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart() {
    let secure = Secure::start();
    let index = || secure.client("https", secure.ca.clone()).service_index();
    assert!(index().is_ok());
    let renew = |ends| {
        secure
            .authority
            .write_identity(secure.directory.path(), &["127.0.0.1"], ends)
    };
    renew(Ends::Over);
    let text = index().unwrap_err().to_string();
    assert!(text.contains("has expired"), "{text}");
    renew(Ends::Late);
    assert!(index().is_ok());
    assert!(secure.feed.log().contains("the certificate was renewed"));
}

#[test]
fn silent_and_broken_clients_do_not_keep_others_out() {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    let secure = Secure::start();
    let silent = || TcpStream::connect(&secure.feed.address).unwrap();
    let _silent: Vec<_> = (0..50).map(|_| silent()).collect();
    for _ in 0..50 {
        let mut garbage = silent();
        garbage.write_all(&[22, 3, 1, 0, 5, 9, 9, 9, 9, 9]).unwrap();
        garbage
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        // An alert or a reset, and the end.
        let _ = garbage.read_to_end(&mut Vec::new());
    }
    let client = secure.client("https", secure.ca.clone());
    assert!(client.service_index().is_ok());
}

#[test]
fn an_upstream_is_reached_over_https_with_the_authority_that_the_settings_name() {
    let secure = Secure::start();
    let client = secure.client("https", secure.ca.clone());
    let bytes = package("Lib", "1.0.0");
    let path = secure.directory.path().join("lib.nupkg");
    fs::write(&path, &bytes).unwrap();
    client.push(&path).unwrap();
    let behind = |ca: &str| {
        TestFeed::start(&format!(
            "upstream = [{{name = central, url = \"https://{}/v3/index.json\", password = {ADMIN} {ca}}}]",
            secure.feed.address
        ))
    };
    let feed = behind(&format!(", ca = \"{}\"", secure.ca.display()));
    let answer = feed.get("/v3/flat/lib/1.0.0/lib.1.0.0.nupkg");
    assert_eq!(answer.body, bytes);
    let answer = behind("").get("/v3/flat/lib/1.0.0/lib.1.0.0.nupkg");
    assert_eq!(answer.code(), "upstreamAway");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("certificate"), "{detail}");
}
