//! The link to the manager: a thin shell that moves frames and time between a WebSocket and [`LinkState`].

mod socket;
pub(crate) mod state;

use std::future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use klusterkite_tls::Trust;
use klusterkite_wire::NodeId;
use klusterkite_wire::link::{
    LogChunk, LogRequest, ManagerMessage, Members, NodeMessage, NodeReport, Order,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{self, Instant};

use self::socket::{Connection, NotConnected};
use self::state::{Answer, Input, Introduction, LinkState, Output};

/// How many commands and events may wait: a node has a handful of open orders and states.
const QUEUE_LENGTH: usize = 64;

/// How long a clean leave may take before it is given up: the lease tells the manager the same, only later.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(3);

/// Says who the node is and where its managers are.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// Origins of the managers (`http://host:port` or `https://…`), tried in turn; empty: the link waits for ever.
    pub urls: Vec<String>,
    /// Whose certificates managers may show; the files are read again for each connection.
    pub trust: Trust,
    /// Identity of the node.
    pub node_id: NodeId,
    /// File with the node token; it is waited for, and read again for each connection.
    pub token_file: PathBuf,
    /// What the node says about itself.
    pub introduction: Introduction,
}

/// What the manager says to the node.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkEvent {
    /// Do something; answer with [`Link::answer`].
    Order(Box<Order>),
    /// Give lines of output; answer with [`Link::answer_logs`].
    Logs(LogRequest),
    /// The members changed.
    Members(Members),
    /// A newer incarnation of this node exists: stop.
    Fenced,
}

/// A node's link to the manager, which holds itself up for ever.
#[derive(Debug)]
pub struct Link {
    commands: mpsc::Sender<Input>,
    task: JoinHandle<()>,
}

impl Link {
    /// Starts the link in a task of the current runtime; what the manager says comes out of the receiver.
    pub fn start(settings: LinkSettings, report: NodeReport) -> (Self, mpsc::Receiver<LinkEvent>) {
        let (commands, commands_out) = mpsc::channel(QUEUE_LENGTH);
        let (events_in, events) = mpsc::channel(QUEUE_LENGTH);
        let state = LinkState::new(
            settings.urls.clone(),
            settings.introduction.clone(),
            report,
            random_seed(),
        );
        let driver = Driver {
            settings,
            state,
            connection: None,
            connecting: None,
            last_refusal: String::new(),
        };
        let task = tokio::spawn(driver.run(commands_out, events_in));
        (Self { commands, task }, events)
    }

    /// Tells the manager the node's state, now or as soon as there is a connection; an unchanged one is not told again.
    pub async fn report(&self, report: NodeReport) {
        self.command(Input::Report(report)).await;
    }

    /// Answers an order, now or as soon as there is a connection.
    pub async fn answer(&self, answer: Answer) {
        self.command(Input::Answer(answer)).await;
    }

    /// Answers a request for output, if there still is a connection.
    pub async fn answer_logs(&self, chunk: LogChunk) {
        self.command(Input::Logs(chunk)).await;
    }

