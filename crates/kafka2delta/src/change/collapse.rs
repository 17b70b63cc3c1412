//! Collapse: of all changes of a batch, the last one per key that counts (`docs/semantics.md`, Order).
//!
//! Within a partition the order of the offsets is the truth. A change is dropped only where a change of another partition
//! is known to be newer.

use hashbrown::{HashMap, HashSet, HashTable};

use super::batch::{ChangeBatch, Op};
use super::key_updates::{Halves, KeyUpdate, KeyUpdates, Pending};
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
    /// It was not kept, or nothing tells which one it is.
    Nowhere,
}

/// The first half of a key update: the old key's row goes.
#[derive(Debug, Clone, Copy)]
struct FirstHalf {
    row: u32,
    old: Fingerprint,
    /// None where the change does not tell the new key.
    update: Option<KeyUpdate>,
    partition: i32,
}

/// Where the row is that a first half took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TakenBy {
    /// This version's commit.
    Commit(u64),
    /// This one of the batch's first halves.
    Half(usize),
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
    /// Key updates of which the batch has one half.
    pub halves: Halves,
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
    /// Whether the table holds a row of the key, be it marked as deleted.
    pub is_stored: &'a dyn Fn(&Fingerprint) -> bool,
    /// Whether deleted rows stay, marked.
    pub keeps_deleted: bool,
    /// Whether [`Collapsed::history`] is wanted.
    pub history: bool,
    /// Key updates of which one half came before the batch.
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
    /// In their order, those that took a row.
    first_halves: Vec<FirstHalf>,
    /// Which half is to come of the updates of the batch.
    pending: HashMap<KeyUpdate, Pending<TakenBy>>,
    /// By update, its last first half.
    latest: HashMap<KeyUpdate, usize>,
}

impl<'a> Collapse<'a> {
    fn new(batch: &'a ChangeBatch, rows: usize, known: Known<'a>) -> Self {
        let mut out = Collapsed::default();
        if known.keeps_deleted {
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
            latest: HashMap::new(),
        }
    }

    fn truncate(&mut self, row: usize) {
        let time = self.batch.times.as_ref().and_then(|times| times[row]);
        let truncate = Truncate { order: self.batch.order(row), partition: self.batch.partition(row), time };
        let flagged = self.known.keeps_deleted.then_some(&mut self.out.flagged);
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
        // What a truncate holds back is a deleted row, where such rows stay.
        let held_back_row = held_back && !self.known.keeps_deleted;
        // Before the key's state is changed. Other rows look it up once.
        let old = match other.is_some() || op == Op::Moved {
            true => self.half(row, key, other, held_back_row),
            false => None,
        };
        let Self { known, states, out, .. } = self;
        let state = states.get_or_insert_with(key, || KeyState::before(known, key, partition));
        if held_back_row || state.is_newer_than(order, partition) {
            out.dropped_stale += 1;
            return;
        }
        out.history.extend(known.history.then_some(row as u32));
        let marks = known.keeps_deleted && op == Op::SoftDelete;
        let marks = marks && state.last.map_or_else(|| (known.is_stored)(&key), |last| matches!(last, Last::Upsert(_)));
        if known.keeps_deleted {
            out.flagged[row] = marks || held_back;
        }
        if self.tracks_values {
            out.previous[row] = state.previous(op, old, out, known.keeps_deleted);
        }
        state.last = Some(match (op, state.last) {
            (Op::Upsert, _) => Last::Upsert(row as u32),
            (Op::SoftDelete, _) if marks => Last::Upsert(row as u32),
            // A tombstone after a delete of its key changes nothing.
            (Op::Delete | Op::SoftDelete, Some(Last::Delete(first))) => Last::Delete(first),
            _ => Last::Delete(row as u32),
        });
        (state.order, state.partition) = (order, partition);
    }

