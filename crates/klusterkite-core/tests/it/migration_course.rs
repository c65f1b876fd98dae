//! What mode, pause and goal of a migration allow on top of its step, and what is refused before anything moves.

use klusterkite_core::plan::migration::{Course, MigrationContext, blocked, operations};
use klusterkite_core::plan::resources::Side;
use klusterkite_core::reason::ReasonCode;

use crate::readings::{context, schema, state};

const MANUAL: Course<'static> = Course {
    automatic: false,
    preparing: false,
    paused: false,
    failure: None,
    rollback_on_failure: false,
    goal: Side::Destination,
};
const AUTOMATIC: Course<'static> = Course {
    automatic: true,
    ..MANUAL
};

/// What every operation answers whose answer depends on the course.
fn said(course: Course<'_>, context: MigrationContext) -> [String; 4] {
    let migrators = |points| [schema("m", points, &[("r", "b")])];
    let resources = state(&migrators("a"), &migrators("a b"));
    let listed = operations(course, Some(&resources), context);
    let ids = [
        "migrateResources",
        "updateNodesToDestination",
        "updateNodesToSource",
        "rollback",
    ];
    ids.map(|id| {
        let mut found = listed.iter().filter(|operation| operation.id == id);
        let operation = found.next().unwrap();
        assert_eq!(found.next(), None, "{id} is listed twice");
        let reason = operation.reason.as_ref().map(|reason| reason.code);
        reason.map_or("yes".to_owned(), |code| code.to_string())
    })
}

#[test]
fn who_releases_the_steps_moves_the_nodes_and_a_pause_holds_them_unless_they_go_back() {
    use Side::{Destination, Source};
    let paused = |course: Course<'static>| Course {
        paused: true,
        ..course
    };
    let back = Course {
        goal: Source,
        ..AUTOMATIC
    };
    let automatic = "migrationAutomatic";
    for (course, active, expected) in [
        (
            MANUAL,
            Source,
            ["yes", "yes", "nothingChanges", "migrationManual"],
        ),
        (
            MANUAL,
            Destination,
            [
                "nothingToMigrate",
                "nothingChanges",
                "yes",
                "migrationManual",
            ],
        ),
        (
            paused(MANUAL),
            Source,
            [
                "yes",
                "migrationPaused",
                "nothingChanges",
                "migrationManual",
            ],
        ),
        (
            paused(MANUAL),
            Destination,
            [
                "nothingToMigrate",
                "nothingChanges",
                "yes",
                "migrationManual",
            ],
        ),
        (AUTOMATIC, Source, [automatic, automatic, automatic, "yes"]),
        (
            AUTOMATIC,
            Destination,
            [automatic, automatic, automatic, "yes"],
        ),
        (
            paused(AUTOMATIC),
            Source,
            ["yes", automatic, automatic, "yes"],
        ),
        (
            back,
            Destination,
            [automatic, automatic, automatic, "nothingChanges"],
        ),
    ] {
        assert_eq!(
            said(course, context(active, false)),
            expected,
            "{course:?} {active}"
        );
    }
}

#[test]
fn before_the_analysis_everything_waits_for_it_and_says_why_it_failed() {
    let preparing = |course: Course<'static>| Course {
        preparing: true,
        ..course
    };
    let context = MigrationContext {
        preparing: true,
        ..context(Side::Source, false)
    };
    let waits = "migrationPreparing";
    assert_eq!(said(preparing(AUTOMATIC), context), [waits; 4]);
    assert_eq!(
        said(preparing(MANUAL), context),
        [waits, waits, waits, "migrationManual"]
    );
    let listed = operations(preparing(AUTOMATIC), None, context);
    let allowed = listed.iter().filter(|operation| operation.allowed);
    assert_eq!(
        allowed.map(|operation| &operation.id).collect::<Vec<_>>(),
        ["cancel", "recheck"]
    );
}

#[test]
fn a_migration_that_could_not_come_to_its_end_is_told_before_it_begins() {
    let down = |points, last| [schema("m", points, &[("r", "b")]).irreversible(last)];
    let lasting = blocked(&state(&down("a b", "b"), &down("a", "b")));
    // The resource moves after the nodes: they must not have moved when it turns out.
    assert_eq!(lasting.unwrap().code, ReasonCode::Irreversible);
    assert_eq!(blocked(&state(&down("a b", "a"), &down("a", "a"))), None);
}
