//! A directory with settings, and a feed with the packages of a small cluster.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use klusterkite_nuget::{Sha256Hash, Sha512Hash};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::{Reply, Request, Server};

/// Packages with the program that each brings.
const PACKAGES: [(&str, &str); 3] = [
    ("KlusterKite.Core.Service", "klusterkite-service"),
    ("KlusterKite.NodeManager", "klusterkite-manager"),
    ("Hello", "hello"),
];

pub(crate) struct Cluster {
    pub(crate) directory: TempDir,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the seeder's settings, changed by `change`, and returns a command that runs the seeder on them.
    pub(crate) fn seeder(&self, feed: &str, change: impl FnOnce(&mut Value)) -> Command {
        let mut settings = json!({
            "database": self.path("cluster.db"),
            "credentialsFile": self.path("seed/credentials.json"),
            "fallbackDirectory": self.path("seed/fallback"),
            "fallbackTemplates": ["clusterManager"],
            "settings": cluster_settings(feed),
            "clients": ["manager", "worker"],
            "wait": "20s",
        });
        change(&mut settings);
        let file = self.path("seeder.hocon");
        fs::write(&file, serde_json::to_string_pretty(&settings).unwrap()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_klusterkite-seeder"));
        command.arg(file).env_clear();
        command
    }

    pub(crate) fn credentials(&self) -> Value {
        let path = self.path("seed/credentials.json");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    /// All files with their bytes.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(self.directory.path(), &mut files);
        files
    }
}

fn collect(directory: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            let bytes = fs::read(&path).unwrap();
            files.insert(path, bytes);
        }
    }
}

fn cluster_settings(feed: &str) -> Value {
    let template = |code: &str, container_type: &str, package: &str, maximum: u32, surge: u32| {
        json!({ "code": code, "containerTypes": [container_type], "minimumRequiredInstances": 0,
            "maximumNeededInstances": maximum, "priority": 10, "rollout": { "surge": surge },
            "packageRequirements": [{ "id": package }] })
    };
    json!({
        "packages": [
            { "id": "KlusterKite.Core.Service", "version": "1.0.0" },
            { "id": "KlusterKite.NodeManager", "version": "newest" },
            { "id": "Hello", "version": "newest" },
        ],
        "nodeTemplates": [
            template("clusterManager", "manager", "KlusterKite.NodeManager", 1, 0),
            template("hello", "worker", "Hello", 3, 1),
        ],
        "seedAddresses": ["127.0.0.1:3090"],
        "nugetFeed": feed,
        "runtimes": ["linux-x64"],
    })
}

/// Starts a feed that has versions 1.0.0 and 2.0.0 of every package, unless `missing` says otherwise.
pub(crate) fn feed(missing: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Server {
    Server::start(move |url, request| {
        assert_eq!(request.method, "GET", "a seeder only reads");
        if missing(request) {
            return Reply::new(404, "").header("retry-after", "0");
        }
        let path: Vec<&str> = request.target.trim_start_matches('/').split('/').collect();
        let body = match path.as_slice() {
            ["v3", "index.json"] => json!({ "version": "3.0.0", "resources": [
                { "@id": format!("{url}/registration/"), "@type": "RegistrationsBaseUrl/3.6.0" },
                { "@id": format!("{url}/facts/"), "@type": "KlusterKitePackageFacts/1.0.0" }] }),
            ["registration", id, _] => registration(id),
            ["facts", id, version] => facts(id, version.trim_end_matches(".json")),
            _ => return Reply::new(404, ""),
        };
        Reply::new(200, body.to_string())
    })
}

pub(crate) fn index_url(feed: &Server) -> String {
    format!("{}/v3/index.json", feed.url())
}

fn registration(id: &str) -> Value {
    let leaf = |version: &str| {
        json!({ "@id": "l", "packageContent": "p",
            "catalogEntry": { "@id": "c", "id": id, "version": version } })
    };
    json!({ "count": 1, "items": [{ "@id": "p", "count": 2, "lower": "1.0.0", "upper": "2.0.0",
        "items": [leaf("1.0.0"), leaf("2.0.0")] }] })
}

fn facts(id: &str, version: &str) -> Value {
    let found = PACKAGES
        .into_iter()
        .find(|package| package.0.eq_ignore_ascii_case(id));
    let (id, program) = found.unwrap();
    json!({
        "id": id, "version": version, "sha512": Sha512Hash::of(format!("{id} {version}").as_bytes()),
        "size": 5, "listed": true, "published": "2026-01-01T00:00:00Z",
        "files": [{ "path": format!("runtimes/linux-x64/native/{program}"), "size": 5,
            "sha256": Sha256Hash::of(version.as_bytes()) }],
    })
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
