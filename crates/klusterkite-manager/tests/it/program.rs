//! The program: what it does with bad settings, and before it has a database.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use klusterkite_store::Store;
use klusterkite_tests::disk::SmallDisk;
use klusterkite_tls::testing::{Authority, Ends};
use klusterkite_tls::{Agents, Trust};
use serde_json::Value;
use tempfile::TempDir;
use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;

use crate::feed::Feed;
use crate::harness::{DEADLINE, PASSWORD, seed};

/// A directory with settings, and the process that was started with them; killed when dropped.
struct Program {
    directory: TempDir,
    database: &'static str,
    listen: String,
    process: Option<Child>,
    /// The authority of its certificate, if it speaks TLS.
    ca: Option<PathBuf>,
}

impl Program {
    fn new() -> Self {
        Self::with_database("cluster.db")
    }

    fn with_database(database: &'static str) -> Self {
        // Nobody else asks for this port between here and the start: the system gives others first.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = free.local_addr().unwrap().to_string();
        let program = Self {
            directory: tempfile::tempdir().unwrap(),
            database,
            listen,
            process: None,
            ca: None,
        };
        program.write(&format!(
            "KlusterKite.NodeManager {{ Listen = \"{}\", Database = \"{}\" }}",
            program.listen,
            program.database().display()
        ));
        program
    }

    fn database(&self) -> PathBuf {
        self.directory.path().join(self.database)
    }

    fn write(&self, settings: &str) {
        fs::write(self.directory.path().join("settings"), settings).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_klusterkite-manager"));
        command
            .env("KLUSTERKITE_CONFIG", self.directory.path().join("settings"))
            .env("KLUSTERKITE_DATA", self.directory.path())
            .stdin(Stdio::null());
        command
    }

