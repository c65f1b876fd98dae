//! Facts of many packages at once.

use klusterkite_nuget::PackageBuilder;
use klusterkite_nuget::v3::{FACTS_OF_MANY_TYPE, FACTS_QUERY_MAX, FactsAnswer, ServiceIndex};
use serde_json::{Value, json};

use crate::harness::{ADMIN, Answer, TestFeed, nuspec, package};

fn ask(feed: &TestFeed, body: &Value) -> Answer {
    let headers = [("X-NuGet-ApiKey", ADMIN)];
    feed.call("POST", "/v3/facts", &headers, body.to_string().into_bytes())
}

fn query(keys: &[(&str, &str)]) -> Value {
    let keys: Vec<Value> = keys
        .iter()
        .map(|(id, version)| json!({"id": id, "version": version}))
        .collect();
    json!({ "packages": keys })
}

#[test]
fn facts_of_many_packages_are_those_of_each_in_the_order_of_the_question() {
    let feed = TestFeed::start("");
    for (id, version) in [
        ("Acme.A", "1.0.0"),
        ("Acme.B", "1.0.0"),
        ("Acme.B", "2.0.0-Rc.1"),
    ] {
        assert_eq!(feed.push(&package(id, version)).status, 201);
    }
    let keys = [
        ("acme.b", "2.0-rc.1"),
        ("Nobody", "1.0.0"),
        ("ACME.A", "1"),
        ("Acme.A", "3.0.0"),
    ];
    let answer = ask(&feed, &query(&keys));
    assert_eq!(answer.status, 200, "{answer:?}");
    let single = |path: &str| feed.get(path).json();
    let expected = json!({"packages": [
        single("/v3/facts/acme.b/2.0.0-rc.1.json"), single("/v3/facts/acme.a/1.0.0.json")]});
    assert_eq!(answer.json(), expected);
    let index: ServiceIndex = serde_json::from_slice(&feed.get("/v3/index.json").body).unwrap();
    let url = feed.url("/v3/facts");
    assert_eq!(index.resource(&[FACTS_OF_MANY_TYPE]), Some(url.as_str()));
}

#[test]
fn what_would_make_an_answer_too_large_is_left_for_another_question() {
    let feed = TestFeed::start("");
    let folder = "x".repeat(200);
    for id in ["Large.A", "Large.B"] {
        let mut builder = PackageBuilder::new(nuspec(id, "1.0.0"));
        for file in 0..15_000 {
            builder = builder.file(&format!("content/{folder}/{file}"), "", false);
        }
        assert_eq!(feed.push(&builder.to_bytes().unwrap()).status, 201);
    }
    let answer = ask(
        &feed,
        &query(&[
            ("Large.B", "1.0.0"),
            ("Nobody", "1.0.0"),
            ("Large.A", "1.0.0"),
        ]),
    );
    let answer: FactsAnswer = serde_json::from_slice(&answer.body).unwrap();
    let names = |answer: &FactsAnswer| -> Vec<String> {
        answer
            .packages
            .iter()
            .map(|facts| facts.id.to_string())
            .collect()
    };
    assert_eq!(names(&answer), ["Large.B"]);
    let left: Vec<&str> = answer.left.iter().map(|key| key.id.as_str()).collect();
    assert_eq!(left, ["Nobody", "Large.A"]);
    let rest = ask(&feed, &json!({ "packages": answer.left }));
    let rest: FactsAnswer = serde_json::from_slice(&rest.body).unwrap();
    assert_eq!(
        (names(&rest), rest.left),
        (vec!["Large.A".to_owned()], Vec::new())
    );
}

#[test]
fn what_only_an_upstream_has_is_fetched_some_packages_a_question() {
    let central = TestFeed::start("");
    let ids: Vec<String> = (0..20).map(|number| format!("Lib.A{number}")).collect();
    for id in &ids {
        assert_eq!(central.push(&package(id, "1.0.0")).status, 201);
    }
    let feed = TestFeed::start(&format!(
        "upstream = [{{name = central, url = \"{}\", password = {ADMIN}, fresh = 0s, absent = 0s}}]\n",
        central.url("/v3/index.json")
    ));
    let mut keys: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "1.0.0")).collect();
    keys.push(("Nobody", "1.0.0"));
    let mut question = query(&keys);
    let mut found = Vec::new();
    for left in [5, 0] {
        let answer = ask(&feed, &question);
        let answer: FactsAnswer = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.left.len(), left);
        found.extend(answer.packages.iter().map(|facts| facts.id.to_string()));
        question = json!({ "packages": answer.left });
    }
    assert_eq!(found, ids);
}

#[test]
fn questions_that_are_none_or_too_long_are_refused() {
    let feed = TestFeed::start("");
    for body in [
        json!({}),
        json!([]),
        json!({"packages": [{"id": "../x", "version": "1.0.0"}]}),
        query(&[("A", "no version")]),
        query(&vec![("A", "1.0.0"); FACTS_QUERY_MAX + 1]),
    ] {
        let answer = ask(&feed, &body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "badRequest"));
    }
    let answer = ask(&feed, &json!({"packages": [], "x": "x".repeat(300 << 10)}));
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(ask(&feed, &query(&[])).json(), json!({"packages": []}));
}
