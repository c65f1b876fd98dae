//! End to end: real feeds, launchers, hosts, managers, migrators, as processes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(
    clippy::print_stderr,
    reason = "a test that is skipped or shortened says so"
)]

mod bad_release;
mod clock;
mod databases;
mod hosts;
mod kills;
mod migrators;
mod nuget_exe;
mod outage;
mod secure;
mod story;
mod support;
mod switches;
mod table;
