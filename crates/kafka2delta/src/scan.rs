//! Building the key index: key columns of data files, in parallel.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use object_store::ObjectStore;
use roaring::RoaringBitmap;

use crate::dv;
use crate::error::{Error, ErrorCode, Result};
use crate::index::{KeyIndex, Place};
use crate::keys::{Fingerprint, KeyHasher};
use crate::log::actions::Add;
use crate::log::state::{FileId, TableState};
use crate::read::read_columns;

/// Files read at the same time.
const PARALLEL_FILES: usize = 4;

/// Reads the deletion vectors of these files that the state does not have yet.
pub async fn load_vectors(store: &Arc<dyn ObjectStore>, state: &mut TableState, files: &[FileId]) -> Result<()> {
    let wanted: Vec<_> = files
        .iter()
        .filter(|id| state.files[**id as usize].deleted.is_none())
        .filter_map(|id| Some((*id, state.files[*id as usize].add.deletion_vector.clone()?)))
        .collect();
    // Boxed futures of owned things: closures over references are not Send in general.
    let reads: Vec<BoxFuture<'static, Result<_>>> = wanted
        .into_iter()
        .map(|(id, descriptor)| {
            let store = store.clone();
            async move { dv::read(store.as_ref(), &descriptor).await.map(|rows| (id, rows)) }.boxed()
        })
        .collect();
    let mut vectors = futures::stream::iter(reads).buffer_unordered(16);
    while let Some(vector) = vectors.next().await {
        let (id, rows) = vector?;
        state.files[id as usize].deleted = Some(Arc::new(rows));
    }
    Ok(())
}

/// What is needed to read keys.
#[derive(Debug, Clone)]
pub struct KeyColumns {
    /// Names, in the key's order.
    pub names: Vec<String>,
    /// For the table's types.
    pub hasher: Arc<KeyHasher>,
}

impl KeyColumns {
    /// The keys of rows that have the key's columns.
    pub fn fingerprints(&self, rows: &RecordBatch) -> Result<Vec<Fingerprint>> {
        let column = |name: &String| {
            let column = rows.column_by_name(name).cloned();
            column.ok_or_else(|| Error::new(ErrorCode::Internal, format!("the key column '{name}' is gone")))
        };
        self.hasher.fingerprints(&self.names.iter().map(column).collect::<Result<Vec<_>>>()?)
    }
}

/// The keys of a file's rows, deleted ones included.
pub(crate) async fn read_keys(
    store: Arc<dyn ObjectStore>,
    add: Add,
    schema: SchemaRef,
    key: KeyColumns,
) -> Result<Vec<Fingerprint>> {
    let mut keys = Vec::with_capacity(usize::try_from(add.num_records().unwrap_or(0)).unwrap_or(0).min(1 << 24));
    read_columns(&store, &add, &schema, &key.names, None, |columns| {
        keys.extend(key.hasher.fingerprints(&columns)?);
        Ok(())
    })
    .await?;
    Ok(keys)
}

/// Enters the rows of `files` into the index. Live rows win over deleted ones, whose places are kept as long as their
/// key has no other: a key update may still ask for their values.
pub async fn index_files(
    store: &Arc<dyn ObjectStore>,
    state: &TableState,
    schema: &SchemaRef,
    key: &KeyColumns,
    files: &[FileId],
    index: &mut KeyIndex,
) -> Result<u64> {
    let mut duplicates = 0;
    let rows: u64 = files.iter().filter_map(|id| state.files[*id as usize].num_live_rows()).sum();
    index.reserve(usize::try_from(rows).unwrap_or(0));
    let reads: Vec<BoxFuture<'static, Result<_>>> = files
        .iter()
        .copied()
        .map(|id| {
            let task = read_keys(store.clone(), state.files[id as usize].add.clone(), schema.clone(), key.clone());
            // A task of its own: decoding uses all cores.
            async move { Ok((id, tokio::spawn(task).await??)) }.boxed()
        })
        .collect();
    let mut reads = futures::stream::iter(reads).buffered(PARALLEL_FILES);
    while let Some(read) = reads.next().await {
        let (file, keys) = read?;
        let deleted = vector_of(state, file)?;
        for (row, key) in keys.into_iter().enumerate() {
            let place = Place { file, row: row_number(row)? };
            let known = index.get(&key).filter(|known| is_live(state, *known));
            if deleted.contains(place.row) {
                if known.is_none() {
                    index.insert(key, place);
                }
                continue;
            }
            duplicates += u64::from(known.is_some_and(|known| known.file != file || known.row != place.row));
            index.insert(key, place);
        }
    }
    Ok(duplicates)
}

/// Rows that a file's deletion vector deletes.
pub fn vector_of(state: &TableState, file: FileId) -> Result<&RoaringBitmap> {
    state.files[file as usize]
        .deleted
        .as_deref()
        .ok_or_else(|| Error::new(ErrorCode::Internal, "a deletion vector was not read before it was asked for"))
}

/// Whether a place holds a row of the table at the state's version.
pub fn is_live(state: &TableState, place: Place) -> bool {
    let file = &state.files[place.file as usize];
    file.live && !file.deleted.as_ref().is_some_and(|deleted| deleted.contains(place.row))
}

/// A row's number, which Delta bounds by what a deletion vector can name.
pub fn row_number(row: usize) -> Result<u32> {
    u32::try_from(row).map_err(|_| Error::new(ErrorCode::TableUnsupported, "a data file has more than 2^32 rows"))
}
