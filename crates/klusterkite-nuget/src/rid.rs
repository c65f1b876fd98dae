use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Deserialize;

use crate::Error;

/// Which runtimes a runtime can also use the files of, nearest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RidGraph {
    /// Runtime → the runtimes that it imports, in the order of preference.
    imports: BTreeMap<String, Vec<String>>,
}

/// The architectures of Linux in the portable graph, and whether its musl and bionic variants
/// have them.
const LINUX: &[(&str, bool, bool)] = &[
    ("x64", true, true),
    ("x86", true, true),
    ("arm", true, true),
    ("arm64", true, true),
    ("armel", true, false),
    ("armv6", true, false),
    ("loongarch64", true, false),
    ("mips64", false, false),
    ("ppc64le", true, false),
    ("riscv64", true, false),
    ("s390x", true, false),
];

/// The other operating systems: name, what it imports, architectures.
const OTHERS: &[(&str, &str, &[&str])] = &[
    ("win", "any", &["x64", "x86", "arm64"]),
    ("osx", "unix", &["x64", "arm64"]),
    ("freebsd", "unix", &["x64", "arm64"]),
    ("ios", "unix", &["x64", "x86", "arm", "arm64"]),
    ("tvos", "unix", &[]),
    ("haiku", "unix", &["x64"]),
    ("illumos", "unix", &["x64"]),
    ("solaris", "unix", &["x64"]),
    ("android", "linux-bionic", &["x64", "x86", "arm", "arm64"]),
    ("browser", "any", &["wasm"]),
    ("wasi", "any", &["wasm"]),
];

impl RidGraph {
    /// Makes the portable graph of .NET 8 and later: operating system and architecture, without
    /// distributions and versions.
    pub fn portable() -> Self {
        let mut graph = Self {
            imports: BTreeMap::new(),
        };
        graph.add("base", &[]);
        graph.add("any", &["base"]);
        graph.add("unix", &["any"]);
        graph.add("linux", &["unix"]);
        graph.add("linux-musl", &["linux"]);
        graph.add("linux-bionic", &["linux"]);
        for &(arch, musl, bionic) in LINUX {
            graph.add(&format!("unix-{arch}"), &["unix"]);
            graph.add_arch("linux", "unix", arch);
            if musl {
                graph.add_arch("linux-musl", "linux", arch);
            }
            if bionic {
                graph.add_arch("linux-bionic", "linux", arch);
            }
        }
        for &(os, parent, archs) in OTHERS {
            graph.add(os, &[parent]);
            for arch in archs {
                graph.add_arch(os, parent, arch);
            }
        }
        graph
    }

    /// Parses a `runtime.json`.
    pub fn parse(json: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Document {
            #[serde(default)]
            runtimes: BTreeMap<String, Runtime>,
        }
        #[derive(Deserialize)]
        struct Runtime {
            #[serde(default, rename = "#import")]
            imports: Vec<String>,
        }
        let document: Document = serde_json::from_str(json.trim_start_matches('\u{feff}'))
            .map_err(Error::RuntimeGraph)?;
        let imports = document
            .runtimes
            .into_iter()
            .map(|(rid, runtime)| (rid, runtime.imports));
        Ok(Self {
            imports: imports.collect(),
        })
    }

    /// Adds what another graph, such as a package's `runtime.json`, knows. Where both know what a
    /// runtime imports, this one's word stands.
    pub fn merge(&mut self, other: &Self) {
        for (rid, imports) in &other.imports {
            let known = self.imports.entry(rid.clone()).or_default();
            if known.is_empty() {
                known.clone_from(imports);
            }
        }
    }

    /// Lists the runtimes whose files the given one can use, itself first, then breadth-first.
    /// A runtime that the graph does not know can use its own files only.
    pub fn expand(&self, rid: &str) -> Vec<String> {
        let mut expanded = Vec::new();
        let mut seen = BTreeSet::new();
        let mut waiting = VecDeque::from([rid]);
        while let Some(rid) = waiting.pop_front() {
            if !seen.insert(rid) {
                continue;
            }
            expanded.push(rid.to_owned());
            waiting.extend(
                self.imports
                    .get(rid)
                    .into_iter()
                    .flatten()
                    .map(String::as_str),
            );
        }
        expanded
    }

    fn add(&mut self, rid: &str, imports: &[&str]) {
        self.imports.insert(
            rid.to_owned(),
            imports.iter().map(|&rid| rid.to_owned()).collect(),
        );
    }

    fn add_arch(&mut self, os: &str, parent: &str, arch: &str) {
        let sibling = format!("{parent}-{arch}");
        let rid = format!("{os}-{arch}");
        if parent == "any" {
            self.add(&rid, &[os]);
        } else {
            self.add(&rid, &[os, &sibling]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_runtime_comes_first() {
        let graph = RidGraph::portable();
        let musl = [
            "linux-musl-x64",
            "linux-musl",
            "linux-x64",
            "linux",
            "unix-x64",
            "unix",
            "any",
            "base",
        ];
        assert_eq!(graph.expand("linux-musl-x64"), musl);
        assert_eq!(graph.expand("win-x64"), ["win-x64", "win", "any", "base"]);
    }

    #[test]
    fn an_unknown_runtime_is_alone() {
        assert_eq!(
            RidGraph::portable().expand("ubuntu.22.04-x64"),
            ["ubuntu.22.04-x64"]
        );
    }

    #[test]
    fn a_graph_that_imports_itself_still_ends() {
        let json = r##"{"runtimes": {"a": {"#import": ["b"]}, "b": {"#import": ["a", "b"]}}}"##;
        assert_eq!(RidGraph::parse(json).unwrap().expand("a"), ["a", "b"]);
    }
}
