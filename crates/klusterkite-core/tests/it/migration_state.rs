//! Where resources stand between two configurations (section 2.4 of the catalogue of behaviours).

use klusterkite_core::plan::migration::MigrationState;
use klusterkite_core::plan::resources::{
    Direction, Presence, ResourcePosition, Side, TemplateReading,
};
use klusterkite_wire::Point;
use klusterkite_wire::migrator::DescribedMigrator;

use crate::readings::{Migrator, moved, names, only, reading, release, schema, site, state};

#[test]
fn b18_the_direction_compares_point_lists_exactly_as_lists() {
    for (source, destination, expected) in [
        ("a b", "a b", Direction::Stay),
        ("a b", "a b c", Direction::Upgrade),
        ("a b c", "a b", Direction::Downgrade),
        ("a b", "a c", Direction::Undefined),
        ("a b", "b c", Direction::Undefined),
        ("a b", "A B", Direction::Undefined),
        ("a b", "a bc", Direction::Undefined),
        ("a", "a,b", Direction::Undefined),
    ] {
        let state = moved(&schema("m", "", &[("r", "a")]), source, destination);
        assert_eq!(
            state.templates[0].migrators[0].direction, expected,
            "{source} → {destination}"
        );
    }
}

#[test]
fn a_migrator_whose_resources_do_not_exist_stays() {
    for resources in [&[][..], &[("r", "-")]] {
        let state = moved(&schema("m", "", resources), "a", "a b");
        assert_eq!(state.templates[0].migrators[0].direction, Direction::Stay);
    }
}

#[test]
fn the_side_with_the_longer_history_moves_a_resource_in_both_directions() {
    use ResourcePosition::{
        Destination, InScope, OutOfScope, Source as AtSource, SourceAndDestination,
    };
    let (old, new) = (Some(Side::Source), Some(Side::Destination));
    for (source, destination, current, to_source, to_destination, position) in [
        ("a b", "a b c", "b", None, new, AtSource),
        ("a b", "a b c", "a", new, new, InScope),
        ("a b", "a b c", "c", new, None, Destination),
        ("a b", "a b c d", "c", new, new, InScope),
        ("a b", "a b c", "x", None, None, OutOfScope),
        ("a b c", "a b", "c", None, old, AtSource),
        ("a b c", "a b", "b", old, None, Destination),
        ("a b c", "a b", "a", old, new, InScope),
        ("a b", "a b", "b", None, None, SourceAndDestination),
        ("a b", "a b", "a", new, new, InScope),
        ("a b", "c d", "b", None, None, AtSource),
    ] {
        let state = moved(&schema("m", "", &[("r", current)]), source, destination);
        let resource = only(&state);
        assert_eq!(
            (
                resource.to_source_executor,
                resource.to_destination_executor,
                resource.position
            ),
            (to_source, to_destination, position),
            "{source} → {destination} at {current}"
        );
    }
}

#[test]
fn b16_the_destination_creates_what_both_know_and_nobody_has() {
    for (source, destination) in [("a b", "a b c"), ("a b c", "a b"), ("a", "a")] {
        let state = moved(&schema("m", "", &[("r", "-")]), source, destination);
        let resource = only(&state);
        assert_eq!(resource.position, ResourcePosition::NotCreated);
        assert_eq!(
            (
                resource.to_source_executor,
                resource.to_destination_executor
            ),
            (None, Some(Side::Destination))
        );
        let context = crate::readings::context(Side::Source, false);
        let moves = state
            .moves(
                &[(crate::readings::key("m", "r"), Side::Destination)],
                context,
            )
            .unwrap();
        assert_eq!(Some(&moves[0].point), resource.destination_point.as_ref());
    }
}

#[test]
fn new_and_obsolete_resources_have_one_end_only() {
    use ResourcePosition::{Destination, InScope, NotCreated, Obsolete};
    for (current, executor, position) in [
        ("-", Some(Side::Destination), NotCreated),
        ("a", Some(Side::Destination), InScope),
        ("unknown", Some(Side::Destination), InScope),
        ("b", None, Destination),
    ] {
        let state = state(&[], &[schema("m", "a b", &[("r", current)])]);
        let resource = only(&state);
        assert_eq!(
            (resource.to_destination_executor, resource.position),
            (executor, position),
            "new at {current}"
        );
        assert_eq!(
            (resource.to_source_executor, &resource.source_point),
            (None, &None)
        );
        assert_eq!(state.templates[0].migrators[0].position, Presence::New);
    }
    for (current, executor, position) in [
        ("a", Some(Side::Source), Obsolete),
        ("b", None, Obsolete),
        ("-", None, NotCreated),
    ] {
        let state = state(&[schema("m", "a b", &[("r", current)])], &[]);
        let resource = only(&state);
        assert_eq!(
            (resource.to_source_executor, resource.position),
            (executor, position),
            "obsolete at {current}"
        );
        assert_eq!(
            (
                resource.to_destination_executor,
                &resource.destination_point
            ),
            (None, &None)
        );
        assert_eq!(
            (state.pre(), state.post()),
            (vec![], vec![]),
            "what the destination does not know is left alone"
        );
    }
}

