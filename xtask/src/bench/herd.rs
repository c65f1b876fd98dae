//! Ten thousand containers that ask at the same moment, each on a connection of its own: what the manager decides and
//! stores, beside nginx, which answers as many bytes from a file (the limit), and etcd, which compares and puts a key for
//! each (the peer).

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use klusterkite_tests::local::LocalCluster;
use klusterkite_tests::process::{Program, wait_until};
use klusterkite_wire::{NodeId, Secret};
use serde_json::{Value, json};

use super::figure::{Bar, Figure, Of, Samples, all_held, missed};
use super::free_port;
use super::nodes::cluster::{self, Crowd, Limits};
use super::nodes::etcd::Etcd;
use crate::tools::{self, build_release, need, target};

/// Containers that ask at once.
const HERD: usize = 10_000;

/// Rounds; the sides take turns within each.
const ROUNDS: usize = 5;

/// Bytes that etcd stores for each, about those of what the manager answers.
const VALUE_BYTES: usize = 700;

/// How long nginx may take to listen.
const START_MAX: Duration = Duration::from_secs(10);

/// Measures the time to the last answer; fails after all figures when one missed its bar.
pub(crate) fn herd(as_json: bool) -> Result<()> {
    need(&[tools::NGINX])?;
    build_release()?;
    // Every container finds a place, and the one whose answer is measured.
    let limits = Limits::of(HERD, 1);
    let mut cluster = cluster::start("bench-herd", limits, false)?;
    let mut crowd = Crowd::start(&cluster, 0)?;
    let launchers = Launchers::new(&cluster)?;
    let nginx = Nginx::start(
        &target().join("bench-herd/nginx"),
        launchers.answer_bytes()?,
    )?;
    let etcd = Etcd::start("bench-herd-etcd")?;
    let mut sides = Sides::default();
    for round in 1..=ROUNDS {
        let file = |_: usize| format!("GET /answer HTTP/1.1\r\nhost: nginx\r\n{CLOSE}\r\n");
        sides.nginx.push(storm(&mut crowd, nginx.port, file)?);
        let ask = |container: usize| launchers.request(container, round);
        sides.ours.push(storm(&mut crowd, launchers.port, ask)?);
        if let Some(etcd) = &etcd {
            let put = |container: usize| compare_and_put(container, round);
            sides.etcd.push(storm(&mut crowd, etcd.port, put)?);
        }
    }
    drop(crowd);
    cluster.stop()?;
    sides.report(as_json)
}

/// Ends a connection after its answer, as for a launcher that asks once.
const CLOSE: &str = "connection: close\r\n";

/// What a herd met.
struct Storm {
    /// Until the last answer, in milliseconds.
    last_ms: f64,
    p50_ms: f64,
    /// Tries that had to be repeated.
    failures: f64,
}

/// Lets a herd go and waits until each of it has its answer.
fn storm(crowd: &mut Crowd, port: u16, request: impl Fn(usize) -> String) -> Result<Storm> {
    let requests: Vec<String> = (0..HERD).map(request).collect();
    let file = target().join("bench-herd/requests.json");
    fs::write(&file, serde_json::to_vec(&requests)?)?;
    let answer = crowd.tell(&format!("herd 127.0.0.1:{port} {}", file.display()))?;
    let number = |pointer: &str| {
        let number = answer.pointer(pointer).and_then(Value::as_f64);
        number.with_context(|| format!("no number at `{pointer}`: {answer}"))
    };
    if number("/failures")? > 0.0 {
        eprintln!("port {port}: {answer}");
    }
    Ok(Storm {
        last_ms: number("/times/max")?,
        p50_ms: number("/times/p50")?,
        failures: number("/failures")?,
    })
}

#[derive(Default)]
struct Sides {
    ours: Vec<Storm>,
    nginx: Vec<Storm>,
    etcd: Vec<Storm>,
}

impl Sides {
    fn report(&self, as_json: bool) -> Result<()> {
        let samples = |side: &[Storm], read: fn(&Storm) -> f64| {
            let samples: Vec<f64> = side.iter().map(read).collect();
            (!samples.is_empty()).then(|| Samples::new(samples))
        };
        let figure = |name, unit, read, bars| -> Result<Figure<'_>> {
            Ok(Figure {
                name,
                unit,
                ours: samples(&self.ours, read).context("no round")?,
                peer: samples(&self.etcd, read).map(|samples| ("etcd", samples)),
                limit: samples(&self.nginx, read).map(|samples| ("nginx", samples)),
                bars,
            })
        };
        let mut bars = vec![Bar::Most(2.5, Of::Limit)];
        if !self.etcd.is_empty() {
            bars.push(Bar::Most(0.2, Of::Peer));
        }
        let figures = [
            figure("herdLast", "ms", |storm| storm.last_ms, bars)?,
            figure("herdMedian", "ms", |storm| storm.p50_ms, vec![])?,
        ];
        let mut missed = missed(&figures, as_json);
        let failures: f64 = self.ours.iter().map(|storm| storm.failures).sum();
        if failures > 0.0 {
            missed.push(format!("{failures} requests were not answered at once"));
        }
        all_held(&missed)
    }
}

