//! What holds a node together: a control group for each run where the container allows it, and always the walk over
//! descendants, which finds what the launcher adopted.

use std::path::PathBuf;
use std::time::Duration;

use klusterkite_processes::{ControlGroup, Controller, kill_descendants};
use klusterkite_wire::NodeId;

use crate::console;

/// How long killed processes may take to end: uninterruptible sleep on a dead disk does not end.
const KILL_MAX: Duration = Duration::from_secs(10);

/// The means that were chosen at the start.
pub(crate) struct Containment {
    /// The group of the launcher, if there may be groups in it.
    own: Option<ControlGroup>,
    /// Beginning of the names of this node's groups.
    tag: String,
}

impl Containment {
    /// Chooses the highest rung of the ladder that this container allows, and says it.
    pub(crate) fn choose(node_id: &NodeId, wanted: bool) -> Self {
        let tag = format!("klusterkite-{node_id}");
        let own = if wanted {
            ControlGroup::own(&tag)
        } else {
            Err("`controlGroups = false`".to_owned())
        };
        match &own {
            Ok(own) => {
                let limits: Vec<&str> = own.controllers().map(Controller::name).collect();
                let limits = match limits.as_slice() {
                    [] => "without limits".to_owned(),
                    some => format!("limits of {}", some.join(", ")),
                };
                console::info(format_args!(
                    "containment: control groups in `{}`, {limits}",
                    own.directory().display()
                ));
            }
            Err(reason) => console::info(format_args!(
                "containment: sessions and descendants, because {reason}"
            )),
        }
        let own = own.ok();
        Self { own, tag }
    }

    /// Tells whether nodes get control groups.
    pub(crate) fn has_groups(&self) -> bool {
        self.own.is_some()
    }

    /// Makes the group of one run. Without it the node runs, too.
    pub(crate) fn group(&self, run: u64) -> Option<ControlGroup> {
        let own = self.own.as_ref()?;
        match own.child(&format!("{}-{}-{run}", self.tag, std::process::id())) {
            Ok(group) => Some(group),
            Err(error) => {
                console::warn(format_args!("the node gets no control group: {error}"));
                None
            }
        }
    }

    /// Removes what was made for the groups of this node.
    pub(crate) fn close(&self) {
        if let Some(own) = &self.own {
            own.close();
        }
    }

    /// Kills and removes groups that a killed launcher of this node left. Returns how many had processes.
    pub(crate) fn end_left_overs(&self) -> std::io::Result<usize> {
        let mut count = 0;
        let own = self.own.iter();
        for group in own.flat_map(|own| own.children(&self.tag)) {
            if group.is_populated()? {
                count += 1;
                group.kill_and_wait(KILL_MAX)?;
            }
            group.remove();
        }
        Ok(count)
    }
}

/// Returns the files through which a node's host joins the group of its run.
pub(crate) fn joins(group: Option<&ControlGroup>) -> Vec<PathBuf> {
    group.map_or(Vec::new(), ControlGroup::joins)
}

/// Ends everything that the launcher has started; tells whether the kernel has confirmed that.
pub(crate) fn kill(group: Option<&ControlGroup>) -> bool {
    let mut ended = group.map_or(Ok(()), |group| group.kill_and_wait(KILL_MAX));
    ended = kill_descendants().and(ended);
    if let Err(error) = &ended {
        console::error(format_args!("cannot end the node's processes: {error}"));
    }
    if let Some(group) = group {
        group.remove();
    }
    ended.is_ok()
}
