//! What is known of the table's keys: where their rows are, and of deleted ones, where these were and the order of their
//! last change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use hashbrown::HashSet;
use roaring::RoaringBitmap;

use super::snapshot::Snapshot;
use super::storage::Storage;
use crate::change::left_out::MovedRows;
use crate::error::{Error, ErrorCode, Result};
use crate::index::build::{Indexed, Scope, index_files, may_hold, read_keys};
use crate::index::{KeyIndex, Limits, duplicate_keys};
use crate::key::columns::KeyColumns;
use crate::key::hasher::Fingerprint;
use crate::log::files::{FileId, Place};
use crate::log::liveness::{Liveness, is_live};
use crate::log::state::{Applied, TableState};
use crate::options::{KeyIndexMode, TableOptions};
use crate::order::memory::{Memory, Remembered};

/// Files read between two looks at the index's memory.
const FILES_AT_ONCE: usize = 16;

/// What others' commits touched.
#[derive(Debug, Default)]
pub(super) struct Touched {
    added: Vec<FileId>,
    /// With the rows that were deleted before the first of these commits, where they are known.
    changed: BTreeMap<FileId, Option<Arc<RoaringBitmap>>>,
}

impl Touched {
    pub(super) fn add(&mut self, applied: Applied) {
        self.added.extend(applied.added);
        for (file, deleted) in applied.changed {
            self.changed.entry(file).or_insert(deleted);
        }
    }

    fn live_files(&self, state: &TableState) -> Vec<FileId> {
        let files = self.added.iter().chain(self.changed.keys()).copied();
        let live: BTreeSet<FileId> = files.filter(|id| state.files[*id as usize].live).collect();
        live.into_iter().collect()
    }

    /// Whether rows of a file are to be entered: where it is new, or its vector lost rows, which brings these back. Places of
    /// rows that were deleted need no change.
    fn has_new_rows(&self, state: &TableState, file: FileId) -> bool {
        let Some(Some(before)) = self.changed.get(&file).filter(|_| !self.added.contains(&file)) else { return true };
        !state.files[file as usize].deleted.as_ref().is_some_and(|now| before.is_subset(now))
    }
}

/// The keys of one table. Places are looked up in the index, which may be out of date: see [`KeyIndex`].
#[derive(Debug)]
pub(crate) struct Keys {
    mode: KeyIndexMode,
    limits: Limits,
    /// Local folder where the index is kept between runs.
    pub(super) folder: Option<PathBuf>,
    pub(super) columns: Option<KeyColumns>,
    pub(super) index: KeyIndex,
    /// Whether the index stands for the snapshot.
    pub(super) stands: bool,
    pub(super) memory: Memory,
    moved: MovedRows,
}

impl Keys {
    pub(crate) fn new(options: &TableOptions) -> Self {
        let folder = options.index_folder.clone().unwrap_or_else(std::env::temp_dir);
        let limits = Limits { memory: options.index_memory, folder };
        Self {
            mode: options.key_index,
            index: KeyIndex::new(true, limits.clone()),
            limits,
            folder: options.index_folder.clone(),
            columns: None,
            stands: false,
            memory: Memory::new(options.remembered_keys),
            moved: MovedRows::default(),
        }
    }

    /// Forgets where rows are: the snapshot was read anew.
    pub(crate) fn reset(&mut self) {
        self.index = KeyIndex::new(true, self.limits.clone());
        self.stands = false;
        self.columns = None;
    }

    /// Has the index built anew before it is used again.
    pub(crate) fn distrust(&mut self) {
        self.stands = false;
    }

    /// None before the first batch that names them.
    pub(crate) fn columns(&self) -> Option<&KeyColumns> {
        self.columns.as_ref()
    }

    /// The key's columns.
    ///
    /// # Errors
    /// `INTERNAL` before the first batch that names them.
    pub(crate) fn required(&self) -> Result<&KeyColumns> {
        self.columns.as_ref().ok_or_else(|| Error::new(ErrorCode::Internal, "the table has no key"))
    }

    /// Whether the index stands for the snapshot, and is kept from batch to batch.
    pub(crate) fn is_kept(&self) -> bool {
        self.stands && self.mode == KeyIndexMode::Auto
    }

    /// Whether every key's place is known at once: none is on disk, or has to be read from files.
    pub(crate) fn knows_all(&self) -> bool {
        self.is_kept() && self.index.is_in_memory()
    }

    /// Whether the index holds the places of deleted rows, too.
    pub(crate) fn holds_deleted(&self) -> bool {
        self.mode == KeyIndexMode::Auto
    }

