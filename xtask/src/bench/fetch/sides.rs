//! Who gets the packages' files to a place, and how.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::tools::{fresh, run};

/// What has to be there afterwards.
const FILES: usize = 2_000;
const FILE_BYTES: u64 = 20_000;

/// One way to get the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Fetch, verify, unpack, and put everything on the disk.
    Ours,
    /// `unzip` of the packages as they lie there, by one process, and one sync.
    Unzip,
    /// One `bsdtar` for each package, and one sync.
    Bsdtar,
    /// One `ripunzip` for each package, where it is installed, and one sync.
    Ripunzip,
    /// `cp -r` of the unpacked files, and one sync.
    Copy,
    /// nuget.exe from the same feed; it syncs nothing.
    NugetExe,
}

pub(super) const KINDS: [Kind; 6] = [
    Kind::Ours,
    Kind::Unzip,
    Kind::Bsdtar,
    Kind::Ripunzip,
    Kind::Copy,
    Kind::NugetExe,
];

/// A directory to unpack to.
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn new(path: PathBuf) -> Result<Self> {
        fresh(path).map(Self)
    }

    /// Makes one on the file system in memory that Linux has.
    pub(super) fn in_memory() -> Result<Self> {
        Self::new(PathBuf::from(format!(
            "/dev/shm/klusterkite-bench-{}",
            std::process::id()
        )))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A way to get the files, with all that it needs.
pub(super) struct Side {
    pub(super) kind: Kind,
    packages: PathBuf,
    fetch: PathBuf,
    nuget_exe: PathBuf,
    feed: String,
}

impl Side {
    pub(super) fn new(
        kind: Kind,
        packages: &Path,
        fetch: &Path,
        nuget_exe: &Path,
        feed: &str,
    ) -> Self {
        Self {
            kind,
            packages: packages.to_owned(),
            fetch: fetch.to_owned(),
            nuget_exe: nuget_exe.to_owned(),
            feed: feed.to_owned(),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Ours => "ours",
            Kind::Unzip => "unzip, sync",
            Kind::Bsdtar => "20 bsdtar, sync",
            Kind::Ripunzip => "20 ripunzip, sync",
            Kind::Copy => "cp -r, sync",
            Kind::NugetExe => "nuget.exe 5.8",
        }
    }

    pub(super) fn is_there(&self) -> bool {
        self.kind != Kind::Ripunzip || Command::new("ripunzip").arg("--version").output().is_ok()
    }

    /// Gets the files once; returns milliseconds.
    pub(super) fn measure(&self, place: &Place) -> Result<f64> {
        let path = |name: &str| place.0.join(name);
        for name in ["out", "store", "home"] {
            if path(name).exists() {
                fs::remove_dir_all(path(name))?;
            }
        }
        fs::create_dir_all(path("home"))?;
        let (out, tree) = (path("out"), path("tree"));
        if self.kind == Kind::Copy && !tree.exists() {
            self.unzip(&tree)?;
        }
        // What was written before is not counted.
        sync(&place.0)?;
        let begin = Instant::now();
        match self.kind {
            Kind::Ours => {
                let mut ours = Command::new(&self.fetch);
                let start = self.packages.join("start.json");
                run(ours.arg("install").arg(start).arg(path("store")).arg(&out))?;
            }
            Kind::Unzip => self.unzip(&out)?,
            Kind::Bsdtar | Kind::Ripunzip => self.unpack_each(&out)?,
            Kind::Copy => run(Command::new("cp").arg("-r").arg(&tree).arg(&out))?,
            Kind::NugetExe => self.install(&out, &path("home"))?,
        }
        if !matches!(self.kind, Kind::Ours | Kind::NugetExe) {
            sync(&place.0)?;
        }
        let milliseconds = begin.elapsed().as_secs_f64() * 1e3;
        let count = count(&out)?;
        ensure!(
            count == FILES,
            "{}: {count} files are there, not {FILES}",
            self.name()
        );
        Ok(milliseconds)
    }

    fn unzip(&self, out: &Path) -> Result<()> {
        let all = self.packages.join("*.nupkg");
        run(Command::new("unzip")
            .args(["-q", "-o"])
            .arg(all)
            .arg("-d")
            .arg(out)
            .stdout(Stdio::null())
            .stderr(Stdio::null()))
    }

    fn unpack_each(&self, out: &Path) -> Result<()> {
        fs::create_dir(out)?;
        for entry in fs::read_dir(&self.packages)? {
            let package = entry?.path();
            if package
                .extension()
                .is_none_or(|extension| extension != "nupkg")
            {
                continue;
            }
            let mut unpack = if self.kind == Kind::Bsdtar {
                let mut bsdtar = Command::new("bsdtar");
                bsdtar.arg("-xf").arg(&package).arg("-C").arg(out);
                bsdtar
            } else {
                let mut ripunzip = Command::new("ripunzip");
                ripunzip
                    .args(["unzip-file", "-q", "-d"])
                    .arg(out)
                    .arg(&package);
                ripunzip
            };
            run(&mut unpack)?;
        }
        Ok(())
    }

    fn install(&self, out: &Path, home: &Path) -> Result<()> {
        run(Command::new("mono")
            .arg(&self.nuget_exe)
            .args(["install", "Bench.P00", "-NonInteractive", "-DirectDownload"])
            .arg("-Source")
            .arg(format!("{}/v3/index.json", self.feed))
            .arg("-OutputDirectory")
            .arg(out)
            .env("HOME", home)
            .stdout(Stdio::null()))
    }
}

fn sync(path: &Path) -> Result<()> {
    run(Command::new("sync").arg("-f").arg(path))
}

/// Counts the packages' own files.
fn count(directory: &Path) -> Result<usize> {
    let mut found = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found += count(&entry.path())?;
        } else if entry.metadata()?.len() == FILE_BYTES {
            found += 1;
        }
    }
    Ok(found)
}
