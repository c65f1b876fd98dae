//! The points that this package ships, with their SQL.

use std::path::Path;

use anyhow::Context;
use klusterkite_wire::Point;
use serde::Deserialize;

/// Directory of the package's content, in the working directory.
pub(crate) const DIRECTORY: &str = "hello-db";

/// One point and the SQL that goes to it and back.
#[derive(Debug)]
pub(crate) struct Migration {
    pub(crate) point: Point,
    pub(crate) up: String,
    pub(crate) down: String,
}

#[derive(Deserialize)]
struct Points {
    points: Vec<Point>,
}

/// Reads `points.json` and the SQL files that it names, all of them: a missing file is found before anything moves.
pub(crate) fn load(directory: &Path) -> anyhow::Result<Vec<Migration>> {
    let list = read(&directory.join("points.json"))?;
    let Points { points } = serde_json::from_str(&list).context("cannot parse `points.json`")?;
    let migration = |point: Point| {
        Ok(Migration {
            up: read(&directory.join(format!("{point}.up.sql")))?,
            down: read(&directory.join(format!("{point}.down.sql")))?,
            point,
        })
    };
    points.into_iter().map(migration).collect()
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}
