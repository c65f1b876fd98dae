//! An executor that is a script: two migrators with one resource each, whose points are files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use klusterkite_core::settings::{MigratorTemplateSettings, PackagePin, PackageRequirement};
use klusterkite_manager::config::Config;
use klusterkite_nuget::{Nuspec, PackageBuilder, Sha512Hash};
use klusterkite_store::Seed;
use klusterkite_store::rows::ConfigurationRow;
use klusterkite_wire::start::PackageReference;

use crate::fleet::{prepare, ready};
use crate::harness::Server;

/// Before the nodes `Db` moves, after them `Site`. The file `mode` says how it behaves.
const SCRIPT: &str = r#"#!/bin/sh
state="$KLUSTERKITE_DATA/state"
point() { if [ -s "$state/$1" ]; then printf '"%s"' "$(cat "$state/$1")"; else printf null; fi; }
describe() {
  printf '{"typeName":"%s","description":{"protocol":1,"name":"%s","dependencyType":"%s","points":[%s]},' "$1" "$1" "$2" "$(cat points)"
  printf '"resources":[{"code":"main","name":"main","currentPoint":%s}]}' "$(point "$1")"
}
read -r line || exit 0
mode=$(cat "$state/mode")
while [ "$mode" = wait ]; do sleep 0.01; mode=$(cat "$state/mode"); done
case "$line" in
*'"describe"'*)
  if [ "$mode" = hang-reading ]; then cat > /dev/null; exit 0; fi
  printf '{"jsonrpc":"2.0","id":1,"result":[%s,%s]}\n' "$(describe Db codeDependsOnResource)" "$(describe Site resourceDependsOnCode)" ;;
*'"migrate"'*)
  case "$mode" in
  fail) printf '{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"the disk is full"}}\n' ;;
  talk)
    say() { printf '{"jsonrpc":"2.0","method":"%s","params":%s}\n' "$1" "$2"; }
    say log '{"level":"warn","message":"slow: postgres://app:secret@db/main"}'
    say log '{"level":"info","message":"from stderr","stream":"stderr","migrator":"Db"}'
    say progress '{"done":1,"total":3}'
    while [ "$(cat "$state/mode")" = talk ]; do sleep 0.01; done
    printf '{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"the disk is full"}}\n' ;;
  die) echo died >> "$state/deaths"; exit 9 ;;
  hang) cat > /dev/null; exit 0 ;;
  *)
    migrator=$(printf '%s' "$line" | sed 's/.*"migrator":"\([^"]*\)".*/\1/')
    to=$(printf '%s' "$line" | sed 's/.*"point":"\([^"]*\)".*/\1/')
    printf '%s' "$to" > "$state/$migrator"
    echo "$migrator $to" >> "$state/moves"
    printf '{"jsonrpc":"2.0","method":"log","params":{"level":"info","message":"moving"}}\n'
    printf '{"jsonrpc":"2.0","id":1,"result":{"point":"%s"}}\n' "$to" ;;
  esac ;;
esac
cat > /dev/null
"#;

/// Files that the script reads and writes.
pub(crate) struct Resources(PathBuf);

impl Resources {
    pub(crate) fn of(server: &Server) -> Self {
        Self(state(server.data()))
    }

    pub(crate) fn mode(&self, mode: &str) {
        self.put("mode", mode);
    }

    /// Writes a file by a rename: the script never reads half a word.
    pub(crate) fn put(&self, file: &str, text: &str) {
        let draft = self.0.join("draft");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, self.0.join(file)).unwrap();
    }

    pub(crate) fn lines(&self, file: &str) -> Vec<String> {
        let text = fs::read_to_string(self.0.join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn points(&self) -> [String; 2] {
        ["Db", "Site"].map(|migrator| fs::read_to_string(self.0.join(migrator)).unwrap_or_default())
    }
}

fn state(data: &Path) -> PathBuf {
    data.join("executors/state")
}

/// Makes the package of a version whose resources have the points `p1` to its number, in the store of
/// the manager: no feed is asked for it.
fn package(data: &Path, version: u32) -> PackageReference {
    let (id, points) = ("Resources", (1..=version).map(|n| format!("\"p{n}\"")));
    let points = points.collect::<Vec<_>>().join(",");
    let text = format!("{version}.0.0");
    let nuspec = Nuspec::new(
        id.parse().unwrap(),
        text.parse().unwrap(),
        "test",
        "a test package",
    );
    let bytes = PackageBuilder::new(nuspec)
        .file("content/klusterkite-executor", SCRIPT, true)
        .file("content/points", points.as_str(), false)
        .to_bytes()
        .unwrap();
    let hash = Sha512Hash::of(&bytes);
    let store = data.join("executors/store");
    fs::create_dir_all(&store).unwrap();
    fs::write(store.join(format!("{}.nupkg", hash.hex())), &bytes).unwrap();
    PackageReference {
        id: id.to_owned(),
        version: text,
        sha512: hash.to_string(),
        size: bytes.len() as u64,
    }
}

/// Gives a configuration the migrators of a version.
fn put(row: &mut ConfigurationRow, data: &Path, version: u32) {
    let package = package(data, version);
    row.settings.packages.retain(|pin| pin.id != package.id);
    row.settings.packages.push(PackagePin {
        id: package.id.clone(),
        version: package.version.clone(),
    });
    row.settings.migrator_templates = vec![MigratorTemplateSettings {
        code: "resources".to_owned(),
        package_requirements: vec![PackageRequirement {
            id: package.id.clone(),
            specific_version: None,
        }],
        ..MigratorTemplateSettings::default()
    }];
    let frozen = row.frozen.as_mut().unwrap();
    let runtimes = [("linux-x64".parse().unwrap(), vec![package])];
    frozen.migrator_templates = [("resources".parse().unwrap(), runtimes.into())].into();
}

fn with_resources(seed: &mut Seed, config: &mut Config) {
    prepare(seed, config, |_, _| {});
    let state = state(&config.data);
    fs::create_dir_all(&state).unwrap();
    for (file, text) in [("mode", "ok"), ("Db", "p1"), ("Site", "p1")] {
        fs::write(state.join(file), text).unwrap();
    }
    put(&mut seed.configuration, &config.data, 1);
}

/// A manager that leads a cluster with resources at `p1`; configuration 2 has them at `p2`.
pub(crate) fn with_two_versions(change: impl FnOnce(&mut Config)) -> (Server, Resources) {
    let server = Server::start_with(|seed, config| {
        with_resources(seed, config);
        config.read_timeout = Duration::from_secs(20);
        change(config);
    });
    let data = server.data().to_owned();
    ready(&server, 2, |row| {
        crate::fleet::other_text(row);
        put(row, &data, 2);
    });
    server.lead();
    let resources = Resources::of(&server);
    (server, resources)
}
