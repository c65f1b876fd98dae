//! What the crate promises, seen from outside.

// The condition tells clippy that these modules are tests throughout.
#[cfg(test)]
mod frameworks;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod packages;
#[cfg(test)]
mod resolver;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod zipper;
