//! Searches the models: `explore [--cluster NAME] [--events N] [--transitions N] [--threads N]`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use klusterkite_model::clusters::{NAMES, setting};
use klusterkite_model::search;

fn main() -> ExitCode {
    let (events, threads) = (option("--events", 2), option("--threads", 2));
    let transitions = option("--transitions", 20_000_000);
    let mut code = ExitCode::SUCCESS;
    let only = text("--cluster");
    let chosen = |name: &&str| only.as_deref().is_none_or(|only| only == *name);
    for name in NAMES.into_iter().filter(chosen) {
        let start = Instant::now();
        let setting = setting(name, events as u8, transitions);
        let found = search(&setting, threads).expect("the models are scenarios");
        println!(
            "{name}: {} states, {} transitions, {} at rest, {}, {:.1} s",
            found.states,
            found.transitions,
            found.at_rest,
            if found.exhausted { "all" } else { "not all" },
            start.elapsed().as_secs_f64()
        );
        if let Some(wrong) = found.wrong {
            eprintln!("{wrong}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn text(name: &str) -> Option<String> {
    env::args().skip_while(|argument| argument != name).nth(1)
}

fn option(name: &str, default: usize) -> usize {
    text(name).map_or(default, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("`{name}` is a number"))
    })
}
