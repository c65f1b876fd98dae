//! Which versions a feed may forget: a decision over plain values, with the reason for each.
//!
//! A version goes only if a rule governs it, the rule has a limit for its kind, and it is beyond
//! every limit of the rule. What a cluster pins, and what that needs, never goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use klusterkite_nuget::{PackageId, Version, VersionRange};

/// When versions are removed, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long after the end of one run the next one starts.
    pub every: Duration,
    /// The rules; the one with the longest matching prefix governs a package.
    pub rules: Vec<Rule>,
}

/// What is kept of the packages whose ids start so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The beginning of the ids, in lower case; empty for all.
    pub id_prefix: String,
    /// Where the packages come from.
    pub origin: Origin,
    /// How many stable versions are kept; no limit if absent.
    pub keep_stable: Option<u32>,
    /// How many pre-release versions are kept; no limit if absent.
    pub keep_prerelease: Option<u32>,
    /// How long versions are kept after they were published here; no limit if absent.
    pub keep_for: Option<Duration>,
    /// Whether versions that searches show are kept.
    pub keep_listed: bool,
}

/// Where packages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From anywhere.
    Any,
    /// Pushed to this feed.
    Local,
    /// Fetched from another feed.
    Upstream,
}

/// A version that may go.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) id: PackageId,
    pub(crate) version: Version,
    /// Bytes of the package.
    pub(crate) size: u64,
    pub(crate) listed: bool,
    pub(crate) is_upstream: bool,
    /// Seconds since 1970.
    pub(crate) published: i64,
    pub(crate) dependencies: Vec<(PackageId, VersionRange)>,
}

/// A version that a cluster needs.
#[derive(Clone, Debug)]
pub(crate) struct Pin {
    pub(crate) cluster: String,
    pub(crate) id: PackageId,
    pub(crate) version: Version,
}

/// What is to happen with a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) id: PackageId,
    pub(crate) version: Version,
    pub(crate) size: u64,
    pub(crate) verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Stays(Reason),
    /// The prefix of the rule, and the limits that the version is beyond: at least one.
    Goes(String, Vec<Limit>),
}

/// Why a version stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Pinned {
        clusters: Vec<String>,
    },
    Needed {
        by: (PackageId, Version),
        cluster: String,
    },
    NoRule,
    /// The rule has no limit for versions of this kind.
    NoLimit {
        prefix: String,
    },
    Listed {
        prefix: String,
    },
    Within {
        prefix: String,
        limit: Limit,
    },
}

/// A limit of a rule and where a version stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// So many listed versions of the kind are higher; a rule keeps so many.
    Count {
        kind: &'static str,
        higher: u32,
        keep: u32,
    },
    /// So many seconds passed since it was published; a rule keeps so many.
    Age { seconds: u64, keep: u64 },
}

/// Decides about each version; `now` is in seconds since 1970. The answer is ordered by id and version.
pub(crate) fn decide(
    rules: &[Rule],
    packages: Vec<Candidate>,
    pins: &[Pin],
    now: i64,
) -> Vec<Decision> {
    let mut by_id: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
    for package in packages {
        by_id.entry(package.id.lower()).or_default().push(package);
    }
    let protected = protected(&by_id, pins);
    let mut decisions = Vec::new();
    for versions in by_id.values_mut() {
        versions.sort_by(|a, b| b.version.cmp(&a.version));
        let mut of_id = Vec::new();
        // Listed versions that are higher than the next one: stable and pre-release.
        let mut higher = [0_u32; 2];
        for package in versions.iter() {
            let kind = usize::from(package.version.is_prerelease());
            let verdict = match protected.get(&(package.id.lower(), package.version.clone())) {
                Some(reason) => Verdict::Stays(reason.clone()),
                None => judge(rules, package, higher[kind], now),
            };
            if package.listed {
                higher[kind] = higher[kind].saturating_add(1);
            }
            of_id.push(Decision {
                id: package.id.clone(),
                version: package.version.clone(),
                size: package.size,
                verdict,
            });
        }
        decisions.extend(of_id.into_iter().rev());
    }
    decisions
}

