//! A keyed table: a Delta table whose rows are found by their primary key.

pub(crate) mod checkpoint_clock;
mod commit;
mod follow;
mod index_saves;
mod index_store;
mod info;
mod keys;
mod replaced;
mod snapshot;
mod standing;
mod storage;
mod stored_orders;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use tokio::sync::Mutex;

use self::checkpoint_clock::CheckpointClock;
pub use self::info::TableInfo;
pub(crate) use self::keys::Keys;
pub use self::snapshot::FLOOR_PROPERTY;
pub(crate) use self::snapshot::{Basis, Failed, Landed, Snapshot};
pub(crate) use self::standing::{Notes, Standing};
pub(crate) use self::storage::Storage;
use self::stored_orders::StoredOrders;
use crate::computed::ComputedColumns;
use crate::datafile::format::FileFormat;
use crate::error::{Error, ErrorCode, Result};
use crate::key::columns::KeyColumns;
use crate::key::hasher::KeyHasher;
use crate::log::store::OpenStore;
use crate::memory::{Asked, SharedMemory};
use crate::options::{MergeMode, TableOptions};

/// Table property that names the key's columns, as a JSON list.
pub const KEY_PROPERTY: &str = "kafka2delta.primaryKey";

/// One open table. It is written by one call at a time.
#[derive(Debug)]
pub struct KeyedTable {
    pub(crate) options: TableOptions,
    pub(crate) storage: Storage,
    pub(crate) snapshot: Snapshot,
    pub(crate) keys: Keys,
    pub(crate) orders: StoredOrders,
    pub(crate) computed: ComputedColumns,
    pub(crate) standing: Standing,
    /// When a checkpoint is due.
    pub(crate) checkpoints: Arc<CheckpointClock>,
    /// When the log was cleaned up; held while a checkpoint is written.
    pub(crate) log_cleaned: Arc<Mutex<Option<Instant>>>,
    pub(crate) notes: Notes,
    /// What it shares with the other tables of the process.
    pub(crate) memory: SharedMemory,
}

impl KeyedTable {
    /// Opens a table that shares its memory with none: see [`Self::open_within`].
    pub async fn open(options: TableOptions) -> Result<Self> {
        Self::open_within(options, &SharedMemory::default()).await
    }

    /// Opens a table, or a place where the first batch will create one. Nothing is written. Its key index and its steps of
    /// compaction take part of `memory`.
    pub async fn open_within(options: TableOptions, memory: &SharedMemory) -> Result<Self> {
        let mut table = Self {
            computed: ComputedColumns::parse(&options.additional_columns)?,
            storage: Storage::open(&options)?,
            snapshot: Snapshot::none(),
            keys: Keys::new(&options, &memory.indexes),
            orders: StoredOrders::default(),
            options,
            standing: Standing::default(),
            checkpoints: Arc::default(),
            log_cleaned: Arc::default(),
            notes: Notes::default(),
            memory: memory.clone(),
        };
        table.reload().await?;
        Ok(table)
    }

    /// The store, whose options may be replaced while calls of the table are under way.
    pub fn store(&self) -> OpenStore {
        self.storage.open_store().clone()
    }

    /// Tells when other tables ask for the memory of this one's index: then [`Self::yield_memory`] is to be called.
    pub fn asked_for_memory(&self) -> Asked {
        self.keys.asked()
    }

    /// Gives other tables what this one's index holds: it goes to disk, if the table was not written to since it was asked.
    /// It comes back after a merge, when there is room.
    pub async fn yield_memory(&mut self) {
        self.keys.yield_memory(self.snapshot.state()).await;
    }

    /// Reads the newest version from the log; what was indexed is forgotten.
    pub(crate) async fn reload(&mut self) -> Result<()> {
        // Where it cannot be read, nothing of before is used.
        self.keys.reset();
        self.standing.forget_queries();
        self.snapshot.load(&self.storage).await?;
        if let Some(state) = self.snapshot.state() {
            self.checkpoints.found(state.checkpointed);
            self.check_partitioning(&state.metadata.partition_columns)?;
        }
        self.standing.trust();
        Ok(())
    }

