//! The proof: scenarios, histories, an exhaustive search, and the mistakes that they catch.

#[cfg(test)]
mod histories;
#[cfg(test)]
mod models;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod scenarios;
