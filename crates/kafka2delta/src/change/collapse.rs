//! Collapse: of all changes of a batch, the last one per key that counts (`docs/semantics.md`, Order).
//!
//! Within a partition the order of the offsets is the truth. A change is dropped only where a change of another partition
//! is known to be newer.

use hashbrown::{HashMap, HashSet, HashTable};

use super::batch::{ChangeBatch, Op};
use super::key_updates::{KeyUpdate, KeyUpdates, Pending};
use crate::key::hasher::{Fingerprint, table_hash};
use crate::order::memory::Remembered;
use crate::order::sequence::Order;
use crate::order::truncate::{Floor, Truncate};

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
    /// The row that this version's commit took of this key.
    Taken(Fingerprint, u64),
}

/// The first half of a key update: the old key's row goes.
#[derive(Debug, Clone, Copy)]
struct FirstHalf {
    row: u32,
    old: Fingerprint,
    /// None where the change does not tell the new key.
    update: Option<KeyUpdate>,
    /// Whether the new key's change is in the batch, too.
    is_closed: bool,
    /// Whether a first half of the same update was pending already: its row is not kept.
    is_another: bool,
}

/// Where the row is that a first half took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TakenBy {
    /// This version's commit.
    Commit(u64),
    /// This one of the batch's first halves.
    Half(usize),
}

/// An update of a key whose second half is not in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenUpdate {
    /// The key whose row went.
    pub old: Fingerprint,
    /// None where the change does not tell the new key.
    pub update: Option<KeyUpdate>,
    /// The row of the batch that is the key's last one, where the stored row is not.
    pub row: Option<u32>,
    /// Whether its row is not kept: a commit keeps one row of a key, and the first one of an update.
    pub is_lost: bool,
}

/// The last change of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Upsert(u32),
    Delete(u32),
    /// A truncate removed it; what came before does not matter any more.
    Truncated,
}

/// What is left of a batch.
#[derive(Debug, Default)]
pub struct Collapsed {
    /// Rows of the batch to be written, in their order.
    pub upserts: Vec<u32>,
    /// Their keys.
    pub upsert_keys: Vec<Fingerprint>,
    /// Keys whose rows go.
    pub deletes: Vec<Fingerprint>,
    /// Rows of the batch whose key was updated before they were ever stored, with their key: the new key's change may
    /// need their values in a later batch.
    pub moved: Vec<(u32, Fingerprint)>,
    /// Key updates whose second halves are to come.
    pub open: Vec<OpenUpdate>,
    /// Those of which no first half from before the batch is pending after it.
    pub closed: Vec<KeyUpdate>,
    /// Those of which one came before the batch whose row nothing tells.
    pub untold: Vec<KeyUpdate>,
    /// Keys without a row whose last one came in the batch.
    pub never_stored: Vec<Fingerprint>,
    /// For each row of the batch, where left-out values come from. Empty where no change leaves any out.
    pub previous: Vec<Previous>,
    /// The deletes to be remembered once the batch is committed.
    pub deleted: Vec<(Fingerprint, Remembered)>,
    /// Truncates, in order.
    pub truncates: Vec<Truncate>,
    /// What the last truncate, of this batch or before, holds back after the batch.
    pub floor: Option<Floor>,
    /// The order of each upsert's row, where the batch tells any.
    pub upsert_orders: Vec<Order>,
    /// With soft deletes, for each row of the batch, whether it is marked as deleted.
    pub flagged: Vec<bool>,
    /// Where a history is kept: the rows of changes that count and of truncates, in order.
    pub history: Vec<u32>,
    /// Changes dropped since a newer one, of another partition, is known.
    pub dropped_stale: u64,
}

/// What is known before a batch.
pub struct Known<'a> {
    /// The last change of keys that the batch changes: of rows that came through another partition, and of deleted ones.
    pub last: &'a dyn Fn(&Fingerprint) -> Option<Remembered>,
    /// What the last truncate holds back.
    pub floor: Option<Floor>,
    /// With soft deletes: whether the table holds a row of the key.
    pub soft: Option<&'a dyn Fn(&Fingerprint) -> bool>,
    /// Whether [`Collapsed::history`] is wanted.
    pub history: bool,
    /// Key updates whose first halves came before the batch.
    pub updates: &'a KeyUpdates,
}

