//! The order of changes that came through different Kafka partitions.
//!
//! Within a partition the order of the offsets is the truth, and nothing here is asked. Between the partitions of a topic
//! the source's position decides where it proves something, and the time of the message where it does not.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// The source's position of a streamed change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Which source's history it belongs to: positions compare within one epoch alone.
    pub epoch: u64,
    /// Three unsigned numbers. The first two order transactions; the third tells the changes of a transaction apart and
    /// orders nothing.
    pub value: [u64; 3],
}

impl Sequence {
    /// The part that orders transactions.
    fn transaction(&self) -> [u64; 2] {
        [self.value[0], self.value[1]]
    }

    /// Whether this change's transaction was committed before, with or after the other's; none where nothing tells.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        (self.epoch == other.epoch).then(|| self.transaction().cmp(&other.transaction()))
    }
}

impl Sequence {
    /// Whether a stream that was at `last` and sends this change goes back. Within a transaction, positions that stand
    /// still, or come without an order, do not tell.
    pub fn goes_back_from(&self, last: &Self) -> bool {
        let is_exact = self.value[2] == 0 && last.value[2] == 0;
        self.compare(last).is_some_and(|ordering| ordering.is_lt() || (ordering.is_eq() && is_exact))
    }
}

/// What a change tells of its place among those of other partitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Where the stream proves one.
    pub sequence: Option<Sequence>,
    /// The Kafka message's timestamp, in milliseconds since 1970.
    pub time: Option<i64>,
}

impl Order {
    /// Compares changes of different partitions: by their positions where these differ, else by the messages' times.
    /// None where nothing tells: then the order of arrival counts.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        let different = |ordering: &Ordering| ordering.is_ne();
        let by_sequence = self.sequence.zip(other.sequence).and_then(|(a, b)| a.compare(&b)).filter(different);
        by_sequence.or_else(|| self.time.zip(other.time).map(|(a, b)| a.cmp(&b)).filter(different))
    }

    /// Whether this change is known to be older than `other`, of another partition.
    pub fn is_before(&self, other: &Self) -> bool {
        self.compare(other) == Some(Ordering::Less)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(value: [u64; 3], time: i64) -> Order {
        Order { sequence: Some(Sequence { epoch: 1, value }), time: Some(time) }
    }

    #[test]
    fn positions_decide_where_they_differ_and_times_where_they_do_not() {
        assert!(at([1, 9, 0], 20).is_before(&at([2, 0, 0], 10)));
        assert!(at([1, 2, 9], 10).is_before(&at([1, 2, 0], 20)));
        assert_eq!(at([1, 2, 9], 10).compare(&at([1, 2, 0], 10)), None);
        let other_epoch = Order { sequence: Some(Sequence { epoch: 2, value: [9, 0, 0] }), time: Some(5) };
        assert!(other_epoch.is_before(&at([1, 0, 0], 6)));
        assert_eq!(Order::default().compare(&at([1, 0, 0], 6)), None);
    }
}
