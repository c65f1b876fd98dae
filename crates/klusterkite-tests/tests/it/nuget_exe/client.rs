//! nuget.exe, with a home and caches of its own.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use klusterkite_tests::process::{signal, wait_until};
use rustix::process::Signal;

/// Longest time for one command on a slow machine.
const COMMAND_TIMEOUT: Duration = Duration::from_mins(2);

/// How long Mono may do nothing before it is nudged.
///
/// At its end, most often after a push, it may wait up to a minute for a parked thread of its pool that did not hear
/// that all is over. Writing a dump of its threads, which it does on QUIT, wakes that thread, and does no harm else.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// What Mono says when it crashes at its own end, after that of nuget.exe, while it aborts the threads of its pool;
/// on a busy machine it does so once in some hundred pushes.
const CRASH_AT_END: &str = "* Assertion at mono-threads.c:2005";

/// Where `cargo xtask test` puts nuget.exe, below the target directory.
const PROGRAM: &str = "tools/nuget.exe/node_modules/nuget-exe/nuget-5.8.0.exe";

/// Somebody's nuget.exe: its configuration knows one source, `feed`.
pub(crate) struct NuGet {
    home: PathBuf,
    /// How many commands ran, to give each caches of its own.
    commands: AtomicU32,
}

impl NuGet {
    /// Makes a home in a directory. With a password, nuget.exe reads the source as user `klusterkite`.
    pub(crate) fn new(directory: &Path, source: &str, password: Option<&str>) -> Self {
        let credentials = password.map_or_else(String::new, |password| {
            format!(
                "<packageSourceCredentials><feed>
                <add key=\"Username\" value=\"klusterkite\" />
                <add key=\"ClearTextPassword\" value=\"{password}\" />
                </feed></packageSourceCredentials>"
            )
        });
        // Without `clear`, nuget.org would be asked too.
        Self::with_config(
            directory,
            &format!(
                "<packageSources><clear /><add key=\"feed\" value=\"{source}\" /></packageSources>{credentials}"
            ),
        )
    }

    /// Makes a home in a directory with a configuration.
    pub(crate) fn with_config(directory: &Path, config: &str) -> Self {
        let home = directory.join("home");
        let path = home.join(".config/NuGet/NuGet.Config");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = format!("<?xml version=\"1.0\"?><configuration>{config}</configuration>");
        fs::write(path, text).unwrap();
        Self {
            home,
            commands: AtomicU32::new(0),
        }
    }