struct KeyState {
    key: Fingerprint,
    last: Option<Last>,
    order: Order,
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

/// Collapses a batch. `keys` and `other_keys`, those of the other halves of key updates, are by row; a truncate's key is not
/// looked at.
pub fn collapse(
    batch: &ChangeBatch,
    keys: &[Fingerprint],
    other_keys: &[Option<Fingerprint>],
    known: Known<'_>,
) -> Collapsed {
    let mut collapse = Collapse::new(batch, keys.len(), known);
    for (row, op) in batch.ops.iter().enumerate() {
        match op {
            Op::Truncate => collapse.truncate(row),
            _ => collapse.change(row, keys[row], other_keys.get(row).copied().flatten()),
        }
    }
    collapse.finish()
}

/// A batch of which some changes were looked at.
struct Collapse<'a> {
    batch: &'a ChangeBatch,
    known: Known<'a>,
    states: KeyStates,
    out: Collapsed,
    /// Whether [`Collapsed::previous`] is wanted.
    tracks_values: bool,
    /// In their order.
    first_halves: Vec<FirstHalf>,
    /// By update, the first halves that are pending.
    pending: HashMap<KeyUpdate, Pending<TakenBy>>,
    /// By update, whose row its last second half had. One that is sent again has the same.
    paired: HashMap<KeyUpdate, TakenBy>,
    /// Updates of [`Collapsed::closed`].
    closed: HashSet<KeyUpdate>,
    /// Those of which no commit has the first half: it may follow.
    early_halves: HashSet<KeyUpdate>,
}

impl<'a> Collapse<'a> {
    fn new(batch: &'a ChangeBatch, rows: usize, known: Known<'a>) -> Self {
        let mut out = Collapsed::default();
        if known.soft.is_some() {
            out.flagged = vec![false; rows];
        }
        let leaves_out = |op: &Op| matches!(op, Op::Moved | Op::SoftDelete);
        let tracks_values = !batch.left_out.is_empty() || batch.ops.iter().any(leaves_out);
        if tracks_values {
            out.previous = vec![Previous::Stored { own: None, old: None }; rows];
        }
        Self {
            batch,
            known,
            states: KeyStates::with_capacity(rows),
            out,
            tracks_values,
            first_halves: Vec::new(),
            pending: HashMap::new(),
            paired: HashMap::new(),
            closed: HashSet::new(),
            early_halves: HashSet::new(),
        }
    }

    fn truncate(&mut self, row: usize) {
        let time = self.batch.times.as_ref().and_then(|times| times[row]);
        let truncate = Truncate { order: self.batch.order(row), partition: self.batch.partition(row), time };
        let flagged = self.known.soft.is_some().then_some(&mut self.out.flagged);
        apply_truncate(&truncate, &mut self.states, flagged);
        self.known.floor = Floor::after(self.known.floor.take(), &truncate);
        self.out.truncates.push(truncate);
        self.out.history.extend(self.known.history.then_some(row as u32));
    }

