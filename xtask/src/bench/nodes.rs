//! A manager with thousands of nodes: simulated launchers speak its real protocol from a process of their own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use klusterkite_tests::api::Operator;
use klusterkite_tests::local::{LocalCluster, Options};
use klusterkite_tests::process::{processes_below, wait_until};
use serde_json::{Value, json};

use super::figure::{Bar, Figure, Of, Samples};
use crate::tools::{cargo, root, run, target};

/// Templates that the nodes spread over.
const TEMPLATES: usize = 20;

/// Largest number of nodes.
const NODES: usize = 10_000;

/// The number that shows whether the cost of a node grows.
const FEW_NODES: usize = 1_000;

/// How long the manager is watched while nothing changes.
const STEADY: Duration = Duration::from_mins(1);

/// Questions per second, for this many seconds.
const ASKS: (usize, usize) = (2_000, 2);

/// Nodes that fall silent at once.
const LOST: usize = 100;

/// Life of a lease at ten thousand nodes.
const LEASE: Duration = Duration::from_secs(10);

/// Ticks of processor time per second in `/proc`.
const TICKS: f64 = 100.0;

/// Measures joining, asking, idling and losing nodes.
pub(crate) fn nodes(as_json: bool) -> Result<()> {
    run(&mut cargo(&[
        "build",
        "--release",
        "--workspace",
        "--bins",
        "--locked",
    ]))?;
    let few = Run::measure(FEW_NODES)?;
    let many = Run::measure(NODES)?;
    let figure = |name, unit, ours, bars| Figure {
        name,
        unit,
        ours: Samples::new(vec![ours]),
        peer: None,
        limit: None,
        bars,
    };
    let per_node = |run: &Run, nodes: usize| run.idle_percent / nodes as f64 * 1000.0;
    let most = |bar| vec![Bar::Most(bar, Of::Units)];
    let figures = [
        figure("nodesJoin", "s", many.join_seconds, most(10.0)),
        figure("nodesJoinAskP99", "ms", many.join_ask_p99, vec![]),
        figure("nodesAskP99", "ms", many.ask_p99, most(50.0)),
        figure("nodesIdle", "% of a core", many.idle_percent, most(15.0)),
        figure("nodesMemory", "MiB", many.memory_mib, most(250.0)),
        figure(
            "nodesLossSeen",
            "s",
            many.loss_seconds,
            most(LEASE.as_secs_f64() + 2.0),
        ),
        figure(
            "nodesIdlePerThousand",
            "% of a core",
            per_node(&many, NODES),
            vec![],
        ),
        figure(
            "nodesIdlePerThousandOfFew",
            "% of a core",
            per_node(&few, FEW_NODES),
            vec![],
        ),
    ];
    let reported: Vec<_> = figures
        .iter()
        .map(|figure| figure.report(as_json))
        .collect();
    reported.into_iter().collect()
}

/// What one crowd cost.
struct Run {
    join_seconds: f64,
    join_ask_p99: f64,
    idle_percent: f64,
    memory_mib: f64,
    ask_p99: f64,
    loss_seconds: f64,
}

impl Run {
    fn measure(nodes: usize) -> Result<Self> {
        let mut cluster = start(nodes)?;
        let operator = cluster.operator()?;
        let manager = manager(&cluster)?;
        let mut crowd = Crowd::start(&cluster, nodes)?;
        let joined = crowd.tell("join")?;
        ensure!(
            total(&operator, "/nodes?status=ready&limit=1")? > nodes as u64,
            "the manager does not count all nodes as ready"
        );
        sleep(LEASE / 2);
        let (before, started) = (cpu_ticks(manager)?, Instant::now());
        sleep(STEADY);
        let idle = (cpu_ticks(manager)? - before) / TICKS / started.elapsed().as_secs_f64();
        let memory = resident_mib(manager)?;
        let asked = crowd.tell(&format!("ask {} {}", ASKS.0, ASKS.1))?;
        crowd.tell(&format!("freeze {LOST}"))?;
        let frozen = Instant::now();
        let mut seen = Ok(0);
        let noticed = wait_until(LEASE * 6, || {
            seen = total(&operator, "/nodes?status=unreachable&limit=1");
            !matches!(seen, Ok(count) if count < LOST as u64)
        });
        let loss_seconds = frozen.elapsed().as_secs_f64();
        ensure!(noticed, "of {LOST} lost nodes are reported: {seen:?}");
        seen?;
        check_journal(&operator, nodes)?;
        drop(crowd);
        cluster.stop()?;
        let number = |value: &Value| value.as_f64().context("the crowd told no number");
        Ok(Self {
            join_seconds: number(&joined["seconds"])?,
            join_ask_p99: number(&joined["asked"]["p99"])?,
            idle_percent: idle * 100.0,
            memory_mib: memory,
            ask_p99: number(&asked["times"]["p99"])?,
            loss_seconds,
        })
    }
}

/// The limits of a template: at their minimum there is room for more, and all of them take the crowd and the questions.
fn limits(nodes: usize) -> (usize, usize) {
    let all = nodes + ASKS.0 * ASKS.1;
    (nodes / TEMPLATES * 6 / 10, all.div_ceil(TEMPLATES))
}

fn code(template: usize) -> String {
    format!("crowd-{template:02}")
}

/// Starts a cluster without workers whose templates take the crowd.
fn start(nodes: usize) -> Result<LocalCluster> {
    let directory = target().join("bench-nodes");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    let sample = directory.join("sample");
    write_sample(&sample, nodes)?;
    LocalCluster::start(Options {
        directory,
        programs: target().join("release"),
        launcher: None,
        repository: root(),
        sample: sample.display().to_string(),
        workers: 0,
        tls: false,
    })
}