    /// The directory that commands run in.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Runs a command to its end, in the home.
    ///
    /// Its caches are empty: nuget.exe believes what it has heard for 30 minutes, and what it has fetched for ever.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = self.mono();
        command
            .arg(program())
            .args(arguments)
            .arg("-NonInteractive");
        self.output(command)
    }

    /// Makes a package of files (where they are, where they go) by `nuget pack`; returns its path.
    pub(crate) fn pack(&self, id: &str, version: &str, files: &[(&Path, &str)]) -> String {
        self.pack_with(id, version, files, &[])
    }

    /// Makes a package and, beside it, one with its symbols.
    pub(crate) fn pack_with_symbols(
        &self,
        id: &str,
        version: &str,
        files: &[(&Path, &str)],
    ) -> String {
        let options = ["-Symbols", "-SymbolPackageFormat", "snupkg"];
        self.pack_with(id, version, files, &options)
    }

    fn pack_with(
        &self,
        id: &str,
        version: &str,
        files: &[(&Path, &str)],
        options: &[&str],
    ) -> String {
        let mut entries = String::new();
        for (from, to) in files {
            let from = from.display();
            write!(entries, "<file src=\"{from}\" target=\"{to}\" />").unwrap();
        }
        let nuspec = format!(
            "<?xml version=\"1.0\"?>
            <package><metadata>
              <id>{id}</id><version>{version}</version>
              <authors>Acme</authors><description>{id} for tests</description>
            </metadata><files>{entries}</files></package>"
        );
        let path = self.home.join(format!("{id}.nuspec"));
        fs::write(&path, nuspec).unwrap();
        let pack = ["pack", path.to_str().unwrap(), "-NoPackageAnalysis"];
        self.run(&[&pack[..], options].concat()).succeeds();
        let package = self.home.join(format!("{id}.{version}.nupkg"));
        package.to_str().unwrap().to_owned()
    }

    /// Makes Mono, and with it nuget.exe, trust an authority.
    pub(crate) fn trust(&self, authority: &Path) {
        let mut command = self.environment("cert-sync");
        command.arg("--user").arg(authority);
        self.output(command).succeeds();
    }

    fn mono(&self) -> Command {
        self.environment("mono")
    }

    fn environment(&self, program: &str) -> Command {
        let number = self.commands.fetch_add(1, Ordering::Relaxed);
        let temporary = self.home.join(format!("temporary-{number}"));
        fs::create_dir(&temporary).unwrap();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", &self.home)
            .env("TMPDIR", &temporary)
            .env("NUGET_HTTP_CACHE_PATH", temporary.join("http"))
            .env("NUGET_PACKAGES", temporary.join("packages"))
            .env("NUGET_SCRATCH", temporary.join("scratch"))
            .current_dir(&self.home);
        command
    }

    fn output(&self, mut command: Command) -> Ended {
        let path = self.home.join("output");
        let file = File::create(&path).unwrap();
        let line = format!("{:?}", command.get_args().collect::<Vec<_>>());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{command:?} cannot be started, run `cargo xtask test`: {error}")
            });
        let mut status = None;
        let (mut activity, mut since) = (Activity::of(child.id()), Instant::now());
        let in_time = wait_until(COMMAND_TIMEOUT, || {
            status = child.try_wait().unwrap();
            let now = Activity::of(child.id());
            if now != activity || !now.sleeps {
                (activity, since) = (now, Instant::now());
            } else if status.is_none() && since.elapsed() > IDLE_MAX {
                signal(child.id(), Signal::QUIT);
                since = Instant::now();
            }
            status.is_some()
        });
        if !in_time {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let mut text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        assert!(
            in_time,
            "{line} did not end within {} s:\n{text}",
            COMMAND_TIMEOUT.as_secs()
        );
        let mut succeeded = status.map(|status| status.success());
        if let Some(crash) = text.find(CRASH_AT_END) {
            text.truncate(crash);
            succeeded = None;
        }
        Ended {
            line,
            succeeded,
            text,
        }
    }
}

/// A command that has ended.
#[derive(Debug)]
#[must_use = "say whether it succeeds or fails"]
pub(crate) struct Ended {
    line: String,
    /// Unknown when Mono crashed at its end; then what it printed and did has to tell.
    succeeded: Option<bool>,
    text: String,
}

impl Ended {
    /// Fails the test unless the command succeeded; returns what it printed.
    pub(crate) fn succeeds(self) -> String {
        let refused = self.text.contains("does not indicate success");
        assert!(
            self.succeeded.unwrap_or(!refused),
            "{} failed:\n{}",
            self.line,
            self.text
        );
        self.text
    }

    /// Fails the test unless the command failed and said why; returns what it printed.
    pub(crate) fn fails_with(self, reason: &str) -> String {
        assert!(
            self.succeeded != Some(true) && self.text.contains(reason),
            "{} should fail with `{reason}`:\n{}",
            self.line,
            self.text
        );
        self.text
    }
}

/// What a process does.
#[derive(PartialEq, Eq)]
struct Activity {
    /// Its first thread waits for something other than a processor or a disk.
    sleeps: bool,
    /// How long it has computed, in whatever unit.
    computed: String,
}

impl Activity {
    fn of(process: u32) -> Self {
        // Empty when it is gone.
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // What stands in parentheses, the name, may have spaces.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split(' ')
            .collect();
        Self {
            sleeps: fields.get(1) == Some(&"S"),
            computed: fields.iter().skip(12).take(2).copied().collect(),
        }
    }
}

fn program() -> PathBuf {
    let target = crate::support::programs().parent().unwrap().to_owned();
    let program = target.join(PROGRAM);
    assert!(
        program.exists(),
        "{} is missing: run `cargo xtask test`",
        program.display()
    );
    program
}
