//! The service directory of seeders: manifests and settings in, how each seeder is started out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use klusterkite_manifest::{CommandSpec, ManifestText, assemble};
use klusterkite_wire::service_directory::{
    MANIFEST, PACKAGES, SETTINGS_HOCON, SETTINGS_JSON, START_SETTINGS, TEMPLATE_SETTINGS,
};

use crate::files;
use crate::settings::{ENVIRONMENT, read_text};

/// Settings may hold passwords.
const MODE: u32 = 0o600;

/// The seeders of a service directory.
pub(crate) struct Launches {
    directory: PathBuf,
    seeders: BTreeMap<String, CommandSpec>,
}

/// How a seeder is started.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) directory: PathBuf,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
}

/// Reads a service directory, and writes the merged settings into it for the seeders.
pub(crate) fn load(directory: &Path) -> anyhow::Result<Launches> {
    let packages = directory.join(PACKAGES);
    let mut manifests = Vec::new();
    let unreadable = || format!("cannot read `{}`", packages.display());
    for entry in fs::read_dir(&packages).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let path = entry.path().join(MANIFEST);
        if path.is_file() {
            manifests.push(ManifestText {
                package: entry.file_name().to_string_lossy().into_owned(),
                text: read_text(&path)?,
            });
        }
    }
    manifests.sort_by(|a, b| a.package.cmp(&b.package));
    let ours = |name: &str| ENVIRONMENT.iter().any(|(variable, _)| *variable == name);
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| !ours(name))
        .collect();
    let assembly = assemble(
        &manifests,
        &read_text(&directory.join(TEMPLATE_SETTINGS))?,
        &read_text(&directory.join(START_SETTINGS))?,
        &environment,
    )
    .context("the settings of the seeders do not go together")?;
    let json = serde_json::to_vec_pretty(&assembly.settings.to_json())?;
    files::write(&directory.join(SETTINGS_JSON), &json, MODE)?;
    let hocon = assembly.settings.render();
    files::write(&directory.join(SETTINGS_HOCON), hocon.as_bytes(), MODE)?;
    Ok(Launches {
        directory: directory.to_owned(),
        seeders: assembly.seeders,
    })
}

impl Launches {
    /// Returns how a seeder is started.
    pub(crate) fn find(&self, name: &str) -> anyhow::Result<Launch> {
        let Some(command) = self.seeders.get(name) else {
            let known: Vec<&str> = self.seeders.keys().map(String::as_str).collect();
            bail!(
                "no manifest of the template's packages has the seeder `{name}`; there are: {}",
                known.join(", ")
            );
        };
        let (program, arguments) = command
            .command
            .split_first()
            .with_context(|| format!("the command of the seeder `{name}` is empty"))?;
        let mut environment = command.env.clone();
        for (variable, file) in [
            ("KLUSTERKITE_CONFIG", SETTINGS_JSON),
            ("KLUSTERKITE_CONFIG_HOCON", SETTINGS_HOCON),
        ] {
            let path = self.directory.join(file).display().to_string();
            environment.insert(variable.to_owned(), path);
        }
        // The service directory comes first, as for every command of a manifest.
        let ours = self.directory.join(program);
        let is_ours = program.contains('/') || ours.is_file();
        Ok(Launch {
            directory: self.directory.clone(),
            program: if is_ours { ours } else { program.into() },
            arguments: arguments.to_vec(),
            environment,
        })
    }
}
