//! The one table of routes.

use klusterkite_wire::link::Members;
use klusterkite_wire::start::{
    NodeTokenAnswer, NodeTokenRequest, ProgressReport, StartConfiguration, StartRequest,
};

use crate::access::{Client, Me, RevokeForm, Role, TokenAnswer, TokenForm, User};
use crate::cluster::{Accepted, ClusterState};
use crate::configurations::{
    CheckResult, Configuration, ConfigurationCreate, ConfigurationDiff, ConfigurationPatch,
    Package, StableRequest,
};
use crate::events::Event;
use crate::migrations::{
    Migration, MigrationCreate, MigrationLogEntry, MigrationPlan, MigratorLine, NodesRequest,
    PlanRequest, ResourcesRequest,
};
use crate::nodes::{Container, Node, NodeExplanation, NodeLine, NodeRequest, Template};
use crate::openapi::{Body, form, json, lines, nothing, text};
use crate::page::Page;
use crate::privileges::Privilege;

/// HTTP methods of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

impl Method {
    /// Returns the method as it stands in a request line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// Says who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody: token, revoke, health.
    Open,
    /// Any valid token.
    AnyToken,
    /// A token with this privilege.
    Privilege(Privilege),
    /// The token of the node that the path names.
    Node,
    /// A node's token, or one with this privilege.
    NodeOr(Privilege),
}

/// One operation of the API.
pub struct Operation {
    /// Which one.
    pub id: OperationId,
    /// HTTP method.
    pub method: Method,
    /// Path with `{name}` for parameters.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
    /// Query parameters: name and meaning.
    pub query: &'static [(&'static str, &'static str)],
    /// Request body.
    pub request: Body,
    /// Status of success.
    pub status: u16,
    /// Response body of success.
    pub response: Body,
    /// One sentence.
    pub summary: &'static str,
}

impl Operation {
    /// Returns the entry of an operation.
    pub fn of(id: OperationId) -> &'static Self {
        let found = OPERATIONS.iter().find(|operation| operation.id == id);
        found.expect("the macro makes id and entry together")
    }
}

/// What an answer waits for; manager and clients give it time accordingly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsFor {
    /// The manager's memory and store.
    Store,
    /// The feed, which may be asked about every package of a cluster.
    Feed,
    /// Something that happens: a blocking query.
    Change,
}

impl OperationId {
    /// Returns what the answer of the operation waits for.
    pub fn waits_for(self) -> WaitsFor {
        match self {
            Self::ConfigurationCreate
            | Self::ConfigurationCheck
            | Self::ConfigurationReady
            | Self::ConfigurationDiff
            | Self::MigrationPlan
            | Self::MigrationCreate
            | Self::PackageList
            | Self::PackageGet => WaitsFor::Feed,
            Self::MemberList => WaitsFor::Change,
            _ => WaitsFor::Store,
        }
    }
}

macro_rules! operations {
    ($($id:ident: $method:ident $path:literal $access:expr, [$($query:expr),*], $request:expr => $status:literal $response:expr, $summary:literal;)*) => {
        /// Names an operation of the API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum OperationId {
            $(#[doc = $summary] $id,)*
        }

        impl OperationId {
            /// Returns the name that the OpenAPI document uses.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$id => stringify!($id),)*
                }
            }
        }

        /// All operations.
        pub const OPERATIONS: &[Operation] = &[$(Operation {
            id: OperationId::$id,
            method: Method::$method,
            path: $path,
            access: $access,
            query: &[$($query),*],
            request: $request,
            status: $status,
            response: $response,
            summary: $summary,
        }),*];
    };
}

const LIMIT: (&str, &str) = ("limit", "Items of the page, 1 to 1000, default 100");
const AFTER: (&str, &str) = ("after", "`cursor` of the last line that is known already");
const FOLLOW: (&str, &str) = ("follow", "`true`: goes on with lines as they come");
const TEMPLATE: (&str, &str) = ("template", "Only this migrator template");
const MIGRATOR: (&str, &str) = ("migrator", "Only this migrator");
const RESOURCE: (&str, &str) = ("resource", "Only this resource");
const CURSOR: (&str, &str) = ("cursor", "`nextCursor` of the page before");

use Access::{AnyToken, Node as NodeToken, NodeOr, Open, Privilege as Needs};
use Privilege as P;

