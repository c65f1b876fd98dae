//! One control group of the unified hierarchy, with those of single hierarchies that are needed for limits.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::limits::{Controller, Limits};
use crate::places::Places;

/// Group into which this process moves, because a group with limits for its children has no processes of its own.
const OWN_LEAF: &str = "klusterkite-self";

/// Largest file of the kernel that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Pause between two looks at a group that is being killed.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How deep groups of ours lie below each other: node run, package, process, and one for what they may do themselves.
const DEPTH_MAX: usize = 8;

/// A control group.
#[derive(Debug, Clone)]
pub struct ControlGroup {
    /// In the unified hierarchy.
    directory: PathBuf,
    /// How limits can be set for this group's children.
    controllers: BTreeMap<Controller, Hierarchy>,
}

#[derive(Debug, Clone)]
enum Hierarchy {
    /// That of the group itself.
    Unified,
    /// One of the controller alone, with the directory that belongs to the group.
    Single(PathBuf),
}

impl ControlGroup {
    /// Finds the group of this process and prepares it for children; `tag` names what is made elsewhere for them.
    ///
    /// The error says why there can be no groups here.
    pub fn own(tag: &str) -> Result<Self, String> {
        let read = |path| read(Path::new(path)).map_err(|error| format!("`{path}`: {error}"));
        let places = Places::read(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?);
        let directory = places
            .unified
            .ok_or("no unified hierarchy of control groups (cgroup v2) is mounted")?;
        probe(&directory)?;
        let mut own = Self {
            directory,
            controllers: BTreeMap::new(),
        };
        own.prepare(&places.single, tag);
        Ok(own)
    }

    /// Returns the directory in the unified hierarchy.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns what can be limited in children of this group.
    pub fn controllers(&self) -> impl Iterator<Item = Controller> {
        self.controllers.keys().copied()
    }

    /// Makes a group in this one, or takes one that is there.
    pub fn child(&self, name: &str) -> io::Result<Self> {
        let name = file_name(name);
        let make = |parent: &Path| {
            let path = parent.join(&name);
            match fs::create_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    let text = format!("control group `{}`: {error}", path.display());
                    Err(io::Error::new(error.kind(), text))
                }
                _ => Ok(path),
            }
        };
        let mut controllers = BTreeMap::new();
        for (controller, hierarchy) in &self.controllers {
            let hierarchy = match hierarchy {
                Hierarchy::Unified => Hierarchy::Unified,
                Hierarchy::Single(parent) => Hierarchy::Single(make(parent)?),
            };
            controllers.insert(*controller, hierarchy);
        }
        Ok(Self {
            directory: make(&self.directory)?,
            controllers,
        })
    }

    /// Makes the controllers available to children of a group without processes of its own.
    pub fn delegate(&mut self) {
        let directory = self.directory.clone();
        self.controllers
            .retain(|controller, hierarchy| match hierarchy {
                Hierarchy::Single(_) => true,
                Hierarchy::Unified => enable(&directory, controller.name()).is_ok(),
            });
    }

    /// Sets limits. Returns those that cannot be enforced, with the reason.
    pub fn limit(&self, limits: &Limits) -> Vec<(Controller, String)> {
        let mut failed = Vec::new();
        let used = Controller::ALL.into_iter().filter(|one| limits.uses(*one));
        for controller in used {
            let set = match self.controllers.get(&controller) {
                None => Err("the container gives no such controller".to_owned()),
                Some(Hierarchy::Unified) => set(&self.directory, &controller.unified_files(limits)),
                Some(Hierarchy::Single(path)) => set(path, &controller.single_files(limits)),
            };
            failed.extend(set.err().map(|reason| (controller, reason)));
        }
        failed
    }

    /// Returns the files through which a process joins the group.
    pub fn joins(&self) -> Vec<PathBuf> {
        let single = self.controllers.values().filter_map(Hierarchy::directory);
        let directories = single.chain([self.directory.as_path()]);
        directories.map(|path| path.join("cgroup.procs")).collect()
    }

    /// Kills everything in the group and below.
    pub fn kill(&self) -> io::Result<()> {
        write(&self.directory.join("cgroup.kill"), "1")
    }

    /// Tells whether a process that has not ended is in the group or below; zombies do not count.
    pub fn is_populated(&self) -> io::Result<bool> {
        match read(self.directory.join("cgroup.events")) {
            Ok(events) => Ok(value_of(&events, "populated") != Some(0)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Kills everything in the group and waits until the kernel says that it is empty.
    pub fn kill_and_wait(&self, time_max: Duration) -> io::Result<()> {
        let deadline = Instant::now() + time_max;
        while self.is_populated()? {
            // Who joined after the last time is killed by the next.
            self.kill()?;
            thread::sleep(LOOK_EVERY);
            if Instant::now() > deadline {
                let path = self.directory.display();
                let text = format!("processes of control group `{path}` do not end");
                return Err(io::Error::other(text));
            }
        }
        Ok(())
    }

    /// Returns how often a process of the group was killed because memory was short.
    pub fn out_of_memory_kills(&self) -> u64 {
        let text = match self.controllers.get(&Controller::Memory) {
            Some(Hierarchy::Single(path)) => read(path.join("memory.oom_control")),
            _ => read(self.directory.join("memory.events")),
        };
        text.ok()
            .and_then(|text| value_of(&text, "oom_kill"))
            .unwrap_or(0)
    }

    /// Removes the group and those below it. What still has processes stays.
    pub fn remove(&self) {
        let single = self.controllers.values().filter_map(Hierarchy::directory);
        for directory in single.chain([self.directory.as_path()]) {
            remove(directory, DEPTH_MAX);
        }
    }

    /// Removes what [`ControlGroup::own`] made in hierarchies of single controllers.
    pub fn close(&self) {
        for directory in self.controllers.values().filter_map(Hierarchy::directory) {
            remove(directory, DEPTH_MAX);
        }
    }

    /// Returns the groups in this one whose names begin so.
    pub fn children(&self, beginning: &str) -> Vec<Self> {
        let beginning = file_name(beginning);
        let mut names = Vec::new();
        let single = self.controllers.values().filter_map(Hierarchy::directory);
        for directory in single.chain([self.directory.as_path()]) {
            let Ok(entries) = fs::read_dir(directory) else {
                continue;
            };
            let found = entries.flatten().filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                name.starts_with(&beginning).then_some(name)
            });
            names.extend(found);
        }
        names.sort();
        names.dedup();
        let group = |name: String| Self {
            directory: self.directory.join(&name),
            controllers: self
                .controllers
                .iter()
                .map(|(controller, hierarchy)| (*controller, hierarchy.below(&name)))
                .collect(),
        };
        names.into_iter().map(group).collect()
    }

    /// Finds out what can be limited in children, in this hierarchy or in one of a single controller.
    fn prepare(&mut self, single: &BTreeMap<String, PathBuf>, tag: &str) {
        let offered = read(self.directory.join("cgroup.controllers")).unwrap_or_default();
        let offered = |controller: Controller| {
            offered
                .split_whitespace()
                .any(|name| name == controller.name())
        };
        let mut moved = false;
        for controller in Controller::ALL {
            if offered(controller) {
                let try_to = || enable(&self.directory, controller.name());
                if enable_or_move(try_to, &mut moved, || self.move_to_leaf()) {
                    self.controllers.insert(controller, Hierarchy::Unified);
                }
            } else if let Some(directory) = single.get(controller.name()) {
                let path = directory.join(file_name(tag));
                let made = fs::create_dir(&path);
                if made.is_ok() || path.is_dir() {
                    self.controllers.insert(controller, Hierarchy::Single(path));
                }
            }
        }
        let is_used = |hierarchy: &Hierarchy| matches!(hierarchy, Hierarchy::Unified);
        if moved && !self.controllers.values().any(is_used) {
            // Others are in the group too: moving away was of no use.
            let _ = write(&self.directory.join("cgroup.procs"), "0");
            let _ = fs::remove_dir(self.directory.join(OWN_LEAF));
        }
    }

    fn move_to_leaf(&self) -> bool {
        let leaf = self.directory.join(OWN_LEAF);
        let made = fs::create_dir(&leaf);
        (made.is_ok() || leaf.is_dir()) && write(&leaf.join("cgroup.procs"), "0").is_ok()
    }
}

