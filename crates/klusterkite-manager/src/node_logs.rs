//! What processes of nodes wrote: asked of the node by its link, piece by piece, as fast as somebody reads.
//!
//! Nothing of it is kept here. A node answers each request once; the next piece is asked for when the last one is gone,
//! so a slow reader holds up nobody.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, stream};
use klusterkite_api::nodes::NodeLine;
use klusterkite_api::privileges::Privilege;
use klusterkite_wire::NodeId;
use klusterkite_wire::link::{
    LOG_LINES_MAX, LogChunk, LogLine, LogRequest, LogStream, ManagerMessage,
};
use klusterkite_wire::time::rfc3339;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::auth::{Bearer, still_holds};
use crate::cluster::Cluster;
use crate::fault::Fault;

/// How long a node may take beyond what it was told to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a node waits for a line; then the answer says that it lives and its bearer is looked at again.
const WAIT_SECONDS: u32 = 5;

/// Readers of one node at a time: its link also carries its heartbeats.
const READERS_OF_NODE_MAX: usize = 4;

/// Pause before a followed node that is not connected is looked for again.
const AWAY_PAUSE: Duration = Duration::from_secs(1);

/// How long a followed node may be away: it is replaced in an update, and its container may have to fetch packages.
const AWAY_MAX: Duration = Duration::from_mins(5);

/// When a client without a place comes back.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Requests that wait for an answer of their node.
#[derive(Debug, Default)]
pub(crate) struct LogDesk {
    last: AtomicU64,
    waiting: Mutex<BTreeMap<(NodeId, u64), oneshot::Sender<LogChunk>>>,
    readers: Mutex<BTreeMap<NodeId, usize>>,
}

impl LogDesk {
    /// Gives an answer to whoever waits for it; another node's request is not answered.
    pub(crate) fn take(&self, id: &NodeId, chunk: LogChunk) {
        let waiting = self.waiting().remove(&(id.clone(), chunk.request));
        if let Some(waiting) = waiting {
            // The reader has gone.
            let _ = waiting.send(chunk);
        }
    }

    fn waiting(
        &self,
    ) -> std::sync::MutexGuard<'_, BTreeMap<(NodeId, u64), oneshot::Sender<LogChunk>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one reader of a node; it is given back when this is dropped.
struct Place {
    cluster: Cluster,
    id: NodeId,
}

impl Place {
    fn take(cluster: &Cluster, id: &NodeId) -> Result<Self, Fault> {
        let mut readers = readers(cluster);
        let count = readers.entry(id.clone()).or_default();
        if *count >= READERS_OF_NODE_MAX {
            return Err(Fault::TooMany {
                retry_after: RETRY_AFTER,
            });
        }
        *count += 1;
        Ok(Self {
            cluster: cluster.clone(),
            id: id.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut readers = readers(&self.cluster);
        if let Some(count) = readers.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                readers.remove(&self.id);
            }
        }
    }
}

fn readers(cluster: &Cluster) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, usize>> {
    let readers = cluster.logs().readers.lock();
    readers.unwrap_or_else(PoisonError::into_inner)
}

/// What somebody wants to read.
pub struct Wanted {
    /// The node.
    pub id: NodeId,
    /// Only lines after this cursor.
    pub after: Option<u64>,
    /// Last lines to begin with.
    pub lines: u32,
    /// Only this process.
    pub process: Option<String>,
    /// Whether it goes on with lines as they come.
    pub follows: bool,
}

/// Reads lines in their order.
pub struct NodeLineReader {
    cluster: Cluster,
    bearer: Bearer,
    wanted: Wanted,
    waiting: VecDeque<NodeLine>,
    is_over: bool,
    away: Duration,
    _place: Place,
}

impl NodeLineReader {
    /// Asks the node for the first lines, so that what stands against it is an answer of its own.
    pub async fn new(cluster: &Cluster, bearer: Bearer, wanted: Wanted) -> Result<Self, Fault> {
        let place = Place::take(cluster, &wanted.id)?;
        let mut reader = Self {
            cluster: cluster.clone(),
            bearer,
            wanted,
            waiting: VecDeque::new(),
            is_over: false,
            away: Duration::ZERO,
            _place: place,
        };
        let lines = reader.wanted.lines;
        let is_behind = reader.wanted.after.is_some();
        match reader.ask(lines, 0).await {
            // These are the last lines: what comes later is for who follows.
            Ok(_) => reader.is_over = !is_behind && !reader.wanted.follows,
            Err(Fault::Conflict { code, message }) => {
                // What is left of a node that crashed is its report.
                reader.waiting = crash_lines(cluster, &reader.wanted.id).await.into();
                reader.is_over = !reader.wanted.follows;
                if reader.waiting.is_empty() && !reader.wanted.follows {
                    return Err(Fault::Conflict { code, message });
                }
            }
            Err(fault) => return Err(fault),
        }
        Ok(reader)
    }

