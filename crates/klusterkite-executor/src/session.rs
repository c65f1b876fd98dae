//! The executor's loop: one closed set of events, handled by one thread, one request at a time.

mod migrators;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufWriter, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use klusterkite_migrator::chain;
use klusterkite_migrator::line::Line;
use klusterkite_migrator::request::{Call, Refusal, parse_call};
use klusterkite_wire::MigratorName;
use klusterkite_wire::migrator::{ExecutorLogParams, LINE_BYTES_MAX, LineStream, RpcMessage};
use serde_json::{Value, json};

use crate::lock::MoveLock;
use crate::process::{Process, ProcessId, read_lines};
use crate::settings::Settings;
use crate::{Error, moves};

/// Events that wait at most; a sender waits when there are more, and with it the migrator that floods.
const EVENTS_MAX: usize = 64;

/// Messages to the manager that wait at most; notifications beyond are left out and counted.
const ANSWERS_MAX: usize = 256;

/// Requests that wait at most: a manager waits for its answer before it asks again.
const REQUESTS_MAX: usize = 64;

/// Log that is passed on at once at most, in bytes: what an operator scrolls through.
const FORWARDED_BYTES_MAX: usize = 1 << 20;

/// Log that is passed on for as long as a move takes, in bytes per second: two hundred lines.
const FORWARDED_BYTES_PER_SECOND: usize = 16 << 10;

/// Progress is passed on this often at most, always with the newest numbers: nobody reads faster.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// How often an answer is tried again that a slow manager leaves no room for.
const ANSWER_POLL: Duration = Duration::from_millis(20);

/// Longest wait for the manager to read the last answer.
const LAST_ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Everything that can happen to an executor.
pub(crate) enum Event {
    /// A line of the manager; its end says that the manager is gone.
    Request(Line),
    /// A line of a migrator's stdout.
    Output(ProcessId, Line),
    /// A line of a migrator's stderr.
    Log(ProcessId, Line),
}

/// Serves requests on stdin until it closes or `shutdown` was answered, and leaves no process behind.
pub(crate) fn run(settings: Result<Settings, Error>) -> Result<(), Error> {
    klusterkite_processes::adopt_orphans().map_err(Error::Adopt)?;
    let (sender, events) = sync_channel(EVENTS_MAX);
    let (answers, to_write) = sync_channel(ANSWERS_MAX);
    let stdin = "stdin and stdout";
    let no_thread = |source| Error::Read {
        path: stdin.into(),
        source,
    };
    let (written, all_written) = sync_channel(1);
    let write = move || {
        write_answers(&to_write);
        // Nobody waits any more when the session ended without an answer.
        let _ = written.send(());
    };
    thread::Builder::new().spawn(write).map_err(no_thread)?;
    read_lines(io::stdin(), LINE_BYTES_MAX, sender.clone(), Event::Request).map_err(no_thread)?;
    let mut session = Session {
        settings,
        events,
        sender,
        answers,
        requests: VecDeque::new(),
        processes: BTreeMap::new(),
        processes_started: 0,
        lock: None,
        room: Room::new(),
        progress: None,
        progress_due: Instant::now(),
        left_out: 0,
    };
    let ended = session.serve();
    session.kill_all();
    drop(session);
    match ended {
        Err(error) if error.is_end() => Ok(()),
        ended => {
            // The last answer has this long to be read; the process does not wait for a manager that never reads.
            let _ = all_written.recv_timeout(LAST_ANSWER_WAIT);
            ended
        }
    }
}

fn write_answers(answers: &Receiver<RpcMessage>) {
    let mut stdout = BufWriter::new(io::stdout());
    while let Ok(message) = answers.recv() {
        let written = serde_json::to_vec(&message)
            .map_err(io::Error::from)
            .and_then(|mut line| {
                line.push(b'\n');
                stdout.write_all(&line)?;
                stdout.flush()
            });
        if written.is_err() {
            return;
        }
    }
}

