//! Repeats in histories: what Debezium sends again after a crash would show twice in a changelog, or among the versions of
//! a row. A change is a repeat where the stream went back before it, and a row of the history has both its position and
//! its values. In a changelog, whose rows may be equal, each such row makes one change of a run a repeat.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, DynComparator, RecordBatch, make_comparator};
use arrow::compute::SortOptions;
use futures::{FutureExt, StreamExt, TryStreamExt};
use hashbrown::{HashMap, HashSet};

use crate::change::batch::ChangeBatch;
use crate::datafile::pieces::with_views;
use crate::datafile::read::{PARALLEL_READS, read_rows_in_views};
use crate::error::Result;
use crate::log::files::{FileEntry, FileId};
use crate::log::liveness::vector_of;
use crate::log::state::TableState;
use crate::order::sequence::{Course, Sequence};
use crate::schema::conform_batch;
use crate::table::KeyedTable;

/// A change that may be a repeat: its row among the rows that it is compared by.
pub(super) struct Candidate {
    pub(super) row: usize,
    pub(super) sequence: Sequence,
    pub(super) partition: i32,
}

/// Candidates' rows by partition, epoch and position.
type BySequence = HashMap<(i32, u64, [u64; 3]), Vec<usize>>;

/// The rows that changes are compared by, with views of texts and bytes.
#[derive(Clone, Copy)]
pub(super) struct Changes<'a> {
    pub(super) rows: &'a RecordBatch,
    /// Columns that do not count: those that tell of the change, and those that are ours.
    pub(super) not_compared: &'a [&'a str],
    /// Whether a change leaves a column's value out: then any value is the same.
    pub(super) leaves_out: &'a (dyn Fn(usize, &str) -> bool + Sync),
}

impl KeyedTable {
    /// Of the candidates, the rows that the history holds already, each with the number of times that it does.
    pub(super) async fn repeats(
        &self,
        changes: Changes<'_>,
        candidates: &[Candidate],
    ) -> Result<HashMap<usize, usize>> {
        let mut repeats: HashMap<usize, usize> = HashMap::new();
        let (Some(state), false) = (self.snapshot.state(), candidates.is_empty()) else { return Ok(repeats) };
        let mut by_sequence = BySequence::new();
        for Candidate { row, sequence, partition } in candidates {
            by_sequence.entry((*partition, sequence.epoch, sequence.value)).or_default().push(*row);
        }
        let files = state.live_files().filter(|(_, file)| candidates.iter().any(|candidate| may_hold(file, candidate)));
        let reads = files.map(|(id, _)| self.repeats_in(state, id, changes, &by_sequence).boxed());
        let mut reads = futures::stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(PARALLEL_READS);
        while let Some(rows) = reads.try_next().await? {
            rows.into_iter().for_each(|row| *repeats.entry(row).or_default() += 1);
        }
        Ok(repeats)
    }

    /// The rows that a file holds already, each as often as it does.
    async fn repeats_in(
        &self,
        state: &TableState,
        id: FileId,
        changes: Changes<'_>,
        by_sequence: &BySequence,
    ) -> Result<Vec<usize>> {
        let (entry, gone) = (&state.files[id as usize], vector_of(state, id)?);
        let Some(partition) = entry.partition else { return Ok(Vec::new()) };
        let mut found: BTreeMap<u32, &Vec<usize>> = BTreeMap::new();
        for (number, order) in (0u32..).zip(self.orders.read(&self.storage, entry, None).await?) {
            let Some(sequence) = order.sequence.filter(|_| !gone.contains(number)) else { continue };
            if let Some(rows) = by_sequence.get(&(partition, sequence.epoch, sequence.value)) {
                found.insert(number, rows);
            }
        }
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let schema = changes.rows.schema();
        let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        let numbers: Vec<u32> = found.keys().copied().collect();
        let stored = read_rows_in_views(self.storage.files(), &entry.add, &schema, &names, &numbers).await?;
        let same = Sameness::new(&stored, changes)?;
        let given = |(n, rows): (usize, &&Vec<usize>)| {
            rows.iter().copied().filter(|row| same.has_given_values((0, n), *row)).collect::<Vec<_>>()
        };
        Ok(found.values().enumerate().flat_map(given).collect())
    }

