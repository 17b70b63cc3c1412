//! Our own state of the table, kept across commits: nothing lists or replays the log on the way of a commit.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use delta_kernel::actions::get_all_actions_schema;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::schema::StructType;
use delta_kernel::{Snapshot, Version};
use deltalake::logstore::LogStoreRef;
use roaring::RoaringBitmap;

use super::actions::{Add, Commit, Line, Metadata, Protocol, Remove, Txn};
use super::commit::MERGE_MODE;
use super::entries::read_entry;
use super::entry_fingerprint;
use super::files::{FileEntry, FileId, Files};
use crate::error::Result;
use crate::machine::spawn_blocking;

/// Commits for which a file that left the table is still known: deleted rows' values may be asked for.
const COMMITS_KEPT: Version = 300;

/// Whether a commit moves no rows: a file that leaves with it has none left. Only our own merges tell.
fn takes_rows_alone(commit: &Commit) -> bool {
    let merge_mode = || commit.info.as_ref()?.get("operationParameters")?.get(MERGE_MODE)?.as_str();
    let ours = commit.info_str("engineInfo").is_some_and(|engine| engine.starts_with("kafka2delta/"));
    ours && merge_mode() == Some("merge-on-read")
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
    pub files: Files,
    live: RoaringBitmap,
    by_path: HashMap<String, FileId>,
    /// Files that left the table, by the version that took them.
    left: VecDeque<(Version, FileId)>,
    /// Kafka partitions of all files seen, live or not.
    partitions: HashSet<Option<i32>>,
    /// By app id.
    pub txns: HashMap<String, Txn>,
    /// When the version was committed, in tables that keep it: milliseconds since 1970.
    pub in_commit_timestamp: Option<i64>,
    /// What tells the version's log entry, see [`entry_fingerprint`](super::entry_fingerprint); none where that is not known.
    pub anchor: Option<u64>,
    /// The newest checkpoint when the state was read.
    pub checkpointed: Option<Version>,
}

/// The commit info's field of [`TableState::in_commit_timestamp`].
pub const IN_COMMIT_TIMESTAMP: &str = "inCommitTimestamp";

/// What a commit changed in the state.
#[derive(Debug, Default)]
pub struct Applied {
    /// Files that are new, or live again.
    pub added: Vec<FileId>,
    /// Files whose deletion vector changed, with the rows that were deleted before, where they were known.
    pub changed: Vec<(FileId, Option<Arc<RoaringBitmap>>)>,
    /// Files that left the table.
    pub removed: Vec<FileId>,
}

impl TableState {
    /// Reads the newest version of the table; none where there is no table.
    pub async fn load(log_store: &LogStoreRef) -> Result<Option<Self>> {
        let loaded = Self::load_with(log_store, (), |_, (), _| Ok(())).await?;
        Ok(loaded.map(|(state, ())| state))
    }

    /// Reads an older version.
    pub async fn load_version(log_store: &LogStoreRef, version: Version) -> Result<Self> {
        let (state, ()) = Self::replay(log_store, Some(version), (), |_, (), _| Ok(())).await?;
        Ok(state)
    }

