//! Manifests put together with settings.

use std::collections::BTreeMap;
use std::time::Duration;

use klusterkite_manifest::{
    Assembly, Error, Limits, ManifestText, Probe, ProbeKind, StopHook, StopSignal, StopSpec,
    assemble,
};

use crate::parse::ORDERS;

fn put_together(
    manifests: &[(&str, &str)],
    template: &str,
    environment: &[(&str, &str)],
) -> Result<Assembly, Error> {
    let manifests: Vec<ManifestText> = manifests
        .iter()
        .map(|(package, text)| ManifestText {
            package: (*package).to_owned(),
            text: (*text).to_owned(),
        })
        .collect();
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let environment: BTreeMap<String, String> = environment.iter().map(owned).collect();
    let start = "KlusterKite.NodeManager { NodeTemplate = orders, ConfigurationId = 7 }";
    assemble(&manifests, template, start, &environment)
}

#[test]
fn a_node_gets_everything_of_its_manifest() {
    let assembly = put_together(&[("Acme.Orders", ORDERS)], "", &[]).unwrap();
    assert_eq!(assembly.settings.integer("Acme.Orders.port"), Ok(8080));
    assert_eq!(
        assembly
            .settings
            .integer("KlusterKite.NodeManager.ConfigurationId"),
        Ok(7)
    );
    let roots: Vec<&str> = assembly.settings.root().keys().collect();
    assert_eq!(roots, ["KlusterKite", "Acme"]);
    assert_eq!(Vec::from_iter(&assembly.roles), ["orders"]);

    let process = &assembly.processes[0];
    assert_eq!(
        (process.name.as_str(), process.package.as_str()),
        ("orders", "Acme.Orders")
    );
    assert_eq!(
        process.command,
        ["orders-server", "--listen", "0.0.0.0:8080"]
    );
    assert_eq!(
        process.env,
        BTreeMap::from([("RUST_LOG".to_owned(), "info".to_owned())])
    );
    assert_eq!(
        process.readiness,
        Some(Probe {
            kind: ProbeKind::Http {
                url: "http://127.0.0.1:8080/ready".to_owned()
            },
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            failures: 3,
        })
    );
    assert_eq!(
        process.liveness,
        Some(Probe {
            kind: ProbeKind::Tcp {
                address: "127.0.0.1:8080".to_owned()
            },
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            failures: 3,
        })
    );
    assert_eq!(
        process.stop,
        StopSpec {
            signal: StopSignal::Term,
            grace: Duration::from_secs(10),
            drain: Duration::from_secs(2),
            hook: None,
        }
    );
    assert_eq!(process.restarts, 0);

    let endpoint = &assembly.endpoints[0];
    assert_eq!((endpoint.name.as_str(), endpoint.port), ("orders", 8080));
    assert_eq!(
        (endpoint.host.as_str(), endpoint.route.as_str()),
        ("default", "/api/orders")
    );
    assert_eq!(
        assembly.migrators["Acme.OrdersDb"].command,
        ["orders-migrator"]
    );
    assert_eq!(
        assembly.seeders["Acme.OrdersSeeder"].command,
        ["orders-seeder"]
    );
}

#[test]
fn what_a_manifest_leaves_out_has_defaults() {
    let text = "processes { a { command = [x] } }, endpoints { e { port = 1 } }";
    let assembly = put_together(&[("P", text)], "", &[]).unwrap();
    let process = &assembly.processes[0];
    assert_eq!((&process.readiness, &process.liveness), (&None, &None));
    assert_eq!(process.stop.grace, Duration::from_secs(10));
    assert_eq!(process.stop.drain, Duration::ZERO);
    let endpoint = &assembly.endpoints[0];
    assert_eq!(
        (endpoint.host.as_str(), endpoint.route.as_str()),
        ("default", "/")
    );
}

#[test]
fn the_template_and_the_environment_reach_every_section() {
    let hello = r"
        config { Hello { Port = 8080, Port = ${?HELLO_PORT} } }
        processes { hello { command = [hello, ${Hello.Port}, ${Hello.Greeting}] } }
        endpoints { hello { port = ${Hello.Port} } }
    ";
    for (template, environment, expected) in [
        ("Hello.Greeting = hi", &[][..], ["hello", "8080", "hi"]),
        (
            "Hello.Greeting = hi",
            &[("HELLO_PORT", "9000")],
            ["hello", "9000", "hi"],
        ),
        (
            "Hello { Greeting = hi, Port = 81 }",
            &[("HELLO_PORT", "9000")],
            ["hello", "81", "hi"],
        ),
        (
            "Hello { Greeting = \"on \"${KlusterKite.NodeManager.NodeTemplate} }",
            &[],
            ["hello", "8080", "on orders"],
        ),
    ] {
        let assembly = put_together(&[("Hello", hello)], template, environment).unwrap();
        assert_eq!(assembly.processes[0].command, expected, "{template}");
        assert_eq!(
            assembly.endpoints[0].port.to_string(),
            expected[1],
            "{template}"
        );
    }
}

