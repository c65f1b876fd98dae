use std::fs;

use crate::cluster::{Container, large_package};
use klusterkite_tests::disk::SmallDisk;

#[test]
fn b34_b35_a_garbage_configuration_names_every_error_and_exits_with_2() {
    let container = Container::new();
    let run = |text: &str| {
        fs::write(container.beside("config.hocon"), text).unwrap();
        let output = container.command().output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, error) = run("nodeManagerUrl = \"ftp://x\", awayTries = no, runtime = \"\\u0000\"");
    assert_eq!(code, Some(2));
    for key in [
        "nodeManagerUrl",
        "awayTries",
        "runtime",
        "apiClientId",
        "apiClientSecret",
        "workingDirectory",
    ] {
        assert!(error.contains(&format!("`{key}`")), "{key}: {error}");
    }
    let (code, error) = run("containerType = \"a b\"");
    assert_eq!(code, Some(2));
    assert!(error.contains("`containerType`"), "{error}");
    let (code, error) = run("nodeManagrUrl = \"http://127.0.0.1:1\"");
    assert_eq!(code, Some(2));
    assert!(
        error.contains("`nodeManagrUrl` means nothing to this version"),
        "{error}"
    );
    let (code, error) = run("a = [");
    assert_eq!(code, Some(2));
    assert!(error.contains("config.hocon"), "{error}");

    fs::remove_file(container.beside("config.hocon")).unwrap();
    let output = container.command().output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("does not exist")
    );
}

#[test]
fn files_for_a_bad_day_that_are_not_there_are_said_at_the_start() {
    let mut container = Container::new();
    container.answer_with(&container.release(1, ""));
    let mut command = container.command();
    command
        .env(
            "KLUSTERKITE_FALLBACK_CONFIGURATION",
            "/nowhere/fallback.json",
        )
        .env("KLUSTERKITE_FEED_CREDENTIAL_FILE", "/nowhere/key.json");
    container.launch_by(command);
    for name in ["/nowhere/fallback.json", "/nowhere/key.json"] {
        container.wait_for_log(&format!("`{name}`, which does not exist yet"));
    }
    container.wait_for_log("cannot install");
    container.stop();
}

#[test]
fn a_container_directory_that_cannot_be_made_is_named() {
    let mut container = Container::new();
    fs::write(container.beside("container"), "a file").unwrap();
    container.launch();
    assert_eq!(container.wait_for_exit().code(), Some(1));
    assert!(
        container.log().contains("/container`"),
        "{}",
        container.log()
    );
}

#[test]
fn state_that_cannot_be_understood_does_not_stop_the_launcher() {
    let mut container = Container::new();
    container.answer_with(&container.release(1, ""));
    fs::create_dir(container.path("")).unwrap();
    fs::write(container.path("state.json"), "[1, 2").unwrap();
    fs::write(container.path("next.json"), "\0\0\0").unwrap();
    container.launch();
    container.wait_for_ready(1);
    assert!(container.log().contains("state.json` cannot be understood"));
    assert!(container.path("state.bad.json").exists() && container.path("next.bad.json").exists());
    container.stop();
}

#[test]
fn a_manager_that_answers_garbage_of_any_kind_does_not_stop_the_launcher() {
    let mut container = Container::new();
    container.launch();
    for body in [
        "",
        "null",
        "[]",
        "{}",
        "{\"nodeTemplate\": \"../x\"}",
        "\u{1}",
    ] {
        container.answer(crate::server::Response::new(200, body));
        let before = container.log().matches("cannot be understood").count();
        container.wait_for(body, || {
            (container.log().matches("cannot be understood").count() > before + 2).then_some(())
        });
    }
    container.answer_with(&container.release(1, ""));
    container.wait_for_ready(1);
    container.stop();
}

#[test]
fn a_full_disk_is_said_and_survived() {
    let mut container = Container::new();
    fs::create_dir(container.path("")).unwrap();
    let Some(_mount) = SmallDisk::mount(container.path(""), 1) else {
        return;
    };
    let mut large = container.release(1, "");
    large.packages.push(large_package(&container));
    container.answer_with(&large);
    container.launch();
    container.wait_for_log("No space left on device");
    assert!(!container.path("current").exists());
    container.answer_with(&container.release(2, ""));
    container.wait_for_ready(1);
    container.stop();
}
