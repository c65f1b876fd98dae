//! The planner's specification: what an operator may rely on, one sentence per test.

#[cfg(test)]
mod migration_automatic;
#[cfg(test)]
mod migration_course;
#[cfg(test)]
mod migration_state;
#[cfg(test)]
mod migration_steps;
#[cfg(test)]
mod readings;
#[cfg(test)]
mod rollout_budget;
#[cfg(test)]
mod rollout_orders;
#[cfg(test)]
mod rollout_properties;
#[cfg(test)]
mod rollout_roles;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod world;
