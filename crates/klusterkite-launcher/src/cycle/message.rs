//! What goes into the cycle and what comes out.

use std::time::Duration;

use klusterkite_wire::OrderId;
use klusterkite_wire::start::{CrashReport, StartConfiguration};

use super::state::{Next, ReleaseNumber};
use crate::answer::Answer;

/// The present, as an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Time since some point; never goes back.
    pub(crate) monotonic: Duration,
    /// Wall clock.
    pub(crate) unix_milliseconds: u64,
    /// A fresh random number.
    pub(crate) random: u64,
}

/// Where a release came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Answer,
    Next,
    Previous,
    LastKnownGood,
    Fallback,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The deadline has passed.
    Tick,
    /// The last [`Action::Ask`] has an answer.
    Answered(Answer),
    /// The last [`Action::Install`] made or found this release.
    Installed(ReleaseNumber),
    /// The last [`Action::Install`] failed.
    NotInstalled(String),
    /// State could not be stored, so that what was to follow did not happen.
    NotStored,
    /// The host says that the node is ready.
    Ready,
    /// The host says that it was told to stop; `next` is stored already.
    Stopping { next: Option<Next> },
    /// The host says that it goes on: that was stored too late, and it has refused the order.
    Stays { order_id: OrderId },
    /// The host and everything that it started have ended, or it could not be started.
    Ended(CrashReport),
    /// A manager has heard of the failure.
    FailureReported,
    /// The stop action has ended.
    StopActionEnded { success: bool },
    /// The launcher is to stop.
    StopSignal,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Write `state.json`.
    StoreState,
    /// Write `next.json`, or remove it if there is no next.
    StoreNext,
    /// Ask the manager with this index.
    Ask {
        url: usize,
    },
    Install(Install),
    Run {
        release: ReleaseNumber,
        origin: Origin,
    },
    /// Ask the host to stop.
    Terminate,
    /// Kill the host and everything that it started.
    Kill,
    /// Remove releases and packages that nothing needs any more.
    Tidy,
    StartStopCommand,
    Exit {
        success: bool,
    },
    Say(Level, String),
}

/// What to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Install {
    Answer(Box<StartConfiguration>),
    Next(Box<StartConfiguration>),
    Fallback,
    /// Use an existing release if it is intact, else make it again.
    Release(ReleaseNumber),
}

/// How loud a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    Debug,
}
