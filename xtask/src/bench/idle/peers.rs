//! Other supervisors, each with one process that is to be started again when it ends.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use klusterkite_tests::process::signal;
use rustix::process::Signal;

use super::{PATIENCE, children, tree};
use crate::bench::sleeper::{self, Stamps, milliseconds_to_last};
use crate::tools::{installed, run, target};

/// All of them.
pub(super) const KINDS: [Kind; 4] = [Kind::Supervisord, Kind::Runit, Kind::S6, Kind::Pm2];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Supervisord,
    Runit,
    S6,
    Pm2,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Supervisord => "supervisord",
            Self::Runit => "runit",
            Self::S6 => "s6",
            Self::Pm2 => "pm2",
        }
    }
}

/// A running supervisor.
pub(super) struct Peer {
    pub(super) kind: Kind,
    root: u32,
    child: Child,
    stamps: Stamps,
}

impl Peer {
    /// Starts it and waits until its process runs.
    pub(super) fn start(kind: Kind, directory: &Path, program: &Path) -> Result<Self> {
        let program = program.display().to_string();
        let directory = directory.join(kind.name());
        fs::create_dir_all(&directory)?;
        let stamps = Stamps::new(directory.join("stamps"))?;
        let mut command = match kind {
            Kind::Supervisord => supervisord(&directory, &program)?,
            Kind::Runit => {
                script(&directory, &program)?;
                let mut command = installed("runsvdir", "apt install runit")?;
                command.arg("-P").arg(directory.join("services"));
                command
            }
            Kind::S6 => {
                script(&directory, &program)?;
                let mut command = installed("s6-svscan", "apt install s6")?;
                command.arg(directory.join("services"));
                command
            }
            Kind::Pm2 => pm2(&directory, &program)?,
        };
        let child = command
            .env("SLEEPER_LOG", stamps.path())
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(fs::File::create(directory.join("log"))?)
            .stderr(Stdio::null())
            .spawn()?;
        let mut peer = Self {
            kind,
            root: child.id(),
            child,
            stamps,
        };
        peer.stamps.wait_for(kind.name(), 1, PATIENCE)?;
        if kind == Kind::Pm2 {
            // It makes a daemon of itself.
            peer.child.wait()?;
            let daemon = fs::read_to_string(directory.join("home/pm2.pid"))?;
            peer.root = daemon.trim().parse()?;
        }
        Ok(peer)
    }

    pub(super) fn processes(&self) -> Vec<u32> {
        tree(self.root)
    }

    /// Kills the process; returns the milliseconds until the next one runs.
    pub(super) fn crash(&self) -> Result<f64> {
        let name = self.kind.name();
        let before = self.stamps.starts(name);
        let process = before.last().context("the process runs")?.process;
        let begin = sleeper::now()?;
        signal(process, Signal::KILL);
        let starts = self.stamps.wait_for(name, before.len() + 1, PATIENCE)?;
        Ok(milliseconds_to_last(&starts, begin))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // From the top: whoever would start something again is gone first.
        let supervisors = tree(self.root);
        let below: Vec<u32> = supervisors.iter().flat_map(|id| children(*id)).collect();
        for id in supervisors.into_iter().chain(below) {
            signal(id, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn supervisord(directory: &Path, program: &str) -> Result<Command> {
    let environment = target().join("tools/supervisor");
    let supervisord = environment.join("bin/supervisord");
    if !supervisord.exists() {
        let mut venv = Command::new("python3");
        run(venv.args(["-m", "venv"]).arg(&environment))
            .context("install it: apt install python3-venv")?;
        let mut pip = Command::new(environment.join("bin/pip"));
        run(pip.args(["install", "--quiet", "supervisor"]))?;
    }
    let settings = directory.join("settings");
    let text = format!(
        "[supervisord]\nnodaemon=true\nlogfile={0}/log\npidfile={0}/pid\n\
         [program:sleeper]\ncommand={program} supervisord\nstartsecs=0\nautorestart=true\nstartretries=1000\n",
        directory.display()
    );
    fs::write(&settings, text)?;
    let mut command = Command::new(supervisord);
    command.arg("-c").arg(settings);
    Ok(command)
}

fn pm2(directory: &Path, program: &str) -> Result<Command> {
    let tools = target().join("tools/pm2");
    let pm2 = tools.join("node_modules/.bin/pm2");
    if !pm2.exists() {
        fs::create_dir_all(&tools)?;
        let arguments = ["install", "--no-audit", "--no-fund", "--silent", "--prefix"];
        let mut npm = installed("npm", "apt install npm")?;
        run(npm.args(arguments).arg(&tools).arg("pm2"))?;
    }
    let mut command = Command::new(pm2);
    command.args([
        "start",
        program,
        "--name",
        "sleeper",
        "--interpreter",
        "none",
    ]);
    command.args(["--", "pm2"]);
    command
        .env("PM2_HOME", directory.join("home"))
        .env("PM2_DISABLE_VERSION_CHECK", "true");
    Ok(command)
}

/// Writes the directory of services that runit and s6 look at.
fn script(directory: &Path, program: &str) -> Result<()> {
    let name = directory.file_name().context("it has a name")?;
    let service = directory.join("services/sleeper");
    fs::create_dir_all(&service)?;
    let file = service.join("run");
    let text = format!("#!/bin/sh\nexec {program} {}\n", name.display());
    fs::write(&file, text)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