    /// The rows of a changelog's batch that are no repeats.
    pub(super) async fn without_repeats(
        &self,
        batch: &ChangeBatch,
        rows: &RecordBatch,
        own_column: &str,
    ) -> Result<Vec<u32>> {
        let all = 0..batch.num_rows() as u32;
        if batch.orders.iter().flatten().all(|order| order.sequence.is_none()) {
            return Ok(all.collect());
        }
        let mut courses: HashMap<(i32, u64), Course> = HashMap::new();
        for (_, file) in self.snapshot.state().iter().flat_map(|state| state.live_files()) {
            if let (Some(partition), Some((_, high))) = (file.partition, file.sequences) {
                courses.entry((partition, high.epoch)).or_insert_with(|| Course::new(high)).had_reached(high);
            }
        }
        let mut runs = vec![0; batch.num_rows()];
        let mut candidates = Vec::new();
        for (row, run) in runs.iter_mut().enumerate() {
            let (partition, Some(sequence)) = (batch.partition(row), batch.order(row).sequence) else { continue };
            let course = courses.entry((partition, sequence.epoch)).or_insert_with(|| Course::new(sequence));
            let may_be_repeat;
            (*run, may_be_repeat) = course.enter(sequence);
            if may_be_repeat {
                candidates.push(Candidate { row, sequence, partition });
            }
        }
        if candidates.is_empty() {
            return Ok(all.collect());
        }
        let rows = &conform_batch(rows, &with_views(rows.schema_ref()))?;
        let not_compared: Vec<&str> = batch.names_of_the_change().chain([own_column]).collect();
        let changes = Changes { rows, not_compared: &not_compared, leaves_out: &|_, _| false };
        let stored = self.repeats(changes, &candidates).await?;
        let same = Sameness::new(rows, changes)?;
        let position = |row: usize| batch.order(row).sequence.map(|s| (batch.partition(row), s.epoch, s.value));
        let mut by_position: HashMap<_, Vec<usize>> = HashMap::new();
        for row in 0..batch.num_rows() {
            by_position.entry(position(row)).or_default().push(row);
        }
        let mut repeats = HashSet::new();
        for Candidate { row, .. } in &candidates {
            // A run repeats as many equal changes of a position as came before it. What it has more of them is new: rows of
            // one COPY, between which the crash was.
            let (mut before, mut in_run) = (stored.get(row).copied().unwrap_or(0), 0);
            let beside = by_position.get(&position(*row)).into_iter().flatten().take_while(|other| *other < row);
            for other in beside.filter(|other| same.same((1, **other), *row)) {
                match runs[*other] == runs[*row] {
                    true => in_run += 1,
                    false => before += usize::from(!repeats.contains(other)),
                }
            }
            if in_run < before {
                repeats.insert(*row);
            }
        }
        Ok(all.filter(|row| !repeats.contains(&(*row as usize))).collect())
    }
}

/// Whether a file may hold a row with the candidate's position, by its tags.
fn may_hold(file: &FileEntry, candidate: &Candidate) -> bool {
    let covers = |(low, high): (Sequence, Sequence)| {
        low.epoch == candidate.sequence.epoch && (low.value..=high.value).contains(&candidate.sequence.value)
    };
    file.partition == Some(candidate.partition) && file.sequences.is_none_or(covers)
}

/// A row: its side, 0 for stored ones and 1 for changes, and its number there.
type Side = (usize, usize);

/// Whether rows have the same values.
pub(super) struct Sameness<'a> {
    /// The columns that count, by name, each with what compares a stored row, and a change, with a change.
    columns: Vec<(String, [DynComparator; 2])>,
    leaves_out: &'a (dyn Fn(usize, &str) -> bool + Sync),
}

impl<'a> Sameness<'a> {
    pub(super) fn new(stored: &RecordBatch, changes: Changes<'a>) -> Result<Self> {
        let Changes { rows, not_compared, leaves_out } = changes;
        let mut columns = Vec::new();
        for (at, field) in rows.schema_ref().fields().iter().enumerate() {
            let name = field.name().as_str();
            if not_compared.contains(&name) {
                continue;
            }
            let with_change = |side: &ArrayRef| make_comparator(side, rows.column(at), SortOptions::default());
            columns.push((name.to_owned(), [with_change(stored.column(at))?, with_change(rows.column(at))?]));
        }
        Ok(Self { columns, leaves_out })
    }

    /// Whether a row has all values of a change.
    pub(super) fn same(&self, (side, row): Side, change: usize) -> bool {
        self.columns.iter().all(|(_, compare)| compare[side](row, change).is_eq())
    }

    /// Whether a row has all values that a change gives.
    pub(super) fn has_given_values(&self, (side, row): Side, change: usize) -> bool {
        let is_same = |(name, compare): &(String, [DynComparator; 2])| {
            (self.leaves_out)(change, name) || compare[side](row, change).is_eq()
        };
        self.columns.iter().all(is_same)
    }
}
