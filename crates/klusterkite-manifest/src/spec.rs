use std::collections::BTreeMap;
use std::time::Duration;

/// A program that a node runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSpec {
    /// Name of the process, unique on the node.
    pub name: String,
    /// Package whose manifest defines it.
    pub package: String,
    /// Program and arguments; there is always a program. It is looked up in the service directory first.
    pub command: Vec<String>,
    /// Variables added to the environment.
    pub env: BTreeMap<String, String>,
    /// How to find out that it is ready; without a probe it is when it runs.
    pub readiness: Option<Probe>,
    /// How to find out that it still works; without a probe it does while it runs.
    pub liveness: Option<Probe>,
    /// How it is stopped.
    pub stop: StopSpec,
    /// Names of the processes of the node that have to be ready before it starts; they form no circle.
    pub after: Vec<String>,
    /// What it and everything that it starts may use.
    pub limits: Limits,
    /// How often it may be restarted in place before the node fails.
    pub restarts: u32,
}

/// A check that is repeated while a process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is checked.
    pub kind: ProbeKind,
    /// Time between two checks.
    pub interval: Duration,
    /// Time after which a check has failed.
    pub timeout: Duration,
    /// How many failures in a row count; at least 1.
    pub failures: u32,
}

/// What a [`Probe`] checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    /// A GET request answers with a status of 200 to 399.
    Http {
        /// Absolute `http://` URL.
        url: String,
    },
    /// A TCP connection can be opened.
    Tcp {
        /// `host:port`.
        address: String,
    },
    /// A program exits with 0.
    Exec {
        /// Program and arguments, as in [`ProcessSpec::command`].
        command: Vec<String>,
    },
    /// The process tells by itself, by the protocol of `sd_notify(3)`.
    Notify,
}

/// What processes may use together; where the container cannot enforce a limit, its node says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes; who needs more is killed.
    pub memory_bytes: Option<u64>,
    /// Processes and threads at a time; who wants one more gets an error.
    pub processes: Option<u32>,
    /// Processor time in thousandths of one processor; who wants more waits.
    pub cpu_thousandths: Option<u32>,
}

impl Limits {
    /// Tells whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How a process is stopped: drain, hook, signal, grace, kill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopSpec {
    /// Signal that asks it to stop.
    pub signal: StopSignal,
    /// Time between that signal and the kill.
    pub grace: Duration,
    /// Time between leaving the list of members and the hook or signal, for requests under way.
    pub drain: Duration,
    /// What is run before the signal.
    pub hook: Option<StopHook>,
}

impl StopSpec {
    /// Returns how long a stop may take after the drain delay.
    pub fn time_after_drain(&self) -> Duration {
        let hook = self
            .hook
            .as_ref()
            .map_or(Duration::ZERO, |hook| hook.timeout);
        hook + self.grace
    }
}

/// A program that is run before a process gets its stop signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopHook {
    /// Program and arguments, as in [`ProcessSpec::command`].
    pub command: Vec<String>,
    /// Time after which it is killed and the stop goes on.
    pub timeout: Duration,
}

/// A signal that asks a process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGTERM.
    Term,
    /// SIGINT.
    Int,
    /// SIGQUIT.
    Quit,
    /// SIGHUP.
    Hup,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
}

impl StopSignal {
    pub(crate) const ALL: [Self; 6] = [
        Self::Term,
        Self::Int,
        Self::Quit,
        Self::Hup,
        Self::Usr1,
        Self::Usr2,
    ];

    /// Returns the name without `SIG`, as manifests write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Int => "INT",
            Self::Quit => "QUIT",
            Self::Hup => "HUP",
            Self::Usr1 => "USR1",
            Self::Usr2 => "USR2",
        }
    }
}

/// An HTTP endpoint of a node that publishers put on the entry of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Name of the endpoint, unique on the node.
    pub name: String,
    /// Package whose manifest defines it.
    pub package: String,
    /// TCP port on the node's address; never 0.
    pub port: u16,
    /// Public host name on the entry, `default` for any.
    pub host: String,
    /// Path prefix on the entry; starts with `/`.
    pub route: String,
}

/// A migrator or seeder: a program that is started when it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandSpec {
    /// Package whose manifest defines it.
    pub package: String,
    /// Program and arguments, as in [`ProcessSpec::command`].
    pub command: Vec<String>,
    /// Variables added to the environment.
    pub env: BTreeMap<String, String>,
}
