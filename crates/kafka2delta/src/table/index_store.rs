//! The key index on local disk between runs: saving it, and bringing a saved one forward.

use std::mem;
use std::path::PathBuf;
use std::sync::Arc;

use futures::TryStreamExt;
use xxhash_rust::xxh3::xxh3_64;

use super::index_saves::{Begun, most_commits};
use super::{KeyedTable, Keys, Storage};
use crate::error::Result;
use crate::index::KeyIndex;
use crate::index::run::{Run, Width};
use crate::index::saved::{Note, SavedFile, SavingStands};
use crate::key::columns::KeyColumns;
use crate::log::actions::Commit;
use crate::log::entries::read_entries;
use crate::log::entry_fingerprint;
use crate::log::files::FileId;
use crate::log::replacement::replacement;
use crate::log::state::TableState;
use crate::machine::spawn_blocking;
use crate::order::memory::Remembered;

impl Keys {
    /// The file of this table and key, where the index is to be saved.
    fn path(&self, state: &TableState, key: &KeyColumns) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        let scope = xxh3_64(format!("{:?}{:?}", key.names, key.hasher.types()).as_bytes());
        Some(folder.join(format!("{}-{scope:016x}.index", plain(&state.metadata.id))))
    }

    /// The file, where the index stands and there is something to save.
    fn path_to_save(&self, state: &TableState) -> Option<PathBuf> {
        // Deleted keys are remembered also where no row is left.
        let is_empty = self.index.is_empty() && self.memory.is_empty();
        let key = self.columns.as_ref().filter(|_| self.is_kept() && !is_empty && self.index.can_be_saved())?;
        self.path(state, key)
    }

    /// Goes on saving the index beside the merges, or begins to where that is due: a few keys in each call.
    pub(super) fn save_some(&mut self, state: &TableState) {
        if self.folder.is_none() || !self.goes_on_saving(state) {
            return;
        }
        let Some(path) = self.path_to_save(state) else { return };
        if self.index.saving() == SavingStands::None {
            self.saves.begin(state, self.index.len());
        }
        let Self { index, saves, columns: Some(key), memory, .. } = self else { return };
        if index.save_some(|| path, || (note(key, state, saves.begun()), memory.clone())) {
            saves.end();
        }
    }

    /// Whether there is something to save: where the disk refused it, not before it is due once more.
    fn goes_on_saving(&mut self, state: &TableState) -> bool {
        match self.index.saving() {
            SavingStands::UnderWay => return true,
            SavingStands::None => {}
            SavingStands::Ended | SavingStands::Failed => {
                self.saves.end();
                self.index.forget_saving();
            }
        }
        self.saves.is_due(state, self.index.len())
    }

    /// Saves the index as it is. What cannot be saved is built anew at the next start: that is logged, and no error.
    pub(super) async fn save(&mut self, state: &TableState) {
        let (Some(path), Some(key)) = (self.path_to_save(state), &self.columns) else { return };
        let saved = match note(key, state, &Begun::of(state)).encode(&self.memory) {
            Err(error) => Err(error),
            Ok(note) => {
                let empty = KeyIndex::new(true, self.index.limits.clone());
                let index = std::mem::replace(&mut self.index, empty);
                let task = spawn_blocking(move || {
                    let saved = index.save(&path, &note);
                    (index, saved)
                });
                match task.await {
                    Ok((index, saved)) => {
                        self.index = index;
                        saved
                    }
                    Err(error) => {
                        self.stands = false;
                        Err(error.into())
                    }
                }
            }
        };
        if let Err(error) = saved {
            tracing::warn!(error = ?error.chain(), "the key index could not be saved: the next start builds it anew");
        }
    }

    /// Takes the saved index of this key, if it still fits. Gives the live files that it does not know.
    pub(super) async fn load(
        &mut self,
        key: &KeyColumns,
        storage: &Storage,
        state: &TableState,
    ) -> Result<Option<Vec<FileId>>> {
        let Some(path) = self.path(state, key) else { return Ok(None) };
        let width = if key.hasher.is_exact() { Width::Exact } else { Width::Hashed };
        let opened = spawn_blocking(move || Run::open(&path, width)).await?;
        let opened = opened.unwrap_or_else(|error| {
            tracing::warn!(error = ?error.chain(), "the saved key index cannot be read, and is built anew");
            None
        });
        let Some((run, note)) = opened else { return Ok(None) };
        let Some((note, remembered)) = Note::decode(&note) else { return Ok(None) };
        let types: Vec<String> = key.hasher.types().iter().map(ToString::to_string).collect();
        if note.table != state.metadata.id || note.key != key.names || note.types != types {
            return Ok(None);
        }
        if note.version > state.version || !led_here(storage, state, &note).await? {
            return Ok(None);
        }
        let mut files = vec![None; note.files.iter().map(|file| file.id as usize + 1).max().unwrap_or(0)];
        let mut known = vec![false; state.files.len()];
        for SavedFile { id, path, live } in &note.files {
            files[*id as usize] = state.file_by_path(path);
            if let (Some(file), true) = (files[*id as usize], live) {
                known[file as usize] = true;
            }
        }
        let unknown = state.live_files().map(|(id, _)| id).filter(|id| !known[*id as usize]).collect();
        let limits = self.index.limits.clone();
        self.index = spawn_blocking(move || KeyIndex::load(&run, width, limits, &files)).await??;
        self.saves.found(note.version, self.index.len());
        // What this process remembers is newer than what was saved: a saved note of a deleted key may be from before the
        // key's last row.
        if !self.memory.is_empty() {
            return Ok(Some(unknown));
        }
        let memory = Arc::make_mut(&mut self.memory);
        for (key, known) in remembered {
            // Of a deleted row whose place is gone, or which may have come and gone again since, the place is no longer the
            // last one.
            let is_last = note.version == state.version;
            let placed = known.placed && is_last && (!self.index.is_in_memory() || self.index.get(&key).is_some());
            memory.set(key, Remembered { placed, ..known });
        }
        Ok(Some(unknown))
    }
}

