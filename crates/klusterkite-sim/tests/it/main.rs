//! The proof: scenarios, histories, an exhaustive search, and the mistakes that they catch.

#[cfg(test)]
mod scenarios;
