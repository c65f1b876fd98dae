//! One running migrator: its pipes as events, and its end.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::SyncSender;
use std::thread;

use klusterkite_migrator::line::{Line, LineReader};
use klusterkite_processes::{kill_descendants, kill_tree};
use klusterkite_wire::migrator::{LINE_BYTES_MAX, MigratorDescription, RpcMessage};
use rustix::process::Pid;

use crate::guard;
use crate::lock::{MARKER, MoveLock};
use crate::session::Event;
use crate::settings::Launch;

/// Longest log line that is kept, in bytes; longer ones are left out with a note.
const LOG_LINE_BYTES_MAX: usize = 16 << 10;

/// Lines of a migrator's log that an error about its end quotes: the last line of most languages' crash reports says why.
const LAST_WORDS_MAX: usize = 3;

/// The program that guards: this one, even when its file was replaced meanwhile.
const OURSELVES: &str = "/proc/self/exe";

/// Tells the processes of one executor apart; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProcessId(pub(crate) u64);

/// A migrator's process, its guard and its pipes.
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    /// What it answered to `initialize`.
    pub(crate) description: Option<MigratorDescription>,
    /// Number of the last request.
    pub(crate) last_request: u64,
    /// Whether stdout and stderr have ended.
    pub(crate) output_ended: bool,
    pub(crate) log_ended: bool,
    last_words: VecDeque<String>,
    guard: Child,
    reaped: bool,
    stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts a migrator below a guard in a new process group; what it writes arrives as events.
    ///
    /// One that is going to move is started under the lock, which it and its guard then hold as well.
    pub(crate) fn start(
        id: ProcessId,
        launch: &Launch,
        lock: Option<&MoveLock>,
        events: &SyncSender<Event>,
    ) -> io::Result<Self> {
        let mut guard = Command::new(OURSELVES);
        if let Some(lock) = lock {
            guard.env(MARKER, lock.marker());
        }
        let mut guard = guard
            .arg0("klusterkite-executor")
            .arg(guard::ARGUMENT)
            .arg(std::process::id().to_string())
            .arg(&launch.program)
            .args(&launch.arguments)
            .envs(&launch.environment)
            .current_dir(&launch.directory)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdin = guard.stdin.take();
        if let Some(stdout) = guard.stdout.take() {
            let event = move |line| Event::Output(id, line);
            read_lines(stdout, LINE_BYTES_MAX, events.clone(), event)?;
        }
        if let Some(stderr) = guard.stderr.take() {
            let event = move |line| Event::Log(id, line);
            read_lines(stderr, LOG_LINE_BYTES_MAX, events.clone(), event)?;
        }
        Ok(Self {
            id,
            description: None,
            last_request: 0,
            output_ended: false,
            log_ended: false,
            last_words: VecDeque::new(),
            guard,
            reaped: false,
            stdin,
        })
    }

    /// Sends a request and returns its number.
    ///
    /// Does not block: requests are sent one at a time, each far smaller than the pipe's buffer.
    pub(crate) fn send(&mut self, method: &str, params: serde_json::Value) -> io::Result<u64> {
        self.last_request += 1;
        let message = RpcMessage::request(self.last_request, method, params);
        let mut line = serde_json::to_vec(&message)?;
        line.push(b'\n');
        let stdin = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        stdin.write_all(&line)?;
        Ok(self.last_request)
    }

    /// Keeps a line of its log for the report of its end.
    pub(crate) fn remember(&mut self, line: &str) {
        if self.last_words.len() == LAST_WORDS_MAX {
            self.last_words.pop_front();
        }
        self.last_words.push_back(line.trim().to_owned());
    }

    /// Returns the end of its log as a part of a sentence, or nothing.
    pub(crate) fn last_words(&self) -> String {
        if self.last_words.is_empty() {
            return String::new();
        }
        let lines: Vec<&str> = self.last_words.iter().map(String::as_str).collect();
        format!(", its log ends with `{}`", lines.join(" / "))
    }

    /// Returns the process id of its guard.
    pub(crate) fn guard(&self) -> Pid {
        Pid::from_child(&self.guard)
    }

    /// Closes its stdin, the polite way to end it.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Kills guard, migrator and all that they started, waits until nothing of them runs, and says how the guard
    /// ended, which it may have done long before.
    pub(crate) fn kill(&mut self) -> io::Result<String> {
        if self.reaped {
            return Ok("killed".to_owned());
        }
        let status = if let Some(status) = self.guard.try_wait()? {
            if status.code().is_none() {
                // Somebody killed the guard; what it left is ours now, and nobody can tell it from the others'.
                kill_descendants()?;
            }
            status
        } else {
            // Before the guard is reaped: only until then its number is sure to be its own.
            kill_tree(self.guard())?;
            self.guard.wait()?
        };
        self.reaped = true;
        Ok(guard::describe_status(status))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Who has to know whether it succeeded has asked before.
        let _ = self.kill();
    }
}

/// Makes each line of a stream an event, the end included, in a thread that ends with the stream or the session.
pub(crate) fn read_lines(
    stream: impl Read + Send + 'static,
    bytes_max: usize,
    events: SyncSender<Event>,
    event: impl Fn(Line) -> Event + Send + 'static,
) -> io::Result<()> {
    let read = move || {
        let mut lines = LineReader::new(BufReader::new(stream), bytes_max);
        loop {
            // A pipe that cannot be read has nothing more to say.
            let line = lines.read().unwrap_or(Line::End);
            let end = line == Line::End;
            if events.send(event(line)).is_err() || end {
                return;
            }
        }
    };
    thread::Builder::new().spawn(read).map(drop)
}
