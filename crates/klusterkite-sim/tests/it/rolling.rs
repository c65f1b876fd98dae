//! A rolling update of many nodes in virtual time, next to the time that no update could beat.

use klusterkite_sim::script::prepare;

/// Nodes of the template.
const NODES: u64 = 1000;

/// How many may be on their way at once: ten percent.
const BATCH: u64 = NODES / 10;

/// Ticks of a restart. A tick is what a message and what the manager's loop take; with a restart of a second it
/// stands for some 17 ms.
const RESTART: u64 = 60;

/// Hundredths of the theoretical minimum that an update may take.
const PERCENT_MAX: u64 = 115;

#[test]
fn a_thousand_nodes_are_updated_in_little_more_than_the_least_possible_time() {
    let start = format!(
        "configuration 1
           node web text=v1 min=800 max={NODES} batch=10% stable=0 deadline=100000 begin=10000
         configuration 2 from 1
           node web text=v2
         containers worker w1..w{NODES}
         pace fetch=0 start={RESTART} stop=0 retry=0
         temper lease=100 join=1000 failover=1000 evict=1000 mass=1
         start 1
         wait 100
         migrate 2 automatic
        "
    );
    let (mut cluster, _) = prepare(&start).unwrap();
    let minimum = NODES.div_ceil(BATCH) * RESTART;
    let mut ticks = 0;
    while cluster.is_migrating() && ticks <= 2 * minimum {
        cluster.tick();
        ticks += 1;
    }
    assert_eq!(cluster.violations(), []);
    let picture = cluster.picture();
    let updated = picture.iter().filter(|line| line.ends_with("web@2 ready"));
    assert_eq!(updated.count() as u64, NODES, "{picture:#?}");
    assert!(
        ticks * 100 <= minimum * PERCENT_MAX,
        "{ticks} ticks, and {minimum} are possible"
    );
}
