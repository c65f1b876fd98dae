//! A service directory of scripted migrators, and the executor running in it.

use std::fs;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use klusterkite_migrator::client::Client;
use klusterkite_wire::migrator::DescribedMigrator;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest wait for something that takes milliseconds, on a machine that is busy.
const DEADLINE: Duration = Duration::from_mins(1);

/// Settings of an executor whose limits no test waits for in vain.
pub(crate) const PATIENT: &str = "CallTimeout = 60s";

/// A service directory and the data beside it.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    /// Makes an empty service directory.
    pub(crate) fn empty() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("service")).unwrap();
        fs::create_dir(directory.path().join("data")).unwrap();
        Self { directory }
    }

    /// Makes a service directory with one scripted migrator per fault, each named like its fault.
    pub(crate) fn new(faults: &[&str], executor: &str) -> Self {
        let place = Self::empty();
        let service = place.service();
        fs::write(service.join("migrator.py"), include_str!("migrator.py")).unwrap();
        fs::write(service.join("points"), "p1 p2 p3").unwrap();
        let migrators = faults.iter().map(|fault| {
            let state = place.state(fault);
            format!(
                "\"{fault}\" {{ command = [python3, migrator.py, {fault}, \"{}\"], env {{ EXTRA = extra }} }}\n",
                state.display()
            )
        });
        let migrators: String = migrators.collect();
        place.manifest(
            "Test",
            &format!("config {{ Test.Name = none }}\nmigrators {{\n{migrators}}}"),
        );
        let names = faults.join("\", \"");
        place.settings(&format!(
            "KlusterKite.NodeManager {{ Migrators = [\"{names}\"], Executor {{ {executor} }} }}\n\
             Test.Name = tested",
        ));
        fs::write(
            service.join("start.hocon"),
            "KlusterKite.NodeManager { ConfigurationId = 7, NodeTemplate = db }",
        )
        .unwrap();
        place
    }

    pub(crate) fn manifest(&self, package: &str, text: &str) {
        let directory = self.service().join("packages").join(package);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("klusterkite.hocon"), text).unwrap();
    }

    pub(crate) fn settings(&self, text: &str) {
        fs::write(self.service().join("service.hocon"), text).unwrap();
    }

    pub(crate) fn service(&self) -> PathBuf {
        self.directory.path().join("service")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Returns the state file of a scripted migrator.
    pub(crate) fn state(&self, fault: &str) -> PathBuf {
        self.data().join(fault)
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.data().join("executor.lock")
    }

    /// Returns the journal as JSON values without what differs from run to run.
    pub(crate) fn journal(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.data().join("executor.journal.jsonl")).unwrap();
        let records = text.lines().map(|line| {
            let mut record: Value = serde_json::from_str(line).unwrap();
            let fields = record.as_object_mut().unwrap();
            fields.remove("at").unwrap();
            fields.remove("executor").unwrap();
            record
        });
        records.collect()
    }

    pub(crate) fn start(&self) -> Executor {
        Executor::start(&self.service(), &self.data())
    }
}

/// A running executor; its stdin closes at the end, which is enough to end everything.
pub(crate) struct Executor {
    child: Child,
    client: Option<Client<BufReader<ChildStdout>, ChildStdin>>,
    /// What it logged, as `level: message`.
    pub(crate) log: Vec<String>,
    /// Progress, as `done/total`.
    pub(crate) progress: Vec<String>,
}

impl Executor {
    fn start(service: &Path, data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_klusterkite-executor"))
            .current_dir(service)
            .env("KLUSTERKITE_DATA", data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let client = Client::new(stdout, child.stdin.take().unwrap());
        Self {
            child,
            client: Some(client),
            log: Vec::new(),
            progress: Vec::new(),
        }
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn call(&mut self, method: &str, params: Value) -> Result<Value, String> {
        let client = self.client.as_mut().unwrap();
        let (log, progress) = (&mut self.log, &mut self.progress);
        let called = client.call(method, params, |message| {
            let params = message.params.as_ref().unwrap();
            let text = |name: &str| params[name].as_str().unwrap();
            match message.method.as_deref() {
                Some("log") => log.push(format!("{}: {}", text("level"), text("message"))),
                _ => progress.push(format!("{}/{}", params["done"], params["total"])),
            }
        });
        called.map_err(|error| error.to_string())
    }

    pub(crate) fn describe(&mut self) -> Vec<DescribedMigrator> {
        let described = self.call("describe", Value::Null).unwrap();
        serde_json::from_value(described).unwrap()
    }

    pub(crate) fn migrate(
        &mut self,
        migrator: &str,
        point: &str,
        fence: u64,
    ) -> Result<Value, String> {
        let params =
            json!({ "migrator": migrator, "resource": "db", "point": point, "fence": fence });
        self.call("migrate", params)
    }

    pub(crate) fn current_point(&mut self, migrator: &str) -> Result<Value, String> {
        let params = json!({ "migrator": migrator, "resource": "db" });
        self.call("currentPoint", params)
    }

    /// Closes its stdin and waits for its end.
    pub(crate) fn close(mut self) -> Option<i32> {
        self.client = None;
        self.child.wait().unwrap().code()
    }

    /// Waits for its end without closing anything.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.client = None;
        let _ = self.child.wait();
    }
}

/// Starts an executor and writes requests without waiting for any answer.
pub(crate) fn start_raw(place: &Place, requests: &str) -> (Child, ChildStdin) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_klusterkite-executor"))
        .current_dir(place.service())
        .env("KLUSTERKITE_DATA", place.data())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(requests.as_bytes()).unwrap();
    (child, stdin)
}

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for the process ids of a hanging migrator and its child.
pub(crate) fn hanging(place: &Place, fault: &str) -> Vec<u32> {
    let path = place.data().join(format!("{fault}.pids"));
    wait_until("the migrator does not hang", || path.exists());
    let text = fs::read_to_string(path).unwrap();
    text.split(' ').map(|pid| pid.parse().unwrap()).collect()
}

/// Says whether a process runs; one that is dead and not reaped does not.
pub(crate) fn runs(process_id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process_id}/stat"));
    stat.is_ok_and(|stat| {
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        !matches!(state, Some('Z' | 'X'))
    })
}

/// Sends a signal to a process.
pub(crate) fn signal(process_id: u32, name: &str) {
    let killed = Command::new("kill")
        .args([format!("-{name}"), process_id.to_string()])
        .status();
    assert!(killed.unwrap().success());
}
