//! What searches look through: the rows of the index in memory.
//!
//! It follows SQLite, which alone is the truth: each change marks its version before it starts, and
//! what is marked is read again before the next search. A mark goes away only when what was read
//! after it is in the catalog, so it cannot fall behind for longer than a change takes.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use futures_util::TryStreamExt as _;
use klusterkite_nuget::{PackageId, Version};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Index, PackageRow};
use crate::Error;

/// Versions that are read again one by one; with more of them reading everything is faster.
const MARKS_MAX: usize = 1000;

/// A version by id and version in lower case.
type Key = (String, String);

/// All versions of all packages, by id in lower case.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    packages: BTreeMap<String, Vec<Entry>>,
}

/// One version.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) row: Arc<PackageRow>,
    pub(super) texts: Arc<Texts>,
    /// Whether it was pushed to this feed.
    pub(super) is_own: bool,
}

/// What words are looked for in, in lower case.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Texts {
    /// Id, title, tags, authors, description and owners, each followed by a line break, which is
    /// in no word.
    all: String,
    /// Where each of them ends.
    ends: [usize; 6],
    /// Types with blanks around each.
    pub(super) types: String,
}

/// A part of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Id,
    Title,
    Tags,
    Authors,
    Description,
    Owners,
}

impl Texts {
    fn read(row: &SqliteRow) -> Result<Self, Error> {
        let text = |column: &str| row.try_get::<&str, _>(column).map_err(Error::index("read"));
        let (mut all, mut ends) = (String::new(), [0; 6]);
        let columns = [
            "id_lower",
            "title_lower",
            "tags_lower",
            "authors_lower",
            "description_lower",
            "owners_lower",
        ];
        for (end, column) in ends.iter_mut().zip(columns) {
            all.push_str(text(column)?);
            all.push('\n');
            *end = all.len();
        }
        all.shrink_to_fit();
        Ok(Self {
            all,
            ends,
            types: text("types_lower")?.to_owned(),
        })
    }

    /// Returns one part.
    pub(super) fn field(&self, field: Field) -> &str {
        let index = field as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.all[start..self.ends[index]]
    }

    /// Returns everything that a word without a field is looked for in: all but the owners.
    pub(super) fn anywhere(&self) -> &str {
        &self.all[..self.ends[Field::Description as usize]]
    }
}

impl Catalog {
    /// Returns the packages in the order of their ids, each with its versions, lowest first.
    pub(super) fn packages(&self) -> impl Iterator<Item = (&str, &[Entry])> {
        let packages = self.packages.iter();
        packages.map(|(id, entries)| (id.as_str(), entries.as_slice()))
    }

    fn put(&mut self, id: String, mut entry: Entry) {
        let entries = self.packages.entry(id).or_default();
        // Most versions of a package have the same texts.
        let known = entries.iter().find(|known| known.texts == entry.texts);
        if let Some(known) = known {
            entry.texts = Arc::clone(&known.texts);
        }
        match entries.binary_search_by(|known| known.row.version.cmp(&entry.row.version)) {
            Ok(place) => entries[place] = entry,
            Err(place) => entries.insert(place, entry),
        }
    }

    fn remove(&mut self, (id, version): &Key) {
        if let Some(entries) = self.packages.get_mut(id) {
            entries.retain(|entry| entry.row.version.lower() != *version);
            if entries.is_empty() {
                self.packages.remove(id);
            }
        }
    }
}

/// The catalog with what tells how far it is behind.
#[derive(Debug)]
pub(super) struct Shared {
    /// Grows with each change of what the index lists.
    generation: AtomicU64,
    stale: Mutex<Stale>,
    catalog: RwLock<Catalog>,
    /// Held while the catalog catches up.
    catching_up: tokio::sync::Mutex<()>,
}

/// What is to be read again, with the generation in which it was marked.
#[derive(Clone, Debug)]
struct Stale {
    all: Option<u64>,
    versions: HashMap<Key, u64>,
}

