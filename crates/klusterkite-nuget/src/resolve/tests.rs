mod text_feed;

use super::*;
use text_feed::{TextFeed, outcome, run, summary};

fn check(feed: &str, cases: &[(&str, &str)]) {
    for (project, expected) in cases {
        assert_eq!(
            summary(&outcome(feed, project, "net8.0")),
            *expected,
            "project with {project} on {feed}"
        );
    }
}

#[test]
fn a_fixed_range_gets_its_lowest_version() {
    check(
        "A 1.0\n A 1.1\n A 2.0\n A 3.0-beta",
        &[
            ("", ""),
            ("A 1.0", "A=1.0.0"),
            ("A 1.0.1", "A=1.1.0 NU1603"),
            ("A (1.0,3.0]", "A=1.1.0"),
            ("A [2.0]", "A=2.0.0"),
            ("A [,2.0]", "A=1.0.0"),
            ("A", "A=1.0.0"),
        ],
    );
}

#[test]
fn a_pre_release_is_chosen_only_if_a_bound_is_one_or_the_range_floats_over_them() {
    check(
        "A 1.0-beta\n A 1.1\n A 2.0-rc.1\n A 2.0-rc.2\n B 1.0-x",
        &[
            ("A 1.0", "A=1.1.0 NU1603"),
            ("A 1.0-alpha", "A=1.0.0-beta NU1603"),
            ("A [1.2,2.0-rc.9]", "A=2.0.0-rc.1 NU1603"),
            ("A *-*", "A=2.0.0-rc.2"),
            ("A 2.0.0-rc.*", "A=2.0.0-rc.2"),
            ("A 1.2", "NU1103"),
            ("B *", "NU1103"),
        ],
    );
}

#[test]
fn a_floating_range_gets_its_highest_version() {
    check(
        "A 1.0\n A 1.5\n A 1.5.1\n A 2.0",
        &[
            ("A 1.*", "A=1.5.1"),
            ("A 1.0.*", "A=1.0.0"),
            ("A *", "A=2.0.0"),
            ("A 1.7.*", "A=2.0.0"),
            ("A [1.*,1.5]", "A=1.5.0"),
        ],
    );
}

#[test]
fn unlisted_versions_are_for_fixed_ranges() {
    check(
        "A 1.0\n A 1.5!\n A 1.6\n A 1.7!\n B 1.0!",
        &[
            ("A 1.5", "A=1.5.0"),
            ("A [1.7]", "A=1.7.0"),
            ("A 1.*", "A=1.6.0"),
            ("B *", "B=1.0.0"),
        ],
    );
}

#[test]
fn what_is_nearer_wins_over_what_is_below() {
    check(
        "A 1.0 -> B 1.0\n B 1.0 -> D 2.0\n C 1.0 -> B 1.0; D 1.0
         E 1.0 -> D [1.0,2.0)\n D 1.0\n D 2.0\n D 3.0\n F 1.0 -> D (1.0, )",
        &[
            ("A 1.0; D 1.0", "A=1.0.0 B=1.0.0 D=1.0.0 NU1605"),
            ("A 1.0; D 3.0", "A=1.0.0 B=1.0.0 D=3.0.0"),
            ("C 1.0", "B=1.0.0 C=1.0.0 D=1.0.0 NU1605"),
            ("E 1.0; D 3.0", "D=3.0.0 E=1.0.0 NU1608"),
            ("F 1.0; D 1.0", "D=1.0.0 F=1.0.0 NU1605"),
            // Elsewhere nothing hides the higher one.
            ("A 1.0; C 1.0", "A=1.0.0 B=1.0.0 C=1.0.0 D=2.0.0"),
        ],
    );
}

#[test]
fn of_cousins_the_highest_wins() {
    check(
        "A 1.0 -> D 1.0\n B 1.0 -> D 2.0\n C 1.0 -> D [1.0,2.0)\n D 1.0\n D 2.0",
        &[
            ("A 1.0; B 1.0", "A=1.0.0 B=1.0.0 D=2.0.0"),
            ("A 1.0; C 1.0", "A=1.0.0 C=1.0.0 D=1.0.0"),
            ("B 1.0; C 1.0", "NU1107"),
            ("B 1.0; C 1.0; D 2.0", "B=1.0.0 C=1.0.0 D=2.0.0 NU1608"),
        ],
    );
}

