//! Collapse: of all changes of a batch, the last one per key that counts (design.md §4.5).
//!
//! Offset order is the truth. A change is dropped only where a newer one of the same source epoch is known.

use hashbrown::HashTable;

use crate::batch::{ChangeBatch, Op, Sequence};
use crate::index::{Memory, Remembered};
use crate::keys::{Fingerprint, table_hash};

/// Where the values come from that a change leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Previous {
    /// The key's earlier change in this batch.
    Change(u32),
    /// Rows from before the batch, asked in this order. Without any there is no row to take values from.
    Stored {
        /// The live row of the change's own key. It comes first: a key update whose new key has a row already is one
        /// that was sent again, and its values are in the row that it made.
        own: Option<Fingerprint>,
        /// The row of the key before a key update.
        old: Option<OldRow>,
    },
}

/// The row of a key that was updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldRow {
    /// A change of this batch.
    Change(u32),
    /// The row that the table holds of this key, or held last.
    Stored(Fingerprint),
    /// A change that still stands and came through another partition, of this key. Nothing tells whether it is older: it
    /// is not, where the key's row was deleted before the batch, since that delete is the key update's.
    Beside(u32, Fingerprint),
}

/// The last change of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Upsert(u32),
    Delete(u32),
    /// A truncate removed it; what came before does not matter any more.
    Truncated,
    /// A change older than the last truncate came: the row before it is older still.
    BelowFloor,
}

/// A truncate of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncate {
    /// Its sequence, where it has one.
    pub sequence: Option<Sequence>,
    /// The Kafka partition that it came through.
    pub partition: i32,
    /// When the source made it, in microseconds since 1970.
    pub time: Option<i64>,
}

impl Truncate {
    /// Whether a row or change goes, that came before it through `partition`.
    pub fn removes(&self, sequence: Option<Sequence>, partition: i32) -> bool {
        match (sequence, self.sequence) {
            (Some(row), Some(floor)) if row.epoch == floor.epoch => row.value < floor.value,
            _ => partition == self.partition,
        }
    }
}

/// What is left of a batch.
#[derive(Debug, Default)]
pub struct Collapsed {
    /// Rows of the batch to be written, in order of offsets.
    pub upserts: Vec<u32>,
    /// Their keys.
    pub upsert_keys: Vec<Fingerprint>,
    /// Keys whose rows go.
    pub deletes: Vec<Fingerprint>,
    /// Keys whose rows go unless they are proven to be newer than the last truncate.
    pub below_floor: Vec<Fingerprint>,
    /// Rows of the batch whose key was updated before they were ever stored, with their key: the new key's change may
    /// need their values in a later batch.
    pub moved: Vec<(u32, Fingerprint)>,
    /// For each row of the batch, where left-out values come from. Empty where no change leaves any out.
    pub previous: Vec<Previous>,
    /// For each row of the batch, its turn. Empty where the rows stand in order.
    pub turns: Vec<u32>,
    /// What is to be remembered of the keys once the batch is committed.
    pub remembered: Vec<(Fingerprint, Remembered)>,
    /// Truncates, in order.
    pub truncates: Vec<Truncate>,
    /// The sequence of each upsert's row, where the batch has any.
    pub upsert_sequences: Vec<Option<Sequence>>,
    /// With soft deletes, for each row of the batch, whether it is marked as deleted.
    pub flagged: Vec<bool>,
    /// Where a history is kept: the rows of changes that count and of truncates, in order.
    pub history: Vec<u32>,
    /// Changes dropped since a newer one is known.
    pub dropped_stale: u64,
    /// Of the dropped ones, rows that came through the same partition as what they are older than.
    pub stale_in_partition: Vec<u32>,
    /// Changes whose order could be compared with an earlier one of their key, through the same partition.
    pub compared: u64,
}

/// What is known before a batch.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The order of the keys changed last.
    pub memory: &'a Memory,
    /// The last truncate.
    pub floor: Option<Sequence>,
    /// With soft deletes: whether the table holds a row of the key.
    pub soft: Option<&'a dyn Fn(&Fingerprint) -> bool>,
    /// Whether [`Collapsed::history`] is wanted.
    pub history: bool,
}

struct KeyState {
    key: Fingerprint,
    last: Option<Last>,
    sequence: Option<Sequence>,
    partition: i32,
}

