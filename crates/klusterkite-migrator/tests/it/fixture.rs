//! A migrator over values in memory whose failures are asked for by resource code.

use std::collections::BTreeMap;
use std::io::Write;

use klusterkite_migrator::points::{Step, steps};
use klusterkite_migrator::{Answer, Level, Migrator, Progress, Resource, Seeder};
use klusterkite_wire::migrator::{DependencyType, MigrateParams, MigratorDescription, SeedResult};
use klusterkite_wire::{Point, ResourceCode};

/// `panics`, `fails`, `lazy` (says nothing, does nothing) and `db`, which works.
pub(crate) struct Memory {
    pub(crate) points: Vec<Point>,
    pub(crate) codes: Vec<&'static str>,
    at: BTreeMap<ResourceCode, Point>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            points: ["p1", "p2", "p3"].map(|text| text.parse().unwrap()).into(),
            codes: vec!["db"],
            at: BTreeMap::new(),
        }
    }

    pub(crate) fn with(codes: &[&'static str]) -> Self {
        Self {
            codes: codes.to_vec(),
            ..Self::new()
        }
    }
}

impl Migrator for Memory {
    fn describe(&mut self) -> Answer<MigratorDescription> {
        Ok(MigratorDescription {
            protocol: 1,
            name: "memory".to_owned(),
            dependency_type: DependencyType::CodeDependsOnResource,
            priority: 1.5,
            points: self.points.clone(),
            irreversible: Vec::new(),
        })
    }

    fn resources(&mut self) -> Answer<Vec<Resource>> {
        let resource = |code: &&str| {
            let name = format!("the {code}");
            Ok(Resource {
                code: code.parse()?,
                name,
            })
        };
        self.codes.iter().map(resource).collect()
    }

    fn current_point(&mut self, resource: &ResourceCode) -> Answer<Option<Point>> {
        match resource.as_str() {
            "fails" => Err(Box::new(std::io::Error::other("the disk is gone"))),
            "panics" => panic!("no such luck"),
            _ => Ok(self.at.get(resource).cloned()),
        }
    }

    fn migrate(&mut self, order: &MigrateParams, progress: &mut Progress<'_>) -> Answer<()> {
        if order.resource.as_str() == "lazy" {
            return Ok(());
        }
        let _ = writeln!(std::io::stdout(), "a stray line of fence {}", order.fence);
        let current = self.at.get(&order.resource);
        let steps = steps(&self.points, &[], current, &order.point)?;
        let total = steps.len() as u64;
        for (done, step) in (1..).zip(steps) {
            progress.log(Level::Info, format!("{step:?}"));
            if order.dry_run {
                continue;
            }
            match step {
                Step::Up(point) => self.at.insert(order.resource.clone(), point),
                Step::Down(point) => {
                    let place = self.points.iter().position(|known| *known == point);
                    let below = self.points[place.unwrap() - 1].clone();
                    self.at.insert(order.resource.clone(), below)
                }
            };
            progress.set(done, total);
        }
        Ok(())
    }
}

/// Seeds once.
pub(crate) struct Once(pub(crate) bool);

impl Seeder for Once {
    fn name(&self) -> String {
        "once".to_owned()
    }

    fn seed(&mut self, progress: &mut Progress<'_>) -> Answer<SeedResult> {
        progress.log(Level::Warn, "looking");
        let changed = !std::mem::replace(&mut self.0, true);
        let message = if changed { "made" } else { "was there" }.to_owned();
        Ok(SeedResult { changed, message })
    }
}