    /// Reads the newest version, and shows each tombstone that the log has, with the table's metadata.
    pub async fn load_with<T: Send + 'static>(
        log_store: &LogStoreRef,
        sum: T,
        each: impl FnMut(&Self, &mut T, &Remove) -> Result<()> + Send + 'static,
    ) -> Result<Option<(Self, T)>> {
        match log_store.is_delta_table_location().await? {
            true => Self::replay(log_store, None, sum, each).await.map(Some),
            false => Ok(None),
        }
    }

    async fn replay<T: Send + 'static>(
        log_store: &LogStoreRef,
        version: Option<Version>,
        mut sum: T,
        mut each: impl FnMut(&Self, &mut T, &Remove) -> Result<()> + Send + 'static,
    ) -> Result<(Self, T)> {
        let engine = log_store.engine(None);
        let root = crate::log::store::root_url(log_store);
        let (mut state, sum) = spawn_blocking(move || -> Result<(Self, T)> {
            let builder = Snapshot::builder_for(root);
            let builder = version.into_iter().fold(builder, |builder, version| builder.at_version(version));
            let snapshot = builder.build(engine.as_ref())?;
            let mut state = Self::of(&snapshot)?;
            // Newest first: what was seen of a file or an app id before is newer.
            let mut seen = HashSet::new();
            for batch in snapshot.log_segment().read_actions(engine.as_ref(), get_all_actions_schema().clone())? {
                let batch = batch?;
                let is_commit = batch.is_log_batch;
                let batch = batch.actions.try_into_record_batch()?;
                state.replay_older(&batch, is_commit, &mut seen, |state, remove| each(state, &mut sum, remove))?;
            }
            Ok((state, sum))
        })
        .await??;
        if let Some(bytes) = read_entry(log_store, state.version).await? {
            state.in_commit_timestamp = timestamp_of(&Commit::parse(&bytes)?);
            state.anchor = Some(entry_fingerprint::of(&bytes));
        }
        Ok((state, sum))
    }

    /// Metadata and protocol of a snapshot, without files.
    pub(crate) fn of(snapshot: &Snapshot) -> Result<Self> {
        let config = snapshot.table_configuration();
        let mut state = Self::new(
            snapshot.version(),
            serde_json::from_value(serde_json::to_value(config.metadata())?)?,
            serde_json::from_value(serde_json::to_value(config.protocol())?)?,
        );
        state.checkpointed = snapshot.log_segment().checkpoint_version;
        Ok(state)
    }

    /// A table without files.
    pub fn new(version: Version, metadata: Metadata, protocol: Protocol) -> Self {
        Self {
            version,
            metadata,
            protocol,
            files: Files::default(),
            live: RoaringBitmap::new(),
            by_path: HashMap::new(),
            left: VecDeque::new(),
            partitions: HashSet::new(),
            txns: HashMap::new(),
            in_commit_timestamp: None,
            anchor: None,
            checkpointed: None,
        }
    }

    fn replay_older(
        &mut self,
        batch: &arrow::array::RecordBatch,
        is_commit: bool,
        seen: &mut HashSet<(String, Option<String>)>,
        mut each: impl FnMut(&Self, &Remove) -> Result<()>,
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
            if let Some(remove) = line.remove {
                each(self, &remove)?;
                if is_commit {
                    seen.insert(remove.logical_id());
                }
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
        let path = add.path.clone();
        let entry = FileEntry::new(add);
        self.partitions.insert(entry.partition);
        let id = self.files.push(entry)?;
        self.by_path.insert(path, id);
        self.live.insert(id);
        Ok(id)
    }

    /// Forgets files that left the table long ago.
    fn forget_old(&mut self) {
        while let Some((version, id)) = self.left.front().copied()
            && version + COMMITS_KEPT <= self.version
        {
            self.left.pop_front();
            let file = &self.files[id as usize];
            // It may have come back since.
            if !file.live && file.left_at == version && !file.is_forgotten() {
                if self.by_path.get(&file.add.path) == Some(&id) {
                    self.by_path.remove(&file.add.path);
                }
                self.files.forget(id);
            }
        }
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
                    self.live.remove(*id);
                    left.insert(*id);
                }
            }
        }
        for add in &commit.adds {
            match self.by_path.get(&add.path).copied() {
                Some(id) => {
                    let came_back = left.remove(&id) || self.files[id as usize].live;
                    let before = &mut self.files[id as usize];
                    let same_rows = before.add.deletion_vector == add.deletion_vector;
                    let deleted = before.deleted.take();
                    let mut entry = FileEntry::new(add.clone());
                    if same_rows && deleted.is_some() {
                        entry.deleted.clone_from(&deleted);
                    }
                    entry.deletion_bytes = match same_rows {
                        true => before.deletion_bytes,
                        false => before.deletion_bytes + entry.deletion_bytes,
                    };
                    *before = entry;
                    self.live.insert(id);
                    match came_back {
                        true => applied.changed.push((id, deleted)),
                        false => applied.added.push(id),
                    }
                }
                None => applied.added.push(self.insert(add.clone())?),
            }
        }
        let emptied = takes_rows_alone(commit);
        for id in &left {
            let file = &mut self.files[*id as usize];
            (file.left_at, file.emptied) = (version, emptied);
            self.left.push_back((version, *id));
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
        self.forget_old();
        Ok(applied)
    }

    /// The file that the log knows under this path.
    pub fn file_by_path(&self, path: &str) -> Option<FileId> {
        self.by_path.get(path).copied()
    }

    /// The files of the table at this version.
    pub fn live_files(&self) -> impl Iterator<Item = (FileId, &FileEntry)> {
        self.live.iter().map(|id| (id, &self.files[id as usize]))
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
    use crate::log::files::LOG_ENTRY_BYTES;

    fn add(path: &str, dv: Option<i64>) -> Add {
        Add {
            path: path.to_owned(),
            size: 1,
            data_change: true,
            deletion_vector: dv.map(|n| DeletionVectorDescriptor {
                storage_type: "u".into(),
                path_or_inline_dv: "ab^-aqEH.-t@S}K{vb[*k^".into(),
                offset: Some(n as i32),
                size_in_bytes: 1,
                cardinality: n,
            }),
            ..Add::default()
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
        let changed: Vec<FileId> = applied.changed.iter().map(|(id, _)| *id).collect();
        assert_eq!((changed, applied.added, applied.removed.len()), (vec![0], vec![1], 0));
        // A remove of the old vector's file comes too late: it is another logical file.
        let applied =
            state.apply(3, &Commit { removes: vec![add("a", None).to_remove(0)], ..Commit::default() }).unwrap();
        assert!(applied.removed.is_empty());
        assert_eq!(state.live_files().count(), 2);
        // What the vectors cost is added up until the file is written anew.
        assert!(state.files[0].deletion_bytes > LOG_ENTRY_BYTES);
    }

    #[test]
    fn files_that_left_long_ago_are_forgotten() {
        let mut state = state();
        let of = |adds: Vec<Add>, removes: Vec<Add>| Commit {
            adds,
            removes: removes.iter().map(|add| add.to_remove(0)).collect(),
            ..Commit::default()
        };
        state.apply(1, &of(vec![add("a", None), add("b", None), add("c", None)], vec![])).unwrap();
        state.apply(2, &of(vec![], vec![add("a", None), add("b", None)])).unwrap();
        // Back again before it is forgotten.
        state.apply(3, &of(vec![add("b", None)], vec![])).unwrap();
        state.apply(COMMITS_KEPT + 1, &Commit::default()).unwrap();
        assert!(!state.files[0].is_forgotten() && state.file_by_path("a").is_some());
        state.apply(COMMITS_KEPT + 2, &Commit::default()).unwrap();
        assert!(state.files[0].is_forgotten() && !state.files[0].live && state.file_by_path("a").is_none());
        assert_eq!(state.live_files().map(|(id, _)| id).collect::<Vec<_>>(), [1, 2]);
        // Its number is not given again.
        let applied = state.apply(COMMITS_KEPT + 3, &of(vec![add("a", None)], vec![])).unwrap();
        assert_eq!((applied.added, state.file_by_path("a")), (vec![3], Some(3)));
    }
}
