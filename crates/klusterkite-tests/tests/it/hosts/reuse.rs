//! Process ids that are given to others.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use klusterkite_tests::api::Operator;
use klusterkite_tests::process::{Program, signal, wait_until};
use rustix::process::Signal;

use super::namespace::{Member, OwnIds};
use super::stage::{
    PATIENCE, node_on, processes_on_hosts, rogue_of, stop_launcher, wait_for_newer,
};
use crate::support::{TestCluster, programs};

const HOST: &str = "worker-1";

const MANIFEST: &str = "
priority = role
processes {
  daemon { command = [rogue, daemon], stop { grace = 500ms } }
  deaf { command = [rogue, deaf], stop { grace = 500ms } }
}
";

#[test]
fn a_process_that_got_the_id_of_one_of_ours_is_never_signalled() {
    let Some(mut test) = processes_on_hosts(4, MANIFEST) else {
        return;
    };
    let operator = test.operator();
    let before = node_on(&test, &operator, HOST).unwrap().incarnation;
    stop_launcher(&mut test, HOST);
    let rogue = rogue_of(test.directory());
    let ids = OwnIds::new(&rogue);
    let before = start(&mut test, &operator, &ids, before);

    // A daemon of a running node ends, and somebody gets its id.
    let members = ids.namespace.members();
    let launcher = the(&members, "klusterkite-launcher").clone();
    let adopted = |one: &&Member| {
        one.command.ends_with("rogue daemon ") && one.parent == launcher.id && one.runs()
    };
    let daemon = members.iter().find(adopted).unwrap().clone();
    signal(daemon.id, Signal::KILL);
    wait_until_gone(&ids, std::slice::from_ref(&daemon));
    let first = Foreign::new(&ids, &rogue, &[daemon]);
    stop(&mut test, &ids);
    assert!(first.run(), "{}", test.kept());
    let left = ids.namespace.members();
    assert!(
        left.iter().all(|one| first.has(one) || one.id == ids.init),
        "{left:?}"
    );

    // Everything loses its power, and others get all of the ids before the next start.
    let before = start(&mut test, &operator, &ids, before);
    let mut killed = ids.namespace.members();
    killed.retain(|one| one.id != ids.init && !first.has(one));
    assert!(killed.len() >= 5, "{killed:?}");
    let launcher = the(&killed, "klusterkite-launcher").id;
    for id in std::iter::once(launcher).chain(killed.iter().map(|one| one.id)) {
        signal(id, Signal::KILL);
    }
    wait_until_gone(&ids, &killed);
    drop(test.cluster.launchers.remove(HOST));
    let second = Foreign::new(&ids, &rogue, &killed);
    let before = start(&mut test, &operator, &ids, before);
    let members = ids.namespace.members();
    signal(the(&members, "klusterkite-service").id, Signal::KILL);
    wait_for_newer(&test, &operator, HOST, before);
    assert!(first.run() && second.run(), "{}", test.kept());
    stop(&mut test, &ids);
    assert!(first.run() && second.run(), "{}", test.kept());
    test.cluster.stop().unwrap();
}

/// Starts the launcher of the host in its namespace of process ids; returns the incarnation of its node when that has
/// left its daemon.
fn start(test: &mut TestCluster, operator: &Operator, ids: &OwnIds, before: u64) -> u64 {
    let done = test.cluster.container(HOST).join("data/orphaned");
    let _ = std::fs::remove_file(&done);
    let host = test.cluster.network().unwrap().host(HOST);
    let mut command = host.command(Path::new("nsenter"));
    command
        .args(ids.arguments())
        .arg(programs().join("klusterkite-launcher"))
        .arg(test.cluster.container(HOST).join("config.hocon"));
    test.cluster.start_launcher_by(HOST, &mut command).unwrap();
    let node = wait_for_newer(test, operator, HOST, before);
    assert!(wait_until(PATIENCE, || done.exists()), "{}", test.kept());
    node.incarnation
}

/// Stops it: the program that the test started is only the door to the namespace.
fn stop(test: &mut TestCluster, ids: &OwnIds) {
    signal(
        the(&ids.namespace.members(), "klusterkite-launcher").id,
        Signal::TERM,
    );
    let mut door: Program = test.cluster.launchers.remove(HOST).unwrap();
    assert!(wait_until(PATIENCE, || !door.runs()), "{}", test.kept());
}

/// Returns the process of a program.
fn the<'a>(members: &'a [Member], program: &str) -> &'a Member {
    let of = |one: &&Member| {
        let first = one.command.split(' ').next().unwrap_or_default();
        first.rsplit('/').next() == Some(program)
    };
    members
        .iter()
        .find(of)
        .unwrap_or_else(|| panic!("no {program} in {members:?}"))
}

/// Waits until nobody has the ids of processes that were killed.
fn wait_until_gone(ids: &OwnIds, killed: &[Member]) {
    let gone = wait_until(PATIENCE, || {
        let now = ids.namespace.members();
        now.iter()
            .all(|one| killed.iter().all(|other| one.inner != other.inner))
    });
    assert!(gone, "{killed:?}");
}

/// Processes of somebody else, with the ids of others before them.
struct Foreign {
    /// The door to the namespace.
    door: Child,
    members: Vec<Member>,
}

impl Foreign {
    fn new(ids: &OwnIds, rogue: &Path, before: &[Member]) -> Self {
        let wanted: Vec<u32> = before.iter().map(|one| one.inner).collect();
        let mut door = Command::new("nsenter")
            .args(ids.arguments())
            .arg(rogue)
            .arg("foreign")
            .args(wanted.iter().map(u32::to_string))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(door.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "there\n", "no process got its id: {wanted:?}");
        let mut members = ids.namespace.members();
        members.retain(|one| wanted.contains(&one.inner));
        assert_eq!(members.len(), wanted.len(), "{members:?}");
        Self { door, members }
    }

    fn run(&self) -> bool {
        self.members.iter().all(Member::runs)
    }

    /// Tells whether a process is one of them or what started them.
    fn has(&self, process: &Member) -> bool {
        self.members
            .iter()
            .any(|one| one.id == process.id || one.parent == process.id)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // What is behind the door goes with the namespace.
        let _ = self.door.kill();
        let _ = self.door.wait();
    }
}
