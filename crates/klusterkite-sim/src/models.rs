//! The small clusters that are searched exhaustively, and what may happen to them.

use crate::explore::Model;

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

/// What may break in every model.
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

/// Names of the models.
pub const MODELS: [&str; 3] = ["automatic", "rollback", "manual"];

/// Returns a model by its name; an unknown one is the manual one.
pub fn model(name: &str, events_max: u8, states_max: usize) -> Model {
    let (mode, asked): (_, &[&str]) = match name {
        "automatic" => ("automatic", &AUTOMATIC),
        "rollback" => ("automatic rollback", &AUTOMATIC),
        _ => ("", &MANUAL),
    };
    Model {
        start: format!("{CLUSTER}migrate 2 {mode}\n"),
        events: [&FAULTS, asked].concat(),
        events_max,
        states_max,
    }
}
