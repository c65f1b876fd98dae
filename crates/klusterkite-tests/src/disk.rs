//! File systems that are soon full.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of its own at a directory, in memory; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts a file system of some MiB at an empty directory.
    ///
    /// Returns `None`, with the reason printed, where mounting is not allowed.
    ///
    /// # Panics
    ///
    /// In CI (`CI` is set), where nothing may be skipped.
    #[expect(clippy::print_stderr, reason = "a skipped test says why")]
    pub fn mount(directory: impl AsRef<Path>, mebibytes: u32) -> Option<Self> {
        let directory = directory.as_ref();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "none"])
            .arg(directory)
            .output();
        if mounted.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Self(directory.to_owned()));
        }
        assert!(
            std::env::var_os("CI").is_none(),
            "a small file system cannot be mounted: {mounted:?}"
        );
        eprintln!("skipped: a small file system cannot be mounted here: {mounted:?}");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What is still open must not keep the directory.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
