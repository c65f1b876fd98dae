//! The service directory: what the launcher put there, and what it means for this node.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, ffi::OsString};

use anyhow::{Context, Result, bail};
use klusterkite_manifest::{
    EndpointSpec, Limits, ManifestText, Probe, ProbeKind, ProcessSpec, StopHook, StopSignal,
    assemble,
};
use klusterkite_node::{StartSettings, program};
use klusterkite_wire::link::{Endpoint, Module};
use klusterkite_wire::service_directory::{
    MANIFEST, PACKAGES, RELEASE, SETTINGS_HOCON, SETTINGS_JSON, START_SETTINGS, TEMPLATE_SETTINGS,
};
use klusterkite_wire::start::StartConfiguration;
use rustix::process::Signal;

use crate::node::ProcessRules;
use crate::process::Program;
use crate::sockets::SocketPaths;

/// Largest file of settings that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// How many packages with a manifest a node may have.
const PACKAGES_MAX: usize = 1000;

/// Mode of files that may hold secrets.
const MODE_PRIVATE: u32 = 0o600;

/// Variable that names this machine for others, as in KlusterKite.
const VARIABLE_NETWORK_NAME: &str = "NETWORK_NAME";

/// Variable that systemd programs expect when they have to say that they are alive, in microseconds.
const VARIABLE_WATCHDOG: &str = "WATCHDOG_USEC";

/// Everything that a service directory says about its node.
#[derive(Debug)]
pub(crate) struct ServiceDirectory {
    /// The directory itself, absolute.
    pub(crate) path: PathBuf,
    /// Directory that outlives restarts, absolute.
    pub(crate) data: PathBuf,
    /// Start settings.
    pub(crate) start: StartSettings,
    /// Address by which other nodes reach this one, if it was set.
    pub(crate) address: Option<String>,
    /// Roles of the packages.
    pub(crate) roles: Vec<String>,
    /// Packages that the node is made of.
    pub(crate) modules: Vec<Module>,
    /// HTTP endpoints.
    pub(crate) endpoints: Vec<Endpoint>,
    /// The longest time that a stop may take.
    pub(crate) stop_time: Duration,
    /// What the processes of a package may use together, by package id.
    pub(crate) package_limits: BTreeMap<String, Limits>,
    processes: Vec<ProcessSpec>,
}

/// A process of the node, ready to be started.
#[derive(Debug)]
pub(crate) struct HostedProcess {
    /// What the state machine needs.
    pub(crate) rules: ProcessRules,
    /// Package whose manifest defines it.
    pub(crate) package: String,
    /// What it may use.
    pub(crate) limits: Limits,
    /// What is started.
    pub(crate) program: Program,
    /// What tells it to stop.
    pub(crate) signal: Signal,
    /// What is run before that.
    pub(crate) hook: Option<StopHook>,
    /// Probe that the host carries out for readiness.
    pub(crate) readiness: Option<Probe>,
    /// Probe that the host carries out for liveness.
    pub(crate) liveness: Option<Probe>,
}

impl ServiceDirectory {
    /// Reads the working directory and writes the merged settings into it.
    pub(crate) fn load() -> Result<Self> {
        let path = env::current_dir().context("the service directory cannot be found")?;
        let context = || format!("service directory `{}`", path.display());
        Self::load_from(path.clone()).with_context(context)
    }

    fn load_from(path: PathBuf) -> Result<Self> {
        let environment = own_environment(env::vars_os());
        let manifests = read_manifests(&path)?;
        let template = read_text(&path.join(TEMPLATE_SETTINGS))?;
        let start_text = read_text(&path.join(START_SETTINGS))?;
        let assembly = assemble(&manifests, &template, &start_text, &environment)
            .context("the settings are wrong")?;
        let settings = assembly.settings.as_value().to_json();
        let start = StartSettings::from_settings(&settings)?;
        let json = serde_json::to_vec_pretty(&settings).context("the settings are no JSON")?;
        write_private(&path.join(SETTINGS_JSON), &json)?;
        write_private(
            &path.join(SETTINGS_HOCON),
            assembly.settings.render().as_bytes(),
        )?;
        let data = match environment.get(program::VARIABLE_DATA) {
            Some(data) => PathBuf::from(data),
            None => path.join("data"),
        };
        fs::create_dir_all(&data)
            .with_context(|| format!("`{}` could not be made", data.display()))?;
        let address = start.address.clone();
        Ok(Self {
            modules: read_modules(&path)?,
            data,
            address: address.or_else(|| environment.get(VARIABLE_NETWORK_NAME).cloned()),
            stop_time: assembly.stop_time(),
            roles: assembly.roles.into_iter().collect(),
            endpoints: assembly.endpoints.into_iter().map(endpoint).collect(),
            package_limits: assembly.package_limits,
            processes: assembly.processes,
            start,
            path,
        })
    }

    /// Returns the processes in the order in which they are started.
    pub(crate) fn processes(&self, paths: &SocketPaths) -> Vec<HostedProcess> {
        let specs = self.processes.iter().enumerate();
        specs
            .map(|(index, spec)| self.process(index, spec, paths))
            .collect()
    }

