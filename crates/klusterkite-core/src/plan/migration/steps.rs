//! The steps of a migration, computed from where everything stands.

use serde::{Deserialize, Serialize};

use super::phases::Phase;
use super::{Entry, MigrationContext, MigrationState};
use crate::plan::resources::{Direction, ResourcePosition, Side};

/// Names where a migration stands. The texts on the wire are KlusterKite's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Step {
    /// Nothing has been done.
    Start,
    /// Some resources that move before the nodes have moved.
    PreNodesResourcesUpdating,
    /// All of them have.
    PreNodeResourcesUpdated,
    /// The nodes move.
    NodesUpdating,
    /// They have moved.
    NodesUpdated,
    /// Some resources that move after the nodes have moved.
    PostNodesResourcesUpdating,
    /// Everything has.
    Finish,
    /// Some resource cannot be moved by anybody.
    Broken,
    /// The order was not kept: something moved that should not have moved yet.
    Recovery,
}

/// Where the two phases and the nodes stand.
pub(super) struct Standing {
    pub(super) pre_at_source: bool,
    pub(super) pre_at_destination: bool,
    pub(super) post_at_source: bool,
    pub(super) post_at_destination: bool,
    pub(super) has_pre: bool,
    pub(super) has_post: bool,
}

impl MigrationState {
    /// Returns the current step: the first rule that holds (section 2.7; B13: nodes come before what
    /// follows them; they have moved when each template has its minimum of stable nodes).
    pub fn step(&self, context: MigrationContext) -> Step {
        let MigrationContext {
            active,
            obsolete_nodes,
            missing_nodes,
            ..
        } = context;
        if self.is_broken() {
            return Step::Broken;
        }
        let Standing {
            pre_at_source,
            pre_at_destination,
            post_at_source,
            post_at_destination,
            has_post,
            ..
        } = self.standing();
        match active {
            Side::Source if pre_at_source && post_at_source && !obsolete_nodes => Step::Start,
            Side::Source if post_at_source && !pre_at_destination => {
                Step::PreNodesResourcesUpdating
            }
            Side::Source if post_at_source && !obsolete_nodes => Step::PreNodeResourcesUpdated,
            Side::Source if post_at_source => Step::NodesUpdating,
            Side::Destination if pre_at_destination && obsolete_nodes => Step::NodesUpdating,
            Side::Destination if pre_at_destination && post_at_source && missing_nodes => {
                Step::NodesUpdating
            }
            Side::Destination if pre_at_destination && post_at_source && has_post => {
                Step::NodesUpdated
            }
            Side::Destination if pre_at_destination && !post_at_destination => {
                Step::PostNodesResourcesUpdating
            }
            Side::Destination if pre_at_destination => Step::Finish,
            _ => Step::Recovery,
        }
    }

    /// Lists the steps of this migration, from the first to the last.
    pub fn steps(&self) -> Vec<Step> {
        if self.has_undefined() {
            return vec![Step::Broken];
        }
        let Standing {
            has_pre, has_post, ..
        } = self.standing();
        let mut steps = vec![Step::Start];
        if has_pre {
            steps.extend([
                Step::PreNodesResourcesUpdating,
                Step::PreNodeResourcesUpdated,
            ]);
        }
        steps.push(Step::NodesUpdating);
        if has_post {
            steps.extend([Step::NodesUpdated, Step::PostNodesResourcesUpdating]);
        }
        steps.push(Step::Finish);
        steps
    }

    pub(super) fn standing(&self) -> Standing {
        let (pre, post) = (
            self.phase(Phase::BeforeNodes),
            self.phase(Phase::AfterNodes),
        );
        Standing {
            pre_at_source: pre.iter().all(Entry::is_at_source),
            pre_at_destination: pre.iter().all(Entry::is_at_destination),
            post_at_source: post.iter().all(Entry::is_at_source),
            post_at_destination: post.iter().all(Entry::is_at_destination),
            has_pre: !pre.is_empty(),
            has_post: !post.is_empty(),
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.has_undefined()
            || self
                .entries()
                .any(|entry| entry.resource.position == ResourcePosition::OutOfScope)
    }

    fn has_undefined(&self) -> bool {
        let mut migrators = self
            .templates
            .iter()
            .flat_map(|template| &template.migrators);
        migrators.any(|migrator| migrator.direction == Direction::Undefined)
    }
}
