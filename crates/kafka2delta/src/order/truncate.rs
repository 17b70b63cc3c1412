//! Truncates: which rows go, and what a truncate holds back that arrives after it through other partitions.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::sequence::Order;

/// A truncate of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncate {
    /// Its place among the changes of other partitions.
    pub order: Order,
    /// The Kafka partition that it came through.
    pub partition: i32,
    /// When the source made it, in microseconds since 1970.
    pub time: Option<i64>,
}

impl Truncate {
    /// Whether a row goes that is there when the truncate comes: every row of the same partition, and of other
    /// partitions those that are older. A row without a time is from before the topic had several partitions.
    pub fn removes(&self, order: Order, partition: i32) -> bool {
        if partition == self.partition {
            return true;
        }
        order.compare(&self.order).map_or(order.time.is_none(), |ordering| ordering.is_lt())
    }
}

/// The last truncate, as long as some partition was not read past its time: what comes of such a partition and is older
/// stays out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    order: Order,
    /// The truncate's own partition: nothing that follows there is older.
    partition: i32,
    /// The other partitions that were read past the truncate's time.
    passed: BTreeSet<i32>,
}

impl Floor {
    /// The floor after a truncate. A truncate that is older than the one before does not lower the floor, and one
    /// without a time leaves none: nothing would tell when it is over.
    pub fn after(before: Option<Self>, truncate: &Truncate) -> Option<Self> {
        let Truncate { order, partition, .. } = *truncate;
        match before {
            Some(floor) if order.time.is_none() || order.is_before(&floor.order) => Some(floor),
            _ => order.time.map(|_| Self { order, partition, passed: BTreeSet::new() }),
        }
    }

    /// Whether a change stays out. Changes of a partition are shown in the order of their offsets.
    pub fn holds_back(&mut self, order: Order, partition: i32) -> bool {
        if partition == self.partition {
            return false;
        }
        if order.time > self.order.time {
            self.passed.insert(partition);
        }
        order.is_before(&self.order) && !self.passed.contains(&partition)
    }

    /// Whether the floor holds back nothing any more, in a topic of so many partitions.
    pub fn is_over(&self, num_partitions: usize) -> bool {
        self.passed.len() + 1 >= num_partitions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::sequence::Sequence;

    fn at(position: Option<u64>, time: i64) -> Order {
        let sequence = position.map(|position| Sequence { epoch: 1, value: [position, 0, 0] });
        Order { sequence, time: Some(time) }
    }

    fn truncate(position: Option<u64>, time: i64) -> Truncate {
        Truncate { order: at(position, time), partition: 0, time: None }
    }

    #[test]
    fn a_truncate_takes_its_partition_and_what_is_older_in_others() {
        let truncate = truncate(Some(50), 100);
        assert!(truncate.removes(at(Some(90), 200), 0));
        assert!(truncate.removes(at(Some(40), 200), 1));
        assert!(!truncate.removes(at(Some(60), 50), 1));
        assert!(truncate.removes(at(None, 99), 1));
        assert!(!truncate.removes(at(None, 100), 1));
        assert!(truncate.removes(Order::default(), 1));
    }

    #[test]
    fn a_floor_ends_for_each_partition_with_its_first_later_message() {
        let mut floor = Floor::after(None, &truncate(Some(50), 100)).unwrap();
        assert!(!floor.holds_back(at(Some(1), 1), 0));
        assert!(floor.holds_back(at(Some(40), 90), 1));
        assert!(!floor.holds_back(at(Some(60), 90), 1));
        assert!(!floor.holds_back(at(Some(10), 101), 1));
        assert!(!floor.holds_back(at(Some(10), 95), 1));
        assert!(floor.is_over(2) && !floor.is_over(3));
        assert!(floor.holds_back(at(None, 99), 2));
    }

    #[test]
    fn a_late_truncate_does_not_lower_the_floor() {
        let floor = Floor::after(None, &truncate(Some(50), 100));
        assert_eq!(Floor::after(floor.clone(), &truncate(Some(40), 200)), floor);
        let next = Floor::after(floor.clone(), &truncate(Some(60), 90));
        assert_eq!(next.map(|floor| floor.order), Some(at(Some(60), 90)));
        let untimed = Truncate { order: Order::default(), partition: 0, time: None };
        assert_eq!(Floor::after(None, &untimed), None);
    }
}
