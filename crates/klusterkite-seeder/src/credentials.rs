//! Passwords and secrets of the new cluster, and the file that holds them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context as _;
use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use klusterkite_wire::{ContainerType, Secret};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::files;
use crate::settings::{SeederSettings, UserSettings};

/// Nobody but the owner reads credentials.
const MODE: u32 = 0o600;

/// Content of the credentials file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Credentials {
    pub(crate) admin: UserCredentials,
    pub(crate) guest: UserCredentials,
    pub(crate) clients: BTreeMap<ContainerType, ClientCredentials>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserCredentials {
    pub(crate) login: String,
    pub(crate) password: Secret,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClientCredentials {
    pub(crate) id: String,
    pub(crate) secret: Secret,
}

/// Makes sure that the credentials file holds everything and returns its content.
///
/// What a run that was cut short had written is used again, because somebody may have read it; settings win.
pub(crate) fn ensure_written(settings: &SeederSettings) -> anyhow::Result<Credentials> {
    let path = &settings.credentials_file;
    let before = read(path)?;
    let credentials = complete(settings, before.as_ref())?;
    if before.as_ref() != Some(&credentials) {
        let mut text = serde_json::to_vec_pretty(&credentials)?;
        text.push(b'\n');
        files::write(path, &text, MODE)?;
    }
    Ok(credentials)
}

fn read(path: &Path) -> anyhow::Result<Option<Credentials>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read `{}`", path.display()));
        }
    };
    let credentials = serde_json::from_slice(&text).with_context(|| {
        format!(
            "`{}` is not a credentials file; move it away",
            path.display()
        )
    })?;
    Ok(Some(credentials))
}

fn complete(
    settings: &SeederSettings,
    before: Option<&Credentials>,
) -> anyhow::Result<Credentials> {
    let user = |given: &UserSettings, before: Option<&UserCredentials>| -> anyhow::Result<_> {
        let login = given.login.clone().unwrap_or_default();
        let kept = before
            .filter(|before| before.login == login)
            .map(|before| &before.password);
        Ok(UserCredentials {
            login,
            password: choose(given.password.as_ref(), kept)?,
        })
    };
    let mut clients = BTreeMap::new();
    for (container_type, given) in &settings.clients {
        let id = given.id.clone().unwrap_or_default();
        let kept = before.and_then(|before| before.clients.get(container_type));
        let kept = kept
            .filter(|before| before.id == id)
            .map(|before| &before.secret);
        let secret = choose(given.secret.as_ref(), kept)?;
        clients.insert(container_type.clone(), ClientCredentials { id, secret });
    }
    Ok(Credentials {
        admin: user(&settings.users.admin, before.map(|before| &before.admin))?,
        guest: user(&settings.users.guest, before.map(|before| &before.guest))?,
        clients,
    })
}

fn choose(given: Option<&Secret>, kept: Option<&Secret>) -> anyhow::Result<Secret> {
    if let Some(secret) = given.or(kept) {
        return Ok(secret.clone());
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("the system gives no random bytes")?;
    Ok(Secret::from_random_bytes(bytes))
}

/// Hashes a password with argon2id into the PHC form.
pub(crate) fn password_hash(password: &Secret) -> anyhow::Result<String> {
    let hash = Argon2::default()
        .hash_password(password.reveal().as_bytes())
        .map_err(|error| anyhow::anyhow!("a password cannot be hashed: {error}"))?;
    Ok(hash.to_string())
}

/// Hashes a secret of 256 random bits, which needs no slow hash, into lower-case hexadecimal digits.
pub(crate) fn secret_hash(secret: &Secret) -> String {
    let digest = Sha256::digest(secret.reveal().as_bytes());
    digest
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(hex_digit)
        .collect()
}

fn hex_digit(digit: u8) -> char {
    char::from(b"0123456789abcdef"[usize::from(digit)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hashed_as_the_manager_expects() {
        // sha256 of "abc", FIPS 180-4.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(secret_hash(&Secret::new("abc")), expected);
    }

    #[test]
    fn a_password_hash_is_argon2id_with_a_salt_of_its_own() {
        let secret = Secret::new("correct horse");
        let (first, second) = (
            password_hash(&secret).unwrap(),
            password_hash(&secret).unwrap(),
        );
        assert!(first.starts_with("$argon2id$v=19$"), "{first}");
        assert_ne!(first, second);
    }
}
