//! Verification of passwords: slow on purpose, so bounded.

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc::PasswordHash;
use klusterkite_wire::Secret;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

use crate::fault::Fault;

/// Verifications at a time: each takes 19 MiB and a core for some tens of milliseconds.
const VERIFICATIONS_MAX: usize = 2;

/// Logins that may wait for a verification; more are told to come back.
const WAITING_MAX: usize = 32;

/// When those come back: the whole queue takes about a second.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Longest password, in bytes.
const PASSWORD_BYTES_MAX: usize = 1024;

/// Verified instead of a hash when there is no user at all; no password fits.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5bm9ib2R5$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Verifies passwords.
pub(super) struct Passwords {
    verifications: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            verifications: Arc::new(Semaphore::new(VERIFICATIONS_MAX)),
            waiting: Semaphore::new(WAITING_MAX),
        }
    }
}

impl Passwords {
    /// Tells whether the password fits the hash, in a time that does not tell whether there is a hash.
    pub(super) async fn verify(
        &self,
        hash: Option<String>,
        password: Secret,
    ) -> Result<bool, Fault> {
        if password.reveal().len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let full = Fault::TooMany {
            retry_after: RETRY_AFTER,
        };
        let Ok(_place) = self.waiting.try_acquire() else {
            return Err(full);
        };
        let permit = Arc::clone(&self.verifications).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let verification = tokio::task::spawn_blocking(move || {
            let fits = fits(hash.as_deref().unwrap_or(NOBODY), &password);
            drop(permit);
            fits
        });
        // A panic in there is a wrong password to the outside; the runtime has printed it.
        Ok(verification.await.unwrap_or(false))
    }
}

fn fits(hash: &str, password: &Secret) -> bool {
    match PasswordHash::new(hash) {
        Ok(parsed) => Argon2::default()
            .verify_password(password.reveal().as_bytes(), &parsed)
            .is_ok(),
        Err(error) => {
            tracing::error!(%error, "a stored password hash cannot be read");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_nobody_is_a_hash_that_no_password_fits() {
        let parsed = PasswordHash::new(NOBODY).unwrap();
        assert_eq!(parsed.algorithm.as_str(), "argon2id");
        assert!(!fits(NOBODY, &Secret::new("")));
        assert!(!fits(NOBODY, &Secret::new("nobody")));
    }
}
