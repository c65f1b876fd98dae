//! Random secrets and their hashes.

use klusterkite_wire::Secret;
use sha2::{Digest, Sha256};

/// Draws a secret of 256 random bits.
pub fn random_secret() -> Secret {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes once it has started");
    Secret::from_random_bytes(bytes)
}

/// Draws a random number.
pub fn random_number() -> u64 {
    getrandom::u64().expect("the kernel gives random bytes once it has started")
}

/// Returns the SHA-256 of a secret, hexadecimal: enough for secrets of 256 random bits.
pub fn hash(secret: &Secret) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = Sha256::digest(secret.reveal().as_bytes());
    let halves = digest.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    halves
        .map(|half| char::from(DIGITS[usize::from(half)]))
        .collect()
}

/// Compares two hashes in a time that does not depend on where they differ.
pub fn same(left: &str, right: &str) -> bool {
    let differing = left
        .bytes()
        .zip(right.bytes())
        .fold(0, |bits, (a, b)| bits | (a ^ b));
    left.len() == right.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_sha_256_of_the_text() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash(&Secret::new("abc")), expected);
        assert!(same(expected, &hash(&Secret::new("abc"))));
        assert!(!same(expected, &hash(&Secret::new("abd"))));
        assert!(!same("", expected));
    }
}
