//! The one door to the state: decide on values, commit, apply, tell.

mod turn;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use klusterkite_core::time::Timestamp;
use klusterkite_store::rows::EventRow;
use klusterkite_store::{Error, Store};
use klusterkite_wire::link::Members;
use klusterkite_wire::{LeaderEpoch, Secret};
use tokio::sync::{
    Mutex, Notify, OwnedMutexGuard, OwnedRwLockWriteGuard, RwLock, RwLockReadGuard, broadcast,
    watch,
};

use crate::auth::{Bearer, SharedAccounts};
use crate::clock::{Clock, wall_clock};
use crate::config::Config;
use crate::fault::Fault;
use crate::feed::Feed;
use crate::lease::Terms;
use crate::link::{Board, Wires};
use crate::node_logs::LogDesk;
use crate::state::{Decision, Draft, State};
use turn::Turn;

/// How many events a slow reader of the stream may be behind before it has to page the history.
const EVENTS_BEHIND_MAX: usize = 1024;

/// Events of one commit that are written to the log one by one; when thousands of nodes come at once, writing lines for
/// each takes longer than deciding about them, and the history has them all.
const LOGGED_MAX: usize = 16;

/// Heartbeats per second over all nodes that decide how long a lease is at least.
const HEARTBEATS_PER_LEASE_SECOND: usize = 1000;

/// A cheap handle to the cluster's state and everything that acts on it.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    config: Config,
    clock: Clock,
    store: Store,
    epoch: LeaderEpoch,
    state: Arc<RwLock<State>>,
    accounts: SharedAccounts,
    /// Taken before the state is locked for a decision.
    turn: Arc<Mutex<Turn>>,
    nudge: Notify,
    events: broadcast::Sender<EventRow>,
    lines: watch::Sender<u64>,
    members: watch::Sender<Arc<Members>>,
    board: Board,
    terms: Terms,
    wires: Wires,
    logs: LogDesk,
    feed: Feed,
}

