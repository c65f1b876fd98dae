//! Searches in the index.

use klusterkite_nuget::PackageId;
use sqlx::AssertSqlSafe;

use super::{Index, PackageRow};
use crate::Error;

/// The most words of a search that are looked at; people type fewer.
const TERMS_MAX: usize = 16;

/// What to search for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    terms: Vec<Term>,
    /// Whether pre-release versions count.
    pub(crate) prerelease: bool,
    /// Whether versions count that need a client that knows SemVer 2.
    pub(crate) semver2: bool,
    /// Only packages of this type.
    pub(crate) package_type: Option<String>,
    /// Only packages that were pushed to this feed.
    own_only: bool,
    /// How many packages to leave out.
    pub(crate) skip: u32,
    /// How many packages to return at most.
    pub(crate) take: u32,
}

/// One word and where it must be found; in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    /// In any of the columns.
    Within(&'static [&'static str], String),
    /// Exactly the package's id.
    Id(String),
    /// Exactly a version.
    Version(String),
}

const ANYWHERE: &[&str] = &[
    "id_lower",
    "title_lower",
    "tags_lower",
    "authors_lower",
    "description_lower",
];

impl Query {
    /// Parses a search text: words, and words with a field such as `tags:web`. All must be found.
    pub(crate) fn parse(text: &str) -> Self {
        let lower = text.to_lowercase();
        let terms = lower
            .split_whitespace()
            .take(TERMS_MAX)
            .map(parse_term)
            .collect();
        Self {
            terms,
            prerelease: true,
            semver2: true,
            package_type: None,
            own_only: false,
            skip: 0,
            take: 20,
        }
    }

    /// Parses a search text whose words must all be in the id.
    pub(crate) fn parse_id_parts(text: &str) -> Self {
        let lower = text.to_lowercase();
        let words = lower.split_whitespace().take(TERMS_MAX);
        let terms = words
            .map(|word| Term::Within(&["id_lower"], word.to_owned()))
            .collect();
        Self {
            terms,
            ..Self::parse("")
        }
    }

    /// Narrows the search to packages that were pushed to this feed.
    pub(crate) fn own(&self) -> Self {
        Self {
            own_only: true,
            ..self.clone()
        }
    }

    /// Returns the text of the condition and its values, numbered from `$1`.
    fn condition(&self) -> (String, Vec<String>) {
        let mut sql = String::from("listed = 1");
        let mut values = Vec::new();
        let mut bind = |value: String| {
            values.push(value);
            format!("${}", values.len())
        };
        if !self.prerelease {
            sql.push_str(" AND prerelease = 0");
        }
        if !self.semver2 {
            sql.push_str(" AND semver2 = 0");
        }
        if self.own_only {
            sql.push_str(" AND upstream IS NULL");
        }
        if let Some(kind) = &self.package_type {
            let value = bind(format!(" {} ", kind.to_lowercase()));
            sql.push_str(" AND instr(types_lower, ");
            sql.push_str(&value);
            sql.push_str(") > 0");
        }
        for term in &self.terms {
            let found = match term {
                Term::Within(columns, word) => {
                    let value = bind(word.clone());
                    let found: Vec<String> = columns
                        .iter()
                        .map(|column| format!("instr({column}, {value}) > 0"))
                        .collect();
                    found.join(" OR ")
                }
                Term::Id(id) => format!("id_lower = {}", bind(id.clone())),
                Term::Version(version) => format!("version_lower = {}", bind(version.clone())),
            };
            sql.push_str(" AND (");
            sql.push_str(&found);
            sql.push(')');
        }
        (sql, values)
    }

    /// Tells whether the search shows this version.
    pub(crate) fn shows(&self, package: &PackageRow) -> bool {
        package.listed
            && (self.prerelease || !package.prerelease)
            && (self.semver2 || !package.semver2)
    }
}

