//! One container: its launcher, and the node that it becomes.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use klusterkite_wire::link::{
    AckState, Hello, LINK_PROTOCOL, ManagerMessage, NodeMessage, NodeReport, Order, OrderKind,
    ReportedStatus,
};
use klusterkite_wire::start::{
    NodeTokenAnswer, NodeTokenRequest, StartConfiguration, StartRequest,
};
use klusterkite_wire::{Incarnation, NodeId, Secret};
use serde_json::Value;
use tokio::time::{Instant as Time, sleep, sleep_until, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::crowd::Crowd;
use crate::http::Http;
use crate::stream::Stream;

/// Runtime of all containers.
const RUNTIME: &str = "linux-x64";

/// Read buffer of a link, in bytes.
const BUFFER_BYTES: usize = 4096;

/// How long a container that got nothing waits before it asks again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

type Link = WebSocketStream<Stream>;

pub(crate) struct Container {
    crowd: Rc<Crowd>,
    number: usize,
    id: NodeId,
    secret: Secret,
    incarnation: u64,
    /// Access token, which a launcher keeps as long as it is good.
    access: String,
}

impl Container {
    pub(crate) fn new(crowd: Rc<Crowd>, number: usize) -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
        let id = bytes[..16].try_into().expect("it is half of them");
        Self {
            crowd,
            number,
            id: NodeId::from_random_bytes(id),
            secret: Secret::from_random_bytes(bytes),
            incarnation: 1,
            access: String::new(),
        }
    }

    /// Asks, links, and obeys for ever.
    pub(crate) async fn live(mut self) -> Result<()> {
        let mut configuration = self.first_configuration().await?;
        let mut hello_at = Time::now();
        loop {
            let mut link = self.link(&configuration).await.context("linking")?;
            sleep_until(hello_at).await;
            let Some(next) = self.run(&mut link, &configuration).await? else {
                return Ok(());
            };
            hello_at = Time::now() + self.crowd.settings.restart;
            leave(link).await;
            self.incarnation += 1;
            // While the next node starts, its launcher asks for its token.
            configuration = self.with_token(next).await?;
        }
    }

    /// Logs in on a connection of its own.
    pub(crate) async fn log_in(&self) -> Result<(Http, String)> {
        let settings = &self.crowd.settings;
        let mut http = Http::connect(&settings.manager, self.number).await?;
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            settings.client,
            settings.secret.reveal()
        );
        let media_type = "application/x-www-form-urlencoded";
        let answer = http.post("/oauth/token", None, media_type, &form).await;
        let token: Value = answer?.json().context("logging in")?;
        let token = token["access_token"].as_str().context("no token")?;
        Ok((http, token.to_owned()))
    }

    async fn first_configuration(&mut self) -> Result<StartConfiguration> {
        let (mut http, token) = self.log_in().await?;
        self.access = token;
        loop {
            let asked = Instant::now();
            let answer = self.ask(&mut http, &self.access).await?;
            self.crowd.shared.asked.borrow_mut().add(asked.elapsed());
            if answer.status != 503 {
                return answer.json().context("asking for a configuration");
            }
            sleep(ASK_AGAIN).await;
        }
    }

    /// Asks what to be.
    pub(crate) async fn ask(&self, http: &mut Http, token: &str) -> Result<crate::http::Answer> {
        let request = StartRequest {
            node_id: self.id.clone(),
            node_secret: self.secret.clone(),
            incarnation: Incarnation(self.incarnation),
            last_incarnation: None,
            container_type: self.crowd.settings.container_type.parse()?,
            runtime: RUNTIME.parse()?,
            crash: None,
        };
        let body = serde_json::to_string(&request)?;
        let path = "/api/v1/nodes/configuration";
        http.post(path, Some(token), "application/json", &body)
            .await
    }

    /// Gets a token for what it was told to become.
    async fn with_token(&self, next: StartConfiguration) -> Result<StartConfiguration> {
        let mut http = Http::connect(&self.crowd.settings.manager, self.number).await?;
        let request = NodeTokenRequest {
            node_secret: self.secret.clone(),
            incarnation: Incarnation(self.incarnation),
            last_incarnation: Some(Incarnation(self.incarnation - 1)),
            container_type: self.crowd.settings.container_type.parse()?,
            runtime: RUNTIME.parse()?,
            node_template: next.node_template.clone(),
            configuration_id: next.configuration_id,
            failure: None,
        };
        let body = serde_json::to_string(&request)?;
        let path = format!("/api/v1/nodes/{}/token", self.id);
        let answer = http
            .post(&path, Some(&self.access), "application/json", &body)
            .await;
        let answer: NodeTokenAnswer = answer?.json().context("asking for a node token")?;
        Ok(StartConfiguration {
            node_token: Some(answer.node_token),
            ..next
        })
    }

    /// Is a node until it is told to stop; returns what comes next, or nothing when it fell silent for good.
    async fn run(
        &self,
        link: &mut Link,
        configuration: &StartConfiguration,
    ) -> Result<Option<StartConfiguration>> {
        send(link, &self.hello(configuration)?).await?;
        let ManagerMessage::Welcome {
            heartbeat_seconds, ..
        } = receive(link).await?
        else {
            bail!("the first message is no welcome");
        };
        self.crowd.shared.ready.send_modify(|ready| *ready += 1);
        let pause = Duration::from_secs(heartbeat_seconds.into());
        // Spread over the pause, as the jitter of real nodes does.
        let mut next_beat = Time::now() + pause.mul_f64(self.number as f64 % 100.0 / 100.0);
        let mut seq = 0;
        loop {
            let heard = timeout_at(next_beat, receive(link)).await;
            if self.number < self.crowd.shared.frozen.get() {
                std::future::pending::<()>().await;
            }
            match heard {
                Err(_) => {
                    seq += 1;
                    next_beat += pause;
                    let beats = &self.crowd.shared.beats;
                    beats.set(beats.get() + 1);
                    send(link, &NodeMessage::Heartbeat { seq }).await?;
                }
                Ok(message) => {
                    if let ManagerMessage::Order(order) = message?
                        && let Some(next) = obey(link, *order).await?
                    {
                        return Ok(Some(next));
                    }
                }
            }
        }
    }

    async fn link(&self, configuration: &StartConfiguration) -> Result<Link> {
        let manager = &self.crowd.settings.manager;
        let stream = manager.connect(self.number).await?;
        let url = format!("ws://{}/api/v1/nodes/{}/link", manager.address(), self.id);
        let mut request = url.into_client_request()?;
        let token = configuration.node_token.as_ref().context("no node token")?;
        let bearer = format!("Bearer {}", token.reveal());
        request
            .headers_mut()
            .insert("authorization", bearer.parse()?);
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(0);
        let linked =
            tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
        Ok(linked.0)
    }

    fn hello(&self, configuration: &StartConfiguration) -> Result<NodeMessage> {
        Ok(NodeMessage::Hello(Box::new(Hello {
            protocol: LINK_PROTOCOL,
            incarnation: Incarnation(self.incarnation),
            template: configuration.node_template.clone(),
            configuration_id: configuration.configuration_id,
            container_type: self.crowd.settings.container_type.parse()?,
            runtime: RUNTIME.parse()?,
            address: "127.0.0.1".to_owned(),
            roles: Vec::new(),
            modules: Vec::new(),
            endpoints: Vec::new(),
            watch: Vec::new(),
            containment: None,
            report: NodeReport {
                status: ReportedStatus::Ready,
                reason: None,
                processes: Vec::new(),
            },
            last_order_id: None,
        })))
    }
}

