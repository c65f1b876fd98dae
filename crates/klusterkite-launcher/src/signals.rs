//! Signals to the launcher, as events.
//!
//! They are blocked in every thread and taken by one that waits for them: that works for process 1
//! too, for which the kernel drops signals that have no handler and are not blocked.

use std::io;
use std::thread;

use nix::sys::signal::{SigSet, Signal};

use crate::event::{Sender, ShellEvent};

/// Blocks the signals; to be called before any other thread is started.
pub(crate) fn block() -> io::Result<SigSet> {
    let signals: SigSet = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ]
    .into_iter()
    .collect();
    signals.thread_block()?;
    Ok(signals)
}

/// Starts the thread that waits for them.
pub(crate) fn start(signals: SigSet, sender: Sender) -> io::Result<()> {
    let wait = move || {
        loop {
            let event = match signals.wait() {
                Ok(Signal::SIGCHLD) => ShellEvent::ChildrenChanged,
                Ok(_) => ShellEvent::StopSignal,
                Err(_) => continue,
            };
            if sender.send(event).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)?;
    Ok(())
}
