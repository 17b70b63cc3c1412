//! A keyed table: a Delta table whose rows are found by their primary key.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use deltalake::logstore::{LogStoreRef, StorageConfig, logstore_for};
use hashbrown::HashSet;
use object_store::ObjectStore;
use tokio::sync::Mutex;

use crate::batch::Sequence;
use crate::error::{Error, ErrorCode, Result};
use crate::expr::{AdditionalColumn, CompiledColumns};
use crate::fill::MovedRows;
use crate::index::{KeyIndex, Limits, Memory};
use crate::keys::{Fingerprint, KeyHasher};
use crate::log::actions::Commit;
use crate::log::features;
use crate::log::state::{Applied, FileId, TableState};
use crate::maintenance::CheckpointClock;
use crate::options::{KeyIndexMode, MergeMode, TableOptions};
use crate::order_watch::OrderWatch;
use crate::scan::{KeyColumns, Liveness, Scope, index_files, load_vectors, may_hold};
use crate::schema::to_arrow;

/// Table property that keeps the sequence of the last truncate: `<epoch>:<three numbers>`, hexadecimal.
pub const FLOOR_PROPERTY: &str = "kafka2delta.truncateFloor";
/// Table property that counts how often the order of changes was reset.
pub const GENERATION_PROPERTY: &str = "kafka2delta.orderGeneration";
/// Table property that names the key's columns, as a JSON list.
pub const KEY_PROPERTY: &str = "kafka2delta.primaryKey";
/// What our commits say of themselves; others' commits are told by it.
pub const ENGINE_INFO: &str = concat!("kafka2delta/", env!("CARGO_PKG_VERSION"));

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
    pub(crate) key: Option<KeyColumns>,
    pub(crate) index: KeyIndex,
    /// Whether the index stands for the state.
    pub(crate) indexed: bool,
    pub(crate) memory: Memory,
    pub(crate) order_watch: OrderWatch,
    /// Generation of the order, where a reset was asked for.
    pub(crate) new_generation: Option<u64>,
    pub(crate) moved: MovedRows,
    pub(crate) compiled: Option<(SchemaRef, Arc<CompiledColumns>)>,
    /// After an error: others' commits, or our own, may stand in the log.
    pub(crate) uncertain: bool,
    /// When a checkpoint is due.
    pub(crate) checkpoints: Arc<CheckpointClock>,
    /// Held while a checkpoint is written.
    pub(crate) checkpoint_lock: Arc<Mutex<()>>,
    /// Why the table is not to be written to any more.
    pub(crate) stopped: Option<String>,
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
        deltalake::aws::register_handlers(None);
        #[cfg(feature = "gcs")]
        deltalake::gcp::register_handlers(None);
        #[cfg(feature = "azure")]
        deltalake::azure::register_handlers(None);
        let additional =
            options.additional_columns.iter().map(|sql| AdditionalColumn::parse(sql)).collect::<Result<_>>()?;
        let log_store = open_log_store(&options)?;
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
            key: None,
            indexed: false,
            order_watch: OrderWatch::default(),
            new_generation: None,
            moved: MovedRows::default(),
            compiled: None,
            uncertain: false,
            checkpoints: Arc::default(),
            checkpoint_lock: Arc::default(),
            stopped: None,
        };
        table.reload().await?;
        table.new_generation = table.options.reset_order.then(|| table.generation() + 1);
        Ok(table)
    }

    /// Reads the newest version from the log; what was indexed is forgotten.
    async fn reload(&mut self) -> Result<()> {
        self.state = TableState::load(&self.log_store).await?;
        self.index = KeyIndex::new(true, index_limits(&self.options));
        self.indexed = false;
        self.key = None;
        self.uncertain = false;
        self.schema = Arc::new(Schema::empty());
        if let Some(state) = &self.state {
            features::check_writable(state)?;
            self.checkpoints.found(state.checkpointed);
            self.schema = to_arrow(&state.schema()?)?;
            let partitions = &state.metadata.partition_columns;
            if !self.options.partition_columns.is_empty() && *partitions != self.options.partition_columns {
                return Err(Error::new(
                    ErrorCode::ConfigInvalid,
                    format!(
                        "the table is partitioned by [{}], the options say [{}]: a table's partitioning cannot be changed",
                        partitions.join(", "),
                        self.options.partition_columns.join(", ")
                    ),
                ));
            }
            self.check_not_replaced().await?;
        }
        Ok(())
    }

    /// Looks back in the log to our own last commit: a restore since then took rows and left offsets.
    async fn check_not_replaced(&mut self) -> Result<()> {
        let Some(state) = &self.state else { return Ok(()) };
        if state.txns.is_empty() {
            return Ok(());
        }
        for version in (0..=state.version).rev() {
            let Some(bytes) = self.log_store.read_commit_entry(version).await? else { break };
            let commit = Commit::parse(&bytes)?;
            if commit.info_str("engineInfo").is_some_and(|e| e.starts_with("kafka2delta/")) {
                break;
            }
            if let Some(how) = replacement(&commit) {
                return Err(self.replaced(version, how));
            }
        }
        Ok(())
    }

    fn replaced(&self, version: u64, how: &str) -> Error {
        let mut offsets: Vec<String> =
            self.state.iter().flat_map(|s| s.txns.values()).map(|t| format!("{} at {}", t.app_id, t.version)).collect();
        offsets.sort();
        Error::new(
            ErrorCode::TableReplaced,
            format!(
                "version {version} of the table is a {how} by another writer: its rows and our offsets no longer belong \
                 together. Offsets stored: {}. Restart under another queryName from offsets that fit the restored rows",
                offsets.join(", ")
            ),
        )
    }

    /// Brings the state and the index forward by others' commits. Gives back whether there were any.
    pub async fn follow(&mut self) -> Result<bool> {
        let Some(state) = &self.state else {
            self.reload().await?;
            return Ok(self.state.is_some());
        };
        let start = state.version;
        let mut version = start;
        loop {
            version += 1;
            let Some(bytes) = self.log_store.read_commit_entry(version).await? else { break };
            let commit = Commit::parse(&bytes)?;
            self.follow_one(version, &commit).await?;
        }
        self.uncertain = false;
        if version == start + 1 {
            // The entry may be gone to log clean-up while newer ones stand.
            let newest = self.log_store.get_latest_version(start).await?;
            if newest > start && self.log_store.read_commit_entry(start + 1).await?.is_none() {
                self.reload().await?;
                return Ok(true);
            }
        }
        Ok(version > start + 1)
    }

    async fn follow_one(&mut self, version: u64, commit: &Commit) -> Result<()> {
        if let Some(how) = replacement(commit) {
            let error = self.replaced(version, how);
            self.stopped = Some(error.message.clone());
            return Err(error);
        }
        let Some(state) = &mut self.state else { return Ok(()) };
        if commit.metadata.as_ref().is_some_and(|m| m.id != state.metadata.id) {
            let error = self.replaced(version, "new table in the same place");
            self.stopped = Some(error.message.clone());
            return Err(error);
        }
        let applied = state.apply(version, commit)?;
        if commit.metadata.is_some() || commit.protocol.is_some() {
            features::check_writable(state)?;
            self.schema = to_arrow(&state.schema()?)?;
            self.compiled = None;
        }
        self.index_applied(&applied).await
    }

    /// Enters the files of a commit into the index.
    async fn index_applied(&mut self, applied: &Applied) -> Result<()> {
        let (Some(state), true, Some(key)) = (&mut self.state, self.indexed, &self.key) else { return Ok(()) };
        load_vectors(&self.store, state, &applied.changed).await?;
        load_vectors(&self.store, state, &applied.added).await?;
        if self.options.key_index == KeyIndexMode::None {
            return Ok(());
        }
        // A vector that lost rows brings rows back: such a file is read again, like a new one.
        let files: Vec<FileId> = applied.added.iter().chain(&applied.changed).copied().collect();
        let scope = Scope { schema: &self.schema, key, wanted: None };
        index_files(&self.store, state, scope, &files, &mut self.index).await?;
        self.index.make_room().await;
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
                    "the table's rows are keyed by {stored}, and the changes by {}: name the table's key with the option \
                     primaryKey if it still tells rows apart, otherwise write to a new table",
                    key_text(&names)
                ),
            ));
        }
        let key = KeyColumns { names, hasher: Arc::new(KeyHasher::new(types)?) };
        self.build_index(&key).await?;
        self.key = Some(key);
        self.indexed = true;
        Ok(())
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
        // Of deleted rows of one key the last one written counts.
        files.sort_by_key(|id| state.files[*id as usize].add.modification_time);
        let scope = Scope { schema: &self.schema, key, wanted: None };
        let mut duplicates = 0;
        // Between files the index may move to disk.
        for files in files.chunks(FILES_AT_ONCE) {
            let found = index_files(&self.store, state, scope, files, &mut self.index).await?;
            duplicates += found.duplicates;
            if brought_forward {
                // These changed after their order was remembered.
                found.keys.iter().flatten().for_each(|key| self.memory.forget(key));
            }
            self.index.make_room().await;
        }
        if !brought_forward {
            let live = Liveness::of(state);
            duplicates += self.index.settle(move |place| live.is_live(place)).await?;
        }
        match duplicates {
            0 => Ok(()),
            _ => Err(duplicate_keys(duplicates, &key.names)),
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
            duplicates => Err(duplicate_keys(duplicates, &key.names)),
        }
    }

    /// The sequence below which changes are older than the last truncate.
    pub(crate) fn floor(&self) -> Option<Sequence> {
        parse_floor(self.state.as_ref()?.property(FLOOR_PROPERTY)?)
    }

    /// How often the order was reset: sequences compare within one generation only.
    pub(crate) fn generation(&self) -> u64 {
        let stored = || self.state.as_ref()?.property(GENERATION_PROPERTY)?.parse().ok();
        self.new_generation.or_else(stored).unwrap_or(0)
    }

    /// Whether deleted rows stay, marked.
    pub fn soft_deletes(&self) -> bool {
        self.options.soft_delete_column.is_some()
    }

    /// Whether files with replaced rows are rewritten.
    pub(crate) fn copy_on_write(&self) -> bool {
        match self.options.merge_mode {
            MergeMode::MergeOnRead => false,
            MergeMode::CopyOnWrite => true,
            MergeMode::Auto => self.state.as_ref().is_some_and(|s| !s.deletion_vectors_enabled()),
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

fn duplicate_keys(duplicates: u64, names: &[String]) -> Error {
    Error::new(
        ErrorCode::TableUnsupported,
        format!(
            "the table holds {duplicates} rows more than keys ({}): remove the duplicates first, or name the right primaryKey",
            names.join(", ")
        ),
    )
}

fn index_limits(options: &TableOptions) -> Limits {
    let folder = options.index_folder.clone().unwrap_or_else(std::env::temp_dir);
    Limits { memory: options.index_memory, folder }
}

/// The text of [`KEY_PROPERTY`].
pub(crate) fn key_text(names: &[String]) -> String {
    serde_json::Value::from(names).to_string()
}

/// The log store of a path or URL.
pub(crate) fn open_log_store(options: &TableOptions) -> Result<LogStoreRef> {
    open_log_store_at(&options.uri, &options.storage_options)
}

pub(crate) fn open_log_store_at(
    uri: &str,
    storage_options: &std::collections::HashMap<String, String>,
) -> Result<LogStoreRef> {
    let unusable = |e: deltalake::DeltaTableError| {
        Error::with_source(ErrorCode::StorageDenied, format!("'{uri}' cannot be used as the path of a table"), e)
    };
    let url = deltalake::ensure_table_uri(uri).map_err(unusable)?;
    let config = StorageConfig::parse_options(storage_options.clone()).map_err(unusable)?;
    logstore_for(&url, config).map_err(unusable)
}

/// The table's URL, with a slash at its end.
pub(crate) fn root_url(log_store: &LogStoreRef) -> url::Url {
    let mut url = log_store.config().location().clone();
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

/// How a commit replaces the table as a whole, if it does.
pub(crate) fn replacement(commit: &Commit) -> Option<&'static str> {
    let parameter = |name: &str| {
        let parameters = commit.info.as_ref()?.get("operationParameters")?.as_object()?;
        parameters.get(name)?.as_str().map(|v| v.trim_matches('"').to_ascii_lowercase())
    };
    match commit.info_str("operation")?.to_ascii_uppercase().as_str() {
        "RESTORE" => Some("RESTORE"),
        "WRITE"
            if parameter("mode").as_deref() == Some("overwrite")
                && parameter("predicate").is_none_or(|p| p == "[]" || p.is_empty()) =>
        {
            Some("full overwrite")
        }
        operation if operation.starts_with("CREATE OR REPLACE") || operation.starts_with("REPLACE TABLE") => {
            Some("replacement of the table")
        }
        _ => None,
    }
}

/// The text of [`FLOOR_PROPERTY`].
pub(crate) fn floor_text(floor: Sequence) -> String {
    let [a, b, c] = floor.value;
    format!("{:x}:{a:x}:{b:x}:{c:x}", floor.epoch)
}

fn parse_floor(text: &str) -> Option<Sequence> {
    let numbers: Vec<u64> = text.split(':').map(|n| u64::from_str_radix(n, 16).ok()).collect::<Option<_>>()?;
    let [epoch, a, b, c] = numbers.try_into().ok()?;
    Some(Sequence { epoch, value: [a, b, c] })
}