/// The state of an executor.
pub(crate) struct Session {
    settings: Result<Settings, Error>,
    events: Receiver<Event>,
    /// For the readers of new processes; also keeps `events` open.
    sender: SyncSender<Event>,
    answers: SyncSender<RpcMessage>,
    /// Requests that came while another was worked on.
    requests: VecDeque<Line>,
    processes: BTreeMap<MigratorName, Process>,
    processes_started: u64,
    /// Held while a resource moves.
    pub(crate) lock: Option<MoveLock>,
    room: Room,
    /// Progress that waits until it is due; newer progress takes its place.
    progress: Option<RpcMessage>,
    progress_due: Instant,
    /// Messages that were left out since the last answer.
    left_out: u64,
}

/// How much log may be passed on: a bucket that fills again with time.
struct Room {
    bytes: usize,
    at: Instant,
}

impl Room {
    fn new() -> Self {
        Self {
            bytes: FORWARDED_BYTES_MAX,
            at: Instant::now(),
        }
    }

    /// Takes room for a message, if there is that much.
    fn take(&mut self, bytes: usize) -> bool {
        let seconds = self.at.elapsed().as_secs();
        if seconds > 0 {
            self.at += Duration::from_secs(seconds);
            let fresh = usize::try_from(seconds).unwrap_or(usize::MAX);
            let fresh = fresh.saturating_mul(FORWARDED_BYTES_PER_SECOND);
            self.bytes = self.bytes.saturating_add(fresh).min(FORWARDED_BYTES_MAX);
        }
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.unwrap_or(self.bytes);
        left.is_some()
    }
}

impl Session {
    fn serve(&mut self) -> Result<(), Error> {
        loop {
            let call = match self.next_request()? {
                Line::End => return Ok(()),
                Line::TooLong(length) => Err(Refusal::too_long(length)),
                Line::Text(line) if line.trim_ascii().is_empty() => continue,
                Line::Text(line) => parse_call(&line),
            };
            let call = match call {
                Ok(call) => call,
                Err(refusal) => {
                    self.answer(refusal.into_answer())?;
                    continue;
                }
            };
            let Call { id, method, params } = call;
            let Some(id) = id else {
                continue;
            };
            let shutdown = method == "shutdown";
            let result = if shutdown {
                self.shut_down().map(|()| Value::Null)
            } else {
                moves::call(self, &method, params)
            };
            self.tell_left_out();
            match result {
                Ok(value) => self.answer(bounded(id, &method, value))?,
                Err(error) if error.is_end() => return Err(error),
                Err(error) => {
                    self.answer(RpcMessage::error(Some(id), error.code(), chain(&error)))?;
                }
            }
            if shutdown {
                return Ok(());
            }
        }
    }

    /// Returns the settings, or why there are none.
    pub(crate) fn settings(&self) -> Result<&Settings, Error> {
        self.settings.as_ref().map_err(|error| Error::Unusable {
            problem: chain(error),
        })
    }

    /// Waits and notices what happens meanwhile.
    pub(crate) fn pause(&mut self, duration: Duration) -> Result<(), Error> {
        let until = Instant::now() + duration;
        while let Some(event) = self.next_event(until) {
            self.aside(event)?;
        }
        Ok(())
    }

    /// Tells the manager something beside the answer.
    pub(crate) fn log(&mut self, level: &str, message: String) {
        let level = level.to_owned();
        let (stream, migrator) = (LineStream::Note, None);
        self.tell(&ExecutorLogParams {
            level,
            message,
            stream,
            migrator,
        });
    }

    fn tell(&mut self, line: &ExecutorLogParams) {
        self.forward(RpcMessage::notification("log", json!(line)));
    }

    fn next_request(&mut self) -> Result<Line, Error> {
        loop {
            if let Some(line) = self.requests.pop_front() {
                return Ok(line);
            }
            // The session holds a sender, so the channel cannot be closed.
            let event = self.events.recv().map_err(|_| Error::ManagerGone)?;
            self.aside(event)?;
        }
    }

