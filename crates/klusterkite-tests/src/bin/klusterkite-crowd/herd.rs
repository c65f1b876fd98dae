//! Requests that are all sent at once, each on a new connection of its own.

use std::cell::{Cell, RefCell};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep, timeout};

use crate::times::Times;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// Pause of a client whose request failed; soon enough that a server that refuses gains nothing by it.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Sends the requests of a file, a list of texts, and waits until each has its answer; times count from the common start.
///
/// Who is refused needs an answer all the same and asks again; each such try is counted.
pub(crate) async fn herd(server: SocketAddr, file: &Path) -> Result<Value> {
    let requests = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let requests: Vec<String> = serde_json::from_slice(&requests)?;
    let times = Rc::new(RefCell::new(Times::default()));
    let (failures, first) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(None)));
    let start = Instant::now();
    let mut all = Vec::with_capacity(requests.len());
    for (number, request) in requests.into_iter().enumerate() {
        let (times, failures, first) = (times.clone(), failures.clone(), first.clone());
        all.push(tokio::task::spawn_local(async move {
            while start.elapsed() < ANSWER_TIMEOUT {
                let answered = timeout(ANSWER_TIMEOUT, exchange(server, number, &request)).await;
                let Err(error) = answered.unwrap_or_else(|_| bail!("no answer in time")) else {
                    times.borrow_mut().add(start.elapsed());
                    return;
                };
                failures.set(failures.get() + 1);
                first
                    .borrow_mut()
                    .get_or_insert_with(|| format!("{error:#}"));
                sleep(AGAIN_AFTER).await;
            }
        }));
    }
    for one in all {
        one.await?;
    }
    let first = first.take();
    Ok(
        json!({ "times": times.take().summary(), "failures": failures.get(), "firstFailure": first }),
    )
}

/// Sends a request and reads until the server closes; anything but a success is a failure.
async fn exchange(server: SocketAddr, number: usize, request: &str) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    // Addresses enough that no port is used again soon.
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 2, 0, 1).to_bits() + number as u32);
    socket.bind((address, 0).into())?;
    let mut stream = socket.connect(server).await.context("connecting")?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(2048);
    while stream.read_buf(&mut answer).await? > 0 {}
    let status = answer.get(9..12).unwrap_or_default();
    ensure!(
        status == b"200",
        "not answered: {}",
        String::from_utf8_lossy(&answer[..answer.len().min(200)])
    );
    Ok(())
}
