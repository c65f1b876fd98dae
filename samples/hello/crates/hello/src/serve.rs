//! Listens, and stops without breaking a request.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::app::{App, router};
use crate::database::Database;
use crate::settings::Settings;

/// How long requests are still taken after TERM, each answered with `Connection: close`, so that a client that is about to
/// send one on an open connection is told and not cut off.
const LINGER: Duration = Duration::from_millis(500);

/// How long open requests may take after that; below the grace of the manifest.
const FINISH: Duration = Duration::from_secs(3);

/// Serves until TERM or INT.
pub(crate) async fn serve(settings: Settings) -> anyhow::Result<()> {
    let address = (settings.host.as_str(), settings.port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {}:{}", settings.host, settings.port))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stopping = Arc::new(AtomicBool::new(false));
    let app = App {
        version: settings.package.version.as_str().into(),
        node_id: settings.node_id.into(),
        database: Database::new(&settings.database, settings.package.schema_points),
        stopping: Arc::clone(&stopping),
    };
    let version = settings.package.version;
    say(&format!(
        "hello {version} listens on {}",
        listener.local_addr()?
    ));
    let (lingered, finish) = oneshot::channel();
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopping.store(true, Ordering::Relaxed);
        tokio::time::sleep(LINGER).await;
        // The receiver is gone only when the server is.
        let _ = lingered.send(());
    };
    let serving = axum::serve(listener, router(app)).with_graceful_shutdown(stop);
    let give_up = async {
        if finish.await.is_ok() {
            tokio::time::sleep(FINISH).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        served = serving => served?,
        () = give_up => say("some requests took too long and were cut off"),
    }
    say("stopped");
    Ok(())
}

/// Writes a line to the log; a log that nobody reads is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