/// The keys' states in order of their first change. The table holds their numbers alone: it stays in the cache.
struct KeyStates {
    numbers: HashTable<u32>,
    all: Vec<KeyState>,
}

impl KeyStates {
    fn with_capacity(keys: usize) -> Self {
        Self { numbers: HashTable::with_capacity(keys), all: Vec::with_capacity(keys) }
    }

    fn get(&self, key: &Fingerprint) -> Option<&KeyState> {
        let number = self.numbers.find(table_hash(key), |n| self.all[*n as usize].key == *key)?;
        self.all.get(*number as usize)
    }

    fn get_or_insert_with(&mut self, key: Fingerprint, state: impl FnOnce() -> KeyState) -> &mut KeyState {
        let Self { numbers, all } = self;
        let entry =
            numbers.entry(table_hash(&key), |n| all[*n as usize].key == key, |n| table_hash(&all[*n as usize].key));
        let number = match entry {
            hashbrown::hash_table::Entry::Occupied(number) => *number.get(),
            hashbrown::hash_table::Entry::Vacant(vacant) => {
                let number = all.len() as u32;
                vacant.insert(number);
                all.push(state());
                number
            }
        };
        &mut all[number as usize]
    }
}

/// Collapses a batch. `keys` and `old_keys` are by row; a truncate's key is not looked at.
pub fn collapse(
    batch: &ChangeBatch,
    keys: &[Fingerprint],
    old_keys: &[Option<Fingerprint>],
    known: Known<'_>,
) -> Collapsed {
    let Known { memory, floor, soft, history } = known;
    let mut out = Collapsed::default();
    if soft.is_some() {
        out.flagged = vec![false; keys.len()];
    }
    let tracks_values =
        !batch.left_out.is_empty() || batch.ops.iter().any(|op| matches!(op, Op::Moved | Op::SoftDelete));
    if tracks_values {
        out.previous = vec![Previous::Stored { own: None, old: None }; keys.len()];
    }
    let mut floor = floor;
    let mut states = KeyStates::with_capacity(keys.len());
    let order = merged_order(batch);
    if let Some(order) = &order {
        out.turns = vec![0; order.len()];
        (0u32..).zip(order).for_each(|(turn, row)| out.turns[*row as usize] = turn);
    }
    for turn in 0..batch.num_rows() {
        let row = order.as_ref().map_or(turn, |order| order[turn] as usize);
        let op = &batch.ops[row];
        let sequence = batch.sequences.as_ref().and_then(|s| s[row]);
        let partition = batch.partitions.as_ref().map_or(0, |p| p[row]);
        if *op == Op::Truncate {
            let time = batch.times.as_ref().and_then(|times| times[row]);
            let truncate = Truncate { sequence, partition, time };
            for state in &mut states.all {
                let live = matches!(state.last, Some(Last::Upsert(_)));
                if live && truncate.removes(state.sequence, state.partition) {
                    match (state.last, soft) {
                        (Some(Last::Upsert(row)), Some(_)) => out.flagged[row as usize] = true,
                        _ => state.last = Some(Last::Truncated),
                    }
                }
            }
            // The higher floor stays where both are of one epoch.
            if sequence.is_some() && !floor.is_some_and(|f| sequence.is_some_and(|s| s.is_before(&f))) {
                floor = sequence;
            }
            out.truncates.push(truncate);
            out.history.extend(history.then_some(row as u32));
            continue;
        }
        let key = keys[row];
        let known = || {
            let known = memory.get(&key);
            let sequence = known.and_then(|r| r.sequence);
            KeyState { key, last: None, sequence, partition: known.map_or(partition, |r| r.partition) }
        };
        let below_floor = sequence.is_some_and(|change| floor.is_some_and(|floor| change.is_before(&floor)));
        if let (Some(floor), true, None) = (floor, below_floor, soft) {
            out.dropped_stale += 1;
            let state = states.get_or_insert_with(key, known);
            let newer = state.sequence.is_some_and(|s| s.epoch == floor.epoch && !s.is_before(&floor));
            if !newer && matches!(state.last, None | Some(Last::Upsert(_))) {
                state.last = Some(Last::BelowFloor);
            }
            continue;
        }
        // The old key's row as it stands before this change; the borrow of `states` ends here.
        let old = match old_keys.get(row).copied().flatten().filter(|old| *old != key) {
            Some(old) if tracks_values => old_row(&states, &out.previous, old),
            _ => None,
        };
        let state = states.get_or_insert_with(key, known);
        let index = row as u32;
        if let (Some(change), Some(known)) = (sequence, state.sequence) {
            let stale = change.is_before(&known);
            if change.epoch == known.epoch && state.partition == partition {
                out.compared += 1;
                if stale {
                    out.stale_in_partition.push(index);
                }
            }
            if stale {
                out.dropped_stale += 1;
                continue;
            }
        }
        out.history.extend(history.then_some(index));
        let soft_delete = match (soft, op) {
            (Some(is_stored), Op::SoftDelete) => match state.last {
                None => is_stored(&key),
                Some(last) => matches!(last, Last::Upsert(_)),
            },
            _ => false,
        };
        if soft.is_some() {
            out.flagged[row] = soft_delete || below_floor;
        }
        if tracks_values {
            // Whether a truncate of this batch took the stored row; one that came again spares what is newer.
            let truncated = out.truncates.iter().any(|t| t.removes(state.sequence, state.partition));
            out.previous[row] = match state.last {
                None if truncated && soft.is_none() => {
                    Previous::Stored { own: None, old: old.filter(|o| matches!(o, OldRow::Change(_))) }
                }
                None if truncated && old.is_some() => Previous::Stored { own: None, old },
                None => Previous::Stored { own: Some(key), old },
                // A key update to a key that was deleted takes nothing from the deleted row.
                Some(Last::Upsert(row)) if old.is_some() && out.flagged.get(row as usize) == Some(&true) => {
                    Previous::Stored { own: None, old }
                }
                Some(Last::Upsert(row)) => Previous::Change(row),
                // A delete that comes again knows what the first one knew.
                Some(Last::Delete(first)) if !matches!(op, Op::Upsert | Op::Incremental) => {
                    out.previous[first as usize]
                }
                Some(Last::Delete(_) | Last::Truncated | Last::BelowFloor) => Previous::Stored { own: None, old },
            };
        }
        state.last = Some(match (op, state.last) {
            (Op::Upsert | Op::Incremental, _) => Last::Upsert(index),
            (Op::SoftDelete, _) if soft_delete => Last::Upsert(index),
            // A tombstone after a delete of its key changes nothing.
            (Op::Delete | Op::SoftDelete, Some(Last::Delete(first))) => Last::Delete(first),
            _ => Last::Delete(index),
        });
        state.partition = partition;
        if *op != Op::Incremental {
            state.sequence = sequence;
        }
    }
    if order.is_none() {
        find_old_rows_of_other_partitions(batch, &states, &mut out.previous);
    }
    let mut upserts: Vec<(u32, u32)> = Vec::with_capacity(states.all.len());
    for (number, state) in (0u32..).zip(&states.all) {
        let key = state.key;
        let Some(last) = state.last else { continue };
        let deleted = !matches!(last, Last::Upsert(_));
        let remembered = Remembered { sequence: state.sequence, deleted, placed: false, partition: state.partition };
        if deleted || state.sequence.is_some() || memory.get(&key).is_some() {
            out.remembered.push((key, remembered));
        }
        match last {
            Last::Upsert(row) => upserts.push((row, number)),
            Last::Delete(row) => {
                out.deletes.push(key);
                if batch.ops[row as usize] == Op::Moved
                    && let Some(Previous::Change(row)) = out.previous.get(row as usize)
                {
                    out.moved.push((*row, key));
                }
            }
            Last::Truncated => out.deletes.push(key),
            Last::BelowFloor => out.below_floor.push(key),
        }
    }
    upserts.sort_unstable();
    let state_of = |number: &u32| &states.all[*number as usize];
    if upserts.iter().any(|(_, number)| state_of(number).sequence.is_some()) {
        out.upsert_sequences = upserts.iter().map(|(_, number)| state_of(number).sequence).collect();
    }
    out.upsert_keys = upserts.iter().map(|(_, number)| state_of(number).key).collect();
    out.upserts = upserts.into_iter().map(|(row, _)| row).collect();
    out
}

