//! Rows to values and back; no engine is known here.

use std::borrow::Cow;

pub(crate) mod read;
pub(crate) mod write;

/// A value of a column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Text(String),
    Number(i64),
    Flag(bool),
}

/// A statement with what it binds.
#[derive(Debug, PartialEq)]
pub(crate) struct Statement {
    pub(crate) sql: Cow<'static, str>,
    pub(crate) values: Vec<Value>,
}

/// Counters of ids in tables whose rows are deleted.
pub(crate) const CONFIGURATION_COUNTER: &str = "configurations";
pub(crate) const ORDER_COUNTER: &str = "orders";
