use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::slice;

use klusterkite_install::{
    Cancel, ContentStore, Error, ServiceDirectory, assemble, install, read_release, restore,
};
use klusterkite_tests::disk::SmallDisk;
use klusterkite_wire::Runtime;
use klusterkite_wire::Secret;
use klusterkite_wire::start::{PackageReference, StartConfiguration};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::feed::{Packages, pack};
use crate::store::{source, stored_path};

struct Fixture {
    directory: tempfile::TempDir,
    store: ContentStore,
    packages: Packages,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = ContentStore::open(directory.path().join("store")).unwrap();
        Self {
            directory,
            store,
            packages: Packages::default(),
        }
    }

    fn add(&self, id: &str, files: &[(&str, &str, bool)]) -> PackageReference {
        self.add_bytes(id, pack(id, "1.0.0", files, None))
    }

    fn add_bytes(&self, id: &str, bytes: Vec<u8>) -> PackageReference {
        let reference = self.packages.add(id, "1.0.0", bytes);
        self.fetch(&reference);
        reference
    }

    fn fetch(&self, package: &PackageReference) {
        let (server, _) = self.packages.serve();
        let packages = slice::from_ref(package);
        self.store
            .ensure(packages, &source(&server), &|_| {}, &Cancel::new())
            .unwrap();
    }

    /// Assembles `releases/1` and returns its path; after a failure nothing of it may be there.
    fn assemble(&self, packages: &[PackageReference]) -> Result<PathBuf, Error> {
        let releases = self.directory.path().join("releases");
        let result = self.assemble_into(packages, &releases.join("1"));
        if result.is_err() {
            assert_eq!(fs::read_dir(&releases).unwrap().count(), 0);
        }
        result.map(|()| releases.join("1"))
    }

    fn assemble_into(&self, packages: &[PackageReference], into: &Path) -> Result<(), Error> {
        let runtime = "linux-x64".parse().unwrap();
        self.assemble_for(&runtime, packages, into)
    }

    fn assemble_for(
        &self,
        runtime: &Runtime,
        packages: &[PackageReference],
        into: &Path,
    ) -> Result<(), Error> {
        let start = start(packages);
        assemble(
            &directory(&self.store, &start, runtime, into),
            &Cancel::new(),
        )
    }
}

fn directory<'a>(
    store: &'a ContentStore,
    start: &'a StartConfiguration,
    runtime: &'a Runtime,
    path: &'a Path,
) -> ServiceDirectory<'a> {
    ServiceDirectory {
        store,
        start,
        runtime,
        start_settings: "start = 1",
        path,
    }
}

fn start(packages: &[PackageReference]) -> StartConfiguration {
    StartConfiguration {
        node_template: "orders".parse().unwrap(),
        configuration_id: klusterkite_wire::ConfigurationId(7),
        configuration: "a = 1".to_owned(),
        packages: packages.to_vec(),
        package_source: "http://feed/v3/index.json".to_owned(),
        seeds: Vec::new(),
        entry_point: "klusterkite-service".to_owned(),
        start_deadline_seconds: 60,
        node_token: Some(Secret::new("token")),
    }
}

#[test]
fn a_service_directory_has_the_files_of_all_packages_and_the_settings() {
    let fixture = Fixture::new();
    let files = [
        ("runtimes/linux-x64/native/orders", "#!/bin/sh\n", true),
        ("runtimes/win-x64/native/orders.exe", "MZ", true),
        ("content/static/index.html", "<html>", false),
    ];
    let bytes = pack("Acme.Orders", "1.0.0", &files, Some("priority = role"));
    let orders = fixture.add_bytes("Acme.Orders", bytes);
    let same = [("contentFiles/any/any/static/index.html", "<html>", false)];
    let other = fixture.add("Other", &same);
    let packages = [orders, other];
    let into = fixture.assemble(&packages).unwrap();

    let mode = |name: &str| fs::metadata(into.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("orders"), 0o755);
    assert_eq!(mode("static/index.html"), 0o644);
    assert!(!into.join("orders.exe").exists());
    let read = |name: &str| fs::read_to_string(into.join(name)).unwrap();
    assert_eq!(
        read("packages/Acme.Orders/klusterkite.hocon"),
        "priority = role"
    );
    assert!(!into.join("packages/Other").exists());
    assert_eq!(read("service.hocon"), "a = 1");
    assert_eq!(read("start.hocon"), "start = 1");
    assert!(!read("release.json").contains("token"));
    let release = read_release(&into).unwrap().unwrap();
    assert_eq!(
        release,
        StartConfiguration {
            node_token: None,
            ..start(&packages)
        }
    );
    assert!(read_release(fixture.directory.path()).unwrap().is_none());

    let again = fixture.assemble_into(&packages, &into);
    assert!(matches!(again, Err(Error::Exists { .. })), "{again:?}");
}

