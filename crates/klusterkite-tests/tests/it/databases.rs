//! Five databases, twenty points: whatever happens at point 13 of the third, the state is told truthfully, nothing of the
//! point is half there, the next run finishes, and the way back leaves the schema as it was.

mod managed;
mod world;

use klusterkite_tests::disk::SmallDisk;
use klusterkite_tests::postgres::Postgres;
use klusterkite_tests::process::{signal, wait_until};
use rustix::process::Signal;

use managed::Managed;
use world::{DEADLINE, World, point};

/// The point at which things happen, of the third database.
const BROKEN: usize = 13;

#[test]
fn postgres_databases_survive_a_script_that_fails() {
    let world = World::postgres();
    world.prove(|world| {
        let good = world.up_script(BROKEN);
        world.write_up(BROKEN, &format!("{good}\nINSERT INTO nowhere VALUES (1);"));
        let error = world.go_on().unwrap_err();
        world.write_up(BROKEN, &good);
        assert!(
            error.contains("relation \"nowhere\" does not exist"),
            "{error}"
        );
    });
}

#[test]
fn postgres_databases_survive_the_kill_of_the_executor() {
    let world = World::postgres();
    world.prove(|world| {
        let server = world.server();
        let gate = Gate::close(server, "main-3");
        let mut executor = world.executor();
        let killer = executor.id();
        std::thread::scope(|scope| {
            let moved = scope.spawn(|| world.go_on_with(&mut executor));
            gate.wait_for_somebody();
            signal(killer, Signal::KILL);
            let error = moved.join().unwrap().unwrap_err();
            assert!(error.contains("ended before it answered"), "{error}");
        });
        // The server notices that nobody waits for the statement any more, although the gate is still closed.
        let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'klusterkite-migrator-sql'";
        let gone = wait_until(DEADLINE, || server.sql("postgres", left).unwrap() == "0");
        assert!(gone, "a statement of the dead migrator goes on");
        gate.open();
    });
}

#[test]
fn postgres_databases_survive_the_kill_of_the_manager() {
    let world = World::postgres();
    let server = world.server();
    Managed::start(&world).prove(|managed| {
        let gate = Gate::close(server, "main-3");
        managed.ask_to_move("destination");
        gate.wait_for_somebody();
        managed.kill_manager();
        // Nobody waits for the statement any more, although the gate is still closed.
        let waits = || gate.count(false) == "0";
        assert!(
            wait_until(DEADLINE, waits),
            "a statement of the dead migrator goes on"
        );
        gate.open();
    });
}

#[test]
fn sqlite_databases_survive_the_kill_of_the_manager() {
    let world = World::sqlite();
    Managed::start(&world).prove(|managed| {
        world.set_pace(3, 1_000_000_000);
        managed.ask_to_move("destination");
        let size = || std::fs::metadata(world.file(3)).map_or(0, |file| file.len());
        // That much only the long statement writes.
        let in_the_middle = wait_until(DEADLINE, || size() > 4 << 20);
        assert!(in_the_middle, "the script is not seen to write");
        managed.kill_manager();
        world.set_pace(3, 0);
    });
}

#[test]
fn postgres_databases_survive_the_kill_of_the_server() {
    let mut world = World::postgres();
    let reference = world.begin();
    let error = std::thread::scope(|scope| {
        let gate = Gate::close(world.server(), "main-3");
        let moved = scope.spawn(|| world.go_on());
        gate.wait_for_somebody();
        world.server().kill_now();
        moved.join().unwrap().unwrap_err()
    });
    assert!(error.contains("was cut off"), "{error}");
    let described = world.describe();
    assert!(
        described
            .iter()
            .all(|(_, point)| point.contains("cannot connect")),
        "nobody guesses where a database is: {described:?}"
    );
    world.server_mut().start_again().unwrap();
    world.finish(&reference);
}

#[test]
fn sqlite_databases_survive_a_script_that_fails() {
    let world = World::sqlite();
    world.prove(|world| {
        let good = world.up_script(BROKEN);
        world.write_up(BROKEN, &format!("{good}\nINSERT INTO nowhere VALUES (1);"));
        let error = world.go_on().unwrap_err();
        world.write_up(BROKEN, &good);
        assert!(error.contains("no such table: nowhere"), "{error}");
    });
}

#[test]
fn sqlite_databases_survive_the_kill_of_the_executor() {
    let world = World::sqlite();
    world.prove(|world| {
        // It writes for longer than the test waits, and far more than the cache holds.
        let good = world.up_script(BROKEN);
        let long = "INSERT INTO t13 WITH RECURSIVE c (x) AS (SELECT 1000 UNION ALL SELECT x + 1 FROM c WHERE x < 1000000000)
                    SELECT x, x FROM c;";
        world.write_up(BROKEN, &format!("{good}\n{long}"));
        let mut executor = world.executor();
        let killed = executor.id();
        let file = world.file(3);
        let size = || std::fs::metadata(&file).map_or(0, |file| file.len());
        std::thread::scope(|scope| {
            let moved = scope.spawn(|| world.go_on_with(&mut executor));
            // That much only the long statement writes.
            let in_the_middle = wait_until(DEADLINE, || size() > 4 << 20);
            assert!(in_the_middle, "the script is not seen to write");
            signal(killed, Signal::KILL);
            moved.join().unwrap().unwrap_err();
        });
        world.write_up(BROKEN, &good);
    });
}

#[test]
fn sqlite_databases_survive_a_full_disk() {
    let world = World::sqlite();
    let Some(_mount) = SmallDisk::mount(world.file(3).parent().unwrap(), 4) else {
        return;
    };
    world.prove(|world| {
        let good = world.up_script(BROKEN);
        world.write_up(
            BROKEN,
            &format!("{good}\nCREATE TABLE large AS SELECT zeroblob(3000000) AS content;\nDROP TABLE large;"),
        );
        let filler = world.file(3).with_file_name("filler");
        std::fs::write(&filler, vec![0; 2 << 20]).unwrap();
        let error = world.go_on().unwrap_err();
        assert!(error.contains("full"), "{error}");
        std::fs::remove_file(&filler).unwrap();
        world.write_up(BROKEN, &good);
    });
}

#[test]
fn points_are_known_by_their_scripts() {
    let world = World::sqlite();
    let described = world.describe();
    assert_eq!(described.len(), 5);
    assert!(
        described.iter().all(|(_, point)| point == "-"),
        "{described:?}"
    );
    assert_eq!(point(20), "0020_step");
}

/// Holds a lock that point 13 asks for in its middle.
struct Gate<'a> {
    server: &'a Postgres,
    holder: std::process::Child,
}

impl<'a> Gate<'a> {
    fn close(server: &'a Postgres, database: &str) -> Self {
        let holder = server
            .session(database, "SELECT pg_advisory_lock(4711);")
            .unwrap();
        let gate = Self { server, holder };
        let held = wait_until(DEADLINE, || gate.count(true) == "1");
        assert!(held, "the gate does not close");
        gate
    }

    fn wait_for_somebody(&self) {
        let waits = wait_until(DEADLINE, || self.count(false) == "1");
        assert!(waits, "nobody comes to the gate");
    }

    fn open(mut self) {
        drop(self.holder.stdin.take());
        self.holder.wait().unwrap();
    }

    fn count(&self, granted: bool) -> String {
        let sql =
            format!("SELECT count(*) FROM pg_locks WHERE objid = 4711 AND granted = {granted}");
        self.server.sql("postgres", &sql).unwrap()
    }
}

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
