//! The sockets of all links, on one thread.
//!
//! What thousands of nodes say is nearly always a heartbeat. It is read, renews the lease and is answered here, without
//! another task, another thread or a lock. Everything else goes to the session of the link, which runs where decisions
//! are made, and comes back from there as frames. A heartbeat that follows something which the session has not done with
//! goes to the session, too: its answer says that everything before it was taken.
//!
//! Of very many nodes every second heartbeat that follows nothing but heartbeats gets no answer of its own: a node leaves
//! a manager that answers nothing for a whole lease, which is three heartbeats.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use axum::body::Bytes;
use klusterkite_tls::{AttachedStream, DetachedStream};
use klusterkite_wire::heartbeat::{heartbeat_seq, lease_text};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::frames::{self, Reader, Said};
use crate::lease::{Lease, Terms};

/// With so many links one of the nodes speaks all the time. Waking up for each costs more than what it says, and most of
/// what a heartbeat costs is sending the answer.
const LINKS_MANY: usize = 2_000;

/// How long what nodes say comes together then.
const GATHER: Duration = Duration::from_millis(5);

/// Messages of a node that wait for its session; then nothing more is read.
const SAID_MAX: usize = 4;

/// Frames that wait for a slow socket; then the session waits.
const FRAMES_MAX: usize = 4;

/// How long a socket may take to accept what is there for it.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// The thread of the sockets; it ends with this.
pub(crate) struct Wires {
    new: mpsc::UnboundedSender<New>,
}

struct New {
    stream: DetachedStream,
    wire: Box<Wire>,
}

impl Wires {
    /// Starts the thread.
    pub(crate) fn start(terms: Terms) -> io::Result<Self> {
        let open = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&open);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || {
                if are_many(&counted) {
                    thread::sleep(GATHER);
                }
            })
            .build()?;
        // Each of them is a connection that was let in.
        let (new, mut come) = mpsc::unbounded_channel::<New>();
        let serve = async move {
            while let Some(New { stream, wire }) = come.recv().await {
                match stream.attach() {
                    Ok(stream) => {
                        let (terms, open) = (terms.clone(), Counted::new(&open));
                        tokio::spawn(async move {
                            if let Err(error) = wire.run(stream, &terms, &open.0).await {
                                tracing::debug!("a socket of a link ended: {error}");
                            }
                        });
                    }
                    Err(error) => tracing::warn!("a link cannot be served: {error}"),
                }
            }
        };
        let thread = thread::Builder::new().name("links".to_owned());
        thread.spawn(move || runtime.block_on(serve))?;
        Ok(Self { new })
    }

    /// Takes a connection, and what has come on it already.
    pub(super) fn take(&self, stream: DetachedStream, begun: Vec<u8>) -> Ends {
        let (to_session, said) = mpsc::channel(SAID_MAX);
        let (frames, to_node) = mpsc::channel(FRAMES_MAX);
        let counts = Arc::<Counts>::default();
        let wire = Box::new(Wire {
            reader: Reader::begun(begun),
            said: to_session,
            tell: to_node,
            counts: Arc::clone(&counts),
            heard: 0,
            look: true,
            lease: None,
            answers: Answers::default(),
        });
        // The thread ends with the last cluster only; a link that comes then ends, too.
        let _ = self.new.send(New { stream, wire });
        Ends {
            said,
            tell: frames,
            counts,
        }
    }
}

fn are_many(open: &AtomicUsize) -> bool {
    open.load(Ordering::Relaxed) >= LINKS_MANY
}

/// Counts a link as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A message that is more than a heartbeat.
pub(super) struct Text(pub(super) Vec<u8>);

/// What a session tells its socket.
pub(super) enum Tell {
    /// Send this.
    Frame(Bytes),
    /// Renew this lease at each heartbeat from now on.
    Renew(Lease),
}

