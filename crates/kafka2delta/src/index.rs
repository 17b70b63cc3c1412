//! The key index: from a key to its row's place, and what is remembered of a key's order.

use std::collections::VecDeque;

use hashbrown::{HashMap, HashTable};

use crate::batch::Sequence;
use crate::keys::{Fingerprint, table_hash};
use crate::log::state::FileId;

/// Where a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The data file.
    pub file: FileId,
    /// Number of the row in the file, from 0.
    pub row: u32,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    key: Fingerprint,
    place: Place,
}

/// Key to place, in memory: about 24 bytes a key and the table's free slots.
///
/// A place may be out of date: its file may have left the table, or its row be deleted. Who asks looks at the
/// table's state, which decides; so other writers' deletes need no search here, and a deleted row's place stays
/// known for values that a later change leaves out.
#[derive(Debug, Default)]
pub struct KeyIndex {
    slots: HashTable<Slot>,
}

impl KeyIndex {
    /// The last place known of the key.
    #[inline]
    pub fn get(&self, key: &Fingerprint) -> Option<Place> {
        self.slots.find(table_hash(key), |slot| slot.key == *key).map(|slot| slot.place)
    }

    /// Sets a key's place.
    #[inline]
    pub fn insert(&mut self, key: Fingerprint, place: Place) {
        match self.slots.entry(table_hash(&key), |slot| slot.key == key, |slot| table_hash(&slot.key)) {
            hashbrown::hash_table::Entry::Occupied(mut slot) => slot.get_mut().place = place,
            hashbrown::hash_table::Entry::Vacant(slot) => {
                slot.insert(Slot { key, place });
            }
        }
    }

    /// Forgets a key.
    pub fn remove(&mut self, key: &Fingerprint) {
        if let Ok(slot) = self.slots.find_entry(table_hash(key), |slot| slot.key == *key) {
            slot.remove();
        }
    }

    /// Makes room for so many more keys.
    pub fn reserve(&mut self, additional: usize) {
        self.slots.reserve(additional, |slot| table_hash(&slot.key));
    }

    /// Keys known, those of deleted rows included.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether no key is known.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes of memory.
    pub fn allocated_bytes(&self) -> usize {
        self.slots.allocation_size()
    }
}

/// What is remembered of a key beyond its row: the sequence of its last change, and that it was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// The last change's sequence, where one proves something.
    pub sequence: Option<Sequence>,
    /// Whether the last change deleted the row.
    pub deleted: bool,
    /// Of a deleted row, whether its place in the index is the one that it was deleted from.
    pub placed: bool,
    /// The Kafka partition that the last change came through.
    pub partition: i32,
}

/// Remembers the order of the keys changed last, bounded by their number.
#[derive(Debug)]
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

    /// What is remembered of the key.
    pub fn get(&self, key: &Fingerprint) -> Option<Remembered> {
        self.keys.get(key).map(|(remembered, _)| *remembered)
    }

    /// Remembers a key's last change, and gives the keys that had to be forgotten for it.
    pub fn set(&mut self, key: Fingerprint, remembered: Remembered) -> Vec<(Fingerprint, Remembered)> {
        if remembered.sequence.is_none() && !remembered.deleted {
            self.keys.remove(&key);
        } else {
            self.clock += 1;
            self.keys.insert(key, (remembered, self.clock));
            self.queue.push_back((key, self.clock));
        }
        let mut forgotten = Vec::new();
        // The queue may hold outdated entries: both are bounded.
        while self.keys.len() > self.limit || self.queue.len() > 4 * self.limit {
            let Some((key, time)) = self.queue.pop_front() else { break };
            if self.keys.get(&key).is_some_and(|(_, t)| *t == time)
                && let Some((remembered, _)) = self.keys.remove(&key)
            {
                forgotten.push((key, remembered));
            }
        }
        forgotten
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
        let deleted = Remembered { sequence: None, deleted: true, placed: false, partition: 0 };
        let mut memory = Memory::new(2);
        assert!(memory.set([1, 1], deleted).is_empty());
        assert!(memory.set([2, 1], deleted).is_empty());
        assert!(memory.set([1, 1], deleted).is_empty());
        let forgotten = memory.set([3, 1], deleted);
        assert_eq!(forgotten, [([2, 1], deleted)]);
        assert!(memory.get(&[1, 1]).is_some());
        for n in 0..1000 {
            memory.set([1, 1], deleted);
            assert!(memory.queue.len() <= 8, "{n}");
        }
    }

    #[test]
    fn index_keeps_the_last_place() {
        let mut index = KeyIndex::default();
        for n in 0..10_000u64 {
            index.insert([n, 1], Place { file: 0, row: n as u32 });
        }
        index.insert([5, 1], Place { file: 1, row: 2 });
        assert_eq!(index.get(&[5, 1]), Some(Place { file: 1, row: 2 }));
        assert_eq!(index.get(&[9_999, 1]), Some(Place { file: 0, row: 9_999 }));
        index.remove(&[5, 1]);
        assert_eq!((index.get(&[5, 1]), index.len()), (None, 9_999));
    }
}