#[test]
fn what_only_a_losing_version_needs_does_not_count() {
    check(
        "A 1.0 -> C 1.0\n B 1.0 -> C 2.0\n C 1.0 -> X 9.0; Gone 1.0; Y 2.0\n C 2.0 -> Y 1.0
         X 9.0\n Y 1.0\n Y 2.0",
        &[
            ("A 1.0; B 1.0", "A=1.0.0 B=1.0.0 C=2.0.0 Y=1.0.0"),
            ("A 1.0", "NU1101"),
        ],
    );
    // Which of D and E wins decides whether X is needed, and in which version.
    check(
        "A 1.0 -> B 1.0; C 1.0\n B 1.0 -> D 1.0\n C 1.0 -> D 2.0\n D 1.0 -> X 2.0\n D 2.0 -> E 1.0
         E 1.0 -> X 1.0\n X 1.0\n X 2.0",
        &[("A 1.0", "A=1.0.0 B=1.0.0 C=1.0.0 D=2.0.0 E=1.0.0 X=1.0.0")],
    );
}

#[test]
fn packages_that_dispute_each_other_still_get_versions() {
    // Whether D 3.0 counts depends on which C wins, whether C 2.0 counts on which D wins.
    check(
        "A 1.0 -> D 1.0\n B 1.0 -> C 1.0\n P 1.0 -> D 2.0\n C 1.0 -> D 3.0\n D 2.0 -> C 2.0
         C 2.0\n D 1.0\n D 3.0",
        &[(
            "A 1.0; B 1.0; P 1.0",
            "A=1.0.0 B=1.0.0 C=2.0.0 D=2.0.0 P=1.0.0",
        )],
    );
}

#[test]
fn circles_are_refused_wherever_they_close() {
    check(
        "A 1.0 -> B 1.0\n B 1.0 -> C 1.0\n C 1.0 -> A 1.0\n S 1.0 -> S 1.0
         P 1.0 -> X 1.0\n Q 1.0 -> Y 1.0\n X 1.0 -> Y 1.0\n Y 1.0 -> X 1.0",
        &[
            ("A 1.0", "NU1108"),
            ("S 1.0", "NU1108"),
            ("P 1.0", "NU1108"),
            ("P 1.0; Q 1.0", "NU1108"),
            // The project's own references hide both.
            ("X 1.0; Y 1.0", "X=1.0.0 Y=1.0.0"),
        ],
    );
    let Outcome::Failed(errors) = outcome(
        "A 1.0 -> B 1.0\n B 1.0 -> C 1.0\n C 1.0 -> B 1.0",
        "A 1.0",
        "net8.0",
    ) else {
        panic!("a circle is an error");
    };
    assert_eq!(
        errors[0].to_string(),
        "packages need each other in a circle: B -> C -> B"
    );
}

#[test]
fn every_missing_package_is_reported_with_its_path() {
    let feed = "A 1.0 -> Gone 1.0; B 3.0; C 1.0; D 1.0\n B 1.0\n B 2.0\n C 1.1-rc\n D 1.0?";
    let Outcome::Failed(errors) = outcome(feed, "A 1.0", "net8.0") else {
        panic!("packages are missing");
    };
    let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "no version of package `B` is in [3.0.0, ); `A 1.0.0 -> B [3.0.0, )` needs it, the nearest in the feed is 2.0.0",
            "package `C` has only pre-releases in [1.0.0, ), such as 1.1.0-rc; `A 1.0.0 -> C [1.0.0, )` asks for a stable version",
            "the feed lists version 1.0.0 of package `D` but does not have it; `A 1.0.0 -> D [1.0.0, )` needs it",
            "package `Gone` is not in the feed; `A 1.0.0 -> Gone [1.0.0, )` needs it",
        ]
    );
    let codes: Vec<Option<&str>> = errors.iter().map(ResolveError::code).collect();
    assert_eq!(
        codes,
        [Some("NU1102"), Some("NU1103"), None, Some("NU1101")]
    );
}

#[test]
fn what_something_nearer_replaces_need_not_exist() {
    check(
        "A 1.0 -> X 1.0\n X 2.0",
        &[("A 1.0; X 2.0", "A=1.0.0 X=2.0.0")],
    );
}

#[test]
fn a_conflict_names_both_sides() {
    let feed = "A 1.0 -> D [1.0]\n B 1.0 -> D [2.0]\n D 1.0\n D 2.0";
    let Outcome::Failed(errors) = outcome(feed, "A 1.0; B 1.0", "net8.0") else {
        panic!("the ranges exclude each other");
    };
    assert_eq!(
        errors[0].to_string(),
        "package `D` gets version 2.0.0 because of `B 1.0.0 -> D [2.0.0, 2.0.0]`, but `A 1.0.0 -> D [1.0.0, 1.0.0]` does not accept that; refer to `D` directly to decide"
    );
}

