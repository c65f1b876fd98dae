//! Histories of nodes: partitions, kills, resets, clocks, in larger clusters.

use std::fmt::Write as _;

use super::{Dice, Known};

/// How far a clock is set, in seconds; what waits for it is over before the cluster is taken to be at rest.
const JUMP_SECONDS_MAX: u64 = 9;

pub(in crate::history) fn nodes(seed: u64) -> String {
    // Another sequence than that of the migrations with the same seed.
    let mut dice = Dice(!seed);
    let mut text = format!("# nodes, seed {seed}\n");
    let known = setup(&mut dice, &mut text);
    text.push_str("settle 60\n");
    for _ in 0..8 + dice.roll(20) {
        event(&mut dice, &known, &mut text);
    }
    // Whatever happened, it ends well or says why.
    text.push_str("all works\nrest\nresume\nrest\n");
    text
}

fn setup(dice: &mut Dice, text: &mut String) -> Known {
    let mut known = Known {
        configurations: 2,
        containers: Vec::new(),
        templates: Vec::new(),
        resources: Vec::new(),
        migrators: Vec::new(),
        self_hosted: dice.percent(10),
    };
    let mass = dice.pick(&["0.3", "0.5", "0.5", "1"]);
    let _ = writeln!(
        text,
        "temper lease=3 join=8 failover=5 evict=12 retry=3 mass={mass}"
    );
    let templates = 1 + dice.roll(3);
    for configuration in 1..=known.configurations {
        if configuration == 1 {
            text.push_str("configuration 1\n");
        } else {
            text.push_str("configuration 2 from 1\n");
        }
        super::node_templates(dice, text, configuration, templates, &mut known);
        if known.self_hosted {
            let _ = writeln!(
                text,
                "  node boss types=boss max=1 surge=0 manager=yes stable=1 text=v{configuration}"
            );
        }
    }
    let workers = 3 + dice.roll(7);
    super::containers(dice, text, workers, &mut known);
    known
}

fn event(dice: &mut Dice, known: &Known, text: &mut String) {
    match dice.roll(20) {
        0..=6 => {
            let _ = writeln!(text, "wait {}", 1 + dice.roll(9));
        }
        7..=9 => super::container_fault(dice, known, text),
        10..=12 => launcher_fault(dice, known, text),
        13 => partition(dice, known, text),
        14..=15 => super::node_act(dice, known, text),
        16 => super::target_fault(dice, known, text),
        17 => super::manager_fault(dice, known, text),
        18 => {
            let target = 1 + dice.roll(known.configurations);
            super::migrate(dice, target, text);
        }
        _ => {
            let act = dice.pick(&["pause", "resume", "rollback", "cancel"]);
            let _ = writeln!(text, "{act}");
        }
    }
}

fn launcher_fault(dice: &mut Dice, known: &Known, text: &mut String) {
    let name = super::container(dice, known);
    let fault = dice.pick(&["kill", "kill", "reset", "reset", "clock"]);
    let _ = write!(text, "{fault} {name}");
    if fault == "clock" {
        let seconds = 1 + dice.roll(JUMP_SECONDS_MAX);
        let sign = if dice.percent(50) { "-" } else { "" };
        let _ = write!(text, " {sign}{seconds}");
    }
    text.push('\n');
}

/// Cuts off a part of the cluster, and mostly heals it after a while.
fn partition(dice: &mut Dice, known: &Known, text: &mut String) {
    let part = 20 + dice.roll(81);
    let mut away = Vec::new();
    for name in &known.containers {
        if dice.percent(part) {
            away.push(name.as_str());
            let _ = writeln!(text, "cut {name}");
        }
    }
    let _ = writeln!(text, "wait {}", 1 + dice.roll(20));
    if dice.percent(80) {
        for name in away {
            let _ = writeln!(text, "heal {name}");
        }
    }
}
