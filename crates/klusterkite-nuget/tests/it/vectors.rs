//! Answers of the real NuGet 5.8 engine. `KLUSTERKITE_VECTORS` names the directory that has
//! `nuget/*.tsv`; without it these tests have no cases and the crate's own tables must do.

use std::path::PathBuf;

use klusterkite_nuget::{Framework, RidGraph, Version, VersionRange};
use serde_json::Value;

/// The cases of a file: inputs (without the leading kind) and the expected answer.
fn cases(name: &str) -> Vec<(Vec<String>, Value)> {
    let Some(text) = read(name) else {
        return Vec::new();
    };
    let mut cases = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (inputs, answer) = line.split_once("\t=> ").expect("an answer after `=>`");
        let inputs = inputs.split('\t').skip(1).map(str::to_owned).collect();
        cases.push((
            inputs,
            serde_json::from_str(answer).expect("the answer is JSON"),
        ));
    }
    assert!(!cases.is_empty(), "{name} has no cases");
    cases
}

fn read(name: &str) -> Option<String> {
    let directory = PathBuf::from(std::env::var_os("KLUSTERKITE_VECTORS")?);
    Some(
        std::fs::read_to_string(directory.join("nuget").join(name)).expect("the vectors are there"),
    )
}

/// Ranges where newer engines answer otherwise than 5.8 did: what can contain nothing is refused,
/// one and two characters are enough.
fn is_newer_rule(range: &str) -> bool {
    let range = range.trim();
    let unbalanced_single = !range.contains(',')
        && range.starts_with(['(', '['])
        && !(range.starts_with('[') && range.ends_with(']'));
    unbalanced_single
        || range.len() < 3
        || matches!(range, "[1.0,1.0)" | "(1.0,1.0]" | "[2.0,1.0]" | "(2.0,1.0)")
}

#[test]
fn versions_are_parsed_as_nuget_parses_them() {
    for (inputs, answer) in cases("version_parse.tsv") {
        let parsed = inputs[0].parse::<Version>();
        assert_eq!(parsed.is_ok(), answer["ok"] == true, "{inputs:?}");
        let Ok(version) = parsed else { continue };
        assert_eq!(version.to_string(), answer["norm"], "{inputs:?}");
        assert_eq!(version.full(), answer["full"], "{inputs:?}");
        assert_eq!(version.is_prerelease(), answer["pre"] == true, "{inputs:?}");
        assert_eq!(
            version.is_semver2(),
            answer["semver2"] == true,
            "{inputs:?}"
        );
        assert_eq!(
            version.metadata().unwrap_or_default(),
            answer["meta"],
            "{inputs:?}"
        );
    }
}

#[test]
fn versions_are_compared_as_nuget_compares_them() {
    for (inputs, answer) in cases("version_compare.tsv") {
        let [a, b] = [&inputs[0], &inputs[1]].map(|text| text.parse::<Version>().unwrap());
        assert_eq!(
            a.cmp(&b) as i64,
            answer["cmp"].as_i64().unwrap(),
            "{inputs:?}"
        );
        assert_eq!(a == b, answer["eq"] == true, "{inputs:?}");
    }
}

#[test]
fn ranges_are_parsed_as_nuget_parses_them() {
    for (inputs, answer) in cases("range_parse.tsv") {
        let parsed = inputs[0].parse::<VersionRange>();
        if is_newer_rule(&inputs[0]) {
            continue;
        }
        assert_eq!(parsed.is_ok(), answer["ok"] == true, "{inputs:?}");
        let Ok(range) = parsed else { continue };
        assert_eq!(range.to_string(), answer["norm"], "{inputs:?}");
        assert_eq!(
            range.min().map(Version::full).as_deref(),
            answer["min"].as_str(),
            "{inputs:?}"
        );
        assert_eq!(
            range.max().map(Version::full).as_deref(),
            answer["max"].as_str(),
            "{inputs:?}"
        );
        assert_eq!(
            range.is_min_inclusive(),
            answer["minInc"] == true,
            "{inputs:?}"
        );
        assert_eq!(
            range.is_max_inclusive(),
            answer["maxInc"] == true,
            "{inputs:?}"
        );
        let float = range.float().map(|float| format!("{float:?}"));
        assert_eq!(float.as_deref(), answer["behavior"].as_str(), "{inputs:?}");
    }
}