#[test]
fn different_files_of_one_name_are_an_error_that_names_both_packages() {
    let cases = [
        ("content/a/b", "content/a/b", "a/b"),
        ("content/a", "content/a/b", "a"),
        ("content/a/b", "content/a", "a"),
    ];
    for (first, second, path) in cases {
        let fixture = Fixture::new();
        let one = fixture.add("One", &[(first, "1", false)]);
        let two = fixture.add("Two", &[(second, "2", false)]);
        let error = fixture.assemble(&[one, two]).unwrap_err().to_string();
        let expected = format!("`One 1.0.0` and `Two 1.0.0` both bring `{path}`");
        assert!(error.contains(&expected), "{expected}: {error}");
    }
}

#[test]
fn files_that_differ_in_length_only_differ() {
    for (one, two) in [("ab", "a"), ("a", "ab"), ("", "a"), ("a", "")] {
        let fixture = Fixture::new();
        let one = fixture.add("One", &[("content/a", one, false)]);
        let two = fixture.add("Two", &[("content/a", two, false)]);
        let error = fixture.assemble(&[one, two]).unwrap_err();
        assert!(matches!(error, Error::Conflict { .. }), "{error}");
    }
}

#[test]
fn names_of_the_service_directory_itself_are_refused() {
    for path in [
        "start.hocon",
        "release.json",
        "node-token",
        "packages/x",
        "Launcher.sock",
        "files.json",
    ] {
        let fixture = Fixture::new();
        let package = fixture.add("Acme", &[(&format!("content/{path}"), "x", false)]);
        let error = fixture.assemble(&[package]).unwrap_err().to_string();
        assert!(
            error.contains(path) && error.contains("Acme 1.0.0"),
            "{error}"
        );
    }
}

#[test]
fn a_stored_package_that_was_written_to_is_found_and_fetched_again() {
    let fixture = Fixture::new();
    let package = fixture.add("Acme", &[("content/a", "x", false)]);
    let stored = stored_path(&fixture.directory.path().join("store"), &package);
    let mut bytes = fs::read(&stored).unwrap();
    bytes[50] ^= 1;
    fs::write(&stored, &bytes).unwrap();
    let packages = slice::from_ref(&package);
    let error = fixture.assemble(packages).unwrap_err();
    assert!(matches!(error, Error::WrongHash { .. }), "{error}");
    let error = fixture.assemble(packages).unwrap_err();
    assert!(matches!(error, Error::NotStored { .. }), "{error}");
    fixture.fetch(&package);
    fixture.assemble(packages).unwrap();

    fs::write(&stored, &bytes).unwrap();
    let (server, _) = fixture.packages.serve();
    let runtime = "linux-x64".parse().unwrap();
    let into = fixture.directory.path().join("releases/2");
    let damaged = install(
        &directory(&fixture.store, &start(packages), &runtime, &into),
        &source(&server),
        &|_| {},
        &Cancel::new(),
    );
    assert_eq!(damaged.unwrap(), ["Acme 1.0.0"]);
    assert_eq!(fs::read_to_string(into.join("a")).unwrap(), "x");
}

