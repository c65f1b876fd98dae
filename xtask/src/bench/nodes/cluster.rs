//! A cluster without workers whose templates take a crowd, and the crowd itself.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use klusterkite_tests::api::Operator;
use klusterkite_tests::local::{LocalCluster, Options};
use klusterkite_tests::process::processes_below;
use klusterkite_tests::sample::manager_and;
use serde_json::{Value, json};

use crate::bench::process::Process;
use crate::tools::{fresh, root, target};

/// Templates that the nodes spread over.
pub(crate) const TEMPLATES: usize = 20;

/// What a template may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) minimum: usize,
    pub(crate) maximum: usize,
}

impl Limits {
    /// Four fifths of the nodes have to be there; all of them, and so many that only ask, find a place.
    pub(crate) fn of(nodes: usize, asking: usize) -> Self {
        Self {
            minimum: nodes / TEMPLATES * 8 / 10,
            maximum: (nodes + asking).div_ceil(TEMPLATES),
        }
    }
}

/// Returns the code of a template.
pub(crate) fn code(template: usize) -> String {
    format!("crowd-{template:02}")
}

/// Starts feed and manager in a directory of their own.
pub(crate) fn start(name: &str, limits: Limits, tls: bool) -> Result<LocalCluster> {
    let directory = fresh(target().join(name))?;
    let sample = directory.join("sample");
    write_sample(&sample, limits)?;
    LocalCluster::start(Options {
        directory,
        programs: target().join("release"),
        launcher: None,
        repository: root(),
        sample: sample.display().to_string(),
        workers: 0,
        tls,
    })
}

/// Writes a sample of one package and as many templates as are wanted; the manager is that of `hello`.
fn write_sample(sample: &Path, limits: Limits) -> Result<()> {
    let package = sample.join("packages/Crowd/1.0.0");
    fs::create_dir_all(package.join("content"))?;
    fs::write(
        package.join("pack.hocon"),
        "id = Crowd\ndescription = \"Nothing\"\n",
    )?;
    fs::write(package.join("content/crowd.txt"), "Nothing runs here.\n")?;
    let mut settings = manager_and(&root(), "Crowd")?;
    let mut templates: Vec<Value> = (0..TEMPLATES)
        .map(|template| {
            json!({
                "code": code(template), "name": code(template), "containerTypes": ["worker"],
                "minimumRequiredInstances": limits.minimum, "maximumNeededInstances": limits.maximum,
                "priority": 1 + template, "packageRequirements": [{ "id": "Crowd" }],
                "rollout": {
                    "batch": "10%", "minStableSeconds": 0, "progressDeadlineSeconds": 120,
                    "startDeadlineSeconds": 30, "maxFailed": 0, "canary": 0, "surge": 0,
                },
            })
        })
        .collect();
    let manager = settings["nodeTemplates"].as_array_mut();
    templates.append(manager.context("the sample has a manager")?);
    settings["nodeTemplates"] = json!(templates);
    fs::write(
        sample.join("cluster.json"),
        serde_json::to_vec_pretty(&settings)?,
    )?;
    Ok(())
}

/// Returns the process of the manager.
pub(crate) fn manager(cluster: &LocalCluster) -> Result<Process> {
    let container: PathBuf = cluster.container("manager");
    let name = |id: &u32| fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let id = processes_below(&container)
        .into_iter()
        .find(|id| name(id).contains("klusterkite-manager"));
    id.map(Process).context("there is no manager")
}

/// Returns the length of a list.
pub(crate) fn total(operator: &Operator, path: &str) -> Result<u64> {
    operator.get(path)?["total"]
        .as_u64()
        .context("a list without a total")
}

/// The process with the simulated launchers; it ends with this.
pub(crate) struct Crowd {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Crowd {
    pub(crate) fn start(cluster: &LocalCluster, nodes: usize) -> Result<Self> {
        let client = &cluster.credentials()?["clients"]["worker"];
        let text = |name: &str| {
            client[name]
                .as_str()
                .context("the client has no such member")
        };
        let mut command = Command::new(target().join("release/klusterkite-crowd"));
        command
            .args([cluster.manager_url(), text("id")?, "worker"])
            .args([&nodes.to_string(), "1000"])
            .env("CROWD_SECRET", text("secret")?);
        if let Some(authority) = cluster.environment().get("KLUSTERKITE_CA") {
            command.env("CROWD_CA", authority);
        }
        let mut child = command
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
    pub(crate) fn tell(&mut self, command: &str) -> Result<Value> {
        writeln!(self.commands, "{command}")?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("the crowd ended at `{command}`");
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Gives a command and returns a number of its answer, by a JSON pointer.
    pub(crate) fn number(&mut self, command: &str, pointer: &str) -> Result<f64> {
        let answer = self.tell(command)?;
        let number = answer.pointer(pointer).and_then(Value::as_f64);
        number.with_context(|| format!("no number at `{pointer}`: {answer}"))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // It holds nothing that has to be put away.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
