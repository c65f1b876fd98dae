//! Searches the models: `explore [--events N] [--states N]`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use klusterkite_sim::explore::explore;
use klusterkite_sim::models::{MODELS, model};

fn main() -> ExitCode {
    let (events, states) = (option("--events", 2), option("--states", 3_000_000));
    let mut code = ExitCode::SUCCESS;
    for name in MODELS {
        let start = Instant::now();
        let found = explore(&model(name, events as u8, states)).expect("the models are scenarios");
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

fn option(name: &str, default: usize) -> usize {
    let mut arguments = env::args().skip_while(|argument| argument != name);
    let value = arguments.nth(1);
    value.map_or(default, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("`{name}` is a number"))
    })
}
