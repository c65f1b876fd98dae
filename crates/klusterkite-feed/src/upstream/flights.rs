//! One piece of work for all who ask for the same at the same time.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Work that is under way, by name.
#[derive(Debug)]
pub(crate) struct Flights<T> {
    running: Arc<Mutex<Running<T>>>,
}

type Running<T> = BTreeMap<String, watch::Receiver<Option<T>>>;

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self {
            running: Arc::default(),
        }
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// Waits for the work of this name that is under way, or starts it; it goes on when all who
    /// asked went away. `None` if it panicked.
    pub(crate) async fn join(
        &self,
        name: String,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let mut answer = {
            let mut running = lock(&self.running);
            if let Some(answer) = running.get(&name) {
                answer.clone()
            } else {
                let (sender, receiver) = watch::channel(None);
                running.insert(name.clone(), receiver.clone());
                let landing = Landing {
                    running: Arc::clone(&self.running),
                    name,
                };
                tokio::spawn(async move {
                    let answer = work.await;
                    // First: who asks from now on asks anew.
                    drop(landing);
                    sender.send_replace(Some(answer));
                });
                receiver
            }
        };
        let answer = answer.wait_for(Option::is_some).await.ok()?;
        answer.clone()
    }
}

fn lock<T>(running: &Mutex<Running<T>>) -> MutexGuard<'_, Running<T>> {
    // No code that could panic runs while it is held.
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the work off the list, also if it panics.
struct Landing<T> {
    running: Arc<Mutex<Running<T>>>,
    name: String,
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        lock(&self.running).remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn those_who_ask_at_the_same_time_share_one_answer() {
        let flights = Arc::new(Flights::default());
        let count = Arc::new(AtomicU32::new(0));
        let (go, wait) = oneshot::channel::<()>();
        let mut wait = Some(wait);
        let mut asking = Vec::new();
        for _ in 0..10 {
            let (flights, count, wait) = (Arc::clone(&flights), Arc::clone(&count), wait.take());
            let asked = async move {
                let work = async move {
                    if let Some(wait) = wait {
                        wait.await.unwrap();
                    }
                    count.fetch_add(1, Ordering::SeqCst)
                };
                flights.join("a".to_owned(), work).await
            };
            let mut asked = Box::pin(asked);
            // Polled once: it is on the list.
            tokio::select! {
                biased;
                _ = &mut asked => panic!("the work waits"),
                () = std::future::ready(()) => {}
            }
            asking.push(asked);
        }
        // One who goes away takes nothing with him.
        drop(asking.swap_remove(0));
        go.send(()).unwrap();
        for asked in asking {
            assert_eq!(asked.await, Some(0));
        }
        assert_eq!(flights.join("a".to_owned(), async { 7 }).await, Some(7));
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn work_that_panics_is_told_and_blocks_nobody() {
        let flights: Flights<u32> = Flights::default();
        let panics = async { panic!("on purpose") };
        assert_eq!(flights.join("a".to_owned(), panics).await, None);
        assert_eq!(flights.join("a".to_owned(), async { 1 }).await, Some(1));
    }
}
