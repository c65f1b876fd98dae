use std::collections::BTreeSet;
use std::fmt;

use klusterkite_hocon::{Config, Document};

use crate::cursor::{Cursor, NAME_PROBLEM, invalid, is_name};
use crate::decode;
use crate::error::Error;

/// Name of the manifest's file in a package.
pub const MANIFEST_FILE: &str = "klusterkite.hocon";

/// How many roles a package may have.
const ROLES_MAX: usize = 64;

const TOP_KEYS: [&str; 8] = [
    "priority",
    "roles",
    "config",
    "processes",
    "limits",
    "endpoints",
    "migrators",
    "seeders",
];

/// What a manifest says by itself.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The package.
    pub package: String,
    /// Where its default settings lie among those of other packages.
    pub priority: Priority,
    /// Roles of a node with this package.
    pub roles: BTreeSet<String>,
    /// Names of the processes, in the order of the text.
    pub processes: Vec<String>,
    /// Names of the endpoints, in the order of the text.
    pub endpoints: Vec<String>,
    /// Names of the migrators, in the order of the text.
    pub migrators: Vec<String>,
    /// Names of the seeders, in the order of the text.
    pub seeders: Vec<String>,
    /// Default settings, not resolved.
    pub config: Document,
    /// The other sections, not resolved.
    pub(crate) sections: Document,
}

/// Where the default settings of a package lie among those of others: higher ones win.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(pub i64);

impl Priority {
    /// `shared`: a library that other packages build upon.
    pub const SHARED: Self = Self(0);
    /// `role`: a package with a role of its own, which may change what shared ones set. The default.
    pub const ROLE: Self = Self(100);
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SHARED => f.write_str("shared"),
            Self::ROLE => f.write_str("role"),
            Self(number) => write!(f, "{number}"),
        }
    }
}

/// Parses a manifest and checks its shape, as far as it does not depend on substitutions.
///
/// Unknown keys and wrong values are errors that name package, key and line.
pub fn parse(package: &str, text: &str) -> Result<Manifest, Error> {
    let document = Document::parse(text, &format!("{package}/{MANIFEST_FILE}"))
        .map_err(|source| invalid(package, source))?;
    let cursor = Cursor::alone(package, document.clone())?;
    cursor.allow(&TOP_KEYS)?;
    let config = document.section("config");
    let config = config.map_err(|source| invalid(package, source))?;
    let sections = ["processes", "endpoints", "migrators", "seeders"];
    for section in sections {
        // Who reads a manifest alone has to know all names.
        if cursor.is_open(section) {
            return Err(cursor.bad(section, "must be written out, not come from a substitution"));
        }
    }
    decode::limits(&cursor)?;
    Ok(Manifest {
        package: package.to_owned(),
        priority: priority(&cursor)?,
        roles: roles(&cursor)?,
        processes: names(&cursor, "processes", |name, process| {
            decode::process(name, process).map(drop)
        })?,
        endpoints: names(&cursor, "endpoints", |name, endpoint| {
            decode::endpoint(name, endpoint).map(drop)
        })?,
        migrators: names(&cursor, "migrators", |_, command| {
            decode::command(command).map(drop)
        })?,
        seeders: names(&cursor, "seeders", |_, command| {
            decode::command(command).map(drop)
        })?,
        config: config.unwrap_or_else(Document::empty),
        sections: document.without("config"),
    })
}

fn names(
    cursor: &Cursor<'_>,
    section: &str,
    check: impl Fn(&str, &Cursor<'_>) -> Result<(), Error>,
) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for (name, object) in cursor.named(section)? {
        if let Some(object) = object {
            check(&name, &object)?;
        }
        names.push(name);
    }
    Ok(names)
}

fn priority(cursor: &Cursor<'_>) -> Result<Priority, Error> {
    written_out(cursor, "priority")?;
    let Some(text) = cursor.optional("priority", Config::string_optional)? else {
        return Ok(Priority::ROLE);
    };
    match (text.as_str(), text.parse()) {
        ("shared", _) => Ok(Priority::SHARED),
        ("role", _) => Ok(Priority::ROLE),
        (_, Ok(number)) => Ok(Priority(number)),
        _ => Err(cursor.bad("priority", "must be `shared`, `role` or a whole number")),
    }
}

fn roles(cursor: &Cursor<'_>) -> Result<BTreeSet<String>, Error> {
    written_out(cursor, "roles")?;
    let roles = cursor.optional("roles", Config::string_list_optional)?;
    let roles = roles.unwrap_or_default();
    if roles.len() > ROLES_MAX {
        return Err(cursor.bad("roles", format!("must not be more than {ROLES_MAX}")));
    }
    if let Some(role) = roles.iter().find(|role| !is_name(role)) {
        return Err(cursor.bad("roles", format!("contains `{role}`, which {NAME_PROBLEM}")));
    }
    Ok(roles.into_iter().collect())
}

/// Refuses substitutions where they could not be resolved in time.
fn written_out(cursor: &Cursor<'_>, key: &str) -> Result<(), Error> {
    if cursor.is_open(key) {
        return Err(cursor.bad(key, "must not contain substitutions"));
    }
    Ok(())
}
