//! What is known of the table's keys: where their rows are, and of deleted ones, where these were and the order of their
//! last change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use hashbrown::HashSet;
use roaring::RoaringBitmap;

use super::index_saves::Saves;
use super::snapshot::Snapshot;
use super::storage::Storage;
use crate::change::key_updates::KeyUpdates;
use crate::error::{Error, ErrorCode, Result};
use crate::index::build::{
    Indexed, KeyReader, Scope, enter_keys, index_files, key_columns, may_hold, parts, read_keys,
};
use crate::index::relocation::Relocated;
use crate::index::survivors::Survivors;
use crate::index::{KeyIndex, Limits, duplicate_keys};
use crate::key::columns::KeyColumns;
use crate::key::hasher::Fingerprint;
use crate::log::actions::Commit;
use crate::log::files::{FileId, Place};
use crate::log::liveness::{is_live, row_number};
use crate::log::state::{Applied, TableState};
use crate::memory::{Asked, IndexMemory, IndexShare};
use crate::options::{KeyIndexMode, TableOptions};
use crate::order::memory::{Memory, Remembered};

/// Bytes of the index's memory for each row that is entered between two looks at it: what the row takes there, and while it is
/// looked up and written.
const ROW_BYTES: u64 = 256;
/// Rows that are entered between two looks, whatever the memory: about a batch of a file.
const FEWEST_ROWS: usize = 16 * 1024;
const MOST_ROWS: usize = 16 * 1024 * 1024;

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
    /// Shared with those who write the index: they see it as it was.
    pub(super) memory: Arc<Memory>,
    updates: KeyUpdates,
    pub(super) saves: Saves,
}

impl Keys {
    pub(crate) fn new(options: &TableOptions, memory: &IndexMemory) -> Self {
        Self::within(options, Arc::new(memory.share()))
    }

    /// Those of another table in this one's place.
    pub(crate) fn anew(&self, options: &TableOptions) -> Self {
        Self::within(options, self.limits.share.clone())
    }

