//! What the link does and when, as a pure state machine: inputs and the time in, outputs and the next deadline out.

use std::collections::BTreeMap;
use std::time::Duration;

use klusterkite_wire::link::{
    AckState, Containment, Endpoint, Hello, LINK_PROTOCOL, LogChunk, LogRequest, ManagerMessage,
    Members, Module, NodeMessage, NodeReport, Order, ReportedStatus,
};
use klusterkite_wire::{
    ConfigurationId, ContainerType, Incarnation, LeaderEpoch, OrderId, Runtime, TemplateCode,
};

use crate::jitter::{BackOff, Jitter};

/// How long a connect, and then a `welcome`, may take.
const GREETING_TIME_MAX: Duration = Duration::from_secs(10);

/// Pauses between two looks at a token file that is not there yet, each twice as long as the one before: a launcher that
/// asks for the token beside a start has it after some milliseconds, one whose manager is away much later.
const TOKEN_PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(500));

/// How often `moved` is followed before it counts as a failure: two standbys may name each other during a failover.
const MOVES_MAX: u32 = 3;

/// How many orders are remembered, so that a repeated one is answered and not done again. A manager has one or
/// two open orders per node.
const ORDERS_MAX: usize = 32;

/// Bounds of a lease: a manager with wrong settings must neither make its nodes busy nor deaf.
const LEASE_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24));

/// What a node says about itself in every `hello`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// Incarnation of this run.
    pub incarnation: Incarnation,
    /// Template that the node is made from.
    pub template: TemplateCode,
    /// Configuration of the template.
    pub configuration_id: ConfigurationId,
    /// Kind of the container.
    pub container_type: ContainerType,
    /// Runtime (RID).
    pub runtime: Runtime,
    /// Address by which other nodes reach this one; without it the local address of the connection is told.
    pub address: Option<String>,
    /// Roles of the node's packages.
    pub roles: Vec<String>,
    /// Packages that the node is made of.
    pub modules: Vec<Module>,
    /// HTTP endpoints that the node offers while it is starting or ready.
    pub endpoints: Vec<Endpoint>,
    /// Roles whose members the node wants to be told.
    pub watch: Vec<String>,
    /// How what the node starts is held together.
    pub containment: Option<Containment>,
}

/// What happened to the link.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A connection is open.
    Connected {
        /// IP address of this side.
        local_address: String,
    },
    /// A connection could not be opened.
    NotConnected(Refusal),
    /// A message arrived.
    Received(ManagerMessage),
    /// The connection ended.
    Disconnected,
    /// The node's state is this now.
    Report(NodeReport),
    /// The node answers an order.
    Answer(Answer),
    /// The node answers a request for output.
    Logs(LogChunk),
    /// The node leaves the cluster.
    Leave {
        /// Why, one sentence.
        reason: String,
    },
    /// The deadline passed.
    TimePassed,
}

/// Why a connection could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no token yet.
    NoToken,
    /// A newer incarnation of this node exists.
    Fenced,
    /// Anything else: nobody there, an unknown token, …
    Failed,
}

/// Says what became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The order.
    pub order_id: OrderId,
    /// What became of it.
    pub state: AckState,
    /// Why it was refused.
    pub reason: Option<String>,
}

/// What the shell around the link has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Open a connection to this manager.
    Connect {
        /// Origin of the manager.
        url: String,
    },
    /// Send a message.
    Send(NodeMessage),
    /// Close the connection, or give up opening one.
    Disconnect {
        /// Why, for the log.
        reason: &'static str,
    },
    /// The manager ordered something that is not known yet.
    Order(Order),
    /// The manager asks for output of processes.
    Logs(LogRequest),
    /// The members changed.
    Members(Members),
    /// A newer incarnation of this node exists: the node has to stop itself.
    Fenced,
    /// The node has left; nothing follows.
    Left,
}

/// The link of one node.
#[derive(Debug)]
pub struct LinkState {
    urls: Vec<String>,
    /// Index into `urls` of the one to try next; always smaller than its length.
    next_url: usize,
    /// The leader that a standby named.
    moved: Option<String>,
    moves: u32,
    introduction: Introduction,
    jitter: Jitter,
    back_off: BackOff,
    /// Pause before the next look at a token file that is not there.
    token_pause: Duration,
    phase: Phase,
    report: NodeReport,
    /// What the manager was told on this connection.
    told: Option<NodeReport>,
    /// Highest epoch that was seen.
    epoch: LeaderEpoch,
    orders: BTreeMap<OrderId, Known>,
    heartbeats: u64,
}

