use super::*;

const MINIMAL: &str = r#"
    nodeManagerUrl = "http://manager:8080"
    apiClientId = worker
    apiClientSecret = hunter2
    workingDirectory = /var/lib/klusterkite
"#;

fn parse(text: &str, environment: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let environment = environment
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Config::parse(text, "config.hocon", &environment.collect())
}

fn good(text: &str) -> Config {
    parse(&format!("{MINIMAL}\n{text}"), &[]).unwrap()
}

#[test]
fn a_minimal_configuration_has_the_documented_defaults() {
    let config = good("");
    assert_eq!(config.manager_urls, ["http://manager:8080"]);
    assert_eq!(config.container_type.as_str(), "worker");
    assert!(config.runtime.as_str().starts_with("linux-"));
    assert_eq!(config.policy.away_tries, 3);
    assert_eq!(
        config.policy.last_known_good_max_age,
        Some(Duration::from_hours(24))
    );
    assert_eq!(config.policy.backoff_max, Duration::from_mins(1));
    assert_eq!(config.policy.stop_grace, Duration::from_secs(30));
    assert!(!config.policy.has_fallback && !config.policy.runs_stop_action);
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn the_environment_overrides_every_key() {
    let environment = [
        ("CONTAINER_TYPE", "cache"),
        ("KLUSTERKITE_NODE_MANAGER_URL", "http://a:1/, http://b:2"),
        ("KLUSTERKITE_API_CLIENT_ID", "other"),
        ("KLUSTERKITE_AWAY_TRIES", "7"),
        ("KLUSTERKITE_BACKOFF_MIN", "250ms"),
        ("KLUSTERKITE_LAST_KNOWN_GOOD_MAX_AGE", "infinite"),
    ];
    let config = parse(MINIMAL, &environment).unwrap();
    assert_eq!(config.container_type.as_str(), "cache");
    assert_eq!(config.manager_urls, ["http://a:1", "http://b:2"]);
    assert_eq!(config.policy.url_count, 2);
    assert_eq!(config.client_id, "other");
    assert_eq!(config.policy.away_tries, 7);
    assert_eq!(config.policy.backoff_min, Duration::from_millis(250));
    assert_eq!(config.policy.last_known_good_max_age, None);
    let both = [
        ("CONTAINER_TYPE", "cache"),
        ("KLUSTERKITE_CONTAINER_TYPE", "web"),
    ];
    assert_eq!(
        parse(MINIMAL, &both).unwrap().container_type.as_str(),
        "web"
    );
}

#[test]
fn a_configuration_without_a_file_worth_mentioning_can_come_from_the_environment() {
    let environment = [
        ("KLUSTERKITE_NODE_MANAGER_URL", "http://a:1"),
        ("KLUSTERKITE_API_CLIENT_ID", "worker"),
        ("KLUSTERKITE_API_CLIENT_SECRET", "x"),
        ("KLUSTERKITE_WORKING_DIRECTORY", "/data"),
    ];
    assert_eq!(
        parse("", &environment).unwrap().working_directory,
        Path::new("/data")
    );
}

#[test]
fn all_errors_are_named_at_once() {
    let errors = parse("containerType = \"a b\", awayTries = 0, log = loud", &[]).unwrap_err();
    for key in [
        "nodeManagerUrl",
        "apiClientId",
        "apiClientSecret",
        "workingDirectory",
        "containerType",
        "awayTries",
        "log",
    ] {
        let start = format!("`{key}` ");
        assert_eq!(
            errors
                .iter()
                .filter(|error| error.starts_with(&start))
                .count(),
            1,
            "{key}: {errors:#?}"
        );
    }
    assert_eq!(errors.len(), 7, "{errors:#?}");
}

#[test]
fn each_bad_value_is_named_with_what_is_wrong() {
    for (text, expected) in [
        (
            "nodeManagerUrl = manager",
            "`nodeManagerUrl` cannot be used: `manager` is not a URL",
        ),
        ("tls.ca { a = 1 }", "`tls.ca` cannot be used"),
        ("tls.cert = a, awayTries = 0", "`tls.cert` means nothing"),
        ("nodeManagerUrl = [\"http://a\", 7]", "`7` is not a URL"),
        (
            "nodeManagerUrl { a = 1 }",
            "`nodeManagerUrl` cannot be used",
        ),
        (
            "authenticationUrl = \"ftp://x\"",
            "`authenticationUrl` cannot be used",
        ),
        ("runtime = \"../x\"", "`runtime` cannot be used"),
        ("awayTries = many", "`awayTries` cannot be used"),
        ("awayTries = -1", "`awayTries` is not a number from 1 on"),
        (
            "backoffMin = 2 minutes",
            "`backoffMin` is longer than `backoffMax`",
        ),
        ("stopGrace = soon", "`stopGrace` cannot be used"),
        ("stopMode = Explode", "`stopMode` is neither"),
        ("stopMode = RunAction", "`stopAction` is missing"),
        (
            "packageCacheSize = much",
            "`packageCacheSize` cannot be used",
        ),
        (
            "lastKnownGoodMaxAge = never",
            "`lastKnownGoodMaxAge` cannot be used",
        ),
        (
            "apiClientSecret = \"\", apiClientSecretFile = /does/not/exist",
            "/does/not/exist",
        ),
        ("x = ${nowhere}", "nowhere"),
        ("{{{", "config.hocon"),
    ] {
        let errors = parse(&format!("{MINIMAL}\n{text}"), &[]).unwrap_err();
        assert!(
            errors.iter().any(|error| error.contains(expected)),
            "{text}: {errors:#?}"
        );
        assert!(!errors.concat().contains("hunter2"), "{errors:#?}");
    }
}

#[test]
fn managers_have_a_last_known_good_of_any_age() {
    assert_eq!(
        good("containerType = manager")
            .policy
            .last_known_good_max_age,
        None
    );
    let hour = good("containerType = manager, lastKnownGoodMaxAge = 1h");
    assert_eq!(
        hour.policy.last_known_good_max_age,
        Some(Duration::from_hours(1))
    );
    assert_eq!(
        good("lastKnownGoodMaxAge = infinite")
            .policy
            .last_known_good_max_age,
        None
    );
}

#[test]
fn the_secret_can_be_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    std::fs::write(&path, "from file\n").unwrap();
    let text = MINIMAL.replace("apiClientSecret = hunter2", "");
    let text = format!("{text}\napiClientSecretFile = \"{}\"", path.display());
    assert_eq!(
        parse(&text, &[]).unwrap().client_secret,
        Secret::new("from file")
    );
}