fn parse_term(word: &str) -> Term {
    let anywhere = || Term::Within(ANYWHERE, word.to_owned());
    let Some((field, value)) = word.split_once(':') else {
        return anywhere();
    };
    let value = value.trim_matches('"').to_owned();
    match field {
        "packageid" => Term::Id(value),
        "id" => Term::Within(&["id_lower"], value),
        "version" => Term::Version(match value.parse::<klusterkite_nuget::Version>() {
            Ok(version) => version.lower(),
            Err(_) => value,
        }),
        "title" => Term::Within(&["title_lower", "id_lower"], value),
        "tag" | "tags" => Term::Within(&["tags_lower"], format!(" {value} ")),
        "author" | "authors" => Term::Within(&["authors_lower"], value),
        "description" | "summary" => Term::Within(&["description_lower"], value),
        "owner" | "owners" => Term::Within(&["owners_lower"], value),
        _ => anywhere(),
    }
}

impl Index {
    /// Returns how many packages match and the asked part of them: for each its versions that the
    /// search shows, lowest first. Better matches come first: the same id, then ids that start so.
    pub(crate) async fn search(&self, query: &Query) -> Result<(u64, Vec<Vec<PackageRow>>), Error> {
        let (total, ids) = self.search_ids(query).await?;
        let mut found = Vec::new();
        for id in ids {
            let mut packages = self.packages(&id).await?;
            packages.retain(|package| query.shows(package));
            // Empty if the package was hidden since the ids were read.
            if !packages.is_empty() {
                found.push(packages);
            }
        }
        Ok((total, found))
    }

    /// Returns how many packages match and the ids of the asked part of them.
    async fn search_ids(&self, query: &Query) -> Result<(u64, Vec<PackageId>), Error> {
        let failed = || Error::index("search");
        let (condition, values) = query.condition();

        // Only columns and placeholders of this module are in the text.
        let count = AssertSqlSafe(format!(
            "SELECT count(DISTINCT id_lower) FROM packages WHERE {condition}"
        ));
        let mut statement = sqlx::query_scalar::<_, i64>(count);
        for value in &values {
            statement = statement.bind(value);
        }
        let total = statement.fetch_one(&self.pool).await.map_err(failed())?;

        let next = values.len() + 1;
        let page = AssertSqlSafe(format!(
            "SELECT id_lower FROM packages WHERE {condition} GROUP BY id_lower
             ORDER BY id_lower = ${next} DESC, instr(id_lower, ${next}) = 1 DESC, id_lower
             LIMIT ${} OFFSET ${}",
            next + 1,
            next + 2
        ));
        let mut statement = sqlx::query_scalar::<_, String>(page);
        for value in &values {
            statement = statement.bind(value);
        }
        let first_word = query.terms.iter().find_map(|term| match term {
            Term::Within(_, word) | Term::Id(word) => Some(word.clone()),
            Term::Version(_) => None,
        });
        let ids = statement
            .bind(first_word.unwrap_or_default())
            .bind(i64::from(query.take))
            .bind(i64::from(query.skip))
            .fetch_all(&self.pool)
            .await
            .map_err(failed())?;
        let ids = ids
            .iter()
            .map(|id| id.parse().map_err(|_| Error::Row { object: id.clone() }));
        Ok((
            u64::try_from(total).unwrap_or_default(),
            ids.collect::<Result<_, _>>()?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_a_field_are_looked_for_in_that_field() {
        let query = Query::parse("Orders packageId:My.B tags:Web x:y version:1.0");
        assert_eq!(
            query.terms,
            [
                Term::Within(ANYWHERE, "orders".to_owned()),
                Term::Id("my.b".to_owned()),
                Term::Within(&["tags_lower"], " web ".to_owned()),
                Term::Within(ANYWHERE, "x:y".to_owned()),
                Term::Version("1.0.0".to_owned()),
            ]
        );
    }

    #[test]
    fn a_search_text_of_any_size_is_bounded() {
        assert_eq!(Query::parse(&"a ".repeat(100_000)).terms.len(), TERMS_MAX);
    }
}
