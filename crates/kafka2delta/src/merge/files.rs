//! Data files of a batch: stored before the commit that names them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{BooleanArray, RecordBatch};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::task::JoinHandle;

use super::held::Held;
use super::prepared::{Prepared, complete};
use super::result::{Timings, millis};
use crate::change::deleted_rows::History;
use crate::change::left_out::{Stored, fill};
use crate::datafile::copies::Copies;
use crate::datafile::encode::{DataFile, encode};
use crate::datafile::order_columns;
use crate::datafile::partition_values::empty_to_null;
use crate::datafile::pieces::cut;
use crate::datafile::remove_rows::Taken;
use crate::datafile::split::{FileRows, split, split_by_size};
use crate::error::{Error, ErrorCode, Result};
use crate::log::store::delete_unused;
use crate::machine::spawn_blocking;
use crate::options::OnMissingValue;
use crate::schema::conform_batch;
use crate::table::KeyedTable;

/// Bytes of rows that are completed and encoded at a time: more than a batch brings, unless its changes leave out large
/// values.
const PART_BYTES: usize = 256 << 20;

/// Data files of the batch, stored but not committed.
pub(super) struct Written {
    pub(super) files: Vec<(DataFile, FileRows)>,
    pub(super) missing: u64,
    /// Partition columns in which additional columns had empty texts.
    pub(super) empty_partition_values: Vec<String>,
    /// Of rows whose keys were updated before they were stored. The table never holds them: they are found in the log.
    pub(super) moved_files: Vec<DataFile>,
}

/// Data files that are being stored.
pub(super) struct Storing {
    puts: Vec<JoinHandle<Result<()>>>,
    written: Written,
}

impl Storing {
    /// Waits until all is stored; where one file cannot be, the others are removed.
    pub(super) async fn finish(self, store: &Arc<dyn ObjectStore>) -> Result<Written> {
        let mut failed = None;
        for put in self.puts {
            if let Err(error) = put.await.map_err(Error::from).flatten() {
                failed.get_or_insert(error);
            }
        }
        match failed {
            None => Ok(self.written),
            Some(error) => {
                discard(store, self.written).await;
                Err(error)
            }
        }
    }
}

impl Storing {
    /// Begins to store a file.
    fn store(&mut self, store: &Arc<dyn ObjectStore>, path: &Path, bytes: Bytes) {
        self.puts.push(tokio::spawn(put(store.clone(), path.clone(), bytes)));
    }

    /// Removes what was stored so far.
    async fn discard(self, store: &Arc<dyn ObjectStore>) {
        for put in self.puts {
            // Those that failed have left nothing.
            let _ = put.await;
        }
        discard(store, self.written).await;
    }

    fn note_empty(&mut self, columns: Vec<String>) {
        let known = &mut self.written.empty_partition_values;
        known.extend(columns.into_iter().filter(|name| !known.contains(name)).collect::<Vec<_>>());
    }
}

impl KeyedTable {
    /// Fills in left-out values, computes additional columns, encodes the new rows, and begins to store them.
    pub(super) async fn write_rows(
        &self,
        prepared: &Prepared,
        timings: &mut Timings,
        clock: &mut Instant,
        held: &mut Held,
    ) -> Result<Storing> {
        let collapsed = &prepared.collapsed;
        let rows: Vec<u32> =
            collapsed.upserts.iter().copied().chain(collapsed.moved.iter().map(|(row, _)| *row)).collect();
        let previous = &collapsed.previous;
        let (filled, missing) = fill(&prepared.base, &rows, &prepared.left_out, previous, self.stored()).await?;
        let missing = missing + prepared.missing;
        if missing > 0 && self.options.on_missing_value == OnMissingValue::Fail {
            return Err(Error::new(
                ErrorCode::MissingValue,
                format!("{missing} values that changes leave out are not stored either, and onMissingValue is 'fail'"),
            ));
        }
        timings.fetch += millis(clock);
        held.add_rows(&filled);
        let moved = filled.slice(collapsed.upserts.len(), collapsed.moved.len());
        let written =
            Written { files: Vec::new(), missing, empty_partition_values: Vec::new(), moved_files: Vec::new() };
        let mut storing = Storing { puts: Vec::new(), written };
        let rows = filled.slice(0, collapsed.upserts.len());
        match self.write_parts(prepared, (&rows, &moved), &mut storing, held).await {
            Ok(()) => Ok(storing),
            Err(error) => {
                storing.discard(self.storage.files()).await;
                Err(error)
            }
        }
    }

    /// Writes rows part by part, beside those that the table never holds.
    async fn write_parts(
        &self,
        prepared: &Prepared,
        (rows, moved): (&RecordBatch, &RecordBatch),
        storing: &mut Storing,
        held: &mut Held,
    ) -> Result<()> {
        let parts = |rows: &RecordBatch| cut(rows, PART_BYTES).into_iter().filter(|part| part.num_rows() > 0);
        for part in parts(moved) {
            let mut file = self.encode_moved(&part, prepared)?;
            storing.store(self.storage.files(), &file.path, std::mem::take(&mut file.bytes));
            storing.written.moved_files.push(file);
        }
        let mut first = 0;
        for part in parts(rows) {
            let rows = first..first + part.num_rows();
            first = rows.end;
            self.write_part(prepared, &part, rows, storing, held).await?;
        }
        Ok(())
    }

