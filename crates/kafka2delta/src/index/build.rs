//! Building the key index: key columns of data files, in parallel.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use hashbrown::HashSet;
use object_store::ObjectStore;
use serde::Deserialize;

use super::KeyIndex;
use crate::datafile::read::{ColumnReader, read_columns};
use crate::error::Result;
use crate::key::columns::{KeyColumns, of_current};
use crate::key::hasher::{Fingerprint, is_exact};
use crate::log::actions::Add;
use crate::log::files::{FileEntry, FileId, Place};
use crate::log::liveness::{is_live, row_number, vector_of};
use crate::log::state::TableState;

/// Files read at the same time: a store answers slowly, and their keys are held.
const PARALLEL_FILES: usize = 8;

/// The keys of a file's rows, deleted ones included.
pub(crate) async fn read_keys(
    store: Arc<dyn ObjectStore>,
    add: Add,
    schema: SchemaRef,
    key: KeyColumns,
) -> Result<Vec<Fingerprint>> {
    let mut keys = Vec::with_capacity(usize::try_from(add.num_records().unwrap_or(0)).unwrap_or(0).min(1 << 24));
    read_columns(&store, &add, &schema, &key_columns(&key), None, |columns| {
        keys.extend(of_columns(&columns, &key)?);
        Ok(())
    })
    .await?;
    Ok(keys)
}

/// The columns that tell the keys of rows.
pub fn key_columns(key: &KeyColumns) -> Vec<String> {
    key.names.iter().chain(&key.current).cloned().collect()
}

fn of_columns(columns: &[ArrayRef], key: &KeyColumns) -> Result<Vec<Fingerprint>> {
    let (columns, current) = columns.split_at(key.names.len());
    Ok(of_current(key.hasher.fingerprints(columns)?, current.first()))
}

/// What to index.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The table's.
    pub schema: &'a SchemaRef,
    /// The key's columns.
    pub key: &'a KeyColumns,
    /// These keys alone, where given.
    pub wanted: Option<&'a HashSet<Fingerprint>>,
    /// Keys that were deleted when we last knew: it is told which of them have rows.
    pub deleted: Option<&'a (dyn Fn(&Fingerprint) -> bool + Sync)>,
}

/// What was indexed.
#[derive(Debug, Default)]
pub struct Indexed {
    /// Live rows beyond the first one of a key.
    pub duplicates: u64,
    /// Those of [`Scope::deleted`] that have rows again.
    pub live_again: Vec<Fingerprint>,
}

/// Files in parts, each of up to `most` rows: one that has more, or of which that is not known, is a part of its own.
pub fn parts<'a>(state: &TableState, files: &'a [FileId], most: usize) -> Vec<&'a [FileId]> {
    let mut parts = Vec::new();
    let (mut first, mut sum) = (0, 0);
    for (n, id) in files.iter().enumerate() {
        let rows = state.files[*id as usize].num_records.unwrap_or(u64::MAX);
        sum = rows.saturating_add(sum);
        if sum > most as u64 && n > first {
            parts.push(&files[first..n]);
            (first, sum) = (n, rows);
        }
    }
    if first < files.len() {
        parts.push(&files[first..]);
    }
    parts
}

/// Enters the rows of `files` into the index. Live rows win over deleted ones, whose places are kept as long as their
/// key has no other and all is in memory: a key update may still ask for their values.
pub async fn index_files(
    store: &Arc<dyn ObjectStore>,
    state: &TableState,
    scope: Scope<'_>,
    files: &[FileId],
    index: &mut KeyIndex,
) -> Result<Indexed> {
    let mut indexed = Indexed::default();
    let reads: Vec<BoxFuture<'static, Result<_>>> = files
        .iter()
        .copied()
        .map(|id| {
            let add = state.files[id as usize].add.clone();
            let task = read_keys(store.clone(), add, scope.schema.clone(), scope.key.clone());
            // A task of its own: decoding uses all cores.
            async move { Ok((id, tokio::spawn(task).await??)) }.boxed()
        })
        .collect();
    let mut reads = futures::stream::iter(reads).buffered(PARALLEL_FILES);
    while let Some(read) = reads.next().await {
        let (file, keys) = read?;
        enter_keys(state, scope, Place { file, row: 0 }, keys, index, &mut indexed)?;
    }
    Ok(indexed)
}