/// Writes a sample of one package and as many templates as are wanted; the manager is that of `hello`.
fn write_sample(sample: &Path, nodes: usize) -> Result<()> {
    let package = sample.join("packages/Crowd/1.0.0");
    fs::create_dir_all(package.join("content"))?;
    fs::write(
        package.join("pack.hocon"),
        "id = Crowd\ndescription = \"Nothing\"\n",
    )?;
    fs::write(package.join("content/crowd.txt"), "Nothing runs here.\n")?;
    let hello = fs::read(root().join("samples/hello/cluster.json"))?;
    let mut settings: Value = serde_json::from_slice(&hello)?;
    let (minimum, maximum) = limits(nodes);
    let mut templates: Vec<Value> = (0..TEMPLATES)
        .map(|template| {
            json!({
                "code": code(template), "name": code(template), "containerTypes": ["worker"],
                "minimumRequiredInstances": minimum, "maximumNeededInstances": maximum,
                "priority": 1 + template, "packageRequirements": [{ "id": "Crowd" }],
            })
        })
        .collect();
    let all = settings["nodeTemplates"]
        .as_array()
        .context("the sample has templates")?;
    let manager = all
        .iter()
        .find(|template| template["code"] == "clusterManager");
    templates.push(manager.context("the sample has a manager")?.clone());
    settings["nodeTemplates"] = json!(templates);
    settings["migratorTemplates"] = json!([]);
    let packages = settings["packages"]
        .as_array_mut()
        .context("the sample has packages")?;
    packages.retain(|package| {
        !package["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("Hello"))
    });
    packages.push(json!({ "id": "Crowd", "version": "1.0.0" }));
    fs::write(
        sample.join("cluster.json"),
        serde_json::to_vec_pretty(&settings)?,
    )?;
    Ok(())
}

/// Reads the whole journal: no template ever had more nodes than its maximum, and none got more than its minimum
/// while another one had less.
fn check_journal(operator: &Operator, nodes: usize) -> Result<()> {
    let (minimum, maximum) = limits(nodes);
    let mut counts: BTreeMap<String, usize> = (0..TEMPLATES).map(|t| (code(t), 0)).collect();
    let mut held: BTreeMap<String, String> = BTreeMap::new();
    let mut after = 0;
    loop {
        let page = operator.get(&format!("/events?from={}&limit=500", after + 1))?;
        let events = page["items"].as_array().context("no events")?;
        for event in events {
            after = event["id"].as_i64().context("an event without id")?;
            let node = event["object"].as_str().unwrap_or_default().to_owned();
            let message = event["message"].as_str().unwrap_or_default();
            if event["kind"] != "nodeAssigned" {
                continue;
            }
            let template = message
                .split('`')
                .nth(3)
                .with_context(|| format!("no template: {message}"))?;
            let Some(count) = counts.get_mut(template) else {
                continue;
            };
            ensure!(
                held.insert(node.clone(), template.to_owned()).is_none(),
                "{node} twice"
            );
            *count += 1;
            let (count, fewest) = (*count, counts.values().min().copied().unwrap_or(0));
            ensure!(
                count <= maximum,
                "`{template}` had {count} nodes: {message}"
            );
            ensure!(
                count <= minimum || fewest >= minimum,
                "`{template}` got node {count} while another had {fewest} of {minimum}: {message}"
            );
        }
        if events.is_empty() {
            break;
        }
    }
    ensure!(
        held.len() >= nodes,
        "the journal tells of {} nodes instead of {nodes}",
        held.len()
    );
    Ok(())
}

fn total(operator: &Operator, path: &str) -> Result<u64> {
    operator.get(path)?["total"]
        .as_u64()
        .context("a list without a total")
}

/// Returns the process of the manager.
fn manager(cluster: &LocalCluster) -> Result<u32> {
    let container: PathBuf = cluster.container("manager");
    let name = |id: &u32| fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
    processes_below(&container)
        .into_iter()
        .find(|id| name(id).contains("klusterkite-manager"))
        .context("there is no manager")
}

fn cpu_ticks(process: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = stat.rsplit(')').next().context("no fields")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // utime and stime are fields 14 and 15 of proc(5); the first two are cut off here.
    let ticks = |at: usize| -> Result<f64> { Ok(fields.get(at).context("too short")?.parse()?) };
    Ok(ticks(11)? + ticks(12)?)
}

fn resident_mib(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line
        .context("no VmRSS")?
        .trim()
        .trim_end_matches("kB")
        .trim();
    Ok(kib.parse::<f64>()? / 1024.0)
}

/// The process with the simulated launchers; it ends with this.
struct Crowd {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Crowd {
    fn start(cluster: &LocalCluster, nodes: usize) -> Result<Self> {
        let client = &cluster.credentials()?["clients"]["worker"];
        let text = |name: &str| {
            client[name]
                .as_str()
                .context("the client has no such member")
        };
        let address = cluster
            .manager_url()
            .trim_start_matches("http://")
            .to_owned();
        let mut child = Command::new(target().join("release/klusterkite-crowd"))
            .args([&address, text("id")?, "worker", &nodes.to_string(), "1000"])
            .env("CROWD_SECRET", text("secret")?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start klusterkite-crowd")?;
        let (commands, answers) = (child.stdin.take(), child.stdout.take());
        Ok(Self {
            child,
            commands: commands.context("no stdin")?,
            answers: BufReader::new(answers.context("no stdout")?),
        })
    }

    /// Gives a command and waits for its answer.
    fn tell(&mut self, command: &str) -> Result<Value> {
        writeln!(self.commands, "{command}")?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("the crowd ended at `{command}`");
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // It holds nothing that has to be put away.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
