//! Deleting the rows that meet a condition, whatever their keys.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Schema;
use roaring::RoaringBitmap;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::files::delete_taken;
use super::locate::Located;
use super::result::{MAX_ATTEMPTS, MergeResult, check_cancelled};
use crate::datafile::copies::Copies;
use crate::datafile::read::read_columns;
use crate::datafile::remove_rows;
use crate::datafile::remove_rows::{Deletions, Taken};
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::Commit;
use crate::log::features;
use crate::log::files::FileId;
use crate::log::liveness::{row_number, vector_of};
use crate::log::store::delete_unused;
use crate::machine::new_id;
use crate::scan::{Filter, files_that_may_hold};
use crate::table::{Failed, KeyedTable, Landed};

impl KeyedTable {
    /// Deletes the rows for which a condition in Spark SQL is true, in one commit. Where there are none, nothing is
    /// committed, and the result has the newest version.
    ///
    /// # Errors
    /// `EXPRESSION_INVALID` for a condition that the table's columns do not have, `TABLE_UNSUPPORTED` for a table to which
    /// rows may only be appended, `STORAGE_DENIED` where there is no table.
    pub async fn delete_where(&mut self, condition: &str, cancel: &CancellationToken) -> Result<MergeResult> {
        self.standing.check()?;
        self.follow().await?;
        self.standing.doubt();
        let mut result = self.try_delete_where(condition, cancel).await;
        // A file that is missing may have left the table, and been vacuumed, since we looked: with the table, perhaps.
        if matches!(&result, Err(error) if error.code == ErrorCode::TableCorrupt) && self.follow().await? {
            self.standing.doubt();
            result = self.try_delete_where(condition, cancel).await;
        }
        self.standing.ended(&result);
        result
    }

    async fn try_delete_where(&mut self, condition: &str, cancel: &CancellationToken) -> Result<MergeResult> {
        let mut copies = Copies::default();
        let mut result = MergeResult::default();
        match self.delete_attempts(condition, cancel, (&mut result, &mut copies)).await {
            Ok(Some((landed, commit, taken))) => {
                delete_unused(self.storage.files(), copies.unused(&taken.rewritten)).await;
                result.version = landed.version;
                self.committed(landed, &commit, &taken, None, None)?;
                result.index_bytes = self.keys.index().allocated_bytes() as u64;
                self.checkpoint_if_due(result.version, &commit);
                Ok(result)
            }
            Ok(None) => {
                delete_unused(self.storage.files(), copies.unused(&[])).await;
                Ok(result)
            }
            Err(Failed { error, in_doubt }) => {
                if !in_doubt {
                    delete_unused(self.storage.files(), copies.unused(&[])).await;
                }
                Err(error)
            }
        }
    }

    /// What the log has taken; none where no row meets the condition. After an error, files are left in `copies` alone.
    async fn delete_attempts(
        &mut self,
        condition: &str,
        cancel: &CancellationToken,
        (result, copies): (&mut MergeResult, &mut Copies),
    ) -> Result<Option<(Landed, Commit, Taken)>, Failed> {
        // Asked beside the work.
        let mut same_log = self.ask_for_same_log();
        for _ in 0..MAX_ATTEMPTS {
            check_cancelled(cancel)?;
            let basis = self.snapshot.basis();
            let (deletions, version) = self.rows_that_meet(condition, cancel).await?;
            *result = MergeResult { version, ..MergeResult::default() };
            if deletions.is_empty() {
                return Ok(None);
            }
            let id = new_id();
            let (commit, taken) = self.commit_of_deletions(condition, &deletions, id, (result, copies)).await?;
            let ended = match check_cancelled(cancel) {
                Ok(()) => self.attempt(basis, &commit, id, &mut same_log).await,
                Err(error) => Err(error.into()),
            };
            match ended {
                Ok(Some(landed)) => return Ok(Some((landed, commit, taken))),
                Ok(None) => delete_taken(self, &taken, copies).await,
                Err(failed) => {
                    if !failed.in_doubt {
                        delete_taken(self, &taken, copies).await;
                    }
                    return Err(failed);
                }
            }
        }
        let message =
            format!("other writers won {MAX_ATTEMPTS} attempts to commit in a row: try again when they are done");
        Err(Error::new(ErrorCode::CommitConflict, message).into())
    }

