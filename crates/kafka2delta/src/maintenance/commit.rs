//! The short part of a compaction: the new files take the place of the old ones in one commit that changes no row.
//! What merges deleted meanwhile is carried over into deletion vectors of the new files.

use std::sync::Arc;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use roaring::RoaringBitmap;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::rewrite::{Rewritten, Rewrote};
use crate::datafile::remove_rows::loose_stats;
use crate::error::{Error, ErrorCode, Result};
use crate::index::relocation::Relocated;
use crate::log::actions::{Add, Commit, Remove};
use crate::log::deletion_vectors::VectorFile;
use crate::log::files::FileId;
use crate::log::liveness::vector_of;
use crate::log::state::TableState;
use crate::log::store::delete_unused;
use crate::log::tags::{committed, set_committed};
use crate::machine::{new_id, now_millis};
use crate::table::{Failed, KeyedTable, Landed};

/// Versions lost to other writers before the step is given up.
const MAX_ATTEMPTS: usize = 10;

/// A committed step of compaction.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CompactResult {
    /// The commit's version.
    pub version: u64,
    /// Files that left the table.
    pub files_removed: u64,
    /// Files that took their place.
    pub files_added: u64,
    /// Rows written.
    pub rows: u64,
    /// Of them, deleted or replaced while they were written: carried over as deletion vectors.
    pub rows_carried_over: u64,
    /// Bytes of the files read.
    pub bytes_read: u64,
    /// Bytes of files and vectors written.
    pub bytes_written: u64,
    /// Milliseconds from the beginning of the rewrite.
    pub duration: f64,
}

/// The commit's actions for the state as it is.
struct Step {
    removes: Vec<Remove>,
    adds: Vec<Add>,
    /// By group and output: rows that were deleted meanwhile.
    gone: Vec<Vec<Arc<RoaringBitmap>>>,
    vector_file: Option<Path>,
    bytes: u64,
    carried: u64,
}

/// A step that the log has taken.
struct Committed {
    landed: Landed,
    commit: Commit,
    gone: Vec<Vec<Arc<RoaringBitmap>>>,
    result: CompactResult,
}

impl KeyedTable {
    /// Commits the files of a rewrite. None where other writers rewrote a source or changed the schema meanwhile, and
    /// nothing has happened. After an error the log tells whether the step was committed. The new files are removed in either
    /// case, unless the store did not tell whether it has the commit that names them.
    pub async fn commit_compaction(&mut self, rewritten: Rewritten) -> Result<Option<CompactResult>> {
        match self.commit_step(&rewritten).await {
            Ok(Some(committed)) => {
                let result = self.compacted(committed, &rewritten).await;
                self.standing.ended(&result);
                result.map(Some)
            }
            Ok(None) => {
                self.standing.trust();
                rewritten.discard().await;
                Ok(None)
            }
            // A late answer may still bring the commit: then the log names the files.
            Err(Failed { error, in_doubt: true }) => Err(error),
            Err(Failed { error, in_doubt: false }) => {
                rewritten.discard().await;
                Err(error)
            }
        }
    }

    /// What the log has taken.
    async fn commit_step(&mut self, rewritten: &Rewritten) -> Result<Option<Committed>, Failed> {
        self.begin_commit().await?;
        // Asked beside the work.
        let mut same_log = self.ask_for_same_log();
        for _ in 0..MAX_ATTEMPTS {
            let basis = self.snapshot.basis();
            let Some(step) = self.step(rewritten).await? else { return Ok(None) };
            let result = CompactResult {
                files_removed: step.removes.len() as u64,
                files_added: step.adds.len() as u64,
                rows: rewritten.num_rows(),
                rows_carried_over: step.carried,
                bytes_read: rewritten.bytes_read,
                bytes_written: step.bytes,
                ..CompactResult::default()
            };
            let id = new_id();
            let commit = Commit {
                info: Some(self.optimize_info(id, &step, &rewritten.cluster_by)),
                removes: step.removes,
                adds: step.adds,
                ..Commit::default()
            };
            let tried = self.attempt(basis, &commit, id, &mut same_log).await;
            if let Ok(Some(landed)) = tried {
                return Ok(Some(Committed { landed, commit, gone: step.gone, result }));
            }
            if !matches!(&tried, Err(failed) if failed.in_doubt) {
                delete_unused(self.storage.files(), step.vector_file.into_iter().collect()).await;
            }
            tried?;
        }
        tracing::debug!("a compaction lost {MAX_ATTEMPTS} versions to other writers and is given up");
        Ok(None)
    }

