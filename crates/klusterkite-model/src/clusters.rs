//! The small clusters that are searched, and what may happen to them.

/// What is searched.
#[derive(Debug, Clone)]
pub struct Setting {
    /// A scenario; its end is where the search begins.
    pub start: String,
    /// What operators may ask and what may break, as lines of a scenario.
    pub events: Vec<&'static str>,
    /// How many of these happen at most, at any moments and in any order.
    pub events_max: u8,
    /// The search gives up when it has seen more transitions.
    pub transitions_max: usize,
}

/// Two nodes of one template, a schema that moves by two points before them and a site that moves after them.
const CLUSTER: &str = "
configuration 1
  node web min=1 batch=1 stable=0 deadline=30 begin=10 text=v1
  migrators db
  migrator db schema before points=s1 resources=users
  migrator db site after points=p1 resources=pages
configuration 2 from 1
  node web text=v2
  migrator db schema points=s1,s2,s3
  migrator db site points=p1,p2
containers worker w1 w2
pace fetch=0 start=0 stop=0 retry=0 point=0 orphan=0
temper lease=10 join=15 failover=15 evict=15 retry=10 mass=1
start 1
settle
";

/// What may break while resources and nodes move.
const FAULTS: [&str; 8] = [
    "manager crash",
    "manager failover",
    "executor crash",
    "broken db:schema:users s3",
    "broken db:site:pages p2",
    "failing web@2",
    "crash w1",
    "deaf w2",
];

/// What operators may ask of an automatic migration.
const AUTOMATIC: [&str; 5] = ["pause", "resume", "rollback", "cancel", "recheck"];

/// What operators may ask of a manual one.
const MANUAL: [&str; 8] = [
    "move db:schema:users destination",
    "move db:schema:users source",
    "move db:site:pages destination",
    "move db:site:pages source",
    "nodes destination",
    "nodes source",
    "finish",
    "cancel",
];

/// Two nodes have to be ready and two there may be, so that the third container has to help.
const NODES: &str = "
configuration 1
  node web min=2 max=2 batch=1 surge=1 stable=0 deadline=30 begin=10 text=v1
configuration 2 from 1
  node web text=v2
containers worker w1 w2 w3
pace fetch=0 start=0 stop=0 retry=0 point=0 orphan=15
temper lease=10 join=15 failover=15 evict=15 retry=10 mass=1
start 1
settle
migrate 2 automatic rollback
";

/// What happens to containers and nodes. Containers are numbered in the order in which they ask, so that the
/// search would not be smaller if two of them were taken for one.
const NODE_EVENTS: [&str; 16] = [
    "manager crash",
    "manager failover",
    "failing web@2",
    "crash w1",
    "kill w1",
    "reset w2",
    "off w2",
    "on w2",
    "cut w1",
    "heal w1",
    "deaf w2",
    "ghost w1",
    "restart w2",
    "drain w1",
    "rollback",
    "pause",
];

/// Names of the clusters.
pub const NAMES: [&str; 5] = ["automatic", "rollback", "manual", "nodes", "full"];

/// Returns a cluster by its name; an unknown one is the manual one.
pub fn setting(name: &str, events_max: u8, transitions_max: usize) -> Setting {
    let resources = |mode: &str, asked: &[&'static str]| {
        let start = format!("{CLUSTER}migrate 2 {mode}\n");
        (start, [&FAULTS, asked].concat())
    };
    let (start, events) = match name {
        "automatic" => resources("automatic", &AUTOMATIC),
        "rollback" => resources("automatic rollback", &AUTOMATIC),
        "nodes" => (NODES.to_owned(), NODE_EVENTS.to_vec()),
        // Nothing may stop, and nobody may help: it has to be said what is missing.
        "full" => (NODES.replace("surge=1", "surge=0"), NODE_EVENTS.to_vec()),
        _ => resources("", &MANUAL),
    };
    Setting {
        start,
        events,
        events_max,
        transitions_max,
    }
}
