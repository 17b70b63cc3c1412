//! Applying a batch, stage by stage, and committing it. `docs/architecture.md` has the stages and what a commit must keep.

mod attempts;
mod change_feed;
mod commit;
mod delete_where;
mod files;
mod held;
mod locate;
mod missing;
mod modes;
mod prepare;
mod prepared;
mod repeats;
pub(crate) mod result;
mod stored_sequences;

use arrow::array::RecordBatch;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use self::files::put;
use crate::datafile::encode::encode;
use crate::datafile::split::split;
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::Commit;
use crate::log::commit::{Attempt, attempt};
use crate::machine::new_id;
use crate::merge::result::{MergeResult, Offset};
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
        self.begin_commit().await?;
        let mut result = self.merge_once(batch.clone(), primary_key, offsets, cancel).await;
        // A file that is missing may have left the table, and been vacuumed, since we looked last.
        if matches!(&result, Err(error) if error.code == ErrorCode::TableCorrupt) && self.follow().await? {
            self.standing.doubt();
            result = self.merge_once(batch, primary_key, offsets, cancel).await;
        }
        self.standing.ended(&result);
        result
    }

    /// Appends rows in one commit, without a look at their keys: what a batch costs at least, for benchmarks. Gives the
    /// bytes written.
    pub async fn append(&mut self, rows: RecordBatch) -> Result<u64> {
        let partition_columns = self.partition_columns();
        let format = self.file_format();
        let id = new_id();
        let mut commit = Commit { info: Some(self.note(id, &[])), ..Commit::default() };
        let mut bytes = 0;
        for group in split(&rows, &partition_columns, None)? {
            let file = encode(&rows, &group, &partition_columns, &format)?;
            bytes += file.bytes.len() as u64;
            put(self.storage.files().clone(), file.path, file.bytes).await?;
            commit.adds.push(file.add);
        }
        let version = self.snapshot.next_version(self.snapshot.basis())?;
        if attempt(self.storage.log(), version, commit.to_bytes()?, id).await? == Attempt::Lost {
            return Err(Error::new(ErrorCode::CommitConflict, "another writer took the version"));
        }
        self.follow().await?;
        Ok(bytes)
    }

    /// The stored offsets must be the expected ones, at every attempt.
    fn check_fence(&self, offsets: &[Offset]) -> Result<()> {
        for offset in offsets {
            let txn = self.snapshot.state().and_then(|state| match offset.of_others() {
                None => state.txns.get(&offset.app_id),
                Some(topic) => state.txns.values().find(|txn| {
                    txn.app_id
                        .strip_prefix(topic)
                        .is_some_and(|partition| partition.bytes().all(|b| b.is_ascii_digit()))
                        && offsets.iter().all(|offset| offset.app_id != txn.app_id)
                }),
            });
            let stored = txn.map(|txn| txn.version);
            let falls = !offset.may_fall && stored.is_some_and(|s| s > offset.last);
            if stored != offset.expected || falls {
                return Err(Error::new(
                    ErrorCode::Fenced,
                    format!(
                        "the table stores {} for {}, and {} was expected: another worker applied these changes",
                        stored.map_or("no offset".to_owned(), |s| format!("offset {s}")),
                        txn.map_or(&offset.app_id, |txn| &txn.app_id),
                        offset.expected.map_or("none".to_owned(), |e| e.to_string()),
                    ),
                ));
            }
        }
        Ok(())
    }
}
