//! How often a client may come with a wrong key.
//!
//! A right key is never refused for what others of the same address did; so this does not keep
//! anybody from guessing, the length of keys does. It keeps guesses and misconfigured clients from
//! costing more than a short answer, and tells their operators.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong keys of one address within the period before it is told to slow down: NuGet clients ask
/// for some documents at the same time before they show an error.
const WRONG_MAX: u32 = 30;
const PERIOD: Duration = Duration::from_mins(1);

/// Addresses that are remembered, some hundred kilobytes; the one that was first seen longest ago
/// makes room.
const CLIENTS_MAX: usize = 4096;

/// Who came with wrong keys lately.
#[derive(Debug, Default)]
pub(crate) struct WrongKeys {
    clients: Mutex<BTreeMap<IpAddr, Count>>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    since: Instant,
    wrong: u32,
}

impl WrongKeys {
    /// Notes a wrong key; returns how long the client should wait if it had too many.
    pub(crate) fn note(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        let client = network(client);
        // Counts of a thread that panicked are still counts.
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= CLIENTS_MAX && !clients.contains_key(&client) {
            let oldest = clients.iter().min_by_key(|(_, count)| count.since);
            if let Some(oldest) = oldest.map(|(client, _)| *client) {
                clients.remove(&oldest);
            }
        }
        let count = clients.entry(client).or_insert(Count {
            since: now,
            wrong: 0,
        });
        let age = now.saturating_duration_since(count.since);
        if age >= PERIOD {
            *count = Count {
                since: now,
                wrong: 0,
            };
        }
        count.wrong = count.wrong.saturating_add(1);
        (count.wrong > WRONG_MAX).then(|| PERIOD.saturating_sub(age))
    }
}

/// What belongs to one client: an address, or the 64 bits of one that whoever has it fills freely.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => IpAddr::V4(address),
            None => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_too_many_wrong_keys_is_told_to_wait_until_its_minute_is_over() {
        let (wrong_keys, start) = (WrongKeys::default(), Instant::now());
        let client: IpAddr = "10.0.0.1".parse().unwrap();
        for _ in 0..WRONG_MAX {
            assert_eq!(wrong_keys.note(client, start), None);
        }
        let later = start + Duration::from_secs(20);
        assert_eq!(
            wrong_keys.note(client, later),
            Some(Duration::from_secs(40))
        );
        assert_eq!(wrong_keys.note("10.0.0.2".parse().unwrap(), later), None);
        assert_eq!(wrong_keys.note(client, start + PERIOD), None);
    }

    #[test]
    fn addresses_of_one_network_count_together() {
        for (a, b, same) in [
            ("2001:db8::1", "2001:db8::2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
        ] {
            let [a, b] = [a, b].map(|text| network(text.parse().unwrap()));
            assert_eq!(a == b, same, "{a} {b}");
        }
    }

    #[test]
    fn as_many_addresses_as_there_are_take_a_bounded_memory() {
        let (wrong_keys, start) = (WrongKeys::default(), Instant::now());
        for number in 0..20_000_u32 {
            wrong_keys.note(
                IpAddr::V4(number.into()),
                start + Duration::from_millis(number.into()),
            );
        }
        let clients = wrong_keys.clients.lock().unwrap();
        assert_eq!(clients.len(), CLIENTS_MAX);
        assert!(clients.contains_key(&IpAddr::V4(19_999.into())));
    }
}
