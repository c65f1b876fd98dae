//! Publishing, the way back, what is kept.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::fixture::Place;

#[test]
fn a_site_is_published_and_goes_back() {
    let place = Place::new(&["0001_first", "0002_second"]);
    assert_eq!(place.point().unwrap(), "-");
    assert!(!place.path("www").exists(), "reading makes nothing");
    for point in ["0001_first", "0002_second", "0002_second", "0001_first"] {
        place.migrate(point, 1).unwrap();
        assert_eq!(place.point().unwrap(), point);
        assert_eq!(place.served(), point);
    }
    let description = place.start().initialize().unwrap();
    assert_eq!(description["points"], json!(["0001_first", "0002_second"]));
    assert_eq!(description["dependencyType"], "resourceDependsOnCode");
}

#[test]
fn a_reader_never_finds_half_a_site_or_none() {
    let place = Place::new(&["0001_first", "0002_second"]);
    place.migrate("0001_first", 1).unwrap();
    let stop = AtomicBool::new(false);
    let reads = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !stop.load(Ordering::Relaxed) {
                let served = place.served();
                assert!(
                    served == "0001_first" || served == "0002_second",
                    "{served}"
                );
                reads += 1;
            }
            reads
        });
        for _ in 0..10 {
            place.migrate("0002_second", 1).unwrap();
            place.migrate("0001_first", 1).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(reads > 0);
}

#[test]
fn versions_are_kept_as_many_as_the_settings_say() {
    let points = ["0001_a", "0002_b", "0003_c", "0004_d", "0005_e"];
    let mut place = Place::new(&points);
    place.section()["keep"] = json!(1);
    place.section()["earlier"] = json!(["0000_old"]);
    for point in points {
        place.migrate(point, 1).unwrap();
    }
    assert_eq!(place.kept(), ["0004_d", "0005_e"]);
    // The way back does not need them: the package has them.
    let log = place.migrate("0001_a", 1).unwrap();
    assert_eq!(log, ["publish `0001_a`", "removed the version `0004_d`"]);
    assert_eq!(place.kept(), ["0001_a", "0005_e"]);
}

#[test]
fn a_package_goes_back_to_an_earlier_point_that_it_does_not_bring() {
    let mut place = Place::new(&["0001_first"]);
    place.section()["keep"] = json!(0);
    place.migrate("0001_first", 1).unwrap();
    place.remove_version("0001_first");
    place.version("0002_second", "0002_second");
    place.section()["earlier"] = json!(["0001_first"]);
    place.migrate("0002_second", 1).unwrap();
    assert_eq!(
        place.kept(),
        ["0001_first", "0002_second"],
        "an earlier point is not garbage"
    );
    place.migrate("0001_first", 1).unwrap();
    assert_eq!(place.served(), "0001_first");
    place.migrate("0002_second", 1).unwrap();
    fs::write(place.path("www/points/0001_first/index.html"), "changed").unwrap();
    let error = place.migrate("0001_first", 1).unwrap_err();
    assert!(
        error.contains("was changed since it was published"),
        "{error}"
    );
    fs::remove_dir_all(place.path("www/points/0001_first")).unwrap();
    let error = place.migrate("0001_first", 1).unwrap_err();
    assert!(error.contains("it is not kept"), "{error}");
    assert_eq!(place.served(), "0002_second");
}

#[test]
fn a_point_with_other_files_than_before_is_refused() {
    let place = Place::new(&["0001_first", "0002_second"]);
    place.migrate("0001_first", 1).unwrap();
    place.migrate("0002_second", 1).unwrap();
    place.version("0001_first", "edited");
    let error = place.migrate("0001_first", 1).unwrap_err();
    assert!(error.contains("was published with other files"), "{error}");
    assert_eq!(place.served(), "0002_second");
}

#[test]
fn a_kept_version_that_somebody_changed_is_copied_anew() {
    let place = Place::new(&["0001_first", "0002_second"]);
    place.migrate("0001_first", 1).unwrap();
    place.migrate("0002_second", 1).unwrap();
    fs::write(place.path("www/points/0001_first/index.html"), "changed").unwrap();
    place.migrate("0001_first", 1).unwrap();
    assert_eq!(place.served(), "0001_first");
}

#[test]
fn an_order_of_an_older_fence_is_refused() {
    let place = Place::new(&["0001_first", "0002_second"]);
    place.migrate("0001_first", 7).unwrap();
    let error = place.migrate("0002_second", 6).unwrap_err();
    assert!(error.contains("its fence is 6"), "{error}");
    assert_eq!(place.served(), "0001_first");
}

#[test]
fn a_killed_migrator_leaves_a_whole_site_and_the_next_finishes() {
    let place = Place::new(&["0001_first", "0002_second"]);
    for file in 0..300 {
        let name = format!("site/0002_second/assets/{file}.js");
        fs::write(place.path(&name), vec![b'x'; 4096]).unwrap();
    }
    place.migrate("0001_first", 1).unwrap();
    for round in 0..12 {
        let mut running = place.start();
        let id = running.id();
        let killer = std::thread::spawn(move || {
            // The moment of the kill is the subject of the test, not a way to wait.
            std::thread::sleep(Duration::from_millis(4) * round);
            let killed = std::process::Command::new("kill")
                .args(["-KILL", &id.to_string()])
                .status();
            killed.unwrap()
        });
        let order = json!({ "resource": "main", "point": "0002_second", "fence": 1 });
        let moved = running
            .initialize()
            .and_then(|_| running.call("migrate", order));
        killer.join().unwrap();
        drop(running);
        let point = place.point().unwrap();
        assert_eq!(place.served(), point);
        assert!(moved.is_err() || point == "0002_second");
        place.migrate("0002_second", 1).unwrap();
        let assets = fs::read_dir(place.path("www/current/assets")).unwrap();
        assert_eq!(assets.count(), 301);
        assert_eq!(place.kept(), ["0001_first", "0002_second"]);
        place.migrate("0001_first", 1).unwrap();
        fs::remove_dir_all(place.path("www/points/0002_second")).unwrap();
    }
}

#[test]
fn what_cannot_be_published_is_named() {
    let place = Place::new(&["0001_first"]);
    symlink("/etc/passwd", place.path("site/0001_first/link")).unwrap();
    let error = place.migrate("0001_first", 1).unwrap_err();
    assert!(
        error.contains("0001_first/link` is neither a file"),
        "{error}"
    );
    assert_eq!(place.point().unwrap(), "-");

    let place = Place::new(&["0001_first"]);
    fs::create_dir_all(place.path("www/current")).unwrap();
    let error = place.point().unwrap_err();
    assert!(error.contains("is no link"), "{error}");

    let place = Place::new(&["first"]);
    let error = place.start().initialize().unwrap_err();
    assert!(error.contains("does not begin with a number"), "{error}");

    let mut place = Place::new(&["1"]);
    place.section()["sites"]["main"]["directory"] = json!("www");
    let error = place.start().initialize().unwrap_err();
    assert!(error.contains("not an absolute path"), "{error}");
}