#[test]
fn resources_move_before_or_after_the_nodes_by_dependency_and_direction() {
    for (source, destination, before, after) in [
        ("a", "a b", ["schema"], ["site"]),
        ("a b", "a", ["site"], ["schema"]),
    ] {
        let current = if source == "a" { "a" } else { "b" };
        let with = |points| {
            [
                schema("s", points, &[("schema", current)]),
                site("w", points, &[("site", current)]),
            ]
        };
        let state = state(&with(source), &with(destination));
        assert_eq!(
            (names(&state.pre()), names(&state.post())),
            (
                before.map(String::from).to_vec(),
                after.map(String::from).to_vec()
            )
        );
    }
    let created = state(
        &[],
        &[
            schema("s", "a", &[("schema", "-")]),
            site("w", "a", &[("site", "-")]),
        ],
    );
    assert_eq!(
        (names(&created.pre()), names(&created.post())),
        (vec!["schema".into()], vec!["site".into()])
    );
}

/// B15: upgrade and downgrade in one migration is what the seed orders.
#[test]
fn b15_downgrades_come_first_by_rising_priority_then_the_others_by_falling_priority() {
    let migrators = |up: &'static str, down: &'static str| {
        vec![
            schema("up1", up, &[("up-low", "a")]).priority(1.0),
            schema("up2", up, &[("up-high", "a"), ("up-high-second", "a")]).priority(5.0),
            site("down1", down, &[("down-high", "b")]).priority(5.0),
            site("down2", down, &[("down-low", "b")]).priority(1.0),
        ]
    };
    let mut destination = migrators("a b", "a");
    destination.push(schema("new", "a", &[("new-highest", "-")]).priority(9.0));
    let state = state(&migrators("a", "a b"), &destination);
    assert_eq!(
        names(&state.pre()),
        [
            "down-low",
            "down-high",
            "new-highest",
            "up-high",
            "up-high-second",
            "up-low"
        ]
    );
}

#[test]
fn b17_a_half_created_resource_stays_in_its_phase_until_it_is_complete() {
    let at = |current| state(&[], &[schema("m", "a b c", &[("r", current)])]);
    assert_eq!(names(&at("-").pre()), ["r"]);
    assert_eq!(names(&at("b").pre()), ["r"]);
    assert!(at("c").pre().is_empty());
}

#[test]
fn templates_come_in_the_destinations_order_of_priority_then_the_removed_ones() {
    let reading = |code: &str| TemplateReading {
        template: code.parse().unwrap(),
        ..reading(&[]).remove(0)
    };
    let source = release(1, &[("gone", 99.0), ("low", 1.0)]);
    let destination = release(2, &[("low", 1.0), ("high", 5.0)]);
    let state = MigrationState::new(
        &source,
        &destination,
        &[reading("gone"), reading("low")],
        &[reading("low"), reading("high")],
    );
    let templates: Vec<_> = state
        .templates
        .iter()
        .map(|template| (template.code.as_str(), template.position))
        .collect();
    assert_eq!(
        templates,
        [
            ("high", Presence::New),
            ("low", Presence::Present),
            ("gone", Presence::Obsolete)
        ]
    );
}

#[test]
fn the_destinations_reading_of_a_point_wins_and_the_sources_fills_in() {
    let source = [schema("m", "a b", &[("r", "b"), ("s", "b")])];
    let destination = [schema("m", "a b c", &[("r", "-"), ("s", "c")])];
    let state = state(&source, &destination);
    let points: Vec<_> = state.templates[0].migrators[0]
        .resources
        .iter()
        .map(|resource| resource.current_point.as_ref().map(Point::as_str))
        .collect();
    assert_eq!(points, [Some("b"), Some("c")]);
}

#[test]
fn what_could_not_be_read_is_an_error_of_the_state_and_the_rest_is_read_all_the_same() {
    let mut readings = reading(&[schema("good", "a", &[("r", "a")]), schema("empty", "", &[])]);
    let dead: DescribedMigrator =
        serde_json::from_value(serde_json::json!({ "typeName": "dead", "errors": ["it crashed"] }))
            .unwrap();
    readings[0].migrators.push(dead);
    let release = release(1, &[("db", 1.0)]);
    let state = MigrationState::new(&release, &release, &readings, &readings);
    let errors: Vec<_> = state
        .errors
        .iter()
        .map(|error| (error.side, error.message.as_str()))
        .collect();
    assert_eq!(
        errors,
        [
            (Side::Source, "the migrator has no points"),
            (Side::Source, "it crashed"),
            (Side::Destination, "the migrator has no points"),
            (Side::Destination, "it crashed")
        ]
    );
    assert!(state.resource(&crate::readings::key("good", "r")).is_some());
}

#[test]
fn the_state_is_shown_with_the_documented_names() {
    let state = moved(
        &Migrator {
            irreversible: "b",
            ..site("m", "", &[("r", "a")])
        },
        "a",
        "a b",
    );
    let json = serde_json::to_value(&state).unwrap();
    assert_eq!(
        json["templates"][0],
        serde_json::json!({ "code": "db", "position": "present", "migrators": [{
            "typeName": "m", "name": "m", "position": "present", "direction": "upgrade",
            "dependencyType": "resourceDependsOnCode", "priority": 1.0, "points": ["a", "b"], "irreversible": ["b"],
            "resources": [{ "code": "r", "name": "r", "currentPoint": "a", "sourcePoint": "a", "destinationPoint": "b",
                "position": "source", "toDestinationExecutor": "destination" }] }] })
    );
}
