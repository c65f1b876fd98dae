//! Hosts with addresses of their own on one machine: network namespaces behind a switch.
//!
//! ```text
//!  switch: a namespace with a bridge, 198.18.0.254 (the operator: the thread that called `enter`)
//!    ├── port1 ── eth0 of host 1: 198.18.0.1
//!    ├── port2 ── eth0 of host 2: 198.18.0.2
//! ```
//!
//! Nothing is connected to the machine's own network, nothing has a name that could clash, and everything goes
//! when the process that made it ends, however it ends: a namespace lives as long as its descriptor.

mod proxy;

pub use proxy::{Line, Proxy};

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::sched::CloneFlags;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The network of the hosts: addresses that are set aside for tests of networks (RFC 2544).
const NETWORK: [u8; 3] = [198, 18, 0];

/// Last part of the switch's own address; hosts count from 1.
const SWITCH: u8 = 254;

/// Some hosts and the switch between them.
#[derive(Debug)]
pub struct Network {
    switch: Namespace,
    hosts: BTreeMap<String, Host>,
}

/// A host.
#[derive(Debug)]
pub struct Host {
    namespace: Namespace,
    address: Ipv4Addr,
    /// Its port at the switch.
    port: String,
}

impl Network {
    /// Says in one line why no hosts can be made on this machine; `None` when they can.
    pub fn missing() -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("only root may make hosts of their own".to_owned());
        }
        for (program, package) in [("ip", "iproute2"), ("nsenter", "util-linux")] {
            if Command::new(program).arg("-V").output().is_err() {
                return Some(format!("`{program}` is missing: apt install {package}"));
            }
        }
        let made = Self::new(["a", "b"]);
        made.err()
            .map(|error| format!("this machine makes no hosts of their own: {error:#}"))
    }

    /// Makes hosts.
    ///
    /// # Panics
    ///
    /// With more hosts than the switch has addresses for, 253.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let switch = Namespace::new()?;
        let [a, b, c] = NETWORK;
        switch.ip(&format!(
            "link set lo up\nlink add switch type bridge\n\
             address add {}/24 dev switch\nlink set switch up\n",
            Ipv4Addr::new(a, b, c, SWITCH)
        ))?;
        let mut hosts = BTreeMap::new();
        for (name, number) in names.into_iter().zip(1..) {
            assert!(number < SWITCH, "a switch has 253 ports");
            let host = Host {
                namespace: Namespace::new()?,
                address: Ipv4Addr::new(a, b, c, number),
                port: format!("port{number}"),
            };
            let Host { address, port, .. } = &host;
            switch.ip(&format!(
                "link add {port} type veth peer name eth0 netns {}\n\
                 link set {port} master switch up\n",
                host.namespace.path()
            ))?;
            host.namespace.ip(&format!(
                "link set lo up\naddress add {address}/24 dev eth0\nlink set eth0 up\n"
            ))?;
            hosts.insert(name.to_owned(), host);
        }
        Ok(Self { switch, hosts })
    }

    /// Moves the calling thread to the switch, from where it reaches every host. Threads and programs that it
    /// starts from now on are there too.
    pub fn enter(&self) -> Result<()> {
        self.switch.enter()
    }

    /// Returns the switch's own address.
    pub fn address(&self) -> Ipv4Addr {
        let [a, b, c] = NETWORK;
        Ipv4Addr::new(a, b, c, SWITCH)
    }

    /// Returns a host.
    ///
    /// # Panics
    ///
    /// When it was not made.
    pub fn host(&self, name: &str) -> &Host {
        self.hosts
            .get(name)
            .unwrap_or_else(|| panic!("there is no host `{name}`"))
    }

    /// Pulls the cable of a host: nothing reaches it and nothing leaves it, and nobody is told.
    pub fn cut(&self, name: &str) -> Result<()> {
        self.switch
            .ip(&format!("link set {} down\n", self.host(name).port))
    }

    /// Plugs the cable of a host in again.
    pub fn mend(&self, name: &str) -> Result<()> {
        self.switch
            .ip(&format!("link set {} up\n", self.host(name).port))
    }

    /// Loses so many of 100 frames between hosts from now on, in each direction, by chance; 0 loses none.
    ///
    /// `nft` does it, because not every kernel has `netem`.
    pub fn lose(&self, percent: u8) -> Result<()> {
        let rules = format!(
            "table bridge loss\ndelete table bridge loss\ntable bridge loss {{\n\
             chain forward {{\ntype filter hook forward priority 0\n\
             numgen random mod 100 < {percent} drop\n}}\n}}\n"
        );
        self.switch.feed(&["nft", "-f", "-"], &rules)
    }
}

impl Host {
    /// Returns its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Makes a command that runs on the host, as a child of this process.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.namespace.path()))
            .arg("--")
            .arg(program);
        command
    }

    /// Does something on the host, in a thread of its own.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> Result<T> {
        self.namespace.inside(act)
    }
}

/// A network namespace; it goes with the last descriptor, process and thread in it.
#[derive(Debug)]
struct Namespace(File);

impl Namespace {
    fn new() -> Result<Self> {
        let made = thread::spawn(|| {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET).context("no network namespace")?;
            let path = "/proc/thread-self/ns/net";
            File::open(path).with_context(|| format!("cannot open {path}"))
        });
        Ok(Self(made.join().expect("it does not panic")?))
    }

    /// Names it for other processes, while this one runs.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    fn enter(&self) -> Result<()> {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
            .context("cannot move to another network namespace")
    }

    fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| self.enter().map(|()| act()));
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs commands of `ip`, one a line.
    fn ip(&self, lines: &str) -> Result<()> {
        self.feed(&["ip", "-batch", "-"], lines)
    }

    /// Runs a command in it that reads what to do from its input.
    fn feed(&self, command: &[&str], input: &str) -> Result<()> {
        let mut child = Command::new("nsenter")
            .arg(format!("--net={}", self.path()))
            .arg("--")
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start nsenter")?;
        let mut pipe = child.stdin.take().expect("it was asked for");
        pipe.write_all(input.as_bytes())?;
        drop(pipe);
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "{command:?} refuses `{}`: {}",
            input.trim(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }
}
