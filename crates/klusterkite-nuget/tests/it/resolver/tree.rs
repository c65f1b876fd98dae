//! The resolution as NuGet describes it: a tree with a node for every path, walked until nothing
//! changes. It is exponential and gives up on packages that dispute each other; where it answers,
//! the real resolution must answer the same.

use std::collections::{BTreeMap, BTreeSet};

use klusterkite_nuget::{PackageId, Version, VersionRange};

/// The largest tree that is built; larger cases are skipped.
const NODES_MAX: usize = 3_000;

/// The most rounds until the versions must be found.
const ROUNDS_MAX: usize = 100;

pub(super) type References = Vec<(PackageId, VersionRange)>;

/// What the tree says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Versions(BTreeMap<PackageId, Version>),
    Conflict,
    Cycle,
    /// It is too large, lacks a package, or stays open.
    Nothing,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Acceptable,
    Accepted,
    Rejected,
}

struct Node {
    /// `None` for the project.
    package: Option<(PackageId, Version)>,
    range: VersionRange,
    parent: Option<usize>,
    references: References,
    children: Vec<usize>,
    state: State,
}

/// Resolves by the tree. `choose` gives the version for a reference, `needs` what it needs.
pub(super) fn resolve(
    project: References,
    choose: impl Fn(&PackageId, &VersionRange) -> Option<Version>,
    needs: impl Fn(&PackageId, &Version) -> References,
) -> Answer {
    let mut nodes = vec![Node {
        package: None,
        range: VersionRange::any(),
        parent: None,
        references: project,
        children: Vec::new(),
        state: State::Acceptable,
    }];
    let mut has_cycle = false;
    let mut next = 0;
    while next < nodes.len() {
        for (id, range) in nodes[next].references.clone() {
            match place(&nodes, next, &id) {
                Place::Hidden => continue,
                Place::Cycle => {
                    has_cycle = true;
                    continue;
                }
                Place::Free => {}
            }
            let Some(version) = choose(&id, &range) else {
                return Answer::Nothing;
            };
            let index = nodes.len();
            if index == NODES_MAX {
                return Answer::Nothing;
            }
            nodes[next].children.push(index);
            nodes.push(Node {
                references: needs(&id, &version),
                package: Some((id, version)),
                range,
                parent: Some(next),
                children: Vec::new(),
                state: State::Acceptable,
            });
        }
        next += 1;
    }
    if has_cycle {
        return Answer::Cycle;
    }
    for _ in 0..ROUNDS_MAX {
        round(&mut nodes);
        if nodes.iter().all(|node| node.state != State::Acceptable) {
            return answer(&nodes);
        }
    }
    Answer::Nothing
}

enum Place {
    Free,
    Hidden,
    Cycle,
}

/// Looks upwards from a node: at the packages first, then at what else they refer to.
fn place(nodes: &[Node], from: usize, id: &PackageId) -> Place {
    let is = |node: &Node| node.package.as_ref().is_some_and(|(other, _)| other == id);
    if is(&nodes[from]) {
        return Place::Cycle;
    }
    let mut above = nodes[from].parent;
    while let Some(index) = above {
        if is(&nodes[index]) {
            return Place::Cycle;
        }
        if nodes[index].references.iter().any(|(other, _)| other == id) {
            return Place::Hidden;
        }
        above = nodes[index].parent;
    }
    Place::Free
}

/// Decides what can be decided. Parents come before their children.
fn round(nodes: &mut [Node]) {
    let mut versions: BTreeMap<PackageId, BTreeSet<Version>> = BTreeMap::new();
    for index in 0..nodes.len() {
        let is_below_rejected = nodes[index]
            .parent
            .is_some_and(|parent| nodes[parent].state == State::Rejected);
        if is_below_rejected {
            nodes[index].state = State::Rejected;
        }
        if nodes[index].state != State::Rejected
            && let Some((id, version)) = &nodes[index].package
        {
            let versions = versions.entry(id.clone()).or_default();
            versions.insert(version.clone());
        }
    }
    let versions_of = |node: &Node| {
        let (id, _) = node.package.as_ref()?;
        versions.get(id)
    };

    let mut is_below_disputed = vec![false; nodes.len()];
    let mut open: BTreeSet<PackageId> = BTreeSet::new();
    for index in 0..nodes.len() {
        let Some(parent) = nodes[index].parent else {
            continue;
        };
        if nodes[index].state == State::Rejected {
            continue;
        }
        let is_disputed =
            |node: &Node| versions_of(node).is_some_and(|versions| versions.len() > 1);
        is_below_disputed[index] = is_below_disputed[parent] || is_disputed(&nodes[parent]);
        if is_below_disputed[index]
            && let Some((id, _)) = &nodes[index].package
        {
            open.insert(id.clone());
        }
    }

    for index in 0..nodes.len() {
        let is_parent_accepted = nodes[index]
            .parent
            .is_none_or(|parent| nodes[parent].state == State::Accepted);
        let is_open = matches!(&nodes[index].package, Some((id, _)) if open.contains(id));
        if nodes[index].state == State::Acceptable && is_parent_accepted && !is_open {
            let highest = versions_of(&nodes[index]).and_then(BTreeSet::last);
            let version = nodes[index].package.as_ref().map(|(_, version)| version);
            nodes[index].state = if highest == version {
                State::Accepted
            } else {
                State::Rejected
            };
        }
    }
}

fn answer(nodes: &[Node]) -> Answer {
    let mut chosen: BTreeMap<PackageId, Version> = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.state == State::Accepted) {
        chosen.extend(node.package.clone());
    }
    let accepted = nodes.iter().filter(|node| node.state == State::Accepted);
    for child in accepted.flat_map(|node| &node.children) {
        let child = &nodes[*child];
        if let Some((id, _)) = &child.package
            && let Some(version) = chosen.get(id)
            && !child.range.satisfies(version)
        {
            return Answer::Conflict;
        }
    }
    Answer::Versions(chosen)
}
