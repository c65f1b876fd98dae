//! Taking over the packages of a folder or of another feed.
//!
//! Each package is checked like a push. What is there already with the same bytes is passed over,
//! so an import can be repeated, and one that broke off is continued by the next.

pub(crate) mod arguments;
mod folder;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use klusterkite_nuget::v3::{PackageFacts, flat_package_path};
use klusterkite_nuget::{PackageId, Version};
use klusterkite_wire::chain;

use crate::blobs::{Durable, Kind, Received};
use crate::feed::is_symbols;
use crate::index::NewPackage;
use crate::upstream::{Client, Download, Failure, Remote, about, check, download};
use crate::{Error, Feed};

/// Packages of one page when another feed lists them all, and the most pages.
const PAGE: u64 = 100;
const PAGES_MAX: u64 = 100_000;

/// How often another feed is asked before an import gives up, and the pause in between.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_secs(1);

/// What to import.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) source: Source,
    /// Only these packages; all if there are none.
    pub(crate) ids: Vec<PackageId>,
}

/// Where packages come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A folder with packages at any depth.
    Folder(PathBuf),
    /// Another feed.
    Feed(Remote),
}

/// What became of one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Imported,
    /// It was there already, with the same bytes.
    Known,
    Refused(String),
}

/// What became of all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) imported: u64,
    pub(crate) known: u64,
    pub(crate) refused: u64,
}

/// Imports packages one after the other; `tell` hears of each. Fails if it cannot go on.
pub(crate) async fn import(
    feed: &Arc<Feed>,
    import: Import,
    tell: &mut impl FnMut(&str, &Outcome),
) -> Result<Summary, Error> {
    let mut importer = Importer {
        feed,
        ids: import.ids,
        tell,
        summary: Summary::default(),
    };
    match import.source {
        Source::Folder(folder) => importer.folder(folder).await?,
        Source::Feed(remote) => importer.feed(Arc::new(Client::new(remote))).await?,
    }
    Ok(importer.summary)
}

struct Importer<'a, T> {
    feed: &'a Arc<Feed>,
    ids: Vec<PackageId>,
    tell: &'a mut T,
    summary: Summary,
}

