//! The table at the newest version that is known here: nothing lists or replays the log on the way of a commit.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use roaring::RoaringBitmap;

use super::storage::Storage;
use crate::change::key_updates;
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::Commit;
use crate::log::features;
use crate::log::files::FileId;
use crate::log::liveness::load_vectors;
use crate::log::state::{Applied, TableState};
use crate::order::truncate::Floor;
use crate::schema::{check_not_null, not_null, to_arrow};

/// Table property that keeps what the last truncate holds back, as JSON of [`Floor`].
pub const FLOOR_PROPERTY: &str = "kafka2delta.truncateFloor";

/// A commit that the log has taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Landed {
    pub(crate) version: u64,
    /// What tells its log entry, see [`entry_fingerprint`](crate::log::entry_fingerprint).
    pub(crate) anchor: u64,
}

/// A commit that did not come to be.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// Whether the log may have it all the same, now or later: the answer was lost. Files that it names stay then.
    pub(crate) in_doubt: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, in_doubt: false }
    }
}

/// What decisions about a batch rest on: the table's rows, schema and properties, at the version that they were made for.
/// Commits that only move rows or offsets leave it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Basis(u64);

/// The state of the log, and what is derived from it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    basis: u64,
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
        Self { basis: 0, state: None, schema: Arc::new(Schema::empty()), not_null: Vec::new() }
    }

    /// Reads the newest version of the log. Nothing that was decided before stands any more.
    pub(crate) async fn load(&mut self, storage: &Storage) -> Result<()> {
        *self = Self { basis: self.basis + 1, ..Self::none() };
        if let Some(state) = TableState::load(storage.log()).await? {
            features::check_writable(&state)?;
            self.state = Some(state);
            self.read_schema()?;
        }
        Ok(())
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

    /// What is decided now rests on.
    pub(crate) fn basis(&self) -> Basis {
        Basis(self.basis)
    }

    /// The version that the next commit makes, for one that was decided `on` what is known now.
    ///
    /// # Errors
    /// `INTERNAL` where rows, schema or properties have changed since: the commit has to be made anew.
    pub(crate) fn next_version(&self, on: Basis) -> Result<u64> {
        match on == self.basis() {
            true => Ok(self.state.as_ref().map_or(0, |state| state.version + 1)),
            false => Err(Error::new(ErrorCode::Internal, "a commit rests on what the table was before")),
        }
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
        self.basis += u64::from(changes_more_than_places(commit));
        if commit.metadata.is_some() {
            self.read_schema()?;
        }
        Ok(applied)
    }

    /// Enters our own commit, which may create the table. `vectors`: those that it gave to files.
    pub(crate) fn commit(
        &mut self,
        Landed { version, anchor }: Landed,
        commit: &Commit,
        vectors: impl Iterator<Item = (FileId, Arc<RoaringBitmap>)>,
    ) -> Result<()> {
        let state = match (&mut self.state, &commit.metadata, &commit.protocol) {
            (Some(state), _, _) => state,
            (state @ None, Some(metadata), Some(protocol)) => {
                state.insert(TableState::new(version, metadata.clone(), protocol.clone()))
            }
            _ => return Err(Error::new(ErrorCode::Internal, "a table was created without metadata")),
        };
        self.basis += u64::from(changes_more_than_places(commit));
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

/// Whether a commit changes rows, schema, properties, or what is known of key updates, and not only where rows are and what
/// offsets are stored.
fn changes_more_than_places(commit: &Commit) -> bool {
    commit.metadata.is_some()
        || key_updates::are_noted(commit)
        || commit.protocol.is_some()
        || commit.adds.iter().any(|add| add.data_change)
        || commit.removes.iter().any(|remove| remove.data_change)
}