    /// Completes, encodes and begins to store a part of the rows that are written: those with these numbers among them.
    async fn write_part(
        &self,
        prepared: &Prepared,
        part: &RecordBatch,
        rows: Range<usize>,
        storing: &mut Storing,
        held: &mut Held,
    ) -> Result<()> {
        let collapsed = &prepared.collapsed;
        let upserts = &collapsed.upserts[rows.clone()];
        let mut part = conform_batch(part, &prepared.base_schema)?;
        if let Some(column) = &self.options.soft_delete_column {
            part = with_flags(&part, column, upserts.iter().map(|row| collapsed.flagged[*row as usize]))?;
        }
        let partition_columns = self.partition_columns();
        let complete = complete(&part, &prepared.schema, &prepared.compiled)?;
        let (mut complete, empty) = empty_to_null(&complete, &partition_columns)?;
        storing.note_empty(empty);
        self.snapshot.check_not_null(&complete)?;
        if !collapsed.upsert_orders.is_empty() {
            complete = order_columns::append(&complete, &collapsed.upsert_orders[rows.clone()])?;
        }
        let kafka: Option<Vec<i32>> =
            prepared.partitions.as_ref().map(|p| upserts.iter().map(|row| p[*row as usize]).collect());
        let groups = split(&complete, &partition_columns, kafka.as_deref())?;
        let groups = split_by_size(groups, &complete, self.options.target_file_size);
        // Rows that go to several files are picked for each.
        let copies = u64::from(groups.len() > 1);
        let files = self.encode_groups(&complete, groups, partition_columns).await?;
        held.add(files.iter().map(|(file, _)| file.bytes.len() as u64).sum());
        held.pass(&complete, copies);
        for (file, mut group) in files {
            storing.store(self.storage.files(), &file.path, file.bytes.clone());
            group.rows.iter_mut().for_each(|row| *row += rows.start as u32);
            storing.written.files.push((file, group));
        }
        Ok(())
    }

    /// Encodes files side by side.
    async fn encode_groups(
        &self,
        rows: &RecordBatch,
        groups: Vec<FileRows>,
        partition_columns: Vec<String>,
    ) -> Result<Vec<(DataFile, FileRows)>> {
        let format = self.file_format();
        let mut tasks = Vec::with_capacity(groups.len());
        for group in groups {
            let (rows, partition_columns, format) = (rows.clone(), partition_columns.clone(), format.clone());
            tasks.push(spawn_blocking(move || {
                let file = encode(&rows, &group, &partition_columns, &format)?;
                Ok::<_, Error>((file, group))
            }));
        }
        let mut files = Vec::with_capacity(tasks.len());
        for task in tasks {
            files.push(task.await??);
        }
        Ok(files)
    }

    /// What left-out values are filled from.
    pub(super) fn stored(&self) -> Stored<'_> {
        let history = self.snapshot.state().zip(self.keys.columns()).map(|(state, key)| History {
            log_store: self.storage.log(),
            store: self.storage.files(),
            version: state.version,
            key,
        });
        Stored {
            store: self.storage.files(),
            state: self.snapshot.state(),
            index: self.keys.index(),
            indexed: self.keys.holds_deleted(),
            memory: self.keys.memory(),
            history,
            soft_delete_column: self.options.soft_delete_column.as_deref(),
        }
    }

    fn encode_moved(&self, moved: &RecordBatch, prepared: &Prepared) -> Result<DataFile> {
        let moved = conform_batch(moved, &prepared.base_schema)?;
        let complete = complete(&moved, &prepared.schema, &prepared.compiled)?;
        let rows = (0..moved.num_rows() as u32).collect();
        let group = FileRows { partition_values: Default::default(), rows, kafka_partition: Some(0) };
        encode(&complete, &group, &[], &self.file_format())
    }

    pub(super) fn partition_columns(&self) -> Vec<String> {
        match self.snapshot.state() {
            Some(state) => state.metadata.partition_columns.clone(),
            None => self.options.partition_columns.clone(),
        }
    }
}

/// The rows with the column that marks deleted ones.
pub(super) fn with_flags(rows: &RecordBatch, column: &str, flags: impl Iterator<Item = bool>) -> Result<RecordBatch> {
    let index = rows.schema_ref().index_of(column)?;
    let mut columns = rows.columns().to_vec();
    columns[index] = Arc::new(flags.map(Some).collect::<BooleanArray>());
    Ok(RecordBatch::try_new(rows.schema(), columns)?)
}

pub(super) async fn put(store: Arc<dyn ObjectStore>, path: Path, bytes: Bytes) -> Result<()> {
    store.put(&path, bytes.into()).await?;
    Ok(())
}

/// Removes data files that no commit names.
pub(super) async fn discard(store: &Arc<dyn ObjectStore>, written: Written) {
    let files = written.files.into_iter().map(|(file, _)| file).chain(written.moved_files);
    delete_unused(store, files.map(|file| file.path).collect()).await;
}

/// Removes copies, vectors and files of the change data feed that no commit names, but for the copies that are kept.
pub(super) async fn delete_taken(table: &KeyedTable, taken: &Taken, kept: &Copies) {
    let kept = kept.paths();
    let copies = taken.rewritten.iter().map(|copy| copy.path.clone()).filter(|path| !kept.contains(path));
    let files = copies.chain(taken.vector_file.clone());
    let files = files.chain(taken.cdcs.iter().map(|cdc| Path::from(cdc.path.as_str()))).collect();
    delete_unused(table.storage.files(), files).await;
}
