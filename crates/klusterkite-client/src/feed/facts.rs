//! Facts of packages: one document each, or many in one answer.

use klusterkite_nuget::v3::{
    FACTS_OF_MANY_TYPE, FACTS_QUERY_MAX, FACTS_TYPE, FactsAnswer, FactsQuery, PackageFacts,
    PackageKey,
};
use klusterkite_nuget::{PackageId, Version};
use ureq::http::Method;

use super::FeedClient;
use crate::Error;
use crate::http::Call;

impl FeedClient {
    /// Returns everything that a check has to know about one package; `None` when the feed does not have it.
    ///
    /// A feed without our resource (another product's) is asked for the package itself, once.
    pub fn facts(&self, id: &PackageId, version: &Version) -> Result<Option<PackageFacts>, Error> {
        let index = self.service_index()?;
        let Some(base) = index.resource(&[FACTS_TYPE]) else {
            return self.foreign_facts(id, version);
        };
        let url = format!("{base}/{}/{}.json", id.lower(), version.lower());
        self.read_if_there(&url, "a document of package facts")
    }

    /// Returns how many packages one question may name: 1 when the feed answers each by itself.
    pub fn facts_at_once(&self) -> Result<usize, Error> {
        let index = self.service_index()?;
        let many = index.resource(&[FACTS_OF_MANY_TYPE]);
        Ok(many.map_or(1, |_| FACTS_QUERY_MAX))
    }

    /// Returns the facts of those packages that the feed has.
    ///
    /// A feed without our resource is asked for one after the other.
    pub fn facts_of_many(
        &self,
        packages: &[(PackageId, Version)],
    ) -> Result<Vec<PackageFacts>, Error> {
        let index = self.service_index()?;
        let Some(url) = index.resource(&[FACTS_OF_MANY_TYPE]) else {
            let facts = packages.iter().map(|(id, version)| self.facts(id, version));
            return facts.filter_map(Result::transpose).collect();
        };
        let mut found = Vec::new();
        for part in packages.chunks(FACTS_QUERY_MAX) {
            let mut left: Vec<PackageKey> = part
                .iter()
                .map(|(id, version)| PackageKey {
                    id: id.clone(),
                    version: version.clone(),
                })
                .collect();
            while !left.is_empty() {
                let answer = self.facts_answer(
                    url,
                    &FactsQuery {
                        packages: left.clone(),
                    },
                )?;
                found.extend(answer.packages);
                if answer.left.len() >= left.len() {
                    return Err(Error::NoProgress { url: self.url() });
                }
                left = answer.left;
            }
        }
        Ok(found)
    }

    fn facts_answer(&self, url: &str, query: &FactsQuery) -> Result<FactsAnswer, Error> {
        let body = serde_json::to_vec(query).expect("ids and versions are texts");
        let call = Call {
            method: Method::POST,
            url,
            headers: self.read_headers(),
            body: Some(("application/json", &body)),
            is_idempotent: true,
            time: Some(self.document_time),
        };
        self.http.send(&call)?.json("facts of packages")
    }
}
