//! Executors: assembled like nodes, run as children, spoken to by JSON-RPC on their stdin and stdout.
//!
//! An executor ends when its stdin closes and kills its migrators first, so a manager that dies leaves
//! none behind; a lock file keeps the executor of a successor waiting until then (I5).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures_util::{StreamExt as _, stream};
use klusterkite_core::plan::resources::TemplateReading;
use klusterkite_core::release::Release;
use klusterkite_install::{
    Cancel, ContentStore, FeedCredential, FeedSource, FetchLimits, ServiceDirectory, install,
};
use klusterkite_tls::Trust;
use klusterkite_wire::migrator::{
    DescribedMigrator, ExecutorLogParams, ExecutorMigrateParams, LINE_BYTES_MAX, LineStream,
    MigrateResult, ProgressParams, RpcMessage,
};
use klusterkite_wire::start::StartConfiguration;
use klusterkite_wire::{Runtime, TemplateCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::config::Config;

/// How long an executor may take to end after its stdin closed, before it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Executors that read at the same time: reading moves nothing, and one that hangs does not hold up the others.
const READ_TOGETHER_MAX: usize = 4;

/// Assembles and runs executors.
#[derive(Debug, Clone)]
pub struct Executors {
    directory: PathBuf,
    /// Held while one is assembled: templates share packages, which are fetched once.
    assembling: Arc<Mutex<()>>,
    credential_file: Option<PathBuf>,
    trust: Trust,
    runtime: Runtime,
    read_timeout: Duration,
    move_timeout: Duration,
}

/// Why a call of an executor gave no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The migrator said no.
    #[error("{0}")]
    Failed(String),
    /// The executor could not be started, died or broke the protocol: what was done is not known.
    #[error("{0:#}")]
    Broken(#[from] anyhow::Error),
}

/// What a running move says.
pub struct Said {
    /// Where.
    pub stream: LineStream,
    /// The line.
    pub line: String,
}

impl Said {
    fn log(params: ExecutorLogParams) -> Self {
        let ExecutorLogParams {
            level,
            message,
            stream,
            ..
        } = params;
        let line = match level.as_str() {
            "info" => message,
            _ => format!("{level}: {message}"),
        };
        Self { stream, line }
    }

    fn progress(params: &ProgressParams) -> Self {
        Self {
            stream: LineStream::Progress,
            line: format!("{} of {}", params.done, params.total),
        }
    }
}

impl Executors {
    /// Places executors below the data directory of the manager.
    pub fn new(config: &Config) -> Self {
        Self {
            directory: config.data.join("executors"),
            assembling: Arc::default(),
            credential_file: config.feed_credential_file.clone(),
            trust: config.trust.clone(),
            runtime: config.runtime(),
            read_timeout: config.read_timeout,
            move_timeout: config.move_timeout,
        }
    }

    /// Reads points and resources of all migrator templates of a release. An error of one template is
    /// part of its reading and does not keep the others from being read.
    pub async fn read(&self, release: &Release) -> Vec<TemplateReading> {
        let templates = release.migrator_templates.keys();
        let readings: Vec<_> = templates
            .map(|template| self.read_one(release, template))
            .collect();
        let readings = stream::iter(readings).buffered(READ_TOGETHER_MAX);
        readings.collect().await
    }

    async fn read_one(&self, release: &Release, template: &TemplateCode) -> TemplateReading {
        let (migrators, error) = match self.describe(release, template).await {
            Ok(migrators) => (migrators, None),
            Err(error) => {
                let id = release.id;
                let error =
                    format!("migrator template `{template}` of configuration {id}: {error:#}");
                (Vec::new(), Some(error))
            }
        };
        TemplateReading {
            template: template.clone(),
            migrators,
            error,
        }
    }

    async fn describe(
        &self,
        release: &Release,
        template: &TemplateCode,
    ) -> Result<Vec<DescribedMigrator>> {
        let mut executor = self.start(release, template).await?;
        let described = timeout(
            self.read_timeout,
            executor.call("describe", json!({}), |_| {}),
        )
        .await;
        executor.end().await;
        let late = || anyhow!("reading took longer than {} s", self.read_timeout.as_secs());
        Ok(described.map_err(|_| late())??)
    }

    /// Moves one resource. The executor limits the time; one that hangs itself is ended.
    pub async fn migrate(
        &self,
        release: &Release,
        template: &TemplateCode,
        params: &ExecutorMigrateParams,
        said: impl FnMut(Said),
    ) -> Result<MigrateResult, CallError> {
        let mut executor = self.start(release, template).await?;
        let params = serde_json::to_value(params).map_err(anyhow::Error::from)?;
        let moved = timeout(self.move_timeout, executor.call("migrate", params, said)).await;
        executor.end().await;
        let late = || anyhow!("moving took longer than {} s", self.move_timeout.as_secs());
        moved.map_err(|_| late())?
    }

    /// Removes the directories of releases that no migration needs any more.
    pub async fn keep_only(&self, releases: Vec<klusterkite_wire::ConfigurationId>) {
        let directory = self.directory.clone();
        let removed =
            tokio::task::spawn_blocking(move || remove_others(&directory, &releases)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!("old executor directories stay: {error:#}");
        }
    }

    async fn start(&self, release: &Release, template: &TemplateCode) -> Result<Executor> {
        let start = release
            .executor_configuration(template, &self.runtime)
            .with_context(|| format!("it has no packages for the runtime `{}`", self.runtime))?;
        let place = self.clone();
        let turn = self.assembling.lock().await;
        let directory = tokio::task::spawn_blocking(move || place.assemble(&start)).await??;
        drop(turn);
        Executor::start(&directory, &self.directory)
    }

    /// Makes the service directory of an executor, once: a release never changes.
    fn assemble(&self, start: &StartConfiguration) -> Result<PathBuf> {
        let directory = self
            .directory
            .join(start.configuration_id.to_string())
            .join(start.node_template.as_str());
        if klusterkite_install::read_release(&directory)?.as_ref() == Some(start) {
            return Ok(directory);
        }
        if directory.exists() {
            std::fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot replace `{}`", directory.display()))?;
        }
        let store = ContentStore::open(self.directory.join("store"))?;
        let credential = self
            .credential_file
            .as_deref()
            .map(FeedCredential::read)
            .transpose()?;
        let source = FeedSource {
            service_index: start.package_source.clone(),
            mirrors: Vec::new(),
            credential,
            trust: self.trust.clone(),
            limits: FetchLimits::STANDARD,
        };
        let service_directory = ServiceDirectory {
            store: &store,
            start,
            runtime: &self.runtime,
            start_settings: &self.start_settings(start),
            path: &directory,
        };
        let damaged = install(&service_directory, &source, &|_| {}, &Cancel::new())?;
        for package in damaged {
            tracing::warn!(
                "package `{package}` was damaged in the content store and was fetched again"
            );
        }
        Ok(directory)
    }

    fn start_settings(&self, start: &StartConfiguration) -> String {
        let lock = self.directory.join("executor.lock");
        let settings = json!({ "KlusterKite": { "NodeManager": {
            "ConfigurationId": start.configuration_id,
            "NodeTemplate": start.node_template,
            "Runtime": self.runtime,
            "Executor": { "LockFile": lock },
        } } });
        settings.to_string()
    }
}

fn remove_others(directory: &Path, keep: &[klusterkite_wire::ConfigurationId]) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.parse().ok());
        if id.is_some_and(|id| !keep.contains(&id)) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// A running executor.
