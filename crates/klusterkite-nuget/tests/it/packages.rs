//! Packages that we and others make.

use std::io::{Cursor, Read as _, Write as _};

use klusterkite_nuget::{AssetTarget, Limits, Nuspec, Package, PackageBuilder, RidGraph};
use zip::write::SimpleFileOptions;

use crate::zipper::{self, RawEntry};

fn nuspec() -> Nuspec {
    Nuspec::new(
        "Acme.Orders".parse().unwrap(),
        "1.2.0-rc.1".parse().unwrap(),
        "Acme & Co",
        "Orders <service>",
    )
}

fn builder() -> PackageBuilder {
    PackageBuilder::new(nuspec())
        .manifest("roles = [orders]\n")
        .file(
            "runtimes/linux-x64/native/orders",
            b"\x7fELF program".repeat(1000),
            true,
        )
        .file(
            "runtimes/linux-x64/native/data/ä b+c%20.txt",
            "plain",
            false,
        )
        .file("runtimes/win-x64/native/orders.exe", "MZ", false)
        .file("content/site/index.html", "<html>".repeat(100), false)
}

fn assets(bytes: &[u8], rid: &str) -> Vec<(String, bool, Vec<u8>)> {
    let mut package = Package::open(Cursor::new(bytes), &Limits::STANDARD).unwrap();
    let mut found = Vec::new();
    for asset in package.assets(rid, &RidGraph::portable()).unwrap() {
        let mut contents = Vec::new();
        assert_eq!(
            package.copy_file(&asset.entry, &mut contents).unwrap(),
            asset.entry.size
        );
        let executable = asset.executable.decide(&contents);
        found.push((asset.target_path, executable, contents));
    }
    found
}

#[test]
fn a_packed_package_gives_back_what_was_packed() {
    let bytes = builder().to_bytes().unwrap();
    let package = Package::open(Cursor::new(&bytes), &Limits::STANDARD).unwrap();
    assert_eq!(package.id().as_str(), "Acme.Orders");
    assert_eq!(package.version().to_string(), "1.2.0-rc.1");
    assert_eq!(package.nuspec(), &nuspec());
    assert_eq!(package.manifest(), Some("roles = [orders]\n"));
    let paths: Vec<&str> = package
        .files()
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "Acme.Orders.nuspec",
            "content/site/index.html",
            "klusterkite.hocon",
            "runtimes/linux-x64/native/data/ä b+c%20.txt",
            "runtimes/linux-x64/native/orders",
            "runtimes/win-x64/native/orders.exe",
        ]
    );
    let found = assets(&bytes, "linux-x64");
    let targets: Vec<(&str, bool)> = found
        .iter()
        .map(|(path, executable, _)| (path.as_str(), *executable))
        .collect();
    assert_eq!(
        targets,
        [
            ("data/ä b+c%20.txt", false),
            ("orders", true),
            ("site/index.html", false)
        ]
    );
    assert_eq!(found[1].2, b"\x7fELF program".repeat(1000));
}

#[test]
fn packing_twice_gives_the_same_bytes() {
    assert_eq!(builder().to_bytes().unwrap(), builder().to_bytes().unwrap());
}

#[test]
fn other_zip_readers_read_our_packages() {
    let bytes = builder().to_bytes().unwrap();
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let names: Vec<String> = archive
        .file_names()
        .map(|name| name.unwrap().into_owned())
        .collect();
    for part in ["[Content_Types].xml", "_rels/.rels", "Acme.Orders.nuspec"] {
        assert!(
            names.iter().any(|name| name == part),
            "{part} is missing in {names:?}"
        );
    }
    for index in 0..archive.len() {
        let mut contents = Vec::new();
        archive
            .by_index(index)
            .unwrap()
            .read_to_end(&mut contents)
            .unwrap();
    }
    let file = archive.by_name("runtimes/linux-x64/native/orders").unwrap();
    assert_eq!(file.unix_mode(), Some(0o100_755));
}

#[test]
fn packages_of_other_zip_writers_are_read() {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default();
    writer.start_file("Acme.nuspec", options).unwrap();
    writer.write_all(&zipper::nuspec().data).unwrap();
    writer.add_directory("content/", options).unwrap();
    writer
        .start_file("content/run.sh", options.unix_permissions(0o755))
        .unwrap();
    writer.write_all(b"#!/bin/sh\n").unwrap();
    // 64-bit sizes in an extra field.
    writer
        .start_file("content/large.bin", options.large_file(true))
        .unwrap();
    writer.write_all(&[7; 1000]).unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    let found = assets(&bytes, "linux-x64");
    assert_eq!(found[0], ("large.bin".to_owned(), false, vec![7; 1000]));
    assert_eq!((found[1].0.as_str(), found[1].1), ("run.sh", true));
}

#[test]
fn programs_are_recognised_by_their_first_bytes_when_no_mode_says_it() {
    let bytes = zipper::zip(&[
        zipper::nuspec(),
        RawEntry::deflated("runtimes/linux-x64/native/a", b"\x7fELFaaaaaaaaaaaaaaa"),
        RawEntry::stored("runtimes/linux-x64/native/b", b"#!/bin/sh").unix(0o100_644),
        RawEntry::stored("runtimes/linux-x64/native/c", b"text"),
        RawEntry::stored("content/d", b"#!/bin/sh"),
        RawEntry::stored("content/e", b"#!/bin/sh").unix(0o100_644),
        RawEntry::stored("content/f", b"").unix(0o100_711),
    ]);
    let found: Vec<(String, bool)> = assets(&bytes, "linux-x64")
        .into_iter()
        .map(|(path, executable, _)| (path, executable))
        .collect();
    let expected = [
        ("a", true),
        ("b", true),
        ("c", false),
        ("d", true),
        ("e", false),
        ("f", true),
    ];
    assert_eq!(
        found,
        expected.map(|(path, executable)| (path.to_owned(), executable))
    );
}

#[test]
fn a_builder_refuses_what_a_reader_would_refuse() {
    for path in ["../a", "/a", "other.nuspec", "content/A", "content/site"] {
        let built = builder()
            .file("content/a", "1", false)
            .file(path, "2", false)
            .to_bytes();
        assert!(built.is_err(), "{path}");
    }
}

#[test]
fn a_package_is_used_by_framework_with_the_runtimes_that_it_adds() {
    let json = r##"{"runtimes": {"acme-os": {"#import": ["linux-x64"]}}}"##;
    let bytes = PackageBuilder::new(nuspec())
        .file("runtime.json", json, false)
        .file("lib/net6.0/orders.dll", "MZ", false)
        .file("runtimes/linux-x64/native/liborders.so", "ELF", false)
        .to_bytes()
        .unwrap();
    let mut package = Package::open(Cursor::new(bytes), &Limits::STANDARD).unwrap();
    let mut graph = RidGraph::portable();
    graph.merge(&package.runtime_graph().unwrap().unwrap());
    let target = AssetTarget {
        framework: &"net8.0".parse().unwrap(),
        rid: Some("acme-os"),
        graph: &graph,
    };
    let assets = package.framework_assets(&target).unwrap();
    assert_eq!(assets.runtime, ["lib/net6.0/orders.dll"]);
    assert_eq!(assets.native, ["runtimes/linux-x64/native/liborders.so"]);
}
