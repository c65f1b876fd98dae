use rustix::io::Errno;

use super::*;

/// File that says which controllers children get.
const CHILDREN: &str = "cgroup.subtree_control";

#[test]
fn names_are_one_directory_that_the_kernel_does_not_use() {
    assert_eq!(file_name("Acme.Orders"), "Acme_Orders");
    assert_eq!(file_name("../cgroup.procs"), "___cgroup_procs");
    assert_eq!(file_name(&"x".repeat(300)).len(), 200);
}

#[test]
fn numbers_of_the_kernels_files_are_read_by_name() {
    let text = "populated 1\nfrozen 0\noom_kill 7\n";
    assert_eq!(value_of(text, "populated"), Some(1));
    assert_eq!(value_of(text, "oom_kill"), Some(7));
    assert_eq!(value_of(text, "oom"), None);
    assert_eq!(value_of("oom_kill x", "oom_kill"), None);
}

#[test]
fn a_limit_without_controller_is_named_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let group = ControlGroup {
        directory: directory.path().to_owned(),
        controllers: BTreeMap::from([(Controller::Memory, Hierarchy::Unified)]),
    };
    let limits = Limits {
        memory_bytes: Some(1 << 20),
        processes: Some(5),
        cpu_thousandths: None,
    };
    let failed = group.limit(&limits);
    assert_eq!(failed.len(), 2);
    assert!(failed[0].1.contains("memory.max"), "{failed:?}");
    assert!(failed[1].1.contains("no such controller"), "{failed:?}");
    fs::write(directory.path().join("memory.max"), "").unwrap();
    assert_eq!(group.limit(&limits).len(), 1);
    let written = fs::read_to_string(directory.path().join("memory.max")).unwrap();
    assert_eq!(written, "1048576");
}

#[test]
fn a_directory_that_takes_no_groups_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let error = probe(directory.path()).unwrap_err();
    assert!(error.contains("kernel cannot kill"), "{error}");
    let error = probe(&directory.path().join("nothing")).unwrap_err();
    assert!(error.contains("no control group can be made"), "{error}");
}

/// Makes a directory that looks like a group of the unified hierarchy which offers these controllers.
fn faked(path: &Path, offered: &str, files: &[&str]) {
    fs::create_dir_all(path).unwrap();
    fs::write(path.join("cgroup.controllers"), offered).unwrap();
    for file in files {
        fs::write(path.join(file), "").unwrap();
    }
}

fn content(path: &Path, file: &str) -> String {
    fs::read_to_string(path.join(file)).unwrap()
}

#[test]
fn each_controller_is_used_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (unified, memory) = (directory.path().join("u"), directory.path().join("m"));
    faked(&unified, "cpuset cpu io pids\n", &[CHILDREN]);
    fs::create_dir(&memory).unwrap();
    let mut own = ControlGroup {
        directory: unified.clone(),
        controllers: BTreeMap::new(),
    };
    let single = BTreeMap::from([("memory".to_owned(), memory.clone())]);
    own.prepare(&single, "tag");
    assert!(own.controllers().eq(Controller::ALL));
    assert_eq!(content(&unified, CHILDREN), "+pids");
    assert!(memory.join("tag").is_dir(), "the other one is in its own");
    assert!(!unified.join(OWN_LEAF).exists(), "nobody had to move");

    let child = own.child("run").unwrap();
    let limits = Limits {
        memory_bytes: Some(4096),
        processes: Some(7),
        cpu_thousandths: Some(500),
    };
    let run = unified.join("run");
    faked(&run, "cpu pids", &["cpu.max", "pids.max", "memory.max"]);
    let single = memory.join("tag/run");
    fs::write(single.join("memory.limit_in_bytes"), "").unwrap();
    assert_eq!(child.limit(&limits), []);
    assert_eq!(content(&run, "cpu.max"), "50000 100000");
    assert_eq!(content(&run, "pids.max"), "7");
    assert_eq!(content(&run, "memory.max"), "", "that is not its place");
    assert_eq!(content(&single, "memory.limit_in_bytes"), "4096");
    let joins = [single.join("cgroup.procs"), run.join("cgroup.procs")];
    assert_eq!(child.joins(), joins);
}

