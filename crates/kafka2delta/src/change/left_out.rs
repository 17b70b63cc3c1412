//! Values that a change leaves out (`docs/semantics.md`): taken from an earlier change of the batch or from the stored row.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{interleave, take};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use hashbrown::{HashMap, HashSet};
use object_store::ObjectStore;

use super::collapse::{Found, Previous, resolve};
use super::deleted_rows::{History, deleted_rows};
use crate::datafile::pieces::with_views;
use crate::datafile::read::{PARALLEL_READS, read_rows_in_views};
use crate::error::{Error, ErrorCode, Result};
use crate::index::KeyIndex;
use crate::key::hasher::Fingerprint;
use crate::log::actions::Add;
use crate::log::files::{FileId, Place};
use crate::log::liveness::is_live;
use crate::log::state::TableState;
use crate::order::memory::Memory;
use crate::schema::conform;

/// Bytes of rows kept for keys that were updated before their row was stored.
const MAX_MOVED_BYTES: usize = 64 << 20;

/// Rows of keys that were updated in the batch in which they came, for the new key's change in a later batch.
#[derive(Debug)]
pub struct MovedRows {
    /// Bytes that are kept.
    most: usize,
    /// By key: the number of its batch, and its row there.
    places: HashMap<Fingerprint, (u64, usize)>,
    /// The oldest first.
    batches: VecDeque<KeptBatch>,
    /// The number of the oldest batch.
    oldest: u64,
    bytes: usize,
}

#[derive(Debug)]
struct KeptBatch {
    rows: RecordBatch,
    keys: Vec<Fingerprint>,
    /// Rows that are still to be found.
    left: usize,
}

impl Default for MovedRows {
    fn default() -> Self {
        Self::with_most(MAX_MOVED_BYTES)
    }
}

impl MovedRows {
    fn with_most(most: usize) -> Self {
        Self { most, places: HashMap::new(), batches: VecDeque::new(), oldest: 0, bytes: 0 }
    }

    /// Keeps the rows of these keys, and forgets the oldest ones where all are too many.
    pub fn keep(&mut self, rows: RecordBatch, keys: impl Iterator<Item = Fingerprint>) {
        if rows.num_rows() == 0 {
            return;
        }
        let keys: Vec<Fingerprint> = keys.collect();
        self.forget(keys.iter());
        let number = self.oldest + self.batches.len() as u64;
        self.places.extend(keys.iter().enumerate().map(|(row, key)| (*key, (number, row))));
        let left = keys.iter().enumerate().filter(|(row, key)| self.places.get(*key) == Some(&(number, *row))).count();
        self.bytes += rows.get_array_memory_size();
        self.batches.push_back(KeptBatch { rows, keys, left });
        while self.bytes > self.most {
            self.drop_oldest();
        }
    }

    fn find(&self, key: &Fingerprint) -> Option<(&RecordBatch, usize)> {
        let (number, row) = self.places.get(key)?;
        let batch = self.batches.get(usize::try_from(number - self.oldest).ok()?)?;
        Some((&batch.rows, *row))
    }

    /// Whether no row is kept.
    fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Forgets the rows of keys that changed again.
    pub fn forget<'a>(&mut self, changed: impl Iterator<Item = &'a Fingerprint>) {
        if self.is_empty() {
            return;
        }
        for key in changed {
            if let Some((number, _)) = self.places.remove(key)
                && let Some(batch) = self.batches.get_mut((number - self.oldest) as usize)
            {
                batch.left -= 1;
            }
        }
        while self.batches.front().is_some_and(|batch| batch.left == 0) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(batch) = self.batches.pop_front() else { return };
        self.bytes = self.bytes.saturating_sub(batch.rows.get_array_memory_size());
        for key in batch.keys {
            if self.places.get(&key).is_some_and(|(number, _)| *number == self.oldest) {
                self.places.remove(&key);
            }
        }
        self.oldest += 1;
    }
}

/// A source of a value, for [`interleave`].
#[derive(Debug, Clone, Copy)]
enum Source {
    Batch(u32),
    Stored(Place),
    Moved(Fingerprint),
    /// Deleted before the table was opened: in the log's last commits, otherwise at this place.
    Deleted(Fingerprint, Option<Place>),
    Missing,
}