#[test]
fn settings_are_layers_start_over_template_over_priorities_over_ids() {
    let manifests = [
        (
            "Z.Shared",
            "priority = shared, config { a = zshared, b = zshared, list = [z] }",
        ),
        (
            "A.Role",
            "config { a = arole, b = arole, c = arole, list += a }",
        ),
        (
            "B.Role",
            "priority = role, config { a = brole, d = ${a}\"!\", list += b }",
        ),
        ("C.High", "priority = 101, config { e = ${b}, list += c }"),
    ];
    let template = "c = template, list += t, KlusterKite.NodeManager.NodeTemplate = forged";
    let mut orders = vec![manifests.to_vec()];
    orders.push(manifests.iter().rev().copied().collect());
    for manifests in orders {
        let assembly = put_together(&manifests, template, &[]).unwrap();
        let settings = &assembly.settings;
        for (path, expected) in [
            ("a", "brole"),
            ("b", "arole"),
            ("c", "template"),
            ("d", "brole!"),
            ("e", "arole"),
            ("KlusterKite.NodeManager.NodeTemplate", "orders"),
        ] {
            assert_eq!(settings.string(path).unwrap(), expected, "{path}");
        }
        let list = settings.string_list("list").unwrap();
        assert_eq!(list, ["z", "a", "b", "c", "t"]);
    }
}

#[test]
fn sections_do_not_leak_into_settings_or_each_other() {
    let assembly = put_together(
        &[
            (
                "A",
                "processes { a { command = [a] } }, config { processes = mine }",
            ),
            ("B", "processes { b { command = [${processes}] } }"),
        ],
        "",
        &[],
    )
    .unwrap();
    assert_eq!(assembly.settings.string("processes").unwrap(), "mine");
    assert_eq!(assembly.processes[1].command, ["mine"]);
    assert!(!assembly.settings.render().contains("manifests"));
}

#[test]
fn two_packages_of_one_name_are_an_error_that_names_both() {
    let process = "processes { web { command = [x] } }";
    let endpoint = "endpoints { web { port = 1 } }";
    let migrator = "migrators { web { command = [x] } }";
    let seeder = "seeders { web { command = [x] } }";
    for (kind, text) in [
        ("process", process),
        ("endpoint", endpoint),
        ("migrator", migrator),
        ("seeder", seeder),
    ] {
        let error = put_together(&[("B", text), ("A", text)], "", &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("packages `A` and `B` both define the {kind} `web`; rename one of them")
        );
    }
    let error = put_together(&[("Same", ""), ("same", "")], "", &[]).unwrap_err();
    assert_eq!(error.to_string(), "package `same` has two manifests");
}

#[test]
fn mistakes_name_the_text_they_stand_in() {
    for (manifest, template, expected) in [
        (
            "",
            "a = {",
            "the settings of the template are not valid: template settings:1:6: found the end of the text, \
             expected a key or `}`",
        ),
        (
            "processes { p { command = [\n${no.such}] } }",
            "",
            "the settings of the packages and of the template do not fit together: \
             P/klusterkite.hocon:2:1: `${no.such}` is defined nowhere; define it, or write `${?…}` if it may \
             be missing",
        ),
        (
            "endpoints { e { port = ${port} } }",
            "\nport = web",
            "the manifest of package `P` is not valid: template settings:2:8: `endpoints.e.port` is a string, \
             expected a whole number",
        ),
        (
            "processes { p { command = [x], stop = ${stop} } }",
            "stop { signal = TERM, gracious = 1s }",
            "the manifest of package `P` is not valid: template settings:1:34: `processes.p.stop.gracious` is \
             no known key; known are `command`, `timeout`, `signal`, `grace`, `drain`",
        ),
        (
            "config { a = ${b}, b = ${a} }",
            "",
            "the settings of the packages and of the template do not fit together: \
             P/klusterkite.hocon:1:24: `${a}` refers to itself through other substitutions",
        ),
    ] {
        let error = put_together(&[("P", manifest)], template, &[]).unwrap_err();
        assert_eq!(error.full_message(), expected);
        assert!(
            error
                .text_error()
                .is_some_and(|cause| cause.origin().line().is_some())
        );
    }
}

