//! A feed process with its own directory, and a client of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use klusterkite_nuget::{Nuspec, PackageBuilder, PackageType};
use serde_json::Value;
use tempfile::TempDir;

/// The key with all scopes.
pub(crate) const ADMIN: &str = "admin-key-0123456789";

/// How long a process may take for what is to happen at once.
const DEADLINE: Duration = Duration::from_secs(30);

/// A feed; killed when dropped.
pub(crate) struct TestFeed {
    directory: TempDir,
    process: Option<Child>,
    pub(crate) address: String,
}

/// An answer of the feed.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The machine code of a problem document.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        problem["code"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> String {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default()
    }
}

impl TestFeed {
    /// Starts a feed with the given members added to its settings.
    pub(crate) fn start(settings: &str) -> Self {
        let mut feed = Self::prepare(settings);
        feed.restart();
        feed
    }

    /// Writes settings without starting the feed.
    pub(crate) fn prepare(settings: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            "listen = \"127.0.0.1:0\", directory = data, addressFile = address
            keys = [{{name = admin, key = {ADMIN}, scopes = [read, push, unlist, purge, pin]}}]
            {settings}"
        );
        fs::write(directory.path().join("feed.hocon"), text).unwrap();
        Self {
            directory,
            process: None,
            address: String::new(),
        }
    }

    pub(crate) fn settings_path(&self) -> PathBuf {
        self.directory.path().join("feed.hocon")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Starts the process and waits for its address.
    pub(crate) fn restart(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_klusterkite-feed"));
        command.arg(self.settings_path()).stdin(Stdio::null());
        self.restart_as(command);
    }

    pub(crate) fn restart_as(&mut self, mut command: Command) {
        assert!(self.process.is_none(), "the feed is running");
        let address = self.directory.path().join("address");
        let _ = fs::remove_file(&address);
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        self.process = Some(command.stderr(log).spawn().unwrap());
        let process = self.process.as_mut().unwrap();
        self.address = wait_for("the feed's address", || {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "the feed ended with {ended:?}");
            fs::read_to_string(&address).ok()
        });
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// What the feed logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap()
    }

    /// Ends the process as a power cut would.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("the feed is running");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Asks the process to stop and returns its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let mut process = self.process.take().expect("the feed is running");
        let id = process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        wait_for("the feed's end", || process.try_wait().unwrap()).code()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[("X-NuGet-ApiKey", ADMIN)], Vec::new())
    }

    pub(crate) fn push(&self, package: &[u8]) -> Answer {
        let headers = [
            ("X-NuGet-ApiKey", ADMIN),
            ("Content-Type", "multipart/form-data; boundary=\"b-1\""),
        ];
        self.call("PUT", "/api/v2/package", &headers, multipart(package))
    }

    pub(crate) fn push_symbols(&self, package: &[u8]) -> Answer {
        let headers = [
            ("X-NuGet-ApiKey", ADMIN),
            ("Content-Type", "multipart/form-data; boundary=\"b-1\""),
        ];
        self.call(
            "PUT",
            "/api/v2/symbolpackage/",
            &headers,
            multipart(package),
        )
    }

    pub(crate) fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(DEADLINE))
            .build()
            .into();
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = agent.run(request.body(body).unwrap()).unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response
                .body_mut()
                .with_config()
                .limit(1 << 30)
                .read_to_vec()
                .unwrap(),
        }
    }

    /// Runs a maintenance command on the feed's directory; returns its exit code and output.
    pub(crate) fn maintain(&self, command: &str) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_klusterkite-feed"))
            .arg(command)
            .arg(self.data())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (output.status.code(), text.concat())
    }

    /// Names of files in a folder of the feed's directory.
    pub(crate) fn files(&self, folder: &str) -> Vec<String> {
        list(&self.data().join(folder))
    }
}

impl Drop for TestFeed {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
        if thread::panicking() {
            println!(
                "{}",
                fs::read_to_string(self.log_path()).unwrap_or_default()
            );
        }
    }
}

pub(crate) fn list(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Asks until there is something; fails after the deadline.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "{what} did not come in time");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A body as NuGet clients send it.
pub(crate) fn multipart(package: &[u8]) -> Vec<u8> {
    let mut body = b"--b-1\r\nContent-Type: application/octet-stream\r\n\
        Content-Disposition: form-data; name=package; filename=package.nupkg; filename*=utf-8''package.nupkg\r\n\r\n"
        .to_vec();
    body.extend_from_slice(package);
    body.extend_from_slice(b"\r\n--b-1--\r\n");
    body
}

pub(crate) fn nuspec(id: &str, version: &str) -> Nuspec {
    Nuspec::new(
        id.parse().unwrap(),
        version.parse().unwrap(),
        "Acme, Other",
        "A service",
    )
}

/// A small package with a manifest.
pub(crate) fn package(id: &str, version: &str) -> Vec<u8> {
    PackageBuilder::new(nuspec(id, version))
        .manifest("roles = [orders]\n")
        .file(
            "runtimes/linux-x64/native/orders",
            format!("\x7fELF {version}"),
            true,
        )
        .to_bytes()
        .unwrap()
}

/// Symbols of a package.
pub(crate) fn symbols(id: &str, version: &str) -> Vec<u8> {
    symbols_with(id, version, "symbols")
}

/// Symbols of a package with other contents.
pub(crate) fn symbols_with(id: &str, version: &str, contents: &str) -> Vec<u8> {
    let mut nuspec = nuspec(id, version);
    nuspec.package_types = vec![PackageType {
        name: "SymbolsPackage".to_owned(),
        version: None,
    }];
    PackageBuilder::new(nuspec)
        .file("lib/net8.0/acme.pdb", format!("BSJB {contents}"), false)
        .to_bytes()
        .unwrap()
}

/// A package of about `size` bytes that do not compress.
pub(crate) fn large_package(id: &str, version: &str, size: usize) -> Vec<u8> {
    let mut state: u32 = 2_463_534_242;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    });
    let contents: Vec<u8> = noise.take(size).collect();
    PackageBuilder::new(nuspec(id, version))
        .file("content/noise.bin", contents, false)
        .to_bytes()
        .unwrap()
}
