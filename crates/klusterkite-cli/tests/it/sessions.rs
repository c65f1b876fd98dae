//! Logging in, staying logged in, logging out.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::json;

use crate::manager::{Manager, PASSWORD, Ran, ok, page, problem};
use crate::server::{Reply, Request};

fn nodes(_: &str, path: &str, _: &Request) -> Reply {
    // A list of nodes ends with the containers that are out of service.
    let is_list = path.starts_with("/nodes") || path == "/containers?limit=1000&state=cordoned";
    assert!(is_list, "{path}");
    page(&json!([]))
}

#[test]
fn a_login_is_kept_for_later_commands_in_a_private_file() {
    let manager = Manager::start(nodes);
    fs::write(manager.path("password"), format!("{PASSWORD}\n")).unwrap();
    let mut login = manager.bare("login --user admin --password-file password --output json");
    let ran = Ran::of(&mut login);
    assert_eq!(
        ran.json(),
        json!({ "url": manager.server.url(), "user": "admin" }),
        "{ran:?}"
    );
    assert!(!ran.out.contains("token-"));
    let mode = fs::metadata(manager.session())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let ran = Ran::of(&mut manager.bare("node list"));
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = Ran::of(&mut manager.bare("logout"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!manager.session().exists());
    let revoke = manager.server.requests().pop().unwrap();
    assert_eq!(
        (revoke.target.as_str(), revoke.body.as_slice()),
        ("/oauth/revoke", &b"token=refresh-1"[..])
    );
}

#[test]
fn a_password_can_come_from_a_pipe() {
    let manager = Manager::start(nodes);
    let mut login = manager.bare("login --user admin");
    let login = login
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = login.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(format!("{PASSWORD}\n").as_bytes())
        .unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    assert!(manager.session().exists());
}

#[test]
fn a_script_with_a_password_needs_no_login() {
    let manager = Manager::start(nodes);
    assert_eq!(manager.run("node list").code, 0);
    assert_eq!(manager.run("node list").code, 0);
    let logins = manager.server.requests();
    let logins = logins
        .iter()
        .filter(|request| request.target == "/oauth/token");
    assert_eq!(
        logins.count(),
        1,
        "the second command uses the session of the first"
    );
}

#[test]
fn a_session_is_renewed_before_it_ends_and_kept() {
    // Tokens that end within the margin are renewed before each call.
    let manager = Manager::with_tokens(1, nodes);
    assert_eq!(manager.run("node list").code, 0);
    let ran = Ran::of(&mut manager.bare("node list"));
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = Ran::of(&mut manager.bare("node list"));
    assert_eq!(ran.code, 0, "the renewed session was stored: {ran:?}");
}

#[test]
fn a_session_that_the_manager_forgot_is_replaced_when_a_password_is_there() {
    let (old, new) = (Manager::start(nodes), Manager::start(nodes));
    assert_eq!(old.run("node list").code, 0);
    assert_eq!(new.run("node list").code, 0);
    // The session of another life of the manager: its tokens mean nothing to this one.
    let session = fs::read_to_string(old.session()).unwrap();
    let session = session
        .replace(&old.server.url(), &new.server.url())
        .replace("-1", "-9");
    fs::write(new.session(), session).unwrap();
    let ran = Ran::of(&mut new.bare("node list"));
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(
        ran.err.contains("log in with `klusterkite login`"),
        "{}",
        ran.err
    );
    let ran = new.run("node list");
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn wrong_passwords_missing_logins_and_absent_managers_have_their_codes() {
    let manager = Manager::start(nodes);
    let ran = Ran::of(manager.bare("node list").env_remove("KLUSTERKITE_URL"));
    assert_eq!(ran.code, 2, "{ran:?}");
    let ran = Ran::of(&mut manager.bare("node list"));
    assert_eq!(ran.code, 3, "{ran:?}");
    for arguments in ["node list --url here", "node list --url ftp://here"] {
        let ran = Ran::of(&mut manager.bare(arguments));
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains("here"), "{ran:?}");
    }
    let ran = Ran::of(
        manager
            .command("node list")
            .env("KLUSTERKITE_PASSWORD", "wrong horse"),
    );
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(
        ran.err.contains("login or password is wrong") && !ran.err.contains("wrong horse"),
        "{}",
        ran.err
    );
    assert!(!manager.session().exists());

    let mut absent = manager.command("status");
    drop(manager);
    let directory = tempfile::tempdir().unwrap();
    let ran = Ran::of(
        absent
            .current_dir(directory.path())
            .env("KLUSTERKITE_SESSION", directory.path().join("s")),
    );
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(
        ran.err.contains("cannot reach `http://127.0.0.1:"),
        "{}",
        ran.err
    );
}

#[test]
fn refusals_of_the_manager_have_their_codes() {
    for (status, code) in [(403, 4), (404, 5), (409, 6), (422, 2), (500, 1)] {
        let manager =
            Manager::start(move |_, _, _| problem(status, "reason", "a sentence for people"));
        let ran = manager.run("template list");
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.err.contains("a sentence for people"), "{}", ran.err);
    }
}

#[test]
fn a_session_goes_only_to_its_own_manager() {
    let (first, second) = (
        Manager::start(nodes),
        Manager::start(|_, _, _| ok(&json!({}))),
    );
    assert_eq!(first.run("node list").code, 0);
    let mut elsewhere = first.bare("node list");
    let ran = Ran::of(elsewhere.env("KLUSTERKITE_URL", second.server.url()));
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(second.server.requests().is_empty());
}

#[test]
fn a_local_file_that_cannot_be_read_is_named_and_ends_with_1() {
    let manager = Manager::start(nodes);
    let feed = "--feed http://127.0.0.1:1/v3/index.json";
    for file in ["/nowhere/file", "/dev/zero"] {
        let mut password = manager.bare("node list");
        password.env("KLUSTERKITE_PASSWORD_FILE", file);
        let mut key = manager.bare(&format!("package list {feed} --feed-key-file {file}"));
        for command in [&mut password, &mut key] {
            let ran = Ran::of(command);
            assert_eq!(ran.code, 1, "{ran:?}");
            assert!(ran.err.contains(file), "{ran:?}");
        }
    }
    let ran = Ran::of(&mut manager.bare("package pack nowhere"));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("`nowhere/pack.hocon`"), "{ran:?}");
}