    /// Notes a half of a key update. Gives where the values are that a second one leaves out.
    fn half(&mut self, row: usize, key: Fingerprint, other: Option<Fingerprint>, held_back: bool) -> Option<OldRow> {
        let (op, order, partition) = (self.batch.ops[row], self.batch.order(row), self.batch.partition(row));
        let Self { known, states, .. } = self;
        let state = states.get_or_insert_with(key, || KeyState::before(known, key, partition));
        let is_dropped = held_back || state.is_newer_than(order, partition);
        if let (Op::Upsert, Some(old)) = (op, other) {
            let old = self.second_half(old, key, partition, is_dropped);
            return Some(old).filter(|_| self.batch.leaves_out(row));
        }
        if !is_dropped && matches!(op, Op::Moved | Op::SoftDelete) {
            self.first_half(row, key, other, partition);
        }
        None
    }

    /// Where the values are of the row that an updated key had. One that is dropped closes its first half, too.
    fn second_half(&mut self, old: Fingerprint, new: Fingerprint, partition: i32, is_dropped: bool) -> OldRow {
        let update = KeyUpdate::new(&old, &new);
        let pending = self.pending(update);
        let is_repeat = self.has_row(&new, partition) && self.knows_marks(&new);
        let (after, row) = match pending {
            // In one partition nothing lies between the halves.
            Pending::Second(_) | Pending::Untold if self.follows_first_half(update, pending, partition) => {
                (Pending::None, self.row_of(update, pending, old))
            }
            _ if is_repeat => (pending.after_repeat(), OldRow::Nowhere),
            Pending::Second(_) => (Pending::None, self.row_of(update, pending, old)),
            Pending::Untold => (Pending::Untold, OldRow::Nowhere),
            Pending::None => {
                let is_early = !is_dropped && !self.has_one_partition() && self.has_row(&old, partition);
                let row = self.repeated_half(update, old).unwrap_or_else(|| self.old_row(old));
                (if is_early { Pending::First } else { Pending::None }, row)
            }
            Pending::First => (pending, self.old_row(old)),
        };
        self.pending.insert(update, after);
        row
    }

    /// Whether the last first half of an update came through this partition, as far as that is known.
    fn follows_first_half(&self, update: KeyUpdate, pending: Pending<TakenBy>, partition: i32) -> bool {
        match (self.latest.get(&update), pending) {
            (Some(number), _) => self.first_halves[*number].partition == partition,
            (None, Pending::Second(_)) => self.has_one_partition(),
            (None, _) => false,
        }
    }

    /// Whether all changes come in one order. Who tells of no partitions has none.
    fn has_one_partition(&self) -> bool {
        self.batch.num_partitions.map_or(self.batch.partitions.is_none(), |partitions| partitions == 1)
    }

    /// The row of the last first half, or of the one that is pending.
    fn row_of(&self, update: KeyUpdate, pending: Pending<TakenBy>, old: Fingerprint) -> OldRow {
        match (pending, self.latest.get(&update)) {
            (Pending::Second(TakenBy::Half(number)), _) => self.taken_row(number),
            (Pending::Second(TakenBy::Commit(version)), None) => OldRow::Taken(old, version),
            (_, Some(number)) => self.taken_row(*number),
            (_, None) => OldRow::Nowhere,
        }
    }

    /// Which half of an update is to come at this point of the batch.
    fn pending(&self, update: KeyUpdate) -> Pending<TakenBy> {
        self.pending.get(&update).copied().unwrap_or_else(|| match self.known.updates.pending(&update) {
            Pending::None => Pending::None,
            Pending::Second(version) => Pending::Second(TakenBy::Commit(version)),
            Pending::First => Pending::First,
            Pending::Untold => Pending::Untold,
        })
    }

    /// Whether a key has a row as it stands before the change, as far as that is known: a stored one may be marked as deleted.
    fn has_row(&self, key: &Fingerprint, partition: i32) -> bool {
        match self.states.get(key).and_then(|state| state.last) {
            Some(Last::Upsert(row)) => self.out.flagged.get(row as usize) != Some(&true),
            Some(Last::Delete(_) | Last::Truncated) => false,
            None => (self.known.is_stored)(key) && !self.is_truncated(key, partition),
        }
    }