/// What is known to fill values from.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// Where the data files are.
    pub store: &'a Arc<dyn ObjectStore>,
    /// The table before the batch; none where it is created.
    pub state: Option<&'a TableState>,
    /// Places before the batch.
    pub index: &'a KeyIndex,
    /// Whether it has all keys, also of deleted rows.
    pub indexed: bool,
    /// Rows that were never stored.
    pub moved: &'a MovedRows,
    /// Deletes that the index stands for: their places are the last ones.
    pub memory: &'a Memory,
    /// Where rows are looked for that were deleted before the table was opened.
    pub history: Option<History<'a>>,
    /// The column that marks deleted rows, where they stay.
    pub soft_delete_column: Option<&'a str>,
}

/// The chosen rows of the batch with their left-out values filled in, and how many values were nowhere to be found.
/// Columns with filled-in texts and bytes have views of them: stored rows may share a value that is too large to be
/// copied for each.
///
/// `left_out`: for columns by name, where a change leaves the value out. `previous`: of the collapse.
pub async fn fill(
    batch: &RecordBatch,
    rows: &[u32],
    left_out: &[(String, BooleanArray)],
    previous: &[Previous],
    stored: Stored<'_>,
) -> Result<(RecordBatch, u64)> {
    let schema = batch.schema();
    let chosen = UInt32Array::from(rows.to_vec());
    let whole = rows.len() == batch.num_rows();
    let pick = |column: &ArrayRef| -> Result<ArrayRef> {
        Ok(if whole { column.clone() } else { take(column, &chosen, None)? })
    };
    // Rows to be read, for all columns at once.
    let flagged = stored.flagged(&schema, previous).await?;
    let is_own = |key: &Fingerprint| !flagged.contains(key) && stored.live(key).is_some();
    let mut columns: Vec<(usize, Vec<Source>)> = Vec::new();
    let mut places: BTreeMap<FileId, Vec<u32>> = BTreeMap::new();
    for (name, mask) in left_out {
        let Ok(column) = schema.index_of(name) else { continue };
        let is_left_out = |row: u32| mask.is_valid(row as usize) && mask.value(row as usize);
        if !rows.iter().any(|row| is_left_out(*row)) {
            continue;
        }
        let sources = rows
            .iter()
            .map(|row| stored.locate(resolve(previous, is_left_out, is_own, *row)))
            .inspect(|source| {
                if let Source::Stored(place) | Source::Deleted(_, Some(place)) = source {
                    places.entry(place.file).or_default().push(place.row);
                }
            })
            .collect();
        columns.push((column, sources));
    }
    if columns.is_empty() {
        let taken: Result<Vec<ArrayRef>> = batch.columns().iter().map(pick).collect();
        return Ok((with_rows(&schema, taken?, rows.len())?, 0));
    }
    let names: Vec<String> = columns.iter().map(|(i, _)| schema.field(*i).name().clone()).collect();
    let values = stored.read(&schema, &names, places).await?;
    let wanted = deleted_keys(&columns);
    let deleted = stored.deleted(&schema, &names, wanted).await?;
    let kept = Kept { moved: stored.moved, deleted: &deleted };
    let mut missing = 0;
    let mut taken = batch.columns().iter().map(pick).collect::<Result<Vec<ArrayRef>>>()?;
    let mut fields: Vec<FieldRef> = schema.fields().to_vec();
    let views = with_views(&schema);
    for (column, sources) in &columns {
        fields[*column] = views.fields()[*column].clone();
        let (array, lost) = gather(batch, *column, &fields[*column], sources, &values, kept)?;
        taken[*column] = array;
        missing += lost;
    }
    Ok((with_rows(&Arc::new(Schema::new(fields)), taken, rows.len())?, missing))
}

fn deleted_keys(columns: &[(usize, Vec<Source>)]) -> HashSet<Fingerprint> {
    let sources = columns.iter().flat_map(|(_, sources)| sources);
    sources.filter_map(|s| if let Source::Deleted(key, _) = s { Some(*key) } else { None }).collect()
}