#[test]
fn the_stop_action_is_a_command_or_a_line_for_the_shell() {
    let line = good("stopMode = RunAction, stopAction = \"poweroff now\"");
    assert_eq!(line.stop_action.unwrap(), ["/bin/sh", "-c", "poweroff now"]);
    let list = good("stopMode = RunAction, stopAction = [poweroff, now]");
    assert_eq!(list.stop_action.unwrap(), ["poweroff", "now"]);
    assert_eq!(good("stopAction = poweroff").stop_action, None);
}

#[test]
fn an_own_authority_is_a_file_or_several_by_absolute_paths() {
    assert_eq!(good("").trust, Trust::System);
    let here = std::env::current_dir().unwrap();
    let both = Trust::Authorities(vec!["/a/ca.pem".into(), here.join("b.pem")]);
    assert_eq!(good("tls.ca = [/a/ca.pem, b.pem]").trust, both);
    let environment = [("KLUSTERKITE_TLS_CA", "/a/ca.pem,b.pem")];
    let text = format!("{MINIMAL}\ntls {{ ca = other.pem }}");
    assert_eq!(parse(&text, &environment).unwrap().trust, both);
    let text = MINIMAL.replace("http://manager:8080", "https://manager:8443/");
    let urls = parse(&text, &[]).unwrap().manager_urls;
    assert_eq!(urls, ["https://manager:8443"]);
}

#[test]
fn unknown_keys_are_known_as_such() {
    assert_eq!(
        good("fallbackConfigration = x").unknown_keys,
        ["fallbackConfigration"]
    );
}
