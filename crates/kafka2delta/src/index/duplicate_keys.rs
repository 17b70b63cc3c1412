//! The error of a table in which a key has more than one row: none of them can be told to be the right one.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::util::display::array_value_to_string;
use hashbrown::HashSet;
use object_store::ObjectStore;

use super::build::read_keys;
use crate::datafile::read::read_rows;
use crate::error::{Error, ErrorCode, Result};
use crate::key::columns::KeyColumns;
use crate::key::hasher::{Fingerprint, table_hash};
use crate::log::files::FileId;
use crate::log::liveness::vector_of;
use crate::log::state::TableState;

/// Keys held while one with two rows is looked for.
const KEYS_AT_ONCE: u64 = 2 << 20;

/// The error, which names one of the keys.
pub async fn error(
    store: &Arc<dyn ObjectStore>,
    state: &TableState,
    schema: &SchemaRef,
    key: &KeyColumns,
    duplicates: u64,
) -> Error {
    let example = match example(store, state, schema, key).await {
        Ok(Some(example)) => format!(", one of them {example}"),
        Ok(None) => String::new(),
        Err(error) => {
            tracing::debug!(error = ?error.chain(), "no example of a key that is there twice");
            String::new()
        }
    };
    Error::new(
        ErrorCode::TableUnsupported,
        format!(
            "the table holds {duplicates} rows more than keys ({}){example}: another writer put them there, and which \
             row is right cannot be told. Remove the duplicates, or name the right primaryKey; the stream goes on then",
            key.names.join(", ")
        ),
    )
}

/// A key that has two rows, as `id = 7, tenant = 1`. The keys are looked through in parts, so that memory is bounded.
async fn example(
    store: &Arc<dyn ObjectStore>,
    state: &TableState,
    schema: &SchemaRef,
    key: &KeyColumns,
) -> Result<Option<String>> {
    let files: Vec<FileId> = state.live_files().map(|(id, _)| id).collect();
    let rows: u64 = files.iter().filter_map(|id| state.files[*id as usize].num_live_rows()).sum();
    let parts = rows.div_ceil(KEYS_AT_ONCE).max(1);
    for part in 0..parts {
        let mut seen: HashSet<Fingerprint> = HashSet::new();
        for id in &files {
            let add = &state.files[*id as usize].add;
            let keys = read_keys(store.clone(), add.clone(), schema.clone(), key.clone()).await?;
            let deleted = vector_of(state, *id)?;
            let mut live = (0u32..).zip(&keys).filter(|(row, _)| !deleted.contains(*row));
            let twice = live.find(|(_, key)| table_hash(key) % parts == part && !seen.insert(**key));
            let Some((row, _)) = twice else { continue };
            let found = read_rows(store, add, schema, &key.names, &[row]).await?;
            let mut values = Vec::with_capacity(key.names.len());
            for (name, column) in key.names.iter().zip(found.columns()) {
                values.push(format!("{name} = {}", array_value_to_string(column, 0)?));
            }
            return Ok(Some(values.join(", ")));
        }
    }
    Ok(None)
}
