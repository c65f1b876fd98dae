//! Program `klusterkite-manager`.

use std::process::ExitCode;

use klusterkite_manager::run;
use mimalloc::MiMalloc;

/// Ten thousand connections come with buffers that are needed for a moment, beside state that stays: the C library's
/// allocator keeps the holes, which doubles the memory and scatters what a heartbeat touches.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    ExitCode::from(run::run())
}
