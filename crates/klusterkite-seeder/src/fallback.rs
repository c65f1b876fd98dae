//! Files from which containers start when no manager answers.

use anyhow::Context as _;
use klusterkite_core::release::Release;

use crate::files;
use crate::settings::SeederSettings;

/// Readable by launchers of other users: the files hold no secret.
const MODE: u32 = 0o644;

/// Writes one file per template and runtime: `<template>.<rid>.json`.
pub(crate) fn write(settings: &SeederSettings, release: &Release) -> anyhow::Result<()> {
    let Some(directory) = &settings.fallback_directory else {
        return Ok(());
    };
    for template in &settings.fallback_templates {
        for runtime in &release.runtimes {
            // The order of the seeds does not matter for a container that is the first.
            let start = release
                .start_configuration(template, runtime, 0)
                .with_context(|| {
                    format!(
                        "the configuration has no template `{template}` for runtime `{runtime}`"
                    )
                })?;
            let mut text = serde_json::to_vec_pretty(&start)?;
            text.push(b'\n');
            files::write(
                &directory.join(format!("{template}.{runtime}.json")),
                &text,
                MODE,
            )?;
        }
    }
    Ok(())
}
