//! The change data feed: what a commit changed, row by row, in tables with `delta.enableChangeDataFeed`.
//!
//! A commit that has files of the feed is told by them alone, so they hold all of its changes: the rows as they were
//! and as they are. Format: <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#add-cdc-file>. The files hold the
//! table's columns but for those of its partitions, and `_change_type`.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use roaring::RoaringBitmap;

use super::files::Written;
use super::locate::Located;
use crate::datafile::format::{FileFormat, large_columns};
use crate::datafile::paths::partition_folder;
use crate::datafile::read::{RowsOfFile, begin_reads};
use crate::datafile::remove_rows::Deletions;
use crate::datafile::split::{FileRows, split};
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::Cdc;
use crate::log::features::CHANGE_DATA_FEED;
use crate::log::state::TableState;
use crate::machine::{new_id, spawn_blocking};
use crate::table::KeyedTable;

/// Columns that a reader of the feed adds to the table's.
const COLUMNS: [&str; 3] = ["_change_type", "_commit_version", "_commit_timestamp"];
/// Bytes of rows held before they are stored.
const MAX_HELD: usize = 64 << 20;

/// What happened to a row of the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeType {
    Insert,
    UpdatePreimage,
    UpdatePostimage,
    Delete,
}

impl ChangeType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::UpdatePreimage => "update_preimage",
            Self::UpdatePostimage => "update_postimage",
            Self::Delete => "delete",
        }
    }
}

/// The feed of one attempt to commit. Rows are stored whenever some have gathered.
pub(super) struct ChangeFeed {
    store: Arc<dyn ObjectStore>,
    /// The table's with this commit.
    schema: SchemaRef,
    partition_columns: Vec<String>,
    format: FileFormat,
    held: Vec<RecordBatch>,
    held_bytes: usize,
    files: Vec<Cdc>,
    bytes: u64,
}

impl KeyedTable {
    /// Whether commits tell what they change.
    pub(super) fn has_change_feed(&self) -> bool {
        self.property(CHANGE_DATA_FEED).is_some_and(|v| v.eq_ignore_ascii_case("true"))
    }

    /// Refuses columns that readers of the feed could not tell from its own.
    pub(super) fn check_feed_names(&self, schema: &Schema) -> Result<()> {
        let taken = |field: &&Arc<Field>| COLUMNS.iter().any(|name| name.eq_ignore_ascii_case(field.name()));
        match schema.fields().iter().find(taken).filter(|_| self.has_change_feed()) {
            None => Ok(()),
            Some(field) => Err(Error::new(
                ErrorCode::ConfigInvalid,
                format!(
                    "the column '{}' has a name that the change data feed keeps for itself: rename it (renameColumns), \
                     or set {CHANGE_DATA_FEED} to false",
                    field.name()
                ),
            )),
        }
    }

    /// A feed for a commit after which the table has this schema; none where the table keeps none.
    pub(super) fn change_feed(&self, schema: &SchemaRef) -> Result<Option<ChangeFeed>> {
        self.check_feed_names(schema)?;
        Ok(self.has_change_feed().then(|| ChangeFeed {
            store: self.storage.files().clone(),
            schema: schema.clone(),
            partition_columns: self.partition_columns(),
            format: self.file_format(),
            held: Vec::new(),
            held_bytes: 0,
            files: Vec::new(),
            bytes: 0,
        }))
    }
}

impl ChangeFeed {
    /// The rows that the commit takes out, as they were. Those of keys that get another row, and those of `kept` (which
    /// are written again) are updated; the others are deleted.
    pub(super) async fn push_taken(
        &mut self,
        state: &TableState,
        located: &Located,
        deletions: &Deletions,
        kept: Option<&Deletions>,
    ) -> Result<()> {
        let mut updated = Deletions::new();
        for place in located.upserts.iter().flatten() {
            updated.entry(place.file).or_default().insert(place.row);
        }
        for (id, rows) in kept.into_iter().flatten() {
            *updated.entry(*id).or_default() |= rows;
        }
        let none = RoaringBitmap::new();
        let files =
            deletions.iter().map(|(id, rows)| (*id, state.files[*id as usize].add.clone(), rows.iter().collect()));
        let mut reads = begin_reads(&self.store, &self.schema, files);
        while let Some(read) = reads.try_next().await? {
            let updated = updated.get(&read.file).unwrap_or(&none);
            let change = |row| if updated.contains(row) { ChangeType::UpdatePreimage } else { ChangeType::Delete };
            self.push_stored(read, change).await?;
        }
        Ok(())
    }

