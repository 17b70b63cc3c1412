//! Values that a change leaves out (`docs/semantics.md`): taken from an earlier change of the batch or from the stored row.

use std::collections::BTreeMap;
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
use super::key_updates::COMMITS;
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

/// A source of a value, for [`interleave`].
#[derive(Debug, Clone, Copy)]
enum Source {
    Batch(u32),
    Stored(Place),
    /// Taken by this version's commit, or by one of the log's last ones; otherwise at this place.
    Taken(Fingerprint, Option<u64>, Option<Place>),
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
    /// Deletes that the index stands for: their places are the last ones.
    pub memory: &'a Memory,
    /// Where rows are looked for that commits took.
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
    let whole = rows.iter().copied().eq(0..batch.num_rows() as u32);
    let pick = |column: &ArrayRef| -> Result<ArrayRef> {
        Ok(if whole { column.clone() } else { take(column, &chosen, None)? })
    };
    // Rows to be read, for all columns at once.
    let flagged = stored.flagged(&schema, previous).await?;
    let is_own = |key: &Fingerprint| !flagged.contains(key) && stored.live(key).is_some();
    let mut columns: Vec<(usize, Vec<Source>)> = Vec::new();
    for (name, mask) in left_out {
        let Ok(column) = schema.index_of(name) else { continue };
        let is_left_out = |row: u32| mask.is_valid(row as usize) && mask.value(row as usize);
        if !rows.iter().any(|row| is_left_out(*row)) {
            continue;
        }
        let locate = |row: &u32| stored.locate(resolve(previous, is_left_out, is_own, *row));
        columns.push((column, rows.iter().map(locate).collect()));
    }
    if columns.is_empty() {
        let taken: Result<Vec<ArrayRef>> = batch.columns().iter().map(pick).collect();
        return Ok((with_rows(&schema, taken?, rows.len())?, 0));
    }
    let names: Vec<String> = columns.iter().map(|(i, _)| schema.field(*i).name().clone()).collect();
    let values = stored.read(&schema, &names, places(&columns)).await?;
    let gone = stored.taken(&schema, &names, &columns).await?;
    let mut missing = 0;
    let mut taken = batch.columns().iter().map(pick).collect::<Result<Vec<ArrayRef>>>()?;
    let mut fields: Vec<FieldRef> = schema.fields().to_vec();
    let views = with_views(&schema);
    for (column, sources) in &columns {
        fields[*column] = views.fields()[*column].clone();
        let (array, lost) = gather(batch, *column, &fields[*column], sources, &values, &gone)?;
        taken[*column] = array;
        missing += lost;
    }
    Ok((with_rows(&Arc::new(Schema::new(fields)), taken, rows.len())?, missing))
}

/// The places that are to be read.
fn places(columns: &[(usize, Vec<Source>)]) -> BTreeMap<FileId, Vec<u32>> {
    let mut places: BTreeMap<FileId, Vec<u32>> = BTreeMap::new();
    for source in columns.iter().flat_map(|(_, sources)| sources) {
        if let Source::Stored(place) | Source::Taken(_, _, Some(place)) = source {
            places.entry(place.file).or_default().push(place.row);
        }
    }
    places
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
            Found::Taken(key, version) => return Source::Taken(*key, Some(*version), None),
            Found::Last(key) => {
                let place = self.state.and_then(|_| self.index.get(key));
                // Without an index, places of deleted rows are those of files that still are in the table.
                let last = self.indexed && self.memory.get(key).is_some_and(|known| known.placed);
                if self.live(key).is_none() && (place.is_none() || !last) {
                    return Source::Taken(*key, None, place);
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

    /// The rows that commits took.
    async fn taken(&self, schema: &SchemaRef, columns: &[String], sources: &[(usize, Vec<Source>)]) -> Result<Gone> {
        let mut wanted: BTreeMap<Option<u64>, HashSet<Fingerprint>> = BTreeMap::new();
        for source in sources.iter().flat_map(|(_, sources)| sources) {
            if let Source::Taken(key, commit, _) = source {
                wanted.entry(*commit).or_default().insert(*key);
            }
        }
        let mut gone = Gone::default();
        let Some(history) = self.history else { return Ok(gone) };
        for (commit, keys) in wanted {
            let versions = match commit {
                Some(version) => version..=version,
                None => (history.version + 1).saturating_sub(COMMITS)..=history.version,
            };
            for (rows, keys) in deleted_rows(history, versions, schema, columns, keys).await? {
                let place = |row: usize| (gone.rows.len(), row);
                gone.places.extend(keys.iter().enumerate().map(|(row, key)| ((*key, commit), place(row))));
                gone.rows.push(rows);
            }
        }
        Ok(gone)
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

/// Rows that are not in the table, by their key and, where it is known, the commit that took them.
#[derive(Debug, Default)]
struct Gone {
    rows: Vec<RecordBatch>,
    places: HashMap<(Fingerprint, Option<u64>), (usize, usize)>,
}

/// Builds one column from its sources, in the type of `field`; nulls and their number where there is none.
fn gather(
    batch: &RecordBatch,
    column: usize,
    field: &FieldRef,
    sources: &[Source],
    values: &HashMap<FileId, FileValues>,
    gone: &Gone,
) -> Result<(ArrayRef, u64)> {
    let name = field.name();
    let null = new_null_array(field.data_type(), 1);
    let mut arrays: Vec<ArrayRef> = vec![conform(batch.column(column), field.data_type())?, null];
    let mut files: HashMap<FileId, usize> = HashMap::new();
    let mut missing = 0;
    let mut indices = Vec::with_capacity(sources.len());
    for source in sources {
        let (taken, place) = match source {
            Source::Batch(row) => (Some((0, *row as usize)), None),
            Source::Missing => (None, None),
            Source::Taken(key, commit, place) => {
                let taken = gone.places.get(&(*key, *commit)).and_then(|(number, row)| {
                    arrays.push(gone.rows.get(*number)?.column_by_name(name)?.slice(*row, 1));
                    Some((arrays.len() - 1, 0))
                });
                (taken, *place)
            }
            Source::Stored(place) => (None, Some(*place)),
        };
        let found = match (taken, place) {
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
