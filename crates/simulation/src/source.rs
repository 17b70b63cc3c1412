//! The topic: the changes of each of its partitions, which are the same however often and in whatever batches they are read.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::changes::{Change, Key, random_row};
use crate::process::Intent;

/// Ids of keys, shared out to the partitions.
const IDS: i64 = 8;

/// One partition.
#[derive(Debug)]
struct Partition {
    number: i64,
    partitions: i64,
    rng: StdRng,
    changes: Vec<Change>,
    keys: BTreeSet<Key>,
}

impl Partition {
    fn key(&mut self) -> Key {
        let ids = IDS / self.partitions;
        (self.rng.random_range(0..2), self.rng.random_range(0..ids) * self.partitions + self.number)
    }

    /// Makes one more change. A key update is two.
    fn grow(&mut self) {
        let (key, step) = (self.key(), self.changes.len());
        match self.rng.random_range(0..1000) {
            0..600 => {
                let leaves_big = self.keys.contains(&key) && self.rng.random_bool(0.4);
                let row = crate::changes::Row { extra: None, ..random_row(&mut self.rng, step) };
                self.keys.insert(key);
                self.changes.push(Change::Upsert { key, row, leaves_big, old: None, sequence: None });
            }
            600..800 => {
                self.keys.remove(&key);
                self.changes.push(Change::Delete { key, sequence: None });
            }
            800..990 => {
                let new = self.key();
                if !self.keys.contains(&key) || self.keys.contains(&new) {
                    return;
                }
                self.keys.remove(&key);
                self.keys.insert(new);
                let row = crate::changes::Row { extra: None, ..random_row(&mut self.rng, step) };
                self.changes.push(Change::Moved { key, new: Some(new) });
                self.changes.push(Change::Upsert { key: new, row, leaves_big: true, old: Some(key), sequence: None });
            }
            _ if self.partitions == 1 => {
                self.keys.clear();
                self.changes.push(Change::Truncate { sequence: None });
            }
            _ => {}
        }
    }

    /// Changes from an offset on, about as many. The two of a key update stay together.
    fn read(&mut self, from: usize, count: usize) -> Vec<Change> {
        let mut end = from + count;
        while self.changes.len() <= end {
            self.grow();
        }
        if matches!(self.changes[end - 1], Change::Moved { .. }) {
            end += 1;
        }
        self.changes[from..end].to_vec()
    }
}

/// A topic.
#[derive(Debug)]
pub struct Source(Vec<Partition>);

impl Source {
    /// The topic of a seed.
    pub fn new(seed: u64, partitions: usize) -> Self {
        let partition = |number: usize| Partition {
            number: number as i64,
            partitions: partitions as i64,
            rng: StdRng::seed_from_u64(seed ^ (0x5eed << 16) ^ number as u64),
            changes: Vec::new(),
            keys: BTreeSet::new(),
        };
        Self((0..partitions).map(partition).collect())
    }

    /// A batch that follows on these offsets, and the partition of each of its changes. Partitions come in any order, each in
    /// its own.
    pub fn batch(&mut self, rng: &mut StdRng, stored: &[Option<i64>]) -> (Intent, Vec<i32>) {
        let (mut last, mut units) = (stored.to_vec(), Vec::new());
        for (number, partition) in self.0.iter_mut().enumerate() {
            let count = if rng.random_bool(0.8) { rng.random_range(1..10) } else { 0 };
            if count == 0 {
                continue;
            }
            let from = stored[number].map_or(0, |last| last as usize + 1);
            let changes = partition.read(from, count);
            last[number] = Some((from + changes.len()) as i64 - 1);
            let mut of_partition: Vec<Vec<Change>> = Vec::new();
            for change in changes {
                match of_partition.last_mut().filter(|unit| matches!(unit[..], [Change::Moved { .. }])) {
                    Some(unit) => unit.push(change),
                    None => of_partition.push(vec![change]),
                }
            }
            of_partition.reverse();
            units.push((number as i32, of_partition));
        }
        let (mut changes, mut partitions) = (Vec::new(), Vec::new());
        while !units.is_empty() {
            let at = rng.random_range(0..units.len());
            let (number, of_partition) = &mut units[at];
            match of_partition.pop() {
                Some(unit) => {
                    partitions.extend(unit.iter().map(|_| *number));
                    changes.extend(unit);
                }
                None => drop(units.remove(at)),
            }
        }
        (Intent { expected: stored.to_vec(), last, changes }, partitions)
    }
}
