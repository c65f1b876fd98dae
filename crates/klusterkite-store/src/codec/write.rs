//! Changes as statements.

use std::collections::BTreeMap;
use std::fmt::Display;

use klusterkite_wire::{NodeId, OrderId};
use serde::Serialize;

use super::{CONFIGURATION_COUNTER, ORDER_COUNTER, Statement, Value};
use crate::rows::{
    ClientRow, ConfigurationRow, EventRow, GateRow, MigrationLogRow, MigrationRow, MigratorLineRow,
    NodeRow, OrderRow, OrderRowKind, RequestRow, RoleRow, TokenRow, UserRow,
};
use crate::{Change, Error, Seed, sql};

/// Most rows of one statement: the engine runs in a thread of its own, and each statement is a way there and back.
const ROWS_MAX: usize = 64;

/// Returns the statements that carry out changes, with the effect that they have one after another.
pub(crate) fn changes(changes: &[Change]) -> Result<Vec<Statement>, Error> {
    let mut statements = Vec::new();
    let mut puts = Puts::default();
    for change in changes {
        let alone = match change {
            Change::NodePut(row) => {
                puts.nodes.insert(&row.id, node(row)?);
                continue;
            }
            Change::TokenPut(row) => {
                puts.tokens.insert(&row.hash, token(row)?);
                continue;
            }
            Change::EventAppend(row) => {
                puts.events.push(event(row)?);
                continue;
            }
            Change::OrderPut(row) => {
                puts.orders.insert(row.id, order(row)?);
                let newest = puts.newest_orders.entry((&row.node_id, order_kind(row)));
                let newest = newest.or_insert(row.id);
                *newest = row.id.max(*newest);
                continue;
            }
            Change::ConfigurationPut(row) => configuration(row)?,
            Change::ConfigurationDelete(id) => one(sql::CONFIGURATION_DELETE, vec![number(id.0)]),
            Change::NodeDelete(id) => one(sql::NODE_DELETE, vec![text(id)]),
            Change::RequestPut(row) => one(sql::REQUEST_PUT, request(row)?),
            Change::RequestDelete(id) => one(sql::REQUEST_DELETE, vec![text(id)]),
            Change::GatePut(row) => one(sql::GATE_PUT, gate(row)?),
            Change::GateDelete(template) => one(sql::GATE_DELETE, vec![text(template)]),
            Change::MigrationPut(row) => one(sql::MIGRATION_PUT, migration(row)?),
            Change::MigrationLogAppend(row) => one(sql::LOG_APPEND, log(row)?),
            Change::EventsForget(id) => one(sql::EVENTS_FORGET, vec![number(*id)]),
            Change::TokenDelete(hash) => one(sql::TOKEN_DELETE, vec![text(hash)]),
            Change::TokensExpire(before) => one(sql::TOKENS_EXPIRE, vec![time(*before)?]),
        };
        puts.carry_out(&mut statements);
        statements.extend(alone);
    }
    puts.carry_out(&mut statements);
    Ok(statements)
}

/// Rows that thousands of nodes change in a moment. They are of tables that have nothing to do with each other, and of
/// one key only the last counts: so they need not be put one by one.
#[derive(Default)]
struct Puts<'a> {
    nodes: BTreeMap<&'a NodeId, Vec<Value>>,
    orders: BTreeMap<OrderId, Vec<Value>>,
    /// The newest order of a node and a kind among them; closed ones before it go.
    newest_orders: BTreeMap<(&'a NodeId, &'static str), OrderId>,
    tokens: BTreeMap<&'a str, Vec<Value>>,
    events: Vec<Vec<Value>>,
}

impl Puts<'_> {
    fn carry_out(&mut self, statements: &mut Vec<Statement>) {
        let Self {
            nodes,
            orders,
            newest_orders,
            tokens,
            events,
        } = std::mem::take(self);
        let newest_order = orders.keys().next_back().copied();
        let forget = newest_orders.into_iter();
        let forget = forget.map(|((node, kind), id)| vec![text(node), text(kind), number(id.0)]);
        let put = |put: &'static sql::Put| |rows| put.rows(rows);
        together(nodes.into_values(), put(&sql::NODE_PUT), statements);
        together(orders.into_values(), put(&sql::ORDER_PUT), statements);
        together(forget, sql::orders_forget, statements);
        statements.extend(newest_order.map(|id| counter(ORDER_COUNTER, id.0)));
        together(tokens.into_values(), put(&sql::TOKEN_PUT), statements);
        together(events.into_iter(), put(&sql::EVENT_APPEND), statements);
    }
}

/// Makes statements of a few different lengths, powers of two: the engine keeps what it has prepared.
fn together(
    rows: impl Iterator<Item = Vec<Value>>,
    sql: impl Fn(usize) -> String,
    statements: &mut Vec<Statement>,
) {
    let mut rows: Vec<Vec<Value>> = rows.collect();
    while !rows.is_empty() {
        let most = rows.len().min(ROWS_MAX);
        let count = 1 << most.ilog2();
        statements.push(Statement {
            sql: sql(count).into(),
            values: rows.drain(..count).flatten().collect(),
        });
    }
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
            sql: sql::CONFIGURATION_PUT.into(),
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

fn order(row: &OrderRow) -> Result<Vec<Value>, Error> {
    Ok(vec![
        number(row.id.0),
        text(&row.node_id),
        unsigned("incarnation", row.incarnation.0)?,
        text(order_kind(row)),
        json(&row.kind),
        time(row.ordered)?,
        flag(row.state.is_open()),
        json(&row.state),
    ])
}

fn order_kind(row: &OrderRow) -> &'static str {
    match row.kind {
        OrderRowKind::Prefetch { .. } => "prefetch",
        OrderRowKind::Stop { .. } => "stop",
    }
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
        sql: sql::USER_ADD.into(),
        values,
    }
}

fn role(row: &RoleRow) -> Statement {
    let values = vec![text(&row.name), json(&row.allowed), json(&row.denied)];
    Statement {
        sql: sql::ROLE_ADD.into(),
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
        sql: sql::CLIENT_ADD.into(),
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
        sql: sql::COUNTER_RAISE.into(),
        values: vec![text(name), number(value)],
    }
}

fn one(sql: &'static str, values: Vec<Value>) -> Vec<Statement> {
    vec![Statement {
        sql: sql.into(),
        values,
    }]
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