    /// The commit for the state as it is; none where the rewrite does not stand for the table any more.
    async fn step(&mut self, rewritten: &Rewritten) -> Result<Option<Step>> {
        let Some(state) = self.snapshot.state() else { return Ok(None) };
        if state.metadata.schema_string != rewritten.schema_string
            || state.metadata.partition_columns != rewritten.partition_columns
        {
            return Ok(None);
        }
        let carries = !self.copy_on_write() && state.deletion_vectors_enabled();
        let sources = rewritten.groups.iter().flat_map(|group| &group.sources);
        let ids: Option<Vec<FileId>> = sources.map(|source| state.file_by_path(&source.path)).collect();
        let Some(ids) = ids else { return Ok(None) };
        let live: Vec<FileId> = ids.iter().copied().filter(|id| state.files[*id as usize].live).collect();
        self.snapshot.load_vectors(&self.storage, &live).await?;
        let Some(state) = self.snapshot.state() else { return Ok(None) };
        let now = now_millis();
        let removes =
            live.iter().map(|id| Remove { data_change: false, ..state.files[*id as usize].add.to_remove(now) });
        let mut step = Step {
            removes: removes.collect(),
            adds: Vec::new(),
            gone: Vec::with_capacity(rewritten.groups.len()),
            vector_file: None,
            bytes: 0,
            carried: 0,
        };
        if step.removes.is_empty() {
            return Ok(None);
        }
        let mut vectors = VectorFile::default();
        let mut ids = ids.into_iter();
        for group in &rewritten.groups {
            let mut gone = vec![RoaringBitmap::new(); group.outputs.len()];
            let mut last_commit = None;
            for (source, id) in group.sources.iter().zip(&mut ids) {
                last_commit = last_commit.max(committed(&state.files[id as usize].add));
                let Some(numbers) = deleted_since(state, id, source)? else { return Ok(None) };
                for number in numbers {
                    let (output, row) = group.rows.place(number).ok_or_else(|| {
                        Error::new(ErrorCode::Internal, "a row of a rewritten file is not in the new ones")
                    })?;
                    gone[output].insert(row);
                }
            }
            for (output, gone) in group.outputs.iter().zip(&gone) {
                let mut add = output.add.clone();
                step.carried += gone.len();
                step.bytes += u64::try_from(add.size).unwrap_or(0);
                if gone.len() == output.rows {
                    continue;
                }
                if !gone.is_empty() {
                    if !carries {
                        return Ok(None);
                    }
                    add.deletion_vector = Some(vectors.append(gone)?);
                    add.stats = Some(loose_stats(add.stats.as_deref(), output.rows));
                }
                add.modification_time = now;
                set_committed(&mut add, last_commit);
                step.adds.push(add);
            }
            step.gone.push(gone.into_iter().map(Arc::new).collect());
        }
        if !vectors.is_empty() {
            let (path, bytes) = vectors.finish();
            step.bytes += bytes.len() as u64;
            self.storage.files().put(&path, bytes.into()).await?;
            step.vector_file = Some(path);
        }
        Ok(Some(step))
    }

    /// The commit's note, with Spark's operation and metrics.
    fn optimize_info(&self, id: Uuid, step: &Step, cluster_by: &[String]) -> crate::log::actions::CommitInfo {
        let size = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
        let mut sizes: Vec<u64> = step.adds.iter().map(|add| size(add.size)).collect();
        sizes.sort_unstable();
        let quantile =
            |quarters: usize| sizes.get((sizes.len().saturating_sub(1)) * quarters / 4).copied().unwrap_or(0);
        let removed_vectors = step.removes.iter().filter(|remove| remove.deletion_vector.is_some()).count();
        let mut info = self.note(
            id,
            &[
                ("numRemovedFiles", step.removes.len() as u64),
                ("numRemovedBytes", step.removes.iter().filter_map(|remove| remove.size).map(size).sum()),
                ("numAddedFiles", step.adds.len() as u64),
                ("numAddedBytes", sizes.iter().sum()),
                ("numDeletionVectorsRemoved", removed_vectors as u64),
                ("minFileSize", quantile(0)),
                ("p25FileSize", quantile(1)),
                ("p50FileSize", quantile(2)),
                ("p75FileSize", quantile(3)),
                ("maxFileSize", quantile(4)),
            ],
        );
        info.insert("operation".into(), json!("OPTIMIZE"));
        info.insert("isolationLevel".into(), json!("SnapshotIsolation"));
        let columns = serde_json::Value::from(cluster_by).to_string();
        info.insert(
            "operationParameters".into(),
            json!({ "predicate": "[]", "auto": "true", "clusterBy": "[]", "zOrderBy": columns }),
        );
        info
    }

    /// Enters the commit.
    async fn compacted(&mut self, committed: Committed, rewritten: &Rewritten) -> Result<CompactResult> {
        let Committed { landed, commit, gone, mut result } = committed;
        self.snapshot.commit(landed, &commit, std::iter::empty())?;
        let mut relocated = Vec::new();
        for (group, gone) in rewritten.groups.iter().zip(&gone) {
            let file = |path: &str| self.snapshot.state().and_then(|state| state.file_by_path(path));
            // One that has no row left was not added.
            let files: Vec<Option<FileId>> = group.outputs.iter().map(|output| file(&output.add.path)).collect();
            let files = Arc::new(files);
            for source in &group.sources {
                let Some(id) = file(&source.path) else { continue };
                let (source, group) = (source.numbers.clone(), group.rows.clone());
                relocated.push((id, Relocated { source, group, files: files.clone() }));
            }
            for (file, gone) in files.iter().zip(gone) {
                if let Some(file) = file {
                    self.snapshot.set_vector(*file, gone.clone());
                }
            }
        }
        self.keys.relocate(relocated);
        self.keys.tend(self.snapshot.state()).await;
        self.checkpoint_if_due(landed.version, &commit);
        result.version = landed.version;
        result.duration = rewritten.since.elapsed().as_secs_f64() * 1e3;
        Ok(result)
    }
}

/// Numbers, among its group's rows, of a source's rows that were deleted since it was read; none where the source left
/// the table, or got rows back, by another writer's hand.
fn deleted_since(state: &TableState, id: FileId, source: &Rewrote) -> Result<Option<Vec<u64>>> {
    let file = &state.files[id as usize];
    if !file.live {
        return Ok(file.emptied.then(|| source.all().collect()));
    }
    let now = vector_of(state, id)?;
    if !source.then.is_subset(now) {
        return Ok(None);
    }
    let number = |row| {
        let number = source.numbers.number(row);
        number.ok_or_else(|| Error::new(ErrorCode::Internal, "a row that was live when it was read has no number"))
    };
    (now - &*source.then).into_iter().map(number).collect::<Result<_>>().map(Some)
}
