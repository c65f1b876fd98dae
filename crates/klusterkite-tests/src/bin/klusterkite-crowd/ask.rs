//! Containers that only ask, at a rate that does not wait for answers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::container::Container;
use crate::crowd::Crowd;
use crate::times::Times;

/// Connections that the questions are spread over.
const CONNECTIONS: usize = 64;

/// Lets `rate` new containers a second ask, for some seconds; a question's time counts from when it was due.
pub(crate) async fn ask(crowd: &Rc<Crowd>, rate: usize, seconds: usize) -> Result<Value> {
    let (times, statuses) = (Rc::new(RefCell::new(Times::default())), Rc::default());
    let start = Instant::now() + Duration::from_millis(200);
    let mut lanes = Vec::new();
    for lane in 0..CONNECTIONS {
        let (crowd, times) = (Rc::clone(crowd), Rc::clone(&times));
        let statuses: Rc<RefCell<BTreeMap<u16, usize>>> = Rc::clone(&statuses);
        lanes.push(tokio::task::spawn_local(async move {
            let (mut http, token) = Container::new(Rc::clone(&crowd), lane).log_in().await?;
            for question in (lane..rate * seconds).step_by(CONNECTIONS) {
                let due = start + Duration::from_secs_f64(question as f64 / rate as f64);
                sleep_until(due).await;
                let container = Container::new(Rc::clone(&crowd), lane);
                let answer = container.ask(&mut http, &token).await?;
                times.borrow_mut().add(due.elapsed());
                *statuses.borrow_mut().entry(answer.status).or_default() += 1;
            }
            anyhow::Ok(())
        }));
    }
    for lane in lanes {
        lane.await?.context("asking")?;
    }
    if statuses.borrow().is_empty() {
        bail!("nobody asked");
    }
    Ok(json!({ "times": times.take().summary(), "statuses": *statuses.borrow() }))
}
