//! Who is known to the cluster, and whose each token is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use klusterkite_api::privileges::Privilege;
use klusterkite_core::time::Timestamp;
use klusterkite_store::rows::{ClientRow, RoleRow, TokenKind, TokenRow, UserRow};
use klusterkite_wire::{NodeId, Secret};

use super::{Bearer, Subject};
use crate::secrets::hash;

/// The accounts of a state behind a lock of their own, which is held for moments and never while anything waits: requests
/// are authenticated while a commit holds the state.
///
/// So accounts are seen as a decision leaves them, a moment before it is stored. That gives nothing away: a new token is
/// told to its bearer after the commit, and one that ends does so a moment early.
#[derive(Debug, Clone, Default)]
pub struct SharedAccounts(Arc<RwLock<Accounts>>);

impl SharedAccounts {
    /// Reads the accounts. Reading twice in a row in one thread may wait for a writer in between, for ever.
    pub fn read(&self) -> RwLockReadGuard<'_, Accounts> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the accounts.
    pub fn write(&self) -> RwLockWriteGuard<'_, Accounts> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Users, roles, launcher clients and tokens.
#[derive(Debug, Default)]
pub struct Accounts {
    /// Users by login.
    pub users: BTreeMap<String, UserRow>,
    /// Roles by name.
    pub roles: BTreeMap<String, RoleRow>,
    /// Launcher clients by id.
    pub clients: BTreeMap<String, Arc<ClientRow>>,
    /// Tokens of users and clients by hash.
    pub tokens: BTreeMap<String, TokenRow>,
    /// Node ids by the hashes of their tokens.
    pub node_tokens: HashMap<String, NodeId>,
}

impl Accounts {
    /// Returns the bearer of a token; `None`: nobody knows it, it has expired, or its user is blocked.
    pub fn bearer(&self, now: Timestamp, token: &Secret) -> Option<Bearer> {
        let hashed = hash(token);
        let (subject, privileges) = match self.tokens.get(&hashed) {
            Some(row) if row.expires > now.0 => self.subject(row)?,
            Some(_) => return None,
            None => (
                Subject::Node(self.node_tokens.get(&hashed)?.clone()),
                BTreeSet::new(),
            ),
        };
        Some(Bearer {
            subject,
            privileges,
            token: token.clone(),
        })
    }

    /// Notes which token a node has now, and forgets the one before.
    pub(crate) fn node_token_put(&mut self, id: &NodeId, before: Option<&str>, now: Option<&str>) {
        if before == now {
            return;
        }
        if let Some(hash) = before {
            self.node_tokens.remove(hash);
        }
        if let Some(hash) = now {
            self.node_tokens.insert(hash.to_owned(), id.clone());
        }
    }

    fn subject(&self, row: &TokenRow) -> Option<(Subject, BTreeSet<Privilege>)> {
        match row.kind {
            TokenKind::UserAccess => {
                let user = self
                    .users
                    .get(&row.subject)
                    .filter(|user| !user.is_blocked)?;
                Some((Subject::User(user.login.clone()), self.privileges(user)))
            }
            TokenKind::ClientAccess => {
                let client = Arc::clone(self.clients.get(&row.subject)?);
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
    fn privileges(&self, user: &UserRow) -> BTreeSet<Privilege> {
        let roles = || user.roles.iter().filter_map(|name| self.roles.get(name));
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
}
