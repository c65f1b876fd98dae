//! The feed as a process, over real HTTP.

// The condition tells clippy that these modules are tests throughout.
#[cfg(test)]
mod access;
#[cfg(test)]
mod browsing;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod facts;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod import;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod program;
#[cfg(test)]
mod publishing;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod secure;
#[cfg(test)]
mod symbols;
#[cfg(test)]
mod upstream;
