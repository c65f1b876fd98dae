//! What every engine has to do. Each case gets a store that was seeded with [`samples::seed`], opened, and
//! whose leader is the given epoch.

use klusterkite_core::configuration::ConfigurationState;
use klusterkite_store::rows::{
    ConfigurationRow, LinesOf, MigrationLogRow, MigratorLineRow, OrderState, TokenKind,
};
use klusterkite_store::{Change, Error, LINES_OF_RESOURCE_MAX, Snapshot, Store};
use klusterkite_wire::{ConfigurationId, LeaderEpoch};

use crate::samples;

/// Makes one test per case for an engine: `$open` gives the store and a guard that keeps it alive.
macro_rules! contract {
    ($open:path: $($case:ident,)*) => {
        $(#[tokio::test]
        async fn $case() {
            let (store, _guard) = $open().await;
            let epoch = store.leader_acquire("test", 1).await.unwrap();
            $crate::contract::$case(&store, epoch).await;
        })*
    };
    ($open:path) => {
        $crate::contract::contract! { $open:
            every_row_comes_back_as_it_was_written,
            a_put_replaces_and_a_delete_deletes,
            many_rows_of_one_commit_come_back,
            a_replaced_leader_cannot_write,
            a_commit_is_applied_as_a_whole_or_not_at_all,
            epochs_grow_whatever_the_clock_says,
            ids_are_never_given_twice,
            there_is_one_active_configuration_and_one_active_migration,
            a_node_keeps_its_open_orders_and_the_last_closed_ones,
            a_deleted_node_takes_its_orders_and_its_request_along,
            events_are_paged_forward_and_backward,
            forgetting_events_keeps_the_newest,
            migrations_and_their_logs_are_paged,
            lines_of_migrators_are_kept_while_there_is_room,
            expired_tokens_go,
            numbers_that_do_not_fit_are_refused,
            readers_and_the_writer_work_at_once,
        }
    };
}
pub(crate) use contract;

pub(crate) async fn every_row_comes_back_as_it_was_written(store: &Store, epoch: LeaderEpoch) {
    let seed = samples::seed();
    let changes = [
        Change::ConfigurationPut(samples::configuration(2)),
        Change::NodePut(samples::node(1)),
        Change::NodePut(samples::full_node(2)),
        Change::OrderPut(samples::prefetch(1, 1, OrderState::Open)),
        Change::OrderPut(samples::prefetch(2, 2, OrderState::Done)),
        Change::OrderPut(samples::stop(3, 1, OrderState::Accepted)),
        Change::OrderPut(samples::stop(
            4,
            2,
            OrderState::Failed {
                reason: "no".to_owned(),
            },
        )),
        Change::RequestPut(samples::request(1)),
        Change::GatePut(samples::gate()),
        Change::MigrationPut(samples::ended_migration(1)),
        Change::MigrationPut(samples::migration(2)),
        Change::MigrationLogAppend(samples::log(1, Some(1))),
        Change::MigrationLogAppend(empty_log(2)),
        Change::EventAppend(samples::event(1)),
        Change::TokenPut(samples::token("a", TokenKind::UserAccess, 20)),
        Change::TokenPut(samples::token("b", TokenKind::UserRefresh, 21)),
        Change::TokenPut(samples::token("c", TokenKind::ClientAccess, 22)),
    ];
    store.commit(epoch, &changes).await.unwrap();

    let expected = Snapshot {
        configurations: vec![seed.configuration, samples::configuration(2)],
        nodes: vec![samples::node(1), samples::full_node(2)],
        orders: vec![
            samples::prefetch(1, 1, OrderState::Open),
            samples::prefetch(2, 2, OrderState::Done),
            samples::stop(3, 1, OrderState::Accepted),
            samples::stop(
                4,
                2,
                OrderState::Failed {
                    reason: "no".to_owned(),
                },
            ),
        ],
        requests: vec![samples::request(1)],
        gates: vec![samples::gate()],
        migration: Some(samples::migration(2)),
        users: seed.users,
        roles: seed.roles,
        clients: seed.clients,
        tokens: vec![
            samples::token("a", TokenKind::UserAccess, 20),
            samples::token("b", TokenKind::UserRefresh, 21),
            samples::token("c", TokenKind::ClientAccess, 22),
        ],
        last_order_id: 4,
        last_event_id: 1,
        last_migration_id: 2,
        last_migration_log_id: 2,
        last_configuration_id: 2,
    };
    assert_eq!(store.snapshot().await.unwrap(), expected);
    assert_eq!(store.events(0, 9).await.unwrap().rows, [samples::event(1)]);
    assert_eq!(
        store.migration(1).await.unwrap(),
        Some(samples::ended_migration(1))
    );
    assert_eq!(store.migration(9).await.unwrap(), None);
    assert_eq!(
        store.migration_log(1, 0, 9).await.unwrap().rows,
        [samples::log(1, Some(1))]
    );
}

