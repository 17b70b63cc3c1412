//! Our tags of data files: what the log tells of the order of a file's rows.

use super::actions::{Add, StringMap};
use crate::order::sequence::Sequence;

/// Tag of the Kafka partition that a file's rows came through.
pub const PARTITION_TAG: &str = "kafka2delta.partition";

/// Tag of a file whose rows all have sequences of one epoch: `<epoch>:<lowest>:<highest>`, hexadecimal.
pub const SEQUENCE_TAG: &str = "kafka2delta.sequence";

/// Tag of the last commit with offsets that wrote to the file, or took rows of it: the `lastUpdated` of its `txn` actions,
/// which no two commits share. As long as a file has the tag of a query's last commit, the table was not put back to before it.
pub const COMMITTED_TAG: &str = "kafka2delta.committed";

/// Lowest and highest sequence of rows that come one after the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct SequenceRange {
    range: Option<(Sequence, Sequence)>,
    /// A row has none, or one of another epoch.
    mixed: bool,
}

impl SequenceRange {
    /// Adds a row's sequence.
    pub fn add(&mut self, sequence: Option<Sequence>) {
        match (sequence, &mut self.range) {
            (Some(new), None) => self.range = Some((new, new)),
            (Some(new), Some((low, high))) if new.epoch == low.epoch => {
                low.value = low.value.min(new.value);
                high.value = high.value.max(new.value);
            }
            _ => self.mixed = true,
        }
    }

    /// The text of [`SEQUENCE_TAG`]; none where the rows have no common epoch.
    pub fn tag(&self) -> Option<String> {
        let (low, high) = self.range.filter(|_| !self.mixed)?;
        let text = |v: [u64; 3]| format!("{:x}.{:x}.{:x}", v[0], v[1], v[2]);
        Some(format!("{:x}:{}:{}", low.epoch, text(low.value), text(high.value)))
    }
}

pub(crate) fn sequence_tag(sequences: impl Iterator<Item = Option<Sequence>>) -> Option<String> {
    let mut range = SequenceRange::default();
    sequences.for_each(|sequence| range.add(sequence));
    range.tag()
}

/// The tags of a new file: of the Kafka partition and the sequences of its rows, where there are such.
pub(crate) fn of_new_file(partition: Option<i32>, sequences: Option<String>) -> StringMap {
    let partition = partition.map(|partition| (PARTITION_TAG.to_owned(), Some(partition.to_string())));
    let sequences = sequences.map(|range| (SEQUENCE_TAG.to_owned(), Some(range)));
    partition.into_iter().chain(sequences).collect()
}

fn tag<'a>(add: &'a Add, name: &str) -> Option<&'a str> {
    add.tags.as_ref()?.get(name)?.as_deref()
}

/// Lowest and highest sequence of a file whose rows all have one, by its tag.
pub fn sequence_range(add: &Add) -> Option<(Sequence, Sequence)> {
    let mut parts = tag(add, SEQUENCE_TAG)?.split(':');
    let epoch = u64::from_str_radix(parts.next()?, 16).ok()?;
    let mut value = || -> Option<[u64; 3]> {
        let numbers: Option<Vec<u64>> = parts.next()?.split('.').map(|n| u64::from_str_radix(n, 16).ok()).collect();
        numbers?.try_into().ok()
    };
    Some((Sequence { epoch, value: value()? }, Sequence { epoch, value: value()? }))
}

/// The Kafka partition that a file's rows came through, by its tag.
pub fn file_partition(add: &Add) -> Option<i32> {
    tag(add, PARTITION_TAG)?.parse().ok()
}

/// The time of the last commit with offsets that touched a file, by its tag.
pub fn committed(add: &Add) -> Option<i64> {
    tag(add, COMMITTED_TAG)?.parse().ok()
}

/// Tags a file with the time of a commit with offsets; without one it is left as it is.
pub fn set_committed(add: &mut Add, time: Option<i64>) {
    if let Some(time) = time {
        add.tags.get_or_insert_default().insert(COMMITTED_TAG.to_owned(), Some(time.to_string()));
    }
}
