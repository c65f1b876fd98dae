//! What the database promises.

// The condition tells clippy that these modules are tests throughout.
#[cfg(test)]
mod contract;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod sqlite;
