//! One merge on its way to a commit: how far its batch has come, and what takes it back when another writer commits first.

use std::mem;
use std::time::Instant;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::files::{Written, delete_taken, discard};
use super::locate::Located;
use super::prepared::Prepared;
use super::result::{MAX_ATTEMPTS, MergeResult, Offset, check_cancelled, millis};
use crate::change::batch::ChangeBatch;
use crate::datafile::remove_rows::Taken;
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::Commit;
use crate::log::commit::{Attempt, attempt_bytes};
use crate::log::entry_fingerprint;
use crate::options::WriteMode;
use crate::table::KeyedTable;

/// How far a batch has come.
enum Stage {
    /// As it was handed over. A merge without a batch stays here.
    Parsed,
    /// In the types of the table, with one change a key.
    Prepared(Box<Prepared>),
    /// Its new rows are stored, in files that no commit names yet.
    Stored(Box<Prepared>, Box<(Located, Written)>),
}

impl Stage {
    fn prepared(&self) -> Option<&Prepared> {
        match self {
            Self::Parsed => None,
            Self::Prepared(prepared) | Self::Stored(prepared, _) => Some(prepared),
        }
    }

    /// What the commit is built from; none without a batch.
    fn stored(&self) -> Option<(&Prepared, &(Located, Written))> {
        match self {
            Self::Stored(prepared, stored) => Some((prepared, stored)),
            _ => None,
        }
    }
}

/// A merge that is under way.
struct Merge<'a> {
    batch: Option<ChangeBatch>,
    primary_key: &'a [String],
    stage: Stage,
    result: MergeResult,
    start: Instant,
    clock: Instant,
}

impl<'a> Merge<'a> {
    fn new(batch: Option<Bytes>, primary_key: &'a [String]) -> Result<Self> {
        let start = Instant::now();
        let batch = batch.map(ChangeBatch::from_ipc).transpose()?.filter(|batch| batch.num_rows() > 0);
        Ok(Self { batch, primary_key, stage: Stage::Parsed, result: MergeResult::default(), start, clock: start })
    }

    /// Takes the batch back to where it rests on nothing of the table, and removes the files that were stored for it.
    async fn start_over(&mut self, table: &KeyedTable) {
        if let Stage::Stored(_, stored) = mem::replace(&mut self.stage, Stage::Parsed) {
            discard(table, Some(*stored)).await;
        }
    }
}

impl KeyedTable {
    /// Applies a batch to the table as it is known, in as many attempts as other writers make it take.
    pub(super) async fn merge_once(
        &mut self,
        batch: Option<Bytes>,
        primary_key: &[String],
        offsets: &[Offset],
        cancel: &CancellationToken,
    ) -> Result<MergeResult> {
        let mut merge = Merge::new(batch, primary_key)?;
        // Whether the log is still the one that is known is asked beside the work.
        let mut same_log = self.anchor_check().map(tokio::spawn);
        for _ in 0..MAX_ATTEMPTS {
            check_cancelled(cancel)?;
            self.check_fence(offsets)?;
            self.check_write_mode()?;
            self.bring_to_prepared(&mut merge).await?;
            let vectors = self.bring_to_stored(&mut merge).await?;
            check_cancelled(cancel)?;
            let id = Uuid::new_v4();
            let (commit, taken) =
                self.build_commit(merge.stage.stored(), vectors, offsets, id, &mut merge.result).await?;
            merge.result.timings.write += millis(&mut merge.clock);
            if !is_same(same_log.take()).await? {
                delete_taken(self, &taken).await;
                merge.start_over(self).await;
                self.follow().await?;
                continue;
            }
            let version = self.snapshot.next_version();
            let bytes = commit.to_bytes()?;
            let anchor = entry_fingerprint::of(&bytes);
            let outcome = attempt_bytes(self.storage.log(), version, bytes, id).await?;
            merge.result.timings.commit += millis(&mut merge.clock);
            match outcome {
                Attempt::Won => return self.won(merge, (version, anchor), &commit, &taken).await,
                Attempt::Lost => {
                    tracing::debug!(version, "another writer took the version");
                    delete_taken(self, &taken).await;
                    self.follow().await?;
                    if self.rests_on_stored_rows(&merge) {
                        merge.start_over(self).await;
                    }
                }
            }
        }
        merge.start_over(self).await;
        Err(Error::new(
            ErrorCode::CommitConflict,
            format!("other writers won {MAX_ATTEMPTS} attempts to commit in a row: try again when they are done"),
        ))
    }