    /// The rows that the condition is true for, by file, at the version that is known.
    async fn rows_that_meet(&mut self, condition: &str, cancel: &CancellationToken) -> Result<(Deletions, u64)> {
        let uri = &self.options.uri;
        let state = self
            .snapshot
            .state()
            .ok_or_else(|| Error::new(ErrorCode::StorageDenied, format!("there is no Delta table at '{uri}'")))?;
        features::check_append_only(state, false)?;
        let version = state.version;
        let (filter, paths) = files_that_may_hold(self.storage.log(), version, condition).await?;
        let files: Vec<FileId> =
            state.live_files().filter(|(_, file)| paths.contains(&file.add.path)).map(|(id, _)| id).collect();
        self.snapshot.load_vectors(&self.storage, &files).await?;
        let mut found = Deletions::new();
        for id in files {
            check_cancelled(cancel)?;
            let rows = self.rows_of_file(id, &filter).await?;
            if !rows.is_empty() {
                found.insert(id, rows);
            }
        }
        Ok((found, version))
    }

    async fn rows_of_file(&self, id: FileId, filter: &Filter) -> Result<RoaringBitmap> {
        let Some(state) = self.snapshot.state() else { return Ok(RoaringBitmap::new()) };
        let names: Vec<String> = filter.columns.fields().map(|field| field.name().clone()).collect();
        let fields = names.iter().map(|name| self.snapshot.schema().field_with_name(name).cloned());
        let schema = Arc::new(Schema::new(fields.collect::<Result<Vec<_>, _>>()?));
        let mut found = RoaringBitmap::new();
        let mut first = 0;
        read_columns(self.storage.files(), &state.files[id as usize].add, &schema, &names, None, |columns| {
            let rows = RecordBatch::try_new(schema.clone(), columns)?;
            let meets = filter.evaluate(&rows)?;
            for row in meets.values().set_indices().filter(|row| meets.is_valid(*row)) {
                found.insert(row_number(first + row)?);
            }
            first += rows.num_rows();
            Ok(())
        })
        .await?;
        Ok(found - vector_of(state, id)?)
    }

    async fn commit_of_deletions(
        &self,
        condition: &str,
        deletions: &Deletions,
        id: Uuid,
        (result, copies): (&mut MergeResult, &mut Copies),
    ) -> Result<(Commit, Taken)> {
        let state = self.snapshot.state().ok_or_else(|| Error::new(ErrorCode::Internal, "the table is gone"))?;
        let mut taken = match self.copy_on_write() {
            false => remove_rows::by_vectors(self.storage.files(), state, deletions).await?,
            true => {
                let layout = self.layout(self.snapshot.schema());
                remove_rows::by_copies(self.storage.files(), state, deletions, &layout, copies).await?
            }
        };
        if let Some(mut feed) = self.change_feed(self.snapshot.schema())? {
            feed.push_taken(state, &Located::default(), deletions, None).await?;
            let (files, bytes) = feed.finish().await?;
            taken.cdcs = files;
            taken.bytes += bytes;
        }
        result.deleted = deletions.values().map(RoaringBitmap::len).sum();
        result.files_touched = taken.removes.len() as u64;
        result.files_added = taken.rewritten.len() as u64;
        result.files_removed = (taken.removes.len() - (taken.adds.len() - taken.rewritten.len())) as u64;
        result.bytes_written = taken.bytes;
        let mut info = self.note(
            id,
            &[
                ("numDeletedRows", result.deleted),
                ("numAddedFiles", result.files_added),
                ("numRemovedFiles", result.files_removed),
            ],
        );
        info.insert("operation".into(), "DELETE".into());
        info.insert("operationParameters".into(), serde_json::json!({ "predicate": format!("[{condition:?}]") }));
        let commit = Commit {
            removes: taken.removes.clone(),
            adds: taken.adds.clone(),
            cdcs: taken.cdcs.clone(),
            info: Some(info),
            ..Commit::default()
        };
        Ok((commit, taken))
    }
}
