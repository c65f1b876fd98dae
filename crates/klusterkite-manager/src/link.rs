//! The WebSocket of a node.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use klusterkite_wire::link::{
    FRAME_BYTES_MAX, Hello, LINK_PROTOCOL, ManagerMessage, Members, NodeMessage,
};
use klusterkite_wire::{Incarnation, NodeId};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::lease::Lease;
use crate::state::Session;

/// Read buffer of a socket: a heartbeat fits several times. The default of 128 KiB costs a gigabyte at 10,000 nodes, and
/// what is larger is collected piece by piece.
const READ_BUFFER_BYTES: usize = 256;

/// Messages that wait for a slow node; a node that does not read so many is disconnected.
const QUEUE_MAX: usize = 64;

/// How long a node may take from the upgrade to its `hello`.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a socket may take to accept one message.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Upgrades a request whose node token was good.
pub fn upgrade(cluster: Cluster, id: NodeId, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            let mut link = Link {
                cluster,
                id,
                socket,
            };
            if let Err(ended) = link.run().await {
                tracing::debug!(node = %link.id, "link ended: {ended}");
            }
        })
}

/// The run of a node that introduced itself.
struct Speaker {
    incarnation: Incarnation,
    lease: Lease,
}

struct Link {
    cluster: Cluster,
    id: NodeId,
    socket: WebSocket,
}

impl Link {
    async fn run(&mut self) -> Result<(), String> {
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
        match self.receive().await? {
            Some(NodeMessage::Hello(hello)) if hello.protocol == LINK_PROTOCOL => Ok(hello),
            Some(NodeMessage::Hello(hello)) => {
                let reason = format!("protocol {} is not {LINK_PROTOCOL}", hello.protocol);
                self.refuse(&reason).await
            }
            None => Err("closed before its hello".to_owned()),
            Some(_) => self.refuse("the first message is not hello").await,
        }
    }

    async fn serve(
        &mut self,
        speaker: &Speaker,
        watch: &[String],
        first: Vec<ManagerMessage>,
        mut queue: mpsc::Receiver<Box<ManagerMessage>>,
    ) -> Result<(), String> {
        for message in first {
            self.send(&message).await?;
        }
        let mut members = self.cluster.members();
        members.mark_changed();
        loop {
            tokio::select! {
                message = self.receive() => match message? {
                    Some(message) => self.take(speaker, message).await?,
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
                    let watched = watched(&members.borrow_and_update(), watch);
                    self.send(&ManagerMessage::Members(watched)).await?;
                }
            }
        }
    }

    async fn take(&mut self, speaker: &Speaker, message: NodeMessage) -> Result<(), String> {
        let (cluster, id, incarnation) = (&self.cluster, &self.id, speaker.incarnation);
        let taken = match message {
            NodeMessage::Heartbeat { seq } => {
                let lease_seconds = cluster.node_heartbeat(&speaker.lease);
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

    /// Returns the next message, or `None` when the node closed.
    async fn receive(&mut self) -> Result<Option<NodeMessage>, String> {
        loop {
            let Some(message) = self.socket.recv().await else {
                return Ok(None);
            };
            match message.map_err(|error| error.to_string())? {
                Message::Text(text) => {
                    return match serde_json::from_str(&text) {
                        Ok(message) => Ok(Some(message)),
                        Err(error) => {
                            let reason = format!("a message is not valid: {error}");
                            self.refuse(&reason).await
                        }
                    };
                }
                Message::Close(_) => return Ok(None),
                Message::Binary(_) => return self.refuse("a binary frame").await,
                Message::Ping(_) | Message::Pong(_) => {}
            }
        }
    }

    async fn send(&mut self, message: &ManagerMessage) -> Result<(), String> {
        let text = serde_json::to_string(message).map_err(|error| error.to_string())?;
        let sent = timeout(SEND_TIMEOUT, self.socket.send(Message::Text(text.into()))).await;
        sent.map_err(|_| "the node does not read")?
            .map_err(|error| error.to_string())
    }

    /// Ends the link of a node that does not keep the protocol: the node and the log are told why.
    async fn refuse<T>(&mut self, reason: &str) -> Result<T, String> {
        tracing::warn!(node = %self.id, "the link is closed: {reason}");
        self.close(reason).await?;
        Err(reason.to_owned())
    }

    async fn close(&mut self, reason: &str) -> Result<(), String> {
        // A close frame holds at most 123 bytes of reason (RFC 6455 5.5).
        let reason: String = reason.chars().filter(char::is_ascii).take(123).collect();
        let frame = CloseFrame {
            code: close_code::POLICY,
            reason: reason.into(),
        };
        let sent = self.socket.send(Message::Close(Some(frame))).await;
        sent.map_err(|error| error.to_string())
    }
}

/// Returns the members of the watched roles.
fn watched(members: &Members, roles: &[String]) -> Members {
    let wanted = |role: &String| {
        roles
            .iter()
            .any(|watched| watched == "*" || watched == role)
    };
    let mut watched = members.clone();
    if !roles.iter().any(|role| role == "*") {
        watched
            .members
            .retain(|member| member.roles.iter().any(wanted));
    }
    watched
}
