//! Rows that commits took, for values that a key update leaves out: of a commit, or of the log's last ones, newest first.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalake::logstore::LogStoreRef;
use futures::{FutureExt, StreamExt, TryStreamExt};
use hashbrown::{HashMap, HashSet};
use object_store::ObjectStore;
use roaring::RoaringBitmap;

use crate::datafile::read::{PARALLEL_READS, read_rows_in_views};
use crate::error::{ErrorCode, Result};
use crate::index::build::read_keys;
use crate::key::columns::KeyColumns;
use crate::key::hasher::Fingerprint;
use crate::log::actions::{Add, Commit, DeletionVectorDescriptor, Remove};
use crate::log::deletion_vectors;
use crate::log::entries::read_entries;

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

/// The rows of these keys as they were when one of these versions' commits last took them: those columns of `schema` that are
/// named, with views of texts and bytes. The oldest first: a key may have several.
pub async fn deleted_rows(
    history: History<'_>,
    versions: RangeInclusive<u64>,
    schema: &SchemaRef,
    columns: &[String],
    mut wanted: HashSet<Fingerprint>,
) -> Result<Vec<TakenRows>> {
    let mut found = Vec::new();
    let mut entries = read_entries(history.log_store, versions.rev());
    while !wanted.is_empty()
        && let Some(Some(bytes)) = entries.try_next().await?
    {
        let commit = Commit::parse(&bytes)?;
        let kept: HashMap<&str, &Add> = commit.adds.iter().map(|add| (add.path.as_str(), add)).collect();
        // A compaction takes no rows.
        let removes = commit.removes.iter().filter(|remove| remove.data_change || is_moved(remove));
        let reads = removes.filter_map(|remove| {
            let vector = kept.get(remove.path.as_str()).map(|add| add.deletion_vector.as_ref());
            Some(history.taken_rows(schema, columns, remove.to_add()?, vector, &wanted).boxed())
        });
        let reads = futures::stream::iter(reads.collect::<Vec<_>>()).buffered(PARALLEL_READS);
        let taken: Vec<TakenRows> = reads.try_filter_map(|taken| async { Ok(taken) }).try_collect().await?;
        for key in taken.iter().flat_map(|(_, keys)| keys) {
            wanted.remove(key);
        }
        found.extend(taken);
    }
    found.reverse();
    Ok(found)
}

/// Rows, and their keys.
type TakenRows = (RecordBatch, Vec<Fingerprint>);

impl History<'_> {
    async fn vector(&self, descriptor: Option<&DeletionVectorDescriptor>) -> Result<RoaringBitmap> {
        match descriptor {
            Some(descriptor) => deletion_vectors::read(self.store.as_ref(), descriptor).await,
            None => Ok(RoaringBitmap::new()),
        }
    }

    /// The rows of wanted keys that a commit took from a file, if there are any and it was not vacuumed. `vector`: the one
    /// that it gave the file, which stayed.
    async fn taken_rows(
        self,
        schema: &SchemaRef,
        columns: &[String],
        add: Add,
        vector: Option<Option<&DeletionVectorDescriptor>>,
        wanted: &HashSet<Fingerprint>,
    ) -> Result<Option<TakenRows>> {
        let (rows, keys): (Vec<u32>, Vec<Fingerprint>) = match self.taken_keys(schema, &add, vector, wanted).await {
            Ok(taken) => taken.into_iter().unzip(),
            Err(error) if error.code == ErrorCode::TableCorrupt => return Ok(None),
            Err(error) => return Err(error),
        };
        if rows.is_empty() {
            return Ok(None);
        }
        Ok(Some((read_rows_in_views(self.store, &add, schema, columns, &rows).await?, keys)))
    }

    /// Their numbers and keys.
    async fn taken_keys(
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
