//! Simulated containers: they ask as a launcher does and speak as a service host does.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use klusterkite_core::configuration::ConfigurationState;
use klusterkite_core::settings::{NodeTemplateSettings, Settings};
use klusterkite_manager::config::Config;
use klusterkite_store::rows::{ClientRow, ConfigurationRow};
use klusterkite_store::{Change, Seed};
use klusterkite_wire::link::{
    AckState, Hello, ManagerMessage, NodeMessage, NodeReport, Order, OrderKind, ReportedStatus,
};
use klusterkite_wire::start::StartConfiguration;
use klusterkite_wire::{ConfigurationId, Incarnation, NodeId};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::harness::{Answer, DEADLINE, Server, eventually, first};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A container and what runs in it.
pub(crate) struct Container<'a> {
    server: &'a Server,
    pub(crate) id: NodeId,
    pub(crate) secret: String,
    pub(crate) incarnation: u64,
    pub(crate) start: Option<StartConfiguration>,
    socket: Option<Socket>,
}

impl<'a> Container<'a> {
    pub(crate) fn new(server: &'a Server, number: u8) -> Self {
        Self {
            server,
            id: NodeId::from_random_bytes([number; 16]),
            secret: format!("secret {number}"),
            incarnation: 0,
            start: None,
            socket: None,
        }
    }

    /// Asks what to be, as the same incarnation as before.
    pub(crate) fn ask_again(&self) -> Answer {
        self.post("configuration", &self.question())
    }

    /// Asks, and says how what ran before ended.
    pub(crate) fn ask_after_crash(&self, exit: &str) -> Answer {
        let mut question = self.question();
        question["crash"] = json!({"exit": exit, "lastLines": []});
        self.post("configuration", &question)
    }

    fn question(&self) -> Value {
        let last = (self.incarnation > 1).then(|| self.incarnation - 1);
        json!({
            "nodeId": self.id, "nodeSecret": self.secret, "incarnation": self.incarnation,
            "lastIncarnation": last, "containerType": "worker", "runtime": "linux-x64",
        })
    }

    /// Asks what to be, as a new incarnation.
    pub(crate) fn ask(&mut self) -> Answer {
        self.incarnation += 1;
        let answer = self.ask_again();
        if answer.status == 200 {
            self.start = Some(serde_json::from_str(&answer.text).unwrap());
        }
        answer
    }

    /// Asks, joins and is ready.
    pub(crate) fn started(mut self) -> Self {
        self.ask().done();
        self.connect(ReportedStatus::Ready);
        self
    }

    pub(crate) fn progress(&self) -> Answer {
        let body = json!({"nodeSecret": self.secret, "phase": "download", "bytes": 1, "total": 2});
        self.post(&format!("{}/progress", self.id), &body)
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        let call = self
            .server
            .request("POST", &format!("/api/v1/nodes/{path}"));
        call.bearer(&self.server.client_token()).json(body).send()
    }

    /// Starts `next` without asking, or again what ran before and tells why.
    pub(crate) fn starts(&mut self, next: StartConfiguration, failure: Option<&str>) {
        let before = self.start.replace(next.clone()).unwrap();
        let running = if failure.is_some() {
            self.start.insert(before).clone()
        } else {
            next.clone()
        };
        self.incarnation += 1;
        self.report(&running, failure.map(|reason| (&next, reason)));
        self.connect(ReportedStatus::Ready);
    }

    /// Gets a token without asking.
    pub(crate) fn report(
        &mut self,
        running: &StartConfiguration,
        failure: Option<(&StartConfiguration, &str)>,
    ) {
        let failure = failure.map(|(next, reason)| {
            json!({"nodeTemplate": next.node_template, "configurationId": next.configuration_id, "reason": reason})
        });
        let body = json!({
            "nodeSecret": self.secret, "incarnation": self.incarnation,
            "lastIncarnation": self.incarnation - 1, "containerType": "worker",
            "runtime": "linux-x64", "nodeTemplate": running.node_template,
            "configurationId": running.configuration_id, "failure": failure,
        });
        let answer = self.post(&format!("{}/token", self.id), &body).done();
        let token = answer["nodeToken"].as_str().unwrap();
        self.start.as_mut().unwrap().node_token = Some(klusterkite_wire::Secret::new(token));
    }

    /// Opens the link.
    pub(crate) fn connect(&mut self, status: ReportedStatus) {
        let first = self.connect_as(self.incarnation, status);
        assert!(
            matches!(first, Some(ManagerMessage::Welcome { .. })),
            "{first:?}"
        );
    }

