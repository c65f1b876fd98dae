//! The service directory: manifests and settings in, how each migrator is started out.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use klusterkite_hocon::Config;
use klusterkite_manifest::{Assembly, CommandSpec, ManifestText, assemble};
use klusterkite_wire::MigratorName;
use klusterkite_wire::service_directory::{
    MANIFEST, PACKAGES, SETTINGS_HOCON, SETTINGS_JSON, START_SETTINGS, TEMPLATE_SETTINGS,
};

use crate::Error;
use crate::settings::{
    CALL_TIMEOUT, LOCK_FILE, LOCK_TIMEOUT, Launch, MIGRATE_TIMEOUT, OUTPUT_BYTES_MAX, Settings,
};

/// Largest file of settings that is read, in bytes: more than any person writes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Directories of packages at most.
const PACKAGES_MAX: usize = 1000;

/// Migrators of one template at most.
const MIGRATORS_MAX: usize = 100;

/// Longest limit that a setting may ask for, so that sums of times stay times.
const TIMEOUT_MAX: Duration = Duration::from_hours(24 * 30);

const MIGRATORS: &str = "KlusterKite.NodeManager.Migrators";

/// Variable that names the directory that outlives restarts.
const DATA_VARIABLE: &str = "KLUSTERKITE_DATA";

/// Variables that a migrator gets out of the start settings, when they are there.
const START_VARIABLES: [(&str, &str); 4] = [
    (
        "KLUSTERKITE_TEMPLATE",
        "KlusterKite.NodeManager.NodeTemplate",
    ),
    (
        "KLUSTERKITE_CONFIGURATION_ID",
        "KlusterKite.NodeManager.ConfigurationId",
    ),
    ("KLUSTERKITE_NODE_ID", "KlusterKite.NodeManager.NodeId"),
    (
        "KLUSTERKITE_CONTAINER_TYPE",
        "KlusterKite.NodeManager.ContainerType",
    ),
];

/// Reads a service directory, and writes the merged settings into it for the migrators.
pub(crate) fn load(directory: &Path) -> Result<Settings, Error> {
    let manifests = read_manifests(directory)?;
    let template = read_settings(&directory.join(TEMPLATE_SETTINGS))?;
    let start = read_settings(&directory.join(START_SETTINGS))?;
    let environment: BTreeMap<String, String> = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let assembly = assemble(&manifests, &template, &start, &environment)
        .map_err(|error| Error::Assemble(Box::new(error)))?;
    let json = serde_json::to_vec_pretty(&assembly.settings.to_json())
        .map_err(|error| Error::Assemble(Box::new(error)))?;
    write_private(&directory.join(SETTINGS_JSON), &json)?;
    let hocon = assembly.settings.render();
    write_private(&directory.join(SETTINGS_HOCON), hocon.as_bytes())?;
    settings(directory, &assembly)
}

fn settings(directory: &Path, assembly: &Assembly) -> Result<Settings, Error> {
    let config = &assembly.settings;
    let bytes = config.size_bytes_optional(&setting("OutputLimit"));
    let lock_file = config.string_optional(&setting("LockFile"));
    let lock_file = lock_file.map_err(wrong)?;
    let lock_file = lock_file.as_deref().unwrap_or(LOCK_FILE);
    let base = env::var_os(DATA_VARIABLE).map_or_else(|| directory.to_owned(), PathBuf::from);
    Ok(Settings {
        migrators: migrators(directory, assembly)?,
        call_timeout: timeout(config, "CallTimeout", CALL_TIMEOUT)?,
        migrate_timeout: timeout(config, "MigrateTimeout", MIGRATE_TIMEOUT)?,
        lock_timeout: timeout(config, "LockTimeout", LOCK_TIMEOUT)?,
        output_bytes_max: bytes.map_err(wrong)?.unwrap_or(OUTPUT_BYTES_MAX),
        lock_file: base.join(lock_file),
    })
}

