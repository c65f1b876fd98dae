//! Who calls and what he may do: bearers, effective privileges, and the grants of tokens.
//!
//! Tokens are opaque: 256 random bits behind a prefix that tells secret scanners what leaked. The store
//! holds their SHA-256. What a bearer may do is computed at each request, so blocking a user or changing
//! a role works at once (B51).

mod accounts;
mod grants;
mod passwords;
mod throttle;

pub use accounts::{Accounts, SharedAccounts};
pub use grants::{Grant, Grants};

use std::collections::BTreeSet;
use std::sync::Arc;

use klusterkite_api::access::{BearerKind, Me};
use klusterkite_api::privileges::Privilege;
use klusterkite_store::rows::ClientRow;
use klusterkite_wire::{NodeId, Secret};

use crate::cluster::Cluster;
use crate::fault::Fault;

/// Who calls.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A person.
    User(String),
    /// A launcher.
    Client(Arc<ClientRow>),
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

/// Tells whether the bearer's token still is what it was: long answers ask again from time to time.
pub fn still_holds(cluster: &Cluster, before: &Bearer, privilege: Privilege) -> bool {
    let bearer = cluster.bearer(&before.token);
    bearer.is_some_and(|bearer| bearer.privileges.contains(&privilege))
}
