//! Manifests alone.

use klusterkite_manifest::{Error, Priority, parse};

/// The example of the documentation: every section, with substitutions.
pub(crate) const ORDERS: &str = r#"
priority = role
roles = [orders]

config {
  Acme.Orders { port = 8080, database = "postgres://db/orders" }
}

processes {
  orders {
    command = ["orders-server", "--listen", "0.0.0.0:"${Acme.Orders.port}]
    env { RUST_LOG = info }
    readiness { http = "http://127.0.0.1:"${Acme.Orders.port}"/ready", interval = 1s, timeout = 1s }
    liveness  { tcp = "127.0.0.1:"${Acme.Orders.port}, interval = 5s, failures = 3 }
    stop { signal = TERM, grace = 10s, drain = 2s }
    restarts = 0
  }
}

endpoints {
  orders { port = ${Acme.Orders.port}, host = default, route = "/api/orders" }
}

migrators { "Acme.OrdersDb" { command = ["orders-migrator"] } }
seeders   { "Acme.OrdersSeeder" { command = ["orders-seeder"] } }
"#;

#[test]
fn a_manifest_is_read_without_what_it_refers_to() {
    let manifest = parse("Acme.Orders", ORDERS).unwrap();
    assert_eq!(manifest.package, "Acme.Orders");
    assert_eq!(manifest.priority, Priority::ROLE);
    assert_eq!(Vec::from_iter(manifest.roles), ["orders"]);
    assert_eq!(manifest.processes, ["orders"]);
    assert_eq!(manifest.endpoints, ["orders"]);
    assert_eq!(manifest.migrators, ["Acme.OrdersDb"]);
    assert_eq!(manifest.seeders, ["Acme.OrdersSeeder"]);
}

#[test]
fn an_empty_manifest_is_valid() {
    let manifest = parse("Files.Only", "").unwrap();
    assert_eq!(manifest.priority, Priority::ROLE);
    assert!(manifest.roles.is_empty() && manifest.processes.is_empty());
}

#[test]
fn priorities_are_words_or_numbers() {
    for (text, expected) in [
        ("priority = shared", Priority::SHARED),
        ("priority = role", Priority::ROLE),
        ("priority = 250", Priority(250)),
        ("priority = -3", Priority(-3)),
    ] {
        assert_eq!(parse("P", text).unwrap().priority, expected, "{text}");
    }
}

#[test]
fn what_is_open_is_not_judged() {
    for text in [
        "processes { p { command = ${c} } }",
        "processes { p { command = [${c}, x] } }",
        "processes { p = ${shared.process} }",
        "processes { p { command = [a], stop = ${stop}, env { A = ${?A} } } }",
        "processes { p { command = [a], readiness { http = ${url}, interval = ${i} } } }",
        "processes { p { command = [a], readiness = ${probe}, readiness { interval = 1s } } }",
        "endpoints { e { port = ${port}, route = ${?route} } }",
        "config = { a = ${b}, list += 1 }",
    ] {
        if let Err(error) = parse("P", text) {
            panic!("{text}: {}", error.full_message());
        }
    }
}

