//! What happens to the published site.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::fixture::{Moves as _, Place, kill};

/// Longest wait for something that takes milliseconds.
const DEADLINE: Duration = Duration::from_mins(1);

fn page(place: &Place) -> String {
    fs::read_to_string(place.resource().join("current/index.html")).unwrap()
}

#[test]
fn the_story_forward_and_back() {
    let place = Place::new();
    let mut first = place.start("1.0.0");
    let description = first.initialize().unwrap();
    assert_eq!(description["points"].to_string(), r#"["site-1"]"#);
    assert_eq!(description["dependencyType"], "resourceDependsOnCode");
    assert_eq!(first.place(), "-");
    assert!(!place.resource().exists());
    first.migrate("site-1", 1).unwrap();
    assert!(page(&place).contains("this is site-1"));
    assert!(place.resource().join("current/style/site.css").exists());

    let mut second = place.start("2.0.0");
    assert_eq!(second.place(), "site-1");
    second.migrate("site-2", 2).unwrap();
    assert!(page(&place).contains("this is site-2"));
    assert_eq!(first.place(), "site-2");
    second.migrate("site-1", 3).unwrap();
    assert!(page(&place).contains("this is site-1"));
    assert_eq!(first.place(), "site-1");
}

#[test]
fn a_repeated_move_changes_nothing() {
    let place = Place::new();
    let mut migrator = place.start("2.0.0");
    migrator.migrate("site-2", 1).unwrap();
    let log = migrator.log.len();
    migrator.migrate("site-2", 1).unwrap();
    assert_eq!(migrator.log.len(), log);
    assert!(page(&place).contains("this is site-2"));
}

#[test]
fn a_dry_run_publishes_nothing() {
    let place = Place::new();
    let mut migrator = place.start("1.0.0");
    migrator.initialize().unwrap();
    let dry = serde_json::json!({
        "resource": "hello-site", "point": "site-1", "fence": 1, "dryRun": true
    });
    migrator.call("migrate", dry).unwrap();
    assert!(!place.resource().exists());
}

/// Makes a site of many files, slow to copy because each is synced.
fn large_site(place: &Path, files: usize) {
    let site = place.join("hello-site/large");
    fs::create_dir_all(&site).unwrap();
    for number in 0..files {
        fs::write(site.join(format!("{number}.html")), "x".repeat(1000)).unwrap();
    }
    let small = place.join("hello-site/small");
    fs::create_dir_all(&small).unwrap();
    fs::write(small.join("index.html"), "small").unwrap();
    let points = r#"{"points": ["small", "large"]}"#;
    fs::write(place.join("hello-site/points.json"), points).unwrap();
}

#[test]
fn a_migrator_that_is_killed_while_it_copies_leaves_the_old_site() {
    const FILES: usize = 3000;
    let place = Place::new();
    let content = tempfile::tempdir().unwrap();
    large_site(content.path(), FILES);
    let mut migrator = place.start_in(content.path());
    migrator.migrate("small", 1).unwrap();
    let process_id = migrator.id();
    let points = place.resource().join("points");
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| migrator.migrate("large", 2));
        let deadline = Instant::now() + DEADLINE;
        while !points.join(".large.new/0.html").exists()
            && fs::read_dir(points.join(".large.new")).map_or(0, Iterator::count) == 0
        {
            assert!(Instant::now() < deadline, "the copy does not begin");
        }
        kill(process_id);
        moving.join().unwrap().unwrap_err();
    });
    assert!(!points.join("large").exists(), "killed too late");
    let mut migrator = place.start_in(content.path());
    assert_eq!(migrator.place(), "small");
    assert_eq!(page(&place), "small");
    migrator.migrate("large", 2).unwrap();
    let current = place.resource().join("current");
    assert_eq!(fs::read_dir(current).unwrap().count(), FILES);
    assert!(!points.join(".large.new").exists());
}

#[test]
fn a_package_whose_points_are_no_directories_is_refused() {
    let place = Place::new();
    let content = tempfile::tempdir().unwrap();
    fs::create_dir_all(content.path().join("hello-site")).unwrap();
    for (points, expected) in [
        (r#"{"points": ["../up"]}"#, "is no name of a directory"),
        (
            r#"{"points": ["missing"]}"#,
            "has no site `hello-site/missing`",
        ),
        ("{", "cannot parse"),
    ] {
        fs::write(content.path().join("hello-site/points.json"), points).unwrap();
        let error = place.start_in(content.path()).initialize().unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_site_with_a_link_in_it_is_refused_and_nothing_is_published() {
    let place = Place::new();
    let content = tempfile::tempdir().unwrap();
    large_site(content.path(), 1);
    let link = content.path().join("hello-site/large/link");
    std::os::unix::fs::symlink("/etc/passwd", link).unwrap();
    let mut migrator = place.start_in(content.path());
    let refused = migrator.migrate("large", 1).unwrap_err();
    assert!(
        refused.contains("neither a file nor a directory"),
        "{refused}"
    );
    assert_eq!(migrator.place(), "-");
}