pub(crate) async fn a_put_replaces_and_a_delete_deletes(store: &Store, epoch: LeaderEpoch) {
    let put = [
        Change::ConfigurationPut(samples::configuration(2)),
        Change::NodePut(samples::full_node(1)),
        Change::OrderPut(samples::stop(1, 1, OrderState::Open)),
        Change::RequestPut(samples::request(1)),
        Change::GatePut(samples::gate()),
        Change::MigrationPut(samples::migration(1)),
        Change::TokenPut(samples::token("a", TokenKind::UserAccess, 20)),
    ];
    store.commit(epoch, &put).await.unwrap();
    let renamed = ConfigurationRow {
        name: "new".to_owned(),
        ..samples::configuration(2)
    };
    let replace = [
        Change::ConfigurationPut(renamed.clone()),
        Change::NodePut(samples::node(1)),
        Change::OrderPut(samples::stop(1, 1, OrderState::Accepted)),
        Change::MigrationPut(samples::ended_migration(1)),
    ];
    store.commit(epoch, &replace).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.configurations[1], renamed);
    assert_eq!(snapshot.nodes, [samples::node(1)]);
    assert_eq!(snapshot.orders, [samples::stop(1, 1, OrderState::Accepted)]);
    assert_eq!(snapshot.migration, None);

    let delete = [
        Change::RequestDelete(samples::node_id(1)),
        Change::GateDelete("orders".parse().unwrap()),
        Change::TokenDelete("a".to_owned()),
        Change::TokenDelete("never there".to_owned()),
    ];
    store.commit(epoch, &delete).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    assert!(
        snapshot.requests.is_empty() && snapshot.gates.is_empty() && snapshot.tokens.is_empty()
    );
}

pub(crate) async fn many_rows_of_one_commit_come_back(store: &Store, epoch: LeaderEpoch) {
    const ROWS: u8 = 50;
    let mut changes = Vec::new();
    for number in 1..=ROWS {
        let id = i64::from(number);
        let hash = format!("{number:02}");
        changes.extend([
            Change::NodePut(samples::node(number)),
            Change::OrderPut(samples::stop(id, number, OrderState::Open)),
            Change::TokenPut(samples::token(&hash, TokenKind::ClientAccess, 9)),
            Change::EventAppend(samples::event(id)),
        ]);
    }
    // Of one key the last one counts, and what is deleted in between comes back only when it is put again.
    changes.extend([
        Change::NodePut(samples::full_node(7)),
        Change::NodeDelete(samples::node_id(8)),
        Change::NodeDelete(samples::node_id(9)),
        Change::NodePut(samples::node(9)),
        Change::TokenDelete("03".to_owned()),
    ]);
    store.commit(epoch, &changes).await.unwrap();

    let snapshot = store.snapshot().await.unwrap();
    let node = |number| match number {
        7 => samples::full_node(7),
        _ => samples::node(number),
    };
    let mut nodes: Vec<_> = (1..=ROWS).filter(|n| *n != 8).map(node).collect();
    nodes.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(snapshot.nodes, nodes);
    let orders = snapshot.orders.iter().map(|order| order.id.0);
    let kept = (1..=i64::from(ROWS)).filter(|id| !matches!(id, 8 | 9));
    assert!(orders.eq(kept));
    assert_eq!(snapshot.last_order_id, i64::from(ROWS));
    assert_eq!(snapshot.tokens.len(), usize::from(ROWS) - 1);
    assert!(snapshot.tokens.iter().all(|token| token.hash != "03"));
    let events = store.events(0, 1000).await.unwrap();
    let ids = events.rows.iter().map(|event| event.id);
    assert!(ids.eq(1..=i64::from(ROWS)));
    assert_eq!(events.total, u64::from(ROWS));
}