/// Whether the saved index is of this log, and the log tells all that happened since, and nothing that an index cannot
/// follow. Where so much has happened that building is cheaper, the answer is no.
async fn led_here(storage: &Storage, state: &TableState, note: &Note) -> Result<bool> {
    let commits = state.version - note.version;
    if note.anchor.is_none() || commits > most_commits(state.live_files().count() as u64) {
        return Ok(false);
    }
    let mut entries = read_entries(storage.log(), note.version..=state.version);
    let mut is_first = true;
    while let Some(entry) = entries.try_next().await? {
        let Some(bytes) = entry else { return Ok(false) };
        if mem::take(&mut is_first) {
            if note.anchor != Some(entry_fingerprint::of(&bytes)) {
                return Ok(false);
            }
            continue;
        }
        let commit = Commit::parse(&bytes)?;
        if replacement(&commit).is_some() || commit.metadata.as_ref().is_some_and(|m| m.id != state.metadata.id) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What an index stands for that was copied from the version on at which its saving began.
fn note(key: &KeyColumns, state: &TableState, begun: &Begun) -> Note {
    let files = (0..).zip(state.files.iter()).filter(|(_, file)| !file.is_forgotten());
    Note {
        table: state.metadata.id.clone(),
        version: begun.version,
        anchor: begun.anchor,
        key: key.names.clone(),
        types: key.hasher.types().iter().map(ToString::to_string).collect(),
        files: files.map(|(id, file)| SavedFile { id, path: file.add.path.clone(), live: begun.has(id) }).collect(),
    }
}

impl KeyedTable {
    /// Ends the use of the table: the index is saved.
    pub async fn close(mut self) {
        self.keys.index.stop_saving().await;
        if let (Some(state), false) = (self.snapshot.state(), self.standing.is_uncertain()) {
            self.keys.save(state).await;
        }
    }
}

/// A table's id as a file's name, whatever it holds.
fn plain(id: &str) -> String {
    match id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') && !id.is_empty() {
        true => id.to_owned(),
        false => format!("{:016x}", xxh3_64(id.as_bytes())),
    }
}
