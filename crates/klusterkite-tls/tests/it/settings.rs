//! Files that cannot be used say so, with their name.

use std::fs;

use klusterkite_tls::testing::{Authority, Ends};
use klusterkite_tls::{Agents, Identity, Trust};
use ureq::Agent;

#[test]
fn files_that_cannot_be_used_are_named_with_what_was_expected() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let authority = Authority::new("a");
    let files = authority.write_identity(directory.path(), &["localhost"], Ends::Late);
    fs::write(at("empty"), "").unwrap();
    fs::write(at("half"), "-----BEGIN CERTIFICATE-----\nAAAA").unwrap();
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(at("garbage"), garbage).unwrap();

    for (name, expected) in [
        ("missing", "cannot read `"),
        ("empty", "holds no certificate"),
        ("half", "cannot be used: expected PEM"),
        ("garbage", "a certificate in `"),
        ("server.key", "holds no certificate"),
    ] {
        let error = Trust::Authorities(vec![at(name)])
            .client_config()
            .unwrap_err();
        let error = error.to_string();
        assert!(error.contains(expected) && error.contains(name), "{error}");
    }
    for (certificate, key, expected) in [
        ("missing", "server.key", "cannot read `"),
        ("server.pem", "missing", "cannot read `"),
        ("server.pem", "empty", "holds no private key"),
        ("server.pem", "server.pem", "holds no private key"),
        ("empty", "server.key", "holds no certificate"),
        ("garbage", "server.key", "cannot be used together"),
    ] {
        let error = Identity::read(at(certificate), at(key)).err().unwrap();
        let error = error.to_string();
        assert!(error.contains(expected), "{certificate}, {key}: {error}");
    }
    let other = tempfile::tempdir().unwrap();
    let others = authority.write_identity(other.path(), &["localhost"], Ends::Late);
    let error = Identity::read(files.certificate, others.key).err().unwrap();
    assert!(
        error.to_string().contains("cannot be used together"),
        "{error}"
    );
}

#[test]
fn without_own_files_the_system_is_trusted_and_http_needs_neither() {
    assert_eq!(Trust::from_files([]), Trust::System);
    assert_eq!(Trust::default().files(), [] as [std::path::PathBuf; 0]);
    let missing = Trust::from_files(["/does/not/exist.pem".into()]);
    let agents = Agents::new(missing, Agent::config_builder);
    assert!(agents.get("http://a").is_ok());
    let error = agents.get("https://a").unwrap_err().to_string();
    assert!(error.contains("/does/not/exist.pem"), "{error}");
}
