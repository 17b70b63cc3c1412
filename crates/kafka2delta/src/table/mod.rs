//! A keyed table: a Delta table whose rows are found by their primary key.

pub(crate) mod checkpoint_clock;
mod follow;
mod index_store;

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use deltalake::logstore::LogStoreRef;
use hashbrown::HashSet;
use object_store::ObjectStore;
use tokio::sync::Mutex;

use self::checkpoint_clock::CheckpointClock;
use crate::change::left_out::MovedRows;
use crate::computed::{AdditionalColumn, CompiledColumns};
use crate::datafile::stats::StatsColumns;
use crate::error::{Error, ErrorCode, Result};
use crate::index::build::{Scope, index_files, may_hold};
use crate::index::{KeyIndex, Limits, duplicate_keys};
use crate::key::columns::KeyColumns;
use crate::key::hasher::{Fingerprint, KeyHasher};
use crate::log::features;
use crate::log::files::FileId;
use crate::log::liveness::{Liveness, load_vectors};
use crate::log::state::TableState;
use crate::log::store::{open_log_store_at, root_url};
use crate::options::{KeyIndexMode, MergeMode, TableOptions, WriteMode};
use crate::order::memory::Memory;
use crate::order::truncate::Floor;
use crate::schema::{check_not_null, not_null, to_arrow};

/// Table property that keeps what the last truncate holds back, as JSON of [`Floor`].
pub const FLOOR_PROPERTY: &str = "kafka2delta.truncateFloor";
/// Table property that names the key's columns, as a JSON list.
pub const KEY_PROPERTY: &str = "kafka2delta.primaryKey";
/// Table property that tells the [`WriteMode`] where it is another one than upsert.
pub const WRITE_MODE_PROPERTY: &str = "kafka2delta.writeMode";

/// Files read between two looks at the index's memory.
const FILES_AT_ONCE: usize = 16;

/// One open table. It is written by one call at a time.
#[derive(Debug)]
pub struct KeyedTable {
    pub(crate) options: TableOptions,
    pub(crate) log_store: LogStoreRef,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) additional: Vec<AdditionalColumn>,
    /// None as long as there is no table.
    pub(crate) state: Option<TableState>,
    /// The state's schema in Arrow.
    pub(crate) schema: SchemaRef,
    /// Its columns that must have a value.
    pub(crate) not_null: Vec<String>,
    pub(crate) key: Option<KeyColumns>,
    pub(crate) index: KeyIndex,
    /// Whether the index stands for the state.
    pub(crate) indexed: bool,
    pub(crate) memory: Memory,
    pub(crate) moved: MovedRows,
    pub(crate) compiled: Option<(SchemaRef, Arc<CompiledColumns>)>,
    /// After an error: others' commits, or our own, may stand in the log.
    pub(crate) uncertain: bool,
    /// When a checkpoint is due.
    pub(crate) checkpoints: Arc<CheckpointClock>,
    /// When the log was cleaned up; held while a checkpoint is written.
    pub(crate) log_cleaned: Arc<Mutex<Option<Instant>>>,
    /// Why the table is not to be written to any more.
    pub(crate) stopped: Option<String>,
    pub(crate) notes: Notes,
}

/// What the user should know, each said once as long as the table is open.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    said: HashSet<String>,
    waiting: Vec<String>,
}

impl Notes {
    pub(crate) fn add(&mut self, note: String) {
        if self.said.insert(note.clone()) {
            self.waiting.push(note);
        }
    }

    /// Those that were not said yet.
    pub(crate) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.waiting)
    }
}

/// What is known of a table without reading its data.
#[derive(Debug, Clone)]
pub struct TableInfo {
    /// Version, none where there is no table.
    pub version: Option<u64>,
    /// The table's URL.
    pub uri: String,
    /// The table's name.
    pub name: Option<String>,
    /// JSON of the Delta schema.
    pub schema_json: Option<String>,
    /// In order.
    pub partition_columns: Vec<String>,
    /// Live files.
    pub num_files: u64,
    /// Live rows, by the statistics.
    pub num_rows: u64,
    /// Bytes of the live files.
    pub size_bytes: u64,
    /// How the table is written.
    pub copy_on_write: bool,
    /// Table properties.
    pub properties: Vec<(String, String)>,
    /// App id to last offset scanned.
    pub offsets: Vec<(String, i64)>,
    /// Keys in the index.
    pub index_keys: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
}