    fn start(&mut self) {
        let log = fs::File::create(self.directory.path().join("log")).unwrap();
        self.process = Some(self.command().stderr(log).spawn().unwrap());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// Asks until the answer is the wanted one.
    fn wait_for(&self, path: &str, status: u16) -> String {
        let started = Instant::now();
        loop {
            let answer = self.get(path);
            match answer {
                Ok((found, text)) if found == status => return text,
                _ if started.elapsed() < DEADLINE => thread::sleep(Duration::from_millis(20)),
                other => panic!("{status} for {path}: {other:?}\n{}", self.log()),
            }
        }
    }

    fn get(&self, path: &str) -> Result<(u16, String), ureq::Error> {
        let mut answer = match &self.ca {
            Some(ca) => {
                let url = format!("https://{}{path}", self.listen);
                let agents = Agents::new(Trust::Authorities(vec![ca.clone()]), agent_settings);
                agents.get(&url).unwrap().get(&url).call()?
            }
            None => agent()
                .get(format!("http://{}{path}", self.listen))
                .call()?,
        };
        Ok((
            answer.status().as_u16(),
            answer.body_mut().read_to_string()?,
        ))
    }

    /// Tells it to end and returns its exit code.
    fn stop(&mut self) -> Option<i32> {
        let mut process = self.process.take().unwrap();
        let id = process.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        process.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn agent() -> ureq::Agent {
    agent_settings().build().new_agent()
}

fn agent_settings() -> ConfigBuilder<AgentScope> {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(DEADLINE))
}

#[track_caller]
fn assert_ends(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "no `{word}` in {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

fn create(path: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let feed = Feed::start().await;
        Store::create(path, &seed(&feed)).await.unwrap();
    });
}

#[test]
fn settings_that_cannot_be_used_are_named_and_end_with_2() {
    let program = Program::new();
    let database = program.database();
    let good = format!(
        "Listen = \"127.0.0.1:0\", Database = \"{}\"",
        database.display()
    );
    let node = "NodeId = \"11111111-2222-4333-8444-555555555555\"";
    for (settings, named) in [
        ("", "`KlusterKite.NodeManager` is missing"),
        ("KlusterKite.NodeManager {", "settings:1"),
        (
            "KlusterKite.NodeManager { Listen = here }",
            "NodeManager.Listen",
        ),
        (
            "KlusterKite.NodeManager { Listen = \"127.0.0.1:0\" }",
            "NodeManager.Database",
        ),
        (
            "KlusterKite.NodeManager { Listen = \"127.0.0.1:0\", Database = here }",
            "absolute path",
        ),
    ] {
        program.write(settings);
        assert_ends(&program.command().output().unwrap(), 2, &[named]);
    }
    for (settings, named) in [
        (
            "MassFailurePart = half".to_owned(),
            "NodeManager.MassFailurePart` is `half`",
        ),
        (
            "MassFailurePart = 2".to_owned(),
            "NodeManager.MassFailurePart` is `2`",
        ),
        ("EvictAfter = soon".to_owned(), "NodeManager.EvictAfter"),
        (
            "Tls.Certificate = \"/a.pem\"".to_owned(),
            "`Certificate` and `Key`",
        ),
        (
            "Tls { Certificate = a.pem, Key = \"/a.key\" }".to_owned(),
            "NodeManager.Tls.Certificate` is `a.pem`",
        ),
        (
            "Tls.Ca = [ca.pem]".to_owned(),
            "NodeManager.Tls.Ca` is `ca.pem`",
        ),
        ("NodeId = me".to_owned(), "NodeManager.NodeId` is `me`"),
        (
            format!("{node}, Incarnation = one"),
            "NodeManager.Incarnation` is `one`",
        ),
        (
            format!("{node}, Incarnation = 1, NodeTemplate = \"a/../b\""),
            "NodeManager.NodeTemplate` is `a/../b`",
        ),
    ] {
        program.write(&format!("KlusterKite.NodeManager {{ {good}, {settings} }}"));
        assert_ends(
            &program.command().output().unwrap(),
            2,
            &[named, "settings"],
        );
    }
    let mut endless = program.command();
    endless.env("KLUSTERKITE_CONFIG", "/dev/zero");
    assert_ends(&endless.output().unwrap(), 2, &["/dev/zero", "larger than"]);
    let mut unset = program.command();
    unset.env_remove("KLUSTERKITE_CONFIG");
    assert_ends(
        &unset.output().unwrap(),
        2,
        &["`KLUSTERKITE_CONFIG` is not set"],
    );
    let mut argument = program.command();
    argument.arg("--help");
    assert_ends(&argument.output().unwrap(), 2, &["no arguments"]);
    assert!(!database.exists());
}

#[test]
fn a_manager_with_a_certificate_speaks_https_from_the_first_moment_and_tells_its_host_when_it_leads()
 {
    let mut program = Program::new();
    let directory = program.directory.path();
    let authority = Authority::new("ours");
    program.ca = Some(authority.write(directory));
    let files = authority.write_identity(directory, &["127.0.0.1"], Ends::Late);
    let notify = directory.join("notify");
    let host = UnixDatagram::bind(&notify).unwrap();
    host.set_nonblocking(true).unwrap();
    let tls = |certificate: &Path| {
        format!(
            "KlusterKite.NodeManager {{ Listen = \"{}\", Database = \"{}\"
            Tls {{ Certificate = \"{}\", Key = \"{}\" }} }}",
            program.listen,
            program.database().display(),
            certificate.display(),
            files.key.display()
        )
    };
    program.write(&tls(Path::new("/none/server.pem")));
    let output = program.command().output().unwrap();
    assert_ends(&output, 2, &["NodeManager.Tls", "/none/server.pem"]);

    program.write(&tls(&files.certificate));
    let log = fs::File::create(directory.join("log")).unwrap();
    let mut command = program.command();
    command.env("NOTIFY_SOCKET", &notify).stderr(log);
    program.process = Some(command.spawn().unwrap());
    program.wait_for("/readyz", 503);
    let mut said = [0; 64];
    assert!(host.recv(&mut said).is_err(), "nothing is ready yet");
    let mut plain = agent()
        .get(format!("http://{}/readyz", program.listen))
        .call()
        .unwrap();
    assert_eq!(plain.status(), 400);
    assert!(
        plain
            .body_mut()
            .read_to_string()
            .unwrap()
            .contains("httpsRequired")
    );

    create(&program.database());
    program.wait_for("/readyz", 200);
    host.set_nonblocking(false).unwrap();
    host.set_read_timeout(Some(DEADLINE)).unwrap();
    let length = host.recv(&mut said).unwrap();
    assert_eq!(&said[..length], b"READY=1");
    assert_eq!(program.stop(), Some(0));
}

#[test]
fn a_taken_port_is_named_and_ends_the_start_with_2() {
    let program = Program::new();
    let _other = TcpListener::bind(&program.listen).unwrap();
    let output = program.command().output().unwrap();
    assert_ends(&output, 2, &[&program.listen, "NodeManager.Listen"]);
}

#[test]
fn a_damaged_database_is_named_and_kept() {
    let program = Program::new();
    let garbage = "this is no database. ".repeat(1000);
    fs::write(program.database(), &garbage).unwrap();
    let output = program.command().output().unwrap();
    assert_ends(&output, 1, &["cluster.db", "restore it from a backup"]);
    assert_eq!(fs::read_to_string(program.database()).unwrap(), garbage);
}

#[test]
fn a_manager_without_a_database_says_not_seeded_and_leads_as_soon_as_it_is_there() {
    let mut program = Program::new();
    program.start();
    for path in ["/readyz", "/api/v1/cluster/state", "/oauth/token", "/"] {
        let problem: Value = serde_json::from_str(&program.wait_for(path, 503)).unwrap();
        assert_eq!(problem["code"], "notSeeded");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("klusterkite-seeder"), "{detail}");
        assert!(!detail.contains("cluster.db"), "{detail}");
    }
    program.wait_for("/healthz", 200);
    assert!(
        program
            .log()
            .contains("cluster.db`; run `klusterkite-seeder`")
    );
    create(&program.database());
    program.wait_for("/readyz", 200);
    assert_eq!(program.stop(), Some(0));
}

#[test]
fn a_manager_waits_for_a_database_that_another_one_holds() {
    let mut first = Program::new();
    create(&first.database());
    first.start();
    first.wait_for("/readyz", 200);
    let mut second = Program::new();
    second.write(&format!(
        "KlusterKite.NodeManager {{ Listen = \"{}\", Database = \"{}\" }}",
        second.listen,
        first.database().display()
    ));
    second.start();
    let problem: Value = serde_json::from_str(&second.wait_for("/readyz", 503)).unwrap();
    assert_eq!(problem["code"], "databaseLocked");
    assert!(second.log().contains("cluster.db"), "{}", second.log());
    assert_eq!(first.stop(), Some(0));
    second.wait_for("/readyz", 200);
    // A manager that waits ends at once, too.
    let mut third = Program::new();
    third.start();
    third.wait_for("/readyz", 503);
    assert_eq!(third.stop(), Some(0));
}

#[test]
fn a_full_disk_is_told_and_survived_and_what_was_answered_is_kept() {
    let mut program = Program::with_database("small/cluster.db");
    fs::create_dir(program.database().parent().unwrap()).unwrap();
    let Some(_mount) = SmallDisk::mount(program.database().parent().unwrap(), 1) else {
        return;
    };
    create(&program.database());
    program.start();
    program.wait_for("/readyz", 200);
    let form = [
        ("grant_type", "password"),
        ("username", "admin"),
        ("password", PASSWORD),
    ];
    let origin = format!("http://{}", program.listen);
    let url = |path: &str| format!("{origin}{path}");
    let mut token = agent().post(url("/oauth/token")).send_form(form).unwrap();
    let token: Value = token.body_mut().read_json().unwrap();
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    let mut made = 0;
    let refused = loop {
        let body = serde_json::json!({"name": "n", "notes": "x".repeat(9000)});
        let call = agent()
            .post(url("/api/v1/configurations"))
            .header("authorization", &bearer);
        let mut answer = call.send_json(&body).unwrap();
        if answer.status().as_u16() != 201 {
            let problem: Value = answer.body_mut().read_json().unwrap();
            break problem;
        }
        made += 1;
        assert!(made < 1000, "the disk never becomes full");
    };
    assert_eq!(refused["code"], "storageFull", "{refused}");
    assert_eq!(refused["status"], 507);
    program.wait_for("/readyz", 200);
    assert!(program.log().contains("is full"), "{}", program.log());
    assert_eq!(program.stop(), Some(0));

    program.start();
    program.wait_for("/readyz", 200);
    let call = agent().get(url("/api/v1/configurations?limit=1"));
    let mut kept = call.header("authorization", &bearer).call().unwrap();
    let kept: Value = kept.body_mut().read_json().unwrap();
    // One more was there from the beginning.
    assert_eq!(kept["total"], made + 1);
}