/// What a session and its socket count together.
#[derive(Default)]
struct Counts {
    /// Messages that the session has not done with.
    undone: AtomicUsize,
    /// How often the session was about to tell the socket something, its end included. Only when this grew the socket
    /// looks into the queue, which nearly every heartbeat would find empty.
    told: AtomicUsize,
}

/// The session's ends of a link. The socket sends what it was told and closes when this is dropped.
pub(super) struct Ends {
    // Boxed: both queues have room for 32 from the start.
    said: mpsc::Receiver<Box<Text>>,
    tell: mpsc::Sender<Box<Tell>>,
    counts: Arc<Counts>,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.counts.told.fetch_add(1, Ordering::Release);
    }
}

impl Ends {
    /// Returns what the node says next; `None`: the link has ended. Dropped before it returns it takes nothing.
    pub(super) async fn said(&mut self) -> Option<Box<Text>> {
        self.said.recv().await
    }

    /// Says that the last message was taken, and whatever follows from it is stored.
    pub(super) fn done(&self) {
        // Released to the thread that answers the next heartbeat.
        self.counts.undone.fetch_sub(1, Ordering::Release);
    }

    /// Tells the socket something; fails when the link has ended or the node does not read.
    pub(super) async fn tell(&self, tell: Tell) -> Result<(), String> {
        // Before it is there: a socket that looks too early looks again.
        self.counts.told.fetch_add(1, Ordering::Release);
        match timeout(SEND_TIMEOUT, self.tell.send(Box::new(tell))).await {
            Ok(sent) => sent.map_err(|_| "the link has ended".to_owned()),
            Err(_) => Err("the node does not read".to_owned()),
        }
    }
}

/// The socket's ends of a link, and what it knows.
struct Wire {
    reader: Reader,
    said: mpsc::Sender<Box<Text>>,
    tell: mpsc::Receiver<Box<Tell>>,
    counts: Arc<Counts>,
    /// How often the session told something that has been heard.
    heard: usize,
    /// There may be more in the queue.
    look: bool,
    lease: Option<Lease>,
    answers: Answers,
}

/// Decides which heartbeats are answered. It starts with something else than a heartbeat.
#[derive(Default)]
struct Answers {
    /// How long leases are according to the answer to the heartbeat before.
    told: Option<u32>,
}

impl Answers {
    /// Tells whether a heartbeat is answered.
    fn is_due(&mut self, lease_seconds: u32, are_many: bool) -> bool {
        let is_due = !are_many || self.told != Some(lease_seconds);
        self.told = is_due.then_some(lease_seconds);
        is_due
    }
}

/// What a socket wakes up for.
enum Woken {
    Came(io::Result<usize>),
    Told(Option<Box<Tell>>),
    Room,
}

impl Wire {
    async fn run(
        mut self: Box<Self>,
        mut stream: AttachedStream,
        terms: &Terms,
        open: &AtomicUsize,
    ) -> io::Result<()> {
        // A message for which the session has no room: until it has, nothing is read.
        let mut waiting = None;
        loop {
            while waiting.is_none() {
                match self.reader.next() {
                    Ok(None) => break,
                    Ok(Some(Said::Text(text))) => {
                        waiting = self.text(text, terms, are_many(open), &mut stream);
                    }
                    Ok(Some(Said::Ping(payload))) => stream.write(&frames::pong(&payload)),
                    Ok(Some(Said::Close)) => {
                        stream.write(&frames::close_answer());
                        return close(&mut stream).await;
                    }
                    Err(wrong) => {
                        tracing::warn!("a link is closed: {}", wrong.reason);
                        stream.write(&wrong.frame());
                        return close(&mut stream).await;
                    }
                }
            }
            flush(&mut stream).await?;
            match self.woken(&mut stream, waiting.is_some()).await {
                Woken::Came(Ok(0)) => return Ok(()),
                Woken::Came(Ok(_)) => {}
                Woken::Came(Err(error)) => return Err(error),
                Woken::Told(Some(told)) => {
                    self.heard = self.heard.wrapping_add(1);
                    match *told {
                        Tell::Frame(frame) => stream.write(&frame),
                        Tell::Renew(lease) => self.lease = Some(lease),
                    }
                }
                Woken::Told(None) => return close(&mut stream).await,
                Woken::Room => {
                    if let Some(text) = waiting.take() {
                        waiting = self.forward(text);
                    }
                }
            }
        }
    }

