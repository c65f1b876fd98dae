//! How the session deals with its migrators: starting, asking, ending them.

use std::time::{Duration, Instant};

use klusterkite_migrator::client::{Heard, hear};
use klusterkite_migrator::line::Line;
use klusterkite_migrator::points::check_description;
use klusterkite_wire::MigratorName;
use klusterkite_wire::migrator::{
    ExecutorLogParams, InitializeParams, LINE_BYTES_MAX, LineStream, MIGRATOR_PROTOCOL,
    MigratorDescription,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Event, Session};
use crate::Error;
use crate::process::{Process, ProcessId};

/// Longest wait for the last lines of a migrator that ended by itself.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(500);

/// Longest wait for the last lines of a migrator that was killed.
const KILL_WAIT: Duration = Duration::from_secs(2);

/// Longest wait for migrators to end by themselves after `shutdown`.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(2);

impl Session {
    /// Asks a running migrator and waits for the answer, at most `limit`.
    pub(crate) fn ask<T: DeserializeOwned>(
        &mut self,
        migrator: &MigratorName,
        method: &'static str,
        params: Value,
        limit: Duration,
    ) -> Result<T, Error> {
        let value = self.ask_value(migrator, method, params, limit)?;
        match serde_json::from_value(value) {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let problem = format!("the result is not what it should be ({error})");
                self.broken(migrator, method, problem)
            }
        }
    }

    fn ask_value(
        &mut self,
        migrator: &MigratorName,
        method: &'static str,
        params: Value,
        limit: Duration,
    ) -> Result<Value, Error> {
        let bytes_max = self.settings()?.output_bytes_max;
        let deadline = Instant::now() + limit;
        let sent = self.processes.get_mut(migrator).map(|process| {
            let sent = process.send(method, params);
            sent.map(|number| (process.id, number))
        });
        let Some(Ok((process, number))) = sent else {
            return self.ended(migrator, method);
        };
        let mut bytes: u64 = 0;
        loop {
            let line = match self.next_event(deadline) {
                Some(Event::Output(id, line)) if id == process => line,
                Some(event) => {
                    self.aside(event)?;
                    continue;
                }
                None => {
                    self.stop(migrator)?;
                    return Err(Error::TimedOut {
                        migrator: migrator.clone(),
                        method,
                        limit,
                    });
                }
            };
            let line = match line {
                Line::Text(line) => line,
                Line::TooLong(length) => {
                    let problem = format!("a line of {length} bytes, more than {LINE_BYTES_MAX}");
                    return self.broken(migrator, method, problem);
                }
                Line::End => {
                    self.mark_output_ended(process);
                    return self.ended(migrator, method);
                }
            };
            bytes += line.len() as u64;
            if bytes > bytes_max {
                let problem = format!("more than {bytes_max} bytes of output");
                return self.broken(migrator, method, problem);
            }
            match hear(&line, number) {
                Ok(Heard::Result(value)) => return Ok(value),
                Ok(Heard::Notification(message)) => self.forward(*message),
                Ok(Heard::Unknown) => {}
                Ok(Heard::Failed(message)) => {
                    return Err(Error::Failed {
                        migrator: migrator.clone(),
                        method,
                        message,
                    });
                }
                Err(problem) => return self.broken(migrator, method, problem),
            }
        }
    }

    /// Starts a migrator unless it runs, and returns what it says about itself.
    pub(crate) fn start(&mut self, migrator: &MigratorName) -> Result<MigratorDescription, Error> {
        self.drain()?;
        if let Some(process) = self.processes.get(migrator) {
            match &process.description {
                Some(description) if !process.output_ended => return Ok(description.clone()),
                _ => self.stop(migrator)?,
            }
        }
        let settings = self.settings()?;
        let limit = settings.call_timeout;
        let launch = settings.migrators.iter().find(|(name, _)| name == migrator);
        let launch = match launch {
            Some((_, Some(launch))) => launch,
            Some((_, None)) => return Err(Error::NotInManifests(migrator.clone())),
            None => return Err(self.unknown(migrator)),
        };
        let id = ProcessId(self.processes_started);
        let started = Process::start(id, launch, self.lock.as_ref(), &self.sender);
        let started = started.map_err(|source| Error::Start {
            migrator: migrator.clone(),
            program: launch.program.display().to_string(),
            source,
        });
        self.processes_started += 1;
        self.processes.insert(migrator.clone(), started?);
        let params = json!(InitializeParams {
            protocol: MIGRATOR_PROTOCOL
        });
        let description: MigratorDescription = self.ask(migrator, "initialize", params, limit)?;
        if let Err(source) = check_description(&description) {
            self.stop(migrator)?;
            return Err(Error::Description {
                migrator: migrator.clone(),
                source,
            });
        }
        if let Some(process) = self.processes.get_mut(migrator) {
            process.description = Some(description.clone());
        }
        Ok(description)
    }

    /// Makes the error about a migrator that the template does not have.
    pub(crate) fn unknown(&self, migrator: &MigratorName) -> Error {
        let names = self.settings.as_ref().map(|settings| {
            let names = settings.migrators.iter().map(|(name, _)| name.to_string());
            names.collect::<Vec<String>>().join(", ")
        });
        Error::UnknownMigrator {
            migrator: migrator.clone(),
            known: names.unwrap_or_default(),
        }
    }

    /// Kills everything below this process; what it still wrote is lost.
    pub(crate) fn kill_all(&mut self) {
        if let Err(error) = klusterkite_processes::kill_descendants() {
            // The guards go on with it; the lock stays with whatever is left.
            self.log("error", format!("cannot end every migrator: {error}"));
        }
        self.processes.clear();
        self.reap();
    }

    /// Collects what migrators left and guards or this process have killed.
    fn reap(&mut self) {
        let guards: Vec<_> = self.processes.values().map(Process::guard).collect();
        if let Err(error) = klusterkite_processes::reap_orphans(&guards) {
            self.log("warn", format!("ended processes stay in the list: {error}"));
        }
    }

    /// Lets a migrator end by itself, for a moment, and sees that nothing of it runs any more.
    pub(crate) fn retire(&mut self, migrator: &MigratorName) -> Result<(), Error> {
        if let Some(process) = self.processes.get_mut(migrator) {
            // One that has ended already has nothing to shut down.
            let _ = process.send("shutdown", Value::Null);
            process.close_stdin();
        }
        self.settle(migrator, SHUTDOWN_WAIT)?;
        self.stop(migrator)
    }

    pub(super) fn shut_down(&mut self) -> Result<(), Error> {
        for process in self.processes.values_mut() {
            // A migrator that ended already has nothing to shut down.
            let _ = process.send("shutdown", Value::Null);
            process.close_stdin();
        }
        let deadline = Instant::now() + SHUTDOWN_WAIT;
        while self.processes.values().any(|process| !process.log_ended) {
            match self.next_event(deadline) {
                Some(Event::Output(id, Line::Text(_))) if self.is_running(id) => {}
                Some(event) => self.aside(event)?,
                None => break,
            }
        }
        self.kill_all();
        Ok(())
    }

    /// Reports a migrator that ended, with its status and its last words.
    fn ended<T>(&mut self, migrator: &MigratorName, method: &'static str) -> Result<T, Error> {
        self.settle(migrator, LAST_WORDS_WAIT)?;
        let (status, last_words) = match self.processes.remove(migrator) {
            None => ("not started".to_owned(), String::new()),
            Some(mut process) => {
                let killed = process.kill().map_err(|source| Error::Kill {
                    migrator: migrator.clone(),
                    source,
                });
                (killed?, process.last_words())
            }
        };
        self.reap();
        Err(Error::Ended {
            migrator: migrator.clone(),
            method,
            status,
            last_words,
        })
    }

    /// Kills a migrator that broke the protocol: nobody knows what its next line would mean.
    fn broken<T>(
        &mut self,
        migrator: &MigratorName,
        method: &'static str,
        problem: String,
    ) -> Result<T, Error> {
        self.stop(migrator)?;
        Err(Error::Protocol {
            migrator: migrator.clone(),
            method,
            problem,
        })
    }

    /// Kills a migrator with everything that it started; afterwards nothing of it runs any more.
    fn stop(&mut self, migrator: &MigratorName) -> Result<(), Error> {
        let killed = self.processes.get_mut(migrator).map(Process::kill);
        self.settle(migrator, KILL_WAIT)?;
        self.processes.remove(migrator);
        self.reap();
        match killed {
            Some(Err(source)) => Err(Error::Kill {
                migrator: migrator.clone(),
                source,
            }),
            _ => Ok(()),
        }
    }

    /// Waits until a migrator's pipes are closed, at most `limit`; what it still writes on stdout counts no more.
    fn settle(&mut self, migrator: &MigratorName, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        loop {
            let id = match self.processes.get(migrator) {
                Some(process) if !(process.output_ended && process.log_ended) => process.id,
                _ => return Ok(()),
            };
            match self.next_event(deadline) {
                Some(Event::Output(of, Line::Text(_) | Line::TooLong(_))) if of == id => {}
                Some(event) => self.aside(event)?,
                None => return Ok(()),
            }
        }
    }

    /// Passes on a notification; a migrator that says anything else unasked is not asked again.
    pub(super) fn unasked_output(&mut self, id: ProcessId, line: &Line) {
        let heard = match line {
            Line::Text(line) => hear(line, 0),
            _ => Err("a line without end".to_owned()),
        };
        match heard {
            Ok(Heard::Notification(message)) => self.forward(*message),
            Ok(Heard::Unknown) => {}
            Ok(Heard::Result(_) | Heard::Failed(_)) | Err(_) => {
                if let Some(process) = self.find(id) {
                    process.output_ended = true;
                    if let Err(error) = process.kill() {
                        self.log("error", format!("cannot end a migrator: {error}"));
                    }
                }
            }
        }
    }

    pub(super) fn log_line(&mut self, id: ProcessId, line: Line) {
        let running = self.processes.iter_mut();
        let Some((migrator, process)) = running.into_iter().find(|(_, p)| p.id == id) else {
            return;
        };
        let text = match line {
            Line::End => {
                process.log_ended = true;
                return;
            }
            Line::TooLong(length) => format!("(a log line of {length} bytes is left out)"),
            Line::Text(line) => String::from_utf8_lossy(&line).into_owned(),
        };
        if text.trim().is_empty() {
            return;
        }
        process.remember(&text);
        let line = ExecutorLogParams {
            level: "info".to_owned(),
            message: text,
            stream: LineStream::Stderr,
            migrator: Some(migrator.clone()),
        };
        self.tell(&line);
    }

    pub(super) fn mark_output_ended(&mut self, id: ProcessId) {
        if let Some(process) = self.find(id) {
            process.output_ended = true;
        }
    }

    fn find(&mut self, id: ProcessId) -> Option<&mut Process> {
        self.processes.values_mut().find(|process| process.id == id)
    }

    fn is_running(&mut self, id: ProcessId) -> bool {
        self.find(id).is_some()
    }
}
