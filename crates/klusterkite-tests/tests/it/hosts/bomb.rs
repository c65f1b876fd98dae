//! A fork bomb on one of five hosts.
//!
//! An unheld bomb takes the machine down, so that three things hold this one: the limit that is tested, a user of its
//! own with a limit of its own, and an end by itself (`rogue.c`). It is thrown only after the first has been checked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use klusterkite_tests::process::{processes_below, signal, wait_until};
use rustix::process::Signal;

use super::stage::{
    PATIENCE, node_on, processes_on_hosts, stay_the_same, stop_launcher, wait_for_newer,
};

/// Most processes and threads of the host with the bomb, launcher and service host included.
const PROCESSES_MAX: u32 = 150;

const MANIFEST: &str = "
priority = role
processes {
  bomb { command = [rogue, bomb], stop { grace = 500ms } }
}
";

#[test]
fn a_fork_bomb_on_one_of_five_hosts_is_held_harms_no_other_and_ends_with_its_launcher() {
    let limit = match Limit::new(PROCESSES_MAX) {
        Ok(limit) => limit,
        Err(missing) => {
            eprintln!("skipped: no limit of processes can be set here: {missing}");
            return;
        }
    };
    let Some(mut test) = processes_on_hosts(4, MANIFEST) else {
        return;
    };
    let operator = test.operator();
    let before = node_on(&test, &operator, "worker-4").unwrap();
    let container = test.cluster.container("worker-4");
    stop_launcher(&mut test, "worker-4");
    // As a container runtime does: what starts in a limit has its own control groups below it.
    let mut command = limit.starts(&test.cluster.launcher_command("worker-4"));
    test.cluster
        .start_launcher_by("worker-4", &mut command)
        .unwrap();
    let before = wait_for_newer(&test, &operator, "worker-4", before.incarnation);
    let members = processes_below(&container);
    assert!(members.len() >= 3, "{members:?}");
    if let Err(escaped) = limit.holds(&members) {
        panic!("no bomb is thrown: {escaped}");
    }

    let fuse = container.join("data/bomb");
    fs::write(&fuse, "").unwrap();
    let full = wait_until(PATIENCE, || limit.current() == PROCESSES_MAX);
    assert!(full, "{} processes\n{}", limit.current(), test.kept());
    stay_the_same(&test, &operator, &["worker-1", "worker-2", "worker-3"]);
    assert_eq!(limit.current(), PROCESSES_MAX, "the bomb is still there");

    fs::remove_file(&fuse).unwrap();
    stop_launcher(&mut test, "worker-4");
    assert_eq!(limit.current(), 0, "{}", test.kept());
    test.cluster.start_launcher("worker-4").unwrap();
    wait_for_newer(&test, &operator, "worker-4", before.incarnation);
    test.cluster.stop().unwrap();
}

/// A limit of the number of processes, as a container has one; what is left in it goes with it.
struct Limit(PathBuf);

impl Limit {
    fn new(processes: u32) -> Result<Self, String> {
        // Version 1 has a tree of its own for this; version 2 has one tree, where the controller may be off.
        let mut reason = String::new();
        for root in ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"] {
            let path = PathBuf::from(format!("{root}/klusterkite-test-{}", std::process::id()));
            let made = fs::create_dir(&path)
                .and_then(|()| fs::write(path.join("pids.max"), processes.to_string()));
            match made {
                Ok(()) => return Ok(Self(path)),
                Err(error) => reason = format!("{}: {error}", path.display()),
            }
            // It may not have been made.
            let _ = fs::remove_dir(&path);
        }
        Err(reason)
    }

    /// Returns a command that joins the limit before it becomes another one.
    fn starts(&self, command: &Command) -> Command {
        let mut started = Command::new("sh");
        started
            .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
            .arg(self.0.join("cgroup.procs"))
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(command.get_current_dir().unwrap());
        for (name, value) in command.get_envs() {
            started.env(name, value.unwrap());
        }
        started
    }

    /// Says which process is not in the limit or in a group below it.
    fn holds(&self, processes: &[u32]) -> Result<(), String> {
        let limit = fs::read_to_string(self.0.join("pids.max")).unwrap();
        if limit.trim() != PROCESSES_MAX.to_string() {
            return Err(format!("the limit is {limit}"));
        }
        let name = self.0.file_name().unwrap().to_str().unwrap();
        for id in processes {
            let groups = fs::read_to_string(format!("/proc/{id}/cgroup")).unwrap_or_default();
            let single = groups.lines().find(|line| line.contains(":pids:"));
            let group = single.or_else(|| groups.lines().find(|line| line.starts_with("0::")));
            let is_below = group.is_some_and(|group| {
                let path = group.splitn(3, ':').nth(2).unwrap_or_default();
                Path::new(path)
                    .components()
                    .any(|part| part.as_os_str() == name)
            });
            if !is_below {
                return Err(format!("process {id} is in {group:?}"));
            }
        }
        Ok(())
    }

    fn current(&self) -> u32 {
        let text = fs::read_to_string(self.0.join("pids.current")).unwrap();
        text.trim().parse().unwrap()
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        // Nobody has a further process from now on, so that killing comes to an end.
        let _ = fs::write(self.0.join("pids.max"), "0");
        let gone = wait_until(PATIENCE, || {
            for group in groups_in(&self.0) {
                let ids = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
                for id in ids.lines().filter_map(|id| id.parse().ok()) {
                    signal(id, Signal::KILL);
                }
                // It is in use until the last one has been collected.
                let _ = fs::remove_dir(&group);
            }
            !self.0.exists()
        });
        if !gone {
            eprintln!("{} is left", self.0.display());
        }
    }
}

/// Returns a group and those below it, the lowest first.
fn groups_in(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut groups: Vec<PathBuf> = below.flat_map(|entry| groups_in(&entry.path())).collect();
    groups.push(group.to_owned());
    groups
}
