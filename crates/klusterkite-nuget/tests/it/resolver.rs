//! What holds for the resolution of any references on any feed.

mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use klusterkite_nuget::resolve::{
    FeedVersion, Lookup, Need, Outcome, PackageFeed, Resolution, ResolveLimits, resolve,
};
use klusterkite_nuget::v3::{Dependency, DependencyGroup};
use klusterkite_nuget::{PackageId, Version, VersionRange};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const RANGES: &[&str] = &[
    "1.0",
    "2.0",
    "3.0",
    "[1.0]",
    "[2.0]",
    "[1.0,3.0)",
    "(1.0,4.0]",
    "[,2.0]",
    "*",
    "1.*",
    "(, )",
];

/// Packages `P0`, `P1`, … with their versions and what these need.
#[derive(Clone)]
struct Feed {
    packages: BTreeMap<PackageId, Vec<(FeedVersion, Vec<Dependency>)>>,
    fetched: Option<BTreeSet<Need>>,
}

impl fmt::Debug for Feed {
    /// Writes a line for each version, so that a failed case can be read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, versions) in &self.packages {
            for (version, dependencies) in versions {
                let listed = if version.is_listed { "" } else { "!" };
                write!(f, "\n{id} {}{listed} ->", version.version)?;
                for Dependency { id, range } in dependencies {
                    write!(
                        f,
                        " {id} {};",
                        range.clone().unwrap_or_else(VersionRange::any)
                    )?;
                }
            }
        }
        Ok(())
    }
}

impl Feed {
    fn is_fetched(&self, need: &Need) -> bool {
        self.fetched
            .as_ref()
            .is_none_or(|fetched| fetched.contains(need))
    }

    /// The same feed with everything listed the other way round.
    fn reversed(&self) -> Self {
        let mut feed = self.clone();
        for versions in feed.packages.values_mut() {
            versions.reverse();
            for (_, dependencies) in versions {
                dependencies.reverse();
            }
        }
        feed
    }
}

impl PackageFeed for Feed {
    fn versions(&self, id: &PackageId) -> Lookup<Vec<FeedVersion>> {
        if !self.is_fetched(&Need::Versions(id.clone())) {
            return Lookup::NotFetched;
        }
        let found = self.packages.get(id).map(|versions| {
            let versions = versions.iter();
            versions.map(|(version, _)| version.clone()).collect()
        });
        found.map_or(Lookup::Absent, Lookup::Found)
    }

    fn dependency_groups(&self, id: &PackageId, version: &Version) -> Lookup<Vec<DependencyGroup>> {
        if !self.is_fetched(&Need::DependencyGroups(id.clone(), version.clone())) {
            return Lookup::NotFetched;
        }
        let versions = self.packages.get(id).into_iter().flatten();
        let mut found = versions.filter(|(known, _)| known.version == *version);
        found.next().map_or(Lookup::Absent, |(_, dependencies)| {
            Lookup::Found(vec![DependencyGroup {
                target_framework: None,
                dependencies: dependencies.clone(),
            }])
        })
    }
}

fn id(number: usize) -> PackageId {
    format!("P{number}").parse().unwrap()
}

fn dependency(ids: std::ops::Range<usize>) -> impl Strategy<Value = Dependency> {
    (ids, select(RANGES)).prop_map(|(number, range)| Dependency {
        id: id(number),
        range: Some(range.parse().unwrap()),
    })
}

/// Feeds of six packages in some versions and a chance of a seventh that does not exist. In half
/// of them packages need only higher numbers, so that there are no circles.
fn feed() -> impl Strategy<Value = Feed> {
    any::<bool>().prop_flat_map(|acyclic| {
        let packages: Vec<_> = (0..6)
            .map(|number| {
                let ids = if acyclic { number + 1..7 } else { 0..7 };
                vec((1..5_u32, any::<bool>(), vec(dependency(ids), 0..4)), 1..4)
            })
            .collect();
        packages.prop_map(to_feed)
    })
}

/// Feeds of eight packages in four versions each that have all that is needed. Most packages need
/// only higher numbers.
fn complete_feed() -> impl Strategy<Value = Feed> {
    let back = prop_oneof![9 => Just(false), 1 => Just(true)];
    back.prop_flat_map(|back| {
        let packages: Vec<_> = (0..8_usize)
            .map(|number| {
                let lowest = if back { 0 } else { number + 1 };
                let count_max = if number == 7 { 0 } else { 3 };
                // The last package needs nothing; its range of ids is not used.
                let ids = lowest.min(7)..8;
                let version = (any::<bool>(), vec(dependency(ids), 0..=count_max));
                vec(version, 4..=4).prop_map(|versions| {
                    let versions = (1..).zip(versions);
                    versions
                        .map(|(major, (is_listed, needs))| (major, is_listed, needs))
                        .collect()
                })
            })
            .collect();
        packages.prop_map(to_feed)
    })
}

