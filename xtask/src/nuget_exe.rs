//! The real nuget.exe, a client of the feed in the end-to-end tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use klusterkite_nuget::Sha256Hash;

use crate::tools::{run, target};

/// The npm package that brings it: the newest nuget.exe in a registry, so that nothing else is downloaded.
const PACKAGE: &str = "nuget-exe@5.8.0";

/// Where the package has it.
const FILE: &str = "node_modules/nuget-exe/nuget-5.8.0.exe";

/// What it has to be: the file that `nuget help` calls 5.8.0.6930.
const SHA_256: &str = "5c5b9c96165d3283b2cb9e5b65825d343e0e7139b9e70a250b4bb24c2285f3ba";

/// Installs nuget.exe below the target directory, where the tests look for it, unless it is there already, and
/// sees whether it runs. Returns its path.
pub(crate) fn install() -> Result<PathBuf> {
    let directory = target().join("tools/nuget.exe");
    let file = directory.join(FILE);
    if !file.exists() {
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--silent",
            "--prefix",
        ])
        .arg(&directory)
        .arg(PACKAGE);
        run(&mut npm).context("cannot install nuget.exe, which tests the feed")?;
    }
    check(&file)?;
    // Debian has Mono in two hundred packages: `mono` alone does not say whether those that matter are there.
    let home = directory.join("home");
    fs::create_dir_all(&home)?;
    let help = Command::new("mono")
        .arg(&file)
        .args(["help", "-NonInteractive"])
        .env("HOME", &home)
        .output()?;
    ensure!(
        help.status.success(),
        "nuget.exe does not run on this Mono; install all of it: apt install mono-complete\n{}",
        String::from_utf8_lossy(&help.stderr)
    );
    Ok(file)
}

fn check(file: &Path) -> Result<()> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let found = Sha256Hash::of(&bytes).to_string();
    ensure!(
        found == SHA_256,
        "{} is not the known nuget.exe: its SHA-256 is {found}; delete it and try again",
        file.display()
    );
    Ok(())
}
