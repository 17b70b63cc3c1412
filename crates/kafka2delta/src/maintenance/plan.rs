//! A planned step of compaction: what it rewrites, and how.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use object_store::ObjectStore;

use super::choose::{Group, select};
use super::due::{CompactOptions, size};
use crate::datafile::format::FileFormat;
use crate::error::{Error, ErrorCode, Result};
use crate::log::clock::now_millis;
use crate::table::KeyedTable;

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
    pub(super) groups: Vec<Group>,
}

impl CompactionPlan {
    /// Files that the step will read.
    pub fn num_files(&self) -> usize {
        self.groups.iter().map(|group| group.sources.len()).sum()
    }

    /// Bytes that the step will read.
    pub fn num_bytes(&self) -> u64 {
        self.groups.iter().flat_map(|group| &group.sources).map(|source| size(&source.add)).sum()
    }
}

impl KeyedTable {
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
            groups,
        }))
    }
}
