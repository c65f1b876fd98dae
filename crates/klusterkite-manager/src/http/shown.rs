//! Answers that many clients get at once, made by the first of them.
//!
//! Who follows a cluster of ten thousand nodes asks again after each change. The answer is the same for all who ask the
//! same, so its parts are collected and written as JSON once per change, not once per client.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use klusterkite_api::page::Page;
use klusterkite_wire::link::Members;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::cluster::Cluster;

/// Roles whose members are kept as text; a cluster has a handful that anybody asks for.
const ROLES_MAX: usize = 64;

/// Answers of the newest state.
#[derive(Debug, Default)]
pub(super) struct Shown {
    members: Mutex<MembersShown>,
    templates: Mutex<TemplatesShown>,
}

/// Lists of members of one version, by role; `None`: of all roles.
#[derive(Debug, Default)]
struct MembersShown {
    version: u64,
    by_role: BTreeMap<Option<String>, Bytes>,
}

/// Counts of templates, and of which state.
#[derive(Debug, Default)]
struct TemplatesShown {
    of: Option<(u64, u64)>,
    text: Bytes,
}

impl Shown {
    /// Returns the members with a role, or all.
    pub(super) async fn members(&self, members: &Members, role: Option<&str>) -> Json {
        let mut shown = self.members.lock().await;
        if shown.version != members.version {
            *shown = MembersShown {
                version: members.version,
                by_role: BTreeMap::new(),
            };
        }
        let role = role.map(str::to_owned);
        if let Some(text) = shown.by_role.get(&role) {
            return Json(text.clone());
        }
        let text = match &role {
            None => text(members),
            Some(role) => {
                let with_role = members.members.iter();
                let with_role = with_role.filter(|member| member.roles.contains(role));
                text(&Members {
                    version: members.version,
                    members: with_role.cloned().collect(),
                })
            }
        };
        if shown.by_role.len() < ROLES_MAX {
            shown.by_role.insert(role, text.clone());
        }
        Json(text)
    }

    /// Returns the counts of the templates.
    pub(super) async fn templates(&self, cluster: &Cluster) -> Json {
        let mut shown = self.templates.lock().await;
        // Looked at before counting: what changes meanwhile is counted again by the next who asks.
        let of = {
            let state = cluster.read().await;
            (state.revision, state.volatile.published)
        };
        if shown.of != Some(of) {
            *shown = TemplatesShown {
                of: Some(of),
                text: text(&Page::whole(cluster.template_list().await)),
            };
        }
        Json(shown.text.clone())
    }
}

/// An answer that is JSON already.
#[derive(Debug)]
pub(super) struct Json(Bytes);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}

fn text(value: &impl Serialize) -> Bytes {
    let text = serde_json::to_vec(value).expect("it has only text for keys");
    text.into()
}

#[cfg(test)]
mod tests {
    use klusterkite_wire::NodeId;
    use klusterkite_wire::link::Member;

    use super::*;

    fn members(version: u64, roles: &[&str]) -> Members {
        let members = roles.iter().enumerate().map(|(number, role)| Member {
            node_id: NodeId::from_random_bytes([number as u8; 16]),
            template: "hello".parse().unwrap(),
            roles: vec![(*role).to_owned()],
            address: String::new(),
            endpoints: Vec::new(),
        });
        Members {
            version,
            members: members.collect(),
        }
    }

    fn shown(json: &Json) -> Members {
        serde_json::from_slice(&json.0).unwrap()
    }

    #[tokio::test]
    async fn members_are_written_once_per_version_and_role() {
        let kept = Shown::default();
        let first = members(7, &["a", "b"]);
        let all = kept.members(&first, None).await;
        assert_eq!(shown(&all), first);
        let again = kept.members(&first, None).await;
        assert_eq!(all.0.as_ptr(), again.0.as_ptr(), "the same bytes");
        let of_a = kept.members(&first, Some("a")).await;
        assert_eq!(shown(&of_a).members, first.members[..1]);
        let none = kept.members(&first, Some("c")).await;
        assert!(shown(&none).members.is_empty());

        let second = members(8, &["a"]);
        assert_eq!(shown(&kept.members(&second, None).await), second);
        for number in 0..2 * ROLES_MAX {
            kept.members(&second, Some(&number.to_string())).await;
        }
        assert_eq!(kept.members.lock().await.by_role.len(), ROLES_MAX);
    }
}
