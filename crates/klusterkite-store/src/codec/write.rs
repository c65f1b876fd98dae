//! Changes as statements.

use std::fmt::Display;

use serde::Serialize;

use super::{CONFIGURATION_COUNTER, ORDER_COUNTER, Statement, Value};
use crate::rows::{
    ClientRow, ConfigurationRow, EventRow, GateRow, MigrationLogRow, MigrationRow, MigratorLineRow,
    NodeRow, OrderRow, OrderRowKind, RequestRow, RoleRow, TokenRow, UserRow,
};
use crate::{Change, Error, Seed, sql};

/// Returns the statements that carry out a change, in order.
pub(crate) fn change(change: &Change) -> Result<Vec<Statement>, Error> {
    Ok(match change {
        Change::ConfigurationPut(row) => configuration(row)?,
        Change::ConfigurationDelete(id) => one(sql::CONFIGURATION_DELETE, vec![number(id.0)]),
        Change::NodePut(row) => one(sql::NODE_PUT, node(row)?),
        Change::NodeDelete(id) => one(sql::NODE_DELETE, vec![text(id)]),
        Change::OrderPut(row) => order(row)?,
        Change::RequestPut(row) => one(sql::REQUEST_PUT, request(row)?),
        Change::RequestDelete(id) => one(sql::REQUEST_DELETE, vec![text(id)]),
        Change::GatePut(row) => one(sql::GATE_PUT, gate(row)?),
        Change::GateDelete(template) => one(sql::GATE_DELETE, vec![text(template)]),
        Change::MigrationPut(row) => one(sql::MIGRATION_PUT, migration(row)?),
        Change::MigrationLogAppend(row) => one(sql::LOG_APPEND, log(row)?),
        Change::EventAppend(row) => one(sql::EVENT_APPEND, event(row)?),
        Change::EventsForget(id) => one(sql::EVENTS_FORGET, vec![number(*id)]),
        Change::TokenPut(row) => one(sql::TOKEN_PUT, token(row)?),
        Change::TokenDelete(hash) => one(sql::TOKEN_DELETE, vec![text(hash)]),
        Change::TokensExpire(before) => one(sql::TOKENS_EXPIRE, vec![time(*before)?]),
    })
}

/// Returns the statements that fill an empty database.
pub(crate) fn seed(seed: &Seed) -> Result<Vec<Statement>, Error> {
    let mut statements = configuration(&seed.configuration)?;
    statements.extend(seed.users.iter().map(user));
    statements.extend(seed.roles.iter().map(role));
    statements.extend(seed.clients.iter().map(client));
    Ok(statements)
}

/// Binds a time or another number that is never negative.
pub(crate) fn time(milliseconds: u64) -> Result<Value, Error> {
    unsigned("time", milliseconds)
}

fn configuration(row: &ConfigurationRow) -> Result<Vec<Statement>, Error> {
    let values = vec![
        number(row.id.0),
        text(&row.name),
        number(row.major_version),
        number(row.minor_version),
        text(&row.notes),
        name(&row.state),
        flag(row.is_stable),
        time(row.created)?,
        optional(row.started, time)?,
        optional(row.finished, time)?,
        number(row.revision),
        json(&row.settings),
        row.frozen.as_ref().map_or(Value::Null, json),
    ];
    Ok(vec![
        Statement {
            sql: sql::CONFIGURATION_PUT,
            values,
        },
        counter(CONFIGURATION_COUNTER, row.id.0),
    ])
}

fn node(row: &NodeRow) -> Result<Vec<Value>, Error> {
    Ok(vec![
        text(&row.id),
        text(&row.secret_hash),
        maybe_text(row.token_hash.as_ref()),
        unsigned("incarnation", row.incarnation.0)?,
        text(&row.container_type),
        text(&row.runtime),
        row.run.as_ref().map_or(Value::Null, json),
        flag(row.cordoned),
        maybe_text(row.last_template.as_ref()),
        row.last_crash.as_ref().map_or(Value::Null, json),
    ])
}

fn order(row: &OrderRow) -> Result<Vec<Statement>, Error> {
    let kind = match row.kind {
        OrderRowKind::Prefetch { .. } => "prefetch",
        OrderRowKind::Stop { .. } => "stop",
    };
    let values = vec![
        number(row.id.0),
        text(&row.node_id),
        unsigned("incarnation", row.incarnation.0)?,
        text(kind),
        json(&row.kind),
        time(row.ordered)?,
        flag(row.state.is_open()),
        json(&row.state),
    ];
    let forget = vec![text(&row.node_id), text(kind), number(row.id.0)];
    Ok(vec![
        Statement {
            sql: sql::ORDER_PUT,
            values,
        },
        Statement {
            sql: sql::ORDERS_FORGET,
            values: forget,
        },
        counter(ORDER_COUNTER, row.id.0),
    ])
}

