//! The same databases, moved by a manager of a whole cluster.

use std::fs;

use klusterkite_tests::api::Operator;
use klusterkite_tests::process::wait_until;
use klusterkite_tests::sample::manager_and;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::world::{DATABASES, DEADLINE, POINTS, World, point};
use crate::kills::{kill_all, processes_of};
use crate::support::{TestCluster, migrate, operation, ready_newest, repository};

/// A cluster whose only node is its manager, with a migrator of five databases: the first version of its package has the
/// first point, the second one has all.
pub(crate) struct Managed<'a> {
    world: &'a World,
    test: TestCluster,
    operator: Operator,
    second: i64,
    // Dropped after the cluster.
    sample: TempDir,
}

impl<'a> Managed<'a> {
    pub(crate) fn start(world: &'a World) -> Self {
        let sample = write_sample(world);
        let test = TestCluster::start(sample.path().to_str().unwrap(), 0);
        let operator = test.operator();
        let package = sample.path().join("packages/Acme.Db/2.0.0");
        test.cluster.pack_and_push(&package, "2.0.0").unwrap();
        let mut managed = Self {
            world,
            test,
            operator,
            second: 0,
            sample,
        };
        // A manager sees to it that every resource exists.
        managed.wait_for_points(&[1; DATABASES]);
        managed.second = ready_newest(&managed.operator);
        managed
    }

    /// Moves the databases up while `happen` lets the manager die, and sees that all ends well.
    pub(crate) fn prove(mut self, happen: impl FnOnce(&Self)) {
        let reference = self.world.reference();
        let order = json!({ "toConfigurationId": self.second, "mode": "manual" });
        crate::support::wait_until_idle(&self.operator);
        self.operator.post("/migrations", order).unwrap();
        happen(&self);

        // The state is told as it is, by a manager that has moved nothing since.
        self.wait_for_points(&[POINTS, POINTS, 12, 1, 1]);
        let before = self.world.schema(3);
        assert_eq!(before, reference.before, "nothing of the point is there");
        let log = self.operator.get("/migrations/1/log?limit=1000").unwrap();
        let of_third = |kind: &str| {
            let entries = log["items"].as_array().unwrap().iter();
            let found = entries.filter(|entry| entry["resourceCode"] == "main-3");
            found.filter(|entry| entry["kind"] == kind).count()
        };
        assert_eq!(of_third("resourceStarted"), 1, "{log:#}");
        assert_eq!(of_third("resourceMoved"), 0, "{log:#}");

        self.ask_to_move("destination");
        self.wait_for_points(&[POINTS; DATABASES]);
        for number in 1..=DATABASES {
            assert_eq!(self.world.schema(number), reference.last, "{number}");
        }
        self.allowed("updateNodesToDestination");
        let target = json!({ "target": "destination" });
        self.operator
            .post("/migrations/current/nodes", target)
            .unwrap();
        self.allowed("finish");
        self.operator
            .post("/migrations/current/finish", json!({}))
            .unwrap();

        migrate(&self.operator, 1);
        let back = self.test.migration_ended(&self.operator);
        assert_eq!(back["state"], "completed", "{back:#}\n{}", self.test.kept());
        for number in 1..=DATABASES {
            assert_eq!(self.world.schema(number), reference.first, "{number}");
        }
        self.test.cluster.stop().unwrap();
        drop(self.sample);
    }

    /// Asks for the move of every database that is not there.
    pub(crate) fn ask_to_move(&self, target: &str) {
        let state = self.allowed("migrateResources");
        let resources: Vec<Value> = state["migratableResources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| {
                let mut asked = key.clone();
                asked["target"] = json!(target);
                asked
            })
            .collect();
        let asked = json!({ "resources": resources });
        self.operator
            .post("/migrations/current/resources", asked)
            .unwrap();
    }

    /// Kills the manager and waits until nothing that it started moves anything.
    pub(crate) fn kill_manager(&self) {
        let migrators = processes_of(&self.test, "klusterkite-migrator-sql");
        assert!(!migrators.is_empty(), "nothing moves");
        assert!(kill_all(&self.test, "klusterkite-manager"));
        let ended = wait_until(DEADLINE, || {
            let running = processes_of(&self.test, "klusterkite-migrator-sql");
            !running.iter().any(|id| migrators.contains(id))
        });
        assert!(ended, "migrators go on without their manager");
    }

    /// Waits until an operation is allowed, and returns the state of the cluster.
    fn allowed(&self, id: &str) -> Value {
        let mut state = Value::Null;
        let allowed = wait_until(DEADLINE, || {
            state = self.operator.get("/cluster/state").unwrap_or(Value::Null);
            operation(&state, id)["allowed"] == true
        });
        assert!(
            allowed,
            "`{id}` is not allowed: {state:#}\n{}",
            self.test.kept()
        );
        state
    }

    /// Waits until the manager, which may be away, tells these points and is busy with nothing.
    fn wait_for_points(&self, numbers: &[usize; DATABASES]) {
        let wanted: Vec<String> = numbers.iter().map(|number| point(*number)).collect();
        let (mut state, mut told) = (Value::Null, Vec::new());
        let reached = wait_until(DEADLINE, || {
            state = self.operator.get("/cluster/state").unwrap_or(Value::Null);
            told = points(&state);
            told == wanted && state["busy"] == false
        });
        assert!(
            reached,
            "{told:?} instead of {wanted:?}: {state:#}\n{}",
            self.test.kept()
        );
    }
}

/// Returns where the databases are, by their codes.
fn points(state: &Value) -> Vec<String> {
    let resources = state["templates"][0]["migrators"][0]["resources"].as_array();
    let mut found: Vec<(String, String)> = resources
        .into_iter()
        .flatten()
        .map(|resource| {
            let text = |name: &str| resource[name].as_str().unwrap_or("-").to_owned();
            (text("code"), text("currentPoint"))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, point)| point).collect()
}

/// Writes a sample of one package with two versions; the manager is that of `hello`.
fn write_sample(world: &World) -> TempDir {
    let sample = tempfile::tempdir().unwrap();
    for (version, number_of_points) in [("1.0.0", 1), ("2.0.0", POINTS)] {
        let package = sample.path().join("packages/Acme.Db").join(version);
        let scripts = package.join("content/scripts");
        fs::create_dir_all(&scripts).unwrap();
        world.write_scripts(&scripts, number_of_points);
        let pack =
            "id = Acme.Db\ndescription = \"Databases\"\nbinaries = [klusterkite-migrator-sql]\n";
        fs::write(package.join("pack.hocon"), pack).unwrap();
        let manifest =
            r#"migrators { "Acme.Db" { command = [klusterkite-migrator-sql, migrate, Acme.Db] } }"#;
        fs::write(package.join("klusterkite.hocon"), manifest).unwrap();
    }
    let mut cluster = manager_and(&repository(), "Acme.Db").unwrap();
    let settings = world.settings(1..=DATABASES);
    cluster["migratorTemplates"] = json!([{
        "code": "db", "name": "Databases", "configuration": settings.to_string(), "priority": 1,
        "packageRequirements": [{ "id": "Acme.Db" }],
    }]);
    fs::write(sample.path().join("cluster.json"), cluster.to_string()).unwrap();
    sample
}