    /// Opens the link as some incarnation and returns what it hears first; `None`: the link was closed.
    pub(crate) fn connect_as(
        &mut self,
        incarnation: u64,
        status: ReportedStatus,
    ) -> Option<ManagerMessage> {
        let start = self.start.clone().unwrap();
        let hello = NodeMessage::Hello(Box::new(Hello {
            protocol: 1,
            incarnation: Incarnation(incarnation),
            template: start.node_template,
            configuration_id: start.configuration_id,
            container_type: "worker".parse().unwrap(),
            runtime: "linux-x64".parse().unwrap(),
            address: "10.0.0.7".to_owned(),
            roles: Vec::new(),
            modules: Vec::new(),
            endpoints: Vec::new(),
            watch: Vec::new(),
            containment: None,
            report: report(status),
            last_order_id: None,
        }));
        let url = self.server.url(&format!("/api/v1/nodes/{}/link", self.id));
        let mut request = url
            .replace("http://", "ws://")
            .into_client_request()
            .unwrap();
        let token = start.node_token.unwrap();
        let bearer = format!("Bearer {}", token.reveal()).parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        let connected = self.server.block_on(connect_async(request));
        self.socket = Some(connected.unwrap().0);
        self.say(&hello);
        self.hear()
    }

    /// Drops the link without a word.
    pub(crate) fn vanish(&mut self) {
        self.socket = None;
    }

    pub(crate) fn say(&mut self, message: &NodeMessage) {
        let text = serde_json::to_string(message).unwrap();
        let sent = self.socket.as_mut().unwrap().send(Message::text(text));
        self.server.block_on(sent).unwrap();
    }

