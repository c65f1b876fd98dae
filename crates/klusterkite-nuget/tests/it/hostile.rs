//! Packages made to harm whoever opens them.

use std::io::Cursor;

use klusterkite_nuget::{Error, Limits, Package, RidGraph};
use proptest::prelude::*;

use crate::zipper::{RawEntry, nuspec, zip};

/// Small limits, so that the tests need no large archives.
const LIMITS: Limits = Limits {
    entries_max: 10,
    entry_bytes_max: 1 << 20,
    total_bytes_max: 2 << 20,
    ratio_max: 200,
};

/// Opens the package and unpacks all of it, as a careless reader would.
fn open_all(bytes: &[u8], limits: &Limits) -> Result<(), Error> {
    let mut package = Package::open(Cursor::new(bytes), limits)?;
    package.assets("linux-x64", &RidGraph::portable())?;
    package.hash_files()?;
    Ok(())
}

fn refusal(entries: &[RawEntry]) -> String {
    open_all(&zip(entries), &LIMITS)
        .expect_err("the package is refused")
        .to_string()
}

#[test]
fn a_right_package_is_accepted() {
    let entries = [
        nuspec(),
        RawEntry::deflated("content/a.txt", b"aaaaaaaaaaaaaaaaaaaaaaaa"),
        RawEntry::stored("content/", b"").unix(0o040_755),
    ];
    open_all(&zip(&entries), &LIMITS).unwrap();
}

#[test]
fn paths_outside_of_the_package_are_refused_and_named() {
    for name in [
        "../evil",
        "content/../../evil",
        "/etc/evil",
        "C:\\evil",
        "..\\evil",
        "%2e%2e/evil",
        "a\0evil",
    ] {
        let message = refusal(&[nuspec(), RawEntry::stored(name, b"x")]);
        assert!(message.contains("evil"), "{message}");
    }
}

#[test]
fn links_and_devices_are_refused() {
    for mode in [0o120_777, 0o020_666, 0o060_666, 0o010_666, 0o140_666] {
        let message = refusal(&[
            nuspec(),
            RawEntry::stored("content/link", b"/etc/passwd").unix(mode),
        ]);
        assert!(message.contains("content/link"), "{message}");
    }
}

#[test]
fn names_that_clash_are_refused() {
    for (first, second) in [
        ("content/a", "content/a"),
        ("content/a", "Content/A"),
        ("content/a", "content/a/b"),
    ] {
        let message = refusal(&[
            nuspec(),
            RawEntry::stored(first, b"1"),
            RawEntry::stored(second, b"2"),
        ]);
        assert!(
            message.contains(first) && message.contains(second),
            "{message}"
        );
    }
}

#[test]
fn encrypted_and_exotic_entries_are_refused() {
    let encrypted = RawEntry {
        flags: 1,
        ..RawEntry::stored("a", b"x")
    };
    assert!(refusal(&[nuspec(), encrypted]).contains("encrypted"));
    let exotic = RawEntry {
        method: 12,
        ..RawEntry::stored("a", b"x")
    };
    assert!(refusal(&[nuspec(), exotic]).contains("compression method"));
}

#[test]
fn a_package_has_exactly_one_nuspec() {
    assert!(refusal(&[RawEntry::stored("content/a.nuspec", b"x")]).contains("0 `.nuspec` files"));
    let second = RawEntry::stored("Other.NUSPEC", b"x");
    assert!(refusal(&[nuspec(), second]).contains("2 `.nuspec` files"));
}

#[test]
fn too_many_entries_are_refused() {
    let mut entries = vec![nuspec()];
    entries.extend((0..10).map(|index| RawEntry::stored(format!("content/{index}"), b"")));
    assert!(refusal(&entries).contains("the limit is 10"));
}

#[test]
fn bombs_are_refused_by_their_declared_sizes() {
    let large = RawEntry::deflated("content/a", &vec![0; (1 << 20) + 1]);
    assert!(refusal(&[nuspec(), large]).contains("one entry"));
    let half = |name| RawEntry::deflated(name, &vec![0; 1 << 20]);
    assert!(refusal(&[nuspec(), half("content/a"), half("content/b")]).contains("all entries"));

    let zeros = RawEntry::deflated("content/a", &vec![0; 17 << 20]);
    let bytes = zip(&[nuspec(), zeros]);
    let error = open_all(&bytes, &Limits::STANDARD).unwrap_err();
    assert!(
        matches!(error, Error::Limit { limit, .. } if limit == 16 << 20),
        "{error}"
    );
}

