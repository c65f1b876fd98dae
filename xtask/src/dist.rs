//! Release binaries and packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::tools::{C_COMPILER, build_in_one_file, build_release, cargo, need, root, run, target};

/// The target for which the static launcher is built.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Programs that are installed as they are; the others travel in packages.
const PROGRAMS: [&str; 3] = ["klusterkite", "klusterkite-feed", "klusterkite-seeder"];

/// Builds everything in release and collects it in `target/dist`.
pub(crate) fn dist() -> Result<ExitCode> {
    need(&[C_COMPILER])?;
    let release = build_release()?;
    // It runs in any container then, also in one that holds nothing but a launcher.
    build_in_one_file("klusterkite-service", &["--release"])?;
    let dist = target().join("dist");
    fs::create_dir_all(&dist)?;
    for program in PROGRAMS {
        copy(&release.join(program), &dist.join(program))?;
    }
    copy(&static_launcher()?, &dist.join("klusterkite-launcher"))?;
    for entry in fs::read_dir(root().join("packages"))? {
        let mut pack = Command::new(dist.join("klusterkite"));
        pack.args(["package", "pack"]).arg(entry?.path());
        pack.arg("--binaries").arg(&release);
        run(pack
            .args(["--version", env!("CARGO_PKG_VERSION"), "--out"])
            .arg(&dist))?;
    }
    println!("{}", dist.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds the launcher as one static binary and returns its path.
pub(crate) fn static_launcher() -> Result<PathBuf> {
    let arguments = [
        "build",
        "--profile",
        "launcher",
        "--target",
        TARGET,
        "--package",
        "klusterkite-launcher",
        "--locked",
    ];
    run(cargo(&arguments).env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    Ok(target().join(TARGET).join("launcher/klusterkite-launcher"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
