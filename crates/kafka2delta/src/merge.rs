//! Applying a batch: the way of design.md §6, and the commit rules of §5.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::batch::{ChangeBatch, Sequence};
use crate::collapse::{Collapsed, Truncate, collapse};
use crate::error::{Error, ErrorCode, Result};
use crate::expr::CompiledColumns;
use crate::fill::{Stored, fill};
use crate::index::{Place, Remembered};
use crate::keys::Fingerprint;
use crate::log::actions::{Commit, Format, Metadata, Txn};
use crate::log::commit::{Attempt, attempt, commit_info};
use crate::log::features;
use crate::log::state::{FileEntry, TableState};
use crate::options::{OnMissingValue, OrderGuard};
use crate::rewrite::{self, Deletions, Layout, Taken, num_records};
use crate::scan::{is_live, row_number};
use crate::schema::{Evolved, SchemaEvolution, canonical, conform, conform_batch, evolve, to_delta};
use crate::table::{FLOOR_PROPERTY, KeyedTable, floor_text};
use crate::write::{DataFile, FileRows, PARTITION_TAG, SEQUENCE_TAG, encode, now_millis, split, writer_properties};

/// Attempts to commit before giving up.
const MAX_ATTEMPTS: usize = 30;

/// A Kafka partition's progress, committed with its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offset {
    /// `<queryName>:<topic>:<partition>`
    pub app_id: String,
    /// What must be stored now; none for nothing.
    pub expected: Option<i64>,
    /// The last offset scanned.
    pub last: i64,
}

/// Milliseconds of each step.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timings {
    /// Parsing and keeping the last change per key.
    pub collapse: f64,
    /// Finding rows in the index, and building it the first time.
    pub locate: f64,
    /// Left-out values and additional columns.
    pub fetch: f64,
    /// Data files and deletion vectors.
    pub write: f64,
    /// The log.
    pub commit: f64,
    /// All of it.
    pub total: f64,
}

/// What a merge did.
#[derive(Debug, Clone, Default)]
pub struct MergeResult {
    /// The commit's version.
    pub version: u64,
    /// Rows written.
    pub upserted: u64,
    /// Of them, with keys that the table did not have.
    pub inserted: u64,
    /// Of them, with keys that it had.
    pub updated: u64,
    /// Rows deleted.
    pub deleted: u64,
    /// Changes dropped since a newer one is known.
    pub dropped_stale: u64,
    /// Left-out values that were nowhere to be found.
    pub missing_values: u64,
    /// Files written.
    pub files_added: u64,
    /// Files that left the table.
    pub files_removed: u64,
    /// Files of which rows were taken.
    pub files_touched: u64,
    /// Bytes of files and vectors.
    pub bytes_written: u64,
    /// Columns that are new.
    pub added_columns: Vec<String>,
    /// Columns whose type grew: the table was rewritten.
    pub widened_columns: Vec<String>,
    /// See [`Timings`].
    pub timings: Timings,
}

/// A batch made ready for the table's schema.
struct Prepared {
    /// The table's schema with this batch, and without it the same where nothing is new.
    schema: SchemaRef,
    /// The table's schema when this was made ready.
    based_on: SchemaRef,
    added_columns: Vec<String>,
    widened_columns: Vec<String>,
    compiled: Arc<CompiledColumns>,
    /// The batch in the table's types, without additional columns.
    base: RecordBatch,
    left_out: Vec<(String, BooleanArray)>,
    partitions: Option<Vec<i32>>,
    sequences: Option<Vec<Option<Sequence>>>,
    collapsed: Collapsed,
}

/// Where the keys' rows stand before the batch.
#[derive(PartialEq, Eq)]
struct Located {
    upserts: Vec<Option<Place>>,
    deletes: Vec<Option<Place>>,
    below_floor: Vec<Option<Place>>,
}

/// Data files of the batch, stored but not committed.
struct Written {
    files: Vec<(DataFile, FileRows)>,
    missing: u64,
    /// Filled rows of keys that were updated before they were stored.
    moved: RecordBatch,
}

fn millis(since: &mut Instant) -> f64 {
    let now = Instant::now();
    let elapsed = now.duration_since(*since).as_secs_f64() * 1e3;
    *since = now;
    elapsed
}

