//! A cache of a bounded weight that forgets what was not used lately.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Values by their keys. When it gets too heavy, the oldest value goes that nobody asked for since
/// its last chance.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// All keys, in the order of their chances.
    order: VecDeque<K>,
    weight: usize,
    weight_max: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    weight: usize,
    was_used: bool,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    pub(crate) fn new(weight_max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            weight: 0,
            weight_max,
        }
    }

    /// Returns a value.
    pub(crate) fn get<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let entry = self.entries.get_mut(key)?;
        entry.was_used = true;
        Some(entry.value.clone())
    }

    /// Adds a value, unless it has one already or would fill too much of the cache alone.
    pub(crate) fn put(&mut self, key: K, value: V, weight: usize) {
        if weight > self.weight_max / 4 || self.entries.contains_key(&key) {
            return;
        }
        let entry = Entry {
            value,
            weight,
            was_used: false,
        };
        self.entries.insert(key.clone(), entry);
        self.order.push_back(key);
        self.weight += weight;
        while self.weight > self.weight_max {
            self.give_chance();
        }
    }

    fn give_chance(&mut self) {
        let key = self.order.pop_front();
        let key = key.expect("what weighs something has a place in the order");
        let entry = self.entries.get_mut(&key);
        let entry = entry.expect("each place in the order has its entry");
        if entry.was_used {
            entry.was_used = false;
            self.order.push_back(key);
        } else {
            self.weight -= entry.weight;
            self.entries.remove(&key);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
        self.weight = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_weight_is_bounded() {
        let mut cache: Cache<u32, u32> = Cache::new(100);
        for number in 0..1000 {
            cache.put(number, number, 10);
            // Nobody asks for the others again.
            assert_eq!(cache.get(&0), Some(0), "after {number}");
            assert!(cache.weight <= 100);
            assert_eq!(cache.entries.len(), cache.order.len());
        }
        assert_eq!(cache.get(&500), None);
        assert_eq!(cache.entries.len(), 10);
    }

    #[test]
    fn what_would_fill_the_cache_alone_is_not_kept() {
        let mut cache: Cache<u32, ()> = Cache::new(100);
        cache.put(1, (), 26);
        assert_eq!(cache.get(&1), None);
        cache.put(1, (), 25);
        cache.put(1, (), 25);
        assert_eq!(cache.weight, 25);
        cache.clear();
        assert_eq!((cache.get(&1), cache.weight), (None, 0));
    }
}