/// The launchers of the herd, with the token that they share, as those of one container type do.
struct Launchers {
    port: u16,
    token: String,
    ids: Vec<(NodeId, Secret)>,
}

impl Launchers {
    fn new(cluster: &LocalCluster) -> Result<Self> {
        let address = cluster.manager_url().trim_start_matches("http://");
        let port = address.rsplit(':').next().context("no port")?.parse()?;
        let client = &cluster.credentials()?["clients"]["worker"];
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            client["id"].as_str().context("no id")?,
            client["secret"].as_str().context("no secret")?
        );
        let login = format!(
            "POST /oauth/token HTTP/1.1\r\nhost: manager\r\n{CLOSE}\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            form.len()
        );
        let answer = exchange(port, &login)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
        let token: Value = serde_json::from_str(body)?;
        let ids = (0..=HERD).map(|_| {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes)?;
            let id = bytes[..16].try_into().context("it is half of them")?;
            Ok((
                NodeId::from_random_bytes(id),
                Secret::from_random_bytes(bytes),
            ))
        });
        Ok(Self {
            port,
            token: token["access_token"]
                .as_str()
                .context("no token")?
                .to_owned(),
            ids: ids.collect::<Result<_>>()?,
        })
    }

    /// Asks what a container should be, once in every round.
    fn request(&self, container: usize, round: usize) -> String {
        let (id, secret) = &self.ids[container];
        let body = json!({
            "nodeId": id, "nodeSecret": secret.reveal(), "incarnation": round,
            "lastIncarnation": (round > 1).then(|| round - 1),
            "containerType": "worker", "runtime": "linux-x64",
        })
        .to_string();
        format!(
            "POST /api/v1/nodes/configuration HTTP/1.1\r\nhost: manager\r\n{CLOSE}\
             authorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        )
    }

    /// Returns the length of a body of the manager's answers: one more container asks.
    fn answer_bytes(&self) -> Result<usize> {
        let answer = exchange(self.port, &self.request(HERD, 1))?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
        Ok(body.len())
    }
}

/// Sends a request and reads until the server closes.
fn exchange(port: u16, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Asks etcd to store what a container becomes, unless another has.
fn compare_and_put(container: usize, round: usize) -> String {
    let key = STANDARD.encode(format!("node/{round}/{container}"));
    let body = json!({
        "compare": [{ "target": "VERSION", "key": key, "version": "0", "result": "EQUAL" }],
        "success": [{ "requestPut": { "key": key, "value": STANDARD.encode("v".repeat(VALUE_BYTES)) } }],
    })
    .to_string();
    format!(
        "POST /v3/kv/txn HTTP/1.1\r\nhost: etcd\r\n{CLOSE}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// nginx with one file.
struct Nginx {
    program: Program,
    port: u16,
}

impl Nginx {
    fn start(directory: &Path, bytes: usize) -> Result<Self> {
        fs::create_dir_all(directory.join("www"))?;
        fs::write(directory.join("www/answer"), "a".repeat(bytes))?;
        let port = free_port()?;
        let settings: PathBuf = directory.join("nginx.conf");
        let text = format!(
            "daemon off;\nworker_processes auto;\nworker_rlimit_nofile 20000;\npid {0}/pid;\nerror_log {0}/error.log;\n\
             events {{ worker_connections 12000; multi_accept on; }}\n\
             http {{ access_log off; client_body_temp_path {0}/a; proxy_temp_path {0}/b; fastcgi_temp_path {0}/c;\n\
             uwsgi_temp_path {0}/d; scgi_temp_path {0}/e; open_file_cache max=10;\n\
             server {{ listen 127.0.0.1:{port} backlog=8192; root {0}/www; }} }}\n",
            directory.display()
        );
        fs::write(&settings, text)?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&settings).arg("-p").arg(directory);
        let mut program = Program::start("nginx", directory, &mut command)?;
        let listens = wait_until(START_MAX, || {
            !program.runs() || TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        program.still_runs()?;
        ensure!(listens, "nginx does not listen at port {port}");
        Ok(Self { program, port })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Asked to end it takes its workers along; killed it would leave them.
        let _ = self.program.stop();
    }
}
