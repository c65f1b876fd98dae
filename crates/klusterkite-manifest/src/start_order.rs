//! The order in which the processes of a node start.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::manifest::Priority;
use crate::spec::ProcessSpec;

/// A process whose place in the order is not known yet.
#[derive(Debug, Clone)]
pub(crate) struct Unordered {
    pub(crate) process: ProcessSpec,
    /// Priority of its package.
    pub(crate) priority: Priority,
    /// The names of `after`, if the manifest has it.
    pub(crate) after: Option<Vec<String>>,
}

/// Says for each process after which ones it starts, and sorts them so that these come first.
///
/// Without `after` those are the ones before it in its manifest and those of packages with a lower priority: what
/// others build upon starts first, and packages that know nothing of each other do not wait for each other.
pub(crate) fn in_start_order(processes: Vec<Unordered>) -> Result<Vec<ProcessSpec>, Error> {
    let places: BTreeMap<&str, usize> = processes
        .iter()
        .enumerate()
        .map(|(place, one)| (one.process.name.as_str(), place))
        .collect();
    let mut before: Vec<Vec<usize>> = Vec::new();
    for (place, one) in processes.iter().enumerate() {
        let Some(after) = &one.after else {
            let comes_first = |(other, earlier): (usize, &Unordered)| {
                let same = earlier.process.package == one.process.package;
                let first = (same && other < place) || earlier.priority < one.priority;
                first.then_some(other)
            };
            before.push(
                processes
                    .iter()
                    .enumerate()
                    .filter_map(comes_first)
                    .collect(),
            );
            continue;
        };
        let known = |name: &String| {
            let place = places.get(name.as_str()).copied();
            place.ok_or_else(|| Error::UnknownProcess {
                process: one.process.name.clone(),
                package: one.process.package.clone(),
                after: name.clone(),
            })
        };
        before.push(after.iter().map(known).collect::<Result<_, _>>()?);
    }
    let order = sorted(&before).map_err(|circle| {
        let names = circle
            .iter()
            .map(|place| processes[*place].process.name.clone());
        Error::Circle {
            processes: names.collect(),
        }
    })?;
    let names: Vec<String> = processes
        .iter()
        .map(|one| one.process.name.clone())
        .collect();
    let mut slots: Vec<Option<ProcessSpec>> = processes
        .into_iter()
        .zip(&before)
        .map(|(one, before)| {
            let mut process = one.process;
            process.after = before.iter().map(|place| names[*place].clone()).collect();
            Some(process)
        })
        .collect();
    Ok(order
        .into_iter()
        .filter_map(|place| slots[place].take())
        .collect())
}

/// Returns the places so that each comes after those before it, otherwise in their own order; or a circle.
fn sorted(before: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut order = Vec::new();
    let mut open: Vec<usize> = (0..before.len()).collect();
    while !open.is_empty() {
        let is_free = |place: &usize| !before[*place].iter().any(|first| open.contains(first));
        let Some(next) = open.iter().position(is_free) else {
            return Err(circle(before, &open));
        };
        order.push(open.remove(next));
    }
    Ok(order)
}

/// Follows what each one waits for, until one comes again.
fn circle(before: &[Vec<usize>], open: &[usize]) -> Vec<usize> {
    let mut way = vec![open[0]];
    loop {
        let last = way[way.len() - 1];
        let next = before[last].iter().find(|first| open.contains(first));
        let next = *next.expect("whatever is open waits for something open");
        if let Some(start) = way.iter().position(|place| *place == next) {
            return way.split_off(start);
        }
        way.push(next);
    }
}