    pub(crate) fn index(&self) -> &KeyIndex {
        &self.index
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Rows of keys that were updated before they were ever stored.
    pub(crate) fn moved(&self) -> &MovedRows {
        &self.moved
    }

    /// The last places known of keys.
    pub(crate) fn places(&self, keys: &[Fingerprint]) -> Vec<Option<Place>> {
        self.index.get_all(keys)
    }

    /// Where the key's row stands.
    pub(crate) fn live_place(&self, state: Option<&TableState>, key: &Fingerprint) -> Option<Place> {
        let state = state?;
        self.index.get(key).filter(|place| is_live(state, *place))
    }

    /// Builds the index for these key columns, unless it stands.
    pub(crate) async fn ensure(
        &mut self,
        columns: KeyColumns,
        storage: &Storage,
        snapshot: &mut Snapshot,
    ) -> Result<()> {
        if !self.is_for(&columns.names, columns.hasher.types()) {
            self.stands = false;
            self.build(&columns, storage, snapshot).await?;
            self.columns = Some(columns);
            self.stands = true;
        }
        Ok(())
    }

    /// Whether the index stands for key columns of these names and types.
    pub(crate) fn is_for(&self, names: &[String], types: &[arrow::datatypes::DataType]) -> bool {
        self.stands && self.columns.as_ref().is_some_and(|key| key.names == names && key.hasher.types() == types)
    }

    async fn build(&mut self, key: &KeyColumns, storage: &Storage, snapshot: &mut Snapshot) -> Result<()> {
        self.index = KeyIndex::new(key.hasher.is_exact(), self.limits.clone());
        let files = snapshot.load_all_vectors(storage).await?;
        let Some(state) = snapshot.state() else { return Ok(()) };
        if self.mode == KeyIndexMode::None {
            return Ok(());
        }
        let saved = self.load(key, storage, state).await.unwrap_or_else(|error| {
            tracing::warn!(error = ?error.chain(), "the saved key index cannot be read and is built anew");
            None
        });
        let scope = Scope { schema: snapshot.schema(), key, wanted: None, deleted: None };
        let duplicates = match saved {
            Some(unknown) => self.index_in_parts(scope, storage, state, unknown, true).await?,
            None => {
                let found = self.index_in_parts(scope, storage, state, files, false).await?;
                let live = Liveness::of(state);
                found + self.index.settle(move |place| live.is_live(place)).await?
            }
        };
        match duplicates {
            0 => Ok(()),
            _ => Err(duplicate_keys::error(storage.files(), state, snapshot.schema(), key, duplicates).await),
        }
    }

    /// Enters files one part after the other: between two of them the index may move to disk. Gives the number of live
    /// rows beyond the first one of a key. `are_changes`: the files are newer than what the index holds.
    async fn index_in_parts(
        &mut self,
        scope: Scope<'_>,
        storage: &Storage,
        state: &TableState,
        mut files: Vec<FileId>,
        are_changes: bool,
    ) -> Result<u64> {
        // If a key has several deleted rows, the most recently written file wins.
        files.sort_by_key(|id| (state.files[*id as usize].add.modification_time, *id));
        let mut duplicates = 0;
        for files in files.chunks(FILES_AT_ONCE) {
            if are_changes {
                self.stage_foreign(scope, storage, state, files).await?;
            }
            let found = self.enter_files(scope, storage, state, files).await?;
            duplicates += found.duplicates;
            if are_changes {
                // Keys that were written and deleted once more: the last row may be elsewhere.
                found.deleted_again.iter().for_each(|key| self.memory.displace(key));
                self.moved.forget(found.deleted_again.iter());
            }
            self.index.make_room().await;
        }
        Ok(duplicates)
    }

    /// Enters files, and forgets what is remembered of deleted keys that have rows again.
    async fn enter_files(
        &mut self,
        scope: Scope<'_>,
        storage: &Storage,
        state: &TableState,
        files: &[FileId],
    ) -> Result<Indexed> {
        let (memory, moved) = (&self.memory, &self.moved);
        let is_deleted = |key: &Fingerprint| memory.get(key).is_some() || moved.has(key);
        let knows_some = !memory.is_empty() || !moved.is_empty();
        let scope = Scope { deleted: knows_some.then_some(&is_deleted), ..scope };
        let found = index_files(storage.files(), state, scope, files, &mut self.index).await?;
        found.live_again.iter().for_each(|key| self.memory.forget(key));
        self.moved.forget(found.live_again.iter());
        Ok(found)
    }

    /// Makes the places of a batch's keys known, where not all are in memory.
    pub(crate) async fn stage(
        &mut self,
        keys: &[Fingerprint],
        old_keys: &[Option<Fingerprint>],
        storage: &Storage,
        snapshot: &Snapshot,
    ) -> Result<()> {
        let keys = keys.iter().chain(old_keys.iter().flatten());
        if self.mode == KeyIndexMode::Auto {
            return self.index.stage(keys.copied()).await;
        }
        let (Some(state), Some(key)) = (snapshot.state(), self.columns.clone()) else { return Ok(()) };
        self.index = KeyIndex::new(key.hasher.is_exact(), self.limits.clone());
        let wanted: HashSet<Fingerprint> = keys.copied().collect();
        let mut files: Vec<FileId> =
            state.live_files().filter(|(_, file)| may_hold(file, &key, &wanted)).map(|(id, _)| id).collect();
        files.sort_by_key(|id| state.files[*id as usize].add.modification_time);
        let scope = Scope { schema: snapshot.schema(), key: &key, wanted: Some(&wanted), deleted: None };
        match self.enter_files(scope, storage, state, &files).await?.duplicates {
            0 => Ok(()),
            count => Err(duplicate_keys::error(storage.files(), state, snapshot.schema(), &key, count).await),
        }
    }

    /// Enters the files of others' commits. A key that got a second row is not what an index can tell: it is built anew
    /// then, before it is used again.
    pub(super) async fn follow(&mut self, storage: &Storage, snapshot: &mut Snapshot, touched: Touched) -> Result<()> {
        let Some(key) = self.columns.clone().filter(|_| self.stands) else { return Ok(()) };
        // Rows that do not get into the index are found by building it anew.
        self.stands = false;
        let Some(state) = snapshot.state() else { return Ok(()) };
        let mut files = touched.live_files(state);
        snapshot.load_vectors(storage, &files).await?;
        let Some(state) = snapshot.state() else { return Ok(()) };
        files.retain(|id| touched.has_new_rows(state, *id));
        if self.mode == KeyIndexMode::None || files.is_empty() {
            self.stands = true;
            return Ok(());
        }
        let scope = Scope { schema: snapshot.schema(), key: &key, wanted: None, deleted: None };
        let duplicates = self.index_in_parts(scope, storage, state, files, true).await?;
        self.stands = duplicates == 0;
        Ok(())
    }

    /// Makes the places of keys known that others wrote, where the index is on disk: our own writers never give a key a
    /// second row, others may.
    async fn stage_foreign(
        &mut self,
        scope: Scope<'_>,
        storage: &Storage,
        state: &TableState,
        files: &[FileId],
    ) -> Result<()> {
        if self.index.is_in_memory() {
            return Ok(());
        }
        let mut keys = Vec::new();
        for id in files.iter().filter(|id| state.files[**id as usize].partition.is_none()) {
            let add = state.files[*id as usize].add.clone();
            keys.extend(read_keys(storage.files().clone(), add, scope.schema.clone(), scope.key.clone()).await?);
        }
        self.index.stage(keys.into_iter()).await
    }

    /// Enters the rows of a file that our own commit added: the place of each key is its number there.
    pub(crate) fn enter_file(&mut self, file: FileId, keys: &[Fingerprint]) {
        self.index.set_all(keys, |row| Place { file, row: row as u32 });
    }

    /// Enters one row.
    pub(crate) fn enter(&mut self, key: Fingerprint, place: Place) {
        self.index.insert(key, place);
    }

    /// Keeps rows of keys that were updated before they were stored, in their order. `changed`: keys whose kept rows are
    /// out of date.
    pub(crate) fn keep_moved<'a>(
        &mut self,
        rows: RecordBatch,
        keys: impl Iterator<Item = Fingerprint>,
        changed: impl Iterator<Item = &'a Fingerprint>,
    ) {
        self.moved.forget(changed);
        self.moved.keep(rows, keys);
    }

    /// Remembers deletes, and forgets the keys that have rows again. `had_rows`: deleted keys whose rows this batch took.
    pub(crate) fn remember(
        &mut self,
        state: &TableState,
        upserted: &[Fingerprint],
        deleted: Vec<(Fingerprint, Remembered)>,
        had_rows: &HashSet<Fingerprint>,
    ) {
        upserted.iter().for_each(|key| self.memory.forget(key));
        for (key, mut remembered) in deleted {
            // A row that was never stored is newer than the one in the index's place.
            let had_row = had_rows.contains(&key) || self.memory.get(&key).is_some_and(|known| known.placed);
            remembered.placed = had_row && !self.moved.has(&key);
            for forgotten in self.memory.set(key, remembered) {
                // A deleted key that is no longer remembered leaves the index too.
                if self.index.get(&forgotten).is_some_and(|place| !is_live(state, place)) {
                    self.index.remove(&forgotten);
                }
            }
        }
    }

    /// Moves the index to disk where it has outgrown its memory.
    pub(crate) async fn make_room(&mut self) {
        self.index.make_room().await;
    }
}
