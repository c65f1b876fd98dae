//! A feed process without a cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use klusterkite_nuget::{Nuspec, PackageBuilder};
use klusterkite_tests::process::{Program, tail, wait_until};
use klusterkite_tls::testing::{Authority, Ends};
use tempfile::TempDir;

use super::client::NuGet;
use crate::support::programs;

/// May read, push and unlist.
pub(crate) const PUBLISHER: &str = "publisher-key-0123456789";

/// May read.
pub(crate) const READER: &str = "reader-key-0123456789";

/// May read, and push ids that start with `Acme.Orders`.
pub(crate) const ORDERS: &str = "orders-key-0123456789";

/// Longest time for a start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A feed that wants a key for everything; killed when dropped.
pub(crate) struct Feed {
    program: Program,
    /// Without a slash at the end.
    origin: String,
    directory: TempDir,
}

impl Feed {
    /// Starts a feed.
    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), "")
    }

    /// Starts a feed with a certificate for `localhost` of an authority that nobody knows yet; returns its file too.
    pub(crate) fn start_with_tls() -> (Self, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new("an authority of a test");
        let certificate = authority.write(directory.path());
        authority.write_identity(directory.path(), &["localhost"], Ends::Late);
        let tls = "tls { certificate = server.pem, key = server.key }";
        let mut feed = Self::start_in(directory, tls);
        let port = feed.origin.rsplit(':').next().unwrap();
        feed.origin = format!("https://localhost:{port}");
        (feed, certificate)
    }

    /// Starts a feed in a directory with members added to its settings.
    fn start_in(directory: TempDir, settings: &str) -> Self {
        let path = directory.path();
        let text = format!(
            "listen = \"127.0.0.1:0\", directory = data, addressFile = address, accessLog = stderr
            keys = [
              {{ name = publisher, key = {PUBLISHER}, scopes = [read, push, unlist] }}
              {{ name = reader, key = {READER}, scopes = [read] }}
              {{ name = orders, key = {ORDERS}, scopes = [read, push], idPrefix = Acme.Orders }}
            ]
            {settings}"
        );
        fs::write(path.join("feed.hocon"), text).unwrap();
        let mut command = Command::new(programs().join("klusterkite-feed"));
        command.arg(path.join("feed.hocon"));
        let mut program = Program::start("feed", path, &mut command).unwrap();
        let mut address = None;
        let is_up = wait_until(START_TIMEOUT, || {
            address = fs::read_to_string(path.join("address")).ok();
            address.is_some() || !program.runs()
        });
        program.still_runs().unwrap();
        assert!(
            is_up,
            "the feed does not listen:\n{}",
            tail(&path.join("feed.log"))
        );
        let origin = format!("http://{}", address.expect("it is up"));
        Self {
            program,
            origin,
            directory,
        }
    }

    /// Address of the service index.
    pub(crate) fn url(&self) -> String {
        format!("{}/v3/index.json", self.origin)
    }

    /// Somebody with a NuGet.Config that has a key for reading.
    pub(crate) fn reader(&self, name: &str) -> NuGet {
        NuGet::new(&self.path(name), &self.url(), Some(READER))
    }

    /// A path in the directory of the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What the feed logged so far, requests included.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("feed.log")).unwrap()
    }

    /// The most memory that the feed had so far, in bytes.
    pub(crate) fn memory_bytes_max(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.program.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
        kibibytes.parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Feed {
    #[expect(clippy::print_stdout, reason = "whoever reads the failure needs it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "the feed's log ends with:\n{}",
                tail(&self.path("feed.log"))
            );
        }
    }
}

/// Writes a package with one file to a directory and returns its path.
pub(crate) fn write_package(
    directory: &Path,
    id: &str,
    version: &str,
    dependencies: &[(&str, &str)],
) -> String {
    let mut nuspec = Nuspec::new(
        id.parse().unwrap(),
        version.parse().unwrap(),
        "Acme",
        &format!("{id} for tests"),
    );
    let dependencies = dependencies
        .iter()
        .map(|(id, range)| klusterkite_nuget::Dependency {
            id: id.parse().unwrap(),
            range: range.parse().unwrap(),
            include: None,
            exclude: None,
        });
    nuspec.dependency_groups = vec![klusterkite_nuget::DependencyGroup {
        target_framework: None,
        dependencies: dependencies.collect(),
    }];
    let bytes = PackageBuilder::new(nuspec)
        .file("content/version.txt", version, false)
        .to_bytes()
        .unwrap();
    fs::create_dir_all(directory).unwrap();
    let path = directory.join(format!("{id}.{version}.nupkg"));
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}
