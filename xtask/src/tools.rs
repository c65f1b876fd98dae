//! What several commands need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// A program of the machine that some command needs.
pub(crate) struct Tool {
    /// What is run to see whether it is there.
    look: &'static [&'static str],
    name: &'static str,
    purpose: &'static str,
    install: &'static str,
}

/// Compiles SQLite, and links everything.
pub(crate) const C_COMPILER: Tool = Tool {
    look: &["cc", "--version"],
    name: "C compiler (`cc`)",
    purpose: "SQLite is compiled and every program is linked with it",
    install: "apt install build-essential",
};

/// Runs the tests.
pub(crate) const NEXTEST: Tool = Tool {
    look: &["cargo", "nextest", "--version"],
    name: "`cargo-nextest`",
    purpose: "it runs the tests",
    install: "cargo install --locked cargo-nextest",
};

/// Runs the sample `clock-py`.
pub(crate) const PYTHON: Tool = Tool {
    look: &["python3", "--version"],
    name: "`python3`",
    purpose: "the sample `clock-py` is written in it",
    install: "apt install python3",
};

/// Makes Mono trust an authority.
pub(crate) const CERT_SYNC: Tool = Tool {
    // It has no option that only says that it is there.
    look: &["sh", "-c", "command -v cert-sync"],
    name: "`cert-sync`",
    purpose: "nuget.exe is tested over https with an authority of its own",
    install: "apt install ca-certificates-mono",
};

/// Runs nuget.exe.
pub(crate) const MONO: Tool = Tool {
    look: &["mono", "--version"],
    name: "`mono`",
    purpose: "the feed is tested with the real nuget.exe",
    install: "apt install mono-complete",
};

/// Unpacks packages, as the limit of the launcher.
pub(crate) const UNZIP: Tool = Tool {
    look: &["unzip", "-v"],
    name: "`unzip`",
    purpose: "the launcher is measured beside it",
    install: "apt install unzip",
};

/// Unpacks packages too.
pub(crate) const BSDTAR: Tool = Tool {
    look: &["bsdtar", "--version"],
    name: "`bsdtar`",
    purpose: "the launcher is measured beside it",
    install: "apt install libarchive-tools",
};

/// Brings nuget.exe and what the feed is measured beside.
pub(crate) const NPM: Tool = Tool {
    look: &["npm", "--version"],
    name: "`npm`",
    purpose: "nuget.exe and the peers of benches come from its registry",
    install: "apt install npm",
};

/// The tests start servers of their own from its programs, which Debian keeps out of `PATH`.
pub(crate) const POSTGRES: Tool = Tool {
    look: &["sh", "-c", "ls /usr/lib/postgresql/*/bin/initdb"],
    name: "PostgreSQL",
    purpose: "the tests of databases run on it",
    install: "apt install postgresql",
};

/// What a static server can do, as the limit of the feed.
pub(crate) const NGINX: Tool = Tool {
    look: &["nginx", "-v"],
    name: "`nginx`",
    purpose: "the feed is measured beside it",
    install: "apt install nginx-light",
};

/// Makes hosts of their own.
pub(crate) const IP: Tool = Tool {
    look: &["ip", "-V"],
    name: "`ip`",
    purpose: "hosts of the tests are network namespaces",
    install: "apt install iproute2",
};

/// Loses frames between them.
pub(crate) const NFT: Tool = Tool {
    look: &["nft", "--version"],
    name: "`nft`",
    purpose: "it loses frames between the hosts of the tests",
    install: "apt install nftables",
};

/// Makes containers.
pub(crate) const RUNC: Tool = Tool {
    look: &["runc", "--version"],
    name: "`runc`",
    purpose: "a launcher of the tests is process 1 of a container",
    install: "apt install runc",
};

/// Asks as fast as it can.
pub(crate) const WRK: Tool = Tool {
    look: &["sh", "-c", "command -v wrk"],
    name: "`wrk`",
    purpose: "it is the client that measures",
    install: "apt install wrk",
};

/// A membership by gossip.
pub(crate) const SERF: Tool = Tool {
    look: &["serf", "version"],
    name: "`serf`",
    purpose: "the manager is measured beside it",
    install: "apt install serf",
};

