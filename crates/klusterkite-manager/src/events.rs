//! Reading events: the history page by page, and what happens from now on.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{Stream, stream};
use klusterkite_api::events::Event;
use klusterkite_api::page::Page;
use klusterkite_api::privileges::Privilege;
use klusterkite_store::rows::EventRow;
use klusterkite_wire::time::rfc3339;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use crate::auth::{Bearer, still_holds};
use crate::cluster::Cluster;
use crate::fault::Fault;

/// Events that a stream reads from the history at once.
const CHUNK: u32 = 256;

/// How often a stream looks whether its bearer may still read: blocking a user ends it (B51).
const RECHECK_EVERY: Duration = Duration::from_secs(5);

impl Cluster {
    /// Shows a page of the history, oldest first: from an event on, or the newest ones.
    pub async fn event_list(&self, from: Option<i64>, limit: u32) -> Result<Page<Event>, Fault> {
        let newest = self.read().await.last_ids.event;
        let from = from.unwrap_or(newest - i64::from(limit) + 1).max(1);
        let page = self.store().events(from - 1, limit).await?;
        let last = page.rows.last().filter(|row| row.id < newest);
        let next_cursor = last.map(|row| (row.id + 1).to_string());
        let items = page.rows.into_iter().map(shown).collect();
        Ok(Page {
            items,
            next_cursor,
            total: page.total,
        })
    }
}

/// Reads events in their order without a gap: first what the history has, then what happens.
pub struct EventReader {
    cluster: Cluster,
    bearer: Bearer,
    live: broadcast::Receiver<EventRow>,
    /// Newest event that was given out or is waiting.
    last: i64,
    waiting: VecDeque<EventRow>,
    /// The history may hold events after `last` that do not come from `live`.
    behind: bool,
}

impl EventReader {
    /// Starts after the event `last`, or with what happens from now on.
    pub async fn new(cluster: &Cluster, bearer: Bearer, last: Option<i64>) -> Self {
        // Listening first: what happens between here and the history comes twice rather than never.
        let live = cluster.events();
        let newest = cluster.read().await.last_ids.event;
        Self {
            cluster: cluster.clone(),
            bearer,
            live,
            // An id from the future is of another database; nothing would ever follow it.
            last: last.map_or(newest, |last| last.clamp(0, newest)),
            waiting: VecDeque::new(),
            behind: last.is_some(),
        }
    }

    /// Makes a stream that ends when the bearer may not read events any more, or the store fails.
    pub fn into_stream(self) -> impl Stream<Item = Event> {
        stream::unfold(self, |mut reader| async move {
            let event = reader.next().await?;
            Some((shown(event), reader))
        })
    }

    async fn next(&mut self) -> Option<EventRow> {
        loop {
            if !still_holds(&self.cluster, &self.bearer, Privilege::EventQuery) {
                return None;
            }
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.behind {
                self.catch_up().await?;
                continue;
            }
            match timeout(RECHECK_EVERY, self.live.recv()).await {
                // It came from the history already.
                Ok(Ok(event)) if event.id <= self.last => {}
                Ok(Ok(event)) if event.id == self.last + 1 => {
                    self.last = event.id;
                    self.waiting.push_back(event);
                }
                // Some are missing: this reader was too slow, or two commits spoke in the other order.
                Ok(Ok(_) | Err(RecvError::Lagged(_))) => self.behind = true,
                Ok(Err(RecvError::Closed)) => return None,
                Err(_) => {}
            }
        }
    }

    /// Reads a chunk of the history. `None`: the client has to connect again.
    async fn catch_up(&mut self) -> Option<()> {
        match self.cluster.store().events(self.last, CHUNK).await {
            Ok(page) => {
                let rows = page.rows;
                self.behind = rows.len() as u64 >= u64::from(CHUNK);
                self.last = rows.last().map_or(self.last, |row| row.id);
                self.waiting.extend(rows);
                Some(())
            }
            Err(error) => {
                tracing::error!("an event stream ends, the history cannot be read: {error}");
                None
            }
        }
    }
}

fn shown(row: EventRow) -> Event {
    Event {
        id: row.id,
        at: rfc3339(row.at),
        kind: row.kind,
        actor: row.actor,
        object: row.object,
        message: row.message,
        params: row.params,
    }
}
