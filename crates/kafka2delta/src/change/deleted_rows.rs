//! Rows of keys that were deleted before the table was opened, for values that a key update leaves out: found in the
//! log's last commits, newest first, by the rows that each of them took.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalake::logstore::LogStoreRef;
use hashbrown::{HashMap, HashSet};
use object_store::ObjectStore;
use roaring::RoaringBitmap;

use crate::datafile::read::read_rows_in_views;
use crate::error::{ErrorCode, Result};
use crate::index::build::read_keys;
use crate::key::columns::KeyColumns;
use crate::key::hasher::Fingerprint;
use crate::log::actions::{Add, Commit, DeletionVectorDescriptor, Remove};
use crate::log::deletion_vectors;

/// Commits looked at. The two halves of a key update follow each other at once within a partition.
const COMMITS: u64 = 32;

/// A table's log and files, up to a version.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// The log.
    pub log_store: &'a LogStoreRef,
    /// Where the data files are.
    pub store: &'a Arc<dyn ObjectStore>,
    /// The newest version to look at.
    pub version: u64,
    /// To tell the rows.
    pub key: &'a KeyColumns,
}

/// Tag of a file that was never in the table, for rows of updated keys that were never stored.
const MOVED_TAG: &str = "kafka2delta.moved";

/// The action that such a file is found by. To readers of changes nothing happens.
pub fn moved(file: &Add, now: i64) -> Remove {
    let tags = [(MOVED_TAG.to_owned(), Some("true".to_owned()))].into();
    Remove { data_change: false, tags: Some(tags), ..file.to_remove(now) }
}

/// Whether it is such an action.
pub fn is_moved(remove: &Remove) -> bool {
    remove.tags.as_ref().is_some_and(|tags| tags.contains_key(MOVED_TAG))
}

/// The rows of these keys as they were when they were last deleted: those columns of `schema` that are named, with views of
/// texts and bytes.
pub async fn deleted_rows(
    history: History<'_>,
    schema: &SchemaRef,
    columns: &[String],
    mut wanted: HashSet<Fingerprint>,
) -> Result<Vec<(RecordBatch, Vec<Fingerprint>)>> {
    let mut found = Vec::new();
    for version in (history.version.saturating_sub(COMMITS - 1)..=history.version).rev() {
        if wanted.is_empty() {
            break;
        }
        let Some(bytes) = history.log_store.read_commit_entry(version).await? else { break };
        let commit = Commit::parse(&bytes)?;
        let kept: HashMap<&str, &Add> = commit.adds.iter().map(|add| (add.path.as_str(), add)).collect();
        // A compaction takes no rows.
        for remove in commit.removes.iter().filter(|remove| remove.data_change || is_moved(remove)) {
            let Some(add) = remove.to_add() else { continue };
            let vector = kept.get(remove.path.as_str()).map(|add| add.deletion_vector.as_ref());
            match history.taken_rows(schema, &add, vector, &wanted).await {
                Ok(rows) if !rows.is_empty() => {
                    let numbers: Vec<u32> = rows.iter().map(|(row, _)| *row).collect();
                    let batch = read_rows_in_views(history.store, &add, schema, columns, &numbers).await?;
                    for (_, key) in &rows {
                        wanted.remove(key);
                    }
                    found.push((batch, rows.into_iter().map(|(_, key)| key).collect()));
                }
                Ok(_) => {}
                // Vacuumed.
                Err(error) if error.code == ErrorCode::TableCorrupt => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

impl History<'_> {
    async fn vector(&self, descriptor: Option<&DeletionVectorDescriptor>) -> Result<RoaringBitmap> {
        match descriptor {
            Some(descriptor) => deletion_vectors::read(self.store.as_ref(), descriptor).await,
            None => Ok(RoaringBitmap::new()),
        }
    }

    /// The rows of wanted keys that a commit took from a file. `vector`: the one that it gave the file, which stayed.
    async fn taken_rows(
        &self,
        schema: &SchemaRef,
        add: &Add,
        vector: Option<Option<&DeletionVectorDescriptor>>,
        wanted: &HashSet<Fingerprint>,
    ) -> Result<Vec<(u32, Fingerprint)>> {
        let before = self.vector(add.deletion_vector.as_ref()).await?;
        let after = match vector {
            Some(descriptor) => Some(self.vector(descriptor).await?),
            None => None,
        };
        let keys = read_keys(self.store.clone(), add.clone(), schema.clone(), self.key.clone()).await?;
        let rows = (0u32..)
            .zip(keys)
            .filter(|(row, key)| {
                let taken = after.as_ref().is_none_or(|after| after.contains(*row));
                taken && !before.contains(*row) && wanted.contains(key)
            })
            .collect();
        Ok(rows)
    }
}
