//! What holds each process of the node together, and its limits.
//!
//! With control groups there is one for the node, in it one for each package, and in that one for each run of a process.
//! Without them a process is its process group, and whatever carries its mark in the environment.

use std::collections::BTreeMap;
use std::env;

use klusterkite_manifest::Limits as ManifestLimits;
use klusterkite_processes::shim::Plan;
use klusterkite_processes::{ControlGroup, Controller, Limits};
use klusterkite_wire::NodeId;
use klusterkite_wire::link::{self, ContainmentLevel};

/// Tells that the launcher could make control groups and gave one to this host.
const VARIABLE_GROUPS: &str = "KLUSTERKITE_CONTROL_GROUPS";

/// Marks processes that belong to one process of the node.
const VARIABLE_MARK: &str = "KLUSTERKITE_PROCESS";

/// The means that were chosen at the start.
#[derive(Debug)]
pub(crate) struct Containment {
    /// Groups of the packages, if the container allows groups.
    packages: Option<Packages>,
    /// Why it does not.
    reason: Option<String>,
    node_id: NodeId,
}

#[derive(Debug)]
struct Packages {
    own: ControlGroup,
    node: ControlGroup,
    limits: BTreeMap<String, ManifestLimits>,
}

/// Where one run of a process is put.
#[derive(Debug)]
pub(crate) struct Place {
    /// Its control group.
    pub(crate) group: Option<ControlGroup>,
    /// What its shim has to do.
    pub(crate) plan: Plan,
    /// Name and value of a variable that only it and what it starts have.
    pub(crate) mark: (String, String),
}

impl Containment {
    /// Chooses the highest rung of the ladder that this container allows, and says it.
    pub(crate) fn choose(node_id: &NodeId, limits: &BTreeMap<String, ManifestLimits>) -> Self {
        let (packages, reason) = match node_group(node_id) {
            Ok((own, node)) => {
                let limits: Vec<&str> = node.controllers().map(Controller::name).collect();
                let directory = node.directory().display();
                tracing::info!(%directory, ?limits, "containment: a control group for each process");
                (Some((own, node)), None)
            }
            Err(reason) => {
                tracing::info!(
                    reason,
                    "containment: process groups and a mark in the environment"
                );
                (None, Some(reason))
            }
        };
        let packages = packages.map(|(own, node)| Packages {
            own,
            node,
            limits: limits.clone(),
        });
        if packages.is_none() {
            for (package, limits) in limits {
                let limits = converted(limits);
                for controller in used(&limits) {
                    tracing::warn!(package, %controller, "a limit of the package is not enforced: there are no control groups");
                }
            }
        }
        let node_id = node_id.clone();
        Self {
            packages,
            reason,
            node_id,
        }
    }

    /// Returns what the manager is told.
    pub(crate) fn told(&self) -> link::Containment {
        let controllers = self.packages.iter();
        let controllers = controllers.flat_map(|packages| packages.node.controllers());
        link::Containment {
            level: match self.packages {
                Some(_) => ContainmentLevel::ControlGroups,
                None => ContainmentLevel::ProcessGroups,
            },
            limits: controllers.map(|one| one.name().to_owned()).collect(),
            reason: self.reason.clone(),
        }
    }

    /// Makes the place of one run of a process and says which of its limits are not enforced.
    pub(crate) fn place(&self, package: &str, process: &str, limits: &ManifestLimits) -> Place {
        let limits = converted(limits);
        let mut plan = Plan::default();
        let group = self.group(package, process);
        match &group {
            Some(group) => {
                plan.joins = group.joins();
                for (controller, reason) in group.limit(&limits) {
                    tracing::warn!(process, %controller, reason, "a limit is not enforced");
                }
            }
            None => {
                for controller in used(&limits) {
                    if controller == Controller::Pids && !rustix::process::getuid().is_root() {
                        plan.user_processes = limits.processes;
                        let reason = "there are no control groups";
                        tracing::warn!(
                            process,
                            reason,
                            "the limit of processes counts all of this user"
                        );
                    } else {
                        let reason = "there are no control groups";
                        tracing::warn!(process, %controller, reason, "a limit is not enforced");
                    }
                }
            }
        }
        let value = format!("{}/{}/{process}", self.node_id, std::process::id());
        let mark = (VARIABLE_MARK.to_owned(), value);
        Place { group, plan, mark }
    }

    /// Removes the groups; those with processes stay for the launcher.
    pub(crate) fn close(&self) {
        if let Some(packages) = &self.packages {
            packages.node.remove();
            packages.own.close();
        }
    }

    fn group(&self, package: &str, process: &str) -> Option<ControlGroup> {
        let packages = self.packages.as_ref()?;
        match packages.group(package, process) {
            Ok(group) => Some(group),
            Err(error) => {
                tracing::warn!(process, %error, "the process gets no control group");
                None
            }
        }
    }
}

impl Packages {
    fn group(&self, package: &str, process: &str) -> std::io::Result<ControlGroup> {
        let mut of_package = self.node.child(package)?;
        if let Some(limits) = self.limits.get(package) {
            for (controller, reason) in of_package.limit(&converted(limits)) {
                tracing::warn!(package, %controller, reason, "a limit of the package is not enforced");
            }
        }
        of_package.delegate();
        of_package.child(process)
    }
}

/// Returns the group of this host and, in it, the one of its node.
fn node_group(node_id: &NodeId) -> Result<(ControlGroup, ControlGroup), String> {
    if env::var_os(VARIABLE_GROUPS).is_none_or(|value| value != "true") {
        return Err("the launcher gave no control group".to_owned());
    }
    let tag = format!("node-{node_id}-{}", std::process::id());
    let own = ControlGroup::own(&tag)?;
    let mut node = own.child(&tag).map_err(|error| error.to_string())?;
    node.delegate();
    Ok((own, node))
}

fn converted(limits: &ManifestLimits) -> Limits {
    Limits {
        memory_bytes: limits.memory_bytes,
        processes: limits.processes,
        cpu_thousandths: limits.cpu_thousandths,
    }
}

fn used(limits: &Limits) -> impl Iterator<Item = Controller> {
    Controller::ALL.into_iter().filter(|one| limits.uses(*one))
}
