//! Limits of guesses at the token endpoint.
//!
//! A try takes one unit from each of its buckets, a success gives them back, time refills them. The pair
//! of account and address has the small bucket: whoever guesses locks himself out, not the owner of the
//! account at another address. The buckets of account and of address alone are wide and stop guesses that
//! are spread over many addresses or many accounts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use klusterkite_core::time::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::fault::Fault;

/// Most buckets that are remembered: 100 bytes each. A full bucket is forgotten first, then the one that
/// was used least lately.
const BUCKETS_MAX: usize = 10_000;

/// What a limit is about. Names are hashed, so that a long one takes no more memory than a short one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Pair([u8; 32], IpAddr),
    Account([u8; 32]),
    Address(IpAddr),
}

impl Key {
    /// Returns the limits of a login from an address.
    pub(super) fn of(account: &str, address: IpAddr) -> [Self; 3] {
        let (account, address) = (hashed(account), network(address));
        [
            Self::Pair(account, address),
            Self::Account(account),
            Self::Address(address),
        ]
    }

    /// Returns the limit of something with 256 random bits (a client's secret, a refresh token).
    ///
    /// Guesses at it are hopeless and need no wider limits; and a launcher with a wrong secret must not
    /// shut out others.
    pub(super) fn of_secret(id: &str, address: IpAddr) -> [Self; 1] {
        [Self::Pair(hashed(id), network(address))]
    }

    /// Returns the size of the bucket and how many units come back per second.
    fn rate(&self) -> (f64, f64) {
        match self {
            Self::Pair(..) => (10.0, 1.0 / 6.0),
            Self::Account(_) => (100.0, 1.0),
            Self::Address(_) => (50.0, 1.0),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Timestamp,
}

impl Bucket {
    fn refilled(self, key: &Key, now: Timestamp) -> Self {
        let (size, per_second) = key.rate();
        let left = self.left + now.since(self.at).as_secs_f64() * per_second;
        Self {
            left: left.min(size),
            at: now,
        }
    }
}

/// The buckets.
#[derive(Default)]
pub(super) struct Throttle(Mutex<BTreeMap<Key, Bucket>>);

impl Throttle {
    /// Takes a unit from each bucket, or says how long the emptiest one needs to have one.
    pub(super) fn take(&self, now: Timestamp, keys: &[Key]) -> Result<(), Fault> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |key: &Key| Bucket {
            left: key.rate().0,
            at: now,
        };
        let refilled = keys.iter().map(|key| {
            (
                *key,
                buckets
                    .get(key)
                    .map_or_else(|| fresh(key), |bucket| bucket.refilled(key, now)),
            )
        });
        let refilled: Vec<_> = refilled.collect();
        let wait = |(key, bucket): &(Key, Bucket)| (1.0 - bucket.left) / key.rate().1;
        let longest = refilled.iter().map(wait).fold(0.0, f64::max);
        if longest > 0.0 {
            return Err(Fault::TooMany {
                retry_after: Duration::from_secs_f64(longest.ceil()),
            });
        }
        for (key, bucket) in refilled {
            make_room(&mut buckets, &key, now);
            buckets.insert(
                key,
                Bucket {
                    left: bucket.left - 1.0,
                    ..bucket
                },
            );
        }
        Ok(())
    }

    /// Gives back what a successful try took.
    pub(super) fn give_back(&self, keys: &[Key]) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            if let Some(bucket) = buckets.get_mut(key) {
                bucket.left = (bucket.left + 1.0).min(key.rate().0);
            }
        }
    }
}

fn make_room(buckets: &mut BTreeMap<Key, Bucket>, key: &Key, now: Timestamp) {
    if buckets.len() < BUCKETS_MAX || buckets.contains_key(key) {
        return;
    }
    buckets.retain(|key, bucket| bucket.refilled(key, now).left < key.rate().0);
    if buckets.len() >= BUCKETS_MAX {
        let oldest = buckets
            .iter()
            .min_by_key(|(_, bucket)| bucket.at)
            .map(|(key, _)| *key);
        if let Some(oldest) = oldest {
            buckets.remove(&oldest);
        }
    }
}

fn hashed(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Returns what one attacker usually has: an IPv4 address, or a /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn tries(throttle: &Throttle, now: Timestamp, keys: &[Key]) -> usize {
        (0..1000)
            .take_while(|_| throttle.take(now, keys).is_ok())
            .count()
    }

    #[test]
    fn guesses_at_one_account_lock_out_the_guesser_and_not_the_owner() {
        let throttle = Throttle::default();
        assert_eq!(
            tries(&throttle, Timestamp(0), &Key::of("admin", address(1))),
            10
        );
        assert_eq!(
            tries(&throttle, Timestamp(0), &Key::of("admin", address(2))),
            10
        );
    }

    #[test]
    fn guesses_at_many_accounts_from_one_address_and_at_one_account_from_many_end() {
        let throttle = Throttle::default();
        let account = |n: u8| throttle.take(Timestamp(0), &Key::of(&n.to_string(), address(1)));
        assert_eq!((0..=255).filter(|n| account(*n).is_ok()).count(), 50);
        let from = |n: u8| throttle.take(Timestamp(0), &Key::of("admin", address(n)));
        assert_eq!((2..=255).filter(|n| from(*n).is_ok()).count(), 100);
    }

    #[test]
    fn time_refills_and_the_answer_says_when() {
        let throttle = Throttle::default();
        let keys = Key::of("admin", address(1));
        tries(&throttle, Timestamp(0), &keys);
        let Err(Fault::TooMany { retry_after }) = throttle.take(Timestamp(0), &keys) else {
            panic!("the bucket is empty");
        };
        assert_eq!(retry_after, Duration::from_secs(6));
        assert!(throttle.take(Timestamp(5_000), &keys).is_err());
        assert!(throttle.take(Timestamp(6_000), &keys).is_ok());
        assert!(throttle.take(Timestamp(6_000), &keys).is_err());
    }

    #[test]
    fn success_takes_nothing() {
        let throttle = Throttle::default();
        let keys = Key::of("admin", address(1));
        for _ in 0..1000 {
            throttle.take(Timestamp(0), &keys).unwrap();
            throttle.give_back(&keys);
        }
    }

    #[test]
    fn the_table_stays_small_and_keeps_who_guessed_last() {
        let throttle = Throttle::default();
        for n in 0..20_000_u32 {
            let address = IpAddr::from(n.to_be_bytes());
            let _ = throttle.take(Timestamp(u64::from(n)), &Key::of_secret("x", address));
        }
        let buckets = throttle.0.lock().unwrap();
        assert!(buckets.len() <= BUCKETS_MAX);
        let last = IpAddr::from(19_999_u32.to_be_bytes());
        assert!(buckets.contains_key(&Key::of_secret("x", last)[0]));
    }

    #[test]
    fn neighbours_in_one_ipv6_network_share_a_limit() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