    /// `other`: of a key update the other key.
    fn change(&mut self, row: usize, key: Fingerprint, other: Option<Fingerprint>) {
        let (op, order, partition) = (self.batch.ops[row], self.batch.order(row), self.batch.partition(row));
        let held_back = self.known.floor.as_mut().is_some_and(|floor| floor.holds_back(order, partition));
        let other = other.filter(|other| *other != key);
        let old = other.filter(|_| op == Op::Upsert).and_then(|old| self.second_half(old, key));
        let old = old.filter(|_| self.batch.leaves_out(row));
        let Self { known, states, out, .. } = self;
        let state = states.get_or_insert_with(key, || {
            let last = (known.last)(&key);
            let (order, partition) = last.map_or((Order::default(), partition), |last| (last.order, last.partition));
            KeyState { key, last: None, order, partition }
        });
        let is_stale = state.partition != partition && order.is_before(&state.order);
        // What a truncate holds back is a deleted row, where such rows stay.
        if is_stale || (held_back && known.soft.is_none()) {
            out.dropped_stale += 1;
            return;
        }
        out.history.extend(known.history.then_some(row as u32));
        let marks = known.soft.is_some_and(|is_stored| {
            op == Op::SoftDelete && state.last.map_or_else(|| is_stored(&key), |last| matches!(last, Last::Upsert(_)))
        });
        if known.soft.is_some() {
            out.flagged[row] = marks || held_back;
        }
        if self.tracks_values {
            out.previous[row] = state.previous(op, old, out, known.soft.is_some());
        }
        let is_half = op == Op::Moved || (op == Op::SoftDelete && other.is_some());
        let is_half = is_half && !state.is_gone(&out.flagged);
        state.last = Some(match (op, state.last) {
            (Op::Upsert, _) => Last::Upsert(row as u32),
            (Op::SoftDelete, _) if marks => Last::Upsert(row as u32),
            // A tombstone after a delete of its key changes nothing.
            (Op::Delete | Op::SoftDelete, Some(Last::Delete(first))) => Last::Delete(first),
            _ => Last::Delete(row as u32),
        });
        (state.order, state.partition) = (order, partition);
        if is_half {
            let update = other.map(|new| KeyUpdate::new(&key, &new));
            self.first_half(FirstHalf { row: row as u32, old: key, update, is_closed: false, is_another: false });
        }
    }

    /// Where the values are of the row that an updated key had; none where nothing tells.
    fn second_half(&mut self, old: Fingerprint, new: Fingerprint) -> Option<OldRow> {
        let update = KeyUpdate::new(&old, &new);
        let pending = self.pending(update);
        self.pending.insert(update, pending.closed());
        match pending {
            Pending::One(by) | Pending::Several(by) => {
                self.paired.insert(update, by);
                match by {
                    TakenBy::Half(number) => self.first_halves[number].is_closed = true,
                    TakenBy::Commit(_) => self.close(update),
                }
                self.taken_row(old, by)
            }
            Pending::Untold => {
                self.close(update);
                None
            }
            Pending::None => match self.paired.get(&update) {
                Some(by) => self.taken_row(old, *by),
                None => {
                    self.close(update);
                    self.early_halves.insert(update);
                    self.old_row(old)
                }
            },
        }
    }

    /// The first halves of an update that are pending at this point of the batch.
    fn pending(&self, update: KeyUpdate) -> Pending<TakenBy> {
        self.pending.get(&update).copied().unwrap_or_else(|| match self.known.updates.pending(&update) {
            Pending::None => Pending::None,
            Pending::One(version) => Pending::One(TakenBy::Commit(version)),
            Pending::Several(version) => Pending::Several(TakenBy::Commit(version)),
            Pending::Untold => Pending::Untold,
        })
    }

    fn close(&mut self, update: KeyUpdate) {
        if self.closed.insert(update) {
            self.out.closed.push(update);
        }
    }

    /// Where the row is that a first half took. Its key may have another row since.
    fn taken_row(&self, old: Fingerprint, by: TakenBy) -> Option<OldRow> {
        let number = match by {
            TakenBy::Commit(version) => return Some(OldRow::Taken(old, version)),
            TakenBy::Half(number) => number,
        };
        match self.out.previous.get(self.first_halves[number].row as usize)? {
            Previous::Change(row) => Some(OldRow::Change(*row)),
            Previous::Stored { own, .. } => own.map(OldRow::Stored),
        }
    }

    /// Notes that a key's row goes on under another one.
    fn first_half(&mut self, mut half: FirstHalf) {
        if let Some(update) = half.update {
            let by = TakenBy::Half(self.first_halves.len());
            if self.early_halves.remove(&update) {
                half.is_closed = true;
                self.paired.insert(update, by);
            } else {
                let before = self.pending(update);
                half.is_another = before != Pending::None;
                self.pending.insert(update, before.with(by));
            }
        }
        self.first_halves.push(half);
    }

