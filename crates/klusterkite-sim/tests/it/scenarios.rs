//! Every scenario of the folder says what happens.

use std::fs;
use std::path::PathBuf;

use klusterkite_sim::script::{is_broken_on_purpose, play};

fn files() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_scenario_says_what_happens_and_breaks_no_invariant() {
    let mut differ = Vec::new();
    for file in files() {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let expected = fs::read_to_string(&file).unwrap();
        let played = play(&expected).unwrap_or_else(|error| panic!("{name}: {error}"));
        for violation in &played.violations {
            let on_purpose = is_broken_on_purpose(&expected, violation.invariant);
            assert!(on_purpose, "{name}: {violation}\n{}", played.text);
        }
        if played.text != expected {
            differ.push(name);
        }
    }
    assert!(
        differ.is_empty(),
        "look at `cargo xtask scenario FILE`, and `--update` if it is right: {differ:?}"
    );
}

#[test]
fn there_are_scenarios() {
    assert!(files().len() >= 60, "{}", files().len());
}