#[derive(Debug)]
enum Phase {
    Waiting {
        until: Duration,
    },
    Connecting {
        until: Duration,
    },
    Greeting {
        until: Duration,
    },
    Open {
        lease: Duration,
        heartbeat: Duration,
        answered: Duration,
        next_heartbeat: Duration,
    },
    Ended,
}

/// An order that was given to the node.
#[derive(Debug)]
struct Known {
    answer: Option<Answer>,
    /// Last heartbeat before the answer was sent on this connection; a `lease` for a later one proves that the
    /// manager has read the answer.
    sent_after: Option<u64>,
    settled: bool,
}

impl LinkState {
    /// Makes the link of a node. Without `urls` it waits for ever. `seed` is for the jitter.
    pub fn new(
        urls: Vec<String>,
        introduction: Introduction,
        report: NodeReport,
        seed: u64,
    ) -> Self {
        let until = if urls.is_empty() {
            Duration::MAX
        } else {
            Duration::ZERO
        };
        Self {
            urls,
            next_url: 0,
            moved: None,
            moves: 0,
            introduction,
            jitter: Jitter::new(seed),
            back_off: BackOff::new(),
            token_pause: TOKEN_PAUSES.0,
            phase: Phase::Waiting { until },
            report,
            told: None,
            epoch: LeaderEpoch(0),
            orders: BTreeMap::new(),
            heartbeats: 0,
        }
    }

