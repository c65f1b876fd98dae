use super::ConfigurationState::{Active, Archived, Draft, Faulted, Obsolete, Ready};
use super::*;

const STATES: [ConfigurationState; 6] = [Draft, Ready, Active, Archived, Obsolete, Faulted];

fn plain() -> ConfigurationContext {
    ConfigurationContext::default()
}

/// Asks in every state and lists where the answer is yes.
fn accepted(
    trigger: Trigger,
    context: &ConfigurationContext,
) -> Vec<(ConfigurationState, ConfigurationState)> {
    STATES
        .into_iter()
        .filter_map(|state| Some((state, allowed(state, trigger, context).ok()?)))
        .collect()
}

fn refused(
    state: ConfigurationState,
    trigger: Trigger,
    context: &ConfigurationContext,
) -> ReasonCode {
    allowed(state, trigger, context).unwrap_err().code
}

#[test]
fn the_state_machine_accepts_exactly_these_transitions() {
    let retry = Trigger::Target {
        retry_faulted: true,
    };
    let back = |before| Trigger::TurnBack { before };
    let table = [
        (Trigger::Check, vec![(Draft, Draft)]),
        (Trigger::SetReady, vec![(Draft, Ready)]),
        (Trigger::SetObsolete, vec![(Ready, Obsolete)]),
        (Trigger::SetStable(true), vec![(Active, Active)]),
        (
            Trigger::Target {
                retry_faulted: false,
            },
            vec![(Ready, Ready), (Archived, Archived)],
        ),
        (
            retry,
            vec![(Ready, Ready), (Archived, Archived), (Faulted, Faulted)],
        ),
        (
            Trigger::Activate,
            vec![(Ready, Active), (Archived, Active), (Faulted, Active)],
        ),
        (Trigger::Leave, vec![(Active, Archived)]),
        (back(Ready), vec![(Active, Faulted)]),
        (back(Faulted), vec![(Active, Faulted)]),
    ];
    for (trigger, expected) in table {
        assert_eq!(accepted(trigger, &plain()), expected, "{trigger:?}");
    }
}

#[test]
fn b2_the_stable_mark_can_be_set_and_cleared_and_repeating_it_is_refused() {
    for is_stable in [false, true] {
        let context = ConfigurationContext {
            is_stable,
            ..plain()
        };
        assert_eq!(
            allowed(Active, Trigger::SetStable(!is_stable), &context),
            Ok(Active)
        );
        assert_eq!(
            refused(Active, Trigger::SetStable(is_stable), &context),
            ReasonCode::NothingChanges
        );
    }
    assert_eq!(
        refused(Ready, Trigger::SetStable(true), &plain()),
        ReasonCode::NotActive
    );
}

#[test]
fn b3_only_a_draft_can_be_changed_or_deleted() {
    for trigger in [Trigger::Update, Trigger::Delete] {
        assert_eq!(accepted(trigger, &plain()), [(Draft, Draft)]);
        assert_eq!(refused(Active, trigger, &plain()), ReasonCode::NotDraft);
    }
}

#[test]
fn b21_obsolete_and_faulted_targets_are_refused_and_the_target_of_a_migration_stays() {
    let first = Trigger::Target {
        retry_faulted: false,
    };
    assert_eq!(
        refused(Obsolete, first, &plain()),
        ReasonCode::TargetIsObsolete
    );
    assert_eq!(
        refused(Faulted, first, &plain()),
        ReasonCode::TargetIsFaulted
    );
    assert_eq!(refused(Draft, first, &plain()), ReasonCode::TargetIsDraft);
    assert_eq!(refused(Active, first, &plain()), ReasonCode::TargetIsActive);
    let context = ConfigurationContext {
        is_migration_target: true,
        ..plain()
    };
    assert_eq!(
        refused(Ready, Trigger::SetObsolete, &context),
        ReasonCode::TargetOfMigration
    );
}

#[test]
fn b21_turning_back_from_an_archived_configuration_leaves_it_archived() {
    assert_eq!(
        allowed(Active, Trigger::TurnBack { before: Archived }, &plain()),
        Ok(Archived)
    );
}

#[test]
fn a_second_ready_configuration_is_refused_and_named() {
    let context = ConfigurationContext {
        other_ready: Some(ConfigurationId(7)),
        ..plain()
    };
    let refusal = allowed(Draft, Trigger::SetReady, &context).unwrap_err();
    assert_eq!(refusal.code, ReasonCode::AnotherIsReady);
    assert_eq!(refusal.params["configuration"], "7");
}

#[test]
fn the_shown_operations_are_those_that_would_be_accepted() {
    let ids = |state| -> Vec<String> {
        let operations = operations(state, &plain());
        operations
            .into_iter()
            .filter(|operation| operation.allowed)
            .map(|operation| operation.id)
            .collect()
    };
    assert_eq!(ids(Draft), ["update", "delete", "check", "setReady"]);
    assert_eq!(ids(Ready), ["migrate", "setObsolete"]);
    assert_eq!(ids(Active), ["setStable"]);
    assert_eq!(ids(Archived), ["migrate"]);
    assert_eq!(ids(Faulted), ["migrate"]);
    assert!(ids(Obsolete).is_empty());
}
