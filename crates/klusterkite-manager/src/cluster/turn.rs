//! Decisions that wait for one commit together.
//!
//! A commit costs a wait for the disk, whatever is in it, and ten thousand containers may ask at once. So
//! the first decision of a turn opens it and lines up to close it; whoever stands in line before that
//! decides in between, on the state as the others have left it. Nobody sees that state before it is
//! committed: the turn holds it locked, and each caller gets his answer after the commit. When the commit
//! fails all of them hear so, and the state is read again from the store.

use std::sync::Arc;
use std::time::Duration;

use klusterkite_store::Error;
use klusterkite_wire::chain;
use tokio::sync::{OwnedMutexGuard, OwnedRwLockWriteGuard, oneshot};

use super::{Cluster, ends};
use crate::fault::Fault;
use crate::state::{Decision, Draft, State};

/// How long a store rests that could not be read.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// The place at which decisions are made, by one at a time; a turn is open or not.
pub(super) type Turn = Option<Open>;

/// A turn that waits for its commit.
pub(super) struct Open {
    /// The state, with what was decided and is not committed.
    state: OwnedRwLockWriteGuard<State>,
    decision: Decision,
    waiting: Vec<oneshot::Sender<Result<(), Fault>>>,
}

impl Cluster {
    /// Decides on the state like [`Cluster::transact`], in one commit with others who are here at the same time.
    ///
    /// For what nodes and launchers say. Others of the same commit see the changes of this decision, but not yet
    /// what it lets the leader remember.
    pub async fn transact_together<T>(
        &self,
        decide: impl FnOnce(&mut Draft<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut turn = Arc::clone(&self.0.turn).lock_owned().await;
        let opens = turn.is_none();
        let open = match &mut *turn {
            Some(open) => open,
            none => none.insert(Open {
                state: Arc::clone(&self.0.state).write_owned().await,
                decision: Decision::default(),
                waiting: Vec::new(),
            }),
        };
        let mut draft = Draft::new(&open.state, self.now());
        let decided = decide(&mut draft);
        let decision = draft.decided();
        if opens && (decided.is_err() || decision.changes.is_empty()) {
            if decided.is_ok() {
                decision.remember(&mut open.state);
            }
            *turn = None;
            return decided;
        }
        let answered = decided.map(|decided| {
            decision.foresee(&mut open.state);
            open.decision.add(decision);
            let (answer, answered) = oneshot::channel();
            open.waiting.push(answer);
            (decided, answered)
        });
        drop(turn);
        if opens {
            let cluster = self.clone();
            // A task of its own, which stands in line behind all who stand there now; a caller who goes away
            // does not take the others' commit along.
            tokio::spawn(async move {
                let turn = Arc::clone(&cluster.0.turn).lock_owned().await;
                cluster.commit_open(turn).await;
            });
        }
        let (decided, answered) = answered?;
        answered.await.unwrap_or_else(|_| Err(ends()))?;
        Ok(decided)
    }

    /// Takes the place at which decisions are made, and commits what others decided there before.
    pub(super) async fn take_turn(&self) -> Result<OwnedMutexGuard<Turn>, Fault> {
        let turn = Arc::clone(&self.0.turn).lock_owned().await;
        if turn.is_none() {
            return Ok(turn);
        }
        let cluster = self.clone();
        let closed = tokio::spawn(async move { cluster.commit_open(turn).await });
        closed.await.map_err(|_| ends())
    }

    /// Commits what the open turn decided, if one is open.
    async fn commit_open(&self, mut turn: OwnedMutexGuard<Turn>) -> OwnedMutexGuard<Turn> {
        let Some(Open {
            mut state,
            decision,
            waiting,
        }) = turn.take()
        else {
            return turn;
        };
        let committed = self.0.store.commit(self.0.epoch, &decision.changes).await;
        let answer = match committed {
            Ok(()) => {
                let events = decision.events();
                decision.remember(&mut state);
                drop(state);
                self.tell(events);
                Ok(())
            }
            Err(error) => {
                let error = Arc::new(error);
                self.read_again(&mut state, &error).await;
                Err(error)
            }
        };
        for waiting in waiting {
            // Who went away does not want to know.
            let _ = waiting.send(answer.clone().map_err(Fault::Store));
        }
        turn
    }

    /// Reads the state again after a commit of which nobody knows how far it came.
    ///
    /// Does not return before it could: a manager that does not know its state must not answer from it.
    pub(super) async fn read_again(&self, state: &mut State, after: &Error) {
        if matches!(after, Error::Fenced { .. }) {
            // Another manager leads; this one ends.
            return;
        }
        let mut said = false;
        loop {
            let failed = match self.0.store.snapshot().await.map(State::from_snapshot) {
                Ok(Ok(stored)) => return state.read_again(stored),
                Ok(Err(error)) => chain(&error),
                Err(error) => chain(&error),
            };
            if !said {
                tracing::error!("a commit failed and the store cannot be read: {failed}");
                said = true;
            }
            tokio::time::sleep(READ_AGAIN_AFTER).await;
        }
    }
}