pub(crate) async fn a_replaced_leader_cannot_write(store: &Store, old: LeaderEpoch) {
    let new = store.leader_acquire("other", 1).await.unwrap();
    let error = store
        .commit(old, &[Change::NodePut(samples::node(1))])
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Fenced { epoch, current } if (epoch, current) == (old, new)),
        "{error:?}"
    );
    assert!(store.snapshot().await.unwrap().nodes.is_empty());
    store
        .commit(new, &[Change::NodePut(samples::node(1))])
        .await
        .unwrap();
    assert_eq!(store.snapshot().await.unwrap().nodes.len(), 1);
}

pub(crate) async fn a_commit_is_applied_as_a_whole_or_not_at_all(
    store: &Store,
    epoch: LeaderEpoch,
) {
    store
        .commit(epoch, &[Change::EventAppend(samples::event(1))])
        .await
        .unwrap();
    let before = store.snapshot().await.unwrap();
    // The second event has an id that is taken.
    let changes = [
        Change::NodePut(samples::node(1)),
        Change::EventAppend(samples::event(2)),
        Change::EventAppend(samples::event(1)),
    ];
    let error = store.commit(epoch, &changes).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&store.path().display().to_string()),
        "{error}"
    );
    assert_eq!(store.snapshot().await.unwrap(), before);
    // And the store goes on working.
    store.commit(epoch, &changes[..2]).await.unwrap();
}

pub(crate) async fn epochs_grow_whatever_the_clock_says(store: &Store, first: LeaderEpoch) {
    let now = 1_763_826_000_000;
    assert_eq!(first, LeaderEpoch(1));
    assert_eq!(
        store.leader_acquire("a", now).await.unwrap(),
        LeaderEpoch(now)
    );
    assert_eq!(
        store.leader_acquire("a", now - 5).await.unwrap(),
        LeaderEpoch(now + 1)
    );
    assert_eq!(
        store.leader_acquire("b", 0).await.unwrap(),
        LeaderEpoch(now + 2)
    );
}

pub(crate) async fn ids_are_never_given_twice(store: &Store, epoch: LeaderEpoch) {
    let changes = [
        Change::ConfigurationPut(samples::configuration(7)),
        Change::NodePut(samples::node(1)),
        Change::OrderPut(samples::stop(5, 1, OrderState::Open)),
    ];
    store.commit(epoch, &changes).await.unwrap();
    let changes = [
        Change::ConfigurationDelete(ConfigurationId(7)),
        Change::NodeDelete(samples::node_id(1)),
        Change::ConfigurationPut(samples::configuration(3)),
    ];
    store.commit(epoch, &changes).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    let ids: Vec<i64> = snapshot.configurations.iter().map(|row| row.id.0).collect();
    assert_eq!(ids, [1, 3]);
    assert_eq!(
        (snapshot.last_configuration_id, snapshot.last_order_id),
        (7, 5)
    );
}

pub(crate) async fn there_is_one_active_configuration_and_one_active_migration(
    store: &Store,
    epoch: LeaderEpoch,
) {
    let state = |id, state| {
        Change::ConfigurationPut(ConfigurationRow {
            state,
            ..samples::configuration(id)
        })
    };
    let error = store
        .commit(epoch, &[state(2, ConfigurationState::Active)])
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Invariant {
                what: "Active configurations",
                count: 2
            }
        ),
        "{error:?}"
    );
    // Within a commit the order does not matter.
    let switch = [
        state(2, ConfigurationState::Active),
        state(1, ConfigurationState::Archived),
    ];
    store.commit(epoch, &switch).await.unwrap();

    store
        .commit(epoch, &[Change::MigrationPut(samples::migration(1))])
        .await
        .unwrap();
    let error = store
        .commit(epoch, &[Change::MigrationPut(samples::migration(2))])
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Invariant {
                what: "active migrations",
                count: 2
            }
        ),
        "{error:?}"
    );
}