fn migrators(
    directory: &Path,
    assembly: &Assembly,
) -> Result<Vec<(MigratorName, Option<Launch>)>, Error> {
    let bad = |problem: String| Error::Setting {
        path: MIGRATORS.to_owned(),
        problem,
    };
    let names = assembly.settings.string_list_optional(MIGRATORS);
    let names = names.map_err(wrong)?;
    let names = names.ok_or_else(|| {
        bad("is missing: the template has to list the names of its migrators".to_owned())
    })?;
    if names.len() > MIGRATORS_MAX {
        return Err(bad(format!("lists more than {MIGRATORS_MAX} migrators")));
    }
    let variables = variables(directory, &assembly.settings);
    let mut migrators: Vec<(MigratorName, Option<Launch>)> = Vec::new();
    for name in names {
        let name: MigratorName = name
            .parse()
            .map_err(|error: klusterkite_wire::ids::ParseIdError| bad(error.to_string()))?;
        if migrators.iter().any(|(known, _)| *known == name) {
            return Err(bad(format!("lists `{name}` twice")));
        }
        let command = assembly.migrators.get(name.as_str());
        let launch = command.and_then(|command| launch(directory, command, &variables));
        migrators.push((name, launch));
    }
    Ok(migrators)
}

fn launch(
    directory: &Path,
    command: &CommandSpec,
    variables: &BTreeMap<String, OsString>,
) -> Option<Launch> {
    let (program, arguments) = command.command.split_first()?;
    let mut environment: BTreeMap<String, OsString> = command
        .env
        .iter()
        .map(|(name, value)| (name.clone(), OsString::from(value)))
        .collect();
    environment.extend(variables.clone());
    Some(Launch {
        directory: directory.to_owned(),
        program: find_program(directory, program),
        arguments: arguments.to_vec(),
        environment,
    })
}

/// Finds a program: in the service directory first, else as it is, for `PATH` to find.
fn find_program(directory: &Path, program: &str) -> OsString {
    let ours = directory.join(program);
    if program.contains('/') || ours.is_file() {
        return ours.into_os_string();
    }
    program.into()
}

fn variables(directory: &Path, config: &Config) -> BTreeMap<String, OsString> {
    let files = [
        ("KLUSTERKITE_CONFIG", SETTINGS_JSON),
        ("KLUSTERKITE_CONFIG_HOCON", SETTINGS_HOCON),
    ];
    let mut variables: BTreeMap<String, OsString> = files
        .iter()
        .map(|(name, file)| ((*name).to_owned(), directory.join(file).into_os_string()))
        .collect();
    for (name, path) in START_VARIABLES {
        if let Ok(Some(value)) = config.string_optional(path) {
            variables.insert(name.to_owned(), value.into());
        }
    }
    variables
}

fn setting(name: &str) -> String {
    format!("KlusterKite.NodeManager.Executor.{name}")
}

fn timeout(config: &Config, name: &str, default: Duration) -> Result<Duration, Error> {
    let path = setting(name);
    let Some(timeout) = config.duration_optional(&path).map_err(wrong)? else {
        return Ok(default);
    };
    if (Duration::from_millis(1)..=TIMEOUT_MAX).contains(&timeout) {
        return Ok(timeout);
    }
    let problem = format!("{timeout:?} is not between 1 ms and 30 days");
    Err(Error::Setting { path, problem })
}

fn wrong(error: klusterkite_hocon::Error) -> Error {
    Error::Assemble(Box::new(error))
}

fn read_manifests(directory: &Path) -> Result<Vec<ManifestText>, Error> {
    let packages = directory.join(PACKAGES);
    let unreadable = |source| Error::Read {
        path: packages.clone(),
        source,
    };
    let entries = match fs::read_dir(&packages) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut manifests = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path().join(MANIFEST);
        if !path.is_file() {
            continue;
        }
        if manifests.len() == PACKAGES_MAX {
            let problem = format!("there are more than {PACKAGES_MAX} packages");
            let path = packages.display().to_string();
            return Err(Error::Setting { path, problem });
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

/// Reads a file of settings; a missing one says nothing.
fn read_settings(path: &Path) -> Result<String, Error> {
    match read_text(path) {
        Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(String::new())
        }
        read => read,
    }
}

fn read_text(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(Error::TooLarge {
            path: path.to_owned(),
            bytes_max: FILE_BYTES_MAX,
        });
    }
    Ok(text)
}

/// Writes a file that only its owner may read, whole or not at all.
fn write_private(path: &Path, text: &[u8]) -> Result<(), Error> {
    // Two executors may be started in one directory; each renames its own file.
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let write = || {
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&temporary)?.write_all(text)?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_the_service_directory_come_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::write(path.join("ours"), "").unwrap();
        fs::create_dir(path.join("python3")).unwrap();
        for (program, expected) in [
            ("ours", path.join("ours")),
            ("python3", "python3".into()),
            ("sub/tool", path.join("sub/tool")),
            ("/bin/sh", "/bin/sh".into()),
        ] {
            assert_eq!(find_program(path, program), expected.into_os_string());
        }
    }
}
