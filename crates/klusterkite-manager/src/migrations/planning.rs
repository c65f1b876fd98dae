//! What a migration would do, told before it starts.

use klusterkite_api::migrations::{MigrationPlan, PlanRequest};
use klusterkite_core::configuration::{ConfigurationContext, Trigger, allowed};
use klusterkite_core::plan::migration::{MigrationState, plan};
use klusterkite_core::plan::rollout::{Node, WaitingContainer, plan_summary};
use klusterkite_core::reason::{ReasonCode, Refusal};
use klusterkite_core::release::Release;
use klusterkite_wire::Secret;

use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::state::{Busy, State};

impl Cluster {
    /// Tells what a migration to a configuration would do. Reads the resources of both ends.
    pub async fn migration_plan(&self, request: PlanRequest) -> Result<MigrationPlan, Fault> {
        let (source, destination) = self.remember(|state| begin(state, request)).await?;
        let (cluster, ends) = (self.clone(), [source.clone(), destination.clone()]);
        // Whoever asked may go away meanwhile.
        let reading = self.while_busy(async move {
            let readings = cluster.readings(&ends).await;
            cluster.remember(|state| state.volatile.busy = None).await;
            cluster.nudge();
            readings
        });
        let readings = reading
            .await
            .ok()
            .flatten()
            .ok_or_else(|| Fault::Unavailable {
                code: "readingFailed",
                message: "the resources could not be read; see the manager's log".to_owned(),
            })?;
        let resources = MigrationState::new(
            &source,
            &destination,
            &readings[&source.id],
            &readings[&destination.id],
        );
        let state = self.read().await;
        let (nodes, waiting) = observed(&state);
        let summary = plan_summary(&source, &destination, &state.releases, &nodes, &waiting);
        Ok(MigrationPlan {
            plan_id: plan_id(&source, &destination, &resources, &nodes),
            from_configuration_id: source.id,
            to_configuration_id: destination.id,
            plan: plan(&resources, summary),
        })
    }
}

/// Looks at both ends and marks the cluster as busy.
fn begin(state: &mut State, request: PlanRequest) -> Result<(Release, Release), Fault> {
    let to = request.to_configuration_id;
    let row = state
        .configurations
        .get(&to)
        .ok_or_else(|| Fault::not_found("configuration", to))?;
    let trigger = Trigger::Target {
        retry_faulted: true,
    };
    allowed(row.state, trigger, &ConfigurationContext::default())?;
    if let Some(what) = state.busy_with() {
        let message = format!("the manager is busy with {what}; ask again");
        return Err(Refusal::new(ReasonCode::Busy, message).into());
    }
    if let Some(migration) = &state.migration {
        let message = format!(
            "migration {} runs; plan again when it has ended",
            migration.id
        );
        return Err(Refusal::new(ReasonCode::MigrationRuns, message).into());
    }
    let source = state
        .active()
        .cloned()
        .ok_or_else(|| Fault::not_found("configuration", "active"))?;
    let destination = state
        .releases
        .get(&to)
        .cloned()
        .ok_or_else(|| Fault::not_found("checked configuration", to))?;
    state.volatile.busy = Some(Busy {
        what: "reading resources for a plan".to_owned(),
        moves: false,
    });
    Ok((source, destination))
}

fn observed(state: &State) -> (Vec<Node>, Vec<WaitingContainer>) {
    let nodes = state
        .nodes
        .values()
        .filter_map(|row| crate::rollout::node(state, row));
    (nodes.collect(), crate::rollout::waiting(state))
}

/// Makes an id of everything that the plan was made from: another id means another plan.
fn plan_id(
    source: &Release,
    destination: &Release,
    resources: &MigrationState,
    nodes: &[Node],
) -> String {
    let nodes: Vec<_> = nodes
        .iter()
        .map(|node| {
            format!(
                "{}/{}/{}/{}",
                node.id, node.template, node.configuration_id, node.incarnation
            )
        })
        .collect();
    let resources = serde_json::to_string(resources).expect("plain values have JSON");
    let inputs = format!(
        "{}\n{}\n{resources}\n{}",
        source.id,
        destination.id,
        nodes.join("\n")
    );
    crate::secrets::hash(&Secret::new(inputs))[..32].to_owned()
}