fn with_rows(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

/// Rows read from one file, and which place each is.
struct FileValues {
    batch: RecordBatch,
    rows: HashMap<u32, usize>,
}

impl Stored<'_> {
    fn live(&self, key: &Fingerprint) -> Option<Place> {
        let state = self.state?;
        self.index.get(key).filter(|place| is_live(state, *place))
    }

    fn locate(&self, found: Found) -> Source {
        let place = match &found {
            Found::Change(row) => return Source::Batch(*row),
            Found::Nothing => None,
            Found::Live(key) => self.live(key),
            // A row that was never stored is newer than the place of the one that it replaced.
            Found::Last(key) if self.moved.find(key).is_some() => return Source::Moved(*key),
            Found::Last(key) => {
                let place = self.state.and_then(|_| self.index.get(key));
                // Without an index, places of deleted rows are those of files that still are in the table.
                let last = self.indexed && self.memory.get(key).is_some_and(|known| known.placed);
                if self.live(key).is_none() && (place.is_none() || !last) {
                    return Source::Deleted(*key, place);
                }
                place
            }
        };
        place.map_or(Source::Missing, Source::Stored)
    }

    /// Keys that a key update gave a row again which stays marked as deleted: its values are not the update's.
    async fn flagged(&self, schema: &SchemaRef, previous: &[Previous]) -> Result<HashSet<Fingerprint>> {
        let mut flagged = HashSet::new();
        let Some(column) = self.soft_delete_column else { return Ok(flagged) };
        let mut places: BTreeMap<FileId, Vec<u32>> = BTreeMap::new();
        let mut keys = Vec::new();
        for previous in previous {
            if let Previous::Stored { own: Some(own), old: Some(_) } = previous
                && let Some(place) = self.live(own)
            {
                places.entry(place.file).or_default().push(place.row);
                keys.push((*own, place));
            }
        }
        if keys.is_empty() {
            return Ok(flagged);
        }
        let values = self.read(schema, &[column.to_owned()], places).await?;
        for (key, place) in keys {
            let Some(file) = values.get(&place.file) else { continue };
            let marks = file.batch.column(0).as_boolean_opt();
            if let (Some(marks), Some(row)) = (marks, file.rows.get(&place.row))
                && marks.is_valid(*row)
                && marks.value(*row)
            {
                flagged.insert(key);
            }
        }
        Ok(flagged)
    }

    async fn deleted(&self, schema: &SchemaRef, columns: &[String], wanted: HashSet<Fingerprint>) -> Result<MovedRows> {
        let mut rows = MovedRows::with_most(usize::MAX);
        if let Some(history) = self.history.filter(|_| !wanted.is_empty()) {
            for (batch, keys) in deleted_rows(history, schema, columns, wanted).await? {
                rows.keep(batch, keys.into_iter());
            }
        }
        Ok(rows)
    }

    async fn read(
        &self,
        schema: &SchemaRef,
        names: &[String],
        places: BTreeMap<FileId, Vec<u32>>,
    ) -> Result<HashMap<FileId, FileValues>> {
        let Some(state) = self.state else { return Ok(HashMap::new()) };
        let reads = places.into_iter().filter(|(file, _)| !state.files[*file as usize].is_forgotten());
        // Boxed futures of owned things: closures over references are not Send in general.
        let reads: Vec<BoxFuture<'static, FoundValues>> = reads
            .map(|(file, rows)| {
                let entry = &state.files[file as usize];
                let read = read_values(self.store.clone(), entry.add.clone(), schema.clone(), names.to_vec(), rows);
                let may_be_gone = !entry.live;
                async move {
                    match read.await {
                        Ok(values) => Ok(Some((file, values))),
                        // A deleted row's file may have been vacuumed.
                        Err(e) if may_be_gone && e.code == ErrorCode::TableCorrupt => Ok(None),
                        Err(e) => Err(e),
                    }
                }
                .boxed()
            })
            .collect();
        let mut found = futures::stream::iter(reads).buffer_unordered(PARALLEL_READS);
        let mut files = HashMap::new();
        while let Some(values) = found.next().await {
            files.extend(values?);
        }
        Ok(files)
    }
}

/// The values of a file; none where it is gone.
type FoundValues = Result<Option<(FileId, FileValues)>>;

/// Reads rows of one file.
async fn read_values(
    store: Arc<dyn ObjectStore>,
    add: Add,
    schema: SchemaRef,
    names: Vec<String>,
    mut rows: Vec<u32>,
) -> Result<FileValues> {
    rows.sort_unstable();
    rows.dedup();
    let batch = read_rows_in_views(&store, &add, &schema, &names, &rows).await?;
    let rows = rows.into_iter().enumerate().map(|(i, row)| (row, i)).collect();
    Ok(FileValues { batch, rows })
}

