//! Events: what happened, who did it (audit).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Number, growing; the id of the server-sent event.
    pub id: i64,
    /// When, RFC 3339.
    pub at: String,
    /// Machine code in camelCase: `nodeReady`, `migrationStarted`, …
    pub kind: String,
    /// Who: `user:admin`, `client:…`, `manager`.
    pub actor: String,
    /// Object: `node:…`, `configuration:3`, `migration:2`, …
    pub object: String,
    /// One sentence.
    pub message: String,
    /// Values of the sentence.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
}