    /// Makes a stream of lines. `None` says that the stream lives. An error ends it so that the reader sees that it is
    /// not whole.
    pub fn into_stream(self) -> impl Stream<Item = Result<Option<NodeLine>, Fault>> {
        stream::unfold(Some(self), |reader| async move {
            let mut reader = reader?;
            match reader.next().await {
                Ok(Some(item)) => Some((Ok(item), Some(reader))),
                Ok(None) => None,
                Err(fault) => Some((Err(fault), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Option<Option<NodeLine>>, Fault> {
        if let Some(line) = self.waiting.pop_front() {
            return Ok(Some(Some(line)));
        }
        if self.is_over || (self.wanted.follows && !self.may_read()) {
            return Ok(None);
        }
        let seconds = if self.wanted.follows { WAIT_SECONDS } else { 0 };
        match self.ask(LOG_LINES_MAX, seconds).await {
            Ok(0) if !self.wanted.follows => Ok(None),
            Ok(_) => {
                self.away = Duration::ZERO;
                Ok(Some(self.waiting.pop_front()))
            }
            Err(Fault::Conflict { .. } | Fault::Unavailable { .. })
                if self.wanted.follows && self.away < AWAY_MAX =>
            {
                self.away += AWAY_PAUSE;
                sleep(AWAY_PAUSE).await;
                Ok(Some(None))
            }
            Err(fault) => Err(fault),
        }
    }

    fn may_read(&self) -> bool {
        still_holds(&self.cluster, &self.bearer, Privilege::GetNodeLogs)
    }

    /// Asks the node for more; returns how many lines came.
    async fn ask(&mut self, lines: u32, wait_seconds: u32) -> Result<usize, Fault> {
        let request = LogRequest {
            request: 0,
            after: self.wanted.after,
            process: self.wanted.process.clone(),
            lines,
            wait_seconds,
        };
        let chunk = self.cluster.node_logs(&self.wanted.id, request).await?;
        self.wanted.after = Some(chunk.cursor.max(self.wanted.after.unwrap_or(0)));
        let count = chunk.lines.len();
        self.waiting.extend(chunk.lines.into_iter().map(shown));
        Ok(count)
    }
}

impl Cluster {
    /// Asks a node for output and waits for its answer.
    async fn node_logs(&self, id: &NodeId, mut request: LogRequest) -> Result<LogChunk, Fault> {
        let sender = {
            let state = self.read().await;
            if !state.nodes.contains_key(id) {
                return Err(Fault::not_found("node", id));
            }
            let session = state.volatile.sessions.get(id);
            session.map(|session| session.sender.clone())
        };
        let not_connected = || {
            let message =
                "the node is not connected to the manager; its output is in its container";
            Fault::conflict("nodeNotConnected", message)
        };
        let sender = sender.ok_or_else(not_connected)?;
        let desk = self.logs();
        let number = desk.last.fetch_add(1, Ordering::Relaxed) + 1;
        let time = ANSWER_TIMEOUT + Duration::from_secs(u64::from(request.wait_seconds));
        request.request = number;
        let key = (id.clone(), number);
        let (answer, answered) = oneshot::channel();
        desk.waiting().insert(key.clone(), answer);
        // Removes the entry however this ends, also when the reader goes away meanwhile.
        let _entry = Entry { cluster: self, key };
        if sender
            .try_send(Box::new(ManagerMessage::Logs(request)))
            .is_err()
        {
            return Err(not_connected());
        }
        let answered = tokio::select! {
            answered = timeout(time, answered) => answered,
            // The link ended, and what was asked with it.
            () = sender.closed() => return Err(not_connected()),
        };
        match answered {
            Ok(Ok(chunk)) => Ok(chunk),
            _ => Err(Fault::Unavailable {
                code: "nodeSilent",
                message:
                    "the node gave no output in time; it may be busy, or older than this request"
                        .to_owned(),
            }),
        }
    }
}

struct Entry<'a> {
    cluster: &'a Cluster,
    key: (NodeId, u64),
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.cluster.logs().waiting().remove(&self.key);
    }
}

async fn crash_lines(cluster: &Cluster, id: &NodeId) -> Vec<NodeLine> {
    let state = cluster.read().await;
    let row = state.nodes.get(id);
    let Some((row, crash)) = row.and_then(|row| Some((row, row.last_crash.as_ref()?))) else {
        return Vec::new();
    };
    let since = row.run.as_ref().map_or(0, |run| run.status_since);
    let line = |line: &String| NodeLine {
        cursor: "0".to_owned(),
        at: rfc3339(since),
        process: String::new(),
        stream: "crash".to_owned(),
        line: line.clone(),
    };
    crash.last_lines.iter().map(line).collect()
}

fn shown(line: LogLine) -> NodeLine {
    let stream = match line.stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
    };
    NodeLine {
        cursor: line.cursor.to_string(),
        at: rfc3339(line.at),
        process: line.process,
        stream: stream.to_owned(),
        line: line.line,
    }
}
