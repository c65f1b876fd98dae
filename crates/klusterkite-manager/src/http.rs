//! The operator API over HTTP, built from the one table of operations.
//!
//! [`OPERATIONS`] says which routes there are and who may call them; a `match` over all of its ids says
//! which handler answers. An operation without a handler does not compile, a handler without an entry has
//! no route. Handlers are thin: they read the request, call a method of [`Cluster`], write the answer.
//!
//! Architecture invariant: every request passes [`guard`] before its handler runs.

mod access;
mod answer;
mod configurations;
mod events;
mod guard;
mod health;
mod input;
mod lines;
mod migrations;
mod migrator_logs;
mod node_logs;
mod nodes;
mod packages;
mod serve;
mod shown;
mod tokens;
mod waiting;

pub use serve::{serve, serve_waiting};

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::FromRef;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodFilter, MethodRouter, on};
use klusterkite_api::operations::{Method, OPERATIONS, OperationId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::Grants;
use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::http::guard::{Guard, guard};
use crate::http::shown::Shown;

/// Requests of launchers and nodes that are answered at a time; more wait a little and are then told to come back.
const REQUESTS_MAX: usize = 512;

/// Requests of operators that are answered at a time: they have places of their own, however many launchers ask.
const OPERATORS_MAX: usize = 128;

/// Blocking queries that wait at a time: every node of a large cluster has a link instead.
const WAITS_MAX: usize = 1024;

/// Open streams of events and logs: pages and CLIs of operators.
const STREAMS_MAX: usize = 256;

/// When a client without a place for a stream comes back.
const STREAM_RETRY_AFTER: Duration = Duration::from_secs(10);

/// What the handlers share: one handle, because every layer that a request passes copies it.
#[derive(Clone)]
struct Api(Arc<Shared>);

struct Shared {
    cluster: Cluster,
    grants: Grants,
    requests: Arc<Semaphore>,
    operators: Arc<Semaphore>,
    waits: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    shown: Shown,
}

impl Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Api {
    /// Takes one of the places of answers that last as long as somebody reads.
    fn stream_place(&self) -> Result<OwnedSemaphorePermit, Fault> {
        let place = Arc::clone(&self.streams).try_acquire_owned();
        place.map_err(|_| Fault::TooMany {
            retry_after: STREAM_RETRY_AFTER,
        })
    }
}

impl FromRef<Api> for Cluster {
    fn from_ref(api: &Api) -> Self {
        api.cluster.clone()
    }
}

/// Makes the API of a cluster.
///
/// The addresses of callers come from `ConnectInfo`, as [`serve`] gives it.
pub fn router(cluster: Cluster) -> Router {
    let api = Api(Arc::new(Shared {
        cluster,
        grants: Grants::default(),
        requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
        operators: Arc::new(Semaphore::new(OPERATORS_MAX)),
        waits: Arc::new(Semaphore::new(WAITS_MAX)),
        streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        shown: Shown::default(),
    }));
    let mut router = Router::new();
    for operation in OPERATIONS {
        let guard_of_operation = Guard {
            api: api.clone(),
            operation,
        };
        let route = handler(operation.id, filter(operation.method));
        let route = route.route_layer(from_fn_with_state(guard_of_operation, guard));
        router = router.route(operation.path, route);
    }
    router
        .fallback(answer::no_such_path)
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(from_fn(answer::observe))
        .with_state(api)
}

fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Patch => MethodFilter::PATCH,
        Method::Delete => MethodFilter::DELETE,
    }
}

fn handler(id: OperationId, method: MethodFilter) -> MethodRouter<Api> {
    use OperationId as Id;
    match id {
        Id::TokenCreate => on(method, tokens::create),
        Id::TokenRevoke => on(method, tokens::revoke),

        Id::Healthz => on(method, health::healthz),
        Id::Readyz => on(method, health::readyz),
        Id::Metrics => on(method, health::metrics),
        Id::OpenApi => on(method, health::open_api),

        Id::MeGet => on(method, access::me),
        Id::PrivilegeList => on(method, access::privilege_list),
        Id::UserList => on(method, access::user_list),
        Id::RoleList => on(method, access::role_list),
        Id::ClientList => on(method, access::client_list),

        Id::NodeConfiguration => on(method, nodes::configuration),
        Id::NodeTokenCreate => on(method, nodes::token),
        Id::NodeProgress => on(method, nodes::progress),
        Id::NodeLink => on(method, nodes::link),
        Id::MemberList => on(method, nodes::member_list),

        Id::ConfigurationList => on(method, configurations::list),
        Id::ConfigurationCreate => on(method, configurations::create),
        Id::ConfigurationGet => on(method, configurations::get),
        Id::ConfigurationPatch => on(method, configurations::patch),
        Id::ConfigurationDelete => on(method, configurations::delete),
        Id::ConfigurationCheck => on(method, configurations::check),
        Id::ConfigurationReady => on(method, configurations::ready),
        Id::ConfigurationObsolete => on(method, configurations::obsolete),
        Id::ConfigurationStable => on(method, configurations::stable),
        Id::ConfigurationDiff => on(method, configurations::diff),

        Id::MigrationList => on(method, migrations::list),
        Id::MigrationCreate => on(method, migrations::create),
        Id::MigrationPlan => on(method, migrations::plan),
        Id::MigrationCurrent => on(method, migrations::current),
        Id::MigrationCancel => on(method, migrations::cancel),
        Id::MigrationFinish => on(method, migrations::finish),
        Id::MigrationNodes => on(method, migrations::nodes),
        Id::MigrationResources => on(method, migrations::resources),
        Id::MigrationPause => on(method, migrations::pause),
        Id::MigrationResume => on(method, migrations::resume),
        Id::MigrationRollback => on(method, migrations::rollback),
        Id::MigrationGet => on(method, migrations::get),
        Id::MigrationLog => on(method, migrations::log),

        Id::MigrationLogs => on(method, migrator_logs::of_migration),
        Id::ClusterResourceLogs => on(method, migrator_logs::without_migration),

        Id::ClusterStateGet => on(method, migrations::cluster_state),
        Id::ClusterRecheck => on(method, migrations::cluster_recheck),
        Id::ClusterResources => on(method, migrations::cluster_resources),

        Id::NodeList => on(method, nodes::list),
        Id::NodeGet => on(method, nodes::get),
        Id::NodeExplain => on(method, nodes::explain),
        Id::NodeLogs => on(method, node_logs::of_node),
        Id::NodeRestart => on(method, nodes::restart),
        Id::NodeDrain => on(method, nodes::drain),
        Id::NodeCordon => on(method, nodes::cordon),
        Id::NodeUncordon => on(method, nodes::uncordon),
        Id::ContainerList => on(method, nodes::container_list),
        Id::TemplateList => on(method, nodes::template_list),

        Id::PackageList => on(method, packages::list),
        Id::PackageGet => on(method, packages::get),

        Id::EventStream => on(method, events::list_or_stream),
    }
}
