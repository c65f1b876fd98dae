//! Has a manager check a configuration with 1,000 packages and 20 templates; run by `cargo xtask bench check`.
//!
//! ```text
//! check DIR ROUNDS    the packages `DIR/*.nupkg` are pushed first
//! ```
//! Manager and feed are those of the operator's environment (`KLUSTERKITE_URL` …). Prints one JSON object with the
//! milliseconds of each round: `cold` and `warm` checks, and `feed`, the facts of the packages alone.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it measures for a person at a terminal, who sees its errors"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};

use klusterkite_api::operations::OperationId;
use klusterkite_client::Retry;
use klusterkite_client::api::ApiClient;
use klusterkite_client::feed::{FeedClient, FeedCredential};
use klusterkite_nuget::{PackageId, Version};
use klusterkite_wire::Secret;
use serde_json::{Value, json};

/// Templates of the configuration, the manager's among them.
const TEMPLATES: usize = 20;

/// Pushes at a time.
const PUSHES: usize = 4;

fn main() {
    let mut arguments = env::args().skip(1);
    let directory = PathBuf::from(arguments.next().unwrap());
    let rounds: usize = arguments.next().unwrap().parse().unwrap();
    let feed_url = env::var("KLUSTERKITE_FEED").unwrap();
    let key = env::var("KLUSTERKITE_FEED_KEY_FILE").unwrap();
    let credential = FeedCredential::read(Path::new(&key)).unwrap();
    let feed = FeedClient::new(&feed_url, Some(credential), Retry::STANDARD).unwrap();
    let packages = push_all(&feed, &directory);
    let manager = Manager::log_in();
    let draft = manager.draft(&packages);
    let (mut cold, mut warm, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms what is not the manager's memory of packages, and does not count.
    for round in 0..=rounds {
        // To the manager another address is another feed, of which it knows nothing yet.
        manager.set_feed(&draft, &format!("{feed_url}?round={round}"));
        let times = [
            timed(|| manager.check(&draft)),
            timed(|| manager.check(&draft)),
            timed(|| assert_eq!(feed.facts_of_many(&packages).unwrap().len(), packages.len())),
        ];
        if round > 0 {
            for (samples, time) in [&mut cold, &mut warm, &mut alone].into_iter().zip(times) {
                samples.push(time);
            }
        }
    }
    println!("{}", json!({ "cold": cold, "warm": warm, "feed": alone }));
}

fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1000.0
}

/// Pushes the packages of a directory and returns their names, sorted.
fn push_all(feed: &FeedClient, directory: &Path) -> Vec<(PackageId, Version)> {
    let entries = fs::read_dir(directory).unwrap();
    let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    let parts = paths.chunks(paths.len().div_ceil(PUSHES));
    let push = |paths: &[PathBuf]| -> Vec<(PackageId, Version)> {
        let pushed = paths.iter().map(|path| feed.push(path).unwrap());
        pushed.map(|pushed| (pushed.id, pushed.version)).collect()
    };
    let pushed: BTreeSet<(PackageId, Version)> = std::thread::scope(|scope| {
        let threads: Vec<_> = parts.map(|part| scope.spawn(|| push(part))).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    pushed.into_iter().collect()
}

struct Manager(ApiClient);

impl Manager {
    fn log_in() -> Self {
        let client =
            ApiClient::new(&env::var("KLUSTERKITE_URL").unwrap(), Retry::STANDARD).unwrap();
        let password = fs::read_to_string(env::var("KLUSTERKITE_PASSWORD_FILE").unwrap()).unwrap();
        let user = env::var("KLUSTERKITE_USER").unwrap();
        client.login(&user, &Secret::new(password.trim())).unwrap();
        Self(client)
    }

    /// Makes a Draft of the first configuration with all packages: one template needs all of them, the others some
    /// 40 to 150 each.
    fn draft(&self, packages: &[(PackageId, Version)]) -> Value {
        let first = self
            .0
            .operation(OperationId::ConfigurationGet)
            .path("id", 1);
        let mut settings = first.send::<Value>().unwrap()["settings"].take();
        let listed = settings["packages"].as_array_mut().unwrap();
        for (id, version) in packages {
            listed.push(json!({"id": id, "version": version}));
        }
        let templates = settings["nodeTemplates"].as_array_mut().unwrap();
        templates.retain(|template| template["code"] == "clusterManager");
        let required = packages
            .iter()
            .take(1)
            .chain(packages.iter().skip(121).step_by(13));
        for (number, (id, _)) in required.enumerate().take(TEMPLATES - 1) {
            templates.push(json!({
                "code": format!("bench{number}"), "containerTypes": ["worker"], "minimumRequiredInstances": 1,
                "configuration": format!("Bench.Own {{ number = {number}, data = ${{KLUSTERKITE_DATA}} }}"),
                "packageRequirements": [{"id": id}]
            }));
        }
        let create = self.0.operation(OperationId::ConfigurationCreate);
        create
            .body(&json!({"name": "bench", "settings": settings}))
            .send()
            .unwrap()
    }

    fn set_feed(&self, draft: &Value, url: &str) {
        let get = self
            .0
            .operation(OperationId::ConfigurationGet)
            .path("id", &draft["id"]);
        let now: Value = get.send().unwrap();
        let mut settings = now["settings"].clone();
        settings["nugetFeed"] = json!(url);
        let patch = self
            .0
            .operation(OperationId::ConfigurationPatch)
            .path("id", &draft["id"]);
        let patch = patch.if_match(now["revision"].as_i64().unwrap());
        patch
            .body(&json!({ "settings": settings }))
            .send::<Value>()
            .unwrap();
    }

    fn check(&self, draft: &Value) {
        let check = self
            .0
            .operation(OperationId::ConfigurationCheck)
            .path("id", &draft["id"]);
        let found: Value = check.send().unwrap();
        let errors = found["errors"].as_array().unwrap();
        let error = errors.iter().find(|finding| finding["severity"] == "error");
        assert!(error.is_none(), "{error:?}");
    }
}