/// Enters rows of one file. `first`: the place of the first key.
pub fn enter_keys(
    state: &TableState,
    scope: Scope<'_>,
    first: Place,
    mut keys: Vec<Fingerprint>,
    index: &mut KeyIndex,
    indexed: &mut Indexed,
) -> Result<()> {
    let deleted = vector_of(state, first.file)?;
    row_number(first.row as usize + keys.len())?;
    let keeps_deleted = index.is_in_memory();
    let mut rows: Option<Vec<u32>> = None;
    if let Some(wanted) = scope.wanted {
        let found: Vec<u32> = (0u32..).zip(&keys).filter(|(_, key)| wanted.contains(*key)).map(|(n, _)| n).collect();
        keys = found.iter().map(|row| keys[*row as usize]).collect();
        rows = Some(found);
    }
    index.insert_all(&keys, |n, known| {
        let place = Place { file: first.file, row: first.row + rows.as_ref().map_or(n as u32, |rows| rows[n]) };
        let known = known.filter(|known| is_live(state, *known));
        if deleted.contains(place.row) {
            return (known.is_none() && keeps_deleted).then_some(place);
        }
        indexed.duplicates += u64::from(known.is_some_and(|known| known != place));
        indexed.live_again.extend(scope.deleted.filter(|is_deleted| is_deleted(&keys[n])).map(|_| keys[n]));
        Some(place)
    });
    Ok(())
}

/// Reads the keys of a large file in portions.
pub struct KeyReader<'a> {
    read: ColumnReader<'a>,
    key: &'a KeyColumns,
}

impl<'a> KeyReader<'a> {
    /// Opens the file. `names`: of [`key_columns`].
    pub async fn open(
        store: &Arc<dyn ObjectStore>,
        add: &'a Add,
        schema: &'a SchemaRef,
        key: &'a KeyColumns,
        names: &'a [String],
    ) -> Result<Self> {
        Ok(Self { read: ColumnReader::open(store, add, schema, names, None).await?, key })
    }

    /// The keys of the next rows, deleted ones included: those of some batches, until there are `most`. None at the end.
    pub async fn next(&mut self, most: usize) -> Result<Vec<Fingerprint>> {
        let mut keys = Vec::new();
        while keys.len() < most
            && let Some(columns) = self.read.next().await?
        {
            keys.extend(of_columns(&columns, self.key)?);
        }
        Ok(keys)
    }
}

/// Whether a file may hold one of the keys, by its statistics. Keys that fingerprints do not hold may be anywhere.
pub fn may_hold(file: &FileEntry, key: &KeyColumns, wanted: &HashSet<Fingerprint>) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Bounds {
        min_values: Option<serde_json::Map<String, serde_json::Value>>,
        max_values: Option<serde_json::Map<String, serde_json::Value>>,
    }
    let [name] = key.names.as_slice() else { return true };
    if !key.hasher.is_exact() {
        return true;
    }
    let bounds: Option<Bounds> = file.add.stats.as_deref().and_then(|stats| serde_json::from_str(stats).ok());
    let bound = |values: Option<serde_json::Map<String, serde_json::Value>>| values?.get(name)?.as_i64();
    let Some(Bounds { min_values, max_values }) = bounds else { return true };
    let (Some(min), Some(max)) = (bound(min_values), bound(max_values)) else { return true };
    wanted.iter().any(|key| !is_exact(key) || (min..=max).contains(&(key[0] as i64)))
}