#[test]
fn packages_are_fetched_and_unpacked_at_once_and_used_without_a_feed_then() {
    let fixture = Fixture::new();
    let mut packages = Vec::new();
    let mut expected = Vec::new();
    for n in 0..12 {
        let id = format!("P{n:02}");
        let contents: Vec<(String, String)> = (0..150)
            .map(|file| (format!("content/p{n}/{file}"), format!("{n} {file}")))
            .collect();
        let files: Vec<_> = contents
            .iter()
            .map(|(path, content)| (path.as_str(), content.as_str(), false))
            .collect();
        let bytes = pack(&id, "1.0.0", &files, Some("priority = role"));
        packages.push(fixture.packages.add(&id, "1.0.0", bytes));
        expected.extend(contents);
    }
    let (server, requests) = fixture.packages.serve();
    let (start, runtime) = (start(&packages), "linux-x64".parse().unwrap());
    for release in 1..3 {
        let into = fixture.directory.path().join(release.to_string());
        let made = install(
            &directory(&fixture.store, &start, &runtime, &into),
            &source(&server),
            &|_| {},
            &Cancel::new(),
        );
        assert!(made.unwrap().is_empty());
        for (path, content) in &expected {
            let path = into.join(path.strip_prefix("content/").unwrap());
            assert_eq!(fs::read_to_string(path).unwrap(), *content);
        }
        assert!(into.join("packages/P11/klusterkite.hocon").exists());
    }
    assert_eq!(
        requests.lock().unwrap().len(),
        13,
        "an index and 12 packages"
    );
}

#[test]
fn the_runtime_graph_of_one_package_leads_to_files_of_another() {
    let fixture = Fixture::new();
    let files = [
        ("runtimes/debian/native/tool", "near", false),
        ("runtimes/linux-x64/native/tool", "far", false),
    ];
    let graph = r##"{"runtimes": {"debian.12-x64": {"#import": ["debian", "linux-x64"]}}}"##;
    let tool = fixture.add("Acme.Tool", &files);
    let graph = fixture.add("Zeta.Platforms", &[("runtime.json", graph, false)]);
    let debian: Runtime = "debian.12-x64".parse().unwrap();
    let read = |packages: &[PackageReference], name: &str| {
        let into = fixture.directory.path().join(name);
        fixture.assemble_for(&debian, packages, &into).unwrap();
        fs::read_to_string(into.join("tool")).ok()
    };
    assert_eq!(read(slice::from_ref(&tool), "without"), None);
    assert_eq!(read(&[tool, graph], "with").as_deref(), Some("near"));
}

#[test]
fn a_package_that_calls_itself_otherwise_is_refused() {
    let fixture = Fixture::new();
    let package = fixture.add_bytes("Acme", pack("Evil", "1.0.0", &[], None));
    let error = fixture.assemble(&[package]).unwrap_err().to_string();
    assert_eq!(error, "package `Acme 1.0.0` calls itself `Evil 1.0.0`");
}

#[test]
fn hostile_archives_are_refused_and_write_nothing() {
    type Add = fn(&mut ZipWriter<Cursor<Vec<u8>>>, SimpleFileOptions);
    let hostile: [(&str, Add); 4] = [
        ("path upwards", |zip, options| {
            zip.start_file("content/../../../evil", options).unwrap();
        }),
        ("path from the root", |zip, options| {
            zip.start_file("/content//etc/../../evil", options).unwrap();
        }),
        ("link", |zip, options| {
            zip.add_symlink("content/link", "/etc", options).unwrap();
        }),
        ("bomb", |zip, options| {
            zip.start_file("content/zeros", options).unwrap();
            zip.write_all(&vec![0; 64 << 20]).unwrap();
        }),
    ];
    for (what, add) in hostile {
        let options = SimpleFileOptions::default();
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file("Acme.nuspec", options).unwrap();
        zip.write_all(
            b"<package><metadata><id>Acme</id><version>1.0.0</version>\
              <authors>a</authors><description>d</description></metadata></package>",
        )
        .unwrap();
        add(&mut zip, options);
        let fixture = Fixture::new();
        let package = fixture.add_bytes("Acme", zip.finish().unwrap().into_inner());
        let error = fixture.assemble(&[package]).unwrap_err();
        assert!(matches!(error, Error::Package { .. }), "{what}: {error}");
        assert!(
            error.to_string().contains("`Acme 1.0.0`"),
            "{what}: {error}"
        );
    }
}

