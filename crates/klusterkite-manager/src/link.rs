//! The link of a node: its session, which takes what the node says, and its socket, which is another thread's.

mod frames;
mod members;
mod upgrade;
mod wire;

use std::time::Duration;

use axum::body::Bytes;
use axum::response::Response;
use klusterkite_wire::link::{Hello, LINK_PROTOCOL, ManagerMessage, NodeMessage};
use klusterkite_wire::{Incarnation, NodeId};
use tokio::sync::mpsc;
use tokio::time::timeout;

pub(crate) use members::Board;
pub(crate) use upgrade::Upgrade;
pub(crate) use wire::Wires;
use wire::{Ends, Tell};

use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::lease::Lease;
use crate::state::Session;

/// Messages that wait for a slow node; a node that does not read so many is disconnected.
const QUEUE_MAX: usize = 64;

/// How long a node may take from the upgrade to its `hello`.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Upgrades a request whose node token was good.
pub(crate) fn open(cluster: Cluster, id: NodeId, upgrade: Upgrade) -> Response {
    let (response, on_upgrade) = upgrade.accept();
    tokio::spawn(async move {
        let ended = match upgrade::upgraded(on_upgrade).await {
            Ok((stream, begun)) => {
                let ends = cluster.wires().take(stream, begun);
                Box::pin(
                    Link {
                        cluster,
                        id: id.clone(),
                        ends,
                    }
                    .run(),
                )
                .await
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(ended) = ended {
            tracing::debug!(node = %id, "link ended: {ended}");
        }
    });
    response
}

/// The run of a node that introduced itself.
struct Speaker {
    incarnation: Incarnation,
    lease: Lease,
}

struct Link {
    cluster: Cluster,
    id: NodeId,
    ends: Ends,
}

impl Link {
    async fn run(mut self) -> Result<(), String> {
        let hello = timeout(HELLO_TIMEOUT, self.hello())
            .await
            .map_err(|_| "no hello in time")??;
        let incarnation = hello.incarnation;
        let watch = hello.watch.clone();
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let session = Session {
            incarnation,
            sender,
        };
        match self.cluster.node_hello(&self.id, *hello, session).await {
            Ok((lease, first)) => {
                let speaker = Speaker { incarnation, lease };
                let ended = self.serve(&speaker, &watch, first, queue).await;
                self.cluster.node_disconnected(&self.id, incarnation).await;
                ended
            }
            Err(Fault::Conflict { code: "fenced", .. }) => self.send(&ManagerMessage::Fenced).await,
            Err(fault) => self.close(&fault.to_string()).await,
        }
    }

    async fn hello(&mut self) -> Result<Box<Hello>, String> {
        let text = self.ends.said().await.ok_or("closed before its hello")?;
        match self.parse(&text.0).await? {
            NodeMessage::Hello(hello) if hello.protocol == LINK_PROTOCOL => Ok(hello),
            NodeMessage::Hello(hello) => {
                let reason = format!("protocol {} is not {LINK_PROTOCOL}", hello.protocol);
                self.refuse(&reason).await
            }
            _ => self.refuse("the first message is not hello").await,
        }
    }

    async fn serve(
        &mut self,
        speaker: &Speaker,
        watch: &[String],
        first: Vec<ManagerMessage>,
        mut queue: mpsc::Receiver<Box<ManagerMessage>>,
    ) -> Result<(), String> {
        // Before the welcome, which the first heartbeat follows.
        self.ends.tell(Tell::Renew(speaker.lease.clone())).await?;
        self.ends.done();
        for message in first {
            self.send(&message).await?;
        }
        let mut members = self.cluster.members();
        members.mark_changed();
        let mut told = Bytes::new();
        loop {
            tokio::select! {
                text = self.ends.said() => match text {
                    Some(text) => {
                        let message = self.parse(&text.0).await?;
                        self.take(speaker, message).await?;
                        self.ends.done();
                    }
                    None => return Ok(()),
                },
                message = queue.recv() => match message {
                    Some(message) => {
                        let fenced = *message == ManagerMessage::Fenced;
                        self.send(&message).await?;
                        if fenced {
                            return Ok(());
                        }
                    }
                    // The session was replaced by a newer link of the same incarnation, or its lease ended.
                    None => return Ok(()),
                },
                changed = members.changed(), if !watch.is_empty() => {
                    changed.map_err(|_| "the manager stops")?;
                    let frame = self.cluster.board().frame(&members.borrow_and_update(), watch);
                    if frame.as_ptr() != told.as_ptr() {
                        told = frame.clone();
                        self.ends.tell(Tell::Frame(frame)).await?;
                    }
                }
            }
        }
    }

    async fn take(&mut self, speaker: &Speaker, message: NodeMessage) -> Result<(), String> {
        let (cluster, id, incarnation) = (&self.cluster, &self.id, speaker.incarnation);
        let taken = match message {
            NodeMessage::Heartbeat { seq } => {
                let lease_seconds = cluster.terms().renew(&speaker.lease);
                return self
                    .send(&ManagerMessage::Lease { lease_seconds, seq })
                    .await;
            }
            NodeMessage::Status(report) => cluster.node_report(id, incarnation, report).await,
            NodeMessage::Ack {
                order_id,
                state,
                reason,
            } => cluster.node_ack(id, order_id, state, reason).await,
            NodeMessage::Logs(chunk) => {
                cluster.logs().take(id, chunk);
                return Ok(());
            }
            NodeMessage::Bye { reason } => cluster.node_bye(id, incarnation, &reason).await,
            NodeMessage::Hello(_) => return self.refuse("a second hello on one link").await,
        };
        taken.map_err(|fault| fault.to_string())
    }

    async fn parse(&self, text: &[u8]) -> Result<NodeMessage, String> {
        match serde_json::from_slice(text) {
            Ok(message) => Ok(message),
            Err(error) => {
                self.refuse(&format!("a message is not valid: {error}"))
                    .await
            }
        }
    }

    async fn send(&self, message: &ManagerMessage) -> Result<(), String> {
        let text = serde_json::to_vec(message).map_err(|error| error.to_string())?;
        self.ends
            .tell(Tell::Frame(frames::text(&text).into()))
            .await
    }

    /// Ends the link of a node that does not keep the protocol: the node and the log are told why.
    async fn refuse<T>(&self, reason: &str) -> Result<T, String> {
        tracing::warn!(node = %self.id, "the link is closed: {reason}");
        self.close(reason).await?;
        Err(reason.to_owned())
    }

    async fn close(&self, reason: &str) -> Result<(), String> {
        self.ends
            .tell(Tell::Frame(frames::close(reason).into()))
            .await
    }
}
