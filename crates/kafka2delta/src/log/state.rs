//! Our own state of the table, kept across commits: nothing lists or replays the log on the way of a commit.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use delta_kernel::actions::get_all_actions_schema;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::schema::StructType;
use delta_kernel::{Snapshot, Version};
use deltalake::logstore::LogStoreRef;
use roaring::RoaringBitmap;

use super::actions::{Add, Commit, Line, Metadata, Protocol, Txn};
use super::anchor;
use crate::batch::Sequence;
use crate::error::{Error, ErrorCode, Result};
use crate::order;

/// Number of a file in our state; never given twice while the table is open.
pub type FileId = u32;

/// A data file that we know, live or not.
#[derive(Debug, Clone)]
pub struct FileEntry {
    /// Its add action, as the log has it.
    pub add: Add,
    /// Whether it belongs to the table at our version.
    pub live: bool,
    /// Rows that its deletion vector deletes; none where the vector was not read yet.
    pub deleted: Option<Arc<RoaringBitmap>>,
    /// The Kafka partition that its rows came through, where that is known.
    pub partition: Option<i32>,
    /// Lowest and highest sequence, where all its rows have one.
    pub sequences: Option<(Sequence, Sequence)>,
}

impl FileEntry {
    fn new(add: Add) -> Self {
        let deleted = add.deletion_vector.is_none().then(Arc::default);
        let (partition, sequences) = (order::file_partition(&add), order::sequence_range(&add));
        Self { add, live: true, deleted, partition, sequences }
    }

    /// Rows that are not deleted, by the statistics.
    pub fn num_live_rows(&self) -> Option<u64> {
        let deleted = self.add.deletion_vector.as_ref().map_or(0, |dv| dv.cardinality);
        self.add.num_records()?.checked_sub(u64::try_from(deleted).ok()?)
    }
}

/// The table at one version.
#[derive(Debug, Clone)]
pub struct TableState {
    /// Version that the rest stands for.
    pub version: Version,
    /// Schema and properties.
    pub metadata: Metadata,
    /// Features.
    pub protocol: Protocol,
    /// By [`FileId`].
    pub files: Vec<FileEntry>,
    by_path: HashMap<String, FileId>,
    /// Kafka partitions of all files seen, live or not.
    partitions: HashSet<Option<i32>>,
    /// By app id.
    pub txns: HashMap<String, Txn>,
    /// When the version was committed, in tables that keep it: milliseconds since 1970.
    pub in_commit_timestamp: Option<i64>,
    /// What tells the version's log entry, see [`anchor`]; none where that is not known.
    pub anchor: Option<u64>,
}

/// The commit info's field of [`TableState::in_commit_timestamp`].
pub const IN_COMMIT_TIMESTAMP: &str = "inCommitTimestamp";

/// What a commit changed in the state.
#[derive(Debug, Default)]
pub struct Applied {
    /// Files that are new, or live again.
    pub added: Vec<FileId>,
    /// Files whose deletion vector changed.
    pub changed: Vec<FileId>,
    /// Files that left the table.
    pub removed: Vec<FileId>,
}

impl TableState {
    /// Reads the newest version of the table; none where there is no table.
    pub async fn load(log_store: &LogStoreRef) -> Result<Option<Self>> {
        if !log_store.is_delta_table_location().await? {
            return Ok(None);
        }
        let engine = log_store.engine(None);
        let root = crate::table::root_url(log_store);
        let mut state = tokio::task::spawn_blocking(move || -> Result<Self> {
            let snapshot = Snapshot::builder_for(root).build(engine.as_ref())?;
            let config = snapshot.table_configuration();
            let mut state = Self::new(
                snapshot.version(),
                serde_json::from_value(serde_json::to_value(config.metadata())?)?,
                serde_json::from_value(serde_json::to_value(config.protocol())?)?,
            );
            // Newest first: what was seen of a file or an app id before is newer.
            let mut seen = HashSet::new();
            for batch in snapshot.log_segment().read_actions(engine.as_ref(), get_all_actions_schema().clone())? {
                let batch = batch?;
                let is_commit = batch.is_log_batch;
                let batch = batch.actions.try_into_record_batch()?;
                state.replay_older(&batch, is_commit, &mut seen)?;
            }
            Ok(state)
        })
        .await??;
        if let Some(bytes) = log_store.read_commit_entry(state.version).await? {
            state.in_commit_timestamp = timestamp_of(&Commit::parse(&bytes)?);
            state.anchor = Some(anchor::of(&bytes));
        }
        Ok(Some(state))
    }

    /// A table without files.
    pub fn new(version: Version, metadata: Metadata, protocol: Protocol) -> Self {
        Self {
            version,
            metadata,
            protocol,
            files: Vec::new(),
            by_path: HashMap::new(),
            partitions: HashSet::new(),
            txns: HashMap::new(),
            in_commit_timestamp: None,
            anchor: None,
        }
    }