/// Partitions have no common order. Where the changes have sequences, they are applied in the order of these, each
/// partition's in the order of its offsets: so a key update finds the old key's row as it was. None: as they stand.
fn merged_order(batch: &ChangeBatch) -> Option<Vec<u32>> {
    let (partitions, sequences) = (batch.partitions.as_ref()?, batch.sequences.as_ref()?);
    let mut queues: Vec<(i32, Vec<u32>)> = Vec::new();
    for (row, partition) in (0u32..).zip(partitions) {
        match queues.iter_mut().find(|(p, _)| p == partition) {
            Some((_, rows)) => rows.push(row),
            None => queues.push((*partition, vec![row])),
        }
    }
    if queues.len() < 2 {
        return None;
    }
    // Sequences of several sources, or of a server that took another's place, do not compare.
    let mut epochs = sequences.iter().flatten().map(|s| s.epoch);
    if epochs.next().is_none_or(|first| epochs.any(|epoch| epoch != first)) {
        return None;
    }
    let mut heads = vec![0; queues.len()];
    let mut order = Vec::with_capacity(partitions.len());
    while order.len() < partitions.len() {
        // A change without a sequence, a snapshot's row, waits for nothing.
        let next = (0..queues.len())
            .filter_map(|q| Some((q, *queues[q].1.get(heads[q])?)))
            .min_by_key(|(_, row)| sequences[*row as usize].map(|s| s.value));
        let Some((queue, row)) = next else { break };
        heads[queue] += 1;
        order.push(row);
    }
    Some(order)
}