impl Hierarchy {
    fn directory(&self) -> Option<&Path> {
        match self {
            Self::Unified => None,
            Self::Single(path) => Some(path),
        }
    }

    fn below(&self, name: &str) -> Self {
        match self {
            Self::Unified => Self::Unified,
            Self::Single(path) => Self::Single(path.join(name)),
        }
    }
}

/// Tries whether groups can be made and killed here.
fn probe(directory: &Path) -> Result<(), String> {
    let path = directory.join(format!("klusterkite-probe-{}", std::process::id()));
    fs::create_dir(&path).map_err(|error| {
        let shown = directory.display();
        format!("no control group can be made in `{shown}`: {error}")
    })?;
    let can_kill = path.join("cgroup.kill").exists();
    fs::remove_dir(&path).map_err(|error| format!("`{}`: {error}", path.display()))?;
    if !can_kill {
        return Err("this kernel cannot kill a control group (Linux 5.14 can)".to_owned());
    }
    Ok(())
}

/// Enables a controller; what the kernel refuses because the group has processes of its own is tried again after they
/// moved away, once for all controllers.
fn enable_or_move(
    enable: impl Fn() -> io::Result<()>,
    moved: &mut bool,
    move_away: impl FnOnce() -> bool,
) -> bool {
    let mut enabled = enable();
    if !*moved && enabled.as_ref().is_err_and(is_busy) {
        *moved = move_away();
        enabled = enable();
    }
    enabled.is_ok()
}

fn enable(directory: &Path, controller: &str) -> io::Result<()> {
    let text = format!("+{controller}");
    write(&directory.join("cgroup.subtree_control"), &text)
}

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error())
}

fn set(directory: &Path, files: &[(&str, String)]) -> Result<(), String> {
    for (place, (name, text)) in files.iter().enumerate() {
        let path = directory.join(name);
        match write(&path, text) {
            Ok(()) => {}
            // What comes after the limit itself is not there on every kernel (no swap, for example).
            Err(error) if place > 0 && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("`{}`: {error}", path.display())),
        }
    }
    Ok(())
}

fn remove(directory: &Path, depth: usize) {
    if depth > 0
        && let Ok(entries) = fs::read_dir(directory)
    {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&entry.path(), depth - 1);
            }
        }
    }
    // One that is in use stays, and is tried again before the next start.
    let _ = fs::remove_dir(directory);
}

/// Makes a name that is one directory and none of the kernel's own files, which have dots in their names.
fn file_name(name: &str) -> String {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    name.chars()
        .map(|letter| if allowed(letter) { letter } else { '_' })
        .take(200)
        .collect()
}

fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok()).flatten()
    })
}

fn read(path: impl AsRef<Path>) -> io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = fs::File::open(path.as_ref())?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// Joins a group through one of its files ([`ControlGroup::joins`]).
pub(crate) fn join(file: &OsStr) -> io::Result<()> {
    write(Path::new(file), "0")
}

#[cfg(test)]
mod tests;