operations! {
    TokenCreate: Post "/oauth/token" Open, [], form::<TokenForm>() => 200 json::<TokenAnswer>(), "Gives a token for a password, a refresh token or client credentials";
    TokenRevoke: Post "/oauth/revoke" Open, [], form::<RevokeForm>() => 200 nothing(), "Ends a token now";
    Healthz: Get "/healthz" Open, [], nothing() => 200 text("text/plain"), "Tells that the process answers";
    Readyz: Get "/readyz" Open, [], nothing() => 200 text("text/plain"), "Tells that the manager leads and its store works";
    Metrics: Get "/metrics" Needs(P::GetTemplateStatistics), [], nothing() => 200 text("text/plain"), "Shows metrics in the Prometheus text format";
    OpenApi: Get "/api/openapi.json" AnyToken, [], nothing() => 200 text("application/json"), "Shows this document";
    MeGet: Get "/api/v1/me" AnyToken, [], nothing() => 200 json::<Me>(), "Tells who the bearer is and what it may do";
    PrivilegeList: Get "/api/v1/privileges" Needs(P::GetPrivilegesList), [], nothing() => 200 json::<Page<Privilege>>(), "Lists all privileges";
    UserList: Get "/api/v1/users" Needs(P::UserQuery), [], nothing() => 200 json::<Page<User>>(), "Lists users";
    RoleList: Get "/api/v1/roles" Needs(P::RoleQuery), [], nothing() => 200 json::<Page<Role>>(), "Lists roles";
    ClientList: Get "/api/v1/clients" Needs(P::ClientQuery), [], nothing() => 200 json::<Page<Client>>(), "Lists launcher clients";

    NodeConfiguration: Post "/api/v1/nodes/configuration" Needs(P::GetConfiguration), [], json::<StartRequest>() => 200 json::<StartConfiguration>(), "Tells a launcher what to start";
    NodeTokenCreate: Post "/api/v1/nodes/{nodeId}/token" Needs(P::GetConfiguration), [], json::<NodeTokenRequest>() => 200 json::<NodeTokenAnswer>(), "Gives a token to a node that started without asking";
    NodeProgress: Post "/api/v1/nodes/{nodeId}/progress" Needs(P::GetConfiguration), [], json::<ProgressReport>() => 204 nothing(), "Renews an assignment while packages load";
    NodeLink: Get "/api/v1/nodes/{nodeId}/link" NodeToken, [], nothing() => 101 nothing(), "Opens the WebSocket of a node";
    MemberList: Get "/api/v1/members" NodeOr(P::GetMembers), [("role", "Only nodes with this role"), ("index", "Answers when the version is larger than this"), ("wait", "Longest wait in seconds, 0 to 60, such as `60s`")], nothing() => 200 json::<Members>(), "Lists ready nodes with their endpoints";

    ConfigurationList: Get "/api/v1/configurations" Needs(P::ConfigurationQuery), [("state", "Only this state"), LIMIT, CURSOR], nothing() => 200 json::<Page<Configuration>>(), "Lists configurations, newest first";
    ConfigurationCreate: Post "/api/v1/configurations" Needs(P::ConfigurationCreate), [], json::<ConfigurationCreate>() => 201 json::<Configuration>(), "Makes a Draft";
    ConfigurationGet: Get "/api/v1/configurations/{id}" Needs(P::ConfigurationQuery), [], nothing() => 200 json::<Configuration>(), "Shows a configuration";
    ConfigurationPatch: Patch "/api/v1/configurations/{id}" Needs(P::ConfigurationUpdate), [], json::<ConfigurationPatch>() => 200 json::<Configuration>(), "Changes a Draft; `If-Match` names its revision";
    ConfigurationDelete: Delete "/api/v1/configurations/{id}" Needs(P::ConfigurationDelete), [], nothing() => 204 nothing(), "Deletes a Draft";
    ConfigurationCheck: Post "/api/v1/configurations/{id}/check" Needs(P::ConfigurationFinish), [], nothing() => 200 json::<CheckResult>(), "Checks a Draft";
    ConfigurationReady: Post "/api/v1/configurations/{id}/ready" Needs(P::ConfigurationFinish), [], nothing() => 200 json::<Configuration>(), "Checks a Draft, freezes its packages and makes it Ready";
    ConfigurationObsolete: Post "/api/v1/configurations/{id}/obsolete" Needs(P::ConfigurationFinish), [], nothing() => 200 json::<Configuration>(), "Discards a Ready configuration";
    ConfigurationStable: Post "/api/v1/configurations/{id}/stable" Needs(P::ClusterUpdate), [], json::<StableRequest>() => 200 json::<Configuration>(), "Marks the Active configuration as stable or not";
    ConfigurationDiff: Get "/api/v1/configurations/{id}/diff" Needs(P::ConfigurationQuery), [("against", "The other configuration; default: the Active one")], nothing() => 200 json::<ConfigurationDiff>(), "Compares two configurations";

    MigrationList: Get "/api/v1/migrations" Needs(P::MigrationQuery), [LIMIT, CURSOR], nothing() => 200 json::<Page<Migration>>(), "Lists migrations, newest first";
    MigrationCreate: Post "/api/v1/migrations" Needs(P::MigrateCluster), [], json::<MigrationCreate>() => 201 json::<Migration>(), "Starts a migration";
    MigrationPlan: Post "/api/v1/migrations/plan" Needs(P::GetResourceState), [], json::<PlanRequest>() => 200 json::<MigrationPlan>(), "Tells what a migration would do";
    MigrationCurrent: Get "/api/v1/migrations/current" Needs(P::GetResourceState), [], nothing() => 200 json::<Migration>(), "Shows the running migration";
    MigrationCancel: Post "/api/v1/migrations/current/cancel" Needs(P::MigrateCluster), [], nothing() => 200 json::<Migration>(), "Ends the migration at its start";
    MigrationFinish: Post "/api/v1/migrations/current/finish" Needs(P::MigrateCluster), [], nothing() => 200 json::<Migration>(), "Ends the migration at its destination";
    MigrationNodes: Post "/api/v1/migrations/current/nodes" Needs(P::MigrateCluster), [], json::<NodesRequest>() => 202 json::<Accepted>(), "Moves the nodes to one end";
    MigrationResources: Post "/api/v1/migrations/current/resources" Needs(P::MigrateCluster), [], json::<ResourcesRequest>() => 202 json::<Accepted>(), "Moves resources";
    MigrationPause: Post "/api/v1/migrations/current/pause" Needs(P::MigrateCluster), [], nothing() => 200 json::<Migration>(), "Holds the migration and the update of nodes";
    MigrationResume: Post "/api/v1/migrations/current/resume" Needs(P::MigrateCluster), [], nothing() => 200 json::<Accepted>(), "Goes on; failures counted so far are forgotten";
    MigrationRollback: Post "/api/v1/migrations/current/rollback" Needs(P::MigrateCluster), [], nothing() => 202 json::<Accepted>(), "Sends an automatic migration back to its source";
    MigrationGet: Get "/api/v1/migrations/{id}" Needs(P::MigrationQuery), [], nothing() => 200 json::<Migration>(), "Shows a migration";
    MigrationLog: Get "/api/v1/migrations/{id}/log" Needs(P::MigrationQuery), [LIMIT, CURSOR], nothing() => 200 json::<Page<MigrationLogEntry>>(), "Shows the log of a migration, oldest first";

    MigrationLogs: Get "/api/v1/migrations/{id}/logs" Needs(P::MigrationQuery), [AFTER, FOLLOW, TEMPLATE, MIGRATOR, RESOURCE], nothing() => 200 lines::<MigratorLine>(), "Shows what migrators said during a migration, one JSON object a line, oldest first; empty lines say that a followed answer lives";

    ClusterStateGet: Get "/api/v1/cluster/state" Needs(P::GetResourceState), [], nothing() => 200 json::<ClusterState>(), "Shows migration, resources and what the manager waits for";
    ClusterRecheck: Post "/api/v1/cluster/recheck" Needs(P::MigrateCluster), [], nothing() => 202 json::<Accepted>(), "Reads all resources again";
    ClusterResourceLogs: Get "/api/v1/cluster/resources/logs" Needs(P::MigrationQuery), [AFTER, FOLLOW, TEMPLATE, MIGRATOR, RESOURCE], nothing() => 200 lines::<MigratorLine>(), "Shows what migrators said while no migration ran, like `MigrationLogs`";
    ClusterResources: Post "/api/v1/cluster/resources" Needs(P::MigrateCluster), [], json::<ResourcesRequest>() => 202 json::<Accepted>(), "Moves lagging resources to their last point without a migration";

    NodeList: Get "/api/v1/nodes" Needs(P::GetActiveNodeDescriptions), [("template", "Only this template"), ("status", "Only this status"), LIMIT, CURSOR], nothing() => 200 json::<Page<Node>>(), "Lists nodes by template and id";
    NodeGet: Get "/api/v1/nodes/{nodeId}" Needs(P::GetActiveNodeDescriptions), [], nothing() => 200 json::<Node>(), "Shows a node";
    NodeExplain: Get "/api/v1/nodes/{nodeId}/explain" Needs(P::GetActiveNodeDescriptions), [], nothing() => 200 json::<NodeExplanation>(), "Tells why a node has its template";
    NodeLogs: Get "/api/v1/nodes/{nodeId}/logs" Needs(P::GetNodeLogs), [AFTER, FOLLOW, ("process", "Only this process of the node"), ("lines", "Last lines to begin with, 1 to 1000, default 100; of no use with `after`")], nothing() => 200 lines::<NodeLine>(), "Shows what the processes of a node wrote, one JSON object a line, oldest first; empty lines say that a followed answer lives";
    NodeRestart: Post "/api/v1/nodes/{nodeId}/restart" Needs(P::UpgradeNode), [], json::<NodeRequest>() => 202 json::<Accepted>(), "Restarts a node within the budget";
    NodeDrain: Post "/api/v1/nodes/{nodeId}/drain" Needs(P::UpgradeNode), [], json::<NodeRequest>() => 202 json::<Accepted>(), "Stops a node within the budget and cordons its container";
    NodeCordon: Post "/api/v1/nodes/{nodeId}/cordon" Needs(P::UpgradeNode), [], nothing() => 200 json::<Accepted>(), "Gives the container no new work";
    NodeUncordon: Post "/api/v1/nodes/{nodeId}/uncordon" Needs(P::UpgradeNode), [], nothing() => 200 json::<Accepted>(), "Gives the container work again";
    ContainerList: Get "/api/v1/containers" Needs(P::GetActiveNodeDescriptions), [("state", "Only this state: `cordoned`, `waiting`, `away`"), LIMIT, CURSOR], nothing() => 200 json::<Page<Container>>(), "Lists the containers in which nothing runs, by id, with the reason";
    TemplateList: Get "/api/v1/templates" Needs(P::GetTemplateStatistics), [], nothing() => 200 json::<Page<Template>>(), "Counts nodes per template";

    PackageList: Get "/api/v1/packages" Needs(P::GetPackages), [("q", "Search text"), LIMIT], nothing() => 200 json::<Page<Package>>(), "Lists packages of the feed";
    PackageGet: Get "/api/v1/packages/{packageId}" Needs(P::GetPackages), [], nothing() => 200 json::<Package>(), "Shows a package of the feed";

    EventStream: Get "/api/v1/events" Needs(P::EventQuery), [("from", "Pages the history from this id instead of streaming"), LIMIT], nothing() => 200 json::<Page<Event>>(), "Streams events (`Accept: text/event-stream`, `Last-Event-ID`) or pages their history";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_method_and_path_stands_once() {
        let routes: BTreeSet<_> = OPERATIONS
            .iter()
            .map(|operation| (operation.path, operation.method))
            .collect();
        assert_eq!(routes.len(), OPERATIONS.len());
    }

    #[test]
    fn only_the_named_exceptions_need_no_privilege() {
        let without: Vec<_> = OPERATIONS
            .iter()
            .filter(|operation| matches!(operation.access, Open | AnyToken))
            .map(|operation| operation.path)
            .collect();
        let expected = [
            "/oauth/token",
            "/oauth/revoke",
            "/healthz",
            "/readyz",
            "/api/openapi.json",
            "/api/v1/me",
        ];
        assert_eq!(without, expected);
    }

    #[test]
    fn whoever_may_look_may_not_change() {
        for operation in OPERATIONS
            .iter()
            .filter(|operation| operation.method != Method::Get)
        {
            if let Access::Privilege(privilege) = operation.access {
                let reads = privilege.as_str().ends_with("Query")
                    || privilege.as_str().starts_with("Get") && privilege != P::GetConfiguration;
                let dry_run = operation.id == OperationId::MigrationPlan;
                assert!(
                    !reads || dry_run,
                    "{} needs only {privilege}",
                    operation.path
                );
            }
        }
    }
}