    /// Whether a truncate of this batch took a key's stored row; one that comes again spares what is newer.
    fn is_truncated(&self, key: &Fingerprint, partition: i32) -> bool {
        let state = KeyState::before(&self.known, *key, partition);
        !self.known.keeps_deleted && self.out.is_truncated(state.order, state.partition)
    }

    /// Whether it is known that a key's row is not marked as deleted: of a stored row it is not.
    fn knows_marks(&self, key: &Fingerprint) -> bool {
        !self.known.keeps_deleted || self.states.get(key).is_some_and(|state| state.last.is_some())
    }

    /// Where the row is that a first half of the batch took. Its key may have another row since.
    fn taken_row(&self, number: usize) -> OldRow {
        match self.out.previous.get(self.first_halves[number].row as usize) {
            Some(Previous::Change(row)) => OldRow::Change(*row),
            Some(Previous::Stored { own: Some(own), .. }) => OldRow::Stored(*own),
            Some(Previous::Stored { own: None, .. }) | None => OldRow::Nowhere,
        }
    }

    /// The row of a second half that comes again, as long as the old key has had no other one since.
    fn repeated_half(&self, update: KeyUpdate, old: Fingerprint) -> Option<OldRow> {
        let number = *self.latest.get(&update)?;
        let taken = self.first_halves[number].row;
        let last = self.states.get(&old).and_then(|state| state.last);
        matches!(last, Some(Last::Delete(row) | Last::Upsert(row)) if row == taken).then(|| self.taken_row(number))
    }

    /// Notes that a key's row goes on under another one, where it has one.
    fn first_half(&mut self, row: usize, old: Fingerprint, new: Option<Fingerprint>, partition: i32) {
        let update = new.map(|new| KeyUpdate::new(&old, &new));
        let by = TakenBy::Half(self.first_halves.len());
        let takes_row = self.has_row(&old, partition);
        if let Some(update) = update {
            let pending = self.pending(update);
            // A row that is marked already stays stored: this may be a repeat.
            if matches!(pending, Pending::Second(TakenBy::Commit(_))) && !self.knows_marks(&old) {
                return;
            }
            let after = match (takes_row, pending) {
                (true, _) => pending.after_first(by),
                // What came early waits for it no more.
                (false, Pending::First) => Pending::None,
                (false, _) => pending,
            };
            if after != pending {
                self.pending.insert(update, after);
            }
        }
        if takes_row {
            self.latest.extend(update.map(|update| (update, self.first_halves.len())));
            self.first_halves.push(FirstHalf { row: row as u32, old, update, partition });
        }
    }

    /// Where the row is that a key has, as it stands before the change.
    fn old_row(&self, old: Fingerprint) -> OldRow {
        match self.states.get(&old).and_then(|state| state.last) {
            None => self.stored_row(old),
            Some(Last::Upsert(row)) => OldRow::Change(row),
            Some(Last::Delete(row)) => match self.out.previous.get(row as usize) {
                Some(Previous::Change(row)) => OldRow::Change(*row),
                // Where it was deleted before, by a re-sent change, its place or its kept row still tells.
                Some(Previous::Stored { .. }) => self.stored_row(old),
                None => OldRow::Nowhere,
            },
            Some(Last::Truncated) => OldRow::Nowhere,
        }
    }

    /// The row that the table holds of a key, or held last.
    fn stored_row(&self, key: Fingerprint) -> OldRow {
        // A truncate of this batch may have taken it.
        let is_taken = !self.known.keeps_deleted
            && (self.known.last)(&key).is_some_and(|last| self.out.is_truncated(last.order, last.partition));
        if is_taken { OldRow::Nowhere } else { OldRow::Stored(key) }
    }