    /// Returns the next message; `None`: the manager closed the link.
    pub(crate) fn hear(&mut self) -> Option<ManagerMessage> {
        let socket = self.socket.as_mut().unwrap();
        self.server.block_on(async {
            loop {
                match timeout(DEADLINE, socket.next()).await.unwrap() {
                    Some(Ok(Message::Text(text))) => {
                        return Some(serde_json::from_str(&text).unwrap());
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                    Some(Ok(_)) => {}
                }
            }
        })
    }

    /// Tells whether the manager still takes what is said.
    pub(crate) fn beats(&mut self) -> bool {
        self.say(&NodeMessage::Heartbeat { seq: 1 });
        loop {
            match self.hear() {
                Some(ManagerMessage::Lease { .. }) => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }

    pub(crate) fn leaves(&mut self) {
        let reason = "test".to_owned();
        self.say(&NodeMessage::Bye { reason });
    }

    /// Returns the next order.
    pub(crate) fn order(&mut self) -> Order {
        loop {
            match self.hear() {
                Some(ManagerMessage::Order(order)) => return *order,
                Some(_) => {}
                None => panic!("node {} hears no order, its link was closed", self.id),
            }
        }
    }

    pub(crate) fn ack(&mut self, order: &Order, state: AckState, reason: Option<&str>) {
        self.say(&NodeMessage::Ack {
            order_id: order.id,
            state,
            reason: reason.map(str::to_owned),
        });
    }

    /// Fetches what the manager says, and returns the stop order that follows.
    pub(crate) fn told_to_stop(&mut self) -> Order {
        let mut order = self.order();
        while order.kind == OrderKind::Prefetch {
            self.ack(&order, AckState::Done, None);
            order = self.order();
        }
        self.ack(&order, AckState::Accepted, None);
        order
    }

    /// Carries out a stop: leaves, and becomes what the order says.
    pub(crate) fn replaced(&mut self, order: &Order) {
        self.leaves();
        self.starts(order.next.clone().unwrap(), None);
    }

    /// What the manager knows about the node; null when nothing runs.
    pub(crate) fn shown(&self) -> Value {
        shown(self.server, &self.id)
    }

    #[track_caller]
    /// Tells why it is what it is.
    pub(crate) fn explained(&self) -> Value {
        let path = format!("/api/v1/nodes/{}/explain", self.id);
        self.server.admin("GET", &path, Value::Null).done()
    }

    pub(crate) fn eventually_is(&self, status: &str) {
        let mut last = Value::Null;
        eventually(&format!("node {} is {status}", self.id), || {
            last = self.shown();
            last["status"] == status
        });
    }

    pub(crate) fn operator(&self, operation: &str, force: bool) -> Answer {
        let path = format!("/api/v1/nodes/{}/{operation}", self.id);
        let body = match operation {
            "restart" | "drain" => json!({"force": force}),
            _ => Value::Null,
        };
        self.server.admin("POST", &path, body)
    }
}

pub(crate) fn report(status: ReportedStatus) -> NodeReport {
    NodeReport {
        status,
        reason: None,
        processes: Vec::new(),
    }
}

pub(crate) fn shown(server: &Server, id: &NodeId) -> Value {
    let answer = server.admin("GET", &format!("/api/v1/nodes/{id}"), Value::Null);
    if answer.status == 404 {
        return Value::Null;
    }
    answer.done()
}

/// Template for containers of type `worker`, whose nodes are stable at once.
pub(crate) fn template(settings: &mut Settings) -> &mut NodeTemplateSettings {
    let mut templates = settings.node_templates.iter_mut();
    templates.find(|template| template.code == "hello").unwrap()
}

/// A manager that leads, whose template `hello` was changed by the test; leases are longer than the test.
pub(crate) fn led(change: impl FnOnce(&mut NodeTemplateSettings, &mut Config)) -> Server {
    let server = Server::start_with(|seed, config| prepare(seed, config, change));
    server.lead();
    server
}

pub(crate) fn prepare(
    seed: &mut Seed,
    config: &mut Config,
    change: impl FnOnce(&mut NodeTemplateSettings, &mut Config),
) {
    config.lease_minimum = Duration::from_hours(1);
    config.failover_lease = Duration::from_hours(1);
    let ClientRow {
        container_types, ..
    } = &mut seed.clients[0];
    container_types.push("other".parse().unwrap());
    let hello = template(&mut seed.configuration.settings);
    hello.rollout.min_stable_seconds = 0;
    change(hello, config);
}

/// Stores a configuration that differs from the Active one by what the test changes; it is Ready.
pub(crate) fn ready(
    server: &Server,
    id: i64,
    change: impl FnOnce(&mut ConfigurationRow),
) -> ConfigurationId {
    let active = server.block_on(server.cluster.read());
    let mut row = active
        .configurations
        .get(&ConfigurationId(1))
        .cloned()
        .unwrap_or_else(|| first(&server.feed));
    drop(active);
    row.id = ConfigurationId(id);
    row.state = ConfigurationState::Ready;
    row.started = None;
    change(&mut row);
    server.put(Change::ConfigurationPut(row));
    ConfigurationId(id)
}

/// Changes the settings text of `hello`, so that its nodes have to restart.
pub(crate) fn other_text(row: &mut ConfigurationRow) {
    template(&mut row.settings).configuration = format!("configuration = {}", row.id);
}

/// Starts a migration and waits until it was analysed.
#[track_caller]
pub(crate) fn migrate(server: &Server, to: ConfigurationId, more: &Value) -> Value {
    operation_eventually(server, "createMigration");
    let mut body = json!({"toConfigurationId": to, "mode": "automatic"});
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    server.admin("POST", "/api/v1/migrations", body).done()
}

pub(crate) fn cluster_state(server: &Server) -> Value {
    server
        .admin("GET", "/api/v1/cluster/state", Value::Null)
        .done()
}

pub(crate) fn newest_migration(server: &Server) -> Value {
    let list = server.admin("GET", "/api/v1/migrations?limit=1", Value::Null);
    list.done()["items"][0].clone()
}

#[track_caller]
pub(crate) fn migration_eventually(server: &Server, state: &str) -> Value {
    let mut last = Value::Null;
    let started = std::time::Instant::now();
    while last["state"] != state {
        assert!(
            started.elapsed() < DEADLINE,
            "{state}: {last:#}\n{:#}",
            cluster_state(server)
        );
        last = newest_migration(server);
        std::thread::sleep(Duration::from_millis(5));
    }
    last
}

/// Returns why an operation is not allowed now; null when it is.
pub(crate) fn refusal(server: &Server, operation: &str) -> Value {
    let state = cluster_state(server);
    let mut operations = state["operations"].as_array().unwrap().iter();
    let operation = operations.find(|listed| listed["id"] == operation).unwrap();
    assert_eq!(operation["allowed"] == true, operation["reason"].is_null());
    operation["reason"].clone()
}

#[track_caller]
pub(crate) fn operation_eventually(server: &Server, operation: &str) {
    let started = std::time::Instant::now();
    loop {
        let reason = refusal(server, operation);
        if reason.is_null() {
            return;
        }
        assert!(started.elapsed() < DEADLINE, "{operation}: {reason:#}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the manager says that it waits for something of this code, and returns the sentence.
#[track_caller]
pub(crate) fn waits_for(server: &Server, code: &str) -> String {
    let started = std::time::Instant::now();
    loop {
        let state = cluster_state(server);
        let mut waiting = state["waitingOn"].as_array().unwrap().iter();
        if let Some(reason) = waiting.find(|reason| reason["code"] == code) {
            return reason["message"].as_str().unwrap().to_owned();
        }
        let is_late = started.elapsed() >= DEADLINE;
        assert!(!is_late, "{code}: {:#}", state["waitingOn"]);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Returns the kinds of the events about an object so far.
pub(crate) fn events(server: &Server, kind: &str) -> Vec<Value> {
    let page = server.admin("GET", "/api/v1/events?from=1&limit=1000", Value::Null);
    let page = page.done();
    let events = page["items"].as_array().unwrap().iter();
    events
        .filter(|event| event["kind"] == kind)
        .cloned()
        .collect()
}