pub(crate) async fn a_node_keeps_its_open_orders_and_the_last_closed_ones(
    store: &Store,
    epoch: LeaderEpoch,
) {
    let changes = [
        Change::NodePut(samples::node(1)),
        Change::NodePut(samples::node(2)),
        Change::OrderPut(samples::stop(1, 1, OrderState::Done)),
        Change::OrderPut(samples::stop(2, 1, OrderState::Open)),
        Change::OrderPut(samples::prefetch(3, 1, OrderState::Done)),
        Change::OrderPut(samples::stop(4, 2, OrderState::Done)),
        Change::OrderPut(samples::prefetch(5, 1, OrderState::Open)),
        Change::OrderPut(samples::stop(6, 1, OrderState::Done)),
    ];
    store.commit(epoch, &changes).await.unwrap();
    let ids =
        |snapshot: Snapshot| -> Vec<i64> { snapshot.orders.iter().map(|row| row.id.0).collect() };
    assert_eq!(ids(store.snapshot().await.unwrap()), [2, 4, 5, 6]);
    store
        .commit(
            epoch,
            &[Change::OrderPut(samples::stop(2, 1, OrderState::Done))],
        )
        .await
        .unwrap();
    store
        .commit(
            epoch,
            &[Change::OrderPut(samples::stop(7, 1, OrderState::Open))],
        )
        .await
        .unwrap();
    assert_eq!(ids(store.snapshot().await.unwrap()), [4, 5, 7]);
}

pub(crate) async fn a_deleted_node_takes_its_orders_and_its_request_along(
    store: &Store,
    epoch: LeaderEpoch,
) {
    // Orders may come before their node within a commit.
    let changes = [
        Change::OrderPut(samples::stop(1, 1, OrderState::Open)),
        Change::RequestPut(samples::request(1)),
        Change::NodePut(samples::node(1)),
    ];
    store.commit(epoch, &changes).await.unwrap();
    store
        .commit(epoch, &[Change::NodeDelete(samples::node_id(1))])
        .await
        .unwrap();
    let snapshot = store.snapshot().await.unwrap();
    assert!(
        snapshot.nodes.is_empty() && snapshot.orders.is_empty() && snapshot.requests.is_empty()
    );
    // An order to nobody is refused.
    store
        .commit(
            epoch,
            &[Change::OrderPut(samples::stop(2, 9, OrderState::Open))],
        )
        .await
        .unwrap_err();
}

pub(crate) async fn events_are_paged_forward_and_backward(store: &Store, epoch: LeaderEpoch) {
    let changes: Vec<Change> = (1..=10)
        .map(|id| Change::EventAppend(samples::event(id)))
        .collect();
    store.commit(epoch, &changes).await.unwrap();
    let ids = |page: klusterkite_store::Page<klusterkite_store::rows::EventRow>| {
        assert_eq!(page.total, 10);
        page.rows.iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(store.events(0, 3).await.unwrap()), [1, 2, 3]);
    assert_eq!(ids(store.events(8, 3).await.unwrap()), [9, 10]);
    assert_eq!(ids(store.events(10, 3).await.unwrap()), [0; 0]);
    assert_eq!(ids(store.events_before(None, 3).await.unwrap()), [10, 9, 8]);
    assert_eq!(ids(store.events_before(Some(3), 3).await.unwrap()), [2, 1]);
}

pub(crate) async fn forgetting_events_keeps_the_newest(store: &Store, epoch: LeaderEpoch) {
    let changes: Vec<Change> = (1..=4)
        .map(|id| Change::EventAppend(samples::event(id)))
        .collect();
    store.commit(epoch, &changes).await.unwrap();
    store
        .commit(epoch, &[Change::EventsForget(2)])
        .await
        .unwrap();
    assert_eq!(
        store.events(0, 9).await.unwrap().rows,
        [samples::event(3), samples::event(4)]
    );
    store
        .commit(epoch, &[Change::EventsForget(99)])
        .await
        .unwrap();
    assert_eq!(store.snapshot().await.unwrap().last_event_id, 4);
}

pub(crate) async fn migrations_and_their_logs_are_paged(store: &Store, epoch: LeaderEpoch) {
    let mut changes = vec![Change::ConfigurationPut(samples::configuration(2))];
    changes.extend((1..=5).map(|id| Change::MigrationPut(samples::ended_migration(id))));
    changes
        .extend((1..=6).map(|id| Change::MigrationLogAppend(samples::log(id, Some(1 + id % 2)))));
    changes.push(Change::MigrationLogAppend(empty_log(7)));
    store.commit(epoch, &changes).await.unwrap();

    let page = store.migrations(None, 2).await.unwrap();
    assert_eq!(
        (
            page.rows.iter().map(|row| row.id).collect::<Vec<_>>(),
            page.total
        ),
        (vec![5, 4], 5)
    );
    let page = store.migrations(Some(2), 2).await.unwrap();
    assert_eq!(
        (
            page.rows.iter().map(|row| row.id).collect::<Vec<_>>(),
            page.total
        ),
        (vec![1], 5)
    );

    let page = store.migration_log(1, 2, 1).await.unwrap();
    assert_eq!(
        (
            page.rows.iter().map(|row| row.id).collect::<Vec<_>>(),
            page.total
        ),
        (vec![4], 3)
    );
}

