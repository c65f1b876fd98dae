//! Searches in the catalog.

use std::sync::Arc;

use memchr::memmem;

use super::catalog::{Catalog, Entry, Field};
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
    /// In any text but the owners.
    Anywhere(String),
    /// In any of the fields.
    Within(&'static [Field], String),
    /// Exactly the package's id.
    Id(String),
    /// Exactly a version.
    Version(String),
}

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
            .map(|word| Term::Within(&[Field::Id], word.to_owned()))
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

    /// Tells whether the search shows this version.
    pub(crate) fn shows(&self, package: &PackageRow) -> bool {
        package.listed
            && (self.prerelease || !package.prerelease)
            && (self.semver2 || !package.semver2)
    }
}

fn parse_term(word: &str) -> Term {
    let anywhere = || Term::Anywhere(word.to_owned());
    let Some((field, value)) = word.split_once(':') else {
        return anywhere();
    };
    let value = value.trim_matches('"').to_owned();
    match field {
        "packageid" => Term::Id(value),
        "id" => Term::Within(&[Field::Id], value),
        "version" => Term::Version(match value.parse::<klusterkite_nuget::Version>() {
            Ok(version) => version.lower(),
            Err(_) => value,
        }),
        "title" => Term::Within(&[Field::Title, Field::Id], value),
        "tag" | "tags" => Term::Within(&[Field::Tags], format!(" {value} ")),
        "author" | "authors" => Term::Within(&[Field::Authors], value),
        "description" | "summary" => Term::Within(&[Field::Description], value),
        "owner" | "owners" => Term::Within(&[Field::Owners], value),
        _ => anywhere(),
    }
}

impl Index {
    /// Returns how many packages match and the asked part of them: for each its versions that the
    /// search shows, lowest first. Better matches come first: the same id, then ids that start so.
    pub(crate) async fn search(&self, query: &Query) -> Result<(u64, Vec<Versions>), Error> {
        self.look(|catalog| query.run(catalog)).await
    }
}

/// The versions of one package that a search shows, lowest first.
pub(crate) type Versions = Vec<Arc<PackageRow>>;

impl Query {
    fn run(&self, catalog: &Catalog) -> (u64, Vec<Versions>) {
        let finders: Vec<Finder<'_>> = self.terms.iter().map(Finder::new).collect();
        let kind = self.package_type.as_ref();
        let kind = kind.map(|kind| format!(" {} ", kind.to_lowercase()));
        let is_match = |id: &str, entry: &Entry| {
            self.shows(&entry.row)
                && (entry.is_own || !self.own_only)
                && kind
                    .as_ref()
                    .is_none_or(|kind| entry.texts.types.contains(kind))
                && finders.iter().all(|finder| finder.finds(id, entry))
        };
        let first_word = self.terms.iter().find_map(|term| match term {
            Term::Anywhere(word) | Term::Within(_, word) | Term::Id(word) => Some(word.as_str()),
            Term::Version(_) => None,
        });
        let first_word = first_word.unwrap_or_default();
        let mut found: Vec<(u8, &[Entry])> = catalog
            .packages()
            .filter(|(id, entries)| entries.iter().any(|entry| is_match(id, entry)))
            .map(|(id, entries)| {
                let rank = match id.strip_prefix(first_word) {
                    Some("") => 0,
                    Some(_) => 1,
                    None => 2,
                };
                (rank, entries)
            })
            .collect();
        // Ids of the same rank stay in their order.
        found.sort_by_key(|(rank, _)| *rank);
        let page = found
            .iter()
            .skip(self.skip as usize)
            .take(self.take as usize);
        let versions = page.map(|(_, entries)| {
            let shown = entries.iter().filter(|entry| self.shows(&entry.row));
            shown.map(|entry| Arc::clone(&entry.row)).collect()
        });
        (found.len() as u64, versions.collect())
    }
}

/// A term that is looked for in many texts.
enum Finder<'a> {
    Anywhere(memmem::Finder<'a>),
    Within(&'static [Field], memmem::Finder<'a>),
    Id(&'a str),
    Version(&'a str),
}

impl<'a> Finder<'a> {
    fn new(term: &'a Term) -> Self {
        match term {
            Term::Anywhere(word) => Self::Anywhere(memmem::Finder::new(word)),
            Term::Within(fields, word) => Self::Within(fields, memmem::Finder::new(word)),
            Term::Id(id) => Self::Id(id),
            Term::Version(version) => Self::Version(version),
        }
    }

    fn finds(&self, id: &str, entry: &Entry) -> bool {
        match self {
            Self::Anywhere(word) => word.find(entry.texts.anywhere().as_bytes()).is_some(),
            Self::Within(fields, word) => fields
                .iter()
                .any(|field| word.find(entry.texts.field(*field).as_bytes()).is_some()),
            Self::Id(wanted) => id == *wanted,
            Self::Version(version) => entry.row.version.lower() == *version,
        }
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
                Term::Anywhere("orders".to_owned()),
                Term::Id("my.b".to_owned()),
                Term::Within(&[Field::Tags], " web ".to_owned()),
                Term::Anywhere("x:y".to_owned()),
                Term::Version("1.0.0".to_owned()),
            ]
        );
    }

    #[test]
    fn a_field_without_a_value_finds_everything() {
        // As an empty search does; people type it on their way to a word.
        let query = Query::parse("id:");
        assert_eq!(query.terms, [Term::Within(&[Field::Id], String::new())]);
    }

    #[test]
    fn a_search_text_of_any_size_is_bounded() {
        assert_eq!(Query::parse(&"a ".repeat(100_000)).terms.len(), TERMS_MAX);
    }
}
