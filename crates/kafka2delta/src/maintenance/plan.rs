//! A planned step of compaction: what it rewrites, and how.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use object_store::ObjectStore;
use tokio_util::sync::CancellationToken;

use super::choose::{Group, select};
use super::due::{CompactOptions, size};
use crate::datafile::format::FileFormat;
use crate::datafile::output::ROW_GROUP_BYTES;
use crate::error::{Error, ErrorCode, Result};
use crate::log::files::FileId;
use crate::machine::now_millis;
use crate::memory::{Permit, StepMemory};
use crate::table::KeyedTable;

/// Bytes of a new row group at least, however little memory steps have.
const LEAST_ROW_GROUP: u64 = 8 << 20;

/// One step of compaction, planned.
#[derive(Debug)]
pub struct CompactionPlan {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) schema: SchemaRef,
    pub(super) schema_string: String,
    pub(super) partition_columns: Vec<String>,
    pub(super) cluster_by: Vec<String>,
    pub(super) format: FileFormat,
    pub(super) target_file_size: u64,
    pub(super) row_group_bytes: usize,
    pub(super) groups: Vec<Group>,
    pub(super) memory: StepMemory,
    /// For [`Self::held_bytes`]. It is held until the step is committed.
    pub(super) permit: Option<Permit>,
}

impl CompactionPlan {
    /// Takes a permit for what the step will hold, of the memory that the steps of all tables share. Says whether it had to
    /// wait: then the table may have changed, see [`KeyedTable::still_has`].
    ///
    /// # Errors
    /// `CANCELLED` where that comes before the permit, and those of [`Self::read_footers`].
    pub async fn take_permit(&mut self, cancel: &CancellationToken) -> Result<bool> {
        let cancelled = || Error::new(ErrorCode::Cancelled, "the compaction was cancelled before it began");
        tokio::select! {
            read = self.read_footers() => read?,
            () = cancel.cancelled() => return Err(cancelled()),
        }
        let bytes = self.held_bytes();
        self.permit = self.memory.try_take(bytes);
        if self.permit.is_some() {
            return Ok(false);
        }
        self.close_files();
        let permit = tokio::select! {
            permit = self.memory.take(bytes) => permit,
            () = cancel.cancelled() => return Err(cancelled()),
        };
        self.permit = Some(permit);
        Ok(true)
    }

    /// Files that the step will read.
    pub fn num_files(&self) -> usize {
        self.groups.iter().map(|group| group.sources.len()).sum()
    }

    /// Bytes that the step will read.
    pub fn num_bytes(&self) -> u64 {
        self.groups.iter().flat_map(|group| &group.sources).map(|source| size(&source.add)).sum()
    }
}

/// Bytes of the row group that a step writes: all of it is held.
fn row_group_bytes(memory: u64) -> usize {
    usize::try_from((memory / 2).max(LEAST_ROW_GROUP)).unwrap_or(usize::MAX).min(ROW_GROUP_BYTES)
}

impl KeyedTable {
    /// Whether the files of a plan are all in the table, as far as it is known. Otherwise the step would come to nothing.
    pub fn still_has(&self, plan: &CompactionPlan) -> bool {
        let Some(state) = self.snapshot.state() else { return false };
        let is_live = |id: FileId| state.files[id as usize].live;
        let mut sources = plan.groups.iter().flat_map(|group| &group.sources);
        sources.all(|source| state.file_by_path(&source.add.path).is_some_and(is_live))
    }

    /// Chooses the files of the next step; none where nothing is due. The state is as the last call left it: others'
    /// commits since are met when the step is committed.
    ///
    /// # Errors
    /// `CONFIG_INVALID` where a column to sort by does not exist or cannot be sorted; `TABLE_REPLACED` where the table is
    /// not to be written to any more.
    pub fn plan_compaction(&self, options: &CompactOptions) -> Result<Option<CompactionPlan>> {
        self.standing.check()?;
        let Some(state) = self.snapshot.state() else { return Ok(None) };
        // A column that is not there yet has no values to sort by; merges tell the user of it.
        let mut cluster_by = self.options.cluster_by.clone();
        cluster_by.retain(|name| self.snapshot.schema().field_with_name(name).is_ok());
        for name in &cluster_by {
            if self.snapshot.schema().field_with_name(name)?.data_type().is_nested() {
                return Err(Error::new(
                    ErrorCode::ConfigInvalid,
                    format!("clusterBy names '{name}', which is a nested column: rows cannot be sorted by it"),
                ));
            }
        }
        let groups = select(state, options, self.options.target_file_size, now_millis());
        if groups.is_empty() {
            return Ok(None);
        }
        Ok(Some(CompactionPlan {
            store: self.storage.files().clone(),
            schema: self.snapshot.schema().clone(),
            schema_string: state.metadata.schema_string.clone(),
            partition_columns: state.metadata.partition_columns.clone(),
            cluster_by,
            format: self.file_format(),
            target_file_size: self.options.target_file_size,
            row_group_bytes: row_group_bytes(self.memory.steps.most()),
            groups,
            memory: self.memory.steps.clone(),
            permit: None,
        }))
    }
}
