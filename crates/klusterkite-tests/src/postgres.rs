//! A PostgreSQL server of a test's own: the programs of the Debian package, a data directory of its own, a Unix
//! socket, no network.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{processes_below, signal, tail, wait_until};

/// Where Debian puts the programs of each major version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Longest time until the server takes connections, also after a crash.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// A running server, whose superuser is `postgres`; it ends with this value, and with the thread that made it.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    /// Whom the server runs as, because it refuses to run as root.
    owner: Option<Owner>,
    port: u16,
    server: Child,
    // Dropped after the server.
    directory: TempDir,
}

#[derive(Debug, Clone, Copy)]
struct Owner {
    user: u32,
    group: u32,
}

/// What a server shows to those who connect by TCP with TLS.
#[derive(Debug, Clone, Copy)]
pub struct Tls<'a> {
    /// File with the certificate.
    pub certificate: &'a Path,
    /// File with its key.
    pub key: &'a Path,
}

impl Postgres {
    /// Makes a server without network and waits until it takes connections.
    pub fn start() -> Result<Self> {
        Self::start_with(None)
    }

    /// Makes a server that listens on 127.0.0.1 too, and takes nobody there without TLS.
    pub fn start_with_tls(tls: Tls<'_>) -> Result<Self> {
        Self::start_with(Some(tls))
    }

    fn start_with(tls: Option<Tls<'_>>) -> Result<Self> {
        let programs = programs()?;
        let directory = tempfile::Builder::new().prefix("kkpg").tempdir()?;
        let owner = owner()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let data = directory.path().join("data");
        fs::create_dir(&data)?;
        if let Some(owner) = owner {
            std::os::unix::fs::chown(&data, Some(owner.user), Some(owner.group))?;
        }
        let mut initialise = as_owner(&programs.join("initdb"), owner);
        initialise.arg("-D").arg(&data).current_dir(&data);
        initialise.args(["-U", "postgres", "-A", "trust", "-E", "UTF8"]);
        output(initialise.args(["--locale=C", "--no-sync"]))?;
        let mut port = PORT;
        append(&data.join("postgresql.conf"), "listen_addresses = ''\n")?;
        if let Some(tls) = tls {
            port = free_port()?;
            configure_tls(tls, port, owner, &data)?;
        }
        let server = launch(&programs, owner, &data)?;
        let mut postgres = Self {
            programs,
            owner,
            port,
            server,
            directory,
        };
        postgres.wait_until_ready()?;
        Ok(postgres)
    }

    /// Returns the URL of a database for a role.
    pub fn url(&self, role: &str, database: &str) -> String {
        let socket = self.data();
        format!(
            "postgres://{role}@localhost:{}/{database}?host={}",
            self.port,
            socket.display()
        )
    }

    /// Returns the URL of a database for a role, by TCP.
    pub fn url_of_tcp(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs statements and returns what they give, one row per line.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let mut psql = self.client("psql", database);
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        Ok(output(&mut psql)?.trim().to_owned())
    }

    /// Starts a session that runs statements and then waits, with what they hold, until it is killed or its stdin ends.
    pub fn session(&self, database: &str, sql: &str) -> Result<Child> {
        let mut psql = self.client("psql", database);
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1"]);
        let mut child = psql
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start psql")?;
        let stdin = child.stdin.as_mut().context("psql has a stdin")?;
        std::io::Write::write_all(stdin, sql.as_bytes())?;
        std::io::Write::write_all(stdin, b"\n")?;
        Ok(child)
    }

