//! Deleted keys: the order of their last changes, for changes of other partitions, and where their rows were.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::sequence::Order;
use crate::key::hasher::Fingerprint;

/// What is known of a key's last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// Its place among the changes of other partitions.
    pub order: Order,
    /// Of a deleted row, whether its place in the index is the one that it was deleted from.
    pub placed: bool,
    /// The Kafka partition that the last change came through.
    pub partition: i32,
}

/// Remembers the keys deleted last, bounded by their number.
#[derive(Debug, Clone)]
pub struct Memory {
    keys: HashMap<Fingerprint, (Remembered, u64)>,
    /// Keys by the time of their change; a key's older entries are skipped.
    queue: VecDeque<(Fingerprint, u64)>,
    clock: u64,
    limit: usize,
}

impl Memory {
    /// Remembers up to `limit` keys.
    pub fn new(limit: usize) -> Self {
        Self { keys: HashMap::new(), queue: VecDeque::new(), clock: 0, limit: limit.max(1) }
    }

    /// What is remembered of the key, where it is deleted.
    pub fn get(&self, key: &Fingerprint) -> Option<Remembered> {
        self.keys.get(key).map(|(remembered, _)| *remembered)
    }

    /// Remembers a key's delete, and gives the keys that had to be forgotten for it.
    pub fn set(&mut self, key: Fingerprint, remembered: Remembered) -> Vec<Fingerprint> {
        self.clock += 1;
        self.keys.insert(key, (remembered, self.clock));
        self.queue.push_back((key, self.clock));
        let mut forgotten = Vec::new();
        // The queue may hold outdated entries: both are bounded.
        while self.keys.len() > self.limit || self.queue.len() > 4 * self.limit {
            let Some((key, time)) = self.queue.pop_front() else { break };
            if self.keys.get(&key).is_some_and(|(_, t)| *t == time) {
                self.keys.remove(&key);
                forgotten.push(key);
            }
        }
        forgotten
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// No key's place in the index needs to be the one that its row was deleted from any more.
    pub fn displace_all(&mut self) {
        self.keys.values_mut().for_each(|(remembered, _)| remembered.placed = false);
    }

    /// Forgets a key.
    pub fn forget(&mut self, key: &Fingerprint) {
        self.keys.remove(key);
    }

    /// All that is remembered.
    pub fn iter(&self) -> impl Iterator<Item = (&Fingerprint, Remembered)> {
        self.keys.iter().map(|(key, (remembered, _))| (key, *remembered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_forgets_the_oldest_change_first() {
        let deleted = Remembered { order: Order::default(), placed: false, partition: 0 };
        let mut memory = Memory::new(2);
        assert!(memory.set([1, 1], deleted).is_empty());
        assert!(memory.set([2, 1], deleted).is_empty());
        assert!(memory.set([1, 1], deleted).is_empty());
        let forgotten = memory.set([3, 1], deleted);
        assert_eq!(forgotten, [[2, 1]]);
        assert!(memory.get(&[1, 1]).is_some());
        for n in 0..1000 {
            memory.set([1, 1], deleted);
            assert!(memory.queue.len() <= 8, "{n}");
        }
    }
}