/// A store with leases.
pub(crate) const ETCD: Tool = Tool {
    look: &["etcd", "--version"],
    name: "`etcd`",
    purpose: "the manager is measured beside it",
    install: "apt install etcd-server",
};

/// Gives servers and clients a processor each.
pub(crate) const TASKSET: Tool = Tool {
    look: &["taskset", "--version"],
    name: "`taskset`",
    purpose: "servers and clients get a processor each",
    install: "apt install util-linux",
};

/// Fails, before anything is built, with one line for each tool that is missing.
pub(crate) fn need(tools: &[Tool]) -> Result<()> {
    let lines: Vec<String> = tools
        .iter()
        .filter(|tool| !runs(tool.look))
        .map(missing)
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    bail!("{}", lines.join("\nerror: "));
}

/// Tells whether a tool is there that a bench can do without; says so when it is not.
pub(crate) fn is_there(tool: &Tool) -> bool {
    let is_there = runs(tool.look);
    if !is_there {
        eprintln!("{}", missing(tool));
    }
    is_there
}

fn missing(tool: &Tool) -> String {
    format!(
        "{} is missing ({}); install it: {}",
        tool.name, tool.purpose, tool.install
    )
}

/// Makes a command of a program that has to be in `PATH`.
pub(crate) fn installed(program: &str, install: &str) -> Result<Command> {
    let there = Command::new("which")
        .arg(program)
        .stdout(Stdio::null())
        .status();
    ensure!(
        there.is_ok_and(|status| status.success()),
        "`{program}` is missing: {install}"
    );
    Ok(Command::new(program))
}

fn runs(look: &[&str]) -> bool {
    let output = Command::new(look[0]).args(&look[1..]).output();
    output.is_ok_and(|output| output.status.success())
}

/// Returns the root of the repository.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .expect("xtask lies below the root")
        .to_owned()
}

/// Returns the target directory of cargo.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Makes a cargo command that runs at the root.
///
/// It does not hear which package `cargo xtask` belongs to: build scripts that look at these variables (ring's
/// does) would run again, and half of the workspace after them, each time after a cargo that was started by hand.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    let of_a_package =
        |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(of_a_package) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command and fails when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

/// Builds every program of the workspace, samples included, as tests start them.
pub(crate) fn build_programs() -> Result<()> {
    run(&mut cargo(&["build", "--workspace", "--bins", "--locked"]))
}

/// Links a program of the workspace as one file that needs no library.
///
/// Only the last step differs: what it consists of is not compiled again.
pub(crate) fn build_in_one_file(program: &str, options: &[&str]) -> Result<()> {
    let package = format!("--package={program}");
    let mut build = cargo(&["rustc", "--locked", &package, "--bin", program]);
    build.args(options);
    run(build.args(["--", "-C", "target-feature=+crt-static"]))
}

/// Builds what a container made FROM scratch holds into `static` beside the programs that tests start. To be called
/// before these are built, because they are linked at the same place.
pub(crate) fn build_static_programs() -> Result<()> {
    let built = target().join("debug");
    let directory = built.join("static");
    fs::create_dir_all(&directory)?;
    for program in ["klusterkite-launcher", "klusterkite-service"] {
        build_in_one_file(program, &[])?;
        let (from, to) = (built.join(program), directory.join(program));
        let failed = || format!("cannot copy {} to {}", from.display(), to.display());
        // One that is running is not written to.
        let _ = fs::remove_file(&to);
        fs::copy(&from, &to).with_context(failed)?;
    }
    Ok(())
}

/// Builds every program of the workspace as it is shipped; returns the directory in which they are.
pub(crate) fn build_release() -> Result<PathBuf> {
    run(&mut cargo(&[
        "build",
        "--workspace",
        "--bins",
        "--release",
        "--locked",
    ]))?;
    Ok(target().join("release"))
}

/// Makes a directory, without anything that an earlier run left in it.
pub(crate) fn fresh(directory: PathBuf) -> Result<PathBuf> {
    let failed = || format!("cannot empty {}", directory.display());
    if directory.exists() {
        fs::remove_dir_all(&directory).with_context(failed)?;
    }
    fs::create_dir_all(&directory).with_context(failed)?;
    Ok(directory)
}
