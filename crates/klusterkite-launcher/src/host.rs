//! The service host as a child process.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use klusterkite_processes::shim::Plan;
use klusterkite_wire::start::{CRASH_LINE_BYTES_MAX, CRASH_LINES_MAX};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, pidfd_open, pidfd_send_signal, wait,
};

use crate::console::{self, Stream};

/// Longest line that is handed on whole; longer ones are cut into several.
const LINE_BYTES_MAX: usize = 8 << 10;

/// Bytes that are read from a pipe at once.
const READ_BYTES: usize = 4 << 10;

/// How long the pipes of an ended host are waited for: a process that could not be killed may hold
/// them.
const DRAIN_MAX: Duration = Duration::from_millis(500);

/// A running child.
pub(crate) struct Host {
    pub(crate) pid: Pid,
    pidfd: OwnedFd,
    output: Output,
}

impl Host {
    /// Starts a program in a session of its own.
    ///
    /// To be called from the main thread: the kernel ends the child when the thread that started it
    /// ends. Nobody may reap children meanwhile.
    pub(crate) fn start(
        program: &OsStr,
        arguments: &[String],
        directory: &Path,
        environment: &[(&str, &OsStr)],
        hidden: &[&str],
        joins: Vec<PathBuf>,
    ) -> io::Result<Self> {
        let plan = Plan {
            joins,
            session_of: Some(std::process::id()),
            user_processes: None,
        };
        let mut command = plan.command(program);
        command
            .args(arguments)
            .current_dir(directory)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for name in hidden {
            command.env_remove(name);
        }
        let mut child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let mut output = Output::default();
        if let Some(pipe) = child.stdout.take() {
            output.capture(Stream::Out, pipe)?;
        }
        if let Some(pipe) = child.stderr.take() {
            output.capture(Stream::Err, pipe)?;
        }
        Ok(Self { pid, pidfd, output })
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, Signal::TERM) {
            // It has ended; that it did is under way to us.
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the last lines of its output, when it has ended.
    pub(crate) fn last_lines(self) -> Vec<String> {
        self.output.finish()
    }
}

/// Collects every child that has ended, adopted orphans too.
pub(crate) fn reap() -> Vec<(Pid, String)> {
    let mut ended = Vec::new();
    // ECHILD: there is none.
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        ended.push((pid, describe(status)));
    }
    ended
}

/// Returns what to execute for a program name: a file of the service directory, else the name, to
/// be looked up in `PATH`.
pub(crate) fn program_path(service_directory: &Path, name: &str) -> PathBuf {
    let path = Path::new(name);
    let is_inside = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let inside = service_directory.join(path);
    if is_inside && inside.is_file() {
        inside
    } else {
        path.to_owned()
    }
}

fn describe(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The output of a child: handed on line by line, the last lines kept.
#[derive(Default)]
struct Output {
    last_lines: Arc<Mutex<VecDeque<String>>>,
    readers: Vec<Receiver<()>>,
}

impl Output {
    fn capture(&mut self, stream: Stream, pipe: impl Read + Send + 'static) -> io::Result<()> {
        let last_lines = Arc::clone(&self.last_lines);
        let (done, reader) = sync_channel(1);
        let read = move || {
            read_lines(pipe, |line| {
                keep(&last_lines, line);
                let mut line = line.to_vec();
                line.push(b'\n');
                console::forward(stream, line);
            });
            let _ = done.send(());
        };
        thread::Builder::new()
            .name("output".to_owned())
            .spawn(read)?;
        self.readers.push(reader);
        Ok(())
    }

    fn finish(self) -> Vec<String> {
        let deadline = Instant::now() + DRAIN_MAX;
        for reader in &self.readers {
            let _ = reader.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        let mut lines = self
            .last_lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        lines.drain(..).collect()
    }
}

/// Calls `each` with every line, without its newline.
fn read_lines(mut pipe: impl Read, mut each: impl FnMut(&[u8])) {
    let mut line = Vec::new();
    let mut piece = [0; READ_BYTES];
    loop {
        let count = match pipe.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for byte in &piece[..count] {
            if *byte == b'\n' {
                each(&line);
                line.clear();
                continue;
            }
            line.push(*byte);
            if line.len() == LINE_BYTES_MAX {
                each(&line);
                line.clear();
            }
        }
    }
    if !line.is_empty() {
        each(&line);
    }
}

fn keep(last_lines: &Mutex<VecDeque<String>>, line: &[u8]) {
    let text = String::from_utf8_lossy(&line[..line.len().min(CRASH_LINE_BYTES_MAX)]);
    let mut text = text.into_owned();
    // Replacement characters are longer than what they replace.
    while text.len() > CRASH_LINE_BYTES_MAX {
        text.pop();
    }
    let mut lines = last_lines.lock().unwrap_or_else(PoisonError::into_inner);
    if lines.len() == CRASH_LINES_MAX {
        lines.pop_front();
    }
    lines.push_back(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(text: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        read_lines(text, |line| lines.push(line.to_vec()));
        lines
    }

    #[test]
    fn output_is_split_into_lines_and_long_ones_are_cut() {
        assert_eq!(
            lines_of(b"a\n\nb"),
            [b"a".to_vec(), Vec::new(), b"b".to_vec()]
        );
        assert_eq!(lines_of(b""), Vec::<Vec<u8>>::new());
        let lengths: Vec<usize> = lines_of(&vec![b'x'; 20_000]).iter().map(Vec::len).collect();
        assert_eq!(
            lengths,
            [LINE_BYTES_MAX, LINE_BYTES_MAX, 20_000 - 2 * LINE_BYTES_MAX]
        );
    }

    #[test]
    fn the_last_lines_are_kept_within_the_limits_of_a_crash_report() {
        let lines = Mutex::new(VecDeque::new());
        for n in 0..100 {
            keep(&lines, format!("line {n}").as_bytes());
        }
        keep(&lines, &[0xff; 10_000]);
        let lines = lines.into_inner().unwrap();
        assert_eq!(lines.len(), CRASH_LINES_MAX);
        assert_eq!(lines[0], "line 51");
        assert!(lines[CRASH_LINES_MAX - 1].len() <= CRASH_LINE_BYTES_MAX);
    }

    #[test]
    fn programs_are_looked_up_in_the_service_directory_first() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("bin")).unwrap();
        for name in ["service", "bin/other"] {
            std::fs::write(directory.path().join(name), "").unwrap();
            assert_eq!(
                program_path(directory.path(), name),
                directory.path().join(name)
            );
        }
        for name in ["python3", "/bin/sh", "../service", "bin", "./service"] {
            assert_eq!(program_path(directory.path(), name), Path::new(name));
        }
    }
}
