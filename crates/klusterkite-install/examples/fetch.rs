//! What `cargo xtask bench fetch` measures, and what it needs around it:
//!
//! - `fetch make DIR [HOST]` writes packages and the start configuration that names them;
//! - `fetch push DIR FEED KEY` publishes them;
//! - `fetch install START STORE INTO` does what a launcher does with that start configuration;
//! - `fetch host` is the program that a launcher starts then: it says when it was, and stays.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use klusterkite_install::{
    Cancel, ContentStore, FeedSource, FetchLimits, ServiceDirectory, Trust, install,
};
use klusterkite_nuget::{
    Dependency, DependencyGroup, Nuspec, PackageBuilder, Sha512Hash, VersionRange,
};
use klusterkite_wire::start::{PackageReference, StartConfiguration};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const PACKAGES: usize = 20;
const FILES: usize = 100;
const FILE_BYTES: usize = 20_000;

/// The runtime for which packages are made.
const RUNTIME: &str = "linux-x64";

/// The program of the package that a launcher starts.
const HOST: &str = "bench-host";

fn main() -> Result<()> {
    // The launcher starts its host without arguments.
    let own = std::env::args().next().unwrap_or_default();
    if own.ends_with(HOST) {
        return host();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["make", directory] => make(Path::new(directory), None),
        ["make", directory, host] => make(Path::new(directory), Some(Path::new(host))),
        ["push", directory, feed, key] => push(Path::new(directory), feed, key),
        ["install", start, store, into] => measured(Path::new(start), store, Path::new(into)),
        _ => Err("see the text at the top of examples/fetch.rs".into()),
    }
}

/// Writes `start.json` and one `.nupkg` per package. The first package needs all others, so that a
/// NuGet client installs all by one command.
fn make(directory: &Path, host: Option<&Path>) -> Result<()> {
    let mut noise = Noise(1);
    let mut references = Vec::new();
    for number in 0..PACKAGES {
        let mut nuspec = nuspec(&name(number))?;
        if number == 0 {
            let group = DependencyGroup {
                target_framework: None,
                dependencies: (1..PACKAGES).map(dependency).collect::<Result<_>>()?,
            };
            nuspec.dependency_groups.push(group);
        }
        let mut package = PackageBuilder::new(nuspec);
        for file in 0..FILES {
            let path = format!("content/p{number:02}/d{}/f{file:03}", file % 10);
            package = package.file(&path, noise.file(file % 2 == 0), false);
        }
        references.push(write(directory, &name(number), &package)?);
    }
    if let Some(host) = host {
        let path = format!("runtimes/{RUNTIME}/native/{HOST}");
        let package = PackageBuilder::new(nuspec("Bench.Host")?);
        let package = package.file(&path, fs::read(host)?, true);
        references.push(write(directory, "Bench.Host", &package)?);
    }
    let start = StartConfiguration {
        node_template: "bench".parse()?,
        configuration_id: klusterkite_wire::ConfigurationId(1),
        configuration: String::new(),
        packages: references,
        package_source: String::new(),
        seeds: Vec::new(),
        entry_point: HOST.to_owned(),
        start_deadline_seconds: 60,
        node_token: None,
    };
    fs::write(directory.join("start.json"), serde_json::to_vec(&start)?)?;
    Ok(())
}

fn name(number: usize) -> String {
    format!("Bench.P{number:02}")
}

fn nuspec(id: &str) -> Result<Nuspec> {
    let version = "1.0.0".parse()?;
    Ok(Nuspec::new(
        id.parse()?,
        version,
        "bench",
        "made to be measured",
    ))
}

fn dependency(number: usize) -> Result<Dependency> {
    Ok(Dependency {
        id: name(number).parse()?,
        range: "1.0.0".parse::<VersionRange>()?,
        include: None,
        exclude: None,
    })
}

fn write(directory: &Path, id: &str, package: &PackageBuilder) -> Result<PackageReference> {
    let bytes = package.to_bytes()?;
    fs::write(directory.join(format!("{id}.1.0.0.nupkg")), &bytes)?;
    Ok(PackageReference {
        id: id.to_owned(),
        version: "1.0.0".to_owned(),
        sha512: Sha512Hash::of(&bytes).to_string(),
        size: bytes.len() as u64,
    })
}

/// Publishes what `make` has written.
fn push(directory: &Path, feed: &str, key: &str) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != "nupkg")
        {
            continue;
        }
        let mut body = b"--b\r\nContent-Disposition: form-data; name=package; filename=p.nupkg\r\n\
            Content-Type: application/octet-stream\r\n\r\n"
            .to_vec();
        body.extend(fs::read(&path)?);
        body.extend(b"\r\n--b--\r\n");
        ureq::put(format!("{feed}/api/v2/package/"))
            .header("X-NuGet-ApiKey", key)
            .header("Content-Type", "multipart/form-data; boundary=b")
            .send(&body[..])?;
    }
    Ok(())
}

fn measured(start: &Path, store: &str, into: &Path) -> Result<()> {
    let start: StartConfiguration = serde_json::from_slice(&fs::read(start)?)?;
    let source = FeedSource {
        service_index: start.package_source.clone(),
        mirrors: Vec::new(),
        credential: None,
        trust: Trust::System,
        limits: FetchLimits::STANDARD,
    };
    let directory = ServiceDirectory {
        store: &ContentStore::open(store)?,
        start: &start,
        runtime: &RUNTIME.parse()?,
        start_settings: "",
        path: into,
    };
    install(&directory, &source, &|_| {}, &Cancel::new())?;
    Ok(())
}

/// Writes the time at which it was started and stays until it is killed.
fn host() -> Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let data = PathBuf::from(std::env::var_os("KLUSTERKITE_DATA").ok_or("no directory")?);
    let mut line = String::new();
    writeln!(line, "{}", now.as_nanos())?;
    // The name appears when the content is there.
    fs::write(data.join("started.new"), line)?;
    fs::rename(data.join("started.new"), data.join("started"))?;
    std::io::stdout().flush()?;
    loop {
        std::thread::sleep(Duration::from_mins(1));
    }
}

/// Numbers that are the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Text, or bytes that do not compress.
    fn file(&mut self, text: bool) -> Vec<u8> {
        const WORDS: [&str; 16] = [
            "order", "node", "the", "of", "lease", "cluster", "a", "is", "package", "state", "to",
            "manager", "and", "version", "in", "step",
        ];
        let mut content = Vec::with_capacity(FILE_BYTES + 8);
        while content.len() < FILE_BYTES {
            let number = self.next();
            if text {
                content.extend(WORDS[number as usize % WORDS.len()].as_bytes());
                content.push(if number >> 60 == 0 { b'\n' } else { b' ' });
            } else {
                content.extend(number.to_le_bytes());
            }
        }
        content.truncate(FILE_BYTES);
        content
    }
}
