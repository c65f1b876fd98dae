//! How long a manager takes to read all resources again, by real executors and a ready-made migrator.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use klusterkite_tests::api::Operator;
use klusterkite_tests::local::{LocalCluster, Options};
use klusterkite_tests::process::wait_until;
use klusterkite_tests::sample::manager_and;
use serde_json::{Value, json};

use super::figure::{Bar, Figure, Of, Samples};
use crate::tools::{build_release, fresh, root, target};

/// How often everything is read.
const ROUNDS: usize = 9;

/// Migrators, each a process.
const MIGRATORS: usize = 10;

/// Resources of each migrator.
const RESOURCES: usize = 20;

/// Longest time from the request until the state shows every resource where it is now, in milliseconds.
const RECHECK_MS_MAX: f64 = 1500.0;

/// Longest wait for something that is measured.
const DEADLINE: Duration = Duration::from_mins(1);

/// The points between which the resources change.
const POINTS: [&str; 2] = ["0001_old", "0002_new"];

/// The migrator's program.
const PROGRAM: &str = "klusterkite-migrator-files";

/// Measures in release and fails when a bar is missed.
pub(super) fn recheck(as_json: bool) -> Result<()> {
    let programs = build_release()?;
    // Every bar is looked at, also when another one is missed.
    let together = measure("recheck", 1, &programs, as_json);
    let apart = measure("recheckTemplates", MIGRATORS, &programs, as_json);
    together.and(apart)
}

/// Measures with the migrators spread over some templates, each of which has an executor.
fn measure(name: &str, templates: usize, programs: &Path, as_json: bool) -> Result<()> {
    let directory = fresh(target().join("bench-recheck"))?;
    let sites = directory.join("sites");
    make_sites(&sites)?;
    let sample = directory.join("sample");
    write_sample(&sample, &sites, templates)?;
    let mut cluster = LocalCluster::start(Options {
        directory: directory.join("cluster"),
        programs: programs.to_owned(),
        launcher: None,
        repository: root(),
        sample: sample.display().to_string(),
        workers: 0,
        tls: false,
    })?;
    let operator = cluster.operator()?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    // The first round does not count.
    for round in 0..=ROUNDS {
        let point = POINTS[round % POINTS.len()];
        let read = time_recheck(&operator, &sites, point)?;
        let started = time_starts(&cluster)?;
        if round > 0 {
            ours.push(read);
            bare.push(started);
        }
    }
    cluster.stop()?;
    Figure {
        name,
        unit: "ms",
        ours: Samples::new(ours),
        peer: None,
        limit: Some((
            "as many bare starts of the migrator, one after another",
            Samples::new(bare),
        )),
        bars: vec![Bar::Most(RECHECK_MS_MAX, Of::Units)],
    }
    .report(as_json)
}

/// Changes every resource, asks the manager to read them and waits until it shows all of them as they are.
fn time_recheck(operator: &Operator, sites: &Path, point: &str) -> Result<f64> {
    let idle = wait_until(DEADLINE, || {
        operator
            .get("/cluster/state")
            .is_ok_and(|state| state["busy"] == false)
    });
    ensure!(idle, "the manager is always busy");
    for_each_site(sites, |site| publish(site, point))?;
    let start = Instant::now();
    operator.post("/cluster/recheck", json!({}))?;
    loop {
        let state = operator.get("/cluster/state")?;
        if count_at(&state, point) == MIGRATORS * RESOURCES {
            return Ok(start.elapsed().as_secs_f64() * 1000.0);
        }
        ensure!(
            start.elapsed() < DEADLINE,
            "the resources are not read again: {state:#}"
        );
    }
}

/// Counts the resources that are shown at a point.
fn count_at(state: &Value, point: &str) -> usize {
    let templates = state["templates"].as_array().into_iter().flatten();
    let migrators = templates.filter_map(|template| template["migrators"].as_array());
    let resources = migrators
        .flatten()
        .filter_map(|migrator| migrator["resources"].as_array());
    resources
        .flatten()
        .filter(|resource| resource["currentPoint"] == point)
        .count()
}

