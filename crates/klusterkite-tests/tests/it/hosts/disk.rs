//! A host whose disk is full.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::Command;

use klusterkite_tests::disk::SmallDisk;
use klusterkite_tests::process::{tail, wait_until};
use serde_json::json;

use super::kills::kill;
use super::stage::{
    PATIENCE, hello_on_hosts, node_on, serves, stay_the_same, stop_launcher, wait_for_newer,
};

/// Enough for a node in a debug build, twice.
const DISK_MEBIBYTES: u32 = 192;

#[test]
fn a_host_whose_disk_is_full_says_so_harms_no_other_and_comes_back_when_there_is_room() {
    let template = json!({ "minimumRequiredInstances": 3, "maximumNeededInstances": 4 });
    let Some(mut test) = hello_on_hosts(4, &template, 5) else {
        return;
    };
    let operator = test.operator();
    let before = node_on(&test, &operator, "worker-4").unwrap();
    let container = test.cluster.container("worker-4");
    stop_launcher(&mut test, "worker-4");
    let on_root = container.with_extension("root");
    fs::rename(&container, &on_root).unwrap();
    fs::create_dir(&container).unwrap();
    let Some(_disk) = SmallDisk::mount(&container, DISK_MEBIBYTES) else {
        return;
    };
    let copied = Command::new("cp")
        .args(["-a", "-T"])
        .args([&on_root, &container])
        .status();
    assert!(copied.unwrap().success());
    test.cluster.start_launcher("worker-4").unwrap();
    let before = wait_for_newer(&test, &operator, "worker-4", before.incarnation);

    let filler = container.join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);
    kill(&test, "worker-4", "klusterkite-service");
    let (log, container) = (
        test.cluster.logs().join("worker-4.log"),
        container.display().to_string(),
    );
    let said = wait_until(PATIENCE, || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.lines().any(|line| {
            ["No space left on device", "make room", &container]
                .iter()
                .all(|text| line.contains(text))
        })
    });
    assert!(said, "{}", tail(&log));
    let others = ["worker-1", "worker-2", "worker-3"];
    stay_the_same(&test, &operator, &others);
    assert!(others.iter().all(|host| serves(&test, host)));

    fs::remove_file(&filler).unwrap();
    wait_for_newer(&test, &operator, "worker-4", before.incarnation);
    assert!(wait_until(PATIENCE, || serves(&test, "worker-4")));
    test.cluster.stop().unwrap();
}
