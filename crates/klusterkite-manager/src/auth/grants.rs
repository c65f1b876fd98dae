//! Grants: a password, a refresh token or client credentials become a token.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use klusterkite_api::access::TokenAnswer;
use klusterkite_core::time::Timestamp;
use klusterkite_store::Change;
use klusterkite_store::rows::{TokenKind, TokenRow, UserRow};
use klusterkite_wire::Secret;

use super::accounts::{Accounts, SharedAccounts};
use super::passwords::Passwords;
use super::throttle::{Key, Throttle};
use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::secrets::{hash, random_secret, same};
use crate::state::Draft;

/// Prefix of users' access tokens.
const USER_PREFIX: &str = "kku_";

/// Prefix of refresh tokens; the family and the secret follow, separated by `_`.
const REFRESH_PREFIX: &str = "kkr_";

/// Prefix of launchers' access tokens.
const CLIENT_PREFIX: &str = "kkc_";

/// Life of a user's access token.
const USER_LIFE: Duration = Duration::from_mins(30);

/// Life of a refresh token.
const REFRESH_LIFE: Duration = Duration::from_hours(24);

/// Life of a launcher's access token.
const CLIENT_LIFE: Duration = Duration::from_hours(1);

/// Most logins of one user at a time; the one that ends first makes room for another.
const LOGINS_MAX: usize = 64;

/// Most tokens in memory: some for each of 10,000 launchers. More push out the oldest of the same client.
const TOKENS_MAX: usize = 50_000;

/// How often expired tokens are deleted from the store.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// What the token endpoint remembers and what slows it down. It starts as one that has seen nobody.
#[derive(Default)]
pub struct Grants {
    throttle: Throttle,
    passwords: Passwords,
    swept: AtomicU64,
}

/// How a grant ends that is not a fault of the manager.
#[derive(Debug)]
pub enum Grant {
    /// A token.
    Given(TokenAnswer),
    /// Wrong password, secret or token; no more is said.
    Denied,
}

impl Grants {
    /// Logs a user in. An unknown login costs and answers the same as a wrong password (B45).
    pub async fn password(
        &self,
        cluster: &Cluster,
        login: &str,
        password: Secret,
        address: IpAddr,
    ) -> Result<Grant, Fault> {
        let keys = Key::of(login, address);
        self.throttle.take(cluster.now(), &keys)?;
        let (user, known_hash) = {
            let accounts = cluster.accounts().read();
            let user = accounts.users.get(login);
            // Somebody's hash has the cost that a hash of this user would have.
            let known_hash = user.or_else(|| accounts.users.values().next());
            (
                user.cloned(),
                known_hash.map(|user| user.password_hash.clone()),
            )
        };
        let is_right = self.passwords.verify(known_hash, password).await?;
        let Some(user) = user.filter(|_| is_right) else {
            return Ok(denied(login, address));
        };
        let given = cluster.transact(|draft| {
            let same_user =
                |now: &UserRow| !now.is_blocked && now.password_hash == user.password_hash;
            let state = draft.state;
            if !state
                .accounts
                .read()
                .users
                .get(login)
                .is_some_and(same_user)
            {
                return Ok(Grant::Denied);
            }
            make_room(draft, login);
            let actor = format!("user:{login}");
            draft.event(
                "loggedIn",
                &actor,
                &actor,
                format!("user `{login}` logged in from {address}"),
            );
            Ok(Grant::Given(user_tokens(draft, login, &random_secret())))
        });
        self.settle(cluster, &keys, given.await?, login, address)
            .await
    }

    /// Gives a new pair of tokens for a refresh token, which ends with this.
    ///
    /// A refresh token that comes a second time was stolen, or its thief was faster: the whole login ends.
    pub async fn refresh(
        &self,
        cluster: &Cluster,
        token: &Secret,
        address: IpAddr,
    ) -> Result<Grant, Fault> {
        let keys = Key::of_secret(REFRESH_PREFIX, address);
        self.throttle.take(cluster.now(), &keys)?;
        let given = cluster.transact(|draft| Ok(refresh(draft, token))).await?;
        self.settle(cluster, &keys, given, "a refresh token", address)
            .await
    }

