//! From settings to a serving manager, and its end.

use std::path::PathBuf;

use anyhow::{Context, Result};
use klusterkite_hocon::Document;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::Cluster;
use crate::config::Config;
use crate::http;

/// Runs a manager with the settings that its service host gives it, until TERM or INT.
pub fn run() -> Result<()> {
    let config = config()?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(serve(config))
}

/// Reads the settings named by `KLUSTERKITE_CONFIG`.
fn config() -> Result<Config> {
    let path = std::env::var("KLUSTERKITE_CONFIG")
        .context("`KLUSTERKITE_CONFIG` is not set: give the path of the settings (JSON)")?;
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
    let settings = Document::parse(&text, &path)?.resolve(&std::env::vars().collect())?;
    let data = std::env::var_os("KLUSTERKITE_DATA")
        .context("`KLUSTERKITE_DATA` is not set: give a directory that outlives restarts")?;
    Config::from_settings(&settings, PathBuf::from(data))
}

async fn serve(config: Config) -> Result<()> {
    let address = config.listen;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: is another program there?"))?;
    let cluster = Cluster::open(config).await?;
    tracing::info!(%address, epoch = %cluster.epoch(), "the manager leads");
    let server = http::serve(listener, cluster.clone());
    let pins = cluster.clone();
    tokio::spawn(async move { pins.pins_keep().await });
    tokio::select! {
        led = cluster.lead() => led.context("the manager does not lead any more"),
        served = server => served.context("the API ended"),
        ended = ended() => ended,
    }
}

/// Waits for TERM or INT.
async fn ended() -> Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("the manager ends; every decision is in its store");
    Ok(())
}
