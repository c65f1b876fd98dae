//! Decisions of the same moment: one commit, and one end.

use futures_util::future::join_all;
use klusterkite_manager::fault::Fault;
use klusterkite_store::rows::{EventRow, NodeRow};
use klusterkite_store::{Change, Error};
use klusterkite_wire::NodeId;

use crate::harness::{Server, node};

/// Lets decisions line up while the state is held, and then lets them go: they share a turn.
fn together<T>(
    server: &Server,
    decisions: impl Iterator<Item = impl Future<Output = Result<T, Fault>>>,
) -> Vec<Result<T, Fault>> {
    server.block_on(async {
        let held = server.cluster.read().await;
        let mut all = Box::pin(join_all(decisions));
        // One poll brings each of them as far as it comes.
        assert!(futures_util::poll!(&mut all).is_pending());
        drop(held);
        all.await
    })
}

fn new_node(number: u8) -> NodeRow {
    NodeRow {
        id: NodeId::from_random_bytes([number; 16]),
        token_hash: None,
        ..node()
    }
}

#[test]
fn decisions_of_one_turn_see_each_other_and_are_all_stored() {
    let server = Server::start();
    let before = server.block_on(server.cluster.read()).last_ids.event;
    let decisions = (0..25).map(|number| {
        server.cluster.transact_together(move |draft| {
            let seen = draft.state.nodes.len();
            draft.event("tested", "test", number, "one of many");
            draft.put(Change::NodePut(new_node(number)));
            Ok(seen)
        })
    });
    let seen: Vec<usize> = together(&server, decisions)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let first = seen[0];
    assert_eq!(seen, (first..first + 25).collect::<Vec<_>>());
    let stored = server.block_on(server.cluster.store().events(before, 1000));
    assert_eq!(stored.unwrap().rows.len(), 25);
}

#[test]
fn a_refused_decision_leaves_the_others_of_its_turn_alone() {
    let server = Server::start();
    let decisions = (0..9).map(|number| {
        server.cluster.transact_together(move |draft| {
            if number % 3 == 0 {
                return Err(Fault::conflict("tested", "not this one"));
            }
            draft.put(Change::NodePut(new_node(number)));
            Ok(())
        })
    });
    let done = together(&server, decisions);
    let refused: Vec<usize> = (0..9).filter(|number| done[*number].is_err()).collect();
    assert_eq!(refused, [0, 3, 6]);
    let snapshot = server.block_on(server.cluster.store().snapshot()).unwrap();
    assert_eq!(snapshot.nodes.len(), 1 + 6);
}

#[test]
fn a_commit_that_fails_is_told_to_all_of_its_turn_and_the_state_is_that_of_the_store() {
    let server = Server::start();
    server.put(Change::EventAppend(event(1)));
    let decisions = (0..5).map(|number| {
        server.cluster.transact_together(move |draft| {
            draft.put(Change::NodePut(new_node(number)));
            if number == 3 {
                // The store has this number already.
                draft.put(Change::EventAppend(event(1)));
            }
            Ok(())
        })
    });
    for done in together(&server, decisions) {
        let Err(Fault::Store(error)) = done else {
            panic!("a decision of a failed commit was told that it is done");
        };
        assert!(matches!(*error, Error::Database { .. }), "{error}");
    }
    let nodes = |server: &Server| server.block_on(server.cluster.read()).nodes.len();
    assert_eq!(nodes(&server), 1);
    server.put(Change::NodePut(new_node(9)));
    assert_eq!(nodes(&server), 2);
}

fn event(id: i64) -> EventRow {
    EventRow {
        id,
        at: 1,
        kind: "tested".to_owned(),
        actor: "test".to_owned(),
        object: "test".to_owned(),
        message: "an event".to_owned(),
        params: std::collections::BTreeMap::new(),
    }
}