impl KeyedTable {
    /// Applies a batch of changes and commits it with the offsets, once. `batch` is an Arrow IPC stream; without one
    /// only the offsets are committed.
    ///
    /// # Errors
    /// `FENCED` where the stored offsets are not the expected ones; after any other error the offsets that the log
    /// stores tell whether the batch was applied.
    pub async fn merge(
        &mut self,
        batch: Option<Bytes>,
        primary_key: &[String],
        offsets: &[Offset],
        cancel: &CancellationToken,
    ) -> Result<MergeResult> {
        if let Some(reason) = &self.stopped {
            return Err(Error::new(ErrorCode::TableReplaced, reason.clone()));
        }
        if self.uncertain {
            self.follow().await?;
        }
        // Until the end is known, the log may be ahead of us.
        self.uncertain = true;
        let result = self.merge_once(batch, primary_key, offsets, cancel).await;
        self.uncertain = result.is_err();
        result
    }

    async fn merge_once(
        &mut self,
        batch: Option<Bytes>,
        primary_key: &[String],
        offsets: &[Offset],
        cancel: &CancellationToken,
    ) -> Result<MergeResult> {
        let start = Instant::now();
        let mut clock = start;
        let mut result = MergeResult::default();
        let batch = batch.map(ChangeBatch::from_ipc).transpose()?.filter(|b| b.num_rows() > 0);
        let mut prepared: Option<Prepared> = None;
        let mut written: Option<(Located, Written)> = None;
        for _ in 0..MAX_ATTEMPTS {
            check_cancelled(cancel)?;
            self.check_fence(offsets)?;
            if let Some(batch) = &batch
                && prepared.as_ref().is_none_or(|p| p.based_on != self.schema)
            {
                discard(self, written.take()).await;
                prepared = Some(self.prepare(batch, primary_key).await?);
            }
            result.timings.collapse += millis(&mut clock);
            let located = prepared.as_ref().map(|p| self.locate(&p.collapsed));
            result.timings.locate += millis(&mut clock);
            if let (Some(prepared), Some(located)) = (&prepared, located)
                && written.as_ref().is_none_or(|(before, _)| *before != located)
            {
                discard(self, written.take()).await;
                let files = self.write_rows(prepared, &mut result.timings, &mut clock).await?;
                written = Some((located, files));
            }
            check_cancelled(cancel)?;
            let id = Uuid::new_v4();
            let work = prepared.as_ref().zip(written.as_ref());
            let (commit, taken) = self.build_commit(work, offsets, id, &mut result).await?;
            result.timings.write += millis(&mut clock);
            let version = self.state.as_ref().map_or(0, |s| s.version + 1);
            let outcome = attempt(&self.log_store, version, &commit, id).await?;
            result.timings.commit += millis(&mut clock);
            match outcome {
                Attempt::Won => {
                    self.committed(version, &commit, &taken, prepared, written)?;
                    result.version = version;
                    self.checkpoint_if_due(version);
                    result.timings.total = start.elapsed().as_secs_f64() * 1e3;
                    return Ok(result);
                }
                Attempt::Lost => {
                    tracing::debug!(version, "another writer took the version");
                    delete_taken(self, &taken).await;
                    self.follow().await?;
                }
            }
        }
        discard(self, written).await;
        Err(Error::new(
            ErrorCode::CommitConflict,
            format!("other writers won {MAX_ATTEMPTS} attempts to commit in a row: try again when they are done"),
        ))
    }

    /// Appends rows in one commit, without a look at their keys: what a batch costs at least, for benchmarks. Gives the
    /// bytes written.
    pub async fn append(&mut self, rows: RecordBatch) -> Result<u64> {
        let partition_columns = self.partition_columns();
        let compression = self.options.compression;
        let mut commit = Commit { info: Some(commit_info(Uuid::new_v4(), &[])), ..Commit::default() };
        let mut bytes = 0;
        for group in split(&rows, &partition_columns, None)? {
            let file = encode(&rows, &group, &partition_columns, writer_properties(compression), compression)?;
            bytes += file.bytes.len() as u64;
            put(self.store.clone(), file.path, file.bytes).await?;
            commit.adds.push(file.add);
        }
        let version = self.state.as_ref().map_or(0, |s| s.version + 1);
        if attempt(&self.log_store, version, &commit, Uuid::new_v4()).await? == Attempt::Lost {
            return Err(Error::new(ErrorCode::CommitConflict, "another writer took the version"));
        }
        self.follow().await?;
        Ok(bytes)
    }

