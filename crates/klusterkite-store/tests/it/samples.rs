//! One row of each kind with every field set, and one with as little as possible.

use std::collections::BTreeMap;

use klusterkite_core::configuration::ConfigurationState;
use klusterkite_core::plan::resources::Side;
use klusterkite_core::plan::rollout::{NodeStatus, StopReason, Target};
use klusterkite_core::reason::{ReasonCode, Refusal};
use klusterkite_core::release::FrozenPackages;
use klusterkite_core::settings::{NodeTemplateSettings, Settings};
use klusterkite_store::Seed;
use klusterkite_store::rows::*;
use klusterkite_wire::link::{
    Containment, ContainmentLevel, Endpoint, Module, ProcessReport, ProcessState,
};
use klusterkite_wire::start::{CrashReport, PackageReference};
use klusterkite_wire::{ConfigurationId, Incarnation, NodeId, OrderId};

pub(crate) fn seed() -> Seed {
    Seed {
        configuration: ConfigurationRow {
            state: ConfigurationState::Active,
            started: Some(5),
            frozen: Some(frozen()),
            ..configuration(1)
        },
        users: vec![UserRow {
            login: "admin".to_owned(),
            password_hash: "$argon2id$…".to_owned(),
            is_blocked: false,
            roles: vec!["Admin".to_owned()],
        }],
        roles: vec![RoleRow {
            name: "Admin".to_owned(),
            allowed: vec!["MigrateCluster".to_owned()],
            denied: vec!["GetConfiguration".to_owned()],
        }],
        clients: vec![ClientRow {
            id: "launcher-worker".to_owned(),
            secret_hash: "ab".repeat(32),
            container_types: vec!["worker".parse().unwrap()],
        }],
    }
}

pub(crate) fn configuration(id: i64) -> ConfigurationRow {
    ConfigurationRow {
        id: ConfigurationId(id),
        name: "it's \"quoted\" \u{1f680}".to_owned(),
        major_version: -1,
        minor_version: i64::MAX,
        notes: "line\nline".to_owned(),
        state: ConfigurationState::Draft,
        is_stable: true,
        created: 1,
        started: None,
        finished: None,
        revision: 3,
        settings: Settings {
            node_templates: vec![NodeTemplateSettings {
                code: "orders".to_owned(),
                configuration: "a { b = ${?C} }".to_owned(),
                priority: 0.1,
                ..NodeTemplateSettings::default()
            }],
            ..Settings::default()
        },
        frozen: None,
    }
}

fn frozen() -> FrozenPackages {
    let package = PackageReference {
        id: "Acme.Orders".to_owned(),
        version: "1.4.0".to_owned(),
        sha512: "hash".to_owned(),
        size: 1 << 40,
    };
    let by_runtime = BTreeMap::from([("linux-x64".parse().unwrap(), vec![package])]);
    FrozenPackages {
        node_templates: BTreeMap::from([("orders".parse().unwrap(), by_runtime)]),
        migrator_templates: BTreeMap::new(),
    }
}

pub(crate) fn node_id(number: u8) -> NodeId {
    NodeId::from_random_bytes([number; 16])
}

pub(crate) fn node(number: u8) -> NodeRow {
    NodeRow {
        id: node_id(number),
        secret_hash: "cd".repeat(32),
        token_hash: None,
        incarnation: Incarnation(0),
        container_type: "worker".parse().unwrap(),
        runtime: "linux-x64".parse().unwrap(),
        run: None,
        cordoned: false,
        last_template: None,
        last_crash: None,
    }
}