/// Carries out an order; returns what comes after a stop.
async fn obey(link: &mut Link, order: Order) -> Result<Option<StartConfiguration>> {
    let ack = |state| NodeMessage::Ack {
        order_id: order.id,
        state,
        reason: None,
    };
    if order.kind != OrderKind::Stop {
        send(link, &ack(AckState::Done)).await?;
        return Ok(None);
    }
    send(link, &ack(AckState::Accepted)).await?;
    let reason = "stopped as ordered".to_owned();
    send(link, &NodeMessage::Bye { reason }).await?;
    order.next.map(Some).context("a stop without a next")
}

/// Closes a link as nodes do: what was said last has been read when the manager has answered.
async fn leave(mut link: Link) {
    if link.close(None).await.is_ok() {
        while let Some(Ok(_)) = link.next().await {}
    }
}

async fn send(link: &mut Link, message: &NodeMessage) -> Result<()> {
    Ok(link
        .send(Message::text(serde_json::to_string(message)?))
        .await?)
}

async fn receive(link: &mut Link) -> Result<ManagerMessage> {
    loop {
        match link.next().await.context("the manager closed the link")?? {
            Message::Text(text) => return Ok(serde_json::from_str(&text)?),
            Message::Close(frame) => bail!("the manager closed the link: {frame:?}"),
            _ => {}
        }
    }
}
