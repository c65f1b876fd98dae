//! End to end: real feeds, launchers, hosts, managers, migrators, as processes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_release;
mod clock;
mod databases;
mod kills;
mod migrators;
mod nuget_exe;
mod outage;
mod secure;
mod story;
mod support;