/// Where the values of an updated key's row are; none where its row is known to be gone.
fn old_row(states: &KeyStates, previous: &[Previous], old: Fingerprint) -> Option<OldRow> {
    match states.get(&old).and_then(|state| state.last) {
        None => Some(OldRow::Stored(old)),
        Some(Last::Upsert(row)) => Some(OldRow::Change(row)),
        Some(Last::Delete(row)) => match previous[row as usize] {
            Previous::Change(row) => Some(OldRow::Change(row)),
            // Where it was deleted before, by a re-sent change, its place or its kept row still tells.
            Previous::Stored { .. } => Some(OldRow::Stored(old)),
        },
        Some(Last::Truncated | Last::BelowFloor) => None,
    }
}

/// Partitions have no common order: the row of an updated key may stand behind the change that needs its values.
fn find_old_rows_of_other_partitions(batch: &ChangeBatch, states: &KeyStates, previous: &mut [Previous]) {
    let Some(partitions) = &batch.partitions else { return };
    for row in 0..previous.len() {
        let Previous::Stored { own, old: Some(OldRow::Stored(key)) } = previous[row] else { continue };
        let Some(state) = states.get(&key).filter(|state| state.partition != partitions[row]) else { continue };
        let found = match (state.last, old_row(states, previous, key)) {
            (Some(Last::Upsert(upsert)), _) => OldRow::Beside(upsert, key),
            (_, Some(found @ OldRow::Change(_))) => found,
            _ => continue,
        };
        previous[row] = Previous::Stored { own, old: Some(found) };
    }
}

/// Where a left-out value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// In this row of the batch.
    Change(u32),
    /// In the live row of this key.
    Live(Fingerprint),
    /// In the row that this key has or had.
    Last(Fingerprint),
    /// Nowhere.
    Nothing,
}

