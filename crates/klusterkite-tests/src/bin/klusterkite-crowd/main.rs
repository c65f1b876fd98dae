//! Thousands of launchers and nodes in one process, as a manager sees them: they log in, ask, link, send
//! heartbeats, obey orders. Nothing runs in them.
//!
//! Told on stdin, a line each; answers on stdout, a line of JSON each:
//!
//! ```text
//! join              all containers start; answers when each of them is a ready node
//! ask RATE SECONDS  so many new containers a second ask for a configuration, and do no more
//! herd SERVER FILE  all requests of a file go at once to an address, without TLS; answers when each has its answer
//! freeze COUNT      so many nodes fall silent and keep their connections
//! beats             how many heartbeats have been sent
//! ready COUNT       answers when nodes have become ready so many times, those that were restarted again
//! ```

#![expect(clippy::print_stdout, reason = "it is a command line program")]

mod ask;
mod container;
mod crowd;
mod herd;
mod http;
mod stream;
mod times;

use std::io::BufRead as _;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::crowd::{Crowd, Settings};

fn main() -> Result<()> {
    let settings = Settings::from_arguments()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    // Commands come seldom: a thread of its own reads them.
    let (lines_in, mut lines) = tokio::sync::mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines_in.blocking_send(line).is_err() {
                return;
            }
        }
    });
    runtime.block_on(local.run_until(async move {
        let crowd = Rc::new(Crowd::new(settings));
        while let Some(line) = lines.recv().await {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |at: usize| -> Result<usize> {
                let word = words.get(at).context("a number is missing")?;
                word.parse()
                    .with_context(|| format!("`{word}` is no number"))
            };
            let answer = match words.first().copied() {
                Some("join") => crowd.join().await?,
                Some("ask") => ask::ask(&crowd, number(1)?, number(2)?).await?,
                Some("herd") => {
                    let server = words.get(1).context("no server")?.parse()?;
                    herd::herd(server, words.get(2).context("no file")?.as_ref()).await?
                }
                Some("freeze") => crowd.freeze(number(1)?),
                Some("beats") => json!({ "beats": crowd.beats() }),
                Some("ready") => crowd.ready(number(1)?).await?,
                _ => bail!("`{line}` is not a command"),
            };
            println!("{answer}");
        }
        Ok(())
    }))
}