#[test]
fn bombs_that_lie_about_their_size_are_stopped_at_the_declared_size() {
    let bomb = RawEntry {
        size: 10,
        ..RawEntry::deflated("content/a", &vec![0; 1 << 20])
    };
    let bytes = zip(&[nuspec(), bomb]);
    let mut package = Package::open(Cursor::new(&bytes), &LIMITS).unwrap();
    let asset = package
        .assets("linux-x64", &RidGraph::portable())
        .unwrap()
        .remove(0);
    let mut out = Vec::new();
    let error = package
        .copy_file(&asset.entry, &mut out)
        .unwrap_err()
        .to_string();
    assert!(error.contains("more bytes than it declares"), "{error}");
    assert!(out.len() <= 10);

    let short = RawEntry {
        size: 1000,
        ..RawEntry::deflated("content/a", b"abc")
    };
    assert!(refusal(&[nuspec(), short]).contains("fewer bytes"));
}

#[test]
fn overlapping_entries_are_refused() {
    let first = RawEntry::deflated("content/a", &vec![7; 100_000]);
    let second = RawEntry {
        offset: Some(10),
        ..RawEntry::stored("content/b", b"x")
    };
    assert!(refusal(&[nuspec(), first.clone(), second]).contains("overlaps"));
    let beyond = RawEntry {
        offset: Some(1_000_000),
        ..first
    };
    assert!(refusal(&[nuspec(), beyond]).contains("directory"));
}

#[test]
fn contradicting_headers_and_checksums_are_refused() {
    let other_name = RawEntry {
        local_name: b"content/x".to_vec(),
        ..RawEntry::stored("content/a", b"1")
    };
    assert!(refusal(&[nuspec(), other_name]).contains("contradicts"));
    let wrong_sum = RawEntry {
        crc32: 1,
        ..RawEntry::stored("content/a", b"1")
    };
    assert!(refusal(&[nuspec(), wrong_sum]).contains("checksum"));
    let mut broken = RawEntry::deflated("content/a", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    broken.data = vec![0xff; broken.data.len()];
    assert!(refusal(&[nuspec(), broken]).contains("corrupt"));
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = zip(&[
        nuspec(),
        RawEntry::deflated("content/a", b"hello hello hello hello"),
    ]);
    for length in 0..bytes.len() {
        assert!(
            open_all(&bytes[..length], &LIMITS).is_err(),
            "cut at {length}"
        );
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(open_all(&longer, &LIMITS).is_err());
    let mut shifted = b"#!/bin/sh\n".to_vec();
    shifted.extend_from_slice(&bytes);
    assert!(open_all(&shifted, &LIMITS).is_err());
}

#[test]
fn garbage_is_an_error() {
    for bytes in [&b""[..], b"PK", b"PK\x05\x06", &[0; 100], &[0xff; 10_000]] {
        assert!(open_all(bytes, &LIMITS).is_err());
    }
}

proptest! {
    #[test]
    fn any_changed_byte_is_an_answer_and_never_a_panic(position in any::<prop::sample::Index>(), value: u8) {
        let mut bytes = zip(&[
            nuspec(),
            RawEntry::deflated("runtimes/linux-x64/native/a", b"hello hello hello hello"),
            RawEntry::stored("klusterkite.hocon", b"roles = [a]").unix(0o100_644),
        ]);
        let position = position.index(bytes.len());
        bytes[position] = value;
        let _ = open_all(&bytes, &LIMITS);
    }

    #[test]
    fn any_text_is_an_answer_and_never_a_panic(text in "\\PC{0,40}") {
        let _ = text.parse::<klusterkite_nuget::Version>();
        let _ = text.parse::<klusterkite_nuget::VersionRange>();
        let _ = text.parse::<klusterkite_nuget::PackageId>();
        let _ = klusterkite_nuget::Nuspec::parse(&text);
    }

    #[test]
    fn texts_like_ranges_survive_their_normalized_form(text in "[\\[(]?[0-9*.\\-a]{1,8}(,[0-9.]{0,4}[\\])])?") {
        if let Ok(range) = text.parse::<klusterkite_nuget::VersionRange>() {
            let again: klusterkite_nuget::VersionRange = range.to_string().parse().unwrap();
            prop_assert_eq!(again.to_string(), range.to_string());
        }
    }
}