#[test]
fn a_node_runs_a_bounded_number_of_processes() {
    let many: Vec<String> = (0..65)
        .map(|n| format!("p{n} {{ command = [x] }}"))
        .collect();
    let error = put_together(
        &[("P", &format!("processes {{ {} }}", many.join(", ")))],
        "",
        &[],
    );
    assert!(matches!(error, Err(Error::TooMany { .. })));
}

fn start_order(manifests: &[(&str, &str)]) -> Result<Vec<String>, String> {
    let assembly = put_together(manifests, "", &[]).map_err(|error| error.full_message())?;
    let shown = assembly.processes.iter().map(|process| {
        let after = process.after.join(" ");
        format!("{}({after})", process.name)
    });
    Ok(shown.collect())
}

#[test]
fn a_process_starts_after_those_before_it_and_after_what_its_package_builds_upon() {
    let shared = "priority = shared, processes { proxy { command = [x] } }";
    let orders = "processes { db { command = [x] }, web { command = [x] } }";
    let clock = "processes { clock { command = [x] } }";
    assert_eq!(
        start_order(&[("Z.Shared", shared), ("Orders", orders), ("Clock", clock)]).unwrap(),
        ["proxy()", "clock(proxy)", "db(proxy)", "web(db proxy)"]
    );
}

#[test]
fn a_manifest_may_say_after_which_processes_one_starts() {
    let at_once = "processes { a { command = [x] }, b { command = [x], after = [] } }";
    assert_eq!(start_order(&[("P", at_once)]).unwrap(), ["a()", "b()"]);
    let later = "processes { a { command = [x], after = [c] }, b { command = [x], after = [] }, c { command = [x], after = [b] } }";
    assert_eq!(
        start_order(&[("P", later)]).unwrap(),
        ["b()", "c(b)", "a(c)"]
    );
    let unknown = "processes { a { command = [x], after = [d] } }";
    assert_eq!(
        start_order(&[("P", unknown)]).unwrap_err(),
        "process `a` of package `P` is to start after `d`, which no package of the node defines"
    );
    for (circle, names) in [
        ("processes { a { command = [x], after = [a] } }", "`a`"),
        (
            "processes { f { command = [x], after = [a] }, a { command = [x], after = [b] }, b { command = [x], after = [a] } }",
            "`a`, `b`",
        ),
    ] {
        let expected = format!(
            "the processes {names} are to start after each other; say with `after` which one starts first"
        );
        assert_eq!(start_order(&[("P", circle)]).unwrap_err(), expected);
    }
}

#[test]
fn a_stop_takes_the_longest_drain_delay_and_the_longest_hook_with_grace() {
    let manifest = "processes {
        a { command = [x], stop { drain = 5s, grace = 1s } }
        b { command = [x], stop { command = [flush, now], timeout = 3s, grace = 10s } }
        c { command = [x], stop { command = [leave] } }
    }";
    let assembly = put_together(&[("P", manifest)], "", &[]).unwrap();
    let hook = |process: usize| assembly.processes[process].stop.hook.clone();
    assert_eq!(hook(0), None);
    assert_eq!(
        hook(1),
        Some(StopHook {
            command: vec!["flush".to_owned(), "now".to_owned()],
            timeout: Duration::from_secs(3),
        })
    );
    assert_eq!(hook(2).unwrap().timeout, Duration::from_secs(5));
    assert_eq!(assembly.stop_time(), Duration::from_secs(5 + 5 + 10));
    let nothing = put_together(&[("P", "")], "", &[]).unwrap();
    assert_eq!(nothing.stop_time(), Duration::ZERO);
}

#[test]
fn processes_and_packages_may_be_limited_from_settings() {
    let manifest = "config { memory = 64MiB }
        limits { memory = 1GiB, processes = 50 }
        processes { a { command = [x], limits { memory = ${memory}, processes = 10, cpu = 0.5 } } }";
    let assembly = put_together(&[("P", manifest)], "memory = 32MiB", &[]).unwrap();
    assert_eq!(
        assembly.processes[0].limits,
        Limits {
            memory_bytes: Some(32 << 20),
            processes: Some(10),
            cpu_thousandths: Some(500),
        }
    );
    assert_eq!(
        assembly.package_limits["P"],
        Limits {
            memory_bytes: Some(1 << 30),
            processes: Some(50),
            cpu_thousandths: None,
        }
    );
}