pub(crate) fn full_node(number: u8) -> NodeRow {
    NodeRow {
        token_hash: Some("ef".repeat(32)),
        incarnation: Incarnation(1_763_826_000_123),
        run: Some(NodeRun {
            incarnation: Incarnation(1_763_826_000_124),
            template: "orders".parse().unwrap(),
            configuration_id: ConfigurationId(1),
            status: NodeStatus::Ready,
            reason: Some("well".to_owned()),
            status_since: 7,
            started: 6,
            explanation: None,
            joined: Some(NodeJoined {
                address: "10.0.0.7".to_owned(),
                roles: vec!["orders".to_owned()],
                modules: vec![Module {
                    id: "Acme.Orders".to_owned(),
                    version: "1.4.0".to_owned(),
                    sha512: "hash".to_owned(),
                }],
                endpoints: vec![Endpoint {
                    name: "orders".to_owned(),
                    port: 8080,
                    host: "default".to_owned(),
                    route: "/api".to_owned(),
                }],
                processes: vec![ProcessReport {
                    name: "orders".to_owned(),
                    state: ProcessState::Ready,
                    restarts: 1,
                    exit: Some("exit 3".to_owned()),
                }],
                containment: Some(Containment {
                    level: ContainmentLevel::ControlGroups,
                    limits: vec!["memory".to_owned()],
                    reason: None,
                }),
            }),
        }),
        cordoned: true,
        last_template: Some("orders".parse().unwrap()),
        last_crash: Some(CrashReport {
            exit: "signal 11".to_owned(),
            last_lines: vec!["oh".to_owned()],
            crashes: 7,
        }),
        ..node(number)
    }
}

pub(crate) fn stop(id: i64, number: u8, state: OrderState) -> OrderRow {
    OrderRow {
        id: OrderId(id),
        node_id: node_id(number),
        incarnation: Incarnation(9),
        kind: OrderRowKind::Stop {
            reason: StopReason::Update,
            target: Some(target()),
            why: Some("package Acme.Orders changes".to_owned()),
        },
        ordered: 8,
        state,
    }
}

pub(crate) fn prefetch(id: i64, number: u8, state: OrderState) -> OrderRow {
    OrderRow {
        kind: OrderRowKind::Prefetch { target: target() },
        ..stop(id, number, state)
    }
}

fn target() -> Target {
    Target {
        template: "orders".parse().unwrap(),
        configuration_id: ConfigurationId(2),
    }
}

pub(crate) fn request(number: u8) -> RequestRow {
    RequestRow {
        node_id: node_id(number),
        drain: true,
        force: false,
        incarnation: Incarnation(9),
    }
}

pub(crate) fn gate() -> GateRow {
    GateRow {
        template: "orders".parse().unwrap(),
        failed: 2,
        reason: Some("exit 1".to_owned()),
        progress_left_ms: Some(600_000),
    }
}

pub(crate) fn migration(id: i64) -> MigrationRow {
    MigrationRow {
        id,
        state: "paused".to_owned(),
        active: true,
        from: ConfigurationId(1),
        to: ConfigurationId(2),
        automatic: true,
        rollback_on_failure: true,
        goal: Side::Destination,
        started: 10,
        finished: None,
        reason: Some(
            Refusal::new(ReasonCode::FailureGate, "hello never became ready")
                .with("template", "hello"),
        ),
    }
}

pub(crate) fn ended_migration(id: i64) -> MigrationRow {
    MigrationRow {
        state: "completed".to_owned(),
        active: false,
        goal: Side::Source,
        finished: Some(11),
        reason: None,
        ..migration(id)
    }
}

pub(crate) fn log(id: i64, migration_id: Option<i64>) -> MigrationLogRow {
    MigrationLogRow {
        id,
        migration_id,
        at: 12,
        kind: "resourceMoved".to_owned(),
        template: Some("db".parse().unwrap()),
        migrator: Some("Acme.OrdersDb".parse().unwrap()),
        resource: Some("orders".parse().unwrap()),
        from_point: Some("1".parse().unwrap()),
        to_point: Some("2 add totals".parse().unwrap()),
        message: "moved".to_owned(),
    }
}

pub(crate) fn event(id: i64) -> EventRow {
    EventRow {
        id,
        at: 13,
        kind: "nodeReady".to_owned(),
        actor: "manager".to_owned(),
        object: "node:x".to_owned(),
        message: format!("event {id}"),
        params: BTreeMap::from([("template".to_owned(), "orders".to_owned())]),
    }
}

pub(crate) fn token(hash: &str, kind: TokenKind, expires: u64) -> TokenRow {
    TokenRow {
        hash: hash.to_owned(),
        kind,
        subject: "admin".to_owned(),
        family: "family".to_owned(),
        expires,
    }
}