    /// Sorts the keys by what becomes of their rows.
    fn finish(mut self) -> Collapsed {
        self.out.halves = self.halves();
        let Self { batch, known, states, mut out, .. } = self;
        out.floor =
            known.floor.filter(|floor| batch.num_partitions.is_none_or(|partitions| !floor.is_over(partitions)));
        finish(&mut out, batch, &states);
        out
    }

    /// What the commit is to note of key updates. Rows of the batch whose second halves are to come are kept.
    fn halves(&mut self) -> Halves {
        let mut halves = Halves::default();
        // A commit keeps one row of a key.
        let (mut last, mut kept) = (HashSet::new(), HashSet::new());
        for (number, half) in self.first_halves.iter().enumerate().rev() {
            let by = TakenBy::Half(number);
            let is_wanted = half.update.is_none_or(|update| self.pending.get(&update) == Some(&Pending::Second(by)));
            if !is_wanted || !last.insert(half.old) {
                continue;
            }
            kept.insert(number);
            if let Some(Previous::Change(row)) = self.out.previous.get(half.row as usize) {
                self.out.moved.push((*row, half.old));
            }
        }
        for (update, after) in &self.pending {
            match after {
                Pending::Second(TakenBy::Commit(_)) => {}
                Pending::Second(TakenBy::Half(number)) if kept.contains(number) => halves.open.push(*update),
                Pending::First => halves.early.push(*update),
                Pending::Second(TakenBy::Half(_)) | Pending::Untold => halves.untold.push(*update),
                Pending::None => {
                    if self.known.updates.pending(update) != Pending::None {
                        halves.closed.push(*update);
                    }
                }
            }
        }
        halves.sort();
        halves
    }
}

impl KeyState {
    /// What is known of a key before the batch. A row of which no order is known is as old as the partition's first change.
    fn before(known: &Known<'_>, key: Fingerprint, partition: i32) -> Self {
        let last = (known.last)(&key);
        let (order, partition) = last.map_or((Order::default(), partition), |last| (last.order, last.partition));
        Self { key, last: None, order, partition }
    }