    fn next_event(&mut self, deadline: Instant) -> Option<Event> {
        loop {
            let now = Instant::now();
            if self.progress.is_some() && now >= self.progress_due {
                self.pass_progress();
            }
            let until = match self.progress {
                Some(_) => deadline.min(self.progress_due),
                None => deadline,
            };
            match self
                .events
                .recv_timeout(until.saturating_duration_since(now))
            {
                Ok(event) => return Some(event),
                Err(_) if until < deadline => {}
                Err(_) => return None,
            }
        }
    }

    fn drain(&mut self) -> Result<(), Error> {
        while let Ok(event) = self.events.try_recv() {
            self.aside(event)?;
        }
        Ok(())
    }

    /// Notices an event that nobody waits for.
    fn aside(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Request(Line::End) => return Err(Error::ManagerGone),
            Event::Request(line) if self.requests.len() >= REQUESTS_MAX => {
                let id = match line {
                    Line::Text(line) => parse_call(&line).ok().and_then(|call| call.id),
                    _ => None,
                };
                let error = Error::TooManyRequests(self.requests.len());
                let refusal = RpcMessage::error(id, error.code(), error.to_string());
                // Not waited for: who floods with requests and reads nothing loses this answer.
                let _ = self.answers.try_send(refusal);
            }
            Event::Request(line) => self.requests.push_back(line),
            Event::Output(id, Line::End) => self.mark_output_ended(id),
            Event::Output(id, line) => self.unasked_output(id, &line),
            Event::Log(id, line) => self.log_line(id, line),
        }
        Ok(())
    }

    /// Passes on log or progress; a manager that does not read, or a flood, makes it be left out and counted.
    fn forward(&mut self, message: RpcMessage) {
        if message.method.as_deref() == Some("progress") {
            self.progress = Some(message);
            if Instant::now() >= self.progress_due {
                self.pass_progress();
            }
            return;
        }
        let bytes = message.params.as_ref().map_or(0, |p| p.to_string().len());
        if self.room.take(bytes) {
            self.pass(message);
        } else {
            self.left_out += 1;
        }
    }

    /// Passes on the newest progress.
    fn pass_progress(&mut self) {
        if let Some(message) = self.progress.take() {
            self.progress_due = Instant::now() + PROGRESS_EVERY;
            self.pass(message);
        }
    }

    fn pass(&mut self, message: RpcMessage) {
        match self.answers.try_send(message) {
            // A manager that is gone is noticed at stdin.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => self.left_out += 1,
        }
    }

    fn tell_left_out(&mut self) {
        self.pass_progress();
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            let line = ExecutorLogParams {
                level: "warn".to_owned(),
                message: format!("{left_out} messages of migrators were left out: too many"),
                stream: LineStream::Note,
                migrator: None,
            };
            // Whatever room there is: this one line says that there was none.
            self.pass(RpcMessage::notification("log", json!(line)));
        }
    }

    /// Answers, and waits for a manager that is slow to read, but not for one whose stdin is closed.
    fn answer(&mut self, message: RpcMessage) -> Result<(), Error> {
        let mut message = message;
        loop {
            message = match self.answers.try_send(message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(Error::ManagerGone),
                Err(TrySendError::Full(message)) => message,
            };
            self.pause(ANSWER_POLL)?;
        }
    }
}

/// Makes the answer; one that the manager would not read becomes an error that says so.
fn bounded(id: u64, method: &str, value: Value) -> RpcMessage {
    let answer = RpcMessage::result(id, value);
    let length = serde_json::to_vec(&answer).map_or(usize::MAX, |line| line.len());
    if length <= LINE_BYTES_MAX {
        return answer;
    }
    let error = Error::AnswerTooLarge {
        method: method.to_owned(),
        length,
        bytes_max: LINE_BYTES_MAX,
    };
    RpcMessage::error(Some(id), error.code(), error.to_string())
}