/// Applies the rule that governs a version to it.
fn judge(rules: &[Rule], package: &Candidate, higher: u32, now: i64) -> Verdict {
    let Some(rule) = rule_for(rules, package) else {
        return Verdict::Stays(Reason::NoRule);
    };
    let prefix = rule.id_prefix.clone();
    let (kind, keep) = if package.version.is_prerelease() {
        ("pre-release", rule.keep_prerelease)
    } else {
        ("stable", rule.keep_stable)
    };
    let mut limits = Vec::new();
    if let Some(keep) = keep {
        let limit = Limit::Count { kind, higher, keep };
        limits.push((limit, higher < keep));
    }
    if let Some(keep) = rule.keep_for {
        // A time in the future is a clock that was wrong: such a version is young.
        let seconds = u64::try_from(now.saturating_sub(package.published)).unwrap_or(0);
        let keep = keep.as_secs();
        limits.push((Limit::Age { seconds, keep }, seconds < keep));
    }
    if limits.is_empty() {
        return Verdict::Stays(Reason::NoLimit { prefix });
    }
    if rule.keep_listed && package.listed {
        return Verdict::Stays(Reason::Listed { prefix });
    }
    match limits.iter().find(|(_, is_within)| *is_within) {
        Some((limit, _)) => Verdict::Stays(Reason::Within {
            prefix,
            limit: limit.clone(),
        }),
        None => Verdict::Goes(prefix, limits.into_iter().map(|(limit, _)| limit).collect()),
    }
}

/// Finds the rule with the longest prefix; of equals the first.
fn rule_for<'a>(rules: &'a [Rule], package: &Candidate) -> Option<&'a Rule> {
    let id = package.id.lower();
    let mut found: Option<&Rule> = None;
    for rule in rules {
        let fits_origin = match rule.origin {
            Origin::Any => true,
            Origin::Local => !package.is_upstream,
            Origin::Upstream => package.is_upstream,
        };
        let is_longer = found.is_none_or(|found| rule.id_prefix.len() > found.id_prefix.len());
        if fits_origin && is_longer && id.starts_with(&rule.id_prefix) {
            found = Some(rule);
        }
    }
    found
}

/// Collects what clusters pin, and what that needs. A need that a cluster's own pins satisfy is
/// that pin; for any other the version stays that NuGet would choose.
fn protected(
    by_id: &BTreeMap<String, Vec<Candidate>>,
    pins: &[Pin],
) -> BTreeMap<(String, Version), Reason> {
    let find = |id: &str, version: &Version| {
        let versions = by_id.get(id)?;
        versions.iter().find(|package| package.version == *version)
    };
    let mut clusters: BTreeMap<&str, BTreeMap<String, BTreeSet<&Version>>> = BTreeMap::new();
    let mut protected: BTreeMap<(String, Version), Reason> = BTreeMap::new();
    for pin in pins {
        let of_cluster = clusters.entry(&pin.cluster).or_default();
        let of_id = of_cluster.entry(pin.id.lower()).or_default();
        of_id.insert(&pin.version);
        let reason = protected.entry((pin.id.lower(), pin.version.clone()));
        let reason = reason.or_insert_with(|| Reason::Pinned {
            clusters: Vec::new(),
        });
        if let Reason::Pinned { clusters } = reason
            && !clusters.contains(&pin.cluster)
        {
            clusters.push(pin.cluster.clone());
        }
    }
    for (cluster, pinned) in &clusters {
        let mut open: Vec<&Candidate> = pinned
            .iter()
            .flat_map(|(id, versions)| versions.iter().map(move |version| (id, version)))
            .filter_map(|(id, version)| find(id, version))
            .collect();
        let mut seen: BTreeSet<(String, &Version)> = BTreeSet::new();
        while let Some(package) = open.pop() {
            for (id, range) in &package.dependencies {
                let id = id.lower();
                let is_pinned = pinned
                    .get(&id)
                    .is_some_and(|versions| versions.iter().any(|v| range.satisfies(v)));
                let Some(versions) = by_id.get(&id).filter(|_| !is_pinned) else {
                    continue;
                };
                let best = range.best_match(versions.iter().map(|package| &package.version));
                let Some(needed) = best.and_then(|version| find(&id, version)) else {
                    continue;
                };
                if seen.insert((id.clone(), &needed.version)) {
                    protected
                        .entry((id, needed.version.clone()))
                        .or_insert_with(|| Reason::Needed {
                            by: (package.id.clone(), package.version.clone()),
                            cluster: (*cluster).to_owned(),
                        });
                    open.push(needed);
                }
            }
        }
    }
    protected
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, version) = (&self.id, &self.version);
        match &self.verdict {
            Verdict::Goes(..) => write!(f, "goes   {id} {version}: {}", self.verdict),
            Verdict::Stays(_) => write!(f, "stays  {id} {version}: {}", self.verdict),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stays(reason) => reason.fmt(f),
            Self::Goes(prefix, limits) => {
                write!(f, "{}", RuleName(prefix))?;
                for (index, limit) in limits.iter().enumerate() {
                    write!(f, "{} {limit}", if index == 0 { ":" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned { clusters } => write!(f, "pinned by `{}`", clusters.join("`, `")),
            Self::Needed { by, cluster } => {
                write!(f, "needed by {} {}, which `{cluster}` needs", by.0, by.1)
            }
            Self::NoRule => f.write_str("no rule is for it"),
            Self::NoLimit { prefix } => {
                write!(f, "{} has no limit for this kind", RuleName(prefix))
            }
            Self::Listed { prefix } => write!(f, "{} keeps listed versions", RuleName(prefix)),
            Self::Within { prefix, limit } => write!(f, "{}: {limit}", RuleName(prefix)),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { kind, higher, keep } => write!(
                f,
                "{higher} higher {kind} versions are listed, {keep} are kept"
            ),
            Self::Age { seconds, keep } => {
                write!(f, "it is {} old, {} are kept", Age(*seconds), Age(*keep))
            }
        }
    }
}

struct RuleName<'a>(&'a str);

impl fmt::Display for RuleName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => f.write_str("rule for all ids"),
            prefix => write!(f, "rule `{prefix}`"),
        }
    }
}