#[test]
fn a_container_with_the_unified_hierarchy_alone_gets_every_limit_there() {
    let directory = tempfile::tempdir().unwrap();
    let unified = directory.path();
    faked(unified, "cpu memory pids", &[CHILDREN]);
    let mut own = ControlGroup {
        directory: unified.to_owned(),
        controllers: BTreeMap::new(),
    };
    own.prepare(&BTreeMap::new(), "tag");
    let mut package = own.child("package").unwrap();
    let of_package = unified.join("package");
    let files = [CHILDREN, "cpu.max", "memory.max"];
    faked(&of_package, "cpu memory pids", &files);
    package.delegate();
    assert!(package.controllers().eq(Controller::ALL));
    let limits = Limits {
        memory_bytes: Some(8192),
        processes: None,
        cpu_thousandths: Some(1),
    };
    // Without swap there are no files for it; the limit holds all the same.
    assert_eq!(package.limit(&limits), []);
    assert_eq!(content(&of_package, "memory.max"), "8192");
    assert_eq!(content(&of_package, "cpu.max"), "1000 100000");
    assert_eq!(package.joins(), [of_package.join("cgroup.procs")]);

    fs::write(of_package.join("memory.events"), "oom 1\noom_kill 2\n").unwrap();
    assert_eq!(package.out_of_memory_kills(), 2);
    fs::write(of_package.join("cgroup.events"), "populated 0\n").unwrap();
    assert!(!package.is_populated().unwrap());
    fs::write(of_package.join("cgroup.events"), "populated 1\n").unwrap();
    assert!(package.is_populated().unwrap());
}

#[test]
fn a_controller_that_cannot_be_passed_on_is_not_promised() {
    let directory = tempfile::tempdir().unwrap();
    // As in a container to which nothing was delegated: the controllers are there, the file is not to be written.
    faked(directory.path(), "memory pids", &[]);
    let mut own = ControlGroup {
        directory: directory.path().to_owned(),
        controllers: BTreeMap::new(),
    };
    own.prepare(&BTreeMap::new(), "tag");
    assert_eq!(own.controllers().count(), 0);
    let child = own.child("run").unwrap();
    let limits = Limits {
        processes: Some(7),
        ..Limits::default()
    };
    let failed = child.limit(&limits);
    assert!(failed[0].1.contains("gives no such controller"));
}

#[test]
fn processes_move_away_once_and_only_when_the_kernel_says_busy() {
    // Refusals before it works, or for ever; what is expected: enabled, moves.
    for (refusals, error, expected, moves_expected) in [
        (0, Errno::BUSY, true, 0),
        (1, Errno::BUSY, true, 1),
        (2, Errno::BUSY, false, 1),
        (2, Errno::ACCESS, false, 0),
    ] {
        let left = std::cell::Cell::new(refusals);
        let enable = || {
            if left.get() == 0 {
                return Ok(());
            }
            left.set(left.get() - 1);
            Err(error.into())
        };
        let (mut moved, mut moves) = (false, 0);
        let enabled = enable_or_move(enable, &mut moved, || {
            moves += 1;
            true
        });
        assert_eq!((enabled, moves), (expected, moves_expected));
        assert_eq!(moved, moves > 0);
    }
    let mut moved = true;
    let again = enable_or_move(
        || Err(Errno::BUSY.into()),
        &mut moved,
        || unreachable!("it has moved"),
    );
    assert!(!again);
}

/// With whatever controller the unified hierarchy of this machine has to give: the kernel's rules are the same for
/// all of them.
#[test]
fn the_kernel_gives_controllers_to_children_once_the_processes_are_in_a_leaf() {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let places = Places::read(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
    let Some(unified) = places.unified.filter(|path| probe(path).is_ok()) else {
        return;
    };
    let offered = fs::read_to_string(unified.join("cgroup.controllers")).unwrap();
    let enabled_before = fs::read_to_string(unified.join(CHILDREN)).unwrap();
    // `cpu` and `pids` are threaded: they have no such rule.
    let mut names = offered.split_whitespace();
    let domain = names.find(|name| ["memory", "hugetlb", "io"].contains(name));
    let Some(name) = domain.filter(|name| enable(&unified, name).is_ok()) else {
        return;
    };
    let was_enabled = enabled_before.split_whitespace().any(|one| one == name);
    let group = unified.join(format!("klusterkite-test-{}", std::process::id()));
    let leaf = group.join(OWN_LEAF);
    fs::create_dir(&group).unwrap();
    fs::create_dir(&leaf).unwrap();
    let mut child = std::process::Command::new("sleep")
        .arg("1000")
        .spawn()
        .unwrap();
    let join = |group: &Path| write(&group.join("cgroup.procs"), &child.id().to_string());
    join(&group).unwrap();
    let (mut moved, mut refused) = (false, 0);
    let enabled = enable_or_move(
        || enable(&group, name),
        &mut moved,
        || {
            refused += 1;
            join(&leaf).is_ok()
        },
    );
    let below = group.join("run");
    fs::create_dir(&below).unwrap();
    let passed_on = fs::read_to_string(below.join("cgroup.controllers")).unwrap();
    let own = ControlGroup {
        directory: group,
        controllers: BTreeMap::new(),
    };
    let killed = own.kill_and_wait(Duration::from_secs(10));
    child.wait().unwrap();
    own.remove();
    assert!(killed.is_ok() && !own.directory.exists());
    if !was_enabled {
        let _ = write(&unified.join(CHILDREN), &format!("-{name}"));
    }
    assert_eq!((enabled, moved, refused), (true, true, 1));
    assert_eq!(passed_on.trim(), name);
}
