//! etcd: a store in which leases are kept, and which others build such managers on.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use klusterkite_tests::api;
use klusterkite_tests::process::{Program, wait_until};
use serde_json::{Value, json};
use ureq::Agent;

use crate::bench::free_port;
use crate::bench::process::Process;
use crate::tools::{self, fresh, is_there, target};

/// Leases, one for each of as many nodes as our manager has.
const LEASES: usize = 10_000;

/// Life of a lease, in seconds: none ends before it is renewed.
const LEASE_SECONDS: u64 = 120;

/// Clients that grant and renew at the same time.
const CLIENTS: usize = 4;

/// How long leases are renewed.
const RENEWALS: Duration = Duration::from_secs(10);

/// How long it may take to start.
const START_MAX: Duration = Duration::from_secs(20);

/// A running etcd with one member and an empty store.
pub(crate) struct Etcd {
    program: Program,
    pub(crate) port: u16,
}

impl Etcd {
    /// Starts one; nothing when etcd is not installed, and says so.
    pub(crate) fn start(name: &str) -> Result<Option<Self>> {
        if !is_there(&tools::ETCD) {
            return Ok(None);
        }
        let directory = fresh(target().join(name))?;
        let (port, peer_port) = (free_port()?, free_port()?);
        let (url, peer_url) = (
            format!("http://127.0.0.1:{port}"),
            format!("http://127.0.0.1:{peer_port}"),
        );
        let mut command = Command::new("etcd");
        command
            .args(["--name", "bench", "--data-dir"])
            .arg(directory.join("data"))
            .args(["--listen-client-urls", &url])
            .args(["--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer_url])
            .args(["--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("bench={peer_url}")]);
        let program = Program::start("etcd", &directory, &mut command)?;
        let started = Self { program, port };
        let agent = api::agent();
        ensure!(
            wait_until(START_MAX, || started
                .call(&agent, "kv/range", json!({ "key": "YQ==" }))
                .is_ok()),
            "etcd does not answer at {url}"
        );
        Ok(Some(started))
    }

    fn process(&self) -> Process {
        Process(self.program.id())
    }

    fn call(&self, agent: &Agent, method: &str, body: Value) -> Result<Value> {
        let url = format!("http://127.0.0.1:{}/v3/{method}", self.port);
        let mut answer = agent.post(&url).send_json(body)?;
        ensure!(answer.status() == 200, "{url}: {}", answer.status());
        Ok(answer.body_mut().read_json()?)
    }
}

/// What leases cost in etcd.
pub(crate) struct Leases {
    /// Processor time of a renewal over its HTTP interface.
    pub(crate) renewal_micros: f64,
    /// Its memory with all leases.
    pub(crate) memory_mib: f64,
}

/// Grants leases and renews them; nothing when etcd is not installed.
pub(crate) fn leases() -> Result<Option<Leases>> {
    let Some(etcd) = Etcd::start("bench-nodes-etcd")? else {
        return Ok(None);
    };
    let each_client = |work: &(dyn Fn(&Agent, usize) -> Result<()> + Sync)| -> Result<()> {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| scope.spawn(move || work(&api::agent(), client)))
                .collect();
            clients.into_iter().try_for_each(|client| {
                client
                    .join()
                    .map_err(|_| anyhow::anyhow!("a client failed"))?
            })
        })
    };
    let of_client = |client: usize| (client + 1..=LEASES).step_by(CLIENTS);
    each_client(&|agent, client| {
        of_client(client).try_for_each(|id| {
            let lease = json!({ "ID": id, "TTL": LEASE_SECONDS });
            etcd.call(agent, "lease/grant", lease).map(drop)
        })
    })
    .context("granting leases")?;
    let renewed = AtomicUsize::new(0);
    let (before, started) = (etcd.process().cpu_seconds()?, Instant::now());
    each_client(&|agent, client| {
        for id in of_client(client).cycle() {
            if started.elapsed() >= RENEWALS {
                break;
            }
            etcd.call(agent, "lease/keepalive", json!({ "ID": id }))?;
            renewed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })
    .context("renewing leases")?;
    let cpu = etcd.process().cpu_seconds()? - before;
    Ok(Some(Leases {
        renewal_micros: cpu * 1e6 / renewed.into_inner() as f64,
        memory_mib: etcd.process().resident_mib()?,
    }))
}
