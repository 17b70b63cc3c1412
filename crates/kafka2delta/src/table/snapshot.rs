//! The table at the newest version that is known here: nothing lists or replays the log on the way of a commit.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use roaring::RoaringBitmap;

use super::{FLOOR_PROPERTY, Storage};
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::Commit;
use crate::log::features;
use crate::log::files::FileId;
use crate::log::liveness::load_vectors;
use crate::log::state::{Applied, TableState};
use crate::order::truncate::Floor;
use crate::schema::{check_not_null, not_null, to_arrow};

/// The state of the log, and what is derived from it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// None as long as there is no table.
    state: Option<TableState>,
    /// The state's schema in Arrow.
    schema: SchemaRef,
    /// Its columns that must have a value.
    not_null: Vec<String>,
}

impl Snapshot {
    /// A place without a table.
    pub(crate) fn none() -> Self {
        Self { state: None, schema: Arc::new(Schema::empty()), not_null: Vec::new() }
    }

    /// The newest version of the log.
    pub(crate) async fn load(storage: &Storage) -> Result<Self> {
        let Some(state) = TableState::load(storage.log()).await? else { return Ok(Self::none()) };
        features::check_writable(&state)?;
        let mut snapshot = Self { state: Some(state), ..Self::none() };
        snapshot.read_schema()?;
        Ok(snapshot)
    }

    fn read_schema(&mut self) -> Result<()> {
        if let Some(state) = &self.state {
            let schema = state.schema()?;
            (self.schema, self.not_null) = (to_arrow(&schema)?, not_null(&schema));
        }
        Ok(())
    }

    pub(crate) fn state(&self) -> Option<&TableState> {
        self.state.as_ref()
    }

    /// The table's schema; without a table, that of the first batch as soon as it is known.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The version that the next commit makes.
    pub(crate) fn next_version(&self) -> u64 {
        self.state.as_ref().map_or(0, |state| state.version + 1)
    }

    /// What the last truncate holds back.
    pub(crate) fn floor(&self) -> Option<Floor> {
        serde_json::from_str(self.state.as_ref()?.property(FLOOR_PROPERTY)?).ok()
    }

    /// Refuses rows that lack a value in a NOT NULL column.
    pub(crate) fn check_not_null(&self, rows: &RecordBatch) -> Result<()> {
        let partition_columns = self.state.as_ref().map_or(&[][..], |s| &s.metadata.partition_columns);
        check_not_null(rows, &self.not_null, partition_columns)
    }

    /// Reads the deletion vectors of these files that are not known yet.
    pub(crate) async fn load_vectors(&mut self, storage: &Storage, files: &[FileId]) -> Result<()> {
        match &mut self.state {
            Some(state) => load_vectors(storage.files(), state, files).await,
            None => Ok(()),
        }
    }

    /// The same of all files of the table, which are given back.
    pub(crate) async fn load_all_vectors(&mut self, storage: &Storage) -> Result<Vec<FileId>> {
        let files = self.state.iter().flat_map(TableState::live_files).map(|(id, _)| id).collect::<Vec<_>>();
        self.load_vectors(storage, &files).await?;
        Ok(files)
    }

    /// Enters the next commit, which another writer made. `anchor` tells its log entry.
    pub(crate) fn follow(&mut self, version: u64, commit: &Commit, anchor: u64) -> Result<Applied> {
        let Some(state) = &mut self.state else {
            return Err(Error::new(ErrorCode::Internal, "a commit was followed where no table is known"));
        };
        let applied = state.apply(version, commit)?;
        state.anchor = Some(anchor);
        if commit.metadata.is_some() {
            self.read_schema()?;
        }
        Ok(applied)
    }

    /// Enters our own commit, which may create the table. `vectors`: those that it gave to files.
    pub(crate) fn commit(
        &mut self,
        version: u64,
        commit: &Commit,
        anchor: u64,
        vectors: impl Iterator<Item = (FileId, Arc<RoaringBitmap>)>,
    ) -> Result<()> {
        let state = match (&mut self.state, &commit.metadata, &commit.protocol) {
            (Some(state), _, _) => state,
            (state @ None, Some(metadata), Some(protocol)) => {
                state.insert(TableState::new(version, metadata.clone(), protocol.clone()))
            }
            _ => return Err(Error::new(ErrorCode::Internal, "a table was created without metadata")),
        };
        state.apply(version, commit)?;
        for (file, vector) in vectors {
            state.files[file as usize].deleted = Some(vector);
        }
        state.anchor = Some(anchor);
        Ok(())
    }

    /// Rows of files that this commit brought, which are deleted already.
    pub(crate) fn set_vector(&mut self, file: FileId, vector: Arc<RoaringBitmap>) {
        if let Some(state) = &mut self.state {
            state.files[file as usize].deleted = Some(vector);
        }
    }

    /// The schema that our own commit gave the table.
    pub(crate) fn set_schema(&mut self, schema: SchemaRef) {
        self.schema = schema;
    }
}