impl Default for Shared {
    fn default() -> Self {
        let stale = Stale {
            all: Some(0),
            versions: HashMap::new(),
        };
        Self {
            generation: AtomicU64::new(1),
            stale: Mutex::new(stale),
            catalog: RwLock::default(),
            catching_up: tokio::sync::Mutex::default(),
        }
    }
}

impl Shared {
    fn stale(&self) -> MutexGuard<'_, Stale> {
        // Marks are whole whenever somebody else could see them.
        self.stale.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A change of what the index lists; it counts when it is dropped, after it was committed or failed.
pub(super) struct Change {
    shared: Arc<Shared>,
    /// `None` for all versions.
    keys: Option<Vec<Key>>,
}

impl Drop for Change {
    fn drop(&mut self) {
        let mut stale = self.shared.stale();
        let generation = self.shared.generation.fetch_add(1, Ordering::AcqRel) + 1;
        match self.keys.take() {
            None => stale.all = Some(generation),
            Some(keys) => {
                let marks = keys.into_iter().map(|key| (key, generation));
                stale.versions.extend(marks);
                if stale.versions.len() > MARKS_MAX {
                    stale.versions.clear();
                    stale.all = Some(generation);
                }
            }
        }
    }
}

const SELECT: &str = "
SELECT id, version, listed, published, prerelease, semver2, metadata, id_lower, version_lower,
    title_lower, tags_lower, authors_lower, owners_lower, description_lower, types_lower,
    upstream IS NULL AS is_own
FROM packages";

const SELECT_VERSION: &str = "
SELECT id, version, listed, published, prerelease, semver2, metadata, id_lower, version_lower,
    title_lower, tags_lower, authors_lower, owners_lower, description_lower, types_lower,
    upstream IS NULL AS is_own
FROM packages WHERE id_lower = $1 AND version_lower = $2";

impl Index {
    /// Returns the number of changes so far: what was read before it grew may be outdated.
    pub(crate) fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// Notes a change of some versions, which counts when the value is dropped.
    pub(super) fn change<'a>(
        &self,
        versions: impl IntoIterator<Item = (&'a PackageId, &'a Version)>,
    ) -> Change {
        let keys = versions.into_iter();
        let keys = keys.map(|(id, version)| (id.lower(), version.lower()));
        Change {
            shared: Arc::clone(&self.shared),
            keys: Some(keys.collect()),
        }
    }

    /// Notes a change of whatever versions, which counts when the value is dropped.
    pub(super) fn change_any(&self) -> Change {
        Change {
            shared: Arc::clone(&self.shared),
            keys: None,
        }
    }

    /// Looks at the catalog as it is after all changes so far.
    pub(super) async fn look<T>(&self, look: impl FnOnce(&Catalog) -> T) -> Result<T, Error> {
        self.catch_up().await?;
        let catalog = &self.shared.catalog;
        Ok(look(
            &catalog.read().unwrap_or_else(PoisonError::into_inner),
        ))
    }

    /// Reads what changed since the last time.
    pub(crate) async fn catch_up(&self) -> Result<(), Error> {
        let is_stale = |stale: &Stale| stale.all.is_some() || !stale.versions.is_empty();
        if !is_stale(&self.shared.stale()) {
            return Ok(());
        }
        let _turn = self.shared.catching_up.lock().await;
        let stale = self.shared.stale().clone();
        if stale.all.is_some() {
            let catalog = self.read_all().await?;
            *self.catalog_mut() = catalog;
        } else {
            for key in stale.versions.keys() {
                let found = sqlx::query(SELECT_VERSION)
                    .bind(&key.0)
                    .bind(&key.1)
                    .fetch_optional(&self.pool)
                    .await
                    .map_err(Error::index("read"))?;
                match found.as_ref().map(read).transpose()? {
                    Some((id, entry)) => self.catalog_mut().put(id, entry),
                    None => self.catalog_mut().remove(key),
                }
            }
        }
        // What was marked again meanwhile may have changed after it was read.
        let mut now = self.shared.stale();
        if now.all == stale.all {
            now.all = None;
        }
        now.versions
            .retain(|key, mark| stale.versions.get(key) != Some(mark));
        Ok(())
    }