/// Makes a feed of the packages' versions: major number, whether it is listed, what it needs.
fn to_feed(packages: Vec<Vec<(u32, bool, Vec<Dependency>)>>) -> Feed {
    let packages = packages.into_iter().enumerate();
    let packages = packages.map(|(number, versions)| {
        let mut seen = BTreeSet::new();
        let versions = versions
            .into_iter()
            .filter(|(major, ..)| seen.insert(*major));
        let versions = versions.map(|(major, is_listed, dependencies)| {
            let version = Version::new(major, 0, 0);
            (FeedVersion { version, is_listed }, dependencies)
        });
        (id(number), versions.collect())
    });
    Feed {
        packages: packages.collect(),
        fetched: None,
    }
}

fn references() -> impl Strategy<Value = BTreeMap<PackageId, VersionRange>> {
    vec(dependency(0..6), 1..4).prop_map(|dependencies| {
        let ranges = dependencies.into_iter();
        ranges
            .map(|dependency| (dependency.id, dependency.range.unwrap()))
            .collect()
    })
}

fn run(references: &BTreeMap<PackageId, VersionRange>, feed: &Feed) -> Outcome {
    let framework = "net8.0".parse().unwrap();
    resolve(references, &framework, feed, &ResolveLimits::STANDARD)
}

/// A resolution is complete, has nothing that nobody needs, and says where a range is not kept.
fn check(references: &BTreeMap<PackageId, VersionRange>, resolution: &Resolution) {
    let packages = &resolution.packages;
    let mut doubtful = 0;
    let mut reachable = BTreeSet::new();
    let mut waiting: Vec<&PackageId> = references.keys().collect();
    while let Some(id) = waiting.pop() {
        let package = packages.get(id).expect("what is needed is there");
        if reachable.insert(id) {
            assert!(
                package.requests.len() <= 16 && !package.requests.is_empty(),
                "{id} is asked for"
            );
            for (needed, range) in &package.dependencies {
                waiting.push(needed);
                let version = &packages
                    .get(needed)
                    .expect("what is needed is there")
                    .version;
                doubtful += usize::from(!range.satisfies(version));
            }
        }
    }
    assert_eq!(reachable.len(), packages.len(), "nothing is superfluous");
    let warned = resolution.warnings.iter();
    let warned = warned.filter(|warning| warning.code() != "NU1603").count();
    assert!(doubtful <= warned, "{resolution:#?}");
    for (id, range) in references {
        assert!(
            range.satisfies(&packages[id].version),
            "the project gets {id} as it wants"
        );
    }
}

proptest! {
    #[test]
    fn a_resolution_is_complete_and_the_order_does_not_matter(
        references in references(),
        feed in feed(),
    ) {
        let outcome = run(&references, &feed);
        match &outcome {
            Outcome::Resolved(resolution) => check(&references, resolution),
            Outcome::Failed(errors) => {
                prop_assert!(!errors.is_empty());
                // Six packages are no large graph.
                let text = format!("{errors:?}");
                prop_assert!(!text.contains("TooLarge"), "{}", text);
            }
            Outcome::Incomplete(_) => prop_assert!(false, "everything is known"),
        }
        let outcome = format!("{outcome:?}");
        let reversed = run(&references, &feed.reversed());
        prop_assert_eq!(&outcome, &format!("{reversed:?}"));

        let mut partial = feed;
        partial.fetched = Some(BTreeSet::new());
        loop {
            match run(&references, &partial) {
                Outcome::Incomplete(needs) => {
                    let fetched = partial.fetched.get_or_insert_default();
                    let before = fetched.len();
                    fetched.extend(needs);
                    prop_assert!(fetched.len() > before, "every call asks for something new");
                }
                last => {
                    prop_assert_eq!(&outcome, &format!("{last:?}"));
                    break;
                }
            }
        }
    }

    #[test]
    fn the_shared_graph_gives_what_the_tree_of_all_paths_gives(
        references in references(),
        feed in complete_feed(),
    ) {
        let choose = |id: &PackageId, range: &VersionRange| {
            let all = || feed.packages.get(id).into_iter().flatten().map(|(version, _)| version);
            let listed = all().filter(|version| version.is_listed || range.float().is_none());
            let listed = range.best_match(listed.map(|version| &version.version));
            let any = || range.best_match(all().map(|version| &version.version));
            listed.or_else(any).cloned()
        };
        let needs = |id: &PackageId, version: &Version| {
            let versions = feed.packages.get(id).into_iter().flatten();
            let found = versions.filter(|(known, _)| known.version == *version);
            let needs = found.flat_map(|(_, dependencies)| dependencies);
            needs
                .filter_map(|needed| Some((needed.id.clone(), needed.range.clone()?)))
                .collect()
        };
        let project = references.clone().into_iter().collect();
        let expected = tree::resolve(project, choose, needs);
        let found = match run(&references, &feed) {
            Outcome::Resolved(resolution) => {
                let packages = resolution.packages.into_iter();
                tree::Answer::Versions(packages.map(|(id, package)| (id, package.version)).collect())
            }
            Outcome::Failed(errors) if errors[0].code() == Some("NU1108") => tree::Answer::Cycle,
            _ => tree::Answer::Conflict,
        };
        if expected != tree::Answer::Nothing {
            prop_assert_eq!(found, expected);
        }
    }
}