    /// Gives a token to a launcher.
    pub async fn client(
        &self,
        cluster: &Cluster,
        id: &str,
        secret: &Secret,
        address: IpAddr,
    ) -> Result<Grant, Fault> {
        let keys = Key::of_secret(id, address);
        // Checking the secret costs nothing: whoever has it is not held up by a thousand others at his address,
        // which start at the same moment or guess.
        let is_right = is_secret_of(cluster.accounts(), id, secret);
        if !is_right {
            self.throttle.take(cluster.now(), &keys)?;
            return Ok(denied(id, address));
        }
        let given = cluster
            .transact_together(|draft| Ok(client_token(draft, id, secret)))
            .await?;
        self.sweep(cluster).await?;
        Ok(given)
    }

    /// Ends a token with its whole login; a token that nobody knows is ended already.
    pub async fn revoke(&self, cluster: &Cluster, token: &Secret) -> Result<(), Fault> {
        let hashed = hash(token);
        cluster
            .transact(|draft| {
                let state = draft.state;
                let known = state.accounts.read().tokens.get(&hashed).cloned();
                if let Some(row) = known {
                    let actor = match row.kind {
                        TokenKind::ClientAccess => format!("client:{}", row.subject),
                        TokenKind::UserAccess | TokenKind::UserRefresh => {
                            format!("user:{}", row.subject)
                        }
                    };
                    end_family(draft, &row.family);
                    draft.event(
                        "tokenRevoked",
                        &actor,
                        &actor,
                        "a token was revoked by its bearer",
                    );
                }
                Ok(())
            })
            .await
    }

    /// Gives back what a successful try took from the limits.
    async fn settle(
        &self,
        cluster: &Cluster,
        keys: &[Key],
        grant: Grant,
        who: &str,
        address: IpAddr,
    ) -> Result<Grant, Fault> {
        if matches!(grant, Grant::Denied) {
            return Ok(denied(who, address));
        }
        self.throttle.give_back(keys);
        self.sweep(cluster).await?;
        Ok(grant)
    }

    /// Deletes expired tokens now and then.
    async fn sweep(&self, cluster: &Cluster) -> Result<(), Fault> {
        let now = cluster.now();
        let swept = Timestamp(self.swept.load(Ordering::Relaxed));
        if now.since(swept) >= SWEEP_EVERY {
            self.swept.store(now.0, Ordering::Relaxed);
            let sweep = |draft: &mut Draft<'_>| {
                draft.put(Change::TokensExpire(now.0));
                Ok(())
            };
            cluster.transact(sweep).await?;
        }
        Ok(())
    }
}

fn denied(who: &str, address: IpAddr) -> Grant {
    // The name is what a stranger typed: quoted and cut, it cannot fake another line of the log.
    let who: String = who.chars().take(100).collect();
    tracing::warn!(who = ?who, %address, "a grant was denied");
    Grant::Denied
}

/// Stores a pair of tokens; both belong to the family, which stays the same as long as the login lasts.
fn user_tokens(draft: &mut Draft<'_>, login: &str, family: &Secret) -> TokenAnswer {
    let access = prefixed(USER_PREFIX, &random_secret());
    let family_and_secret = format!("{}_{}", family.reveal(), random_secret().reveal());
    let refresh = prefixed(REFRESH_PREFIX, &Secret::new(family_and_secret));
    let family = hash(family);
    token_put(
        draft,
        TokenKind::UserAccess,
        login,
        &access,
        &family,
        USER_LIFE,
    );
    token_put(
        draft,
        TokenKind::UserRefresh,
        login,
        &refresh,
        &family,
        REFRESH_LIFE,
    );
    answer(access, USER_LIFE, Some(refresh))
}