    /// The rows that the commit puts in, read back from their files.
    pub(super) async fn push_written(&mut self, located: &Located, written: &Written) -> Result<()> {
        let files = written.files.iter().enumerate();
        let files = files.map(|(n, (file, group))| (n, file.add.clone(), (0..group.rows.len() as u32).collect()));
        let mut reads = begin_reads(&self.store, &self.schema, files);
        while let Some(read) = reads.try_next().await? {
            let (_, group) = &written.files[read.file];
            let change = |row: u32| {
                let place = group.rows.get(row as usize).and_then(|source| located.upserts.get(*source as usize));
                match place {
                    Some(Some(_)) => ChangeType::UpdatePostimage,
                    _ => ChangeType::Insert,
                }
            };
            self.push_stored(read, change).await?;
        }
        Ok(())
    }

    async fn push_stored<T>(&mut self, mut read: RowsOfFile<T>, change: impl Fn(u32) -> ChangeType) -> Result<()> {
        let mut rest = &read.rows[..];
        while let Some(found) = read.batches.try_next().await? {
            let (these, others) = rest.split_at(found.num_rows().min(rest.len()));
            self.push(&found, these.iter().map(|row| change(*row)).collect()).await?;
            rest = others;
        }
        match rest.is_empty() {
            true => Ok(()),
            false => Err(Error::new(
                ErrorCode::TableCorrupt,
                format!("{} has fewer rows than the index knows", read.add.path),
            )),
        }
    }

    /// Rows in the table's schema, and what happened to each.
    pub(super) async fn push(&mut self, rows: &RecordBatch, changes: Vec<ChangeType>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let changes: ArrayRef = Arc::new(changes.iter().map(|c| Some(c.as_str())).collect::<StringArray>());
        let columns: Vec<ArrayRef> = rows.columns().iter().cloned().chain([changes]).collect();
        let rows = RecordBatch::try_new(self.file_schema(), columns)?;
        self.held_bytes += rows.get_array_memory_size();
        self.held.push(rows);
        match self.held_bytes > MAX_HELD {
            true => self.store_held().await,
            false => Ok(()),
        }
    }

    fn file_schema(&self) -> SchemaRef {
        let change = Arc::new(Field::new(COLUMNS[0], DataType::Utf8, true));
        Arc::new(Schema::new(self.schema.fields().iter().cloned().chain([change]).collect::<Vec<_>>()))
    }

    async fn store_held(&mut self) -> Result<()> {
        self.held_bytes = 0;
        let held = std::mem::take(&mut self.held);
        if held.is_empty() {
            return Ok(());
        }
        let rows = arrow::compute::concat_batches(&self.file_schema(), &held)?;
        drop(held);
        for group in split(&rows, &self.partition_columns, None)? {
            let (rows, partition_columns, format) = (rows.clone(), self.partition_columns.clone(), self.format.clone());
            let (group, bytes) = spawn_blocking(move || {
                let bytes = encode(&rows, &group, &partition_columns, &format)?;
                Ok::<_, Error>((group, bytes))
            })
            .await??;
            let name = format!("cdc-{}.parquet", new_id());
            let path = match partition_folder(&group.partition_values) {
                Some(folder) => Path::from(format!("_change_data/{folder}/{name}")),
                None => Path::from(format!("_change_data/{name}")),
            };
            let size = i64::try_from(bytes.len())
                .map_err(|_| Error::new(ErrorCode::Internal, "a file of the change data feed exceeds 2^63 bytes"))?;
            self.bytes += bytes.len() as u64;
            self.store.put(&path, bytes.into()).await?;
            let (path, partition_values) = (path.to_string(), group.partition_values);
            self.files.push(Cdc { path, partition_values, size, data_change: false });
        }
        Ok(())
    }

    /// The files' actions, and the bytes of all of them.
    pub(super) async fn finish(mut self) -> Result<(Vec<Cdc>, u64)> {
        self.store_held().await?;
        Ok((self.files, self.bytes))
    }
}

fn encode(rows: &RecordBatch, group: &FileRows, partition_columns: &[String], format: &FileFormat) -> Result<Vec<u8>> {
    let kept: Vec<usize> =
        (0..rows.num_columns()).filter(|i| !partition_columns.contains(rows.schema_ref().field(*i).name())).collect();
    let rows = take_record_batch(&rows.project(&kept)?, &UInt32Array::from(group.rows.clone()))?;
    let schema: SchemaRef = Arc::new(Schema::new(rows.schema().fields().clone()));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let rows = RecordBatch::try_new_with_options(schema.clone(), rows.columns().to_vec(), &options)?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(format.writer_properties(&large_columns(&rows))))?;
    writer.write(&rows)?;
    writer.close()?;
    Ok(bytes)
}
