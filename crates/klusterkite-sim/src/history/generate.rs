//! Seeds → scenarios.

mod nodes;

pub(super) use nodes::nodes;

use std::fmt::Write as _;

/// A repeatable sequence of numbers (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from 0 up to, but without, `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.next() % sides.max(1)
    }

    /// Tells whether something happens that happens so many times in a hundred.
    fn percent(&mut self, times: u64) -> bool {
        self.roll(100) < times
    }

    fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.roll(items.len() as u64) as usize]
    }
}

/// What the lines after the start may speak of.
struct Known {
    configurations: u64,
    containers: Vec<String>,
    templates: Vec<String>,
    resources: Vec<String>,
    migrators: Vec<String>,
    self_hosted: bool,
}

/// Node templates of the first configuration.
const CODES: [&str; 3] = ["api", "web", "job"];

/// Names of migrators.
const MIGRATORS: [&str; 3] = ["schema", "site", "cache"];

/// A line of points from which those of the configurations are cut.
const POINTS: [&str; 4] = ["p1", "p2", "p3", "p4"];

pub(super) fn migrations(seed: u64) -> String {
    let mut dice = Dice(seed);
    let mut text = format!("# seed {seed}\n");
    let known = setup(&mut dice, &mut text);
    text.push_str("settle 60\n");
    if known.configurations > 1 {
        events(&mut dice, &known, &mut text);
    }
    // Whatever happened, it ends well or says why.
    text.push_str("all works\nrest\nresume\nrest\n");
    text
}

fn setup(dice: &mut Dice, text: &mut String) -> Known {
    let mut known = Known {
        configurations: 2 + dice.roll(2),
        containers: Vec::new(),
        templates: Vec::new(),
        resources: Vec::new(),
        migrators: Vec::new(),
        self_hosted: dice.percent(15),
    };
    text.push_str("temper lease=3 join=8 failover=5 evict=12 retry=3\n");
    let templates = 1 + dice.roll(3);
    let migrators = dice.roll(4).min(3);
    for configuration in 1..=known.configurations {
        if configuration == 1 {
            text.push_str("configuration 1\n");
        } else {
            let _ = writeln!(
                text,
                "configuration {configuration} from {}",
                configuration - 1
            );
        }
        node_templates(dice, text, configuration, templates, &mut known);
        if known.self_hosted && (configuration == 1 || dice.percent(50)) {
            let _ = writeln!(
                text,
                "  node boss types=boss max=1 surge=0 manager=yes stable=1 text=v{configuration}"
            );
        }
        if migrators > 0 {
            resources(dice, text, configuration, migrators, &mut known);
        }
    }
    let workers = 2 + dice.roll(5);
    containers(dice, text, workers, &mut known);
    known
}

/// Says which containers there are, and starts the cluster.
fn containers(dice: &mut Dice, text: &mut String, workers: u64, known: &mut Known) {
    let names: Vec<String> = (1..=workers).map(|number| format!("w{number}")).collect();
    let _ = writeln!(text, "containers worker {}", names.join(" "));
    known.containers.extend(names);
    if dice.percent(30) {
        text.push_str("containers big b1 b2\n");
        known.containers.extend(["b1".to_owned(), "b2".to_owned()]);
    }
    if known.self_hosted {
        text.push_str("containers boss m1\n");
        known.containers.push("m1".to_owned());
    }
    text.push_str("start 1\n");
}

fn node_templates(
    dice: &mut Dice,
    text: &mut String,
    configuration: u64,
    count: u64,
    known: &mut Known,
) {
    for code in CODES.iter().take(count as usize) {
        let is_known = known.templates.iter().any(|known| known == code);
        let is_new = if configuration == 1 {
            dice.percent(85)
        } else {
            !is_known && dice.percent(60)
        };
        if is_new {
            known.templates.push((*code).to_owned());
            let minimum = dice.roll(3);
            let maximum = if dice.percent(40) {
                "none".to_owned()
            } else {
                (minimum + dice.roll(3)).to_string()
            };
            let types = dice.pick(&["worker", "worker", "worker,big", "big"]);
            let batch = dice.pick(&["1", "1", "2", "50%"]);
            let _ = writeln!(
                text,
                "  node {code} min={minimum} max={maximum} types={types} batch={batch} priority={} surge={} canary={} failed={} stable={} deadline=40 begin=10 persistent={} text=v{configuration}",
                dice.roll(4),
                dice.roll(2),
                dice.roll(5) / 4,
                dice.roll(4) / 3,
                dice.roll(3),
                if dice.percent(10) { "yes" } else { "no" },
            );
        } else if is_known && dice.percent(15) {
            let _ = writeln!(text, "  no node {code}");
            known.templates.retain(|known| known != code);
        } else if is_known && dice.percent(70) {
            let mut changes = format!("text=v{configuration}");
            if dice.percent(25) {
                let minimum = dice.roll(3);
                let _ = write!(changes, " min={minimum} max={}", minimum + dice.roll(3));
            }
            if dice.percent(10) {
                let replaced = dice.pick(&CODES);
                let _ = write!(changes, " replaces={replaced}");
            }
            let _ = writeln!(text, "  node {code} {changes}");
        }
    }
}