/// Starts the migrator's program as often as there are migrators, where an executor does; nobody asks it anything.
fn time_starts(cluster: &LocalCluster) -> Result<f64> {
    let executor = cluster
        .container("manager")
        .join("data/executors/1/sites-00");
    let start = Instant::now();
    for _ in 0..MIGRATORS {
        let status = Command::new(executor.join(PROGRAM))
            .arg(section(0))
            .current_dir(&executor)
            .env("KLUSTERKITE_CONFIG", executor.join("settings.json"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .with_context(|| format!("cannot start `{PROGRAM}`"))?;
        ensure!(status.success(), "`{PROGRAM}` failed: {status}");
    }
    Ok(start.elapsed().as_secs_f64() * 1000.0)
}

fn section(migrator: usize) -> String {
    format!("Sites.m{migrator:02}")
}

fn for_each_site(sites: &Path, act: impl Fn(&Path) -> Result<()>) -> Result<()> {
    for migrator in 0..MIGRATORS {
        for resource in 0..RESOURCES {
            act(&site(sites, migrator, resource))?;
        }
    }
    Ok(())
}

fn site(sites: &Path, migrator: usize, resource: usize) -> PathBuf {
    sites.join(format!("m{migrator:02}/r{resource:02}"))
}

/// Makes sites with all versions, so that nothing has to be created.
fn make_sites(sites: &Path) -> Result<()> {
    for_each_site(sites, |site| {
        for point in POINTS {
            fs::create_dir_all(site.join("points").join(point))?;
        }
        publish(site, POINTS[0])
    })
}

/// Changes which version a site shows, as its migrator would.
fn publish(site: &Path, point: &str) -> Result<()> {
    let draft = site.join("next");
    symlink(Path::new("points").join(point), &draft)?;
    Ok(fs::rename(draft, site.join("current"))?)
}

/// Writes a sample of one package; its only node is the manager of `hello`.
fn write_sample(sample: &Path, sites: &Path, templates: usize) -> Result<()> {
    let package = sample.join("packages/Sites/1.0.0");
    for point in POINTS {
        let version = package.join("content/points").join(point);
        fs::create_dir_all(&version)?;
        fs::write(version.join("index.html"), point)?;
    }
    let pack = format!("id = Sites\ndescription = \"Sites\"\nbinaries = [{PROGRAM}]\n");
    fs::write(package.join("pack.hocon"), pack)?;
    let commands: serde_json::Map<String, Value> = (0..MIGRATORS)
        .map(section)
        .map(|name| (name.clone(), json!({ "command": [PROGRAM, name] })))
        .collect();
    let manifest = json!({ "migrators": commands }).to_string();
    fs::write(package.join("klusterkite.hocon"), manifest)?;
    let mut settings = manager_and(&root(), "Sites")?;
    settings["migratorTemplates"] = (0..templates)
        .map(|template| {
            let each = MIGRATORS / templates;
            let migrators = (template * each)..(template + 1) * each;
            json!({
                "code": format!("sites-{template:02}"), "name": "Sites", "priority": 1,
                "configuration": configuration(sites, migrators).to_string(),
                "packageRequirements": [{ "id": "Sites" }],
            })
        })
        .collect();
    fs::write(
        sample.join("cluster.json"),
        serde_json::to_vec_pretty(&settings)?,
    )?;
    Ok(())
}

/// Returns the settings of some migrators.
fn configuration(sites: &Path, migrators: std::ops::Range<usize>) -> Value {
    let mut sections = json!({});
    for migrator in migrators.clone() {
        let resources: Value = (0..RESOURCES)
            .map(|resource| {
                let directory = site(sites, migrator, resource);
                (format!("r{resource:02}"), json!({ "directory": directory }))
            })
            .collect::<serde_json::Map<_, _>>()
            .into();
        sections[format!("m{migrator:02}")] = json!({ "folder": "points", "sites": resources });
    }
    let names: Vec<String> = migrators.map(section).collect();
    json!({ "KlusterKite": { "NodeManager": { "Migrators": names } }, "Sites": sections })
}
