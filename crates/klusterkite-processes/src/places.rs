//! Where the control groups of this process are, from what the kernel says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Directories of the control groups of a process.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    /// In the unified hierarchy (v2).
    pub(crate) unified: Option<PathBuf>,
    /// In hierarchies of single controllers (v1), by controller.
    pub(crate) single: BTreeMap<String, PathBuf>,
}

impl Places {
    /// Reads `/proc/self/cgroup` with the help of `/proc/self/mountinfo`.
    pub(crate) fn read(groups: &str, mounts: &str) -> Self {
        let mut places = Self::default();
        for line in groups.lines() {
            // `0::/path` for the unified hierarchy, `7:cpu,cpuacct:/path` for others.
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) =
                (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            if controllers.is_empty() {
                places.unified = directory(mounts, "cgroup2", None, path);
                continue;
            }
            for controller in controllers.split(',') {
                if let Some(directory) = directory(mounts, "cgroup", Some(controller), path) {
                    places.single.insert(controller.to_owned(), directory);
                }
            }
        }
        places
    }
}

/// Returns the directory of a group in the first mount of its hierarchy that shows it.
fn directory(mounts: &str, kind: &str, controller: Option<&str>, path: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        // `41 31 0:38 /root /mount/point rw,… optional… - type source super,options`
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let mut file_system = file_system.split(' ');
        if file_system.next()? != kind {
            return None;
        }
        let options = file_system.nth(1).unwrap_or_default();
        if let Some(controller) = controller
            && !options.split(',').any(|option| option == controller)
        {
            return None;
        }
        let below = Path::new(path).strip_prefix(root).ok()?;
        // A path with `..` leads out of the namespace of control groups.
        let is_inside = below
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        is_inside.then(|| Path::new(&unescape(point)).join(below))
    })
}

/// Undoes `\040` and the like, as which the kernel writes blanks.
fn unescape(text: &str) -> String {
    let (blank, tab) = (r"\040", r"\011");
    text.replace(blank, " ")
        .replace(tab, "\t")
        .replace(r"\134", r"\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
33 31 0:29 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
34 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:31 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified\\040x rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn each_group_is_found_in_the_mount_of_its_hierarchy() {
        let groups =
            "9:name=systemd:/\n8:pids:/a\n4:memory:/docker/abc/d\n2:cpu,cpuacct:/\n0::/a/b\n";
        let places = Places::read(groups, MOUNTS);
        assert_eq!(
            places.unified,
            Some(PathBuf::from("/sys/fs/cgroup/unified x/a/b"))
        );
        let single: Vec<(&str, &str)> = places
            .single
            .iter()
            .map(|(name, path)| (name.as_str(), path.to_str().unwrap()))
            .collect();
        assert_eq!(
            single,
            [
                ("cpu", "/sys/fs/cgroup/cpu/"),
                ("cpuacct", "/sys/fs/cgroup/cpu/"),
                ("memory", "/sys/fs/cgroup/memory/d"),
                ("pids", "/sys/fs/cgroup/pids/a"),
            ]
        );
    }

    #[test]
    fn what_is_not_mounted_or_lies_outside_is_not_found() {
        assert_eq!(Places::read("0::/\n", ""), Places::default());
        assert_eq!(Places::read("", MOUNTS), Places::default());
        assert_eq!(
            Places::read("garbage\n0:x\n::\n", "a - b\n - \n"),
            Places::default()
        );
        assert_eq!(Places::read("0::/../x\n", MOUNTS), Places::default());
        assert_eq!(Places::read("4:memory:/other\n", MOUNTS), Places::default());
    }
}