    fn process(&self, index: usize, spec: &ProcessSpec, paths: &SocketPaths) -> HostedProcess {
        let notifies = |probe: &Probe| matches!(probe.kind, ProbeKind::Notify);
        let watchdog = spec.liveness.as_ref().filter(|probe| notifies(probe));
        let watchdog = watchdog.map(|probe| probe.interval * probe.failures.max(1));
        let failures = |probe: &Option<Probe>| probe.as_ref().map_or(1, |probe| probe.failures);
        let rules = ProcessRules {
            name: spec.name.clone(),
            waits_for_ready: spec.readiness.is_some(),
            readiness_failures: failures(&spec.readiness),
            liveness_failures: failures(&spec.liveness),
            watchdog,
            restarts: spec.restarts,
            grace: spec.stop.grace,
            drain: spec.stop.drain,
            hook: spec.stop.hook.as_ref().map(|hook| hook.timeout),
            after: self.places(&spec.after),
        };
        let mut variables = spec.env.clone();
        variables.extend(self.variables(index, paths));
        if let Some(watchdog) = watchdog {
            let microseconds = watchdog.as_micros().to_string();
            variables.insert(VARIABLE_WATCHDOG.to_owned(), microseconds);
        }
        let program = Program {
            name: spec.name.clone(),
            command: spec.command.clone(),
            variables,
            directory: self.path.clone(),
        };
        HostedProcess {
            package: spec.package.clone(),
            limits: spec.limits,
            rules,
            program,
            signal: signal(spec.stop.signal),
            hook: spec.stop.hook.clone(),
            readiness: spec.readiness.clone().filter(|probe| !notifies(probe)),
            liveness: spec.liveness.clone().filter(|probe| !notifies(probe)),
        }
    }

    fn places(&self, names: &[String]) -> Vec<usize> {
        let place = |name: &String| self.processes.iter().position(|one| one.name == *name);
        names.iter().filter_map(place).collect()
    }

    /// Returns what a process learns about its node from its environment.
    fn variables(&self, process: usize, paths: &SocketPaths) -> BTreeMap<String, String> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let start = &self.start;
        let variables = [
            (
                program::VARIABLE_CONFIG,
                text(self.path.join(SETTINGS_JSON)),
            ),
            (
                program::VARIABLE_CONFIG_HOCON,
                text(self.path.join(SETTINGS_HOCON)),
            ),
            (program::VARIABLE_NODE_ID, start.node_id.to_string()),
            (program::VARIABLE_TEMPLATE, start.template.to_string()),
            (
                program::VARIABLE_CONFIGURATION_ID,
                start.configuration_id.to_string(),
            ),
            (
                program::VARIABLE_CONTAINER_TYPE,
                start.container_type.to_string(),
            ),
            (program::VARIABLE_SEEDS, start.seeds.join(",")),
            (program::VARIABLE_DATA, text(self.data.clone())),
            (program::VARIABLE_SOCKET, text(paths.members())),
            (program::VARIABLE_NOTIFY_SOCKET, text(paths.notify(process))),
        ];
        let owned = variables.map(|(name, value)| (name.to_owned(), value));
        BTreeMap::from(owned)
    }
}

/// Returns the variables that are text; others cannot be referred to in settings.
fn own_environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<String, String> {
    variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn read_manifests(directory: &Path) -> Result<Vec<ManifestText>> {
    let packages = directory.join(PACKAGES);
    let entries = match fs::read_dir(&packages) {
        Ok(entries) => entries,
        // A node may be made of packages that only carry files.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("`{}`", packages.display()));
        }
    };
    let mut manifests = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("`{}`", packages.display()))?;
        let path = entry.path().join(MANIFEST);
        if !path.exists() {
            continue;
        }
        if manifests.len() >= PACKAGES_MAX {
            bail!(
                "`{}` has more than {PACKAGES_MAX} packages",
                packages.display()
            );
        }
        manifests.push(ManifestText {
            package: entry.file_name().to_string_lossy().into_owned(),
            text: read_text(&path)?,
        });
    }
    // Directories come in no order; equal priorities are merged in the order of package ids.
    manifests.sort_by(|a, b| a.package.cmp(&b.package));
    Ok(manifests)
}

fn read_modules(directory: &Path) -> Result<Vec<Module>> {
    let path = directory.join(RELEASE);
    let text = read_text(&path)?;
    let release: StartConfiguration = serde_json::from_str(&text)
        .with_context(|| format!("`{}` is not a start configuration", path.display()))?;
    let modules = release.packages.into_iter().map(|package| Module {
        id: package.id,
        version: package.version,
        sha512: package.sha512,
    });
    Ok(modules.collect())
}

fn read_text(path: &Path) -> Result<String> {
    let read = || {
        let mut text = String::new();
        let file = File::open(path)?;
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        io::Result::Ok(text)
    };
    let text = read().with_context(|| format!("`{}` could not be read", path.display()))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        bail!("`{}` is larger than {FILE_BYTES_MAX} bytes", path.display());
    }
    Ok(text)
}

/// Writes a file that only its owner may read, whole or not at all.
fn write_private(path: &Path, text: &[u8]) -> Result<()> {
    let temporary = path.with_extension("new");
    let write = || {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(MODE_PRIVATE)
            .open(&temporary)?;
        file.write_all(text)?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("`{}` could not be written", path.display()))
}

fn endpoint(spec: EndpointSpec) -> Endpoint {
    Endpoint {
        name: spec.name,
        port: spec.port,
        host: spec.host,
        route: spec.route,
    }
}

fn signal(signal: StopSignal) -> Signal {
    match signal {
        StopSignal::Term => Signal::TERM,
        StopSignal::Int => Signal::INT,
        StopSignal::Quit => Signal::QUIT,
        StopSignal::Hup => Signal::HUP,
        StopSignal::Usr1 => Signal::USR1,
        StopSignal::Usr2 => Signal::USR2,
    }
}
