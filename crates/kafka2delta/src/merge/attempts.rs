//! One merge on its way to a commit: how far its batch has come, and what takes it back when another writer commits first.

use std::mem;
use std::time::Instant;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::files::{Written, delete_taken, discard};
use super::held::Held;
use super::locate::Located;
use super::prepared::Prepared;
use super::result::{MAX_ATTEMPTS, MergeResult, Offset, check_cancelled, millis};
use crate::change::batch::ChangeBatch;
use crate::datafile::copies::Copies;
use crate::datafile::remove_rows::Taken;
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::Commit;
use crate::log::store::delete_unused;
use crate::machine::new_id;
use crate::table::{Failed, KeyedTable, Landed};

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
    /// Files that were written anew: they stand whatever becomes of the batch.
    copies: Copies,
    result: MergeResult,
    held: Held,
    /// Whether a commit that names its files may be in the log.
    in_doubt: bool,
    start: Instant,
    clock: Instant,
}

impl<'a> Merge<'a> {
    fn new(batch: Option<Bytes>, primary_key: &'a [String]) -> Result<Self> {
        let start = Instant::now();
        let held = Held::new(batch.as_ref());
        let batch = batch.map(ChangeBatch::from_ipc).transpose()?.filter(|batch| batch.num_rows() > 0);
        Ok(Self {
            batch,
            primary_key,
            stage: Stage::Parsed,
            copies: Copies::default(),
            result: MergeResult::default(),
            held,
            in_doubt: false,
            start,
            clock: start,
        })
    }