struct Executor {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    last_id: u64,
}

impl Executor {
    fn start(directory: &Path, data: &Path) -> Result<Self> {
        let program = directory.join(klusterkite_core::settings::EXECUTOR_ENTRY_POINT);
        let mut child = Command::new(&program)
            .current_dir(directory)
            .env("KLUSTERKITE_DATA", data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start `{}`", program.display()))?;
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        tokio::spawn(async move {
            while let Ok(Some(line)) = read_line(&mut stderr).await {
                tracing::info!(target: "executor", "{line}");
            }
        });
        Ok(Self {
            child,
            stdin,
            stdout,
            last_id: 0,
        })
    }

    /// Calls a method and hands on what is said meanwhile.
    async fn call<T: DeserializeOwned>(
        &mut self,
        method: &str,
        params: Value,
        said: impl FnMut(Said),
    ) -> Result<T, CallError> {
        self.last_id += 1;
        let request = RpcMessage::request(self.last_id, method, params);
        let answer = self.answer(method, &request, said).await?;
        if let Some(error) = answer.error {
            return Err(CallError::Failed(error.message));
        }
        let result = answer.result.context("the executor answered nothing")?;
        Ok(serde_json::from_value(result).context("the executor answered something else")?)
    }

    /// Sends a request and returns its response.
    async fn answer(
        &mut self,
        method: &str,
        request: &RpcMessage,
        mut said: impl FnMut(Said),
    ) -> Result<RpcMessage> {
        let line = serde_json::to_string(request)? + "\n";
        self.stdin
            .write_all(line.as_bytes())
            .await
            .context("the executor does not listen")?;
        loop {
            let Some(line) = read_line(&mut self.stdout).await? else {
                let status = timeout(END_TIMEOUT, self.child.wait()).await;
                let how = status.map_or("closed its output".to_owned(), |status| match status {
                    Ok(status) => format!("ended ({status})"),
                    Err(error) => format!("is gone ({error})"),
                });
                bail!("the executor {how} before it answered `{method}`");
            };
            let message: RpcMessage = serde_json::from_str(&line)
                .context("the executor said something that is not JSON-RPC")?;
            match (message.method.as_deref(), message.id) {
                (Some("log"), None) => said(Said::log(params_of(message)?)),
                (Some("progress"), None) => said(Said::progress(&params_of(message)?)),
                (None, Some(id)) if id == self.last_id => return Ok(message),
                _ => bail!("the executor said something that nobody asked: {line}"),
            }
        }
    }

    /// Closes stdin, which ends the executor and its migrators; kills it when it does not.
    async fn end(self) {
        let Self {
            mut child,
            stdin,
            stdout,
            ..
        } = self;
        drop(stdin);
        if timeout(END_TIMEOUT, child.wait()).await.is_err() {
            tracing::warn!("an executor did not end by itself and is killed");
            if let Err(error) = child.kill().await {
                tracing::warn!("an executor cannot be killed: {error}");
            }
        }
        drop(stdout);
    }
}

fn params_of<T: DeserializeOwned>(message: RpcMessage) -> Result<T> {
    Ok(serde_json::from_value(
        message.params.unwrap_or(Value::Null),
    )?)
}

/// Reads one line of at most [`LINE_BYTES_MAX`] bytes; `None` at the end.
async fn read_line<R: tokio::io::AsyncRead + Unpin>(
    reader: &mut BufReader<R>,
) -> Result<Option<String>> {
    let mut line = Vec::new();
    let read = reader
        .take(LINE_BYTES_MAX as u64 + 1)
        .read_until(b'\n', &mut line)
        .await?;
    if read == 0 {
        return Ok(None);
    }
    ensure!(
        line.len() <= LINE_BYTES_MAX,
        "a line is longer than {LINE_BYTES_MAX} bytes"
    );
    while line
        .last()
        .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
    {
        line.pop();
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}
