//! A manager that is not the leader any more notices it, also when it has nothing to write.

use std::time::Duration;

use klusterkite_store::Error;

use crate::cluster::Cluster;
use crate::fault::Fault;

/// Pause between two looks at the epoch; one that stood still for a while shows old states no longer than this.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// How long requests are still answered after another manager has taken over: they hear so.
const ANSWERS_AFTER: Duration = Duration::from_secs(1);

impl Cluster {
    /// Leads until another manager does; the requests that are under way then hear so.
    pub async fn lead_while_leader(&self) -> Result<(), Fault> {
        let ended = tokio::select! {
            led = self.lead() => led,
            fault = self.other_leads() => Err(fault),
        };
        tokio::time::sleep(ANSWERS_AFTER).await;
        ended
    }

    /// Waits until another manager leads.
    async fn other_leads(&self) -> Fault {
        loop {
            tokio::time::sleep(LOOK_PAUSE).await;
            // A store that fails otherwise is the loop's concern.
            if let Err(error @ Error::Fenced { .. }) = self.store().check_leader(self.epoch()).await
            {
                return error.into();
            }
        }
    }
}
