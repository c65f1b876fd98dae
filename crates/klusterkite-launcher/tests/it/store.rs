use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::cluster::{Container, large_package};
use crate::feed::pack;

#[test]
fn a_start_with_everything_there_downloads_and_unpacks_nothing_and_leaves_nothing_of_before() {
    let mut container = Container::new();
    container.answer_with(&container.release(7, ""));
    container.launch();
    container.wait_for_ready(1);
    let program = container.path("current/klusterkite-service");
    let inode = || fs::metadata(&program).unwrap().ino();
    let first = inode();
    fs::write(container.path("current/left"), "by the node").unwrap();
    container.stop();
    assert_eq!(container.downloads(), 1);

    container.launch();
    container.wait_for_ready(2);
    assert_eq!((container.current(), inode()), ("1".to_owned(), first));
    assert!(!container.path("current/left").exists());
    assert_eq!(container.downloads(), 1);
    container.stop();

    // The node has written to its own program: the next one gets what was packed.
    let text = fs::read_to_string(&program).unwrap();
    fs::write(&program, text.replace("stops", "stopz")).unwrap();
    container.launch();
    container.wait_for_ready(3);
    assert_eq!(container.current(), "2");
    assert_eq!(container.downloads(), 1);
    let program = fs::read_to_string(container.path("current/klusterkite-service"));
    assert_eq!(program.unwrap(), text);
    container.stop();
}

#[test]
fn a_launcher_that_is_killed_while_it_unpacks_starts_over_without_what_is_there() {
    let mut container = Container::new();
    let mut start = container.release(1, "");
    start.packages.push(large_package(&container));
    container.answer_with(&start);
    container.gate.close("Large");
    container.launch();
    let half_made = container.path("releases/.1.partial/klusterkite-service");
    container.wait_for("a release that is being made", || {
        half_made.exists().then_some(())
    });
    container.kill();
    container.gate.open();
    assert!(!container.path("releases/1").exists());

    let downloads = container.downloads();
    container.launch();
    container.wait_for_ready(1);
    assert_eq!(
        container.downloads(),
        downloads + 1,
        "only what was missing"
    );
    assert!(!half_made.exists());
    assert_eq!(
        fs::metadata(container.path("current/large")).unwrap().len(),
        3_000_000
    );
    container.stop();
}

#[test]
fn a_package_that_rots_in_the_store_is_found_while_the_node_runs_and_fetched_again() {
    let mut container = Container::new();
    container.answer_with(&container.release(1, ""));
    container.launch();
    container.wait_for_ready(1);
    container.stop();

    let stored = container.stored().remove(0);
    let good = fs::read(&stored).unwrap();
    let mut rotten = good.clone();
    rotten[100] ^= 1;
    fs::write(&stored, rotten).unwrap();
    // A disk that rots leaves the times as they are; and the last look is long ago.
    let file = fs::metadata(&stored).unwrap();
    let time = |seconds: i64, nanoseconds: i64| seconds * 1_000_000_000 + nanoseconds;
    let path = container.path("store/verified.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let name = stored.file_stem().unwrap().to_str().unwrap();
    let record = &mut index["packages"][name];
    record["checked"] = json!(0);
    record["stamp"] = json!([
        file.size(),
        file.ino(),
        time(file.mtime(), file.mtime_nsec()),
        time(file.ctime(), file.ctime_nsec()),
    ]);
    fs::write(&path, index.to_string()).unwrap();

    container.launch();
    container.wait_for_ready(2);
    container.wait_for_log(
        "package `KlusterKite.Core.Service 1.0.0` is damaged in the content store and was removed",
    );
    container.wait_for("the package", || {
        (fs::read(&stored).ok().as_ref() == Some(&good)).then_some(())
    });
    assert_eq!(container.notes("stops").len(), 1, "the node runs on");
    container.stop();
}

#[test]
fn a_mirror_serves_while_the_feed_of_the_cluster_is_away() {
    let mut container = Container::new();
    let mut start = container.release(1, "");
    let mirror = start.package_source.clone();
    start.package_source = "http://127.0.0.1:1/v3/index.json".to_owned();
    container.answer_with(&start);
    container.configure(&format!("packageMirrors = [\"{mirror}\"]"));
    container.launch();
    container.wait_for_ready(1);
    container.stop();
}

#[test]
fn files_that_packages_bring_in_other_ways_are_where_programs_look() {
    let mut container = Container::new();
    let files = [
        ("lib/net8.0/Acme.dll", "MZ", false),
        ("contentFiles/any/any/acme.json", "{}", false),
        ("runtimes/acme-os/native/data", "for our runtime", false),
    ];
    let graph = r##"{"runtimes": {"linux-x64-acme": {"#import": ["acme-os", "linux-x64"]}}}"##;
    let graph = [("runtime.json", graph, false)];
    let mut start = container.release(1, "");
    for (id, files) in [("Acme", &files[..]), ("Acme.Platforms", &graph[..])] {
        let bytes = pack(id, "1.0.0", files, None);
        start
            .packages
            .push(container.packages.add(id, "1.0.0", bytes));
    }
    container.answer_with(&start);
    container.configure("runtime = linux-x64-acme");
    container.launch();
    container.wait_for_ready(1);
    for name in ["Acme.dll", "acme.json", "data", "klusterkite-service"] {
        assert!(container.path("current").join(name).exists(), "{name}");
    }
    container.stop();
}
