//! Signals to the launcher, as events.
//!
//! All of them get a handler: process 1 does not get signals without one, and children start with
//! the default for what is handled here, whatever the launcher inherited.

use std::io;
use std::thread;

use nix::sys::signal::SigSet;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::event::{Sender, ShellEvent};

/// Lets all signals through, also those that the launcher's parent had blocked; to be called before
/// any other thread is started.
pub(crate) fn unblock() -> io::Result<()> {
    Ok(SigSet::empty().thread_set_mask()?)
}

/// Starts the thread that makes signals events.
pub(crate) fn start(sender: Sender) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGCHLD])?;
    // Who started the launcher by `nohup` wants it to outlive the terminal.
    if !is_ignored(SIGHUP) {
        signals.add_signal(SIGHUP)?;
    }
    let hand_on = move || {
        for signal in signals.forever() {
            let event = match signal {
                SIGCHLD => ShellEvent::ChildrenChanged,
                _ => ShellEvent::StopSignal,
            };
            if sender.send(event).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(hand_on)?;
    Ok(())
}

fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
