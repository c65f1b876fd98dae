//! Bodies of requests that must not come too slowly.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// How long a client may pause in the middle of a body.
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// The slowest that a body may come, on average after a grace: a package of ten megabytes takes
/// three quarters of an hour at this rate.
const BYTES_PER_SECOND_MIN: u64 = 4 << 10;
const GRACE: Duration = Duration::from_secs(30);

/// A body that fails when its client pauses or drips.
pub(super) struct Paced {
    body: Body,
    started: Instant,
    received: u64,
    /// Rings when the client was too slow.
    deadline: Pin<Box<Sleep>>,
}

/// The client sends too slowly.
#[derive(Debug, thiserror::Error)]
#[error("the client paused for a minute or sent less than 4 KiB per second")]
struct TooSlow;

impl Paced {
    /// Starts the clock.
    pub(super) fn new(body: Body) -> Self {
        let started = Instant::now();
        Self {
            body,
            started,
            received: 0,
            deadline: Box::pin(tokio::time::sleep_until(started + GRACE)),
        }
    }

    /// When the client has to have sent more.
    fn due(&self, now: Instant) -> Instant {
        let earned = Duration::from_secs(self.received / BYTES_PER_SECOND_MIN);
        (self.started + GRACE + earned).min(now + PAUSE_MAX)
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match &frame {
            Poll::Pending => match self.deadline.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(axum::Error::new(TooSlow)))),
                Poll::Pending => Poll::Pending,
            },
            Poll::Ready(Some(Ok(data))) => {
                self.received += data.data_ref().map_or(0, |data| data.len() as u64);
                let due = self.due(Instant::now());
                self.deadline.as_mut().reset(due);
                frame
            }
            Poll::Ready(_) => frame,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};

    use super::*;

    /// Reads a body of chunks that come after a pause each; returns how many came, and whether the
    /// body ended well.
    async fn read(chunks: usize, bytes: usize, pause: Duration) -> (usize, bool) {
        let chunks = stream::iter(0..chunks).then(move |_| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, std::io::Error>(Bytes::from(vec![0; bytes]))
        });
        let body = Body::new(Paced::new(Body::from_stream(chunks)));
        let mut read = body.into_data_stream();
        let mut count = 0;
        while let Some(chunk) = read.next().await {
            match chunk {
                Ok(_) => count += 1,
                Err(_) => return (count, false),
            }
        }
        (count, true)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_or_pauses_ends_and_one_that_flows_does_not() {
        let second = Duration::from_secs(1);
        // A byte a second lasts as long as the grace.
        let (count, is_whole) = read(1000, 1, second).await;
        assert!(!is_whole && (25..=30).contains(&count), "{count}");
        assert_eq!(read(200, 5000, second).await, (200, true));
        assert!(!read(2, 100 << 20, 50 * second).await.1);
        // However much came before, a pause has its end.
        let (count, is_whole) = read(2, 100 << 20, 25 * second).await;
        assert!(is_whole && count == 2);
    }
}