fn request(row: &RequestRow) -> Result<Vec<Value>, Error> {
    let incarnation = unsigned("incarnation", row.incarnation.0)?;
    Ok(vec![
        text(&row.node_id),
        flag(row.drain),
        flag(row.force),
        incarnation,
    ])
}

fn gate(row: &GateRow) -> Result<Vec<Value>, Error> {
    Ok(vec![
        text(&row.template),
        number(row.failed.into()),
        maybe_text(row.reason.as_ref()),
        optional(row.progress_left_ms, time)?,
    ])
}

fn migration(row: &MigrationRow) -> Result<Vec<Value>, Error> {
    Ok(vec![
        number(row.id),
        text(&row.state),
        flag(row.active),
        number(row.from.0),
        number(row.to.0),
        flag(row.automatic),
        flag(row.rollback_on_failure),
        name(&row.goal),
        time(row.started)?,
        optional(row.finished, time)?,
        row.reason.as_ref().map_or(Value::Null, json),
    ])
}

fn log(row: &MigrationLogRow) -> Result<Vec<Value>, Error> {
    Ok(vec![
        number(row.id),
        row.migration_id.map_or(Value::Null, number),
        time(row.at)?,
        text(&row.kind),
        maybe_text(row.template.as_ref()),
        maybe_text(row.migrator.as_ref()),
        maybe_text(row.resource.as_ref()),
        maybe_text(row.from_point.as_ref()),
        maybe_text(row.to_point.as_ref()),
        text(&row.message),
    ])
}

/// Binds a line of a migrator with its number.
pub(crate) fn line(id: i64, row: &MigratorLineRow) -> Result<Vec<Value>, Error> {
    Ok(vec![
        number(id),
        number(row.migration_id),
        time(row.at)?,
        text(&row.template),
        text(&row.migrator),
        text(&row.resource),
        text(&row.stream),
        text(&row.line),
    ])
}

fn event(row: &EventRow) -> Result<Vec<Value>, Error> {
    Ok(vec![
        number(row.id),
        time(row.at)?,
        text(&row.kind),
        text(&row.actor),
        text(&row.object),
        text(&row.message),
        json(&row.params),
    ])
}

fn user(row: &UserRow) -> Statement {
    let values = vec![
        text(&row.login),
        text(&row.password_hash),
        flag(row.is_blocked),
        json(&row.roles),
    ];
    Statement {
        sql: sql::USER_ADD,
        values,
    }
}

fn role(row: &RoleRow) -> Statement {
    let values = vec![text(&row.name), json(&row.allowed), json(&row.denied)];
    Statement {
        sql: sql::ROLE_ADD,
        values,
    }
}

fn client(row: &ClientRow) -> Statement {
    let values = vec![
        text(&row.id),
        text(&row.secret_hash),
        json(&row.container_types),
    ];
    Statement {
        sql: sql::CLIENT_ADD,
        values,
    }
}

fn token(row: &TokenRow) -> Result<Vec<Value>, Error> {
    Ok(vec![
        text(&row.hash),
        name(&row.kind),
        text(&row.subject),
        text(&row.family),
        time(row.expires)?,
    ])
}

fn counter(name: &str, value: i64) -> Statement {
    Statement {
        sql: sql::COUNTER_RAISE,
        values: vec![text(name), number(value)],
    }
}

fn one(sql: &'static str, values: Vec<Value>) -> Vec<Statement> {
    vec![Statement { sql, values }]
}

fn text(value: impl Display) -> Value {
    Value::Text(value.to_string())
}

fn maybe_text(value: Option<impl Display>) -> Value {
    value.map_or(Value::Null, text)
}

fn number(value: i64) -> Value {
    Value::Number(value)
}

fn flag(value: bool) -> Value {
    Value::Flag(value)
}

fn unsigned(what: &'static str, value: u64) -> Result<Value, Error> {
    let signed = i64::try_from(value).map_err(|_| Error::TooLarge { what, value })?;
    Ok(Value::Number(signed))
}

fn optional<T>(
    value: Option<T>,
    encode: impl FnOnce(T) -> Result<Value, Error>,
) -> Result<Value, Error> {
    value.map_or(Ok(Value::Null), encode)
}

fn json(value: &impl Serialize) -> Value {
    Value::Text(
        serde_json::to_string(value).expect("rows have text keys and no foreign serializers"),
    )
}

/// Stores an enum without fields by its name in JSON, without the quotes.
fn name(value: &impl Serialize) -> Value {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => Value::Text(name),
        _ => unreachable!("enums without fields are names in JSON"),
    }
}