    fn check_partitioning(&self, partitions: &[String]) -> Result<()> {
        let wanted = &self.options.partition_columns;
        if wanted.is_empty() || partitions == wanted {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::ConfigInvalid,
            format!(
                "the table is partitioned by [{}], the options say [{}]: a table's partitioning cannot be changed. Leave \
                 partitionCols out, or set it to what the table has",
                partitions.join(", "),
                wanted.join(", ")
            ),
        ))
    }

    /// Builds the index for these key columns in the types of `schema`, unless it stands. Without names, the key is that
    /// of the options, or the table's own.
    ///
    /// # Errors
    /// `BATCH_INVALID` where nothing names the key.
    pub(crate) async fn ensure_index(&mut self, primary_key: &[String], schema: &SchemaRef) -> Result<()> {
        let names = self.key_names(primary_key)?;
        let types: Result<Vec<_>> = names
            .iter()
            .map(|name| {
                schema.field_with_name(name).map(|f| f.data_type().clone()).map_err(|_| {
                    Error::new(ErrorCode::SchemaIncompatible, format!("the table has no key column '{name}'"))
                })
            })
            .collect();
        let types = types?;
        if self.keys.is_for(&names, &types) {
            return Ok(());
        }
        self.check_key(&names)?;
        let current = self.options.write_mode.version_columns().map(|columns| columns.is_current.clone());
        let columns = KeyColumns { names, hasher: Arc::new(KeyHasher::new(types)?), current };
        self.keys.ensure(columns, &self.storage, &mut self.snapshot).await
    }

    /// The key's columns. Those of the table in another order are the same key: rows are hashed in the table's.
    fn key_names(&self, primary_key: &[String]) -> Result<Vec<String>> {
        let given = (!primary_key.is_empty()).then(|| primary_key.to_vec());
        let stored: Option<Vec<String>> = self.stored_key().and_then(|stored| serde_json::from_str(stored).ok());
        match (self.options.primary_key.clone().or(given), stored) {
            (Some(names), Some(stored)) if in_any_order(&names, &stored) => Ok(stored),
            (Some(names), _) | (None, Some(names)) => Ok(names),
            (None, None) => Err(Error::new(ErrorCode::BatchInvalid, "name the primary key at open or at merge")),
        }
    }

    /// The table's own key, as its property says.
    fn stored_key(&self) -> Option<&str> {
        self.snapshot.state()?.property(KEY_PROPERTY)
    }

    /// Refuses another key than the table's.
    fn check_key(&self, names: &[String]) -> Result<()> {
        match self.stored_key() {
            Some(stored) if serde_json::from_str::<Vec<String>>(stored).is_ok_and(|stored| stored != names) => {
                Err(Error::new(
                    ErrorCode::SchemaIncompatible,
                    format!(
                        "the table's rows are keyed by {stored}, and the changes by {}: where a key column was renamed, \
                         keep its name (renameColumns); name the table's key with the option primaryKey if it still \
                         tells rows apart, otherwise write to a new table",
                        key_text(names)
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

    /// A table property; as long as there is no table, the one that it will have.
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        match self.snapshot.state() {
            Some(state) => state.property(name),
            None => self.options.properties.get(name).map(String::as_str),
        }
    }

    /// How new files are written.
    pub(crate) fn file_format(&self) -> FileFormat {
        FileFormat::new(&self.options, |name| self.property(name))
    }

    /// Whether deleted rows stay, marked.
    pub fn soft_deletes(&self) -> bool {
        self.options.soft_delete_column.is_some()
    }

    /// Whether files with replaced rows are rewritten.
    pub(crate) fn copy_on_write(&self) -> bool {
        match self.options.merge_mode {
            _ if !self.options.write_mode.replaces_rows() => true,
            MergeMode::MergeOnRead => false,
            MergeMode::CopyOnWrite => true,
            MergeMode::Auto => self.snapshot.state().is_some_and(|s| !s.deletion_vectors_enabled()),
        }
    }

    /// What is known of the table.
    pub fn info(&self) -> TableInfo {
        let state = self.snapshot.state();
        let files: Vec<_> = state.iter().flat_map(|s| s.live_files()).map(|(_, f)| f).collect();
        let mut offsets: Vec<(String, i64)> =
            state.iter().flat_map(|s| s.txns.values()).map(|t| (t.app_id.clone(), t.version)).collect();
        offsets.sort();
        TableInfo {
            version: state.map(|s| s.version),
            uri: self.storage.uri(),
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
            index_keys: self.keys.index().len() as u64,
            index_bytes: self.keys.index().allocated_bytes() as u64,
        }
    }
}

fn in_any_order(one: &[String], other: &[String]) -> bool {
    one.len() == other.len() && BTreeSet::from_iter(one) == BTreeSet::from_iter(other)
}

/// The text of [`KEY_PROPERTY`].
pub(crate) fn key_text(names: &[String]) -> String {
    serde_json::Value::from(names).to_string()
}