/// Seconds as people say them.
struct Age(u64);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds if seconds >= 2 * 86_400 => write!(f, "{} days", seconds / 86_400),
            seconds if seconds >= 2 * 3600 => write!(f, "{} hours", seconds / 3600),
            seconds => write!(f, "{seconds} seconds"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const DAY: u64 = 86_400;

    fn rule(id_prefix: &str) -> Rule {
        Rule {
            id_prefix: id_prefix.to_owned(),
            origin: Origin::Any,
            keep_stable: None,
            keep_prerelease: None,
            keep_for: None,
            keep_listed: false,
        }
    }

    /// `id version`, with `-` after it unlisted, with `^` from upstream, with `@days` so old (0 by
    /// default), and then `> id range` for what it needs.
    fn candidate(text: &str) -> Candidate {
        let (package, needs) = text.split_once('>').unwrap_or((text, ""));
        let mut words = package.split_whitespace();
        let id = words.next().unwrap().parse().unwrap();
        let version = words.next().unwrap().parse().unwrap();
        let marks: Vec<&str> = words.collect();
        let days = marks.iter().find_map(|mark| mark.strip_prefix('@'));
        let days: i64 = days.map_or(0, |days| days.parse().unwrap());
        let needs: Vec<&str> = needs.split_whitespace().collect();
        Candidate {
            id,
            version,
            size: 1,
            listed: !marks.contains(&"-"),
            is_upstream: marks.contains(&"^"),
            published: NOW - days * DAY as i64,
            dependencies: needs
                .chunks(2)
                .map(|need| (need[0].parse().unwrap(), need[1].parse().unwrap()))
                .collect(),
        }
    }

    fn pin(cluster: &str, id: &str, version: &str) -> Pin {
        Pin {
            cluster: cluster.to_owned(),
            id: id.parse().unwrap(),
            version: version.parse().unwrap(),
        }
    }

    fn gone(rules: &[Rule], packages: &[&str], pins: &[Pin]) -> Vec<String> {
        let packages = packages.iter().map(|text| candidate(text)).collect();
        let decisions = decide(rules, packages, pins, NOW);
        decisions
            .iter()
            .filter(|decision| matches!(decision.verdict, Verdict::Goes(..)))
            .map(|decision| format!("{} {}", decision.id, decision.version))
            .collect()
    }

    #[test]
    fn a_version_goes_only_beyond_every_limit_of_its_rule() {
        let all = [
            "A 1.0.0 @100",
            "A 2.0.0 @50",
            "A 3.0.0 @10",
            "A 3.1.0-a @100",
            "A 3.1.0-b @10",
        ];
        for (what, rule, expected) in [
            ("no limit", rule(""), &[][..]),
            (
                "the newest stable ones",
                Rule {
                    keep_stable: Some(1),
                    ..rule("")
                },
                &["A 1.0.0", "A 2.0.0"],
            ),
            (
                "no pre-releases",
                Rule {
                    keep_prerelease: Some(0),
                    ..rule("")
                },
                &["A 3.1.0-a", "A 3.1.0-b"],
            ),
            (
                "age alone",
                Rule {
                    keep_for: Some(Duration::from_secs(60 * DAY)),
                    ..rule("")
                },
                &["A 1.0.0", "A 3.1.0-a"],
            ),
            (
                "the newest, and all that are young",
                Rule {
                    keep_stable: Some(1),
                    keep_prerelease: Some(1),
                    keep_for: Some(Duration::from_secs(60 * DAY)),
                    ..rule("")
                },
                &["A 1.0.0", "A 3.1.0-a"],
            ),
            (
                "listed ones",
                Rule {
                    keep_stable: Some(0),
                    keep_listed: true,
                    ..rule("")
                },
                &[],
            ),
            (
                "another prefix",
                Rule {
                    keep_stable: Some(0),
                    ..rule("b")
                },
                &[],
            ),
        ] {
            assert_eq!(gone(&[rule], &all, &[]), expected, "{what}");
        }
    }

    #[test]
    fn only_listed_versions_count_so_that_withdrawn_ones_push_out_no_good_ones() {
        let rules = [Rule {
            keep_stable: Some(2),
            ..rule("")
        }];
        let all = ["A 1.0.0", "A 2.0.0", "A 3.0.0", "A 4.0.0 -", "A 5.0.0 -"];
        assert_eq!(gone(&rules, &all, &[]), ["A 1.0.0"]);
    }

    #[test]
    fn the_rule_with_the_longest_prefix_and_the_right_origin_governs() {
        let keep = |prefix: &str, origin, count| Rule {
            origin,
            keep_stable: Some(count),
            ..rule(prefix)
        };
        let rules = [
            keep("", Origin::Any, 1),
            keep("acme.", Origin::Any, 0),
            keep("acme.kept", Origin::Local, 9),
        ];
        let all = [
            "Acme.Kept 1.0.0",
            "Acme.Other 1.0.0",
            "Acme.KeptNot 1.0.0 ^",
            "Zoo 1.0.0",
        ];
        let expected = ["Acme.KeptNot 1.0.0", "Acme.Other 1.0.0"];
        assert_eq!(gone(&rules, &all, &[]), expected);
    }

    #[test]
    fn what_is_pinned_and_what_that_needs_never_goes() {
        let rules = [Rule {
            keep_stable: Some(0),
            keep_prerelease: Some(0),
            ..rule("")
        }];
        let all = [
            "App 1.0.0 > Lib [1.0,2.0) Other 1.0",
            "App 2.0.0 > Lib 2.0",
            "Lib 1.0.0",
            "Lib 1.1.0 > Deep 1.0",
            "Lib 2.0.0",
            "Deep 1.0.0 > App 1.0",
            "Deep 2.0.0",
            "Other 1.0.0",
            "Other 1.5.0",
            "Alone 1.0.0",
        ];
        // The lowest of the range is what NuGet takes.
        let pins = [pin("prod", "app", "1.0")];
        let expected = [
            "Alone 1.0.0",
            "App 2.0.0",
            "Deep 1.0.0",
            "Deep 2.0.0",
            "Lib 1.1.0",
            "Lib 2.0.0",
            "Other 1.5.0",
        ];
        assert_eq!(gone(&rules, &all, &pins), expected);
        // What the cluster itself pins is what it needs; a circle ends.
        let pins = [pin("prod", "App", "1.0.0"), pin("prod", "Lib", "1.1.0")];
        let expected = [
            "Alone 1.0.0",
            "App 2.0.0",
            "Deep 2.0.0",
            "Lib 1.0.0",
            "Lib 2.0.0",
            "Other 1.5.0",
        ];
        assert_eq!(gone(&rules, &all, &pins), expected);
        // Pins of another cluster satisfy nothing here.
        let pins = [pin("prod", "App", "1.0.0"), pin("test", "Lib", "1.1.0")];
        assert!(!gone(&rules, &all, &pins).contains(&"Lib 1.0.0".to_owned()));
    }

    #[test]
    fn each_decision_says_why() {
        let rules = [Rule {
            keep_stable: Some(1),
            keep_for: Some(Duration::from_secs(30 * DAY)),
            ..rule("acme.")
        }];
        let all = [
            "Acme.A 1.0.0 @40",
            "Acme.A 2.0.0 @40",
            "Acme.A 3.0.0 @40 > Acme.B 1.0",
            "Acme.B 1.0.0 @90",
            "Acme.C 1.0.0 @1",
            "Acme.C 1.1.0",
            "Zoo 1.0.0",
        ];
        let packages = all.iter().map(|text| candidate(text)).collect();
        let pins = [
            pin("prod", "Acme.A", "2.0.0"),
            pin("test", "Acme.A", "2.0.0"),
            pin("test", "Acme.A", "3.0.0"),
        ];
        let said: Vec<String> = decide(&rules, packages, &pins, NOW)
            .iter()
            .map(Decision::to_string)
            .collect();
        assert_eq!(
            said,
            [
                "goes   Acme.A 1.0.0: rule `acme.`: 2 higher stable versions are listed, 1 are kept, it is 40 days old, 30 days are kept",
                "stays  Acme.A 2.0.0: pinned by `prod`, `test`",
                "stays  Acme.A 3.0.0: pinned by `test`",
                "stays  Acme.B 1.0.0: needed by Acme.A 3.0.0, which `test` needs",
                "stays  Acme.C 1.0.0: rule `acme.`: it is 24 hours old, 30 days are kept",
                "stays  Acme.C 1.1.0: rule `acme.`: 0 higher stable versions are listed, 1 are kept",
                "stays  Zoo 1.0.0: no rule is for it",
            ]
        );
    }

    #[test]
    fn a_version_from_the_future_is_young() {
        let rules = [Rule {
            keep_for: Some(Duration::from_secs(DAY)),
            ..rule("")
        }];
        assert!(gone(&rules, &["A 1.0.0 @-5000"], &[]).is_empty());
    }
}