#[test]
fn dependencies_are_those_of_the_nearest_framework() {
    let feed = "A 1.0 -> B 1.0\n A 1.0 -> @net6.0 C 1.0\n A 1.0 -> @net8.0\n B 1.0\n C 1.0
                O 1.0 -> @net48 B 1.0";
    for (framework, expected) in [
        ("net6.0", "A=1.0.0 C=1.0.0"),
        ("net8.0", "A=1.0.0"),
        ("net48", "A=1.0.0 B=1.0.0"),
    ] {
        assert_eq!(summary(&outcome(feed, "A 1.0", framework)), expected);
    }
    assert_eq!(summary(&outcome(feed, "O 1.0", "net8.0")), "O=1.0.0");
}

#[test]
fn a_choice_explains_itself() {
    let feed = "A 1.0 -> D 1.0\n B 1.0 -> D 2.0; C 1.0\n C 1.0 -> D 3.0\n D 1.0\n D 2.0";
    let Outcome::Resolved(resolution) = outcome(feed, "A 1.0; B 1.0", "net8.0") else {
        panic!("there is a solution");
    };
    assert_eq!(
        resolution.explain(&"D".parse().unwrap()).unwrap(),
        "D 2.0.0
  B 1.0.0 -> D [2.0.0, ): decides: nothing asks for a higher version
  A 1.0.0 -> D [1.0.0, ): asks for 1.0.0, another one for a higher version
  B 1.0.0 -> C 1.0.0 -> D [3.0.0, ): does not count: something nearer refers to it"
    );
    assert_eq!(
        resolution.warnings[0].to_string(),
        "`B 1.0.0 -> C 1.0.0 -> D [3.0.0, )` gets the lower version 2.0.0, because `B 1.0.0 -> D [2.0.0, )` is nearer"
    );
    assert_eq!(resolution.explain(&"X".parse().unwrap()), None);
}

#[test]
fn a_graph_with_quadrillions_of_paths_is_resolved_and_one_beyond_the_limits_is_not() {
    use std::fmt::Write as _;
    // Two packages a level, each needing both of the next: 2^50 paths.
    let mut wide = String::new();
    let mut deep = String::new();
    for level in 0..50 {
        let next = level + 1;
        let _ = writeln!(wide, "A{level} 1.0 -> A{next} 1.0; B{next} 1.0");
        let _ = writeln!(wide, "B{level} 1.0 -> A{next} 1.0; B{next} 1.0");
    }
    let _ = writeln!(wide, "A50 1.0\nB50 1.0");
    for level in 0..300 {
        let _ = writeln!(deep, "A{level} 1.0 -> A{} 1.0", level + 1);
    }
    let Outcome::Resolved(resolution) = outcome(&wide, "A0 1.0; B0 1.0", "net8.0") else {
        panic!("there is a solution");
    };
    assert_eq!(resolution.packages.len(), 102);

    for (feed, nodes_max, steps_max) in [
        (&deep, 20_000, 1_000_000),
        (&wide, 50, 1_000_000),
        (&wide, 20_000, 100),
    ] {
        let limits = ResolveLimits {
            nodes_max,
            steps_max,
            ..ResolveLimits::STANDARD
        };
        let feed = TextFeed::parse(feed);
        let Outcome::Failed(errors) = run(&feed, "A0 1.0", "net8.0", &limits) else {
            panic!("the limits are kept");
        };
        assert!(matches!(errors[0], ResolveError::TooLarge { .. }));
    }
}

#[test]
fn a_thousand_packages_that_need_each_other_crosswise_are_resolved() {
    let line = |number: usize| {
        let below = (1..=3).map(|child| number * 3 + child);
        let across = [7, 31].map(|step| number + number % step + step);
        let mut needs: Vec<usize> = below.chain(across).collect();
        needs.retain(|need| *need < 1000);
        let needs: Vec<String> = needs.iter().map(|need| format!("P{need} 1.0")).collect();
        format!("P{number} 1.0 -> {}\n", needs.join("; "))
    };
    let text: String = (0..1000).map(line).collect();
    let outcome = outcome(&text, "P0 1.0", "net8.0");
    let Outcome::Resolved(resolution) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(resolution.packages.len(), 1000);
    assert!(resolution.warnings.is_empty());
}

#[test]
fn what_is_disputed_is_hidden_on_every_path_for_itself() {
    // C is shared by A, where D 1.0 hides D 2.0, and by B, where nothing does.
    check(
        "A 1.0 -> C 1.0; D 1.0\n B 1.0 -> C 1.0\n C 1.0 -> D 2.0; X 1.0\n D 1.0\n D 2.0\n X 1.0 -> Y 1.0\n Y 1.0",
        &[
            ("A 1.0", "A=1.0.0 C=1.0.0 D=1.0.0 X=1.0.0 Y=1.0.0 NU1605"),
            (
                "A 1.0; B 1.0",
                "A=1.0.0 B=1.0.0 C=1.0.0 D=2.0.0 X=1.0.0 Y=1.0.0",
            ),
        ],
    );
}
