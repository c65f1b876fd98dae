//! End to end: real feeds, launchers, hosts, managers, migrators, as processes.

mod story;
mod support;