#[test]
fn a_service_directory_is_used_again_without_what_was_added() {
    let fixture = Fixture::new();
    let files = [("content/a", "a", false), ("content/b/c", "c", false)];
    let into = fixture.assemble(&[fixture.add("Acme", &files)]).unwrap();
    fs::write(into.join("node-token"), "old").unwrap();
    fs::write(into.join("b/log"), "noise").unwrap();
    fs::create_dir(into.join("cache")).unwrap();
    fs::write(into.join("cache/x"), "x").unwrap();
    std::os::unix::fs::symlink("/", into.join("b/root")).unwrap();
    assert!(restore(&into).unwrap());
    let mut names: Vec<_> = walk(&into, &into);
    names.sort();
    assert_eq!(
        names,
        ["a", "b/c", "files.json", "release.json", "service.hocon"]
    );
    fs::remove_dir_all(fixture.directory.path().join("store")).unwrap();
    assert!(restore(&into).unwrap(), "without any package");
}

#[test]
fn a_service_directory_that_was_changed_is_not_used_again() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 7] = [
        ("gone", |into| fs::remove_file(into.join("b/c")).unwrap()),
        ("longer", |into| fs::write(into.join("a"), "aa").unwrap()),
        ("same size", |into| fs::write(into.join("a"), "b").unwrap()),
        ("exchanged", |into| {
            fs::write(into.join("x"), "a").unwrap();
            fs::rename(into.join("x"), into.join("a")).unwrap();
        }),
        ("other mode", |into| {
            let mode = fs::Permissions::from_mode(0o777);
            fs::set_permissions(into.join("a"), mode).unwrap();
        }),
        ("moved behind a link", |into| {
            fs::rename(into.join("b"), into.join("moved")).unwrap();
            std::os::unix::fs::symlink("moved", into.join("b")).unwrap();
        }),
        ("no list", |into| {
            fs::write(into.join("files.json"), "{").unwrap();
        }),
    ];
    for (what, change) in changes {
        let fixture = Fixture::new();
        let files = [("content/a", "a", false), ("content/b/c", "c", false)];
        let into = fixture.assemble(&[fixture.add("Acme", &files)]).unwrap();
        change(&into);
        assert!(!restore(&into).unwrap(), "{what}");
    }
}

fn walk(root: &Path, directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(walk(root, &path));
        } else {
            let name = path.strip_prefix(root).unwrap();
            found.push(name.to_str().unwrap().to_owned());
        }
    }
    found
}

#[test]
fn a_broken_release_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("release.json"), "{").unwrap();
    let error = read_release(directory.path()).unwrap_err().to_string();
    assert!(error.contains("release.json"), "{error}");
}

#[test]
fn a_full_disk_is_an_error_that_names_the_file_and_leaves_no_trace() {
    let fixture = Fixture::new();
    let noise = |n: u32| char::from(b'a' + (n.wrapping_mul(n) % 251 % 26) as u8);
    let content: String = (0..3_000_000).map(noise).collect();
    let package = fixture.add("Acme", &[("content/large", &content, false)]);
    let small = fixture.directory.path().join("small");
    fs::create_dir(&small).unwrap();
    let Some(_mount) = SmallDisk::mount(&small, 1) else {
        return;
    };
    let error = fixture
        .assemble_into(&[package], &small.join("1"))
        .unwrap_err();
    assert!(error.to_string().contains("large"), "{error}");
    assert!(error.to_string().contains("make room"), "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("No space left"), "{cause}");
    assert_eq!(fs::read_dir(&small).unwrap().count(), 0);
}