/// Follows a column's left-out value of a row back to where it stands. `is_live`, `is_buried`: whether the table holds a
/// row of the key, or is known to have held one.
pub fn resolve(
    previous: &[Previous],
    is_left_out: impl Fn(u32) -> bool,
    is_live: impl Fn(&Fingerprint) -> bool,
    is_buried: impl Fn(&Fingerprint) -> bool,
    turns: &[u32],
    row: u32,
) -> Found {
    let mut row = row;
    let mut jumped = false;
    while is_left_out(row) {
        let earlier = match previous[row as usize] {
            Previous::Change(earlier) => earlier,
            Previous::Stored { own: Some(own), .. } if is_live(&own) => return Found::Live(own),
            Previous::Stored { old: Some(OldRow::Change(earlier)), .. } => earlier,
            Previous::Stored { old: Some(OldRow::Beside(_, old)), .. } if is_buried(&old) => return Found::Last(old),
            Previous::Stored { old: Some(OldRow::Beside(earlier, _)), .. } => earlier,
            Previous::Stored { old: Some(OldRow::Stored(old)), .. } => return Found::Last(old),
            Previous::Stored { .. } => return Found::Nothing,
        };
        // Another partition's row may have a later turn. Two such steps could go round in a circle.
        let turn = |row: u32| turns.get(row as usize).copied().unwrap_or(row);
        if turn(earlier) >= turn(row) && std::mem::replace(&mut jumped, true) {
            return Found::Nothing;
        }
        row = earlier;
    }
    Found::Change(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    fn batch(ops: &[(Op, u64, Option<u64>, i32)]) -> (ChangeBatch, Vec<Fingerprint>) {
        let ids = Int64Array::from_iter_values(ops.iter().map(|o| o.1 as i64));
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
        let batch = ChangeBatch {
            data: RecordBatch::try_new(schema, vec![Arc::new(ids)]).unwrap(),
            ops: ops.iter().map(|o| o.0).collect(),
            partitions: Some(ops.iter().map(|o| o.3).collect()),
            sequences: Some(ops.iter().map(|o| o.2.map(|s| Sequence { epoch: 1, value: [s, 0, 0] })).collect()),
            old_keys: None,
            times: None,
            left_out: vec![],
        };
        (batch, ops.iter().map(|o| [o.1, 1]).collect())
    }

    fn known(memory: &Memory) -> Known<'_> {
        Known { memory, floor: None, soft: None, history: false }
    }

    #[test]
    fn offset_order_is_the_truth_without_sequences() {
        let (batch, keys) = batch(&[
            (Op::Upsert, 1, None, 0),
            (Op::Upsert, 2, None, 0),
            (Op::Delete, 1, None, 0),
            (Op::Upsert, 2, None, 0),
        ]);
        let out = collapse(&batch, &keys, &[], known(&Memory::new(10)));
        assert_eq!((out.upserts, out.deletes), (vec![3], vec![[1, 1]]));
    }

    #[test]
    fn a_key_that_is_used_again_gives_no_values_to_the_row_that_it_had() {
        // The delete of a key update comes after the insert, which has its sequence, and the key's next row after that.
        let changes = [(Op::Upsert, 9, Some(5), 0), (Op::Moved, 2, Some(5), 1), (Op::Upsert, 2, Some(6), 1)];
        let (batch, keys) = batch(&changes);
        let out = collapse(&batch, &keys, &[Some([2, 1]), None, None], known(&Memory::new(10)));
        let old = Some(OldRow::Stored([2, 1]));
        assert_eq!(out.previous[0], Previous::Stored { own: Some([9, 1]), old });
    }

    #[test]
    fn a_change_proven_older_is_dropped_and_a_tie_is_not() {
        let (batch, keys) = batch(&[
            (Op::Upsert, 1, Some(5), 0),
            (Op::Upsert, 1, Some(4), 0),
            (Op::Delete, 2, Some(9), 0),
            (Op::Upsert, 2, Some(9), 0),
            (Op::Upsert, 3, None, 0),
            (Op::Upsert, 3, Some(1), 0),
        ]);
        let out = collapse(&batch, &keys, &[], known(&Memory::new(10)));
        assert_eq!((out.upserts, out.dropped_stale), (vec![0, 3, 5], 1));
    }

    #[test]
    fn changes_of_several_partitions_are_applied_in_the_order_of_their_sequences() {
        let (batch, keys) = batch(&[
            (Op::Upsert, 1, Some(7), 0),
            (Op::Delete, 2, Some(9), 0),
            (Op::Upsert, 1, Some(5), 1),
            (Op::Upsert, 2, None, 1),
        ]);
        let out = collapse(&batch, &keys, &[], known(&Memory::new(10)));
        assert_eq!((out.upserts, out.deletes, out.dropped_stale), (vec![0], vec![[2, 1]], 0));
        assert_eq!(out.turns, [2, 3, 0, 1]);
    }

    #[test]
    fn a_truncate_spares_what_is_newer_and_what_other_partitions_brought() {
        let (batch, keys) = batch(&[
            (Op::Upsert, 1, Some(5), 0),
            (Op::Upsert, 2, Some(15), 1),
            (Op::Upsert, 3, None, 0),
            (Op::Upsert, 4, None, 1),
            (Op::Truncate, 0, Some(10), 0),
            (Op::Upsert, 5, Some(7), 1),
            (Op::Upsert, 1, Some(11), 0),
        ]);
        let out = collapse(&batch, &keys, &[], known(&Memory::new(10)));
        assert_eq!((out.upserts, out.deletes, out.dropped_stale), (vec![1, 3, 6], vec![[3, 1]], 1));
    }
}
