//! What this feed and its upstreams have together.
//!
//! What is here is answered also when an upstream is away; what may be only there is then an
//! error, not "not found": a client would take that for the truth.

use std::collections::BTreeSet;
use std::sync::Arc;

use klusterkite_nuget::v3::SearchHit;
use klusterkite_nuget::{PackageId, Sha512Hash, Version};

use super::Feed;
use crate::Error;
use crate::blobs::Kind;
use crate::index::{PackageRow, Query, Versions};

/// What a search found here and elsewhere.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) total: u64,
    /// For each package its versions, lowest first; these come first.
    pub(crate) here: Vec<Versions>,
    pub(crate) elsewhere: Vec<SearchHit>,
}

impl Feed {
    /// Lists the versions of a package in lower case, lowest first; none if nobody has it.
    pub(crate) async fn versions(&self, id: &PackageId) -> Result<Vec<String>, Error> {
        let here = self.index.versions(id).await?;
        if self.upstreams.is_empty() {
            return Ok(here);
        }
        let asked = self.upstreams.versions(self, id).await?;
        if let (true, Some(away)) = (here.is_empty() && asked.found.is_empty(), asked.away) {
            return Err(away);
        }
        let unreadable = |_| Error::Row {
            object: id.to_string(),
        };
        let here = here.iter().map(|text| text.parse());
        let mut all: BTreeSet<Version> = here.collect::<Result<_, _>>().map_err(unreadable)?;
        all.extend(asked.found);
        Ok(all.iter().map(Version::lower).collect())
    }

    /// Lists the versions of a package with their metadata, lowest first; none if nobody has it.
    pub(crate) async fn packages(&self, id: &PackageId) -> Result<Vec<PackageRow>, Error> {
        let mut all = self.index.packages(id).await?;
        if self.upstreams.is_empty() {
            return Ok(all);
        }
        let asked = self.upstreams.entries(self, id).await?;
        if let (true, Some(away)) = (all.is_empty() && asked.found.is_empty(), asked.away) {
            return Err(away);
        }
        let here: BTreeSet<Version> = all.iter().map(|package| package.version.clone()).collect();
        let elsewhere = asked.found.into_iter();
        let elsewhere = elsewhere.filter(|entry| !here.contains(&entry.version));
        all.extend(elsewhere.map(PackageRow::from));
        all.sort_by(|a, b| a.version.cmp(&b.version));
        Ok(all)
    }

    /// Returns the metadata of one version.
    pub(crate) async fn package(
        &self,
        id: &PackageId,
        version: &Version,
    ) -> Result<Option<PackageRow>, Error> {
        let here = self.index.package(id, version).await?;
        if here.is_some() || self.upstreams.is_empty() {
            return Ok(here);
        }
        let all = self.packages(id).await?;
        Ok(all.into_iter().find(|package| package.version == *version))
    }

    /// Makes sure that a version that an upstream has is here; returns where its bytes are.
    pub(crate) async fn find(
        self: &Arc<Self>,
        id: &PackageId,
        version: &Version,
    ) -> Result<Option<(Kind, Sha512Hash)>, Error> {
        let here = self.index.blob(id, version).await?;
        if here.is_some() || !self.upstreams.fetch(self, id, version).await? {
            return Ok(here);
        }
        self.index.blob(id, version).await
    }

    /// Searches here and at the upstreams; `rest` is the query as upstreams understand it. What
    /// was fetched from upstreams is found there, with all its versions, or here if one is away.
    pub(crate) async fn search(&self, query: &Query, rest: &str) -> Result<Found, Error> {
        if self.upstreams.is_empty() {
            let (total, here) = self.index.search(query).await?;
            return Ok(Found {
                total,
                here,
                elsewhere: Vec::new(),
            });
        }
        let (total, here) = self.index.search(&query.own()).await?;
        let skip = u64::from(query.skip).saturating_sub(total);
        let take = u64::from(query.take).saturating_sub(here.len() as u64);
        let (total_elsewhere, asked) = self.upstreams.search(self, rest, skip, take).await?;
        let (total, here) = if asked.away.is_some() {
            self.index.search(query).await?
        } else {
            (total, here)
        };
        let is_here = |hit: &SearchHit| {
            let mut packages = here.iter().flatten();
            packages.any(|package| package.id == hit.id)
        };
        let mut elsewhere = asked.found;
        elsewhere.retain(|hit| !is_here(hit));
        elsewhere.truncate((query.take as usize).saturating_sub(here.len()));
        Ok(Found {
            total: total.saturating_add(total_elsewhere),
            here,
            elsewhere,
        })
    }
}