    /// Says `bye`, if there is a connection, and ends the link. Takes a few seconds at most.
    pub async fn leave(mut self, reason: String) {
        self.command(Input::Leave { reason }).await;
        if time::timeout(LEAVE_TIME_MAX, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }

    async fn command(&self, input: Input) {
        // The task ends only when the node was fenced: there is nobody to tell.
        let _ = self.commands.send(input).await;
    }
}

type Connecting = Pin<Box<dyn Future<Output = Result<Connection, NotConnected>> + Send>>;

struct Driver {
    settings: LinkSettings,
    state: LinkState,
    connection: Option<Connection>,
    connecting: Option<Connecting>,
    /// Last failure that was logged as a warning: the same one again is only for debugging.
    last_refusal: String,
}

impl Driver {
    async fn run(mut self, mut commands: mpsc::Receiver<Input>, events: mpsc::Sender<LinkEvent>) {
        let start = Instant::now();
        let mut place = None;
        let mut lost = false;
        loop {
            let deadline = self.state.deadline().map(|deadline| start + deadline);
            // A frame is read only when its event has a place in the queue, so that commands are always taken.
            let input = tokio::select! {
                biased;
                () = future::ready(()), if lost => {
                    lost = false;
                    Input::Disconnected
                }
                command = commands.recv() => command.unwrap_or_else(|| Input::Leave {
                    reason: "the node ended".to_owned(),
                }),
                reserved = events.reserve(), if place.is_none() => {
                    let Ok(reserved) = reserved else { return };
                    place = Some(reserved);
                    continue;
                }
                () = passed(deadline) => Input::TimePassed,
                result = connected(&mut self.connecting) => {
                    self.connecting = None;
                    self.take_connection(result)
                }
                received = received(&mut self.connection), if place.is_some() => match received {
                    Ok(Some(message)) => Input::Received(message),
                    Ok(None) => continue,
                    Err(reason) => {
                        self.lose(&reason);
                        Input::Disconnected
                    }
                },
            };
            for output in self.state.handle(start.elapsed(), input) {
                let event = match output {
                    Output::Send(message) => {
                        lost |= self.send(&message).await.is_err();
                        continue;
                    }
                    Output::Connect { url } => {
                        self.connecting = Some(socket::connect(url, &self.settings));
                        continue;
                    }
                    Output::Disconnect { reason } => {
                        self.connecting = None;
                        self.lose(reason);
                        continue;
                    }
                    Output::Left => {
                        if let Some(connection) = self.connection.take() {
                            connection.close().await;
                        }
                        return;
                    }
                    Output::Order(order) => LinkEvent::Order(Box::new(order)),
                    Output::Logs(request) => LinkEvent::Logs(request),
                    Output::Members(members) => LinkEvent::Members(members),
                    Output::Fenced => {
                        // The receiver is gone only when the node has ended anyway.
                        let _ = events.send(LinkEvent::Fenced).await;
                        return;
                    }
                };
                if let Some(place) = place.take() {
                    place.send(event);
                }
            }
        }
    }

    /// Sends a message, if there is a connection; the state says it all again after the next `welcome`.
    async fn send(&mut self, message: &NodeMessage) -> Result<(), ()> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        connection
            .send(message)
            .await
            .map_err(|reason| self.lose(&reason))
    }

    fn lose(&mut self, reason: &str) {
        tracing::info!(reason, "the link to the manager ended");
        self.connection = None;
    }

    fn take_connection(&mut self, result: Result<Connection, NotConnected>) -> Input {
        match result {
            Ok(connection) => {
                let local_address = connection.local_address().to_owned();
                tracing::info!(url = connection.url(), "a manager accepted the connection");
                self.connection = Some(connection);
                self.last_refusal.clear();
                Input::Connected { local_address }
            }
            Err(refused) => {
                let text = refused.text;
                if text == self.last_refusal {
                    tracing::debug!(reason = text, "no link to a manager");
                } else {
                    tracing::warn!(
                        reason = text,
                        "no link to a manager; the node keeps running"
                    );
                    self.last_refusal = text;
                }
                Input::NotConnected(refused.refusal)
            }
        }
    }
}

async fn connected(connecting: &mut Option<Connecting>) -> Result<Connection, NotConnected> {
    match connecting {
        Some(connecting) => connecting.await,
        None => future::pending().await,
    }
}

async fn received(connection: &mut Option<Connection>) -> Result<Option<ManagerMessage>, String> {
    match connection {
        Some(connection) => connection.receive().await,
        None => future::pending().await,
    }
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => time::sleep_until(deadline).await,
        None => future::pending().await,
    }
}

fn random_seed() -> u64 {
    // Without entropy the process id still tells the nodes of one machine apart.
    getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()))
}
