//! Operator API of the manager: its types, its operations with their privileges, its OpenAPI document.
//!
//! [`operations::OPERATIONS`] is the one table of routes: the manager builds its router and its
//! authorisation from it, the OpenAPI document is generated from it, the CLI takes its paths from it.
//!
//! Architecture invariant: there is no route of the manager that is not in that table.

pub mod access;
pub mod cluster;
pub mod configurations;
pub mod events;
pub mod migrations;
pub mod nodes;
pub mod openapi;
pub mod operations;
pub mod page;
pub mod privileges;
