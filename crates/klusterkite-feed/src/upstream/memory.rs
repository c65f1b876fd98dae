//! What was answered lately, for a short time and in bounded number.

use std::collections::BTreeMap;
use std::time::Duration;

/// Answers by name, each with the time at which it was given. Times are those of any clock that
/// never goes back.
#[derive(Debug)]
pub(crate) struct Memory<T> {
    entries: BTreeMap<String, (Duration, T)>,
    entries_max: usize,
}

impl<T> Memory<T> {
    pub(crate) fn new(entries_max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            entries_max,
        }
    }

    /// Returns an answer that is at most so old.
    pub(crate) fn get(&self, name: &str, now: Duration, age_max: Duration) -> Option<&T> {
        let (given, answer) = self.entries.get(name)?;
        (now.saturating_sub(*given) < age_max).then_some(answer)
    }

    /// Remembers an answer; the oldest one makes room.
    pub(crate) fn put(&mut self, name: String, now: Duration, answer: T) {
        if self.entries.len() >= self.entries_max && !self.entries.contains_key(&name) {
            let oldest = self.entries.iter().min_by_key(|(_, (given, _))| *given);
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                self.entries.remove(&name);
            }
        }
        self.entries.insert(name, (now, answer));
    }

    /// Forgets an answer.
    pub(crate) fn remove(&mut self, name: &str) {
        self.entries.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_answer_is_known_while_it_is_young() {
        let mut memory = Memory::new(10);
        memory.put("a".to_owned(), at(100), 1);
        for (now, age_max, expected) in [
            (100, 10, Some(&1)),
            (109, 10, Some(&1)),
            (110, 10, None),
            (110, 60, Some(&1)),
            (100, 0, None),
        ] {
            assert_eq!(
                memory.get("a", at(now), at(age_max)),
                expected,
                "{now} {age_max}"
            );
        }
        memory.remove("a");
        assert_eq!(memory.get("a", at(100), at(10)), None);
    }

    #[test]
    fn the_oldest_answer_makes_room() {
        let mut memory = Memory::new(2);
        for (second, name) in [(3, "a"), (1, "b"), (4, "a"), (5, "c")] {
            memory.put(name.to_owned(), at(second), second);
        }
        let known: Vec<_> = ["a", "b", "c"]
            .map(|name| memory.get(name, at(5), at(9)))
            .to_vec();
        assert_eq!(known, [Some(&4), None, Some(&5)]);
    }
}
