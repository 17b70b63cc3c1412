//! Applying a batch: the way of design.md §6, and the commit rules of §5.

mod change_feed;
mod commit;
mod delete_where;
mod files;
mod locate;
mod missing;
mod modes;
mod prepare;
mod prepared;
mod repeats;
pub(crate) mod result;
mod stored_sequences;

use std::time::Instant;

use arrow::array::RecordBatch;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::files::{Written, delete_taken, discard, put};
use self::locate::Located;
use self::prepared::Prepared;
use crate::change::batch::ChangeBatch;
use crate::datafile::encode::encode;
use crate::datafile::parquet_properties::writer_properties;
use crate::datafile::remove_rows::Taken;
use crate::datafile::split::split;
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::Commit;
use crate::log::commit::{Attempt, attempt, attempt_bytes};
use crate::log::entry_fingerprint;
use crate::merge::result::{MAX_ATTEMPTS, MergeResult, Offset, check_cancelled, millis};
use crate::options::{KeyIndexMode, WriteMode};
use crate::table::KeyedTable;

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
        let mut result = self.merge_once(batch.clone(), primary_key, offsets, cancel).await;
        // A file that is missing may have left the table, and been vacuumed, since we looked last.
        if matches!(&result, Err(error) if error.code == ErrorCode::TableCorrupt) && self.follow().await? {
            self.uncertain = true;
            result = self.merge_once(batch, primary_key, offsets, cancel).await;
        }
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
        let mut batch = batch.map(ChangeBatch::from_ipc).transpose()?.filter(|b| b.num_rows() > 0);
        let mut prepared: Option<Prepared> = None;
        let mut written: Option<(Located, Written)> = None;
        let mut taken_already: Option<Taken> = None;
        let mut same_log = self.anchor_check().map(tokio::spawn);
        for _ in 0..MAX_ATTEMPTS {
            check_cancelled(cancel)?;
            self.check_fence(offsets)?;
            self.check_write_mode()?;
            if let Some(batch) = &mut batch
                && prepared.as_ref().is_none_or(|p| p.based_on != self.schema)
            {
                discard(self, written.take()).await;
                let empty = batch.clear_empty_partition_values(&self.partition_columns())?;
                self.note_empty_partition_values(&empty, primary_key);
                prepared = Some(self.prepare(batch, primary_key).await?);
            }
            result.timings.collapse += millis(&mut clock);
            if let Some(prepared) = &prepared {
                // Encoding takes all cores, and storing waits for the storage: look-ups run beside the latter.
                let storing = match written.is_some() {
                    true => None,
                    false => Some(self.write_rows(prepared, &mut result.timings, &mut clock).await?),
                };
                result.timings.write += millis(&mut clock);
                let located = self.locate(&prepared.collapsed)?;
                result.timings.locate += millis(&mut clock);
                let storing = match storing {
                    Some(storing) => Some(storing),
                    // Values may have been taken from rows that others changed since.
                    None if written.as_ref().is_none_or(|(before, _)| *before != located) => {
                        discard(self, written.take()).await;
                        Some(self.write_rows(prepared, &mut result.timings, &mut clock).await?)
                    }
                    None => None,
                };
                if let Some(storing) = storing {
                    taken_already = self.vectors_beside(prepared, &located).await?;
                    written = Some((located, storing.finish().await?));
                }
                result.timings.write += millis(&mut clock);
            }
            check_cancelled(cancel)?;
            let id = Uuid::new_v4();
            let work = prepared.as_ref().zip(written.as_ref());
            let (commit, taken) = self.build_commit(work, taken_already.take(), offsets, id, &mut result).await?;
            result.timings.write += millis(&mut clock);
            let version = self.state.as_ref().map_or(0, |s| s.version + 1);
            if let Some(check) = same_log.take()
                && !check.await??
            {
                delete_taken(self, &taken).await;
                discard(self, written.take()).await;
                self.follow().await?;
                prepared = None;
                continue;
            }
            let bytes = commit.to_bytes()?;
            let anchor = entry_fingerprint::of(&bytes);
            let outcome = attempt_bytes(&self.log_store, version, bytes, id).await?;
            result.timings.commit += millis(&mut clock);
            match outcome {
                Attempt::Won => {
                    if let Some((_, written)) = &written {
                        self.note_empty_partition_values(&written.empty_partition_values, primary_key);
                    }
                    result.notes = self.notes.take();
                    self.committed(version, &commit, &taken, prepared, written)?;
                    if let Some(state) = &mut self.state {
                        state.anchor = Some(anchor);
                    }
                    self.index.make_room().await;
                    result.version = version;
                    self.checkpoint_if_due(version, &commit);
                    result.timings.total = start.elapsed().as_secs_f64() * 1e3;
                    return Ok(result);
                }
                Attempt::Lost => {
                    tracing::debug!(version, "another writer took the version");
                    delete_taken(self, &taken).await;
                    self.follow().await?;
                    // Whether a soft delete marks a row, which version a change ends, and what is older than a
                    // stored row, depends on what others did; a table read anew has no index yet; without one, places
                    // are those of the files of before; and of one on disk, only what is staged is known.
                    let no_index =
                        !self.indexed || self.options.key_index == KeyIndexMode::None || !self.index.is_in_memory();
                    let ordered = batch.as_ref().is_some_and(|batch| batch.orders.is_some());
                    let by_stored_rows = match self.options.write_mode {
                        WriteMode::Upsert => self.options.soft_delete_column.is_some() || no_index || ordered,
                        WriteMode::Append => false,
                        WriteMode::Scd2(_) => true,
                    };
                    if by_stored_rows {
                        discard(self, written.take()).await;
                        prepared = None;
                    }
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
        let (compression, stats) = (self.options.compression, self.stats_columns());
        let mut commit = Commit { info: Some(self.note(Uuid::new_v4(), &[])), ..Commit::default() };
        let mut bytes = 0;
        for group in split(&rows, &partition_columns, None)? {
            let file = encode(&rows, &group, &partition_columns, writer_properties(compression), compression, &stats)?;
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
            let falls = !offset.may_fall && stored.is_some_and(|s| s > offset.last);
            if stored != offset.expected || falls {
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
}
