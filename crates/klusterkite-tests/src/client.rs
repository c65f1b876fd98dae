//! Clients of the services of a cluster, as merciless as real ones: they ask without pause, never twice,
//! and remember every failure.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::api::Operator;

/// Pause between two probes of a port.
const PROBE_PAUSE: Duration = Duration::from_millis(20);

/// Pause between two requests of the client.
const REQUEST_PAUSE: Duration = Duration::from_millis(5);

/// Longest time for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What a client or prober saw.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Requests sent, or rounds of probes done.
    pub requests: u64,
    /// Requests that failed, with the reason.
    pub failures: Vec<String>,
    /// Fewest ports that answered in one round (prober).
    pub fewest: Option<usize>,
    /// Different answers, in the order of their first appearance.
    pub answers: Vec<String>,
}

/// A watcher that runs until it is stopped.
pub struct Watcher {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    threads: Vec<JoinHandle<()>>,
}

impl Watcher {
    /// Sends requests without pause and without retries to the endpoints in `/members?role=…`, in turn.
    pub fn requests(operator: Operator, role: &str, path: &str) -> Self {
        let (stop, seen) = Self::shared();
        let addresses = Arc::new(Mutex::new(Vec::new()));
        let (role, path) = (role.to_owned(), path.to_owned());
        let follow = {
            let (stop, addresses) = (stop.clone(), addresses.clone());
            std::thread::spawn(move || follow_members(&operator, &role, &stop, &addresses))
        };
        let send = {
            let (stop, seen) = (stop.clone(), seen.clone());
            std::thread::spawn(move || send_requests(&path, &stop, &addresses, &seen))
        };
        Self {
            stop,
            seen,
            threads: vec![follow, send],
        }
    }

    /// Asks each port every 20 ms and keeps the fewest that answered at once.
    pub fn probes(ports: Vec<u16>, path: &str) -> Self {
        let addresses = ports.iter().map(|port| format!("127.0.0.1:{port}"));
        Self::probes_at(addresses.collect(), path)
    }

    /// Asks each `address:port` every 20 ms and keeps the fewest that answered at once.
    pub fn probes_at(addresses: Vec<String>, path: &str) -> Self {
        let (stop, seen) = Self::shared();
        let path = path.to_owned();
        let thread = {
            let (stop, seen) = (stop.clone(), seen.clone());
            std::thread::spawn(move || probe(&addresses, &path, &stop, &seen))
        };
        Self {
            stop,
            seen,
            threads: vec![thread],
        }
    }

    /// Returns what was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().expect("a watcher does not panic").clone()
    }

    /// Stops and returns everything that was seen.
    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a watcher does not panic");
        }
        let seen = self.seen.lock().expect("a watcher does not panic");
        seen.clone()
    }

    fn shared() -> (Arc<AtomicBool>, Arc<Mutex<Seen>>) {
        (Arc::default(), Arc::default())
    }
}

/// Sends one GET on a connection of its own and returns the body of a 200.
pub fn get(address: &str, path: &str) -> Result<String> {
    let socket: SocketAddr = address.parse()?;
    let mut stream = TcpStream::connect_timeout(&socket, REQUEST_TIMEOUT)?;
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the answer broke off")?;
    ensure!(
        head.contains(" 200 "),
        "{}",
        head.lines().next().unwrap_or_default()
    );
    Ok(body.to_owned())
}

/// Keeps the list of addresses as the cluster tells it, by blocking queries; while the manager is away the
/// last list stays.
fn follow_members(
    operator: &Operator,
    role: &str,
    stop: &AtomicBool,
    addresses: &Mutex<Vec<String>>,
) {
    let mut index = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(members) = operator.get(&format!("/members?role={role}&index={index}&wait=1s"))
        else {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        index = members["version"].as_u64().unwrap_or(0);
        let list = addresses_of(&members);
        if !list.is_empty() {
            *addresses.lock().expect("a watcher does not panic") = list;
        }
    }
}

/// Returns `address:port` of the first endpoint of each member.
pub fn addresses_of(members: &Value) -> Vec<String> {
    let members = members["members"].as_array().cloned().unwrap_or_default();
    let address = |member: &Value| {
        let port = member["endpoints"][0]["port"].as_u64()?;
        Some(format!("{}:{port}", member["address"].as_str()?))
    };
    members.iter().filter_map(address).collect()
}

fn send_requests(
    path: &str,
    stop: &AtomicBool,
    addresses: &Mutex<Vec<String>>,
    seen: &Mutex<Seen>,
) {
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        let address = {
            let addresses = addresses.lock().expect("a watcher does not panic");
            if addresses.is_empty() {
                None
            } else {
                Some(addresses[turn % addresses.len()].clone())
            }
        };
        turn += 1;
        if let Some(address) = address {
            let answer = get(&address, path);
            let mut seen = seen.lock().expect("a watcher does not panic");
            seen.requests += 1;
            match answer {
                Ok(body) if !seen.answers.contains(&body) => seen.answers.push(body),
                Ok(_) => {}
                Err(error) => seen.failures.push(format!("{address}: {error:#}")),
            }
        }
        std::thread::sleep(REQUEST_PAUSE);
    }
}

fn probe(addresses: &[String], path: &str, stop: &AtomicBool, seen: &Mutex<Seen>) {
    while !stop.load(Ordering::Relaxed) {
        let round = Instant::now();
        let answering = addresses
            .iter()
            .filter(|address| get(address, path).is_ok())
            .count();
        {
            let mut seen = seen.lock().expect("a watcher does not panic");
            seen.requests += 1;
            seen.fewest = Some(
                seen.fewest
                    .map_or(answering, |fewest| fewest.min(answering)),
            );
        }
        std::thread::sleep(PROBE_PAUSE.saturating_sub(round.elapsed()));
    }
}