    /// Makes the batch ready for the table's schema, again where this has changed.
    async fn bring_to_prepared(&mut self, merge: &mut Merge<'_>) -> Result<()> {
        let is_ready = merge.stage.prepared().is_some_and(|prepared| prepared.based_on == *self.snapshot.schema());
        if !is_ready {
            merge.start_over(self).await;
            if let Some(batch) = &mut merge.batch {
                let empty = batch.clear_empty_partition_values(&self.partition_columns())?;
                self.note_empty_partition_values(&empty, merge.primary_key);
                merge.stage = Stage::Prepared(Box::new(self.prepare(batch, merge.primary_key).await?));
            }
        }
        merge.result.timings.collapse += millis(&mut merge.clock);
        Ok(())
    }

    /// Stores the batch's new rows, again where the rows that values were taken from have changed places. Gives the
    /// deletion vectors of the rows that they replace, if these were written beside.
    async fn bring_to_stored(&mut self, merge: &mut Merge<'_>) -> Result<Option<Taken>> {
        let Merge { stage, result, clock, .. } = merge;
        let timings = &mut result.timings;
        let (prepared, before) = match mem::replace(stage, Stage::Parsed) {
            Stage::Parsed => return Ok(None),
            Stage::Prepared(prepared) => (prepared, None),
            Stage::Stored(prepared, stored) => (prepared, Some(stored)),
        };
        // Encoding takes all cores, and storing waits for the storage: look-ups run beside the latter.
        let storing = match &before {
            Some(_) => None,
            None => Some(self.write_rows(&prepared, timings, clock).await?),
        };
        timings.write += millis(clock);
        let located = self.locate(&prepared.collapsed)?;
        timings.locate += millis(clock);
        let storing = match (storing, before) {
            (Some(storing), _) => storing,
            (None, Some(stored)) if stored.0 == located => {
                *stage = Stage::Stored(prepared, stored);
                return Ok(None);
            }
            // Values may have been taken from rows that others changed since.
            (None, before) => {
                discard(self, before.map(|stored| *stored)).await;
                self.write_rows(&prepared, timings, clock).await?
            }
        };
        let vectors = self.vectors_beside(&prepared, &located).await?;
        *stage = Stage::Stored(prepared, Box::new((located, storing.finish().await?)));
        timings.write += millis(clock);
        Ok(vectors)
    }

    /// Enters what the log has taken.
    async fn won(
        &mut self,
        merge: Merge<'_>,
        (version, anchor): (u64, u64),
        commit: &Commit,
        taken: &Taken,
    ) -> Result<MergeResult> {
        let Merge { stage, mut result, primary_key, start, .. } = merge;
        let (prepared, stored) = match stage {
            Stage::Stored(prepared, stored) => (Some(*prepared), Some(*stored)),
            _ => (None, None),
        };
        if let Some((_, written)) = &stored {
            self.note_empty_partition_values(&written.empty_partition_values, primary_key);
        }
        result.notes = self.notes.take();
        self.committed((version, anchor), commit, taken, prepared, stored)?;
        self.keys.make_room().await;
        result.version = version;
        self.checkpoint_if_due(version, commit);
        result.timings.total = start.elapsed().as_secs_f64() * 1e3;
        Ok(result)
    }

    /// Whether what the batch was made into depends on rows that others may have changed: whether a soft delete marks a
    /// row, which version a change ends, and what is older than a stored row. A table that was read anew has no index yet;
    /// without one, places are those of the files of before; and of one on disk, only what is staged is known.
    fn rests_on_stored_rows(&self, merge: &Merge<'_>) -> bool {
        let no_index = !self.keys.knows_all();
        let ordered = merge.batch.as_ref().is_some_and(|batch| batch.orders.is_some());
        match self.options.write_mode {
            WriteMode::Upsert => self.options.soft_delete_column.is_some() || no_index || ordered,
            WriteMode::Append => false,
            WriteMode::Scd2(_) => true,
        }
    }
}

/// What a check of the log's identity has found; without a check it is the same.
async fn is_same(check: Option<JoinHandle<Result<bool>>>) -> Result<bool> {
    match check {
        Some(check) => check.await?,
        None => Ok(true),
    }
}
