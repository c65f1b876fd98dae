//! What every command needs: clients, and a place for results.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use klusterkite_api::cluster::ClusterState;
use klusterkite_api::configurations::Configuration;
use klusterkite_api::operations::OperationId;
use klusterkite_client::api::{ApiClient, Session};
use klusterkite_client::feed::{FeedClient, FeedCredential};
use klusterkite_client::{Error, Kind, Retry, Trust};
use klusterkite_wire::{ConfigurationId, Secret};
use serde::Serialize;

use crate::arguments::{Global, Output};
use crate::exit::{Exit, LoginFailed, Stop};
use crate::input::read_text;
use crate::session;

/// Holds a password for scripts that cannot use a file; no argument, because arguments are seen by everybody.
const PASSWORD_VARIABLE: &str = "KLUSTERKITE_PASSWORD";

/// Longest password file that is read, in bytes.
const PASSWORD_BYTES_MAX: u64 = 4096;

pub(crate) struct Context {
    global: Global,
    client: Option<ApiClient>,
    /// The session that this run began with.
    first_session: Option<Session>,
}

impl Context {
    pub(crate) fn new(global: Global) -> Self {
        Self {
            global,
            client: None,
            first_session: None,
        }
    }

    pub(crate) fn output(&self) -> Output {
        self.global.output
    }

    /// Sets how results are written, for commands with an option of their own.
    pub(crate) fn set_output(&mut self, output: Output) {
        self.global.output = output;
    }

    /// Runs a command; when the manager does not accept the session, once more with a new one.
    pub(crate) fn run_with_login(
        &mut self,
        command: impl Fn(&mut Self) -> anyhow::Result<Exit>,
    ) -> anyhow::Result<Exit> {
        let error = match command(self) {
            Err(error) if Exit::of(&error) == Exit::Unauthenticated => error,
            result => return result,
        };
        let Some(used) = self.first_session.take() else {
            return Err(error);
        };
        self.client = None;
        // Another command may have renewed the session meanwhile.
        let stored = session::read(&self.session_path()?)?;
        if stored.is_none_or(|stored| stored.access_token == used.access_token) {
            let Some(password) = self.given_password()? else {
                return Err(error);
            };
            self.log_in(&password)?;
        }
        command(self)
    }

    /// Returns a client with a session, logging in if that needs no question.
    pub(crate) fn client(&mut self) -> anyhow::Result<&ApiClient> {
        if self.client.is_none() {
            let stored = session::read(&self.session_path()?)?;
            if let Some(stored) = stored.filter(|stored| self.fits(stored)) {
                self.first_session = Some(stored.clone());
                self.client = Some(self.keeping(&stored.url)?.with_session(stored));
            } else {
                let url = self.url()?;
                // A URL that nobody can call is told before a login is asked for.
                ApiClient::new(&url, Retry::STANDARD)?;
                let password = self.given_password()?.ok_or_else(|| {
                    Stop::new(Exit::Unauthenticated, format!("not logged in to `{url}`"))
                })?;
                self.log_in(&password)?;
            }
        }
        Ok(self.client.as_ref().expect("it was just made"))
    }

    /// Returns the client that [`client`](Self::client) made before.
    pub(crate) fn logged_in(&self) -> &ApiClient {
        self.client
            .as_ref()
            .expect("the caller asked for the client before")
    }

    /// Logs in, with a question if need be, and keeps the session.
    pub(crate) fn log_in_interactively(&mut self) -> anyhow::Result<Session> {
        let password = match self.given_password()? {
            Some(password) => password,
            None => ask_password(&self.user()?)?,
        };
        self.log_in(&password)
    }

    /// Ends the session here and at the manager.
    pub(crate) fn log_out(&mut self) -> anyhow::Result<()> {
        let path = self.session_path()?;
        let Some(stored) = session::read(&path)? else {
            return Ok(());
        };
        let client = self.api(&stored.url)?.with_session(stored);
        match client.logout() {
            // A session that the manager does not know has ended as well.
            Err(error) if error.kind() != Kind::Unauthenticated => return Err(error.into()),
            _ => {}
        }
        session::remove(&path)
    }

    fn log_in(&mut self, password: &Secret) -> anyhow::Result<Session> {
        let (url, user) = (self.url()?, self.user()?);
        let client = self.keeping(&url)?;
        let session = client.login(&user, password).with_context(|| LoginFailed {
            url: client.url(),
            user: user.clone(),
        })?;
        self.client = Some(client);
        Ok(session)
    }

    /// Makes a client that stores every new session.
    fn keeping(&self, url: &str) -> anyhow::Result<ApiClient> {
        let path = self.session_path()?;
        let keeper = move |session: &Session| session::write(&path, session);
        Ok(self.api(url)?.with_keeper(Box::new(keeper)))
    }