    /// Where the row is that a key has, as it stands before the change.
    fn old_row(&self, old: Fingerprint) -> Option<OldRow> {
        match self.states.get(&old).and_then(|state| state.last) {
            None => self.stored_row(old),
            Some(Last::Upsert(row)) => Some(OldRow::Change(row)),
            Some(Last::Delete(row)) => match self.out.previous.get(row as usize)? {
                Previous::Change(row) => Some(OldRow::Change(*row)),
                // Where it was deleted before, by a re-sent change, its place or its kept row still tells.
                Previous::Stored { .. } => self.stored_row(old),
            },
            Some(Last::Truncated) => None,
        }
    }

    /// The row that the table holds of a key, or held last.
    fn stored_row(&self, key: Fingerprint) -> Option<OldRow> {
        // A truncate of this batch may have taken it.
        let is_taken = self.known.soft.is_none()
            && (self.known.last)(&key).is_some_and(|last| self.out.is_truncated(last.order, last.partition));
        (!is_taken).then_some(OldRow::Stored(key))
    }

    /// Sorts the keys by what becomes of their rows.
    fn finish(self) -> Collapsed {
        let Self { batch, known, states, mut out, first_halves, pending, closed, .. } = self;
        let is_pending = |update: Option<KeyUpdate>| match update {
            Some(update) => pending.get(&update).is_some_and(|pending| *pending != Pending::None),
            None => true,
        };
        let mut last = HashSet::new();
        for half in first_halves.iter().rev().filter(|half| !half.is_closed && is_pending(half.update)) {
            let row = match out.previous[half.row as usize] {
                Previous::Change(row) => Some(row),
                Previous::Stored { .. } => None,
            };
            let is_lost = half.is_another || !last.insert(half.old);
            out.moved.extend(row.filter(|_| !is_lost).map(|row| (row, half.old)));
            out.open.push(OpenUpdate { old: half.old, update: half.update, row, is_lost });
        }
        let is_untold = |update: &&KeyUpdate| {
            matches!(known.updates.pending(update), Pending::Several(_)) && is_pending(Some(**update))
        };
        out.untold = closed.iter().filter(is_untold).copied().collect();
        out.floor =
            known.floor.filter(|floor| batch.num_partitions.is_none_or(|partitions| !floor.is_over(partitions)));
        finish(&mut out, batch, &states);
        out
    }
}

impl KeyState {
    /// Whether a change of the batch took the key's row, or marked it as deleted.
    fn is_gone(&self, flagged: &[bool]) -> bool {
        match self.last {
            Some(Last::Upsert(row)) => flagged.get(row as usize) == Some(&true),
            Some(Last::Delete(_) | Last::Truncated) => true,
            None => false,
        }
    }

    /// Where the values come from that the key's next change leaves out.
    fn previous(&self, op: Op, old: Option<OldRow>, out: &Collapsed, keeps_deleted: bool) -> Previous {
        match self.last {
            // A truncate of this batch took the stored row; one that came again spares what is newer.
            None if out.is_truncated(self.order, self.partition) && (!keeps_deleted || old.is_some()) => {
                Previous::Stored { own: None, old }
            }
            None => Previous::Stored { own: Some(self.key), old },
            // A key update to a key that was deleted takes nothing from the deleted row.
            Some(Last::Upsert(row)) if old.is_some() && out.flagged.get(row as usize) == Some(&true) => {
                Previous::Stored { own: None, old }
            }
            Some(Last::Upsert(row)) => Previous::Change(row),
            // A delete that comes again knows what the first one knew.
            Some(Last::Delete(first)) if op != Op::Upsert => out.previous[first as usize],
            Some(Last::Delete(_) | Last::Truncated) => Previous::Stored { own: None, old },
        }
    }
}

impl Collapsed {
    /// Whether a truncate that was met so far takes a stored row.
    fn is_truncated(&self, order: Order, partition: i32) -> bool {
        self.truncates.iter().any(|truncate| truncate.removes(order, partition))
    }
}

