//! Watches for a source whose order began anew: a failover, or a database restored from a backup. Its changes look older
//! than those known, and all would be dropped.
//!
//! What Debezium sends again after a crash looks older too, but it was seen before; what a restored source sends was not.

use xxhash_rust::xxh3::xxh3_64;

use crate::batch::Sequence;

/// Comparable changes that the watch looks back on.
const WINDOW: u64 = 400;
/// Dropped changes, never seen before, below which nothing is suspected.
const MIN_DROPPED: u64 = 100;
/// Bits of the first filter, and of the largest: 2 MiB.
const BITS: (u32, u32) = (19, 24);
/// Bits for each sequence: one in a hundred is taken for seen by mistake.
const BITS_PER_SEQUENCE: u64 = 10;

/// Remembers sequences, in a Bloom filter that is bounded: the last ones, up to 1.6 million.
#[derive(Debug, Default)]
struct Seen {
    current: Vec<u64>,
    previous: Vec<u64>,
    count: u64,
}

/// The epoch and the change's own position: the last commit's, which stands first, may differ when it is sent again.
fn hash(sequence: &Sequence) -> u64 {
    let numbers = [sequence.epoch, sequence.value[1], sequence.value[2]].map(u64::to_le_bytes);
    xxh3_64(numbers.as_flattened())
}

fn bits_of(filter: &[u64], hash: u64) -> [(usize, u64); 4] {
    let bits = (filter.len() as u64) << 6;
    [0, 16, 29, 43].map(|turn| {
        let bit = hash.rotate_right(turn) & (bits - 1);
        ((bit >> 6) as usize, 1 << (bit & 63))
    })
}

impl Seen {
    fn insert(&mut self, hash: u64) {
        if self.current.is_empty() || self.count * BITS_PER_SEQUENCE > (self.current.len() as u64) << 6 {
            let bits = match self.current.len() {
                0 => BITS.0,
                words => (words.ilog2() + 6 + 1).min(BITS.1),
            };
            self.previous = std::mem::replace(&mut self.current, vec![0; 1 << (bits - 6)]);
            self.count = 0;
        }
        self.count += 1;
        for (word, bit) in bits_of(&self.current, hash) {
            self.current[word] |= bit;
        }
    }

    fn contains(&self, hash: u64) -> bool {
        [&self.current, &self.previous].into_iter().any(|filter| {
            !filter.is_empty() && bits_of(filter, hash).into_iter().all(|(word, bit)| filter[word] & bit != 0)
        })
    }
}

/// What a batch would add to the watch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Observation {
    compared: u64,
    never_seen: u64,
}

impl Observation {
    fn is_reset(&self) -> bool {
        self.never_seen >= MIN_DROPPED && self.never_seen * 10 >= self.compared * 9
    }
}

/// The watch over one table.
#[derive(Debug, Default)]
pub struct OrderWatch {
    seen: Seen,
    window: Observation,
}

impl OrderWatch {
    /// Looks at a batch: of its changes, `compared` met an earlier one of their key through their partition, and the
    /// rows `stale` were dropped for it.
    pub fn observe(&self, sequences: &[Option<Sequence>], compared: u64, stale: &[u32]) -> Observation {
        let mut never_seen = 0;
        if !stale.is_empty() {
            // The first one sent may stand in the same batch.
            let mut batch = Seen::default();
            let mut stale = stale.iter().copied().collect::<std::collections::HashSet<_>>();
            for (row, sequence) in (0u32..).zip(sequences) {
                let Some(sequence) = sequence else { continue };
                let hash = hash(sequence);
                if stale.remove(&row) && !self.seen.contains(hash) && !batch.contains(hash) {
                    never_seen += 1;
                }
                batch.insert(hash);
            }
        }
        Observation { compared, never_seen }
    }

    /// Whether nearly all comparable changes, of the batch or of the last ones with it, are older than what is known and
    /// were never seen before. Gives their number.
    pub fn suspects(&self, new: Observation) -> Option<u64> {
        let with_window = Observation {
            compared: self.window.compared + new.compared,
            never_seen: self.window.never_seen + new.never_seen,
        };
        [new, with_window].into_iter().find(Observation::is_reset).map(|observed| observed.never_seen)
    }

    /// Takes note of a batch that was committed.
    pub fn committed(&mut self, sequences: &[Option<Sequence>], observed: Observation) {
        for sequence in sequences.iter().flatten() {
            self.seen.insert(hash(sequence));
        }
        self.window.compared += observed.compared;
        self.window.never_seen += observed.never_seen;
        if self.window.compared > WINDOW {
            // The share stays, its weight falls to half a window's.
            let scale = |n: u64| n * (WINDOW / 2) / self.window.compared.max(1);
            self.window = Observation { compared: WINDOW / 2, never_seen: scale(self.window.never_seen) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequences(range: std::ops::Range<u64>) -> Vec<Option<Sequence>> {
        range.map(|n| Some(Sequence { epoch: 1, value: [n / 3, n, 0] })).collect()
    }

    #[test]
    fn a_repeat_is_no_reset() {
        let mut watch = OrderWatch::default();
        for n in 0..300 {
            watch.committed(&sequences(n * 1000..n * 1000 + 1000), Observation { compared: 1000, never_seen: 0 });
        }
        let again = sequences(200_000..210_000);
        let rows: Vec<u32> = (0..10_000).collect();
        let observed = watch.observe(&again, 10_000, &rows);
        assert!(observed.never_seen < 300, "{observed:?}");
        assert_eq!(watch.suspects(observed), None);
    }

    #[test]
    fn a_source_that_began_anew_is_found_in_one_batch_or_in_many() {
        let mut watch = OrderWatch::default();
        watch.committed(&sequences(1_000_000..1_010_000), Observation { compared: 10_000, never_seen: 0 });
        let rows: Vec<u32> = (0..3000).collect();
        let new = sequences(5000..8000);
        assert!(watch.suspects(watch.observe(&new, 3000, &rows)).is_some());
        let found = (0..5000u64).find(|n| {
            let one = sequences(*n..*n + 1);
            let observed = watch.observe(&one, 1, &[0]);
            let suspected = watch.suspects(observed).is_some();
            watch.committed(&one, observed);
            suspected
        });
        assert!(found.is_some_and(|n| n < 2500), "{found:?}");
    }
}