    /// The stored offsets must be the expected ones, at every attempt.
    fn check_fence(&self, offsets: &[Offset]) -> Result<()> {
        for offset in offsets {
            let stored = self.state.as_ref().and_then(|s| s.txns.get(&offset.app_id)).map(|t| t.version);
            if stored != offset.expected || stored.is_some_and(|s| s > offset.last) {
                return Err(Error::new(
                    ErrorCode::Fenced,
                    format!(
                        "the table stores {} for {}, and {} was expected: another worker applied these changes",
                        stored.map_or("no offset".to_owned(), |s| format!("offset {s}")),
                        offset.app_id,
                        offset.expected.map_or("none".to_owned(), |e| e.to_string()),
                    ),
                ));
            }
        }
        Ok(())
    }

    async fn prepare(&mut self, batch: &ChangeBatch, primary_key: &[String]) -> Result<Prepared> {
        let additional: Vec<&str> = self.additional.iter().map(|a| a.name.as_str()).collect();
        let mut fields = Vec::new();
        for field in batch.schema().fields() {
            if additional.iter().any(|name| name.eq_ignore_ascii_case(field.name())) {
                return Err(Error::new(
                    ErrorCode::ConfigInvalid,
                    format!(
                        "the additional column '{}' has the name of a column of the topic: name it otherwise",
                        field.name()
                    ),
                ));
            }
            fields.push(field.as_ref().clone());
        }
        let evolution = if self.state.is_some() { self.options.schema_evolution } else { SchemaEvolution::Add };
        let Evolved { schema: with_batch, added: mut added_columns, widened: mut widened_columns } =
            evolve(&self.schema, &fields, evolution)?;
        let base_fields: Vec<Field> = with_batch
            .fields()
            .iter()
            .filter(|f| !additional.iter().any(|name| name.eq_ignore_ascii_case(f.name())))
            .map(|f| f.as_ref().clone())
            .collect();
        let base_schema: SchemaRef = Arc::new(Schema::new(base_fields));
        let compiled = self.compile(&base_schema)?;
        let complete = evolve(&with_batch, &compiled.fields(), SchemaEvolution::Add)?;
        let schema = complete.schema;
        added_columns.extend(complete.added);
        widened_columns.extend(complete.widened);
        self.check_rewrite(&widened_columns)?;
        if self.state.is_none() {
            for name in &self.options.partition_columns {
                if schema.field_with_name(name).is_err() {
                    return Err(Error::new(
                        ErrorCode::ConfigInvalid,
                        format!("there is no column '{name}' to partition by"),
                    ));
                }
            }
        }
        if self.schema.fields().is_empty() && self.state.is_none() {
            self.schema = schema.clone();
        }
        self.ensure_index(primary_key, &schema).await?;
        let key = self.key.clone().ok_or_else(|| Error::new(ErrorCode::Internal, "the table has no key"))?;
        let keys = key.hasher.fingerprints(&batch.key_columns(&key.names)?)?;
        let old_keys = match &batch.old_keys {
            None => Vec::new(),
            Some(old) => {
                let columns: Result<Vec<ArrayRef>> = key
                    .names
                    .iter()
                    .map(|name| {
                        old.column_by_name(name).cloned().ok_or_else(|| {
                            Error::new(ErrorCode::BatchInvalid, format!("_old_key lacks the key column '{name}'"))
                        })
                    })
                    .collect();
                let prints = key.hasher.fingerprints(&columns?)?;
                prints.into_iter().enumerate().map(|(row, print)| old.is_valid(row).then_some(print)).collect()
            }
        };
        let guarded = self.options.order_guard == OrderGuard::On;
        let floor = if guarded { self.floor() } else { None };
        let collapsed = collapse(batch, &keys, &old_keys, &self.memory, floor);
        let base = conform_batch(&batch.data, &base_schema)?;
        let left_out = batch
            .left_out
            .iter()
            .map(|(index, mask)| (batch.data.schema().field(*index).name().clone(), mask.clone()))
            .collect();
        Ok(Prepared {
            schema,
            based_on: self.schema.clone(),
            added_columns,
            widened_columns,
            compiled,
            base,
            left_out,
            partitions: batch.partitions.clone(),
            sequences: batch.sequences.clone(),
            collapsed,
        })
    }