    /// Returns the schema of a database as text, without what differs from dump to dump.
    pub fn schema(&self, database: &str) -> Result<String> {
        let mut dump = self.client("pg_dump", database);
        let text = output(dump.args(["--schema-only"]))?;
        // Newer versions guard each dump by a random word.
        let lines = text.lines().filter(|line| !line.starts_with('\\'));
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    /// Kills every process of the server at once, as a power failure does.
    pub fn kill(&mut self) -> Result<()> {
        let gone = wait_until(START_TIMEOUT, || {
            self.kill_now();
            // The first process is waited for, so that it is no zombie, whose number means nobody else.
            matches!(self.server.try_wait(), Ok(Some(_)))
                && processes_below(&self.data()).is_empty()
        });
        ensure!(gone, "the server does not end");
        Ok(())
    }

    /// Kills every process of the server that is seen; [`kill`](Self::kill) sees that they are gone.
    pub fn kill_now(&self) {
        for id in processes_below(&self.data()) {
            signal(id, Signal::KILL);
        }
    }

    /// Starts the server again on its data.
    pub fn start_again(&mut self) -> Result<()> {
        self.kill()?;
        self.server = launch(&self.programs, self.owner, &self.data())?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let mut seen = None;
        let ready = wait_until(START_TIMEOUT, || {
            let answer = self.sql("postgres", "SELECT 1");
            let is_ready = answer.is_ok();
            seen = answer.err();
            is_ready || matches!(self.server.try_wait(), Ok(Some(_)))
        });
        match seen {
            None if ready => Ok(()),
            seen => bail!(
                "PostgreSQL does not start ({seen:?}):\n{}",
                tail(&self.data().join("server.log"))
            ),
        }
    }

    fn client(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.arg("-h").arg(self.data());
        command.args(["-p", &self.port.to_string()]);
        command.args(["-U", "postgres", "-d", database]);
        command
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It fails only when the processes stay, and then nothing is left to be done about it here.
        let _ = self.kill();
    }
}

/// Sockets in a directory of their own need no port of their own.
const PORT: u16 = 5432;

fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.port())
}

fn configure_tls(tls: Tls<'_>, port: u16, owner: Option<Owner>, data: &Path) -> Result<()> {
    for (source, name) in [(tls.certificate, "server.crt"), (tls.key, "server.key")] {
        let file = data.join(name);
        fs::copy(source, &file)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        if let Some(owner) = owner {
            std::os::unix::fs::chown(&file, Some(owner.user), Some(owner.group))?;
        }
    }
    append(
        &data.join("postgresql.conf"),
        &format!("port = {port}\nlisten_addresses = '127.0.0.1'\nssl = on\n"),
    )?;
    fs::write(
        data.join("pg_hba.conf"),
        "local all all trust\nhostssl all all 127.0.0.1/32 trust\n",
    )?;
    Ok(())
}

fn append(path: &Path, text: &str) -> Result<()> {
    let mut file = fs::File::options().append(true).open(path)?;
    Ok(std::io::Write::write_all(&mut file, text.as_bytes())?)
}

fn launch(programs: &Path, owner: Option<Owner>, data: &Path) -> Result<Child> {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(data.join("server.log"))?;
    let mut server = as_owner(&programs.join("postgres"), owner);
    server.arg("-D").arg(data).arg("-k").arg(data);
    // What is not synced survives the death of processes all the same.
    server.arg("-F");
    let child = server
        .current_dir(data)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn();
    child.context("cannot start the server of PostgreSQL")
}

/// Makes a command that runs as the owner of the data, and ends with the thread that starts it.
fn as_owner(program: &Path, owner: Option<Owner>) -> Command {
    let mut command = Command::new("setpriv");
    if let Some(Owner { user, group }) = owner {
        command.arg(format!("--reuid={user}"));
        command.arg(format!("--regid={group}"));
        command.arg("--clear-groups");
    }
    command.args(["--pdeathsig", "QUIT"]).arg(program);
    command
}

/// Finds somebody else than root.
fn owner() -> Result<Option<Owner>> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = line.context("there is no user `postgres`")?.split(':');
    let mut id = |place| -> Result<u32> {
        let field = fields.nth(place).context("`/etc/passwd` has ids")?;
        Ok(field.parse()?)
    };
    let (user, group) = (id(2)?, id(0)?);
    Ok(Some(Owner { user, group }))
}

/// Finds the programs of the newest version.
fn programs() -> Result<PathBuf> {
    let versions = fs::read_dir(VERSIONS).into_iter().flatten();
    let versions = versions.filter_map(|entry| {
        let path = entry.ok()?.path();
        let number: u32 = path.file_name()?.to_str()?.parse().ok()?;
        let programs = path.join("bin");
        programs
            .join("initdb")
            .exists()
            .then_some((number, programs))
    });
    let newest = versions.max().map(|(_, programs)| programs);
    newest.context("PostgreSQL is not installed: `apt install postgresql`")
}

fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