/// Rows that are not in the table.
#[derive(Clone, Copy)]
struct Kept<'a> {
    moved: &'a MovedRows,
    deleted: &'a MovedRows,
}

/// Builds one column from its sources, in the type of `field`; nulls and their number where there is none.
fn gather(
    batch: &RecordBatch,
    column: usize,
    field: &FieldRef,
    sources: &[Source],
    values: &HashMap<FileId, FileValues>,
    kept: Kept<'_>,
) -> Result<(ArrayRef, u64)> {
    let name = field.name();
    let null = new_null_array(field.data_type(), 1);
    let mut arrays: Vec<ArrayRef> = vec![conform(batch.column(column), field.data_type())?, null];
    let mut files: HashMap<FileId, usize> = HashMap::new();
    let mut missing = 0;
    let mut indices = Vec::with_capacity(sources.len());
    for source in sources {
        let mut find_kept = |rows: &MovedRows, key: &Fingerprint| {
            let (batch, row) = rows.find(key)?;
            // The row may have been kept before the column grew.
            let value = batch.column_by_name(name)?.slice(row, 1);
            arrays.push(conform(&value, field.data_type()).ok()?);
            Some((arrays.len() - 1, 0))
        };
        let (kept, place) = match source {
            Source::Batch(row) => (Some((0, *row as usize)), None),
            Source::Missing => (None, None),
            Source::Moved(key) => (find_kept(kept.moved, key), None),
            Source::Deleted(key, place) => (find_kept(kept.deleted, key), *place),
            Source::Stored(place) => (None, Some(*place)),
        };
        let found = match (kept, place) {
            (Some(found), _) => Some(found),
            (None, None) => None,
            (None, Some(place)) => values.get(&place.file).and_then(|file| {
                let row = *file.rows.get(&place.row)?;
                let array = file.batch.column_by_name(name)?;
                let slot = *files.entry(place.file).or_insert_with(|| {
                    arrays.push(array.clone());
                    arrays.len() - 1
                });
                Some((slot, row))
            }),
        };
        missing += u64::from(found.is_none());
        indices.push(found.unwrap_or((1, 0)));
    }
    let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    let filled = interleave(&arrays, &indices)
        .map_err(|e| Error::with_source(ErrorCode::Internal, format!("values of '{name}' cannot be joined"), e))?;
    Ok((filled, missing))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use arrow::array::Int64Array;

    fn rows(values: &[i64]) -> RecordBatch {
        let values: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        RecordBatch::try_from_iter([("n", values)]).unwrap()
    }

    fn value(moved: &MovedRows, key: u64) -> Option<i64> {
        let (batch, row) = moved.find(&[key, 1])?;
        Some(batch.column(0).as_primitive::<arrow::datatypes::Int64Type>().value(row))
    }

    #[test]
    fn moved_rows_are_let_go_when_no_key_needs_them() {
        let mut moved = MovedRows::default();
        let keys = |keys: &[u64]| keys.iter().map(|key| [*key, 1]).collect::<Vec<_>>().into_iter();
        moved.keep(rows(&[10, 20, 21]), keys(&[1, 2, 2]));
        moved.keep(rows(&[30]), keys(&[3]));
        assert_eq!((value(&moved, 1), value(&moved, 2), value(&moved, 3)), (Some(10), Some(21), Some(30)));
        // The newest row of a key counts.
        moved.keep(rows(&[11]), keys(&[1]));
        assert_eq!((value(&moved, 1), moved.batches.len()), (Some(11), 3));
        moved.forget([[2, 1]].iter());
        assert_eq!((value(&moved, 2), moved.batches.len()), (None, 2));
        moved.forget([[1, 1]].iter());
        assert_eq!((value(&moved, 1), value(&moved, 3)), (None, Some(30)));
        moved.forget([[3, 1]].iter());
        assert!(moved.is_empty() && moved.batches.is_empty() && moved.bytes == 0);
        moved.keep(rows(&[40]), keys(&[4]));
        assert_eq!(value(&moved, 4), Some(40));
    }
}