#[test]
fn mistakes_are_named_with_package_path_and_line() {
    let place = "the manifest of package `P` is not valid: P/klusterkite.hocon";
    for (text, expected) in [
        (
            "\nroles = [a",
            ":2:11: found the end of the text, expected `,`, the end of the line or `]`",
        ),
        (
            "colour = red",
            ":1:10: `colour` is no known key; known are `priority`, `roles`, `config`, `processes`, `limits`, `endpoints`, `migrators`, `seeders`",
        ),
        (
            "include \"x\"",
            ":1:1: cannot include `x`: includes are switched off here",
        ),
        (
            "priority = high",
            ":1:12: `priority` must be `shared`, `role` or a whole number",
        ),
        (
            "priority = ${p}",
            ":1:12: `priority` must not contain substitutions",
        ),
        (
            "roles = [a, ${b}]",
            ":1:9: `roles` must not contain substitutions",
        ),
        (
            "roles = [\"a b\"]",
            ":1:9: `roles` contains `a b`, which is not a valid name: 1 to 128 letters, digits, `.`, `-` or `_`, and not only dots",
        ),
        (
            "roles { a = 1 }",
            ":1:7: `roles` is an object, expected a list of strings",
        ),
        (
            "config = 5",
            ":1:10: `config` is a number, expected an object without substitution",
        ),
        (
            "config = ${c}",
            ":1:10: `config` is a substitution, expected an object without substitution",
        ),
        (
            "processes = [a]",
            ":1:13: `processes` is a list, expected an object",
        ),
        (
            "processes = ${p}",
            ":1:13: `processes` must be written out, not come from a substitution",
        ),
        (
            "processes { a = 1 }",
            ":1:17: `processes.a` is a number, expected an object",
        ),
        (
            "processes { a = null }",
            ":1:17: `processes.a` must not be null",
        ),
        (
            "processes { \"a/b\" { command = [a] } }",
            ":1:19: `processes.\"a/b\"` is not a valid name: 1 to 128 letters, digits, `.`, `-` or `_`, and not only dots",
        ),
        (
            "processes { a { comand = [x] } }",
            ":1:26: `processes.a.comand` is no known key; known are `command`, `env`, `readiness`, `liveness`, `stop`, `restarts`, `after`, `limits`",
        ),
        (
            "processes { a { comand = ${x} } }",
            ":1:26: `processes.a.comand` is no known key; known are `command`, `env`, `readiness`, `liveness`, `stop`, `restarts`, `after`, `limits`",
        ),
        (
            "processes { a { } }",
            ":1:15: `processes.a.command` is missing",
        ),
        (
            "processes { a { command = [] } }",
            ":1:27: `processes.a.command` must start with a program",
        ),
        (
            "processes { a { command = x } }",
            ":1:27: `processes.a.command` is a string, expected a list of strings",
        ),
        (
            "processes { a { command = [[x]] } }",
            ":1:27: `processes.a.command` is a list, expected a list of strings",
        ),
        (
            "processes { a { command = [x], restarts = -1 } }",
            ":1:43: `processes.a.restarts` must be between 0 and 1000",
        ),
        (
            "processes { a { command = [x], restarts = many } }",
            ":1:43: `processes.a.restarts` is a string, expected a whole number",
        ),
        (
            "processes { a { command = [x], env { A = [1] } } }",
            ":1:42: `processes.a.env.A` is a list, expected a string",
        ),
        (
            "processes { a { command = [x], env { NOTIFY_SOCKET = x } } }",
            ":1:54: `processes.a.env.NOTIFY_SOCKET` is set by the node itself",
        ),
        (
            "processes { a { command = [x], stop { signal = KILL } } }",
            ":1:48: `processes.a.stop.signal` must be one of TERM, INT, QUIT, HUP, USR1, USR2",
        ),
        (
            "processes { a { command = [x], stop { grace = 2h } } }",
            ":1:47: `processes.a.stop.grace` must be between 0ns and 3600s",
        ),
        (
            "processes { a { command = [x], stop { timeout = 2s } } }",
            ":1:49: `processes.a.stop.timeout` is the time of `command`, which is missing",
        ),
        (
            "processes { a { command = [x], limits { memory = 1 } } }",
            ":1:50: `processes.a.limits.memory` must be at least 1 MiB",
        ),
        (
            "processes { a { command = [x], limits { processes = 0 } } }",
            ":1:53: `processes.a.limits.processes` must be between 1 and 4194304",
        ),
        (
            "limits { cpu = 0 }",
            ":1:16: `limits.cpu` must be between 0.01 and 1000 processors",
        ),
        (
            "limits { disk = 1GiB }",
            ":1:17: `limits.disk` is no known key; known are `memory`, `processes`, `cpu`",
        ),
        (
            "processes { a { command = [x], stop { grace = soon } } }",
            ":1:47: `processes.a.stop.grace` has no duration unit `soon` (use ns, us, ms, s, m, h or d)",
        ),
        (
            "processes { a { command = [x], readiness { } } }",
            ":1:42: `processes.a.readiness` needs exactly one of `http`, `tcp`, `exec` and `notify`",
        ),
        (
            "processes { a { command = [x], readiness { notify = true, tcp = \"a:1\" } } }",
            ":1:42: `processes.a.readiness` needs exactly one of `http`, `tcp`, `exec` and `notify`",
        ),
        (
            "processes { a { command = [x], readiness { http = \"https://a/\" } } }",
            ":1:51: `processes.a.readiness.http` must be a URL that starts with `http://`",
        ),
        (
            "processes { a { command = [x], liveness { tcp = \"a\" } } }",
            ":1:49: `processes.a.liveness.tcp` must be `host:port`",
        ),
        (
            "processes { a { command = [x], liveness { notify = false } } }",
            ":1:52: `processes.a.liveness.notify` can only be true; leave the probe out instead",
        ),
        (
            "processes { a { command = [x], liveness { notify = true, interval = 1ms } } }",
            ":1:69: `processes.a.liveness.interval` must be between 20ms and 3600s",
        ),
        (
            "processes { a { command = [x], liveness { notify = true, failures = 0 } } }",
            ":1:69: `processes.a.liveness.failures` must be between 1 and 1000",
        ),
        (
            "endpoints { e { route = \"/\" } }",
            ":1:15: `endpoints.e.port` is missing",
        ),
        (
            "endpoints { e { port = 70000 } }",
            ":1:24: `endpoints.e.port` must be a port from 1 to 65535",
        ),
        (
            "endpoints { e { port = 1, route = x } }",
            ":1:35: `endpoints.e.route` must be the path of a URL and start with `/`",
        ),
        (
            "endpoints { e { port = 1, host = \"a b\" } }",
            ":1:34: `endpoints.e.host` must be `default` or a host name",
        ),
        (
            "migrators { m { } }",
            ":1:15: `migrators.m.command` is missing",
        ),
        (
            "seeders { s { command = [x], restarts = 1 } }",
            ":1:41: `seeders.s.restarts` is no known key; known are `command`, `env`",
        ),
    ] {
        let error = parse("P", text).unwrap_err();
        let message = error.full_message();
        // A missing key is told by the place of the object that lacks it.
        let missing = format!(
            "the manifest of package `P` is not valid: {} in P/klusterkite.hocon{}",
            expected.split(": ").nth(1).unwrap_or_default(),
            expected.split(": ").next().unwrap_or_default()
        );
        let expected = format!("{place}{expected}");
        assert!(
            message == expected || message == missing,
            "{text}\n got {message}\nwant {expected}"
        );
        assert!(matches!(error, Error::Manifest { .. }));
    }
}

#[test]
fn hostile_manifests_are_errors() {
    for text in [
        "processes { a { command = [".to_owned() + &"x,".repeat(2000) + "] } }",
        "a {".repeat(10_000),
        "config { a = ".to_owned() + &"[".repeat(10_000),
        "\u{0}".to_owned(),
        "processes { \"\" { command = [x] } }".to_owned(),
    ] {
        assert!(
            parse("P", &text).is_err(),
            "{}",
            text.get(..40).unwrap_or(&text)
        );
    }
}
