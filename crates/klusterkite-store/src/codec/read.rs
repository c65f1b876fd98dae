//! Records as rows.

use std::fmt::Display;
use std::str::FromStr;
use std::vec::IntoIter;

use klusterkite_wire::{ConfigurationId, Incarnation, OrderId};
use serde::de::DeserializeOwned;

use super::Value;
use crate::Error;
use crate::rows::{
    ClientRow, ConfigurationRow, EventRow, GateRow, MigrationLogRow, MigrationRow, MigratorLineRow,
    NodeRow, OrderRow, RequestRow, RoleRow, TokenRow, UserRow,
};

/// The values that a query returned for one row; they are taken in the order of its columns.
pub(crate) struct Record {
    table: &'static str,
    key: String,
    values: IntoIter<Value>,
}

impl Record {
    pub(crate) fn new(table: &'static str, values: Vec<Value>) -> Self {
        let key = match values.first() {
            Some(Value::Text(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Null | Value::Flag(_)) | None => String::new(),
        };
        Self {
            table,
            key,
            values: values.into_iter(),
        }
    }

    pub(crate) fn number(&mut self, column: &'static str) -> Result<i64, Error> {
        match self.values.next() {
            Some(Value::Number(number)) => Ok(number),
            _ => Err(self.wrong(column, "is not a number")),
        }
    }

    fn unsigned(&mut self, column: &'static str) -> Result<u64, Error> {
        let number = self.number(column)?;
        u64::try_from(number).map_err(|_| self.wrong(column, "is negative"))
    }

    fn maybe_unsigned(&mut self, column: &'static str) -> Result<Option<u64>, Error> {
        if self.skip_null() {
            Ok(None)
        } else {
            self.unsigned(column).map(Some)
        }
    }

    fn flag(&mut self, column: &'static str) -> Result<bool, Error> {
        match self.values.next() {
            // SQLite has no type of its own for flags.
            Some(Value::Number(number @ 0..=1)) => Ok(number == 1),
            Some(Value::Flag(flag)) => Ok(flag),
            _ => Err(self.wrong(column, "is not a flag")),
        }
    }

    pub(crate) fn text(&mut self, column: &'static str) -> Result<String, Error> {
        match self.values.next() {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(self.wrong(column, "is not a text")),
        }
    }

    fn maybe_text(&mut self, column: &'static str) -> Result<Option<String>, Error> {
        if self.skip_null() {
            Ok(None)
        } else {
            self.text(column).map(Some)
        }
    }

    fn parsed<T: FromStr<Err: Display>>(&mut self, column: &'static str) -> Result<T, Error> {
        let text = self.text(column)?;
        text.parse()
            .map_err(|error| self.wrong(column, &format!("is not valid: {error}")))
    }

    fn maybe_parsed<T: FromStr<Err: Display>>(
        &mut self,
        column: &'static str,
    ) -> Result<Option<T>, Error> {
        if self.skip_null() {
            Ok(None)
        } else {
            self.parsed(column).map(Some)
        }
    }

    fn json<T: DeserializeOwned>(&mut self, column: &'static str) -> Result<T, Error> {
        let text = self.text(column)?;
        serde_json::from_str(&text)
            .map_err(|error| self.wrong(column, &format!("is not the expected JSON: {error}")))
    }

    fn maybe_json<T: DeserializeOwned>(
        &mut self,
        column: &'static str,
    ) -> Result<Option<T>, Error> {
        if self.skip_null() {
            Ok(None)
        } else {
            self.json(column).map(Some)
        }
    }

    /// Reads an enum without fields by its name in JSON.
    fn name<T: DeserializeOwned>(&mut self, column: &'static str) -> Result<T, Error> {
        let text = self.text(column)?;
        serde_json::from_value(serde_json::Value::String(text))
            .map_err(|error| self.wrong(column, &format!("is not known: {error}")))
    }

    /// Takes the next value if it is absent.
    fn skip_null(&mut self) -> bool {
        let is_null = matches!(self.values.as_slice().first(), Some(Value::Null));
        if is_null {
            self.values.next();
        }
        is_null
    }

    fn wrong(&self, column: &'static str, reason: &str) -> Error {
        Error::Row {
            table: self.table,
            key: self.key.clone(),
            column,
            reason: reason.to_owned(),
        }
    }
}

pub(crate) fn configuration(mut record: Record) -> Result<ConfigurationRow, Error> {
    Ok(ConfigurationRow {
        id: ConfigurationId(record.number("id")?),
        name: record.text("name")?,
        major_version: record.number("major_version")?,
        minor_version: record.number("minor_version")?,
        notes: record.text("notes")?,
        state: record.name("state")?,
        is_stable: record.flag("is_stable")?,
        created: record.unsigned("created")?,
        started: record.maybe_unsigned("started")?,
        finished: record.maybe_unsigned("finished")?,
        revision: record.number("revision")?,
        settings: record.json("settings")?,
        frozen: record.maybe_json("frozen")?,
    })
}

pub(crate) fn node(mut record: Record) -> Result<NodeRow, Error> {
    Ok(NodeRow {
        id: record.parsed("id")?,
        secret_hash: record.text("secret_hash")?,
        token_hash: record.maybe_text("token_hash")?,
        incarnation: Incarnation(record.unsigned("incarnation")?),
        container_type: record.parsed("container_type")?,
        runtime: record.parsed("runtime")?,
        run: record.maybe_json("run")?,
        cordoned: record.flag("cordoned")?,
        last_template: record.maybe_parsed("last_template")?,
        last_crash: record.maybe_json("last_crash")?,
    })
}

pub(crate) fn order(mut record: Record) -> Result<OrderRow, Error> {
    Ok(OrderRow {
        id: OrderId(record.number("id")?),
        node_id: record.parsed("node_id")?,
        incarnation: Incarnation(record.unsigned("incarnation")?),
        kind: record.json("details")?,
        ordered: record.unsigned("ordered")?,
        state: record.json("state")?,
    })
}

pub(crate) fn request(mut record: Record) -> Result<RequestRow, Error> {
    Ok(RequestRow {
        node_id: record.parsed("node_id")?,
        drain: record.flag("is_drain")?,
        force: record.flag("is_forced")?,
        incarnation: Incarnation(record.unsigned("incarnation")?),
    })
}

pub(crate) fn gate(mut record: Record) -> Result<GateRow, Error> {
    let template = record.parsed("template")?;
    let failed = record.unsigned("failed")?;
    Ok(GateRow {
        template,
        failed: u32::try_from(failed).map_err(|_| record.wrong("failed", "is too large"))?,
        reason: record.maybe_text("reason")?,
        progress_left_ms: record.maybe_unsigned("progress_left_ms")?,
    })
}

pub(crate) fn migration(mut record: Record) -> Result<MigrationRow, Error> {
    Ok(MigrationRow {
        id: record.number("id")?,
        state: record.text("state")?,
        active: record.flag("is_active")?,
        from: ConfigurationId(record.number("source_id")?),
        to: ConfigurationId(record.number("destination_id")?),
        automatic: record.flag("automatic")?,
        rollback_on_failure: record.flag("rollback_on_failure")?,
        goal: record.name("goal")?,
        started: record.unsigned("started")?,
        finished: record.maybe_unsigned("finished")?,
        reason: record.maybe_json("reason")?,
    })
}

pub(crate) fn log(mut record: Record) -> Result<MigrationLogRow, Error> {
    Ok(MigrationLogRow {
        id: record.number("id")?,
        migration_id: if record.skip_null() {
            None
        } else {
            Some(record.number("migration_id")?)
        },
        at: record.unsigned("at")?,
        kind: record.text("kind")?,
        template: record.maybe_parsed("template")?,
        migrator: record.maybe_parsed("migrator")?,
        resource: record.maybe_parsed("resource")?,
        from_point: record.maybe_parsed("from_point")?,
        to_point: record.maybe_parsed("to_point")?,
        message: record.text("message")?,
    })
}

pub(crate) fn line(mut record: Record) -> Result<(i64, MigratorLineRow), Error> {
    let id = record.number("id")?;
    let row = MigratorLineRow {
        migration_id: record.number("migration_id")?,
        at: record.unsigned("at")?,
        template: record.parsed("template")?,
        migrator: record.parsed("migrator")?,
        resource: record.parsed("resource")?,
        stream: record.text("stream")?,
        line: record.text("line")?,
    };
    Ok((id, row))
}

pub(crate) fn event(mut record: Record) -> Result<EventRow, Error> {
    Ok(EventRow {
        id: record.number("id")?,
        at: record.unsigned("at")?,
        kind: record.text("kind")?,
        actor: record.text("actor")?,
        object: record.text("object")?,
        message: record.text("message")?,
        params: record.json("params")?,
    })
}

pub(crate) fn user(mut record: Record) -> Result<UserRow, Error> {
    Ok(UserRow {
        login: record.text("login")?,
        password_hash: record.text("password_hash")?,
        is_blocked: record.flag("is_blocked")?,
        roles: record.json("roles")?,
    })
}

pub(crate) fn role(mut record: Record) -> Result<RoleRow, Error> {
    Ok(RoleRow {
        name: record.text("name")?,
        allowed: record.json("allowed")?,
        denied: record.json("denied")?,
    })
}

pub(crate) fn client(mut record: Record) -> Result<ClientRow, Error> {
    Ok(ClientRow {
        id: record.text("id")?,
        secret_hash: record.text("secret_hash")?,
        container_types: record.json("container_types")?,
    })
}

pub(crate) fn token(mut record: Record) -> Result<TokenRow, Error> {
    Ok(TokenRow {
        hash: record.text("hash")?,
        kind: record.name("kind")?,
        subject: record.text("subject")?,
        family: record.text("family")?,
        expires: record.unsigned("expires")?,
    })
}
