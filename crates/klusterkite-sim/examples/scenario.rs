//! Plays scenarios: `scenario [--update] FILE…`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::process::ExitCode;
use std::{env, fs};

use klusterkite_sim::script::play;

fn main() -> ExitCode {
    let (options, files): (Vec<String>, Vec<String>) = env::args()
        .skip(1)
        .partition(|argument| argument.starts_with("--"));
    let update = options.iter().any(|option| option == "--update");
    let mut code = ExitCode::SUCCESS;
    for file in &files {
        if let Err(error) = show(file, update) {
            eprintln!("{file}: {error}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn show(file: &str, update: bool) -> Result<(), Box<dyn std::error::Error>> {
    let text = fs::read_to_string(file)?;
    let played = play(&text)?;
    for violation in &played.violations {
        eprintln!("{file}: {violation}");
    }
    if update {
        fs::write(file, &played.text)?;
    } else {
        print!("{}", played.text);
    }
    Ok(())
}
