//! Addresses of the feed's resources, and the service index that lists them.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use klusterkite_nuget::v3::{FACTS_OF_MANY_TYPE, FACTS_TYPE, Resource, ServiceIndex};
use klusterkite_nuget::{PackageId, Version};

use super::Caller;
use super::document::Document;
use crate::feed::Feed;

/// Returns the service index.
pub(super) async fn service_index(
    State(feed): State<Arc<Feed>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    let links = Links::new(&feed, &headers);
    let resource = |path: &str, kinds: &[&str]| Resource {
        id: format!("{}{path}", links.base),
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        client_version: None,
    };
    // Clients pick by lists of their own that differ between versions: this is the superset.
    // No RepositorySignatures: clients refuse it over plain HTTP, and this feed signs nothing.
    let resources = vec![
        resource("/v3/flat/", &["PackageBaseAddress/3.0.0"]),
        resource(
            "/v3/registration/",
            &[
                "RegistrationsBaseUrl",
                "RegistrationsBaseUrl/3.0.0-beta",
                "RegistrationsBaseUrl/3.0.0-rc",
                "RegistrationsBaseUrl/3.4.0",
                "RegistrationsBaseUrl/3.6.0",
            ],
        ),
        Resource {
            client_version: Some("4.3.0-alpha".to_owned()),
            ..resource("/v3/registration/", &["RegistrationsBaseUrl/Versioned"])
        },
        resource(
            "/v3/search",
            &[
                "SearchQueryService",
                "SearchQueryService/3.0.0-beta",
                "SearchQueryService/3.0.0-rc",
                "SearchQueryService/3.4.0",
                "SearchQueryService/3.5.0",
            ],
        ),
        resource(
            "/v3/autocomplete",
            &[
                "SearchAutocompleteService",
                "SearchAutocompleteService/3.0.0-beta",
                "SearchAutocompleteService/3.0.0-rc",
                "SearchAutocompleteService/3.5.0",
            ],
        ),
        resource("/api/v2/package", &["PackagePublish/2.0.0"]),
        resource("/api/v2/symbolpackage", &["SymbolPackagePublish/4.9.0"]),
        resource("/v3/facts/", &[FACTS_TYPE]),
        resource("/v3/facts", &[FACTS_OF_MANY_TYPE]),
    ];
    // One entry per kind: some clients read no arrays.
    let resources = resources.into_iter().flat_map(|resource| {
        let kinds = resource.kinds.clone();
        kinds.into_iter().map(move |kind| Resource {
            kinds: vec![kind],
            ..resource.clone()
        })
    });
    let index = ServiceIndex {
        version: "3.0.0".to_owned(),
        resources: resources.collect(),
    };
    caller.answer_with(&feed, Document::json(&index).with_tag(), &headers)
}

/// Makes addresses as the asking client sees the feed.
pub(super) struct Links {
    /// Without a trailing slash.
    base: String,
}

impl Links {
    /// Takes the address that is set, else the one that the request (or a proxy before us) names.
    pub(super) fn new(feed: &Feed, headers: &HeaderMap) -> Self {
        let base = feed
            .public_url
            .clone()
            .unwrap_or_else(|| requested_base(headers, feed.is_secure));
        Self { base }
    }

    /// Returns the feed's address, without a trailing slash.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn package(&self, id: &PackageId, version: &Version) -> String {
        format!(
            "{}/v3/flat/{}",
            self.base,
            klusterkite_nuget::v3::flat_package_path(id, version)
        )
    }

    pub(super) fn symbols(&self, id: &PackageId, version: &Version) -> String {
        let (id, version) = (id.lower(), version.lower());
        format!("{}/v3/flat/{id}/{version}/{id}.{version}.snupkg", self.base)
    }

    pub(super) fn registration(&self, id: &PackageId) -> String {
        format!("{}/v3/registration/{}/index.json", self.base, id.lower())
    }

    pub(super) fn registration_page(
        &self,
        id: &PackageId,
        lower: &Version,
        upper: &Version,
    ) -> String {
        let (id, lower, upper) = (id.lower(), lower.lower(), upper.lower());
        format!(
            "{}/v3/registration/{id}/page/{lower}/{upper}.json",
            self.base
        )
    }

    pub(super) fn registration_leaf(&self, id: &PackageId, version: &Version) -> String {
        format!(
            "{}/v3/registration/{}/{}.json",
            self.base,
            id.lower(),
            version.lower()
        )
    }

    pub(super) fn facts(&self, id: &PackageId, version: &Version) -> String {
        format!(
            "{}/v3/facts/{}/{}.json",
            self.base,
            id.lower(),
            version.lower()
        )
    }
}

/// Reads the address from `X-Forwarded-Proto`, `-Host`, `-Prefix` and `Host`. A client that lies
/// gets wrong links in its own answer only.
fn requested_base(headers: &HeaderMap, is_secure: bool) -> String {
    let first = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        Some(value.split(',').next().unwrap_or_default().trim())
    };
    let scheme = match first("x-forwarded-proto") {
        Some("https") => "https",
        Some("http") => "http",
        _ if is_secure => "https",
        _ => "http",
    };
    let host = first("x-forwarded-host").or_else(|| first(header::HOST.as_str()));
    let host = host.filter(|host| !host.contains('@') && host.parse::<Authority>().is_ok());
    let is_path = |prefix: &&str| {
        prefix.starts_with('/')
            && prefix
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"/-_.~%".contains(&b))
    };
    let prefix = first("x-forwarded-prefix")
        .filter(is_path)
        .unwrap_or_default()
        .trim_end_matches('/');
    format!("{scheme}://{}{prefix}", host.unwrap_or("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_with_tls_is_https_unless_a_proxy_says_otherwise() {
        let host = ("host", "feed:81");
        for (headers, base) in [
            (&[host][..], "https://feed:81"),
            (&[host, ("x-forwarded-proto", "http")], "http://feed:81"),
            (&[host, ("x-forwarded-proto", "https")], "https://feed:81"),
        ] {
            let headers = headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            assert_eq!(requested_base(&headers.collect(), true), base);
        }
    }

    #[test]
    fn addresses_follow_the_host_and_proxy_headers() {
        for (headers, base) in [
            (&[("host", "feed:81")][..], "http://feed:81"),
            (
                &[
                    ("host", "a"),
                    ("x-forwarded-host", "b.org, c"),
                    ("x-forwarded-proto", "https"),
                ],
                "https://b.org",
            ),
            (
                &[("host", "a"), ("x-forwarded-prefix", "/feed/")],
                "http://a/feed",
            ),
            (
                &[("host", "a"), ("x-forwarded-prefix", "/\"><script>")],
                "http://a",
            ),
            (&[("host", "user@a")], "http://localhost"),
            (&[], "http://localhost"),
        ] {
            let headers = headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            assert_eq!(requested_base(&headers.collect(), false), base);
        }
    }
}
