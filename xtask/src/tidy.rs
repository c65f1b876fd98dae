//! What a compiler does not check: dependency direction, file sizes, forbidden things.

mod hazards;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::tools::{cargo, root};

/// Longest source file, in lines.
const FILE_LINES_MAX: usize = 800;

/// Crates of the layers 0 to 2: they decide, and know no clock, disk, network or chance.
const PURE: &[&str] = &[
    "klusterkite-api",
    "klusterkite-core",
    "klusterkite-hocon",
    "klusterkite-manifest",
    "klusterkite-migrator",
    "klusterkite-nuget",
    "klusterkite-sim",
    "klusterkite-wire",
];

/// Dependencies that no pure crate has.
const IMPURE_CRATES: &[&str] = &[
    "tokio",
    "axum",
    "hyper",
    "sqlx",
    "ureq",
    "rustix",
    "getrandom",
    "rand",
    "tokio-tungstenite",
];

/// Paths that no pure crate names outside of tests.
const IMPURE_PATHS: &[&str] = &[
    "std::fs",
    "std::env",
    "std::net",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant::now",
];

/// Exceptions: file and path, with the reason beside them.
const IMPURE_ALLOWED: &[(&str, &str)] = &[
    // The SDK's `main` of migrators and seeders is their shell.
    ("klusterkite-migrator/src/lib.rs", "std::process"),
    ("klusterkite-migrator/src/stdio.rs", "std::env"),
    ("klusterkite-migrator/src/stdio.rs", "std::fs"),
    ("klusterkite-migrator/src/stdio.rs", "std::process"),
];

/// Exceptions: pure crate and dependency, with the reason beside them.
const IMPURE_CRATES_ALLOWED: &[(&str, &str)] = &[
    // The SDK's `main` points stdout at stderr, so that a stray print does not break the protocol.
    ("klusterkite-migrator", "rustix"),
];

/// Checks everything and prints what is wrong.
pub(crate) fn tidy() -> Result<ExitCode> {
    let mut findings = Vec::new();
    dependency_direction(&mut findings)?;
    let mut sources = Vec::new();
    for file in source_files()? {
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let shown = file.strip_prefix(root()).unwrap_or(&file).to_owned();
        source_file(&shown, &text, &mut findings);
        sources.push(text);
    }
    let scenarios = scenarios()?;
    for name in ["docs/hazards.md", "docs/original-faults.md"] {
        let path = root().join(name);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        findings.extend(hazards::findings(
            (name, &text),
            sources.iter().map(String::as_str),
            scenarios.iter().map(String::as_str),
        ));
    }
    manifests(&mut findings)?;
    ensure!(
        findings.is_empty(),
        "{} findings:\n  {}",
        findings.len(),
        findings.join("\n  ")
    );
    println!("tidy: nothing found");
    Ok(ExitCode::SUCCESS)
}

/// Names the scenarios of the simulated cluster.
fn scenarios() -> Result<Vec<String>> {
    let folder = root().join("crates/klusterkite-sim/scenarios");
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default();
        Ok(stem.to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

/// Compares the dependencies among our crates with the table in `ARCHITECTURE.md`.
fn dependency_direction(findings: &mut Vec<String>) -> Result<()> {
    let documented = documented_dependencies()?;
    let metadata = cargo(&["metadata", "--format-version=1", "--no-deps", "--locked"]).output()?;
    ensure!(
        metadata.status.success(),
        "{}",
        String::from_utf8_lossy(&metadata.stderr)
    );
    let metadata: Value = serde_json::from_slice(&metadata.stdout)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists packages")?;
    let ours: BTreeSet<&str> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let dependencies = package["dependencies"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let normal = dependencies
            .iter()
            .filter(|dependency| dependency["kind"].is_null());
        let normal: BTreeSet<&str> = normal
            .filter_map(|dependency| dependency["name"].as_str())
            .collect();
        if PURE.contains(&name) {
            let named = |impure: &&&str| {
                normal.contains(**impure) && !IMPURE_CRATES_ALLOWED.contains(&(name, **impure))
            };
            for impure in IMPURE_CRATES.iter().filter(named) {
                findings.push(format!("{name} is pure and depends on {impure}"));
            }
        }
        let Some(allowed) = documented.get(name) else {
            findings.push(format!("ARCHITECTURE.md does not list the crate {name}"));
            continue;
        };
        for dependency in normal
            .iter()
            .filter(|dependency| ours.contains(*dependency))
        {
            if !allowed.contains(*dependency) && !allowed.contains("anything") {
                findings.push(format!(
                    "{name} may not depend on {dependency} (table in ARCHITECTURE.md)"
                ));
            }
        }
    }
    for name in documented
        .keys()
        .filter(|name| !ours.contains(name.as_str()))
    {
        findings.push(format!(
            "ARCHITECTURE.md lists the crate {name}, which is not there"
        ));
    }
    Ok(())
}

/// Reads the rows `| layer | crate | what | may depend on |` of the table.
fn documented_dependencies() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let path = root().join("ARCHITECTURE.md");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut documented = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [_, name, _, dependencies] = cells[..] else {
            continue;
        };
        let Some(name) = name
            .strip_prefix('`')
            .and_then(|name| name.strip_suffix('`'))
        else {
            continue;
        };
        let words = dependencies
            .split_whitespace()
            .map(|word| word.trim_matches('`'));
        let words = words.filter(|word| *word != "–" && !word.is_empty());
        let full = words.map(|word| {
            if word == "anything" {
                word.to_owned()
            } else {
                format!("klusterkite-{word}")
            }
        });
        documented.insert(name.to_owned(), full.collect());
    }
    ensure!(
        !documented.is_empty(),
        "ARCHITECTURE.md has no table of crates"
    );
    Ok(documented)
}

