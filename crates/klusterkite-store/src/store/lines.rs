//! What migrators say: beside the changes of the cluster, but with the same fence.
//!
//! Nothing is decided by these lines, so they do not pass the manager's state; they are kept while there is
//! room, the newest of each resource and the newest of all.

use klusterkite_wire::LeaderEpoch;
use sqlx::Connection as _;

use super::{Store, check_epoch};
use crate::codec::{Statement, Value, read, write};
use crate::rows::{LinesOf, MigratorLineRow};
use crate::sqlite::{execute, number, query, sorted};
use crate::{Error, sql};

/// Lines that are kept of one resource in one migration: what somebody scrolls through who asks why it failed.
pub const LINES_OF_RESOURCE_MAX: u32 = 2_000;

/// Lines that are kept in all: at 4 KiB, the longest a manager writes, 128 MiB; at usual lengths a few.
pub const LINES_MAX: u32 = 1 << 15;

impl Store {
    /// Appends lines of one resource, provided that the caller still leads, and forgets its oldest ones; the
    /// store gives them their numbers.
    pub async fn migrator_lines_append(
        &self,
        epoch: LeaderEpoch,
        rows: &[MigratorLineRow],
    ) -> Result<(), Error> {
        let Some(first) = rows.first() else {
            return Ok(());
        };
        let path = &self.path;
        let failed = |source| sorted(source, "write", path);
        let mut writer = self.writer.lock().await;
        let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        check_epoch(&mut transaction, epoch, path).await?;
        let last = number(&mut transaction, sql::LINES_LAST, Vec::new(), path).await?;
        let mut statements = Vec::new();
        for (id, row) in (last + 1..).zip(rows) {
            statements.push((sql::LINE_APPEND, write::line(id, row)?));
        }
        let resource = vec![
            Value::Number(first.migration_id),
            Value::Text(first.template.to_string()),
            Value::Text(first.migrator.to_string()),
            Value::Text(first.resource.to_string()),
            Value::Number(LINES_OF_RESOURCE_MAX.into()),
        ];
        statements.push((sql::LINES_OF_RESOURCE_FORGET, resource));
        let all = vec![Value::Number(LINES_MAX.into())];
        statements.push((sql::LINES_FORGET, all));
        for (sql, values) in statements {
            execute(
                &mut transaction,
                Statement {
                    sql: sql.into(),
                    values,
                },
                path,
            )
            .await?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Returns the lines after a number, oldest first.
    pub async fn migrator_lines(
        &self,
        of: &LinesOf,
        after: i64,
        limit: u32,
    ) -> Result<Vec<(i64, MigratorLineRow)>, Error> {
        // Codes and names are never empty.
        let or_all = |text: Option<String>| Value::Text(text.unwrap_or_default());
        let values = vec![
            Value::Number(of.migration_id),
            or_all(of.template.as_ref().map(ToString::to_string)),
            or_all(of.migrator.as_ref().map(ToString::to_string)),
            or_all(of.resource.as_ref().map(ToString::to_string)),
            Value::Number(after),
            Value::Number(limit.into()),
        ];
        let mut reader = self.reader().await?;
        let records = query(
            &mut reader,
            "migrator_lines",
            sql::LINES,
            values,
            &self.path,
        )
        .await?;
        records.into_iter().map(read::line).collect()
    }
}
