//! Who calls and what he may do: bearers, effective privileges, and the grants of tokens.
//!
//! Tokens are opaque: 256 random bits behind a prefix that tells secret scanners what leaked. The store
//! holds their SHA-256. What a bearer may do is computed at each request, so blocking a user or changing
//! a role works at once (B51).

mod grants;
mod passwords;
mod throttle;

pub use grants::{Grant, Grants};

use std::collections::BTreeSet;

use klusterkite_api::access::{BearerKind, Me};
use klusterkite_api::privileges::Privilege;
use klusterkite_core::time::Timestamp;
use klusterkite_store::rows::{ClientRow, TokenKind, TokenRow, UserRow};
use klusterkite_wire::{NodeId, Secret};

use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::secrets::hash;
use crate::state::State;

/// Who calls.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A person.
    User(String),
    /// A launcher.
    Client(ClientRow),
    /// A node.
    Node(NodeId),
}

/// The bearer of a valid token.
#[derive(Debug, Clone)]
pub struct Bearer {
    /// Who he is.
    pub subject: Subject,
    /// What he may do now.
    pub privileges: BTreeSet<Privilege>,
    token: Secret,
}

impl Bearer {
    /// Returns the name of the bearer in events: `user:admin`, `client:worker`, `node:…`.
    pub fn actor(&self) -> String {
        match &self.subject {
            Subject::User(login) => format!("user:{login}"),
            Subject::Client(client) => format!("client:{}", client.id),
            Subject::Node(id) => format!("node:{id}"),
        }
    }

    /// Refuses when the bearer lacks a privilege.
    pub fn require(&self, privilege: Privilege) -> Result<(), Fault> {
        if self.privileges.contains(&privilege) {
            Ok(())
        } else {
            Err(Fault::Forbidden(privilege))
        }
    }

    /// Returns the launcher client that calls.
    pub fn client(&self) -> Result<&ClientRow, Fault> {
        match &self.subject {
            Subject::Client(client) => Ok(client),
            Subject::User(_) | Subject::Node(_) => {
                Err(Fault::Forbidden(Privilege::GetConfiguration))
            }
        }
    }

    /// Describes the bearer to himself.
    pub fn me(&self) -> Me {
        let (kind, name) = match &self.subject {
            Subject::User(login) => (BearerKind::User, login.clone()),
            Subject::Client(client) => (BearerKind::Client, client.id.clone()),
            Subject::Node(id) => (BearerKind::Node, id.to_string()),
        };
        Me {
            name,
            kind,
            privileges: self.privileges.iter().copied().collect(),
        }
    }
}

/// Returns the bearer of a token; `None`: nobody knows it, it has expired, or its user is blocked.
pub fn bearer(state: &State, now: Timestamp, token: &Secret) -> Option<Bearer> {
    let hashed = hash(token);
    let (subject, privileges) = match state.tokens.get(&hashed) {
        Some(row) if row.expires > now.0 => subject(state, row)?,
        Some(_) => return None,
        None => (
            Subject::Node(state.node_tokens.get(&hashed)?.clone()),
            BTreeSet::new(),
        ),
    };
    Some(Bearer {
        subject,
        privileges,
        token: token.clone(),
    })
}

/// Tells whether the bearer's token still is what it was: long answers ask again from time to time.
pub async fn still_holds(cluster: &Cluster, before: &Bearer, privilege: Privilege) -> bool {
    let state = cluster.read().await;
    bearer(&state, cluster.now(), &before.token)
        .is_some_and(|bearer| bearer.privileges.contains(&privilege))
}

fn subject(state: &State, row: &TokenRow) -> Option<(Subject, BTreeSet<Privilege>)> {
    match row.kind {
        TokenKind::UserAccess => {
            let user = state
                .users
                .get(&row.subject)
                .filter(|user| !user.is_blocked)?;
            Some((Subject::User(user.login.clone()), privileges(state, user)))
        }
        TokenKind::ClientAccess => {
            let client = state.clients.get(&row.subject)?.clone();
            Some((
                Subject::Client(client),
                Privilege::OF_CLIENTS.iter().copied().collect(),
            ))
        }
        // Good for the token endpoint only.
        TokenKind::UserRefresh => None,
    }
}

/// Returns what a user may do: a denial in any of his roles wins.
fn privileges(state: &State, user: &UserRow) -> BTreeSet<Privilege> {
    let roles = || user.roles.iter().filter_map(|name| state.roles.get(name));
    // A name that this release does not know gives nothing: another release wrote it.
    let parsed = |name: &String| name.parse::<Privilege>().ok();
    let allowed: BTreeSet<_> = roles()
        .flat_map(|role| &role.allowed)
        .filter_map(parsed)
        .collect();
    let denied: BTreeSet<_> = roles()
        .flat_map(|role| &role.denied)
        .filter_map(parsed)
        .collect();
    let of_clients: BTreeSet<_> = Privilege::OF_CLIENTS.iter().copied().collect();
    &(&allowed - &denied) - &of_clients
}