    /// Takes the batch back to where it rests on nothing of the table, and removes the files that were stored for it.
    async fn start_over(&mut self, table: &KeyedTable) {
        self.held.start_over();
        if let Stage::Stored(_, stored) = mem::replace(&mut self.stage, Stage::Parsed) {
            discard(table.storage.files(), stored.1).await;
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
        let result = self.attempts(&mut merge, offsets, cancel).await;
        if result.is_err() && !merge.in_doubt {
            merge.start_over(self).await;
            delete_unused(self.storage.files(), merge.copies.unused(&[])).await;
        }
        result
    }

    async fn attempts(
        &mut self,
        merge: &mut Merge<'_>,
        offsets: &[Offset],
        cancel: &CancellationToken,
    ) -> Result<MergeResult> {
        // Asked beside the work.
        let mut same_log = self.ask_for_same_log();
        for _ in 0..MAX_ATTEMPTS {
            check_cancelled(cancel)?;
            self.check_not_replaced(offsets.iter().map(|offset| offset.app_id.as_str())).await?;
            self.check_fence(offsets)?;
            self.check_write_mode()?;
            self.bring_to_prepared(merge).await?;
            let vectors = self.bring_to_stored(merge).await?;
            if let (Some(vectors), true) = (&vectors, cancel.is_cancelled()) {
                delete_taken(self, vectors, &merge.copies).await;
            }
            check_cancelled(cancel)?;
            let id = new_id();
            let basis = merge.stage.prepared().map_or_else(|| self.snapshot.basis(), |prepared| prepared.basis);
            let (commit, taken) = self
                .build_commit(merge.stage.stored(), (vectors, &mut merge.copies), offsets, id, &mut merge.result)
                .await?;
            merge.result.timings.write += millis(&mut merge.clock);
            let landed = match self.attempt(basis, &commit, id, &mut same_log).await {
                Ok(landed) => landed,
                Err(Failed { error, in_doubt }) => {
                    merge.in_doubt = in_doubt;
                    if !in_doubt {
                        delete_taken(self, &taken, &merge.copies).await;
                    }
                    return Err(error);
                }
            };
            merge.result.timings.commit += millis(&mut merge.clock);
            match landed {
                Some(landed) => return self.won(merge, landed, &commit, &taken).await,
                None => {
                    delete_taken(self, &taken, &merge.copies).await;
                    if !self.bears_out(merge) {
                        merge.start_over(self).await;
                    }
                }
            }
        }
        Err(Error::new(
            ErrorCode::CommitConflict,
            format!("other writers won {MAX_ATTEMPTS} attempts to commit in a row: try again when they are done"),
        ))
    }

    /// Makes the batch ready for the table as it is known.
    async fn bring_to_prepared(&mut self, merge: &mut Merge<'_>) -> Result<()> {
        if let (Stage::Parsed, Some(batch)) = (&merge.stage, &mut merge.batch) {
            let empty = batch.clear_empty_partition_values(&self.partition_columns())?;
            self.note_empty_partition_values(&empty, merge.primary_key);
            let prepared = self.prepare(batch, merge.primary_key).await?;
            merge.held.add_changes(batch.num_rows());
            merge.held.add_rows(&prepared.base);
            merge.stage = Stage::Prepared(Box::new(prepared));
        }
        merge.result.timings.collapse += millis(&mut merge.clock);
        Ok(())
    }

    /// Stores the batch's new rows, and finds the rows that they replace. Gives the deletion vectors of these, if they were
    /// written beside.
    async fn bring_to_stored(&mut self, merge: &mut Merge<'_>) -> Result<Option<Taken>> {
        let Merge { stage, result, clock, held, .. } = merge;
        let timings = &mut result.timings;
        let (prepared, before) = match mem::replace(stage, Stage::Parsed) {
            Stage::Parsed => return Ok(None),
            Stage::Prepared(prepared) => (prepared, None),
            Stage::Stored(prepared, stored) => (prepared, Some(stored.1)),
        };
        if let Some(written) = before {
            let located = self.locate(&prepared.collapsed)?;
            timings.locate += millis(clock);
            *stage = Stage::Stored(prepared, Box::new((located, written)));
            return Ok(None);
        }
        // Encoding takes all cores, and storing waits for the storage: look-ups run beside the latter.
        let storing = self.write_rows(&prepared, timings, clock, held).await?;
        timings.write += millis(clock);
        let located = self.locate(&prepared.collapsed)?;
        timings.locate += millis(clock);
        let vectors = self.vectors_beside(&prepared, &located).await?;
        *stage = Stage::Stored(prepared, Box::new((located, storing.finish(self.storage.files()).await?)));
        timings.write += millis(clock);
        Ok(vectors)
    }

    /// Enters what the log has taken.
    async fn won(
        &mut self,
        merge: &mut Merge<'_>,
        landed: Landed,
        commit: &Commit,
        taken: &Taken,
    ) -> Result<MergeResult> {
        // First: whatever fails from here on, files that the log names stay.
        let unused = mem::take(&mut merge.copies).unused(&taken.rewritten);
        let mut result = mem::take(&mut merge.result);
        let (prepared, stored) = match mem::replace(&mut merge.stage, Stage::Parsed) {
            Stage::Stored(prepared, stored) => (Some(*prepared), Some(*stored)),
            _ => (None, None),
        };
        if let Some((_, written)) = &stored {
            self.note_empty_partition_values(&written.empty_partition_values, merge.primary_key);
        }
        result.notes = self.notes.take();
        let in_new_types = prepared.as_ref().is_some_and(|prepared| !prepared.widened_columns.is_empty());
        self.committed(landed, commit, taken, prepared, stored)?;
        delete_unused(self.storage.files(), unused).await;
        self.keys.tend(self.snapshot.state()).await;
        result.index_bytes = self.keys.index().allocated_bytes() as u64;
        result.peak_bytes = merge.held.peak();
        result.version = landed.version;
        self.checkpoint_if_due(landed.version, commit);
        if in_new_types {
            self.maintenance().checkpoint_new_types().await;
        }
        result.timings.total = merge.start.elapsed().as_secs_f64() * 1e3;
        Ok(result)
    }

    /// Whether what the batch was made into still stands after the log was followed. Where others only moved rows, their new
    /// places are found again, unless these lie on disk or in files that would have to be read.
    fn bears_out(&self, merge: &Merge<'_>) -> bool {
        let finds_places = !self.options.write_mode.looks_up_keys() || self.keys.knows_all();
        merge.stage.prepared().is_none_or(|prepared| prepared.basis == self.snapshot.basis() && finds_places)
    }
}