fn refresh(draft: &mut Draft<'_>, token: &Secret) -> Grant {
    let Some(family) = family_of(token) else {
        return Grant::Denied;
    };
    let family_hash = hash(&family);
    let (login, reused) = {
        let accounts = draft.state.accounts.read();
        let known = accounts.tokens.get(&hash(token));
        let valid =
            known.filter(|row| row.kind == TokenKind::UserRefresh && row.expires > draft.now.0);
        let user = valid.and_then(|row| accounts.users.get(&row.subject));
        let user = user.filter(|user| !user.is_blocked);
        let reused = match known {
            Some(_) => None,
            None => user_of_family(&accounts, &family_hash),
        };
        (user.map(|user| user.login.clone()), reused)
    };
    end_family(draft, &family_hash);
    if let Some(login) = reused {
        let actor = format!("user:{login}");
        let message = format!("a used refresh token of `{login}` came again; that login has ended");
        draft.event("tokenReused", &actor, &actor, message);
    }
    match login {
        Some(login) => Grant::Given(user_tokens(draft, &login, &family)),
        None => Grant::Denied,
    }
}

/// Returns whose tokens a family holds, if it holds any.
fn user_of_family(accounts: &Accounts, family: &str) -> Option<String> {
    let mut tokens = accounts.tokens.values();
    tokens
        .find(|row| row.family == family)
        .map(|row| row.subject.clone())
}

fn client_token(draft: &mut Draft<'_>, id: &str, secret: &Secret) -> Grant {
    if !is_secret_of(&draft.state.accounts, id, secret) {
        return Grant::Denied;
    }
    let accounts = draft.state.accounts.read();
    if accounts.tokens.len() >= TOKENS_MAX {
        let of_client = accounts.tokens.values().filter(|row| row.subject == id);
        if let Some(oldest) = of_client.min_by_key(|row| row.expires) {
            draft.put(Change::TokenDelete(oldest.hash.clone()));
        }
    }
    drop(accounts);
    let access = prefixed(CLIENT_PREFIX, &random_secret());
    let family = hash(&access);
    token_put(
        draft,
        TokenKind::ClientAccess,
        id,
        &access,
        &family,
        CLIENT_LIFE,
    );
    Grant::Given(answer(access, CLIENT_LIFE, None))
}

fn is_secret_of(accounts: &SharedAccounts, id: &str, secret: &Secret) -> bool {
    let accounts = accounts.read();
    let client = accounts.clients.get(id);
    client.is_some_and(|client| same(&client.secret_hash, &hash(secret)))
}

fn token_put(
    draft: &mut Draft<'_>,
    kind: TokenKind,
    subject: &str,
    token: &Secret,
    family: &str,
    life: Duration,
) {
    draft.put(Change::TokenPut(TokenRow {
        hash: hash(token),
        kind,
        subject: subject.to_owned(),
        family: family.to_owned(),
        expires: (draft.now + life).0,
    }));
}

/// Ends the user's login that would end first when he has [`LOGINS_MAX`] of them.
fn make_room(draft: &mut Draft<'_>, login: &str) {
    let refresh = |row: &&TokenRow| row.kind == TokenKind::UserRefresh && row.subject == login;
    let first = {
        let accounts = draft.state.accounts.read();
        let logins = || accounts.tokens.values().filter(refresh);
        if logins().count() < LOGINS_MAX {
            return;
        }
        let first = logins().min_by_key(|row| row.expires);
        first.map(|row| row.family.clone())
    };
    if let Some(family) = first {
        end_family(draft, &family);
    }
}

fn end_family(draft: &mut Draft<'_>, family: &str) {
    let accounts = draft.state.accounts.read();
    let of_family = accounts.tokens.values();
    for row in of_family.filter(|row| row.family == family) {
        draft.put(Change::TokenDelete(row.hash.clone()));
    }
}

fn family_of(token: &Secret) -> Option<Secret> {
    let (family, _) = token
        .reveal()
        .strip_prefix(REFRESH_PREFIX)?
        .split_once('_')?;
    Some(Secret::new(family))
}

fn prefixed(prefix: &str, secret: &Secret) -> Secret {
    Secret::new(format!("{prefix}{}", secret.reveal()))
}

fn answer(access_token: Secret, life: Duration, refresh_token: Option<Secret>) -> TokenAnswer {
    TokenAnswer {
        access_token,
        token_type: "bearer".to_owned(),
        expires_in: life.as_secs(),
        refresh_token,
    }
}