    fn catalog_mut(&self) -> std::sync::RwLockWriteGuard<'_, Catalog> {
        let catalog = self.shared.catalog.write();
        // A change of the catalog that panicked in the middle would leave its marks.
        catalog.unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_all(&self) -> Result<Catalog, Error> {
        let mut catalog = Catalog::default();
        let mut rows = sqlx::query(SELECT).fetch(&self.pool);
        while let Some(row) = rows.try_next().await.map_err(Error::index("read"))? {
            let (id, entry) = read(&row)?;
            catalog.put(id, entry);
        }
        Ok(catalog)
    }
}

fn read(row: &SqliteRow) -> Result<(String, Entry), Error> {
    let entry = Entry {
        row: Arc::new(PackageRow::read(row)?),
        texts: Arc::new(Texts::read(row)?),
        is_own: row.try_get("is_own").map_err(Error::index("read"))?,
    };
    let id = row.try_get("id_lower").map_err(Error::index("read"))?;
    Ok((id, entry))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use klusterkite_nuget::{Nuspec, Sha512Hash};

    use super::*;
    use crate::index::NewPackage;

    /// What a catalog says of everything that searches look at.
    fn told(catalog: &Catalog) -> Vec<String> {
        let packages = catalog.packages();
        let entries = packages.flat_map(|(id, entries)| entries.iter().map(move |e| (id, e)));
        let lines = entries.map(|(id, entry)| {
            let (row, texts) = (&entry.row, &entry.texts);
            format!("{id} {} {} {texts:?}", row.version, row.listed)
        });
        lines.collect()
    }

    fn package(id: &str, number: u32, description: &str) -> NewPackage {
        let (id, version) = (
            id.parse().unwrap(),
            format!("{number}.0.0").parse().unwrap(),
        );
        let nuspec = Nuspec::new(id, version, "somebody", description);
        NewPackage {
            sha512: Sha512Hash::of(format!("{} {number}", nuspec.id).as_bytes()),
            size: 1,
            published: SystemTime::UNIX_EPOCH,
            nuspec_text: String::new(),
            nuspec,
            manifest: None,
            files: Vec::new(),
            listed: true,
            upstream: None,
        }
    }

    #[tokio::test]
    async fn the_catalog_is_what_the_index_says_after_any_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index.sqlite");
        let index = Index::open(&path).await.unwrap();
        let mut state: u32 = 7;
        let mut dice = move |sides: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % sides
        };
        for step in 0..300 {
            let (id, number) = (["A", "b.c", "D"][dice(3) as usize], dice(5));
            let one = package(id, number, ["x", "y"][dice(2) as usize]);
            let (id, version) = (&one.nuspec.id, &one.nuspec.version);
            match dice(6) {
                // A version that is there is refused, and changes nothing.
                0..3 => drop(index.insert(&one).await),
                3 => drop(index.set_listed(id, version, dice(2) == 0).await.unwrap()),
                4 => drop(index.purge(id, version, true).await.unwrap()),
                // Dropped in the middle: whether it happened or not is told by the index alone.
                _ => drop(index.insert(&one)),
            }
            if step % 7 == 0 {
                let kept = index.look(told).await.unwrap();
                let read = told(&index.read_all().await.unwrap());
                assert_eq!(kept, read, "step {step}");
            }
        }
    }

    #[tokio::test]
    async fn versions_with_the_same_texts_share_them() {
        let directory = tempfile::tempdir().unwrap();
        let index = Index::open(&directory.path().join("index.sqlite"))
            .await
            .unwrap();
        for number in 0..3 {
            index.insert(&package("a", number, "same")).await.unwrap();
        }
        let shared = index.look(|catalog| {
            let (_, entries) = catalog.packages().next().unwrap();
            entries
                .iter()
                .all(|entry| Arc::ptr_eq(&entry.texts, &entries[0].texts))
        });
        assert!(shared.await.unwrap());
    }
}