    /// Whether a newer change of the key, of another partition, is known.
    fn is_newer_than(&self, order: Order, partition: i32) -> bool {
        self.partition != partition && order.is_before(&self.order)
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
            Previous::Stored { old: Some(OldRow::Nowhere) | None, .. } => return Found::Nothing,
        };
    }
    Found::Change(row)
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let is_stored = &|key: &Fingerprint| *key == KEYS[0];
        Known { last: &|_| None, floor: None, is_stored, keeps_deleted: false, history: false, updates: &NONE }
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
        updates_in(changes, known, |_| 0)
    }

    /// By partitions.
    fn updates_in(
        changes: &[(Op, usize, Option<usize>)],
        known: Known<'_>,
        partition: impl Fn(Op) -> i32,
    ) -> Collapsed {
        let ops: Vec<Change> = changes.iter().map(|(op, key, _)| (*op, KEYS[*key][0], None, partition(*op))).collect();
        let (mut batch, keys) = batch(&ops);
        batch.left_out = vec![(0, vec![true; ops.len()].into())];
        let others: Vec<Option<Fingerprint>> = changes.iter().map(|c| c.2.map(|other| KEYS[other])).collect();
        collapse(&batch, &keys, &others, known)
    }

    /// Where the values are that a row's change leaves out, but for a row of its own key.
    fn old(out: &Collapsed, row: usize) -> Option<OldRow> {
        match out.previous[row] {
            Previous::Stored { old, .. } => old,
            Previous::Change(_) => None,
        }
    }

    /// The halves of the update of the first key to the second one, and what else becomes of these.
    const FIRST: (Op, usize, Option<usize>) = (Op::Moved, 0, Some(1));
    const SECOND: (Op, usize, Option<usize>) = (Op::Upsert, 1, Some(0));
    const ANOTHER_ROW: (Op, usize, Option<usize>) = (Op::Upsert, 0, None);
    const DELETED: (Op, usize, Option<usize>) = (Op::Delete, 1, None);
    const NOWHERE: Option<OldRow> = Some(OldRow::Nowhere);
    const STORED: Option<OldRow> = Some(OldRow::Stored(KEYS[0]));

    fn there() -> KeyUpdate {
        KeyUpdate::new(&KEYS[0], &KEYS[1])
    }

    fn open() -> Halves {
        Halves { open: vec![there()], ..Halves::default() }
    }

    fn closed() -> Halves {
        Halves { closed: vec![there()], ..Halves::default() }
    }

    fn untold() -> Halves {
        Halves { untold: vec![there()], ..Halves::default() }
    }

    #[test]
    fn an_old_key_with_another_row_is_no_source_of_values() {
        let out = updates(&[FIRST, ANOTHER_ROW, SECOND]);
        assert_eq!((old(&out, 2), out.halves), (STORED, Halves::default()));
        // The row that was moved came in the batch.
        let out = updates(&[ANOTHER_ROW, FIRST, ANOTHER_ROW, SECOND]);
        assert_eq!((old(&out, 3), out.moved), (Some(OldRow::Change(0)), vec![]));
    }

    #[test]
    fn a_first_half_stays_open_until_its_own_second_half_comes() {
        assert_eq!(updates(&[FIRST]).halves, open());
        assert_eq!(updates(&[FIRST, (Op::Upsert, 2, Some(0))]).halves, open());
        // A tombstone behind it takes no row.
        assert_eq!(updates(&[FIRST, SECOND, FIRST]).halves, Halves::default());
        let out = updates(&[ANOTHER_ROW, FIRST, ANOTHER_ROW]);
        assert_eq!((out.halves, out.moved, out.upserts), (open(), vec![(0, KEYS[0])], vec![2]));
    }

    #[test]
    fn a_second_half_may_come_early() {
        let out = updates(&[SECOND, FIRST]);
        assert_eq!((old(&out, 0), out.halves), (STORED, Halves::default()));
        let early = Halves { early: vec![there()], ..Halves::default() };
        assert_eq!(updates(&[SECOND]).halves, early);
        // The first half takes the row, for nobody.
        assert_eq!(updates_after(&early, &[FIRST]).halves, closed());
        assert_eq!(updates_after(&early, &[DELETED, SECOND]).halves, early);
    }

    #[test]
    fn an_update_that_is_made_again_is_another_one() {
        let back = [(Op::Moved, 1, Some(0)), (Op::Upsert, 0, Some(1))];
        let out = updates(&[[FIRST, SECOND].as_slice(), &back, &[FIRST]].concat());
        assert_eq!((out.halves, out.moved), (open(), vec![(3, KEYS[0])]));
        // The second half comes first, then all is done once more.
        let out = updates(&[[SECOND, FIRST].as_slice(), &back, &[FIRST, SECOND]].concat());
        assert_eq!((old(&out, 5), out.halves), (Some(OldRow::Change(3)), Halves::default()));
    }

    #[test]
    fn of_an_update_that_is_pending_twice_nothing_tells() {
        let elsewhere = |changes: &[_]| updates_in(changes, known(), |op| i32::from(op == Op::Upsert));
        let out = elsewhere(&[FIRST, ANOTHER_ROW, FIRST, SECOND, DELETED, SECOND]);
        assert_eq!((old(&out, 3), old(&out, 5), out.halves), (NOWHERE, NOWHERE, untold()));
        assert_eq!(elsewhere(&[FIRST, ANOTHER_ROW, FIRST]).halves, untold());
        // Its first half was in an earlier batch.
        let out = updates_after(&untold(), &[SECOND, DELETED, SECOND]);
        assert_eq!((old(&out, 2), out.halves), (NOWHERE, untold()));
    }

    #[test]
    fn halves_of_one_partition_belong_together() {
        let out = updates(&[FIRST, ANOTHER_ROW, FIRST, SECOND]);
        assert_eq!((old(&out, 3), out.halves), (Some(OldRow::Change(1)), Halves::default()));
        for before in [open(), untold()] {
            let out = updates_after(&before, &[FIRST, SECOND]);
            assert_eq!((old(&out, 1), out.halves), (STORED, closed()));
        }
    }

    #[test]
    fn a_second_half_that_comes_again_has_the_row_of_the_first_time() {
        let out = updates(&[FIRST, SECOND, DELETED, SECOND]);
        assert_eq!((old(&out, 3), out.halves), (STORED, Halves::default()));
        // It is another one where the old key has another row.
        let out = updates(&[FIRST, SECOND, ANOTHER_ROW, DELETED, SECOND]);
        let early = Halves { early: vec![there()], ..Halves::default() };
        assert_eq!((old(&out, 4), out.halves), (Some(OldRow::Change(2)), early));
        // Its key has a row: it takes no other one's first half.
        let out = updates_after(&open(), &[(Op::Upsert, 1, None), SECOND]);
        assert_eq!((out.previous[1], out.halves), (Previous::Change(0), untold()));
        // One that was sent again with its first half.
        let out = updates(&[(Op::Upsert, 1, None), FIRST, SECOND]);
        assert_eq!((out.previous[2], out.halves), (Previous::Change(0), Halves::default()));
    }

    #[test]
    fn of_open_updates_of_a_key_the_last_is_kept() {
        let other = KeyUpdate::new(&KEYS[0], &KEYS[2]);
        let halves = [FIRST, ANOTHER_ROW, (Op::Moved, 0, Some(2))];
        let out = updates(&halves);
        let noted = Halves { open: vec![other], untold: vec![there()], ..Halves::default() };
        assert_eq!((out.halves, out.moved), (noted, vec![(1, KEYS[0])]));
        // Each finds its own row in the batch.
        let out = updates(&[halves.as_slice(), &[SECOND, (Op::Upsert, 2, Some(0))]].concat());
        assert_eq!((old(&out, 3), old(&out, 4)), (STORED, Some(OldRow::Change(1))));
    }

    /// A batch after a commit, of version 7, that noted these halves.
    fn updates_after(halves: &Halves, changes: &[(Op, usize, Option<usize>)]) -> Collapsed {
        let mut before = KeyUpdates::default();
        let mut commit = Commit { info: Some(CommitInfo::new()), ..Commit::default() };
        halves.describe(commit.info.as_mut().unwrap());
        before.enter(7, &commit);
        updates_with(changes, Known { updates: &before, ..known() })
    }

    #[test]
    fn a_first_half_of_an_earlier_batch_tells_where_the_row_is() {
        let out = updates_after(&open(), &[ANOTHER_ROW, SECOND]);
        assert_eq!((old(&out, 1), out.halves), (Some(OldRow::Taken(KEYS[0], 7)), closed()));
    }

    #[test]
    fn a_marked_row_is_no_source_of_an_updates_values() {
        let soft = |changes: &[_]| {
            updates_in(changes, Known { keeps_deleted: true, ..known() }, |op| i32::from(op == Op::Upsert))
        };
        let (first, deleted) = ((Op::SoftDelete, 0, Some(1)), (Op::SoftDelete, 1, None));
        let out = soft(&[first, ANOTHER_ROW, first, SECOND, deleted, SECOND]);
        assert_eq!(old(&out, 5), NOWHERE);
        assert_eq!(out.previous[5], Previous::Stored { own: None, old: NOWHERE });
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
        for (time, old) in [(-1, OldRow::Nowhere), (5, OldRow::Stored([2, 1]))] {
            let last = at(time);
            let out = collapse(&batch, &keys, &old_keys, Known { last: &last, ..known() });
            let Previous::Stored { old: found, .. } = out.previous[2] else { panic!("{:?}", out.previous) };
            assert_eq!(found, Some(old));
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
