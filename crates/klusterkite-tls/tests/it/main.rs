//! A server and clients of this crate, over sockets.

// The condition tells clippy that these modules are tests throughout.
#[cfg(test)]
mod detached;
#[cfg(test)]
mod handshakes;
#[cfg(test)]
mod settings;