pub(crate) async fn lines_of_migrators_are_kept_while_there_is_room(
    store: &Store,
    epoch: LeaderEpoch,
) {
    let row = |resource: &str, line: usize| MigratorLineRow {
        migration_id: 0,
        at: 7,
        template: "db".parse().unwrap(),
        migrator: "Acme.Db".parse().unwrap(),
        resource: resource.parse().unwrap(),
        stream: "stderr".to_owned(),
        line: format!("line {line}"),
    };
    let of = |resource: Option<&str>| LinesOf {
        migration_id: 0,
        template: Some("db".parse().unwrap()),
        migrator: None,
        resource: resource.map(|code| code.parse().unwrap()),
    };
    let old = [row("a", 0)];
    store.migrator_lines_append(epoch, &old).await.unwrap();
    let kept = LINES_OF_RESOURCE_MAX as usize;
    let many: Vec<_> = (1..=kept + 5).map(|line| row("b", line)).collect();
    for rows in many.chunks(500) {
        store.migrator_lines_append(epoch, rows).await.unwrap();
    }
    let all = store
        .migrator_lines(&of(Some("b")), 0, 9_999)
        .await
        .unwrap();
    assert_eq!(all.len(), kept);
    assert_eq!(all[0].1, row("b", 6), "the oldest go");
    let first = store.migrator_lines(&of(None), 0, 1).await.unwrap();
    assert_eq!(first, [(1, row("a", 0))], "those of others stay");
    let (last, _) = all[kept - 1];
    let rest = store.migrator_lines(&of(None), last - 1, 10).await.unwrap();
    assert_eq!(rest, [(last, row("b", kept + 5))]);
    let other = LinesOf {
        migration_id: 1,
        ..of(None)
    };
    assert_eq!(store.migrator_lines(&other, 0, 10).await.unwrap(), []);

    let next = store.leader_acquire("other", 2).await.unwrap();
    let error = store.migrator_lines_append(epoch, &old).await.unwrap_err();
    assert!(matches!(error, Error::Fenced { .. }), "{error:?}");
    store.migrator_lines_append(next, &old).await.unwrap();
}

pub(crate) async fn expired_tokens_go(store: &Store, epoch: LeaderEpoch) {
    let changes = [
        Change::TokenPut(samples::token("a", TokenKind::UserAccess, 10)),
        Change::TokenPut(samples::token("b", TokenKind::UserAccess, 11)),
        Change::TokensExpire(11),
    ];
    store.commit(epoch, &changes).await.unwrap();
    let tokens = store.snapshot().await.unwrap().tokens;
    assert_eq!(tokens, [samples::token("b", TokenKind::UserAccess, 11)]);
}

pub(crate) async fn numbers_that_do_not_fit_are_refused(store: &Store, epoch: LeaderEpoch) {
    let mut node = samples::node(1);
    node.incarnation = klusterkite_wire::Incarnation(u64::MAX);
    let error = store
        .commit(epoch, &[Change::NodePut(node)])
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                what: "incarnation",
                ..
            }
        ),
        "{error:?}"
    );
}

pub(crate) async fn readers_and_the_writer_work_at_once(store: &Store, epoch: LeaderEpoch) {
    let write = async {
        for id in 1..=100 {
            store
                .commit(epoch, &[Change::EventAppend(samples::event(id))])
                .await
                .unwrap();
        }
    };
    let read = async {
        let mut last = 0;
        while last < 100 {
            // Each reader sees a prefix of the history that only grows.
            let rows = store.events(last, 100).await.unwrap().rows;
            for row in rows {
                assert_eq!(row.id, last + 1);
                last = row.id;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(write, read);
}

fn empty_log(id: i64) -> MigrationLogRow {
    MigrationLogRow {
        template: None,
        migrator: None,
        resource: None,
        from_point: None,
        to_point: None,
        ..samples::log(id, None)
    }
}