    fn replay_older(
        &mut self,
        batch: &arrow::array::RecordBatch,
        is_commit: bool,
        seen: &mut HashSet<(String, Option<String>)>,
    ) -> Result<()> {
        // Partition values may be null: the JSON must say so.
        let mut json = Vec::new();
        let mut writer = arrow::json::WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, arrow::json::writer::LineDelimited>(&mut json);
        writer.write(batch)?;
        writer.finish()?;
        drop(writer);
        for line in json.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            let line: Line = serde_json::from_slice(line)?;
            if let Some(txn) = line.txn {
                self.txns.entry(txn.app_id.clone()).or_insert(txn);
            }
            if let Some(remove) = line.remove.filter(|_| is_commit) {
                seen.insert(remove.logical_id());
            }
            if let Some(add) = line.add {
                let id = add.logical_id();
                if seen.contains(&id) {
                    continue;
                }
                seen.insert(id);
                self.insert(add)?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, add: Add) -> Result<FileId> {
        let id = FileId::try_from(self.files.len())
            .map_err(|_| Error::new(ErrorCode::TableUnsupported, "the table has more than 2^32 files"))?;
        self.by_path.insert(add.path.clone(), id);
        let entry = FileEntry::new(add);
        self.partitions.insert(entry.partition);
        self.files.push(entry);
        Ok(id)
    }

    /// Brings the state forward by the commit `version`.
    pub fn apply(&mut self, version: Version, commit: &Commit) -> Result<Applied> {
        let mut applied = Applied::default();
        let mut left: HashSet<FileId> = HashSet::new();
        for remove in &commit.removes {
            if let Some(id) = self.by_path.get(&remove.path) {
                let file = &mut self.files[*id as usize];
                if file.live && file.add.logical_id() == remove.logical_id() {
                    file.live = false;
                    left.insert(*id);
                }
            }
        }
        for add in &commit.adds {
            match self.by_path.get(&add.path).copied() {
                Some(id) => {
                    let came_back = left.remove(&id) || self.files[id as usize].live;
                    let same_rows = self.files[id as usize].add.deletion_vector == add.deletion_vector;
                    let deleted = self.files[id as usize].deleted.take().filter(|_| same_rows);
                    let mut entry = FileEntry::new(add.clone());
                    entry.deleted = deleted.or(entry.deleted);
                    self.files[id as usize] = entry;
                    if came_back { &mut applied.changed } else { &mut applied.added }.push(id);
                }
                None => applied.added.push(self.insert(add.clone())?),
            }
        }
        applied.removed.extend(left);
        for txn in &commit.txns {
            self.txns.insert(txn.app_id.clone(), txn.clone());
        }
        if let Some(metadata) = &commit.metadata {
            self.metadata = metadata.clone();
        }
        if let Some(protocol) = &commit.protocol {
            self.protocol = protocol.clone();
        }
        self.in_commit_timestamp = timestamp_of(commit).or(self.in_commit_timestamp);
        (self.version, self.anchor) = (version, None);
        Ok(applied)
    }

    /// The file that the log knows under this path.
    pub fn file_by_path(&self, path: &str) -> Option<FileId> {
        self.by_path.get(path).copied()
    }

    /// The files of the table at this version.
    pub fn live_files(&self) -> impl Iterator<Item = (FileId, &FileEntry)> {
        self.files.iter().enumerate().filter(|(_, f)| f.live).map(|(id, f)| (id as FileId, f))
    }

    /// Whether files may hold rows that came through another Kafka partition than this one.
    pub fn has_other_partitions(&self, partition: i32) -> bool {
        self.partitions.iter().any(|p| *p != Some(partition))
    }

    /// The table's schema.
    pub fn schema(&self) -> Result<StructType> {
        Ok(serde_json::from_str(&self.metadata.schema_string)?)
    }

    /// A table property.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.metadata.configuration.get(name).map(String::as_str)
    }

    /// Whether new deletion vectors may be written.
    pub fn deletion_vectors_enabled(&self) -> bool {
        self.property("delta.enableDeletionVectors").is_some_and(|v| v.eq_ignore_ascii_case("true"))
    }
}

fn timestamp_of(commit: &Commit) -> Option<i64> {
    commit.info.as_ref()?.get(IN_COMMIT_TIMESTAMP)?.as_i64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::actions::{DeletionVectorDescriptor, Format};

    fn add(path: &str, dv: Option<i64>) -> Add {
        Add {
            path: path.to_owned(),
            partition_values: Default::default(),
            size: 1,
            modification_time: 0,
            data_change: true,
            stats: None,
            tags: None,
            deletion_vector: dv.map(|n| DeletionVectorDescriptor {
                storage_type: "u".into(),
                path_or_inline_dv: "ab^-aqEH.-t@S}K{vb[*k^".into(),
                offset: Some(n as i32),
                size_in_bytes: 1,
                cardinality: n,
            }),
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        }
    }

    fn state() -> TableState {
        let metadata = Metadata {
            id: "1".into(),
            name: None,
            description: None,
            format: Format { provider: "parquet".into(), options: Default::default() },
            schema_string: r#"{"type":"struct","fields":[]}"#.into(),
            partition_columns: vec![],
            configuration: Default::default(),
            created_time: None,
        };
        let protocol =
            Protocol { min_reader_version: 1, min_writer_version: 2, reader_features: None, writer_features: None };
        TableState::new(0, metadata, protocol)
    }

    #[test]
    fn a_replaced_vector_keeps_the_file() {
        let mut state = state();
        let applied = state.apply(1, &Commit { adds: vec![add("a", None)], ..Commit::default() }).unwrap();
        assert_eq!(applied.added, [0]);
        let commit = Commit {
            removes: vec![add("a", None).to_remove(0)],
            adds: vec![add("a", Some(3)), add("b", None)],
            ..Commit::default()
        };
        let applied = state.apply(2, &commit).unwrap();
        assert_eq!((applied.changed, applied.added, applied.removed.len()), (vec![0], vec![1], 0));
        // A remove of the old vector's file comes too late: it is another logical file.
        let applied =
            state.apply(3, &Commit { removes: vec![add("a", None).to_remove(0)], ..Commit::default() }).unwrap();
        assert!(applied.removed.is_empty());
        assert_eq!(state.live_files().count(), 2);
    }
}
