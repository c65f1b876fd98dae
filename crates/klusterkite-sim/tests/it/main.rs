//! The proof: scenarios, histories, and the mistakes that they catch.

#[cfg(test)]
mod histories;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod rolling;
#[cfg(test)]
mod scenarios;
