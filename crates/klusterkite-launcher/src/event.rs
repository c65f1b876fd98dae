//! Everything that can happen to the launcher, as one closed enum handled by one loop.

use std::sync::mpsc;

use klusterkite_wire::socket::HostMessage;

use crate::answer::Answer;
use crate::cycle::ReleaseNumber;
use crate::socket::Replies;

/// Events that may wait: few sources, each of them slow.
pub(crate) const EVENTS_MAX: usize = 64;

pub(crate) type Sender = mpsc::SyncSender<ShellEvent>;

/// An event from a thread of the launcher.
pub(crate) enum ShellEvent {
    /// TERM, INT, QUIT or HUP.
    StopSignal,
    /// A child or an adopted orphan has ended.
    ChildrenChanged,
    /// The manager has answered, or not.
    Answered(Answer),
    /// An installation has ended.
    Installed(Result<ReleaseNumber, String>),
    /// The host of this run says something.
    Host {
        run: RunNumber,
        message: HostMessage,
        replies: Replies,
    },
    /// A manager gave a token to this run's node and so has heard of the failure, if there was one.
    TokenWritten {
        run: RunNumber,
        failure_reported: bool,
    },
}

/// Numbers the runs of one launcher, so that what belongs to an ended one is not taken for the
/// present one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunNumber(pub(crate) u64);
