//! The same story with a service and a migrator in Python: any language will do.

use crate::support::{TestCluster, assert_in_order, log_of, migrate};

#[test]
fn a_cluster_of_python_services_moves_forward_and_back() {
    let mut test = TestCluster::start("clock-py", 3);
    let operator = test.operator();
    let first = test.answers("/version");
    assert!(
        first.iter().all(|answer| answer.contains("1.0.0")),
        "{first:?}"
    );

    let second = test.ready_version_2(&operator);
    migrate(&operator, second);
    let forward = test.migration_ended(&operator);
    assert_eq!(
        forward["state"],
        "completed",
        "{forward:#}\n{}",
        test.kept()
    );
    let answers = test.answers("/version");
    assert!(
        answers.iter().all(|answer| answer.contains("2.0.0")),
        "{answers:?}"
    );

    migrate(&operator, 1);
    let back = test.migration_ended(&operator);
    assert_eq!(back["state"], "completed", "{back:#}\n{}", test.kept());
    assert_in_order(
        &log_of(&operator, &back),
        &[("nodesStarted", ""), ("finished", "")],
    );
    assert_eq!(test.answers("/version"), first);
    test.cluster.stop().unwrap();
}