/// Removes, or marks, the rows of the batch that a truncate takes.
fn apply_truncate(truncate: &Truncate, states: &mut KeyStates, mut flagged: Option<&mut Vec<bool>>) {
    for state in &mut states.all {
        let Some(Last::Upsert(row)) = state.last else { continue };
        if truncate.removes(state.order, state.partition) {
            match &mut flagged {
                Some(flagged) => flagged[row as usize] = true,
                None => state.last = Some(Last::Truncated),
            }
        }
    }
}

fn finish(out: &mut Collapsed, batch: &ChangeBatch, states: &KeyStates) {
    let mut upserts: Vec<(u32, u32)> = Vec::with_capacity(states.all.len());
    for (number, state) in (0u32..).zip(&states.all) {
        let key = state.key;
        let Some(last) = state.last else { continue };
        if let Last::Upsert(row) = last {
            upserts.push((row, number));
            continue;
        }
        if let Last::Delete(row) = last
            && let Some(Previous::Change(_)) = out.previous.get(row as usize)
        {
            out.never_stored.push(key);
        }
        out.deletes.push(key);
        out.deleted.push((key, Remembered { order: state.order, placed: false, partition: state.partition }));
    }
    upserts.sort_unstable();
    let state_of = |number: &u32| &states.all[*number as usize];
    if batch.orders.is_some() {
        out.upsert_orders = upserts.iter().map(|(_, number)| state_of(number).order).collect();
    }
    out.upsert_keys = upserts.iter().map(|(_, number)| state_of(number).key).collect();
    out.upserts = upserts.into_iter().map(|(row, _)| row).collect();
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
    /// In the row that this version's commit took of this key.
    Taken(Fingerprint, u64),
    /// Nowhere.
    Nothing,
}