    /// Waits for whatever comes first.
    async fn woken(&mut self, stream: &mut AttachedStream, waits: bool) -> Woken {
        let Self {
            reader,
            said,
            tell,
            counts,
            heard,
            look,
            ..
        } = self;
        let mut room = pin!(async {
            // Nobody takes the place before this task does: it is the only one that sends.
            if waits {
                drop(said.reserve().await);
            } else {
                std::future::pending::<()>().await;
            }
        });
        poll_fn(|cx| {
            // A queue that was found empty wakes this task up when it is not any more.
            if *look || counts.told.load(Ordering::Acquire) != *heard {
                let told = tell.poll_recv(cx);
                *look = told.is_ready();
                if let Poll::Ready(told) = told {
                    return Poll::Ready(Woken::Told(told));
                }
            }
            if waits {
                return room.as_mut().poll(cx).map(|()| Woken::Room);
            }
            stream.poll_read(cx, &mut reader.bytes).map(Woken::Came)
        })
        .await
    }

    /// Takes a heartbeat, or gives the session what it has to look at; returns that when there is no room for it.
    fn text(
        &mut self,
        text: Vec<u8>,
        terms: &Terms,
        are_many: bool,
        stream: &mut AttachedStream,
    ) -> Option<Box<Text>> {
        // Acquired: when nothing is undone, what came before is stored.
        if let Some(lease) = &self.lease
            && let Some(seq) = heartbeat_seq(&text)
            && self.counts.undone.load(Ordering::Acquire) == 0
        {
            let seconds = terms.renew(lease);
            if self.answers.is_due(seconds, are_many) {
                stream.write(&frames::text(lease_text(seconds, seq).as_bytes()));
            }
            return None;
        }
        self.answers = Answers::default();
        self.counts.undone.fetch_add(1, Ordering::Relaxed);
        self.forward(Box::new(Text(text)))
    }

    fn forward(&self, text: Box<Text>) -> Option<Box<Text>> {
        match self.said.try_send(text) {
            Err(mpsc::error::TrySendError::Full(text)) => Some(text),
            // A session that has ended is noticed by the next look at its other end.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => None,
        }
    }
}

/// Sends what was written.
async fn flush(stream: &mut AttachedStream) -> io::Result<()> {
    // Nearly always the socket takes it at once, without a timer.
    let at_once = poll_fn(|cx| Poll::Ready(stream.poll_flush(cx))).await;
    match at_once {
        Poll::Ready(flushed) => flushed,
        Poll::Pending => timeout(SEND_TIMEOUT, poll_fn(|cx| stream.poll_flush(cx)))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
    }
}

/// Sends what was written, and that nothing follows.
async fn close(stream: &mut AttachedStream) -> io::Result<()> {
    timeout(SEND_TIMEOUT, poll_fn(|cx| stream.poll_shutdown(cx)))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_nodes_every_second_heartbeat_is_answered_and_each_change_is_told() {
        let mut answers = Answers::default();
        let few: Vec<bool> = (0..4).map(|_| answers.is_due(10, false)).collect();
        assert_eq!(few, [true; 4]);
        let mut answers = Answers::default();
        let many: Vec<bool> = (0..4).map(|_| answers.is_due(10, true)).collect();
        assert_eq!(many, [true, false, true, false]);
        let changed: Vec<bool> = [10, 11, 11, 11, 12, 12]
            .map(|seconds| answers.is_due(seconds, true))
            .to_vec();
        assert_eq!(changed, [true, true, false, true, true, false]);
    }
}
