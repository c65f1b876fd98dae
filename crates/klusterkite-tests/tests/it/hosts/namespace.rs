//! Namespaces of process ids, and what runs in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use klusterkite_tests::process::wait_until;

use super::stage::PATIENCE;

/// A process in a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// Its id outside.
    pub(super) id: u32,
    /// Its id in its namespace.
    pub(super) inner: u32,
    /// The id of its parent, outside.
    pub(super) parent: u32,
    /// `S` when it sleeps, `Z` when nobody has collected it, `T` when it was stopped.
    pub(super) state: char,
    /// When it started.
    pub(super) start: u64,
    /// Its command line; empty for one that has ended.
    pub(super) command: String,
}

impl Member {
    fn read(id: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let ids = status.lines().find(|line| line.starts_with("NSpid:"))?;
        let command = fs::read(format!("/proc/{id}/cmdline")).ok()?;
        Some(Self {
            id,
            inner: ids.split_whitespace().last()?.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            state: fields.first()?.chars().next()?,
            start: fields.get(19)?.parse().ok()?,
            command: String::from_utf8_lossy(&command).replace('\0', " "),
        })
    }

    /// Tells whether it still runs, it and no later one with its id, and was not stopped.
    pub(super) fn runs(&self) -> bool {
        Self::read(self.id)
            .is_some_and(|now| now.start == self.start && !matches!(now.state, 'Z' | 'T'))
    }
}

/// A namespace, by what the kernel calls it.
#[derive(Debug, Clone)]
pub(super) struct Namespace(PathBuf);

impl Namespace {
    pub(super) fn of(id: u32) -> Self {
        Self(fs::read_link(namespace_of(id)).unwrap())
    }

    /// Returns everything in it, dead or alive.
    pub(super) fn members(&self) -> Vec<Member> {
        let entries = fs::read_dir("/proc").unwrap();
        let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        ids.filter(|id| fs::read_link(namespace_of(*id)).is_ok_and(|name| name == self.0))
            .filter_map(Member::read)
            .collect()
    }
}

fn namespace_of(id: u32) -> String {
    format!("/proc/{id}/ns/pid")
}

/// A host's own namespace of process ids, with a process 1 that does nothing; everything in it goes with this.
pub(super) struct OwnIds {
    unshare: Child,
    /// Id of its process 1, outside.
    pub(super) init: u32,
    pub(super) namespace: Namespace,
}

impl OwnIds {
    pub(super) fn new(rogue: &Path) -> Self {
        let unshare = Command::new("unshare")
            .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
            .arg(rogue)
            .arg("init")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let mut init = 0;
        let found = wait_until(PATIENCE, || {
            let ids = fs::read_to_string(&children).unwrap_or_default();
            init = ids.trim().parse().unwrap_or(0);
            Member::read(init).is_some_and(|member| member.command.ends_with("init "))
        });
        assert!(found, "{children}");
        let namespace = Namespace::of(init);
        Self {
            unshare,
            init,
            namespace,
        }
    }

    /// Returns the arguments of `nsenter` that lead there.
    pub(super) fn arguments(&self) -> [String; 3] {
        let init = self.init;
        [
            format!("--pid=/proc/{init}/ns/pid"),
            format!("--mount=/proc/{init}/ns/mnt"),
            "--".to_owned(),
        ]
    }
}

impl Drop for OwnIds {
    fn drop(&mut self) {
        // Its child is process 1, and goes with it; so does everything else there.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}