/// Follows a column's left-out value of a row back to where it stands. `is_live`: whether the table holds a row of the
/// key.
pub fn resolve(
    previous: &[Previous],
    is_left_out: impl Fn(u32) -> bool,
    is_live: impl Fn(&Fingerprint) -> bool,
    row: u32,
) -> Found {
    let mut row = row;
    while is_left_out(row) {
        row = match previous[row as usize] {
            Previous::Change(earlier) => earlier,
            Previous::Stored { own: Some(own), .. } if is_live(&own) => return Found::Live(own),
            Previous::Stored { old: Some(OldRow::Change(earlier)), .. } => earlier,
            Previous::Stored { old: Some(OldRow::Stored(old)), .. } => return Found::Last(old),
            Previous::Stored { old: Some(OldRow::Taken(old, version)), .. } => return Found::Taken(old, version),
            Previous::Stored { .. } => return Found::Nothing,
        };
    }
    Found::Change(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::key_updates::Halves;
    use crate::log::actions::{Commit, CommitInfo};
    use crate::order::sequence::Sequence;
    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::{Arc, LazyLock};

    /// A change: what it does, its key, its position, its partition. Times rise by one from change to change.
    type Change = (Op, u64, Option<u64>, i32);

    fn batch(ops: &[Change]) -> (ChangeBatch, Vec<Fingerprint>) {
        let ids = Int64Array::from_iter_values(ops.iter().map(|o| o.1 as i64));
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
        let order = |(time, change): (i64, &Change)| Order {
            sequence: change.2.map(|s| Sequence { epoch: 1, value: [s, 0, 0] }),
            time: Some(time),
        };
        let batch = ChangeBatch {
            data: RecordBatch::try_new(schema, vec![Arc::new(ids)]).unwrap(),
            ops: ops.iter().map(|o| o.0).collect(),
            partitions: Some(ops.iter().map(|o| o.3).collect()),
            orders: Some((0..).zip(ops).map(order).collect()),
            num_partitions: None,
            other_keys: None,
            times: None,
            of_the_change: vec![],
            left_out: vec![],
        };
        (batch, ops.iter().map(|o| [o.1, 1]).collect())
    }

    fn known<'a>() -> Known<'a> {
        static NONE: LazyLock<KeyUpdates> = LazyLock::new(KeyUpdates::default);
        Known { last: &|_| None, floor: None, soft: None, history: false, updates: &NONE }
    }

    #[test]
    fn within_a_partition_the_order_of_the_offsets_is_the_truth() {
        let (batch, keys) = batch(&[
            (Op::Upsert, 1, Some(9), 0),
            (Op::Upsert, 2, Some(9), 0),
            (Op::Delete, 1, Some(3), 0),
            (Op::Upsert, 2, Some(4), 0),
        ]);
        let out = collapse(&batch, &keys, &[], known());
        assert_eq!((out.upserts, out.deletes, out.dropped_stale), (vec![3], vec![[1, 1]], 0));
    }

    #[test]
    fn a_key_that_is_used_again_gives_no_values_to_the_row_that_it_had() {
        let changes = [(Op::Moved, 2, None, 1), (Op::Upsert, 9, None, 0), (Op::Upsert, 2, None, 1)];
        let (mut batch, keys) = batch(&changes);
        batch.left_out = vec![(0, vec![true; changes.len()].into())];
        let out = collapse(&batch, &keys, &[None, Some([2, 1]), None], known());
        let old = Some(OldRow::Stored([2, 1]));
        assert_eq!(out.previous[1], Previous::Stored { own: Some([9, 1]), old });
    }

    #[test]
    fn a_change_of_another_partition_that_is_older_is_dropped_and_a_tie_is_not() {
        let (batch, keys) = batch(&[
            (Op::Upsert, 1, Some(5), 0),
            (Op::Upsert, 1, Some(4), 1),
            (Op::Delete, 2, Some(9), 0),
            (Op::Upsert, 2, Some(9), 1),
            (Op::Upsert, 3, None, 0),
            (Op::Upsert, 3, Some(1), 1),
        ]);
        let out = collapse(&batch, &keys, &[], known());
        assert_eq!((out.upserts, out.dropped_stale), (vec![0, 3, 5], 1));
    }

    const KEYS: [Fingerprint; 3] = [[1, 1], [2, 1], [3, 1]];

    /// The collapse of key updates and other changes of rows without positions: what each does, its key, and the key of its
    /// other half.
    fn updates(changes: &[(Op, usize, Option<usize>)]) -> Collapsed {
        updates_with(changes, known())
    }

    fn updates_with(changes: &[(Op, usize, Option<usize>)], known: Known<'_>) -> Collapsed {
        let ops: Vec<Change> = changes.iter().map(|(op, key, _)| (*op, KEYS[*key][0], None, 0)).collect();
        let (mut batch, keys) = batch(&ops);
        batch.left_out = vec![(0, vec![true; ops.len()].into())];
        let others: Vec<Option<Fingerprint>> = changes.iter().map(|c| c.2.map(|other| KEYS[other])).collect();
        collapse(&batch, &keys, &others, known)
    }

    #[test]
    fn an_old_key_with_another_row_is_no_source_of_values() {
        let halves = [(Op::Moved, 0, Some(1)), (Op::Upsert, 0, None), (Op::Upsert, 1, Some(0))];
        let out = updates(&halves);
        assert_eq!(out.previous[2], Previous::Stored { own: Some(KEYS[1]), old: Some(OldRow::Stored(KEYS[0])) });
        assert!(out.open.is_empty());
        // The row that was moved came in the batch.
        let out = updates(&[[(Op::Upsert, 0, None)].as_slice(), &halves].concat());
        assert_eq!(out.previous[3], Previous::Stored { own: Some(KEYS[1]), old: Some(OldRow::Change(0)) });
        assert!(out.moved.is_empty());
    }

    #[test]
    fn a_first_half_stays_open_until_its_own_second_half_comes() {
        let open = |row| {
            let update = Some(KeyUpdate::new(&KEYS[0], &KEYS[1]));
            vec![OpenUpdate { old: KEYS[0], update, row, is_lost: false }]
        };
        let first = (Op::Moved, 0, Some(1));
        assert_eq!(updates(&[first]).open, open(None));
        assert_eq!(updates(&[first, (Op::Upsert, 2, Some(0))]).open, open(None));
        // A tombstone behind it is no other one.
        assert_eq!(updates(&[first, (Op::Upsert, 1, Some(0)), first]).open, vec![]);
        // Its second half may come first.
        assert_eq!(updates(&[(Op::Upsert, 1, Some(0)), first]).open, vec![]);
        let out = updates(&[(Op::Upsert, 0, None), first, (Op::Upsert, 0, None)]);
        assert_eq!((out.open, out.moved, out.upserts), (open(Some(0)), vec![(0, KEYS[0])], vec![2]));
    }

    #[test]
    fn an_update_that_is_made_again_is_another_one() {
        let (there, back) = ((Op::Moved, 0, Some(1)), (Op::Moved, 1, Some(0)));
        let out = updates(&[there, (Op::Upsert, 1, Some(0)), back, (Op::Upsert, 0, Some(1)), there]);
        assert_eq!(out.open.iter().map(|open| open.row).collect::<Vec<_>>(), [Some(3)]);
        // Its second half comes for the first time, then it is made again.
        let out = updates(&[(Op::Upsert, 1, Some(0)), back, (Op::Upsert, 0, Some(1)), there, there]);
        assert_eq!(out.closed, vec![KeyUpdate::new(&KEYS[0], &KEYS[1])]);
    }

    /// Where the values are that a row's change leaves out, but for a row of its own key.
    fn old(out: &Collapsed, row: usize) -> Option<OldRow> {
        match out.previous[row] {
            Previous::Stored { old, .. } => old,
            Previous::Change(_) => None,
        }
    }

    #[test]
    fn of_an_update_that_is_pending_twice_the_second_row_is_not_told() {
        let (first, second) = ((Op::Moved, 0, Some(1)), (Op::Upsert, 1, Some(0)));
        let twice = [first, (Op::Upsert, 0, None), first, second, (Op::Delete, 1, None)];
        let update = KeyUpdate::new(&KEYS[0], &KEYS[1]);
        let out = updates(&twice);
        assert_eq!(old(&out, 3), Some(OldRow::Stored(KEYS[0])));
        assert_eq!(out.open, [OpenUpdate { old: KEYS[0], update: Some(update), row: Some(1), is_lost: true }]);
        let out = updates(&[twice.as_slice(), &[second]].concat());
        assert_eq!((old(&out, 5), out.open), (None, vec![]));
    }

    #[test]
    fn of_open_updates_of_a_key_the_last_is_kept() {
        let out = updates(&[(Op::Moved, 0, Some(1)), (Op::Upsert, 0, None), (Op::Moved, 0, Some(2))]);
        let told = |open: &OpenUpdate| (open.update, open.row, open.is_lost);
        let (first, last) = (KeyUpdate::new(&KEYS[0], &KEYS[1]), KeyUpdate::new(&KEYS[0], &KEYS[2]));
        assert_eq!(
            out.open.iter().map(told).collect::<Vec<_>>(),
            [(Some(last), Some(1), false), (Some(first), None, true)]
        );
        assert_eq!(out.moved, vec![(1, KEYS[0])]);
        // Each finds its own row in the batch.
        let out = updates(&[
            (Op::Moved, 0, Some(1)),
            (Op::Upsert, 0, None),
            (Op::Moved, 0, Some(2)),
            (Op::Upsert, 1, Some(0)),
            (Op::Upsert, 2, Some(0)),
        ]);
        assert_eq!((old(&out, 3), old(&out, 4)), (Some(OldRow::Stored(KEYS[0])), Some(OldRow::Change(1))));
    }

    /// A batch after a commit, of version 7, that noted halves of the update of the first key to the second one.
    fn updates_after(halves: &Halves, changes: &[(Op, usize, Option<usize>)]) -> Collapsed {
        let mut before = KeyUpdates::default();
        let mut commit = Commit { info: Some(CommitInfo::new()), ..Commit::default() };
        halves.describe(commit.info.as_mut().unwrap());
        before.enter(7, &commit);
        updates_with(changes, Known { updates: &before, ..known() })
    }

    #[test]
    fn a_first_half_of_an_earlier_batch_tells_where_the_row_is() {
        let update = KeyUpdate::new(&KEYS[0], &KEYS[1]);
        let (first, second) = ((Op::Moved, 0, Some(1)), (Op::Upsert, 1, Some(0)));
        let open = Halves { open: vec![update], ..Halves::default() };
        let lost = Halves { lost: vec![update], ..Halves::default() };
        for (halves, row) in [(&open, Some(OldRow::Taken(KEYS[0], 7))), (&lost, None)] {
            // The same update may have a first half in the batch, too.
            for changes in [[second].as_slice(), &[first, second]] {
                let out = updates_after(halves, changes);
                assert_eq!((old(&out, changes.len() - 1), out.closed), (row, vec![update]));
            }
        }
    }

    #[test]
    fn an_update_that_is_pending_twice_stays_so_over_batches() {
        let update = KeyUpdate::new(&KEYS[0], &KEYS[1]);
        let second = (Op::Upsert, 1, Some(0));
        let twice = Halves { open: vec![update], lost: vec![update], ..Halves::default() };
        let out = updates_after(&twice, &[second]);
        assert_eq!(
            (old(&out, 0), &out.closed, out.untold),
            (Some(OldRow::Taken(KEYS[0], 7)), &vec![update], vec![update])
        );
        let out = updates_after(&twice, &[second, (Op::Delete, 1, None), second]);
        assert_eq!((old(&out, 2), &out.closed, out.untold), (None, &vec![update], vec![]));
    }

    #[test]
    fn a_truncate_takes_the_values_of_an_old_key_only_with_its_row() {
        let changes = [(Op::Truncate, 0, None, 0), (Op::Moved, 2, None, 1), (Op::Upsert, 9, None, 1)];
        let (mut batch, keys) = batch(&changes);
        batch.left_out = vec![(0, vec![true; changes.len()].into())];
        let at = |time: i64| {
            move |key: &Fingerprint| {
                let order = Order { sequence: None, time: Some(time) };
                (key[0] == 2).then_some(Remembered { order, placed: false, partition: 1 })
            }
        };
        let old_keys = [None, None, Some([2, 1])];
        // The row is older than the truncate, which has the time 0, or newer.
        for (time, old) in [(-1, None), (5, Some(OldRow::Stored([2, 1])))] {
            let last = at(time);
            let out = collapse(&batch, &keys, &old_keys, Known { last: &last, ..known() });
            let Previous::Stored { old: found, .. } = out.previous[2] else { panic!("{:?}", out.previous) };
            assert_eq!(found, old);
        }
    }

    #[test]
    fn what_the_table_knows_of_another_partition_counts_and_of_the_same_one_does_not() {
        let (batch, keys) = batch(&[(Op::Upsert, 1, Some(5), 0), (Op::Upsert, 2, Some(5), 0)]);
        let last = |key: &Fingerprint| {
            let sequence = Some(Sequence { epoch: 1, value: [8, 0, 0] });
            let partition = if key[0] == 1 { 0 } else { 1 };
            Some(Remembered { order: Order { sequence, time: Some(0) }, placed: false, partition })
        };
        let out = collapse(&batch, &keys, &[], Known { last: &last, ..known() });
        assert_eq!((out.upserts, out.dropped_stale), (vec![0], 1));
    }

    #[test]
    fn a_truncate_spares_what_is_newer_and_holds_back_what_is_older() {
        let (batch, keys) = batch(&[
            (Op::Upsert, 1, Some(5), 0),
            (Op::Upsert, 2, Some(15), 1),
            (Op::Upsert, 3, None, 0),
            (Op::Upsert, 4, None, 1),
            (Op::Truncate, 0, Some(10), 0),
            (Op::Upsert, 1, Some(2), 0),
        ]);
        let out = collapse(&batch, &keys, &[], known());
        assert_eq!((out.upserts, out.deletes, out.dropped_stale), (vec![1, 5], vec![[3, 1], [4, 1]], 0));
        let (mut late, keys) = self::batch(&[(Op::Upsert, 5, Some(7), 1), (Op::Upsert, 6, Some(7), 1)]);
        late.orders.as_mut().unwrap()[0].time = Some(3);
        late.orders.as_mut().unwrap()[1].time = Some(5);
        let out = collapse(&late, &keys, &[], Known { floor: out.floor, ..known() });
        assert_eq!((out.upserts, out.dropped_stale), (vec![1], 1));
    }
}