impl Cluster {
    /// Opens the store, becomes the leader and loads the state.
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        let store = Store::open(&config.database).await?;
        let epoch = store.leader_acquire(&holder(&config), wall_clock()).await?;
        let snapshot = store.snapshot().await?;
        let state = State::from_snapshot(snapshot).with_context(|| not_valid(&config.database))?;
        let clock = Clock::start(state.newest_time());
        let terms = Terms::new(clock, lease_seconds(&config, 0));
        let wires = Wires::start(terms.clone()).context("cannot start the thread of the links")?;
        Ok(Self(Arc::new(Inner {
            clock,
            store,
            epoch,
            accounts: state.accounts.clone(),
            state: Arc::new(RwLock::new(state)),
            turn: Arc::default(),
            nudge: Notify::new(),
            events: broadcast::channel(EVENTS_BEHIND_MAX).0,
            lines: watch::channel(0).0,
            members: watch::channel(Arc::default()).0,
            board: Board::default(),
            terms,
            wires,
            logs: LogDesk::default(),
            feed: Feed::new(
                config.feed_credential_file.clone(),
                config.trust.clone(),
                config.feed_timeout,
            ),
            config,
        })))
    }

    /// Returns the settings.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Returns the requests for output that wait for their nodes.
    pub(crate) fn logs(&self) -> &LogDesk {
        &self.0.logs
    }

    /// Returns what the manager asks feeds.
    pub fn feed(&self) -> &Feed {
        &self.0.feed
    }

    /// Returns the store, for reading histories.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Returns the epoch of this leader.
    pub fn epoch(&self) -> LeaderEpoch {
        self.0.epoch
    }

    /// Returns the time.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Reads the state. The guard must not be held while waiting for anything but the state.
    pub async fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().await
    }

    /// Returns who is known; needs no look at the state, which may wait for a commit.
    pub fn accounts(&self) -> &SharedAccounts {
        &self.0.accounts
    }

    /// Returns the bearer of a token, if it is good now.
    pub fn bearer(&self, token: &Secret) -> Option<Bearer> {
        self.0.accounts.read().bearer(self.now(), token)
    }

    /// Decides on the state, commits the changes of the decision, applies them, and tells whoever listens.
    ///
    /// Nothing changes when `decide` or the commit fails. A fenced commit means that another manager
    /// leads: the process has to end.
    pub async fn transact<T>(
        &self,
        decide: impl FnOnce(&mut Draft<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let turn = self.take_turn().await?;
        let mut state = Arc::clone(&self.0.state).write_owned().await;
        let mut draft = Draft::new(&state, self.now());
        let decided = decide(&mut draft)?;
        let decision = draft.decided();
        if decision.changes.is_empty() {
            decision.remember(&mut state);
            return Ok(decided);
        }
        let cluster = self.clone();
        // A task of its own: a caller who goes away in the middle must not leave a commit without its effect.
        let carried_out =
            tokio::spawn(async move { cluster.carry_out(turn, state, decision).await });
        match carried_out.await {
            Ok(carried_out) => carried_out?,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Err(ends()),
        }
        Ok(decided)
    }

    async fn carry_out(
        &self,
        _turn: OwnedMutexGuard<Turn>,
        mut state: OwnedRwLockWriteGuard<State>,
        decision: Decision,
    ) -> Result<(), Fault> {
        if let Err(error) = self.0.store.commit(self.0.epoch, &decision.changes).await {
            if matches!(error, Error::Database { .. } | Error::Corrupt { .. }) {
                self.read_again(&mut state, &error).await;
            }
            return Err(error.into());
        }
        let events = decision.events();
        decision.foresee(&mut state);
        decision.remember(&mut state);
        drop(state);
        self.tell(events);
        Ok(())
    }

    /// Tells what was committed to whoever listens, and wakes the loop.
    fn tell(&self, events: Vec<EventRow>) {
        let more = events.len().saturating_sub(LOGGED_MAX);
        for (number, event) in events.into_iter().enumerate() {
            let EventRow {
                kind,
                object,
                message,
                ..
            } = &event;
            if number < LOGGED_MAX {
                tracing::info!(kind, object, "{message}");
            } else {
                tracing::debug!(kind, object, "{message}");
            }
            // Nobody listens: the history has it.
            let _ = self.0.events.send(event);
        }
        if more > 0 {
            tracing::info!(more, "the history of events has all of this moment");
        }
        self.0.nudge.notify_one();
    }

    /// Changes what only the leader knows and plans look at.
    pub async fn remember<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        self.note(|state| {
            state.changed();
            change(state)
        })
        .await
    }

    /// Changes what only the leader knows and no plan looks at.
    pub(crate) async fn note<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut *self.0.state.write().await)
    }

    /// Returns how long leases are.
    pub(crate) fn terms(&self) -> &Terms {
        &self.0.terms
    }

    /// Returns what serves the sockets of links.
    pub(crate) fn wires(&self) -> &Wires {
        &self.0.wires
    }

    /// Says how many links there are: with many of them leases live longer.
    pub(crate) fn links_counted(&self, links: usize) {
        self.0
            .terms
            .set_seconds(lease_seconds(&self.0.config, links));
    }

    /// Wakes the loop.
    pub fn nudge(&self) {
        self.0.nudge.notify_one();
    }

    /// Waits until somebody wakes the loop.
    pub async fn nudged(&self) {
        self.0.nudge.notified().await;
    }

    /// Listens to events from now on.
    pub fn events(&self) -> broadcast::Receiver<EventRow> {
        self.0.events.subscribe()
    }

    /// Returns what tells that migrators said something new.
    pub(crate) fn lines(&self) -> &watch::Sender<u64> {
        &self.0.lines
    }

    /// Listens to the list of ready nodes.
    pub fn members(&self) -> watch::Receiver<Arc<Members>> {
        self.0.members.subscribe()
    }

    /// Returns what links are told of that list.
    pub(crate) fn board(&self) -> &Board {
        &self.0.board
    }

    /// Publishes the list of ready nodes.
    pub(crate) fn members_publish(&self, members: Members) {
        self.0.members.send_replace(Arc::new(members));
    }
}

/// Returns the life of a lease: at most a thousand renewals per second over all nodes.
fn lease_seconds(config: &Config, links: usize) -> u32 {
    let minimum = config.lease_minimum.as_secs() as u32;
    minimum.max((links / HEARTBEATS_PER_LEASE_SECOND) as u32)
}

fn ends() -> Fault {
    Fault::Unavailable {
        code: "ends",
        message: "the manager ends".to_owned(),
    }
}

fn holder(config: &Config) -> String {
    match &config.own {
        Some(own) => format!("{}/{}", own.id, own.incarnation),
        None => format!("process {}", std::process::id()),
    }
}

fn not_valid(database: &Path) -> String {
    format!(
        "`{}` holds a configuration that this release cannot read",
        database.display()
    )
}