#[test]
fn newer_range_rules_are_followed() {
    for text in [
        "(1.0)",
        "[1.0)",
        "(1.0]",
        "[1.0,1.0)",
        "(1.0,1.0]",
        "[2.0,1.0]",
        "(2.0,1.0)",
    ] {
        assert!(text.parse::<VersionRange>().is_err(), "{text}");
    }
    for text in ["1", "12"] {
        assert!(text.parse::<VersionRange>().is_ok(), "{text}");
    }
}

#[test]
fn ranges_contain_what_nuget_says() {
    for (inputs, answer) in cases("range_satisfies.tsv") {
        let version: Version = inputs[1].parse().unwrap();
        match inputs[0].parse::<VersionRange>() {
            Ok(range) => assert_eq!(
                range.satisfies(&version),
                answer["sat"] == true,
                "{inputs:?}"
            ),
            Err(_) => assert!(
                is_newer_rule(&inputs[0]) && answer["sat"] == false,
                "{inputs:?}"
            ),
        }
    }
}

#[test]
fn the_best_match_is_the_one_that_nuget_restores() {
    for (inputs, answer) in cases("range_best_match.tsv") {
        let versions: Vec<Version> = inputs[1..]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let range = inputs[0].parse::<VersionRange>();
        assert!(range.is_ok() || is_newer_rule(&inputs[0]), "{inputs:?}");
        let best = range
            .ok()
            .and_then(|range| range.best_match(&versions).map(Version::to_string));
        assert_eq!(best.as_deref(), answer["best"].as_str(), "{inputs:?}");
    }
}

#[test]
fn runtimes_expand_as_nuget_expands_them() {
    for (inputs, answer) in cases("rid_expand.tsv") {
        let graph = RidGraph::parse(&read(&inputs[0]).unwrap()).unwrap();
        let expected: Vec<&str> = answer["expand"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(graph.expand(&inputs[1]), expected, "{inputs:?}");
        assert_eq!(
            RidGraph::portable().expand(&inputs[1]),
            expected,
            "{inputs:?}"
        );
    }
}

#[test]
fn the_built_in_runtime_graph_is_the_portable_one() {
    if let Some(json) = read("portable_rids.json") {
        assert_eq!(RidGraph::portable(), RidGraph::parse(&json).unwrap());
    }
}

#[test]
fn frameworks_are_parsed_as_nuget_parses_them() {
    for (inputs, answer) in cases("framework_parse.tsv") {
        // What NuGet calls unsupported is an error here.
        let parsed = inputs[0].parse::<Framework>();
        assert_eq!(parsed.is_err(), answer["unsupported"] == true, "{inputs:?}");
        let Ok(framework) = parsed else { continue };
        assert_eq!(framework.full_name(), answer["dotnet"], "{inputs:?}");
        assert_eq!(framework.to_string(), answer["short"], "{inputs:?}");
        assert_eq!(framework.is_portable(), answer["pcl"] == true, "{inputs:?}");
        assert_eq!(framework.platform(), answer["platform"], "{inputs:?}");
    }
}

#[test]
fn frameworks_fit_as_nuget_says() {
    for (inputs, answer) in cases("framework_compat.tsv") {
        let [target, candidate] =
            [&inputs[0], &inputs[1]].map(|text| text.parse::<Framework>().unwrap());
        assert_eq!(
            target.can_use(&candidate),
            answer["compat"] == true,
            "{inputs:?}"
        );
    }
}

#[test]
fn the_nearest_framework_is_the_one_that_nuget_takes() {
    for (inputs, answer) in cases("framework_nearest.tsv") {
        let frameworks: Vec<Framework> = inputs.iter().map(|text| text.parse().unwrap()).collect();
        let expected = answer["nearest"].as_str();
        let found = frameworks[0].nearest(&frameworks[1..]);
        assert_eq!(
            found,
            expected.map(|text| text.parse().unwrap()).as_ref(),
            "{inputs:?}"
        );
    }
}
