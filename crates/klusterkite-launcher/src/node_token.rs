//! The token of a node that was started without asking: fetched beside the cycle as soon as a
//! manager answers, until the node ends.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use klusterkite_install::{Cancel, file};
use klusterkite_wire::start::NodeTokenRequest;
use klusterkite_wire::{NodeId, chain};

use crate::console;
use crate::directory::SECRET_MODE;
use crate::event::{RunNumber, Sender, ShellEvent};
use crate::manager::Manager;
use crate::random;

/// Longest pause between two tries: the manager that comes back waits for its nodes.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// What the thread needs.
pub(crate) struct TokenJob {
    pub(crate) manager: Arc<Manager>,
    pub(crate) node_id: NodeId,
    pub(crate) request: NodeTokenRequest,
    /// Where the token goes; `None` if the node has one and only the failure is to be told.
    pub(crate) file: Option<PathBuf>,
    pub(crate) run: RunNumber,
    pub(crate) pause: Duration,
    pub(crate) sender: Sender,
    pub(crate) cancel: Cancel,
}

impl TokenJob {
    /// Starts the thread; it ends with the token or by the cancel signal.
    pub(crate) fn start(self) -> io::Result<()> {
        thread::Builder::new()
            .name("token".to_owned())
            .spawn(move || self.run())?;
        Ok(())
    }

    fn run(self) {
        let mut pause = self.pause;
        let mut last_reason = String::new();
        loop {
            for url in 0..self.manager.url_count() {
                if self.cancel.is_cancelled() {
                    return;
                }
                match self.try_once(url) {
                    Ok(()) => {
                        let failure_reported = self.request.failure.is_some();
                        let event = ShellEvent::TokenWritten {
                            run: self.run,
                            failure_reported,
                        };
                        // Nobody listens to a launcher that ends.
                        let _ = self.sender.send(event);
                        return;
                    }
                    Err(reason) if reason != last_reason => {
                        console::warn(format_args!("no node token yet: {reason}"));
                        last_reason = reason;
                    }
                    Err(_) => {}
                }
            }
            let upper = (pause * 3).min(PAUSE_MAX).max(self.pause);
            let span = upper.saturating_sub(self.pause);
            let part = u32::try_from(random::number() % 1000).unwrap_or(0);
            pause = self.pause + span * part / 1000;
            if self.cancel.wait(pause) {
                return;
            }
        }
    }

    fn try_once(&self, url: usize) -> Result<(), String> {
        let token = self.manager.node_token(url, &self.node_id, &self.request)?;
        if self.cancel.is_cancelled() {
            return Ok(());
        }
        match &self.file {
            Some(path) => file::write_durably(path, token.reveal().as_bytes(), SECRET_MODE)
                .map_err(|error| chain(&error)),
            None => Ok(()),
        }
    }
}