impl<T: FnMut(&str, &Outcome)> Importer<'_, T> {
    fn note(&mut self, name: &str, outcome: &Outcome) {
        match outcome {
            Outcome::Imported => self.summary.imported += 1,
            Outcome::Known => self.summary.known += 1,
            Outcome::Refused(_) => self.summary.refused += 1,
        }
        (self.tell)(name, outcome);
    }

    async fn folder(&mut self, folder: PathBuf) -> Result<(), Error> {
        let files = tokio::task::spawn_blocking(move || folder::list(&folder))
            .await
            .map_err(Error::Task)??;
        for file in files {
            let name = file.path.display().to_string();
            if !self.ids.is_empty() && !folder::is_of(&file, &self.ids).await? {
                continue;
            }
            let outcome = match folder::receive(self.feed, &file).await {
                Ok(None) => Outcome::Known,
                Ok(Some(received)) => self.take(received, file.kind).await?,
                Err(error) => refusal(error)?,
            };
            self.note(&name, &outcome);
        }
        Ok(())
    }

    /// Checks and keeps a file of a folder.
    async fn take(&self, received: Received, kind: Kind) -> Result<Outcome, Error> {
        let inspected = self.feed.inspect(received).await;
        let (durable, package) = match inspected {
            Ok(inspected) => inspected,
            Err(error) => return refusal(error),
        };
        let stored = match kind {
            Kind::Symbols => self.feed.store_symbols(durable, package).await.map(drop),
            Kind::Package | Kind::Upstream => store(self.feed, durable, package).await,
        };
        stored.map_or_else(refusal, |()| Ok(Outcome::Imported))
    }

    async fn feed(&mut self, client: Arc<Client>) -> Result<(), Error> {
        let is_ours = ask(&client, Client::is_ours).await?;
        let ids = if self.ids.is_empty() {
            list(&client).await?
        } else {
            self.ids.clone()
        };
        for id in ids {
            let versions = {
                let id = id.clone();
                ask(&client, move |client| client.versions(&id)).await?
            };
            if versions.is_empty() {
                let reason = "the feed has no version of it".to_owned();
                self.note(id.as_str(), &Outcome::Refused(reason));
            }
            for version in versions {
                let outcome = self.version(&client, &id, &version).await?;
                self.note(&format!("{id} {version}"), &outcome);
                if is_ours && !matches!(outcome, Outcome::Refused(_)) {
                    self.symbols(&client, &id, &version).await?;
                }
            }
        }
        Ok(())
    }

    async fn version(
        &self,
        client: &Arc<Client>,
        id: &PackageId,
        version: &Version,
    ) -> Result<Outcome, Error> {
        if let Some((_, hash)) = self.feed.index.blob(id, version).await? {
            let facts = {
                let (id, version) = (id.clone(), version.clone());
                ask(client, move |client| client.facts(&id, &version)).await?
            };
            if facts.is_some_and(|facts| facts.sha512 != hash) {
                let (id, version) = (id.clone(), version.clone());
                return refusal(Error::VersionExists { id, version });
            }
            return Ok(Outcome::Known);
        }
        let file = flat_package_path(id, version);
        let about = {
            let (id, version) = (id.clone(), version.clone());
            move |client: &Client| about(client, &id, &version)
        };
        let downloaded = self.download(client, file, about).await?;
        let (upload, facts, listed) = match downloaded {
            Download::Whole(upload, facts, listed) => (upload, facts, listed),
            Download::Absent => {
                let reason = "the feed lists it and does not have it".to_owned();
                return Ok(Outcome::Refused(reason));
            }
            Download::TooLarge(limit) => return refusal(Error::PackageTooLarge { limit }),
        };
        let received = upload.finish().await?;
        let checked = check(self.feed, received, id, version, facts.as_deref()).await;
        let (durable, mut package) = match checked {
            Ok(checked) => checked,
            Err(error) => return refusal(error),
        };
        package.listed = listed;
        let stored = store(self.feed, durable, package).await;
        stored.map_or_else(refusal, |()| Ok(Outcome::Imported))
    }

    /// Imports the symbols of a version, if a feed of our kind has some.
    async fn symbols(
        &mut self,
        client: &Arc<Client>,
        id: &PackageId,
        version: &Version,
    ) -> Result<(), Error> {
        if self.feed.index.symbols(id, version).await?.is_some() {
            return Ok(());
        }
        let file = flat_package_path(id, version).replace(".nupkg", ".snupkg");
        let downloaded = self.download(client, file, |_| Ok((None, true))).await?;
        let outcome = match downloaded {
            Download::Absent => return Ok(()),
            Download::TooLarge(limit) => refusal(Error::PackageTooLarge { limit })?,
            Download::Whole(upload, ..) => self.take(upload.finish().await?, Kind::Symbols).await?,
        };
        self.note(&format!("{id} {version} (symbols)"), &outcome);
        Ok(())
    }

    async fn download(
        &self,
        client: &Arc<Client>,
        file: String,
        about: impl FnOnce(&Client) -> Result<About, Failure> + Clone + Send + 'static,
    ) -> Result<Download, Error> {
        for _ in 1..TRIES {
            let tried = download(self.feed, client, file.clone(), about.clone()).await?;
            match tried {
                Ok(download) => return Ok(download),
                Err(failure) => tracing::warn!(%failure, "asking again"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        let tried = download(self.feed, client, file, about).await?;
        tried.map_err(Error::ImportAway)
    }
}

type About = (Option<Box<PackageFacts>>, bool);

/// Keeps a package as one of this feed.
async fn store(feed: &Feed, durable: Durable, package: NewPackage) -> Result<(), Error> {
    if is_symbols(&package) {
        let (id, version) = (package.nuspec.id, package.nuspec.version);
        return Err(Error::SymbolsAsPackage { id, version });
    }
    feed.store(durable, package).await
}

/// Tells a package that is refused from a feed that cannot take any.
fn refusal(error: Error) -> Result<Outcome, Error> {
    match error {
        Error::PackageInvalid(_)
        | Error::ManifestInvalid(_)
        | Error::PackageTooLarge { .. }
        | Error::VersionExists { .. }
        | Error::VersionPurged { .. }
        | Error::SymbolsAsPackage { .. }
        | Error::NotSymbols { .. }
        | Error::PackageMissing { .. }
        | Error::SymbolsExist { .. }
        | Error::SymbolsPurged { .. }
        | Error::OtherPackage { .. } => Ok(Outcome::Refused(chain(&error))),
        error => Err(error),
    }
}

/// Asks another feed, several times if it must be.
async fn ask<T: Send + 'static>(
    client: &Arc<Client>,
    question: impl Fn(&Client) -> Result<T, Failure> + Send + Sync + 'static,
) -> Result<T, Error> {
    let client = Arc::clone(client);
    let asking = tokio::task::spawn_blocking(move || {
        for _ in 1..TRIES {
            match question(&client) {
                Ok(answer) => return Ok(answer),
                Err(failure) => tracing::warn!(%failure, "asking again"),
            }
            std::thread::sleep(PAUSE);
        }
        question(&client).map_err(Error::ImportAway)
    });
    asking.await.map_err(Error::Task)?
}

/// Lists the ids of all packages that another feed shows.
async fn list(client: &Arc<Client>) -> Result<Vec<PackageId>, Error> {
    let mut ids: Vec<PackageId> = Vec::new();
    for page in 0..PAGES_MAX {
        let query = format!(
            "q=&skip={}&take={PAGE}&prerelease=true&semVerLevel=2.0.0",
            page * PAGE
        );
        let answer = ask(client, move |client| client.search(&query)).await?;
        if answer.data.is_empty() {
            break;
        }
        ids.extend(answer.data.into_iter().map(|hit| hit.id));
        if (page + 1) * PAGE >= answer.total_hits {
            break;
        }
    }
    ids.sort();
    ids.dedup();
    Ok(ids)
}