    /// A wider column has the whole table rewritten: up to a bound.
    fn check_rewrite(&self, widened: &[String]) -> Result<()> {
        let size = self.info().size_bytes;
        if widened.is_empty() || size <= self.options.max_rewrite_bytes {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::SchemaIncompatible,
            format!(
                "column {} needs a wider type, and the table's {size} bytes would be rewritten, more than \
                 maxRewriteBytes ({}): raise it, or write to a new table",
                widened.join(", "),
                self.options.max_rewrite_bytes
            ),
        ))
    }

    fn compile(&mut self, base: &SchemaRef) -> Result<Arc<CompiledColumns>> {
        if let Some((schema, compiled)) = &self.compiled
            && schema == base
        {
            return Ok(compiled.clone());
        }
        let compiled = Arc::new(CompiledColumns::compile(&self.additional, base)?);
        self.compiled = Some((base.clone(), compiled.clone()));
        Ok(compiled)
    }

    fn locate(&self, collapsed: &Collapsed) -> Located {
        let find = |key: &Fingerprint| {
            let state = self.state.as_ref()?;
            self.index.get(key).filter(|place| is_live(state, *place))
        };
        Located {
            upserts: collapsed.upsert_keys.iter().map(find).collect(),
            deletes: collapsed.deletes.iter().map(find).collect(),
            below_floor: collapsed
                .below_floor
                .iter()
                .map(|key| find(key).filter(|p| !self.is_above_floor(*p)))
                .collect(),
        }
    }

    /// Whether all rows of a place's file are newer than the last truncate.
    fn is_above_floor(&self, place: Place) -> bool {
        let (Some(state), Some(floor)) = (&self.state, self.floor()) else { return false };
        sequence_range(&state.files[place.file as usize])
            .is_some_and(|(low, _)| low.epoch == floor.epoch && !low.is_before(&floor))
    }

    /// Fills in left-out values, computes additional columns, and stores the new rows as data files.
    async fn write_rows(&self, prepared: &Prepared, timings: &mut Timings, clock: &mut Instant) -> Result<Written> {
        let collapsed = &prepared.collapsed;
        let rows: Vec<u32> =
            collapsed.upserts.iter().copied().chain(collapsed.moved.iter().map(|(row, _)| *row)).collect();
        let stored = Stored { store: &self.store, state: self.state.as_ref(), index: &self.index, moved: &self.moved };
        let (filled, missing) =
            fill(&prepared.base, &rows, &prepared.left_out, &collapsed.previous, &collapsed.turns, stored).await?;
        if missing > 0 && self.options.on_missing_value == OnMissingValue::Fail {
            return Err(Error::new(
                ErrorCode::MissingValue,
                format!("{missing} values that changes leave out are not stored either, and onMissingValue is 'fail'"),
            ));
        }
        let upserts = filled.slice(0, collapsed.upserts.len());
        let moved = filled.slice(collapsed.upserts.len(), collapsed.moved.len());
        if upserts.num_rows() == 0 {
            timings.fetch += millis(clock);
            return Ok(Written { files: Vec::new(), missing, moved });
        }
        let complete = complete(&upserts, &prepared.schema, &prepared.compiled)?;
        timings.fetch += millis(clock);
        let kafka: Option<Vec<i32>> =
            prepared.partitions.as_ref().map(|p| collapsed.upserts.iter().map(|row| p[*row as usize]).collect());
        let partition_columns = self.partition_columns();
        let compression = self.options.compression;
        let sequences: Option<Vec<Option<Sequence>>> =
            prepared.sequences.as_ref().map(|s| collapsed.upserts.iter().map(|row| s[*row as usize]).collect());
        let groups = split(&complete, &partition_columns, kafka.as_deref())?;
        let mut tasks = Vec::with_capacity(groups.len());
        for group in groups {
            let (complete, partition_columns) = (complete.clone(), partition_columns.clone());
            let tag = sequences.as_ref().and_then(|s| sequence_tag(s, &group.rows));
            tasks.push(tokio::task::spawn_blocking(move || {
                let properties = writer_properties(compression);
                let mut file = encode(&complete, &group, &partition_columns, properties, compression)?;
                if let (Some(tag), Some(tags)) = (tag, &mut file.add.tags) {
                    tags.insert(SEQUENCE_TAG.to_owned(), Some(tag));
                }
                Ok::<_, Error>((file, group))
            }));
        }
        let mut files = Vec::with_capacity(tasks.len());
        for task in tasks {
            files.push(task.await??);
        }
        let puts: Vec<_> =
            files.iter().map(|(file, _)| put(self.store.clone(), file.path.clone(), file.bytes.clone())).collect();
        futures::future::try_join_all(puts).await?;
        timings.write += millis(clock);
        Ok(Written { files, missing, moved })
    }

    fn partition_columns(&self) -> Vec<String> {
        match &self.state {
            Some(state) => state.metadata.partition_columns.clone(),
            None => self.options.partition_columns.clone(),
        }
    }

    /// The commit's actions for the state as it is now.
    async fn build_commit(
        &self,
        work: Option<(&Prepared, &(Located, Written))>,
        offsets: &[Offset],
        id: Uuid,
        result: &mut MergeResult,
    ) -> Result<(Commit, Taken)> {
        let mut commit = Commit::default();
        let mut taken = Taken::default();
        let now = now_millis();
        for offset in offsets {
            let txn = Txn { app_id: offset.app_id.clone(), version: offset.last, last_updated: Some(now) };
            commit.txns.push(txn);
        }
        let Some((prepared, (located, written))) = work else {
            if self.state.is_none() {
                return Err(Error::new(ErrorCode::BatchInvalid, "offsets alone do not create a table"));
            }
            commit.info = Some(commit_info(id, &[]));
            return Ok((commit, taken));
        };
        let collapsed = &prepared.collapsed;
        if let Some(state) = &self.state {
            let mut deletions = self.deletions(state, located, &collapsed.truncates).await?;
            let rewrites = !prepared.widened_columns.is_empty();
            if rewrites {
                for (id, _) in state.live_files() {
                    deletions.entry(id).or_default();
                }
            }
            taken = match self.copy_on_write() || rewrites {
                false => rewrite::by_vectors(&self.store, state, &deletions).await?,
                true => {
                    let key =
                        self.key.clone().ok_or_else(|| Error::new(ErrorCode::Internal, "the table has no key"))?;
                    let layout = Layout {
                        schema: prepared.schema.clone(),
                        partition_columns: self.partition_columns(),
                        compression: self.options.compression,
                        key,
                    };
                    rewrite::by_copies(&self.store, state, &deletions, &layout).await?
                }
            };
            let deleted: u64 = deletions.values().map(roaring::RoaringBitmap::len).sum();
            result.updated = located.upserts.iter().flatten().count() as u64;
            result.deleted = deleted.saturating_sub(result.updated);
        }
        result.upserted = collapsed.upserts.len() as u64;
        result.inserted = result.upserted - result.updated;
        result.dropped_stale = collapsed.dropped_stale;
        result.missing_values = written.missing;
        result.added_columns.clone_from(&prepared.added_columns);
        result.widened_columns.clone_from(&prepared.widened_columns);
        result.files_touched = taken.removes.len() as u64;
        result.files_added = (written.files.len() + taken.rewritten.len()) as u64;
        result.files_removed = (taken.removes.len() - (taken.adds.len() - taken.rewritten.len())) as u64;
        result.bytes_written = taken.bytes + written.files.iter().map(|(f, _)| f.bytes.len() as u64).sum::<u64>();
        commit.removes.clone_from(&taken.removes);
        commit.adds.clone_from(&taken.adds);
        commit.adds.extend(written.files.iter().map(|(file, _)| file.add.clone()));
        self.add_metadata(prepared, &mut commit)?;
        commit.info = Some(commit_info(
            id,
            &[
                ("numTargetRowsInserted", result.inserted),
                ("numTargetRowsUpdated", result.updated),
                ("numTargetRowsDeleted", result.deleted),
                ("numTargetFilesAdded", result.files_added),
                ("numTargetFilesRemoved", result.files_removed),
                ("numOutputRows", result.upserted),
                ("numTargetBytesAdded", result.bytes_written),
            ],
        ));
        Ok((commit, taken))
    }

    /// Rows to be taken out, by file: replaced, deleted and truncated ones.
    async fn deletions(&self, state: &TableState, located: &Located, truncates: &[Truncate]) -> Result<Deletions> {
        let mut places: Vec<Place> =
            located.upserts.iter().chain(&located.deletes).chain(&located.below_floor).flatten().copied().collect();
        places.sort_unstable();
        let mut deletions = Deletions::new();
        for run in places.chunk_by(|a, b| a.file == b.file) {
            let rows = roaring::RoaringBitmap::from_sorted_iter(run.iter().map(|p| p.row))
                .map_err(|_| Error::new(ErrorCode::Internal, "two keys of a batch have one place"))?;
            deletions.insert(run[0].file, rows);
        }
        for truncate in truncates {
            self.truncate(state, truncate, &mut deletions).await?;
        }
        Ok(deletions)
    }

    /// Adds the rows that a truncate removes. A row's own sequence is known where it was remembered; otherwise its
    /// file's tags tell.
    async fn truncate(&self, state: &TableState, truncate: &Truncate, deletions: &mut Deletions) -> Result<()> {
        let mut whole = std::collections::HashSet::new();
        for (id, file) in state.live_files() {
            if truncates_file(truncate, file) {
                whole.insert(id);
                let total = num_records(&self.store, file).await?;
                let last = row_number(usize::try_from(total).unwrap_or(usize::MAX))?;
                let live = roaring::RoaringBitmap::from_iter(0..last) - crate::scan::vector_of(state, id)?;
                *deletions.entry(id).or_default() |= live;
            }
        }
        for (key, remembered) in self.memory.iter() {
            let (Some(sequence), Some(place)) = (remembered.sequence, self.index.get(key)) else { continue };
            if remembered.deleted || !is_live(state, place) {
                continue;
            }
            let goes = truncate.removes(
                Some(sequence),
                file_partition(&state.files[place.file as usize]).unwrap_or(truncate.partition),
            );
            match (goes, whole.contains(&place.file)) {
                (true, false) => {
                    deletions.entry(place.file).or_default().insert(place.row);
                }
                (false, true) => {
                    if let Some(rows) = deletions.get_mut(&place.file) {
                        rows.remove(place.row);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Protocol and metadata where the table is new, its schema grew, or a truncate set its floor.
    fn add_metadata(&self, prepared: &Prepared, commit: &mut Commit) -> Result<()> {
        let has_ntz = prepared.schema.fields().iter().any(|f| contains_ntz(f.data_type()));
        let floor = prepared.collapsed.truncates.iter().rev().find_map(|t| t.sequence);
        let Some(state) = &self.state else {
            let vectors = !self.copy_on_write();
            let mut configuration: std::collections::BTreeMap<String, String> =
                self.options.properties.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
            if vectors {
                configuration.insert("delta.enableDeletionVectors".into(), "true".into());
            }
            if let Some(floor) = floor {
                configuration.insert(FLOOR_PROPERTY.into(), floor_text(floor));
            }
            let protocol = features::new_protocol(vectors, has_ntz);
            let metadata = Metadata {
                id: Uuid::new_v4().to_string(),
                name: self.options.name.clone(),
                description: self.options.description.clone(),
                format: Format { provider: "parquet".into(), options: Default::default() },
                schema_string: serde_json::to_string(&to_delta(&prepared.schema)?)?,
                partition_columns: self.options.partition_columns.clone(),
                configuration,
                created_time: Some(now_millis()),
            };
            features::check_writable(&TableState::new(0, metadata.clone(), protocol.clone()))?;
            (commit.metadata, commit.protocol) = (Some(metadata), Some(protocol));
            return Ok(());
        };
        let mut metadata = state.metadata.clone();
        if !prepared.added_columns.is_empty() || !prepared.widened_columns.is_empty() {
            metadata.schema_string = grown_schema(&metadata.schema_string, prepared)?;
        }
        if let Some(floor) = floor {
            metadata.configuration.insert(FLOOR_PROPERTY.into(), floor_text(floor));
        }
        if !self.copy_on_write() && !state.deletion_vectors_enabled() {
            metadata.configuration.insert("delta.enableDeletionVectors".into(), "true".into());
            commit.protocol = features::with_feature(&state.protocol, "deletionVectors");
        }
        if has_ntz {
            let protocol = commit.protocol.as_ref().unwrap_or(&state.protocol);
            if let Some(protocol) = features::with_feature(protocol, "timestampNtz") {
                commit.protocol = Some(protocol);
            }
        }
        if metadata != state.metadata {
            commit.metadata = Some(metadata);
        }
        Ok(())
    }

    /// Enters our own commit into state, index and memory. Nothing here can fail once the log has it but for a defect.
    fn committed(
        &mut self,
        version: u64,
        commit: &Commit,
        taken: &Taken,
        prepared: Option<Prepared>,
        written: Option<(Located, Written)>,
    ) -> Result<()> {
        let state = match (&mut self.state, &commit.metadata, &commit.protocol) {
            (Some(state), _, _) => state,
            (state @ None, Some(metadata), Some(protocol)) => {
                state.insert(TableState::new(version, metadata.clone(), protocol.clone()))
            }
            _ => return Err(Error::new(ErrorCode::Internal, "a table was created without metadata")),
        };
        state.apply(version, commit)?;
        for (file, vector) in &taken.vectors {
            state.files[*file as usize].deleted = Some(vector.clone());
        }
        let copies = rewrite::rewritten_keys(taken);
        for (path, keys) in copies {
            if let Some(file) = state.file_by_path(path) {
                for (row, key) in keys.iter().enumerate() {
                    self.index.insert(*key, Place { file, row: row_number(row)? });
                }
            }
        }
        let (Some(prepared), Some((located, written))) = (prepared, written) else { return Ok(()) };
        self.schema = prepared.schema;
        let collapsed = prepared.collapsed;
        for (file, group) in &written.files {
            let Some(id) = state.file_by_path(&file.add.path) else { continue };
            for (row, source) in group.rows.iter().enumerate() {
                let key = collapsed.upsert_keys[*source as usize];
                self.index.insert(key, Place { file: id, row: row_number(row)? });
            }
        }
        // A delete that came again leaves what the first one kept.
        let deleted =
            collapsed.deletes.iter().zip(&located.deletes).filter(|(_, place)| place.is_some()).map(|(k, _)| k);
        self.moved.forget(collapsed.upsert_keys.iter().chain(deleted));
        // A copy: the batch's buffers are the caller's.
        let moved = arrow::compute::concat_batches(&written.moved.schema(), [&written.moved])?;
        self.moved.keep(moved, collapsed.moved.iter().map(|(_, key)| *key));
        for (key, remembered) in collapsed.remembered {
            for (forgotten, what) in self.memory.set(key, remembered) {
                self.forget(&forgotten, what);
            }
        }
        Ok(())
    }

    /// A deleted key that is no longer remembered leaves the index too.
    fn forget(&mut self, key: &Fingerprint, remembered: Remembered) {
        let Some(state) = &self.state else { return };
        if remembered.deleted && self.index.get(key).is_some_and(|place| !is_live(state, place)) {
            self.index.remove(key);
        }
    }
}

async fn put(store: Arc<dyn ObjectStore>, path: Path, bytes: Bytes) -> Result<()> {
    store.put(&path, bytes.into()).await?;
    Ok(())
}

fn check_cancelled(cancel: &CancellationToken) -> Result<()> {
    match cancel.is_cancelled() {
        true => Err(Error::new(ErrorCode::Cancelled, "the merge was cancelled before it was committed")),
        false => Ok(()),
    }
}

/// The rows in the table's layout, additional columns computed.
fn complete(rows: &RecordBatch, schema: &SchemaRef, compiled: &CompiledColumns) -> Result<RecordBatch> {
    let mut additional = compiled.evaluate(rows)?;
    let columns: Result<Vec<ArrayRef>> = schema
        .fields()
        .iter()
        .map(|field| match additional.remove(field.name()).or_else(|| rows.column_by_name(field.name()).cloned()) {
            Some(column) => conform(&column, field.data_type()),
            None => Ok(arrow::array::new_null_array(field.data_type(), rows.num_rows())),
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns?, &options)?)
}

/// Adds fields to the schema's JSON and leaves the others as they are written.
fn grown_schema(json: &str, prepared: &Prepared) -> Result<String> {
    let mut schema: serde_json::Value = serde_json::from_str(json)?;
    for name in prepared.added_columns.iter().chain(&prepared.widened_columns) {
        let field = canonical(prepared.schema.field_with_name(name)?)?;
        let one: serde_json::Value = serde_json::to_value(to_delta(&Schema::new(vec![field]))?)?;
        let (Some(fields), Some(field)) = (schema["fields"].as_array_mut(), one["fields"].get(0)) else { continue };
        match fields.iter_mut().find(|f| f["name"] == field["name"]) {
            Some(known) => known["type"] = field["type"].clone(),
            None => fields.push(field.clone()),
        }
    }
    Ok(schema.to_string())
}

fn contains_ntz(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, None) => true,
        DataType::List(field) | DataType::LargeList(field) | DataType::Map(field, _) => contains_ntz(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|f| contains_ntz(f.data_type())),
        _ => false,
    }
}

fn sequence_tag(sequences: &[Option<Sequence>], rows: &[u32]) -> Option<String> {
    let mut all = rows.iter().map(|row| sequences[*row as usize]);
    let first = all.next()??;
    let (mut low, mut high) = (first.value, first.value);
    for sequence in all {
        let sequence = sequence.filter(|s| s.epoch == first.epoch)?;
        low = low.min(sequence.value);
        high = high.max(sequence.value);
    }
    let text = |v: [u64; 3]| format!("{:x}.{:x}.{:x}", v[0], v[1], v[2]);
    Some(format!("{:x}:{}:{}", first.epoch, text(low), text(high)))
}

/// Lowest and highest sequence of a file whose rows all have one.
fn sequence_range(file: &FileEntry) -> Option<(Sequence, Sequence)> {
    let tag = file.add.tags.as_ref()?.get(SEQUENCE_TAG)?.as_deref()?;
    let mut parts = tag.split(':');
    let epoch = u64::from_str_radix(parts.next()?, 16).ok()?;
    let mut value = || -> Option<[u64; 3]> {
        let numbers: Option<Vec<u64>> = parts.next()?.split('.').map(|n| u64::from_str_radix(n, 16).ok()).collect();
        numbers?.try_into().ok()
    };
    Some((Sequence { epoch, value: value()? }, Sequence { epoch, value: value()? }))
}

fn file_partition(file: &FileEntry) -> Option<i32> {
    file.add.tags.as_ref()?.get(PARTITION_TAG)?.as_deref()?.parse().ok()
}

/// Whether a truncate takes a file's rows as far as its tags tell.
fn truncates_file(truncate: &Truncate, file: &FileEntry) -> bool {
    let partition = file_partition(file).unwrap_or(truncate.partition);
    match (truncate.sequence, sequence_range(file)) {
        (Some(floor), Some((_, high))) if high.epoch == floor.epoch => high.is_before(&floor),
        _ => truncate.removes(None, partition),
    }
}

/// Removes data files that no commit names.
async fn discard(table: &KeyedTable, written: Option<(Located, Written)>) {
    for (file, _) in written.iter().flat_map(|(_, w)| &w.files) {
        if let Err(error) = table.store.delete(&file.path).await {
            tracing::debug!(%error, path = %file.path, "an unused data file is left to vacuum");
        }
    }
}

/// Removes copies that no commit names. Vectors' files are left to vacuum: they are small.
async fn delete_taken(table: &KeyedTable, taken: &Taken) {
    for (file, _) in &taken.rewritten {
        if let Err(error) = table.store.delete(&file.path).await {
            tracing::debug!(%error, path = %file.path, "an unused data file is left to vacuum");
        }
    }
}
