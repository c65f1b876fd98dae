//! What a cluster holds on to: processes, descriptors, connections, locks, directories.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use klusterkite_tests::local::LocalCluster;
use klusterkite_tests::process::wait_until;

/// Programs that every switch starts anew: what they hold on to depends on the load of the moment.
const SERVICES: [&str; 2] = ["hello", "python3"];

/// Numbers by what is counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Footprint(BTreeMap<String, usize>);

impl Footprint {
    /// Looks for some time and keeps the most of everything.
    pub(super) fn most(directory: &Path, time: Duration) -> Self {
        let mut most = Self::look(directory);
        wait_until(time, || {
            for (what, count) in Self::look(directory).0 {
                let known = most.0.entry(what).or_default();
                *known = count.max(*known);
            }
            false
        });
        most
    }

    /// Looks for some time and keeps the least of everything, as what is used for a moment comes and goes; ends as
    /// soon as there is nothing more than in `before`.
    pub(super) fn least(directory: &Path, time: Duration, before: &Self) -> Self {
        let mut least = Self::look(directory);
        wait_until(time, || {
            let seen = Self::look(directory);
            least.0.retain(|what, _| seen.0.contains_key(what));
            for (what, count) in &mut least.0 {
                *count = seen.0[what].min(*count);
            }
            least.grown_since(before).is_empty()
        });
        least
    }

    /// Returns what there is more of, with both numbers.
    pub(super) fn grown_since(&self, before: &Self) -> BTreeMap<String, (usize, usize)> {
        let all = self.0.iter().map(|(what, after)| {
            let before = before.0.get(what).copied().unwrap_or(0);
            (what.clone(), (before, *after))
        });
        all.filter(|(_, (before, after))| after > before).collect()
    }

    fn look(directory: &Path) -> Self {
        let mut seen = Self::default();
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        for id in LocalCluster::processes_in(directory) {
            seen.count_process(id, &locks);
        }
        for place in ["containers", "system", "feed"] {
            seen.count_directories(place, &directory.join(place));
        }
        let containers = fs::read_dir(directory.join("containers")).unwrap();
        for container in containers {
            let container = container.unwrap();
            let name = container.file_name().to_string_lossy().into_owned();
            let releases = fs::read_dir(container.path().join("releases"));
            seen.add(
                format!("releases of {name}"),
                releases.map_or(0, Iterator::count),
            );
        }
        seen
    }

    fn add(&mut self, what: String, count: usize) {
        *self.0.entry(what).or_default() += count;
    }

    /// Counts a process that may end at any moment.
    fn count_process(&mut self, id: u32, locks: &str) {
        let process = Path::new("/proc").join(id.to_string());
        let Ok(name) = fs::read_to_string(process.join("comm")) else {
            return;
        };
        let name = name.trim();
        self.add(format!("processes {name}"), 1);
        if SERVICES.contains(&name) {
            return;
        }
        let held = |line: &&str| line.split_whitespace().nth(4) == Some(&id.to_string());
        self.add(
            format!("locks of {name}"),
            locks.lines().filter(held).count(),
        );
        let threads = fs::read_dir(process.join("task"));
        self.add(
            format!("threads of {name}"),
            threads.map_or(0, Iterator::count),
        );
        let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
            return;
        };
        let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        for target in targets {
            let target = target.to_string_lossy().into_owned();
            let kind = if target.starts_with("socket:") {
                "connections"
            } else if target.contains(".db") {
                "open databases"
            } else {
                "other descriptors"
            };
            self.add(format!("{kind} of {name}"), 1);
        }
    }

    /// Counts directories, the given one included; what goes while it is looked at is not there.
    fn count_directories(&mut self, place: &str, directory: &Path) {
        self.add(format!("directories of {place}"), 1);
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        for entry in entries {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.count_directories(place, &entry.path());
            }
        }
    }
}
