//! Feeds that can be read in a test.

use crate::resolve::*;
use crate::v3::Dependency;

/// A feed as a text: `A 1.0 -> B 1.0; C [2.0,3.0)` on a line, `!` after the version of an unlisted
/// one, `?` after one that is listed but missing, `@net8.0` before dependencies for a framework.
#[derive(Clone, Default)]
pub(super) struct TextFeed {
    versions: BTreeMap<PackageId, Vec<FeedVersion>>,
    groups: BTreeMap<(PackageId, Version), Vec<DependencyGroup>>,
    /// What is answered; `None` stands for everything.
    fetched: Option<BTreeSet<Need>>,
}

impl TextFeed {
    pub(super) fn parse(text: &str) -> Self {
        let mut feed = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (package, needs) = line.split_once("->").unwrap_or((line, ""));
            let (id, version) = package.trim().split_once(' ').unwrap();
            let id: PackageId = id.parse().unwrap();
            let number = version.trim_end_matches(['!', '?']);
            let number: Version = number.parse().unwrap();
            let known = feed.versions.entry(id.clone()).or_default();
            if !known.iter().any(|known| known.version == number) {
                known.push(FeedVersion {
                    version: number.clone(),
                    is_listed: !version.ends_with('!'),
                });
            }
            if !version.ends_with('?') {
                let (framework, needs) = match needs.trim().strip_prefix('@') {
                    Some(rest) => {
                        let (framework, needs) = rest.split_once(' ').unwrap_or((rest, ""));
                        (Some(framework.to_owned()), needs)
                    }
                    None => (None, needs),
                };
                let groups = feed.groups.entry((id, number)).or_default();
                groups.push(DependencyGroup {
                    target_framework: framework,
                    dependencies: references(needs)
                        .into_iter()
                        .map(|(id, range)| Dependency {
                            id,
                            range: Some(range),
                        })
                        .collect(),
                });
            }
        }
        feed
    }

    fn reversed(&self) -> Self {
        let mut feed = self.clone();
        for versions in feed.versions.values_mut() {
            versions.reverse();
        }
        for group in feed.groups.values_mut().flatten() {
            group.dependencies.reverse();
        }
        feed
    }

    fn is_fetched(&self, need: &Need) -> bool {
        self.fetched
            .as_ref()
            .is_none_or(|fetched| fetched.contains(need))
    }
}

impl PackageFeed for TextFeed {
    fn versions(&self, id: &PackageId) -> Lookup<Vec<FeedVersion>> {
        if !self.is_fetched(&Need::Versions(id.clone())) {
            return Lookup::NotFetched;
        }
        let found = self.versions.get(id).cloned();
        found.map_or(Lookup::Absent, Lookup::Found)
    }

    fn dependency_groups(&self, id: &PackageId, version: &Version) -> Lookup<Vec<DependencyGroup>> {
        let key = (id.clone(), version.clone());
        if !self.is_fetched(&Need::DependencyGroups(key.0.clone(), key.1.clone())) {
            return Lookup::NotFetched;
        }
        let found = self.groups.get(&key).cloned();
        found.map_or(Lookup::Absent, Lookup::Found)
    }
}

fn references(text: &str) -> Vec<(PackageId, VersionRange)> {
    let texts = text
        .split(';')
        .map(str::trim)
        .filter(|text| !text.is_empty());
    texts
        .map(|text| {
            let (id, range) = text.split_once(' ').unwrap_or((text, "(, )"));
            (id.parse().unwrap(), range.parse().unwrap())
        })
        .collect()
}

pub(super) fn run(
    feed: &TextFeed,
    project: &str,
    framework: &str,
    limits: &ResolveLimits,
) -> Outcome {
    let references = references(project).into_iter().collect();
    resolve(&references, &framework.parse().unwrap(), feed, limits)
}

/// Resolves at once, with everything listed the other way round, and by fetching what is asked
/// for; checks that it makes no difference.
pub(super) fn outcome(feed: &str, project: &str, framework: &str) -> Outcome {
    let feed = TextFeed::parse(feed);
    let limits = ResolveLimits::STANDARD;
    let outcome = run(&feed, project, framework, &limits);
    let reversed = run(&feed.reversed(), project, framework, &limits);
    assert_eq!(format!("{outcome:?}"), format!("{reversed:?}"));

    let mut partial = feed;
    partial.fetched = Some(BTreeSet::new());
    loop {
        match run(&partial, project, framework, &limits) {
            Outcome::Incomplete(needs) => {
                let fetched = partial.fetched.as_mut().unwrap();
                let before = fetched.len();
                fetched.extend(needs);
                assert!(fetched.len() > before, "every call asks for something new");
            }
            last => {
                assert_eq!(format!("{outcome:?}"), format!("{last:?}"));
                return outcome;
            }
        }
    }
}

/// Writes an outcome in one line: the packages, then the warnings' or the errors' numbers.
pub(super) fn summary(outcome: &Outcome) -> String {
    let mut words: Vec<String> = Vec::new();
    match outcome {
        Outcome::Resolved(resolution) => {
            for (id, package) in &resolution.packages {
                words.push(format!("{id}={}", package.version));
            }
            let codes = resolution.warnings.iter().map(ResolveWarning::code);
            words.extend(codes.map(str::to_owned));
        }
        Outcome::Failed(errors) => {
            for error in errors {
                words.push(error.code().unwrap_or("NU?").to_owned());
            }
        }
        Outcome::Incomplete(needs) => words.push(format!("{needs:?}")),
    }
    words.join(" ")
}