    fn within(options: &TableOptions, share: Arc<IndexShare>) -> Self {
        let folder = options.index_folder.clone().unwrap_or_else(std::env::temp_dir);
        let limits = Limits { memory: options.index_memory, folder, share };
        Self {
            mode: options.key_index,
            index: KeyIndex::new(true, limits.clone()),
            limits,
            folder: options.index_folder.clone(),
            columns: None,
            stands: false,
            memory: Arc::new(Memory::new(options.remembered_keys)),
            updates: KeyUpdates::default(),
            saves: Saves::default(),
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

    /// Updates of keys whose second halves are to come.
    pub(crate) fn updates(&self) -> &KeyUpdates {
        &self.updates
    }

    /// Has the log tell of them, unless they are known.
    pub(crate) async fn learn_updates(&mut self, storage: &Storage, newest: u64) -> Result<()> {
        self.updates.learn(newest, storage.log()).await
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

    /// Another writer may have given deleted keys rows, and deleted these too: the last row of a key may be elsewhere than is
    /// known here. The log tells where.
    pub(super) fn others_wrote(&mut self) {
        if !self.memory.is_empty() {
            Arc::make_mut(&mut self.memory).displace_all();
        }
    }

    /// Whether the index stands for key columns of these names and types.
    pub(crate) fn is_for(&self, names: &[String], types: &[arrow::datatypes::DataType]) -> bool {
        self.stands && self.columns.as_ref().is_some_and(|key| key.names == names && key.hasher.types() == types)
    }

    async fn build(&mut self, key: &KeyColumns, storage: &Storage, snapshot: &mut Snapshot) -> Result<()> {
        self.index = KeyIndex::new(key.hasher.is_exact(), self.limits.clone());
        self.saves = Saves::default();
        self.others_wrote();
        // Commits may have been passed over.
        self.updates.forget();
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
            Some(unknown) => self.enter_changes(scope, storage, state, unknown).await?,
            None => self.enter_in_parts(scope, storage, state, files).await? + self.settle(state).await?,
        };
        self.index.note_memory();
        match duplicates {
            0 => Ok(()),
            _ => Err(duplicate_keys::error(storage.files(), state, snapshot.schema(), key, duplicates).await),
        }
    }

    /// Enters files that are newer than what the index holds. Gives the number of live rows beyond the first one of a key.
    async fn enter_changes(
        &mut self,
        scope: Scope<'_>,
        storage: &Storage,
        state: &TableState,
        files: Vec<FileId>,
    ) -> Result<u64> {
        // Our own writers never give a key a second row, others may. Few keys are looked up first; many meet the others where
        // the runs are joined.
        let are_others = files.iter().any(|id| state.files[*id as usize].partition.is_none());
        let rows = files.iter().try_fold(0u64, |sum, id| sum.checked_add(state.files[*id as usize].num_records?));
        let are_few = rows.is_some_and(|rows| rows <= self.rows_at_once() as u64);
        if are_others && are_few && !self.index.is_in_memory() {
            self.stage_files(scope, storage, state, &files).await?;
        }
        let found = self.enter_in_parts(scope, storage, state, files).await?;
        Ok(if are_others && !are_few { found + self.settle(state).await? } else { found })
    }

    /// Enters files one part after the other: between two of them the index may move to disk. Gives the number of live
    /// rows beyond the first one of a key, as far as those were in memory.
    async fn enter_in_parts(
        &mut self,
        scope: Scope<'_>,
        storage: &Storage,
        state: &TableState,
        mut files: Vec<FileId>,
    ) -> Result<u64> {
        // If a key has several deleted rows, the most recently written file wins.
        files.sort_by_key(|id| (state.files[*id as usize].add.modification_time, *id));
        let rows: u64 = files.iter().filter_map(|id| state.files[*id as usize].num_live_rows()).sum();
        self.index.reserve(usize::try_from(rows).unwrap_or(0));
        let most = self.rows_at_once();
        let mut duplicates = 0;
        for part in parts(state, &files, most) {
            duplicates += match part {
                [file] if state.files[*file as usize].num_records.is_none_or(|rows| rows > most as u64) => {
                    self.enter_large_file(scope, storage, state, *file).await?
                }
                files => {
                    let found = self.enter_files(scope, storage, state, files).await?;
                    self.entered(found)
                }
            };
            duplicates += self.make_room(state).await;
        }
        Ok(duplicates)
    }

    /// Rows that are entered between two looks at the index's memory.
    fn rows_at_once(&self) -> usize {
        usize::try_from(self.limits.memory_now() / ROW_BYTES).unwrap_or(MOST_ROWS).clamp(FEWEST_ROWS, MOST_ROWS)
    }

    async fn enter_large_file(
        &mut self,
        scope: Scope<'_>,
        storage: &Storage,
        state: &TableState,
        file: FileId,
    ) -> Result<u64> {
        let (add, names) = (&state.files[file as usize].add, key_columns(scope.key));
        let mut reader = KeyReader::open(storage.files(), add, scope.schema, scope.key, &names).await?;
        let (mut first, mut duplicates) = (0, 0);
        loop {
            let keys = reader.next(self.rows_at_once()).await?;
            if keys.is_empty() {
                return Ok(duplicates);
            }
            let place = Place { file, row: row_number(first)? };
            first += keys.len();
            let mut found = Indexed::default();
            {
                let is_deleted = deleted_key(&self.memory);
                let scope = Scope { deleted: is_deleted.as_ref().map(|f| f as _), ..scope };
                enter_keys(state, scope, place, keys, &mut self.index, &mut found)?;
            }
            duplicates += self.entered(found) + self.make_room(state).await;
        }
    }

    async fn settle(&mut self, state: &TableState) -> Result<u64> {
        self.index.settle(Survivors::of(state, self.memory.clone())).await
    }

    /// Keeps the index within its memory. Gives the number of live rows beyond the first one of a key that it met.
    async fn make_room(&mut self, state: &TableState) -> u64 {
        let Self { index, memory, .. } = self;
        index.make_room(|| Survivors::of(state, memory.clone())).await
    }

    async fn enter_files(
        &mut self,
        scope: Scope<'_>,
        storage: &Storage,
        state: &TableState,
        files: &[FileId],
    ) -> Result<Indexed> {
        let is_deleted = deleted_key(&self.memory);
        let scope = Scope { deleted: is_deleted.as_ref().map(|f| f as _), ..scope };
        index_files(storage.files(), state, scope, files, &mut self.index).await
    }

    /// Forgets what is remembered of deleted keys that have rows again. Gives the number of live rows beyond the first one of
    /// a key.
    fn entered(&mut self, found: Indexed) -> u64 {
        let Indexed { duplicates, live_again } = found;
        if !live_again.is_empty() {
            let memory = Arc::make_mut(&mut self.memory);
            live_again.iter().for_each(|key| memory.forget(key));
        }
        duplicates
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
        let found = self.enter_files(scope, storage, state, &files).await?;
        match self.entered(found) {
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
        // A file that came back has its rows where they were.
        if files.iter().any(|file| self.index.is_relocated(*file)) {
            return Ok(());
        }
        snapshot.load_vectors(storage, &files).await?;
        let Some(state) = snapshot.state() else { return Ok(()) };
        files.retain(|id| touched.has_new_rows(state, *id));
        if self.mode == KeyIndexMode::None || files.is_empty() {
            self.stands = true;
            return Ok(());
        }
        // Another writer's compaction of files of ours: each of its keys would be translated for nothing.
        self.index.forget_dead(|file| state.files[file as usize].live);
        let scope = Scope { schema: snapshot.schema(), key: &key, wanted: None, deleted: None };
        self.stands = self.enter_changes(scope, storage, state, files).await? == 0;
        Ok(())
    }

    /// Makes the places of the keys known that others wrote.
    async fn stage_files(
        &mut self,
        scope: Scope<'_>,
        storage: &Storage,
        state: &TableState,
        files: &[FileId],
    ) -> Result<()> {
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

    /// Enters files whose rows went to others.
    pub(crate) fn relocate(&mut self, files: Vec<(FileId, Relocated)>) {
        if self.is_kept() {
            self.index.relocate(files);
        }
    }

    /// Enters the key updates of which a commit has one half.
    pub(crate) fn enter_updates(&mut self, version: u64, commit: &Commit) {
        self.updates.enter(version, commit);
    }

    /// Remembers deletes, and forgets the keys that have rows again. `had_rows`: deleted keys whose rows this batch took.
    /// `never_stored`: those whose rows came in the batch itself.
    pub(crate) fn remember(
        &mut self,
        state: &TableState,
        upserted: &[Fingerprint],
        deleted: Vec<(Fingerprint, Remembered)>,
        had_rows: &HashSet<Fingerprint>,
        never_stored: &[Fingerprint],
    ) {
        if self.memory.is_empty() && deleted.is_empty() {
            return;
        }
        let never_stored: HashSet<&Fingerprint> = never_stored.iter().collect();
        let memory = Arc::make_mut(&mut self.memory);
        upserted.iter().for_each(|key| memory.forget(key));
        for (key, mut remembered) in deleted {
            // A row that was never stored is newer than the one in the index's place.
            let had_row = had_rows.contains(&key) || memory.get(&key).is_some_and(|known| known.placed);
            remembered.placed = had_row && !never_stored.contains(&key);
            for forgotten in memory.set(key, remembered) {
                // A deleted key that is no longer remembered leaves the index too.
                if self.index.get(&forgotten).is_some_and(|place| !is_live(state, place)) {
                    self.index.remove(&forgotten);
                }
            }
        }
    }

    /// Keeps the index within its memory after a commit, and saves it now and then.
    pub(crate) async fn tend(&mut self, state: Option<&TableState>) {
        self.limits.share.used();
        let Some(state) = state else { return };
        let Self { index, memory, .. } = self;
        let survivors = || Survivors::of(state, memory.clone());
        if index.make_room(survivors).await + index.come_back(survivors).await > 0 {
            self.stands = false;
        }
        self.index.renew_some();
        self.index.note_memory();
        self.save_some(state);
    }

    /// Moves the index to disk, or keeps it within its memory, where others asked for that.
    pub(crate) async fn yield_memory(&mut self, state: Option<&TableState>) {
        let Self { index, memory, .. } = self;
        let Some(state) = state else { return };
        if index.go(|| Survivors::of(state, memory.clone())).await > 0 {
            self.stands = false;
        }
    }

    /// Tells when others ask for what the index holds.
    pub(crate) fn asked(&self) -> Asked {
        self.limits.share.asked()
    }
}

/// Whether a key is deleted, as far as is known; none where nothing is known of any.
fn deleted_key(memory: &Memory) -> Option<impl Fn(&Fingerprint) -> bool + Sync> {
    (!memory.is_empty()).then_some(|key: &Fingerprint| memory.get(key).is_some())
}