fn resources(
    dice: &mut Dice,
    text: &mut String,
    configuration: u64,
    count: u64,
    known: &mut Known,
) {
    if configuration == 1 {
        text.push_str("  migrators db\n");
    }
    for (index, name) in MIGRATORS.iter().take(count as usize).enumerate() {
        let is_known = known.migrators.iter().any(|known| known == name);
        if configuration > 1 && is_known && dice.percent(6) {
            let _ = writeln!(text, "  no migrator db {name}");
            known.migrators.retain(|known| known != name);
            continue;
        }
        let mut points: Vec<&str> = POINTS[..=dice.roll(4) as usize].to_vec();
        if configuration > 1 && dice.percent(4) {
            points.push("fork");
        }
        let points = points.join(",");
        if is_known {
            let _ = writeln!(text, "  migrator db {name} points={points}");
            continue;
        }
        if configuration == 1 && dice.percent(25) {
            continue;
        }
        let side = if (index + dice.roll(2) as usize).is_multiple_of(2) {
            "before"
        } else {
            "after"
        };
        let both = dice.percent(40);
        let codes = if both { "r1,r2" } else { "r1" };
        let irreversible = if dice.percent(5) {
            " irreversible=p2"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "  migrator db {name} {side} priority={} points={points} resources={codes}{irreversible}",
            dice.roll(3)
        );
        known.migrators.push((*name).to_owned());
        let keys = codes.split(',').map(|code| format!("db:{name}:{code}"));
        known.resources.extend(keys);
    }
}

fn events(dice: &mut Dice, known: &Known, text: &mut String) {
    let mut target = 2;
    migrate(dice, target, text);
    for _ in 0..4 + dice.roll(14) {
        match dice.roll(20) {
            0..=7 => {
                let _ = writeln!(text, "wait {}", 1 + dice.roll(12));
            }
            8..=10 => operator(dice, known, text),
            11 if known.configurations > 2 => {
                target = 1 + dice.roll(known.configurations);
                text.push_str("settle 120\n");
                migrate(dice, target, text);
            }
            11..=12 => migrate(dice, target, text),
            13 => node_act(dice, known, text),
            14..=15 => container_fault(dice, known, text),
            16 => target_fault(dice, known, text),
            17 => resource_fault(dice, known, text),
            _ => manager_fault(dice, known, text),
        }
    }
}

fn migrate(dice: &mut Dice, target: u64, text: &mut String) {
    let mode = dice.pick(&[
        "automatic",
        "automatic",
        "automatic rollback",
        "automatic rollback retry",
        "",
    ]);
    let _ = writeln!(text, "migrate {target} {mode}");
}

fn operator(dice: &mut Dice, known: &Known, text: &mut String) {
    let act = dice.pick(&[
        "pause",
        "resume",
        "resume",
        "rollback",
        "rollback",
        "cancel",
        "finish",
        "nodes destination",
        "nodes source",
        "recheck",
        "move",
        "move",
        "repair",
    ]);
    let mut line = act.to_owned();
    if known.resources.is_empty() && (act == "move" || act == "repair") {
        return;
    }
    let resources: Vec<&str> = known.resources.iter().map(String::as_str).collect();
    if act == "move" {
        let side = dice.pick(&["destination", "destination", "source"]);
        for _ in 0..=dice.roll(2) {
            let _ = write!(line, " {} {side},", dice.pick(&resources));
        }
    } else if act == "repair" {
        let _ = write!(line, " {}", dice.pick(&resources));
    }
    let _ = writeln!(text, "{line}");
}

fn container<'a>(dice: &mut Dice, known: &'a Known) -> &'a str {
    let names: Vec<&str> = known.containers.iter().map(String::as_str).collect();
    dice.pick(&names)
}

fn node_act(dice: &mut Dice, known: &Known, text: &mut String) {
    let name = container(dice, known);
    let act = dice.pick(&["restart", "drain", "cordon", "uncordon", "uncordon"]);
    let force = if matches!(act, "restart" | "drain") && dice.percent(15) {
        " force"
    } else {
        ""
    };
    let _ = writeln!(text, "{act} {name}{force}");
}

fn container_fault(dice: &mut Dice, known: &Known, text: &mut String) {
    let name = container(dice, known);
    let fault = dice.pick(&[
        "crash", "crash", "off", "on", "on", "cut", "heal", "heal", "deaf", "ghost",
    ]);
    let _ = writeln!(text, "{fault} {name}");
}

fn target_fault(dice: &mut Dice, known: &Known, text: &mut String) {
    if known.templates.is_empty() {
        return;
    }
    let codes: Vec<&str> = known.templates.iter().map(String::as_str).collect();
    let code = dice.pick(&codes);
    let configuration = 1 + dice.roll(known.configurations);
    let fault = dice.pick(&["failing", "failing", "works", "unfetchable", "fetchable"]);
    let _ = writeln!(text, "{fault} {code}@{configuration}");
}

fn resource_fault(dice: &mut Dice, known: &Known, text: &mut String) {
    if known.resources.is_empty() {
        return;
    }
    let resources: Vec<&str> = known.resources.iter().map(String::as_str).collect();
    let key = dice.pick(&resources);
    let point = dice.pick(&POINTS);
    let line = match dice.roll(7) {
        0 | 1 => format!("broken {key} {point}"),
        2 => format!("repaired {key} {point}"),
        3 => format!("lying {key}"),
        4 => format!("honest {key}"),
        5 => "executor crash".to_owned(),
        _ => {
            let migrator = key.split(':').nth(1).unwrap_or_default();
            let what = dice.pick(&["unreadable", "readable"]);
            format!("{what} {migrator}")
        }
    };
    let _ = writeln!(text, "{line}");
}

fn manager_fault(dice: &mut Dice, known: &Known, text: &mut String) {
    let line = if known.self_hosted {
        "crash m1"
    } else {
        dice.pick(&[
            "manager failover",
            "manager failover",
            "manager crash",
            "manager start",
            "manager start",
        ])
    };
    let _ = writeln!(text, "{line}");
}
