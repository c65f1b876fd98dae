//! Entropy of the kernel.

use rustix::rand::{GetRandomFlags, getrandom};

/// Returns random bytes; waits for the kernel's entropy at an early boot.
pub(crate) fn bytes<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

/// Returns a random number for jitter; without entropy it is always the same.
pub(crate) fn number() -> u64 {
    bytes().map_or(0, u64::from_le_bytes)
}
