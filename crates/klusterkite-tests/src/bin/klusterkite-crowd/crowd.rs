//! All containers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use klusterkite_wire::Secret;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::container::Container;
use crate::stream::Manager;
use crate::times::Times;

/// How long all containers may take to become ready nodes, once more after a restart.
const READY_TIMEOUT: Duration = Duration::from_mins(2);

/// Where and as whom the containers ask.
pub(crate) struct Settings {
    /// The manager.
    pub(crate) manager: Manager,
    /// Launcher client.
    pub(crate) client: String,
    /// Its secret.
    pub(crate) secret: Secret,
    /// Kind of all containers.
    pub(crate) container_type: String,
    /// Number of containers.
    pub(crate) containers: usize,
    /// How long a restarted node takes from its end to its next `hello`.
    pub(crate) restart: Duration,
}

impl Settings {
    /// Reads `MANAGER CLIENT CONTAINER_TYPE CONTAINERS RESTART_MS`; secret and authority are in the environment.
    pub(crate) fn from_arguments() -> Result<Self> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let [manager, client, container_type, containers, restart] = arguments.as_slice() else {
            bail!("usage: klusterkite-crowd MANAGER CLIENT CONTAINER_TYPE CONTAINERS RESTART_MS");
        };
        let secret = std::env::var("CROWD_SECRET").context("CROWD_SECRET is not set")?;
        Ok(Self {
            manager: Manager::new(manager, std::env::var_os("CROWD_CA").map(Into::into))?,
            client: client.clone(),
            secret: Secret::new(secret),
            container_type: container_type.clone(),
            containers: containers.parse().context("CONTAINERS is no number")?,
            restart: Duration::from_millis(restart.parse().context("RESTART_MS is no number")?),
        })
    }
}

/// All containers, and what they tell each other.
pub(crate) struct Crowd {
    pub(crate) settings: Settings,
    pub(crate) shared: Rc<Shared>,
}

/// What containers count together.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) ready: watch::Sender<usize>,
    pub(crate) failed: RefCell<Option<String>>,
    pub(crate) asked: RefCell<Times>,
    pub(crate) beats: Cell<usize>,
    pub(crate) frozen: Cell<usize>,
}

impl Crowd {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            shared: Rc::default(),
        }
    }

    /// Starts all containers and waits until each is a ready node.
    pub(crate) async fn join(self: &Rc<Self>) -> Result<Value> {
        let started = Instant::now();
        for number in 0..self.settings.containers {
            let crowd = Rc::clone(self);
            tokio::task::spawn_local(async move {
                let shared = Rc::clone(&crowd.shared);
                if let Err(error) = Container::new(crowd, number).live().await {
                    shared
                        .failed
                        .replace(Some(format!("container {number}: {error:#}")));
                }
            });
        }
        self.ready(self.settings.containers).await?;
        Ok(json!({
            "seconds": started.elapsed().as_secs_f64(),
            "asked": self.shared.asked.take().summary(),
        }))
    }

    /// Waits until nodes have become ready so many times.
    pub(crate) async fn ready(&self, count: usize) -> Result<Value> {
        let mut ready = self.shared.ready.subscribe();
        let all = ready.wait_for(|ready| *ready >= count);
        let reached = tokio::time::timeout(READY_TIMEOUT, all).await.is_ok();
        if let Some(failed) = self.shared.failed.take() {
            bail!("{failed}");
        }
        let ready = *ready.borrow();
        if !reached {
            bail!("nodes became ready {ready} times");
        }
        Ok(json!({ "ready": ready }))
    }

    /// Lets the first containers fall silent.
    pub(crate) fn freeze(&self, count: usize) -> Value {
        self.shared.frozen.set(count);
        json!({ "frozen": count })
    }

    /// Returns how many heartbeats have been sent.
    pub(crate) fn beats(&self) -> usize {
        self.shared.beats.get()
    }
}