fn source_file(path: &Path, text: &str, findings: &mut Vec<String>) {
    let shown = path.display().to_string();
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        findings.push(format!(
            "{shown} has {lines} lines, {FILE_LINES_MAX} are allowed"
        ));
    }
    if path.ends_with("mod.rs") {
        findings.push(format!("{shown}: name the file after its module"));
    }
    if path.starts_with("xtask") {
        return;
    }
    for (forbidden, instead) in [
        ("#[ignore", "let the test run, or delete it"),
        ("#[should_panic", "assert on a value"),
        ("#[allow(", "use #[expect(…, reason = …)]"),
        ("#![allow(", "use #![expect(…, reason = …)]"),
    ] {
        if text.contains(forbidden) {
            findings.push(format!("{shown} has `{forbidden}`: {instead}"));
        }
    }
    let is_pure = PURE
        .iter()
        .any(|name| path.starts_with(Path::new("crates").join(name).join("src")));
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    if is_pure && !shown.ends_with("tests.rs") {
        for impure in IMPURE_PATHS.iter().filter(|impure| code.contains(*impure)) {
            let allowed = IMPURE_ALLOWED
                .iter()
                .any(|(file, path)| shown.ends_with(file) && path == impure);
            if !allowed {
                findings.push(format!("{shown} is in a pure crate and names `{impure}`"));
            }
        }
    }
}

/// Checks that versions stand only in the root manifest, that lints are on and no test file is forgotten.
fn manifests(findings: &mut Vec<String>) -> Result<()> {
    for manifest in tracked(&["*Cargo.toml"])? {
        let shown = manifest
            .strip_prefix(root())
            .unwrap_or(&manifest)
            .display()
            .to_string();
        if shown == "Cargo.toml" {
            continue;
        }
        let text = fs::read_to_string(&manifest)?;
        if !text.contains("[lints]\nworkspace = true") {
            findings.push(format!("{shown} does not take the lints of the workspace"));
        }
        let mut section = "";
        for line in text.lines() {
            if line.starts_with('[') {
                section = line;
            }
            let versioned = line.contains("= \"") || line.contains("version =");
            if section.contains("dependencies") && versioned {
                findings.push(format!(
                    "{shown}: a version stands outside of the root manifest: {line}"
                ));
            }
        }
        forgotten_tests(&manifest, findings)?;
    }
    Ok(())
}

/// Finds files in `tests/it` that its `main.rs` does not name.
fn forgotten_tests(manifest: &Path, findings: &mut Vec<String>) -> Result<()> {
    let directory = manifest.with_file_name("tests").join("it");
    let Ok(main) = fs::read_to_string(directory.join("main.rs")) else {
        return Ok(());
    };
    for entry in fs::read_dir(&directory)? {
        let path = entry?.path();
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        if is_rust && stem != "main" && !main.contains(&format!("mod {stem};")) {
            findings.push(format!("{} is not part of its test binary", path.display()));
        }
    }
    Ok(())
}

fn source_files() -> Result<Vec<PathBuf>> {
    tracked(&["*.rs"])
}

fn tracked(patterns: &[&str]) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "--",
        ])
        .args(patterns)
        .current_dir(root())
        .output()
        .context("cannot run git")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = String::from_utf8(output.stdout)?;
    let paths = names.lines().map(|line| root().join(line));
    Ok(paths.filter(|path| path.exists()).collect())
}