impl KeyedTable {
    /// Opens a table, or a place where the first batch will create one. Nothing is written.
    pub async fn open(options: TableOptions) -> Result<Self> {
        let additional =
            options.additional_columns.iter().map(|sql| AdditionalColumn::parse(sql)).collect::<Result<_>>()?;
        let log_store = open_log_store_at(&options.uri, &options.storage_options)?;
        let store = log_store.object_store(None);
        let mut table = Self {
            memory: Memory::new(options.remembered_keys),
            index: KeyIndex::new(true, index_limits(&options)),
            options,
            log_store,
            store,
            additional,
            state: None,
            schema: Arc::new(Schema::empty()),
            not_null: Vec::new(),
            key: None,
            indexed: false,
            moved: MovedRows::default(),
            compiled: None,
            uncertain: false,
            checkpoints: Arc::default(),
            log_cleaned: Arc::default(),
            stopped: None,
            notes: Notes::default(),
        };
        table.reload().await?;
        Ok(table)
    }

    /// Reads the newest version from the log; what was indexed is forgotten.
    pub(crate) async fn reload(&mut self) -> Result<()> {
        self.state = TableState::load(&self.log_store).await?;
        self.index = KeyIndex::new(true, index_limits(&self.options));
        self.indexed = false;
        self.key = None;
        self.compiled = None;
        self.schema = Arc::new(Schema::empty());
        if let Some(state) = &self.state {
            features::check_writable(state)?;
            self.checkpoints.found(state.checkpointed);
            let schema = state.schema()?;
            (self.schema, self.not_null) = (to_arrow(&schema)?, not_null(&schema));
            let partitions = &state.metadata.partition_columns;
            if !self.options.partition_columns.is_empty() && *partitions != self.options.partition_columns {
                return Err(Error::new(
                    ErrorCode::ConfigInvalid,
                    format!(
                        "the table is partitioned by [{}], the options say [{}]: a table's partitioning cannot be \
                         changed. Leave partitionCols out, or set it to what the table has",
                        partitions.join(", "),
                        self.options.partition_columns.join(", ")
                    ),
                ));
            }
            self.check_not_replaced().await?;
        }
        self.uncertain = false;
        Ok(())
    }

    /// Builds the index for these key columns in the types of `schema`, unless it stands.
    pub(crate) async fn ensure_index(&mut self, primary_key: &[String], schema: &SchemaRef) -> Result<()> {
        let names = self.options.primary_key.clone().unwrap_or_else(|| primary_key.to_vec());
        let types: Result<Vec<_>> = names
            .iter()
            .map(|name| {
                schema.field_with_name(name).map(|f| f.data_type().clone()).map_err(|_| {
                    Error::new(ErrorCode::SchemaIncompatible, format!("the table has no key column '{name}'"))
                })
            })
            .collect();
        let types = types?;
        if self.indexed && self.key.as_ref().is_some_and(|k| k.names == names && k.hasher.types() == types) {
            return Ok(());
        }
        if let Some(stored) = self.state.as_ref().and_then(|s| s.property(KEY_PROPERTY))
            && serde_json::from_str::<Vec<String>>(stored).is_ok_and(|stored| stored != names)
        {
            return Err(Error::new(
                ErrorCode::SchemaIncompatible,
                format!(
                    "the table's rows are keyed by {stored}, and the changes by {}: where a key column was renamed, keep \
                     its name (renameColumns); name the table's key with the option primaryKey if it still tells rows \
                     apart, otherwise write to a new table",
                    key_text(&names)
                ),
            ));
        }
        let current = self.options.write_mode.version_columns().map(|columns| columns.is_current.clone());
        let key = KeyColumns { names, hasher: Arc::new(KeyHasher::new(types)?), current };
        self.build_index(&key).await?;
        self.key = Some(key);
        self.indexed = true;
        Ok(())
    }

