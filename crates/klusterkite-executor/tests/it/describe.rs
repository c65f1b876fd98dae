//! Reading: what one migrator does wrong is its own error.

use crate::fixture::{PATIENT, Place};

#[test]
fn a_migrator_is_described_with_its_points_and_resources() {
    let place = Place::new(&["good"], PATIENT);
    let mut executor = place.start();
    let described = executor.describe();
    let text = serde_json::to_string(&described).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"[{"typeName":"good","description":{"protocol":1,"name":"tested in db, extra","#,
            r#""dependencyType":"codeDependsOnResource","priority":1.0,"points":["p1","p2","p3"]},"#,
            r#""resources":[{"code":"db","name":"good","currentPoint":null}]}]"#
        )
    );
    assert_eq!(
        executor.current_point("good").unwrap(),
        serde_json::Value::Null
    );
    executor.migrate("good", "p2", 1).unwrap();
    assert_eq!(executor.current_point("good").unwrap(), "p2");
    let resources = &executor.describe()[0].resources;
    assert_eq!(resources[0].current_point.as_ref().unwrap().as_str(), "p2");
}

#[test]
fn whatever_a_migrator_does_is_its_own_error_and_the_others_are_read() {
    let faults = [
        (
            "no-start",
            "`no-start` ended (exit code 1) before it answered `initialize`, its log ends with `cannot find my own code`",
        ),
        (
            "wrong-description",
            "migrator `wrong-description` describes itself wrongly: point `a` is listed twice",
        ),
        (
            "no-description",
            "`no-description` broke the protocol during `initialize` and was killed: the result is not",
        ),
        (
            "crash-resources",
            "`crash-resources` ended (exit code 3) before it answered `resources`, its log ends with `Traceback: out of luck`",
        ),
        (
            "killed",
            "`killed` ended (signal 9) before it answered `resources`",
        ),
        (
            "garbage",
            "`garbage` broke the protocol during `resources` and was killed: `Starting up...` is not a JSON-RPC message",
        ),
        (
            "huge-line",
            "`huge-line` broke the protocol during `resources` and was killed: a line of 2097152 bytes, more than 1048576",
        ),
        (
            "babble",
            "`babble` broke the protocol during `resources` and was killed: more than 3145728 bytes of output",
        ),
        ("wrong-id", "is not the answer to request 2"),
        ("wrong-version", "`jsonrpc` is not `2.0`"),
        (
            "closed",
            "`closed` ended (signal 9) before it answered `resources`",
        ),
        (
            "bad-resource",
            "migrator `bad-resource`: `{\"code\":\"\",\"name\":\"?\"}` is not a resource",
        ),
    ];
    let mut names: Vec<&str> = faults.iter().map(|(fault, _)| *fault).collect();
    names.push("good");
    let place = Place::new(&names, &format!("{PATIENT}, OutputLimit = 3MiB"));
    let mut executor = place.start();
    // Twice: a migrator that broke is started afresh.
    for _ in 0..2 {
        let described = executor.describe();
        for ((fault, expected), described) in faults.iter().zip(&described) {
            assert_eq!(described.type_name.as_str(), *fault);
            assert_eq!(described.errors.len(), 1, "{described:?}");
            assert!(described.errors[0].contains(expected), "{described:?}");
        }
        let good = described.last().unwrap();
        assert!(good.errors.is_empty(), "{good:?}");
        assert_eq!(good.resources.len(), 1);
        let half_good = &described[described.len() - 2];
        assert_eq!(half_good.resources.len(), 1, "{half_good:?}");
    }
}

#[test]
fn a_migrator_that_hangs_is_killed_with_its_children_and_the_others_are_read() {
    let faults = ["hang-initialize", "hang-resources"];
    let place = Place::new(&[faults[0], faults[1], "good"], "CallTimeout = 3s");
    let mut executor = place.start();
    let described = executor.describe();
    for (index, (fault, method)) in [(faults[0], "initialize"), (faults[1], "resources")]
        .iter()
        .enumerate()
    {
        let expected = format!("`{fault}` did not answer `{method}` within 3 s and was killed");
        assert!(
            described[index].errors[0].contains(&expected),
            "{described:?}"
        );
        for process_id in crate::fixture::hanging(&place, fault) {
            crate::fixture::wait_until("it is not killed", || !crate::fixture::runs(process_id));
        }
    }
    assert!(described[2].errors.is_empty(), "{described:?}");
}

#[test]
fn b23_a_flood_on_stderr_blocks_nobody_and_is_cut() {
    let place = Place::new(&["stderr-flood"], PATIENT);
    let mut executor = place.start();
    let described = executor.describe();
    assert!(described[0].errors.is_empty(), "{described:?}");
    assert_eq!(described[0].resources.len(), 1);
    let passed = executor.log.iter().filter(|line| line.contains("yyyy"));
    let passed = passed.count();
    assert!(passed < 2000, "{passed} of 5000");
    // The count of what is missing comes with the flood or with what follows it.
    executor.describe();
    let told = executor
        .log
        .iter()
        .any(|line| line.contains("messages of migrators were left out"));
    assert!(told, "{:?}", executor.log.last());
}

#[test]
fn what_is_asked_wrongly_is_answered_with_what_is_wrong() {
    let place = Place::new(&["good"], PATIENT);
    let mut executor = place.start();
    for (method, params, expected) in [
        ("drop", "null", "method `drop` is not known"),
        (
            "migrate",
            "{}",
            "bad parameters of `migrate`: missing field",
        ),
        (
            "currentPoint",
            r#"{"migrator": "good"}"#,
            "missing field `resource`",
        ),
        (
            "currentPoint",
            r#"{"migrator": "evil", "resource": "db"}"#,
            "migrator `evil` is not one of the template's (setting `KlusterKite.NodeManager.Migrators`: good)",
        ),
        (
            "migrate",
            r#"{"migrator": "evil", "resource": "db", "point": "p1", "fence": 1}"#,
            "migrator `evil` is not one of the template's",
        ),
    ] {
        let params = serde_json::from_str(params).unwrap();
        let error = executor.call(method, params).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    assert!(executor.describe()[0].errors.is_empty());
}