    /// Returns when [`Input::TimePassed`] is due, on the clock that `handle` is called with.
    pub fn deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Waiting { until } => (until != Duration::MAX).then_some(until),
            Phase::Connecting { until } | Phase::Greeting { until } => Some(until),
            Phase::Open {
                lease,
                answered,
                next_heartbeat,
                ..
            } => Some(next_heartbeat.min(answered + lease)),
            Phase::Ended => None,
        }
    }

    /// Takes one input at the time `now` (monotonic, from any start) and says what to do.
    pub fn handle(&mut self, now: Duration, input: Input) -> Vec<Output> {
        if matches!(self.phase, Phase::Ended) {
            return Vec::new();
        }
        match input {
            Input::Connected { local_address } => self.connected(now, local_address),
            Input::NotConnected(refusal) => self.not_connected(now, refusal),
            Input::Received(message) => self.received(now, message),
            Input::Disconnected => {
                self.retreat(now);
                Vec::new()
            }
            Input::Report(report) => {
                self.report = report;
                self.tell_report()
            }
            Input::Answer(answer) => self.answer(answer),
            Input::Logs(chunk) => self.logs(chunk),
            Input::Leave { reason } => self.leave(reason),
            Input::TimePassed => self.time_passed(now),
        }
    }

    fn connected(&mut self, now: Duration, local_address: String) -> Vec<Output> {
        if !matches!(self.phase, Phase::Connecting { .. }) {
            let reason = "nobody waits for this connection any more";
            return vec![Output::Disconnect { reason }];
        }
        self.phase = Phase::Greeting {
            until: now + GREETING_TIME_MAX,
        };
        self.token_pause = TOKEN_PAUSES.0;
        self.told = Some(self.report.clone());
        for known in self.orders.values_mut() {
            known.sent_after = None;
        }
        vec![Output::Send(NodeMessage::Hello(Box::new(
            self.hello(local_address),
        )))]
    }

    fn hello(&self, local_address: String) -> Hello {
        let about = self.introduction.clone();
        let published = matches!(
            self.report.status,
            ReportedStatus::Starting | ReportedStatus::Ready
        );
        Hello {
            protocol: LINK_PROTOCOL,
            incarnation: about.incarnation,
            template: about.template,
            configuration_id: about.configuration_id,
            container_type: about.container_type,
            runtime: about.runtime,
            address: about.address.unwrap_or(local_address),
            roles: about.roles,
            modules: about.modules,
            endpoints: if published {
                about.endpoints
            } else {
                Vec::new()
            },
            watch: about.watch,
            containment: about.containment,
            report: self.report.clone(),
            last_order_id: self.orders.keys().next_back().copied(),
        }
    }

    fn not_connected(&mut self, now: Duration, refusal: Refusal) -> Vec<Output> {
        match refusal {
            Refusal::NoToken => {
                self.phase = Phase::Waiting {
                    until: now + self.token_pause,
                };
                self.token_pause = (self.token_pause * 2).min(TOKEN_PAUSES.1);
                Vec::new()
            }
            Refusal::Fenced => self.fenced(),
            Refusal::Failed => {
                self.retreat(now);
                Vec::new()
            }
        }
    }

    fn received(&mut self, now: Duration, message: ManagerMessage) -> Vec<Output> {
        match message {
            ManagerMessage::Welcome {
                lease_seconds,
                heartbeat_seconds,
                epoch,
            } => self.welcome(now, lease_seconds, heartbeat_seconds, epoch),
            ManagerMessage::Lease { lease_seconds, seq } => {
                self.renewed(now, lease_seconds, seq);
                Vec::new()
            }
            ManagerMessage::Order(order) => self.order(*order),
            ManagerMessage::Members(members) => vec![Output::Members(members)],
            ManagerMessage::Logs(request) => vec![Output::Logs(request)],
            ManagerMessage::Fenced => self.fenced(),
            ManagerMessage::Moved { url } => self.follow(now, url),
        }
    }

    fn welcome(
        &mut self,
        now: Duration,
        lease_seconds: u32,
        heartbeat_seconds: u32,
        epoch: LeaderEpoch,
    ) -> Vec<Output> {
        let lease = bounded_lease(lease_seconds);
        let heartbeat = bounded_lease(heartbeat_seconds).min(lease);
        self.epoch = self.epoch.max(epoch);
        self.moves = 0;
        self.back_off.reset();
        self.phase = Phase::Open {
            lease,
            heartbeat,
            answered: now,
            next_heartbeat: now + self.heartbeat_pause(heartbeat),
        };
        let mut outputs = self.tell_report();
        let unsettled: Vec<OrderId> = self
            .orders
            .iter()
            .filter(|(_, known)| known.answer.is_some() && !known.settled)
            .map(|(id, _)| *id)
            .collect();
        for id in unsettled {
            outputs.extend(self.tell_answer(id));
        }
        outputs
    }

    /// A heartbeat comes never later than asked for, because the lease is three of them long.
    fn heartbeat_pause(&mut self, heartbeat: Duration) -> Duration {
        self.jitter.between(heartbeat * 3 / 4, heartbeat)
    }

    fn renewed(&mut self, now: Duration, lease_seconds: u32, seq: u64) {
        let Phase::Open {
            lease, answered, ..
        } = &mut self.phase
        else {
            return;
        };
        *lease = bounded_lease(lease_seconds);
        *answered = now;
        for known in self.orders.values_mut() {
            if known.sent_after.is_some_and(|sent_after| seq > sent_after) {
                known.settled = true;
            }
        }
    }

    fn order(&mut self, order: Order) -> Vec<Output> {
        if order.epoch < self.epoch {
            let reason = format!(
                "the order is of leader epoch {}, but the leader of epoch {} has spoken",
                order.epoch, self.epoch
            );
            return refuse(order.id, reason);
        }
        self.epoch = order.epoch;
        if self.orders.contains_key(&order.id) {
            return self.tell_answer(order.id);
        }
        if self.orders.len() >= ORDERS_MAX {
            let oldest = self.orders.keys().next().copied();
            if oldest.is_some_and(|oldest| order.id < oldest) {
                let reason = "the order is older than all that this node remembers".to_owned();
                return refuse(order.id, reason);
            }
            self.orders.pop_first();
        }
        let known = Known {
            answer: None,
            sent_after: None,
            settled: false,
        };
        self.orders.insert(order.id, known);
        vec![Output::Order(order)]
    }

    /// Sends output to whoever asked; after a new connection nobody waits for it any more.
    fn logs(&self, chunk: LogChunk) -> Vec<Output> {
        match self.phase {
            Phase::Open { .. } => vec![Output::Send(NodeMessage::Logs(chunk))],
            _ => Vec::new(),
        }
    }

    fn answer(&mut self, answer: Answer) -> Vec<Output> {
        let id = answer.order_id;
        let Some(known) = self.orders.get_mut(&id) else {
            return Vec::new();
        };
        known.answer = Some(answer);
        known.settled = false;
        self.tell_answer(id)
    }

    /// Sends the answer to an order, if there is one and somebody who can hear it.
    fn tell_answer(&mut self, id: OrderId) -> Vec<Output> {
        if !matches!(self.phase, Phase::Open { .. }) {
            return Vec::new();
        }
        let Some(known) = self.orders.get_mut(&id) else {
            return Vec::new();
        };
        let Some(answer) = known.answer.clone() else {
            return Vec::new();
        };
        known.sent_after = Some(self.heartbeats);
        vec![Output::Send(NodeMessage::Ack {
            order_id: answer.order_id,
            state: answer.state,
            reason: answer.reason,
        })]
    }

    fn tell_report(&mut self) -> Vec<Output> {
        if !matches!(self.phase, Phase::Open { .. }) || self.told.as_ref() == Some(&self.report) {
            return Vec::new();
        }
        self.told = Some(self.report.clone());
        vec![Output::Send(NodeMessage::Status(self.report.clone()))]
    }

    fn follow(&mut self, now: Duration, url: String) -> Vec<Output> {
        let reason = "another manager is the leader";
        self.moves += 1;
        if self.moves > MOVES_MAX {
            self.moves = 0;
            self.retreat(now);
        } else {
            self.moved = Some(url);
            self.phase = Phase::Waiting { until: now };
        }
        vec![Output::Disconnect { reason }]
    }

    fn fenced(&mut self) -> Vec<Output> {
        self.phase = Phase::Ended;
        let reason = "a newer incarnation of this node exists";
        vec![Output::Disconnect { reason }, Output::Fenced]
    }

    fn leave(&mut self, reason: String) -> Vec<Output> {
        let greeted = matches!(self.phase, Phase::Greeting { .. } | Phase::Open { .. });
        self.phase = Phase::Ended;
        let mut outputs = Vec::new();
        if greeted {
            outputs.push(Output::Send(NodeMessage::Bye { reason }));
        }
        outputs.push(Output::Left);
        outputs
    }

    fn time_passed(&mut self, now: Duration) -> Vec<Output> {
        match self.phase {
            Phase::Waiting { until } if now >= until => self.connect(now),
            Phase::Connecting { until } if now >= until => {
                self.retreat(now);
                let reason = "the manager did not accept a connection in time";
                vec![Output::Disconnect { reason }]
            }
            Phase::Greeting { until } if now >= until => {
                self.retreat(now);
                let reason = "the manager did not answer `hello` in time";
                vec![Output::Disconnect { reason }]
            }
            Phase::Open {
                lease, answered, ..
            } if now >= answered + lease => {
                self.retreat(now);
                let reason = "the manager answered no heartbeat within the lease";
                vec![Output::Disconnect { reason }]
            }
            Phase::Open {
                lease,
                heartbeat,
                answered,
                next_heartbeat,
            } if now >= next_heartbeat => {
                self.heartbeats += 1;
                self.phase = Phase::Open {
                    lease,
                    heartbeat,
                    answered,
                    next_heartbeat: now + self.heartbeat_pause(heartbeat),
                };
                let seq = self.heartbeats;
                vec![Output::Send(NodeMessage::Heartbeat { seq })]
            }
            _ => Vec::new(),
        }
    }

    fn connect(&mut self, now: Duration) -> Vec<Output> {
        let url = match self.moved.take() {
            Some(url) => url,
            None => match self.urls.get(self.next_url) {
                Some(url) => {
                    let url = url.clone();
                    self.next_url = (self.next_url + 1) % self.urls.len();
                    url
                }
                None => return Vec::new(),
            },
        };
        self.phase = Phase::Connecting {
            until: now + GREETING_TIME_MAX,
        };
        vec![Output::Connect { url }]
    }

    /// Waits before the next try: at once while there are managers in this round, then backed off.
    ///
    /// A link that was open starts a new round after a short random pause: when a manager ends, all its nodes come.
    fn retreat(&mut self, now: Duration) {
        let round_is_over =
            self.next_url == 0 || matches!(self.phase, Phase::Open { .. } | Phase::Waiting { .. });
        let pause = if round_is_over {
            self.back_off.next(&mut self.jitter)
        } else {
            Duration::ZERO
        };
        self.phase = Phase::Waiting { until: now + pause };
    }
}

fn refuse(order_id: OrderId, reason: String) -> Vec<Output> {
    vec![Output::Send(NodeMessage::Ack {
        order_id,
        state: AckState::Refused,
        reason: Some(reason),
    })]
}

fn bounded_lease(seconds: u32) -> Duration {
    let (low, high) = LEASE_BOUNDS;
    Duration::from_secs(u64::from(seconds)).clamp(low, high)
}

#[cfg(test)]
mod tests;