    /// A table property; as long as there is no table, the one that it will have.
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        match &self.state {
            Some(state) => state.property(name),
            None => self.options.properties.get(name).map(String::as_str),
        }
    }

    /// Whether the index stands for the state, and is kept from batch to batch.
    pub(crate) fn keeps_index(&self) -> bool {
        self.indexed && self.options.key_index == KeyIndexMode::Auto
    }

    /// The columns of new files that get statistics.
    pub(crate) fn stats_columns(&self) -> StatsColumns {
        StatsColumns::of(|name| self.property(name))
    }

    /// Refuses rows that lack a value in a NOT NULL column.
    pub(crate) fn check_not_null(&self, rows: &RecordBatch) -> Result<()> {
        let partition_columns = self.state.as_ref().map_or(&[][..], |s| &s.metadata.partition_columns);
        check_not_null(rows, &self.not_null, partition_columns)
    }

    async fn build_index(&mut self, key: &KeyColumns) -> Result<()> {
        self.index = KeyIndex::new(key.hasher.is_exact(), index_limits(&self.options));
        let Some(state) = &mut self.state else { return Ok(()) };
        let files: Vec<FileId> = state.live_files().map(|(id, _)| id).collect();
        load_vectors(&self.store, state, &files).await?;
        if self.options.key_index == KeyIndexMode::None {
            return Ok(());
        }
        let saved = self.load_index(key).await.unwrap_or_else(|error| {
            tracing::warn!(error = ?error.chain(), "the saved key index cannot be read and is built anew");
            None
        });
        let Some(state) = &self.state else { return Ok(()) };
        let brought_forward = saved.is_some();
        let mut files = saved.unwrap_or(files);
        // If a key has several deleted rows, the most recently written file wins.
        files.sort_by_key(|id| state.files[*id as usize].add.modification_time);
        let mut duplicates = 0;
        // Between files the index may move to disk.
        for files in files.chunks(FILES_AT_ONCE) {
            if brought_forward {
                self.stage_foreign(key, files).await?;
            }
            let Some(state) = &self.state else { return Ok(()) };
            let scope = Scope { schema: &self.schema, key, wanted: None };
            let found = index_files(&self.store, state, scope, files, &mut self.index).await?;
            duplicates += found.duplicates;
            if brought_forward {
                // These changed after their order was remembered.
                found.keys.iter().flatten().for_each(|key| self.memory.forget(key));
            }
            self.index.make_room().await;
        }
        let Some(state) = &self.state else { return Ok(()) };
        if !brought_forward {
            let live = Liveness::of(state);
            duplicates += self.index.settle(move |place| live.is_live(place)).await?;
        }
        match duplicates {
            0 => Ok(()),
            _ => Err(duplicate_keys::error(&self.store, state, &self.schema, key, duplicates).await),
        }
    }

    /// Makes the places of a batch's keys known, where not all are in memory.
    pub(crate) async fn stage_keys(&mut self, keys: &[Fingerprint], old_keys: &[Option<Fingerprint>]) -> Result<()> {
        let keys = keys.iter().chain(old_keys.iter().flatten());
        if self.options.key_index == KeyIndexMode::Auto {
            return self.index.stage(keys.copied()).await;
        }
        let (Some(state), Some(key)) = (&self.state, &self.key) else { return Ok(()) };
        self.index = KeyIndex::new(key.hasher.is_exact(), index_limits(&self.options));
        let wanted: HashSet<Fingerprint> = keys.copied().collect();
        let mut files: Vec<FileId> =
            state.live_files().filter(|(_, file)| may_hold(file, key, &wanted)).map(|(id, _)| id).collect();
        files.sort_by_key(|id| state.files[*id as usize].add.modification_time);
        let scope = Scope { schema: &self.schema, key, wanted: Some(&wanted) };
        match index_files(&self.store, state, scope, &files, &mut self.index).await?.duplicates {
            0 => Ok(()),
            count => Err(duplicate_keys::error(&self.store, state, &self.schema, key, count).await),
        }
    }

    /// What the last truncate holds back.
    pub(crate) fn floor(&self) -> Option<Floor> {
        serde_json::from_str(self.state.as_ref()?.property(FLOOR_PROPERTY)?).ok()
    }

    /// Whether deleted rows stay, marked.
    pub fn soft_deletes(&self) -> bool {
        self.options.soft_delete_column.is_some()
    }

    /// Whether files with replaced rows are rewritten.
    pub(crate) fn copy_on_write(&self) -> bool {
        match self.options.merge_mode {
            _ if self.options.write_mode == WriteMode::Append => true,
            MergeMode::MergeOnRead => false,
            MergeMode::CopyOnWrite => true,
            MergeMode::Auto => self.state.as_ref().is_some_and(|s| !s.deletion_vectors_enabled()),
        }
    }

    /// Refuses a table whose rows are something else than this mode writes.
    pub(crate) fn check_write_mode(&self) -> Result<()> {
        let Some(state) = &self.state else { return Ok(()) };
        let mode = &self.options.write_mode;
        features::check_append_only(state, *mode == WriteMode::Append)?;
        let stored = state.property(WRITE_MODE_PROPERTY);
        // A changelog may be appended to what others made.
        let others = *mode == WriteMode::Append && stored.is_none() && state.property(KEY_PROPERTY).is_none();
        if stored != mode.name() && !others {
            return Err(Error::new(
                ErrorCode::SchemaIncompatible,
                format!(
                    "the table was written with writeMode {stored}, and the options say {}: set writeMode to \
                     '{stored}', or write to a new table",
                    mode.name().unwrap_or("upsert"),
                    stored = stored.unwrap_or("upsert"),
                ),
            ));
        }
        let columns = mode.version_columns().map(|c| [&c.valid_from, &c.valid_to, &c.is_current]);
        match columns.into_iter().flatten().find(|name| self.schema.field_with_name(name).is_err()) {
            None => Ok(()),
            Some(name) => Err(Error::new(
                ErrorCode::SchemaIncompatible,
                format!(
                    "the table lacks the column '{name}' of its versions: scd2Columns had other names before. Give it \
                     those; the table's columns are {}",
                    self.schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ")
                ),
            )),
        }
    }

    /// What is known of the table.
    pub fn info(&self) -> TableInfo {
        let state = self.state.as_ref();
        let files: Vec<_> = state.iter().flat_map(|s| s.live_files()).map(|(_, f)| f).collect();
        let mut offsets: Vec<(String, i64)> =
            state.iter().flat_map(|s| s.txns.values()).map(|t| (t.app_id.clone(), t.version)).collect();
        offsets.sort();
        TableInfo {
            version: state.map(|s| s.version),
            uri: root_url(&self.log_store).to_string(),
            name: state.and_then(|s| s.metadata.name.clone()),
            schema_json: state.map(|s| s.metadata.schema_string.clone()),
            partition_columns: state.map(|s| s.metadata.partition_columns.clone()).unwrap_or_default(),
            num_files: files.len() as u64,
            num_rows: files.iter().filter_map(|f| f.num_live_rows()).sum(),
            size_bytes: files.iter().map(|f| u64::try_from(f.add.size).unwrap_or(0)).sum(),
            copy_on_write: self.copy_on_write(),
            properties: state
                .map(|s| s.metadata.configuration.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
                .unwrap_or_default(),
            offsets,
            index_keys: self.index.len() as u64,
            index_bytes: self.index.allocated_bytes() as u64,
        }
    }
}

fn index_limits(options: &TableOptions) -> Limits {
    let folder = options.index_folder.clone().unwrap_or_else(std::env::temp_dir);
    Limits { memory: options.index_memory, folder }
}

/// The text of [`KEY_PROPERTY`].
pub(crate) fn key_text(names: &[String]) -> String {
    serde_json::Value::from(names).to_string()
}