    fn api(&self, url: &str) -> anyhow::Result<ApiClient> {
        Ok(ApiClient::new(url, Retry::STANDARD)?.with_trust(self.trust()))
    }

    fn trust(&self) -> Trust {
        Trust::from_files(self.global.ca.clone())
    }

    /// Tells whether a stored session is for what the arguments name.
    fn fits(&self, stored: &Session) -> bool {
        let same_url = |url: &String| url.trim_end_matches('/') == stored.url;
        self.global.url.as_ref().is_none_or(same_url)
            && self
                .global
                .user
                .as_ref()
                .is_none_or(|user| *user == stored.user)
    }

    fn session_path(&self) -> anyhow::Result<PathBuf> {
        self.global
            .session
            .clone()
            .map_or_else(session::default_path, Ok)
    }

    fn url(&self) -> anyhow::Result<String> {
        let url = self.global.url.clone();
        url.ok_or_else(|| {
            Stop::new(
                Exit::Usage,
                "no manager is named; give `--url` or set KLUSTERKITE_URL",
            )
            .into()
        })
    }

    fn user(&self) -> anyhow::Result<String> {
        let user = self.global.user.clone();
        user.ok_or_else(|| {
            Stop::new(
                Exit::Usage,
                "no user is named; give `--user` or set KLUSTERKITE_USER",
            )
            .into()
        })
    }

    /// Returns the password from its variable or file.
    fn given_password(&self) -> anyhow::Result<Option<Secret>> {
        if let Ok(password) = std::env::var(PASSWORD_VARIABLE) {
            return Ok(Some(Secret::new(password)));
        }
        let Some(path) = &self.global.password_file else {
            return Ok(None);
        };
        let text = read_text(path, PASSWORD_BYTES_MAX).context("there is no password")?;
        Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']))))
    }

    /// Returns a client of the feed: the one that was named, or the cluster's.
    pub(crate) fn feed(&mut self) -> anyhow::Result<FeedClient> {
        let url = match self.global.feed.clone() {
            Some(url) => url,
            None => self.active_feed()?,
        };
        let key = self.global.feed_key_file.as_deref();
        let credential = key.map(FeedCredential::read).transpose()?;
        Ok(FeedClient::new(&url, credential, Retry::STANDARD)?.with_trust(self.trust()))
    }

    /// Tells whether a feed was named, so that no manager is needed.
    pub(crate) fn names_feed(&self) -> bool {
        self.global.feed.is_some()
    }

    fn active_feed(&mut self) -> anyhow::Result<String> {
        let id = self.active_configuration()?;
        let client = self.client()?;
        let active: Configuration = client
            .operation(OperationId::ConfigurationGet)
            .path("id", id)
            .send()?;
        let feed = active.settings.map(|settings| settings.nuget_feed);
        feed.context("the active configuration names no feed; give `--feed`")
    }

    /// Returns the number of the active configuration.
    pub(crate) fn active_configuration(&mut self) -> anyhow::Result<ConfigurationId> {
        let state: ClusterState = self
            .client()?
            .operation(OperationId::ClusterStateGet)
            .send()?;
        let stop = || Stop::new(Exit::NotFound, "there is no active configuration; name one");
        Ok(state.active_configuration_id.ok_or_else(stop)?)
    }

    /// Writes a result: as JSON, or as `table` renders it.
    pub(crate) fn print<T: Serialize>(
        &self,
        value: &T,
        table: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let text = match self.output() {
            Output::Json => serde_json::to_string_pretty(value)? + "\n",
            Output::Table => table(value),
        };
        write_out(&text)
    }

    /// Writes a piece of long work: one line of JSON, or as `line` renders it.
    pub(crate) fn print_line<T: Serialize>(
        &self,
        value: &T,
        line: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let mut text = match self.output() {
            Output::Json => serde_json::to_string(value)?,
            Output::Table => line(value),
        };
        text.push('\n');
        write_out(&text)
    }
}

fn write_out(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Reads a password from the terminal without showing it, or from a pipe.
fn ask_password(user: &str) -> anyhow::Result<Secret> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

    let stdin = io::stdin();
    let mut line = String::new();
    if stdin.is_terminal() {
        write!(io::stderr(), "password of `{user}`: ")?;
        let shown = tcgetattr(&stdin)?;
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
        let read = stdin.lock().read_line(&mut line);
        tcsetattr(&stdin, OptionalActions::Flush, &shown)?;
        writeln!(io::stderr())?;
        read?;
    } else {
        stdin.lock().read_line(&mut line)?;
    }
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        let sentence = "no password; set KLUSTERKITE_PASSWORD_FILE or type it";
        return Err(Stop::new(Exit::Unauthenticated, sentence).into());
    }
    Ok(Secret::new(password))
}

/// Tells whether an error says that the manager is away for the moment.
pub(crate) fn is_away(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Error>()
        .is_some_and(|error| error.kind() == Kind::Away)
}
