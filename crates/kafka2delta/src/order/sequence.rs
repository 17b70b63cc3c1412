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
    /// Whether a stream that was at `last` and sends this change goes back: to an older transaction. A position that
    /// stands still does not tell, since changes may share one: PostgreSQL writes the rows of a `COPY` or a multi-row
    /// `INSERT` with one LSN.
    pub fn goes_back_from(&self, last: &Self) -> bool {
        self.compare(last).is_some_and(Ordering::is_lt)
    }
}

/// How far the stream of a partition has come within an epoch. Its changes are in runs: one begins with each change that
/// goes back.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    highest: Sequence,
    last: Sequence,
    run: u32,
    /// Whether it went back, and is not past the highest position since.
    is_back: bool,
}

impl Course {
    /// A stream that has come to this position.
    pub fn new(at: Sequence) -> Self {
        Self { highest: at, last: at, run: 0, is_back: false }
    }

    /// The stream had come this far before the first change that is entered.
    pub fn had_reached(&mut self, at: Sequence) {
        if self.highest.goes_back_from(&at) {
            (self.highest, self.last) = (at, at);
        }
    }

    /// Enters the next change. Gives the number of its run, and whether the source may have sent it before.
    pub fn enter(&mut self, new: Sequence) -> (u32, bool) {
        if new.goes_back_from(&self.last) {
            self.run += 1;
            self.is_back = true;
        }
        if self.highest.goes_back_from(&new) {
            self.highest = new;
            self.is_back = false;
        }
        self.last = new;
        (self.run, self.is_back)
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
    fn what_comes_after_a_step_back_may_have_come_before_up_to_the_highest_position() {
        let entered = |course: &mut Course, positions: &[u64]| -> Vec<(u32, bool)> {
            positions.iter().map(|n| course.enter(Sequence { epoch: 1, value: [*n, 0, 0] })).collect()
        };
        let at = |position| Sequence { epoch: 1, value: [position, 0, 0] };
        let mut course = Course::new(at(1));
        let found = entered(&mut course, &[1, 3, 3, 2, 3, 4, 4, 2, 4]);
        let told = [false, false, false, true, true, false, false, true, true];
        let runs = [0, 0, 0, 1, 1, 1, 1, 2, 2];
        assert_eq!(found, runs.into_iter().zip(told).collect::<Vec<_>>());
        // A stream that had come to 9: what is not above may have come, but for its first changes at 9.
        let mut course = Course::new(at(5));
        course.had_reached(at(9));
        course.had_reached(at(7));
        assert_eq!(entered(&mut course, &[9, 9, 8, 9, 10]), [(0, false), (0, false), (1, true), (1, true), (1, false)]);
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
