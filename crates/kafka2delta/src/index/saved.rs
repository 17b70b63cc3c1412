//! The key index on local disk between runs.
//!
//! It stands for one version of the table. On the way to a newer one only files are read that came since; where the log
//! cannot tell what happened in between, the index is built anew.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::build::KeyColumns;
use super::run::{Run, RunWriter, Width, merge};
use super::{KeyIndex, Limits, Place, sources};
use crate::datafile::order_columns::{Order, Sequence};
use crate::error::Result;
use crate::key::hasher::Fingerprint;
use crate::log::actions::Commit;
use crate::log::state::{FileId, TableState};
use crate::order::memory::{Memory, Remembered};
use crate::table::KeyedTable;
use crate::table::follow::replacement;

/// Bytes of a remembered key.
const MEMORY_BYTES: usize = 16 + 4 + 1 + 32 + 8;

/// What a saved index stands for.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    table: String,
    version: u64,
    key: Vec<String>,
    types: Vec<String>,
    /// Paths as the log has them: the places' files by number.
    files: Vec<String>,
    /// Whether each of them was in the table.
    live: Vec<bool>,
}

impl Note {
    fn encode(&self, memory: &Memory) -> Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json);
        for (key, known) in memory.iter() {
            bytes.extend(key.iter().flat_map(|word| word.to_le_bytes()));
            bytes.extend(known.partition.to_le_bytes());
            let Order { sequence, time } = known.order;
            let flags = [known.placed, sequence.is_some(), time.is_some()];
            bytes.push(flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag)));
            let sequence = sequence.unwrap_or(Sequence { epoch: 0, value: [0; 3] });
            bytes.extend(sequence.epoch.to_le_bytes());
            bytes.extend(sequence.value.iter().flat_map(|word| word.to_le_bytes()));
            bytes.extend(time.unwrap_or(0).to_le_bytes());
        }
        Ok(bytes)
    }

    /// None where the bytes are no note.
    fn decode(bytes: &[u8]) -> Option<(Self, Vec<(Fingerprint, Remembered)>)> {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let (json, memory) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        let word = |bytes: &[u8], at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk::<8>()?));
        let remembered = memory.chunks_exact(MEMORY_BYTES).map(|bytes| {
            let key = [word(bytes, 0)?, word(bytes, 8)?];
            let partition = i32::from_le_bytes(*bytes[16..].first_chunk::<4>()?);
            let flag = |bit: u8| bytes[20] >> bit & 1 == 1;
            let sequence =
                Sequence { epoch: word(bytes, 21)?, value: [word(bytes, 29)?, word(bytes, 37)?, word(bytes, 45)?] };
            let time = word(bytes, 53)? as i64;
            let order = Order { sequence: flag(1).then_some(sequence), time: flag(2).then_some(time) };
            Some((key, Remembered { order, placed: flag(0), partition }))
        });
        Some((serde_json::from_slice(json).ok()?, remembered.collect::<Option<_>>()?))
    }
}

impl KeyIndex {
    /// Writes the index as a file, in place of the one before. `number` gives the number under which the note has a file.
    fn save(&self, path: &Path, note: &[u8], number: &[Option<u32>]) -> Result<()> {
        let temporary = path.with_extension(format!("{}.tmp", Uuid::new_v4()));
        let mut writer = RunWriter::create(temporary, self.width)?;
        merge(
            sources(&self.keys, &self.runs),
            |newer, _| newer,
            |(hash, key, bits)| {
                let place = Place::of_bits(bits);
                let file = place.and_then(|p| *number.get(p.file as usize)?);
                match place.zip(file) {
                    Some((place, file)) => writer.push((hash, key, Place { file, row: place.row }.to_bits())),
                    None => Ok(()),
                }
            },
        )?;
        writer.finish(note)?.rename(path)
    }

    /// Reads a saved index. `file` is asked for the file of a number; places in other files are left out.
    fn load(run: &Run, width: Width, limits: Limits, file: &[Option<FileId>]) -> Result<Self> {
        let mut index = Self::new(width == Width::Exact, limits);
        let slot: u64 = if width == Width::Exact { 16 } else { 24 };
        let fits = run.len().saturating_mul(slot) / 5 * 8 < index.limits.memory / 4 * 3;
        let mut entries = run.iter().filter_map(|entry| match entry {
            Ok((hash, key, bits)) => {
                let place = Place::of_bits(bits)?;
                let file = (*file.get(place.file as usize)?)?;
                Some(Ok((hash, key, Place { file, row: place.row })))
            }
            Err(error) => Some(Err(error)),
        });
        if fits {
            index.reserve(usize::try_from(run.len()).unwrap_or(0));
            entries.try_for_each(|entry| entry.map(|(_, key, place)| index.insert(key, place)))?;
        } else {
            let mut writer = RunWriter::create(index.new_path(), width)?;
            entries
                .try_for_each(|entry| entry.and_then(|(hash, key, place)| writer.push((hash, key, place.to_bits()))))?;
            let run = writer.finish(&[])?;
            run.unlink();
            index.runs.push(std::sync::Arc::new(run));
        }
        Ok(index)
    }
}

impl KeyedTable {
    /// The file of this table and key, where the index is to be saved.
    fn index_path(&self, state: &TableState, key: &KeyColumns) -> Option<PathBuf> {
        let folder = self.options.index_folder.as_ref()?;
        let scope = xxh3_64(format!("{:?}{:?}", key.names, key.hasher.types()).as_bytes());
        Some(folder.join(format!("{}-{scope:016x}.index", plain(&state.metadata.id))))
    }

    /// Saves the index, where it is to be saved and stands for the state. What cannot be saved is built anew at the
    /// next start: that is logged, and no error.
    pub(crate) async fn save_index(&mut self) {
        // Deleted keys are remembered also where no row is left.
        let is_empty = self.index.is_empty() && self.memory.iter().next().is_none();
        if !self.indexed || self.uncertain || is_empty {
            return;
        }
        let (Some(state), Some(key)) = (&self.state, &self.key) else { return };
        let Some(path) = self.index_path(state, key) else { return };
        let (mut files, mut live, mut number) = (Vec::new(), Vec::new(), Vec::with_capacity(state.files.len()));
        for file in state.files.iter() {
            if file.is_forgotten() {
                number.push(None);
                continue;
            }
            number.push(Some(files.len() as u32));
            files.push(file.add.path.clone());
            live.push(file.live);
        }
        let note = Note {
            table: state.metadata.id.clone(),
            version: state.version,
            key: key.names.clone(),
            types: key.hasher.types().iter().map(ToString::to_string).collect(),
            files,
            live,
        };
        let saved = match note.encode(&self.memory) {
            Err(error) => Err(error),
            Ok(note) => {
                let empty = KeyIndex::new(true, self.index.limits.clone());
                let index = std::mem::replace(&mut self.index, empty);
                let task = tokio::task::spawn_blocking(move || {
                    let saved = index.save(&path, &note, &number);
                    (index, saved)
                });
                match task.await {
                    Ok((index, saved)) => {
                        self.index = index;
                        saved
                    }
                    Err(error) => {
                        self.indexed = false;
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
    pub(crate) async fn load_index(&mut self, key: &KeyColumns) -> Result<Option<Vec<FileId>>> {
        let Some(state) = &self.state else { return Ok(None) };
        let Some(path) = self.index_path(state, key) else { return Ok(None) };
        let width = if key.hasher.is_exact() { Width::Exact } else { Width::Hashed };
        let opened = tokio::task::spawn_blocking(move || Run::open(&path, width)).await?;
        let Some((run, note)) = opened? else { return Ok(None) };
        let Some((note, remembered)) = Note::decode(&note) else { return Ok(None) };
        let types: Vec<String> = key.hasher.types().iter().map(ToString::to_string).collect();
        if note.table != state.metadata.id || note.key != key.names || note.types != types {
            return Ok(None);
        }
        if note.version > state.version || !self.led_here(note.version).await? {
            return Ok(None);
        }
        let Some(state) = &self.state else { return Ok(None) };
        let files: Vec<Option<FileId>> = note.files.iter().map(|path| state.file_by_path(path)).collect();
        let mut known = vec![false; state.files.len()];
        for (file, live) in files.iter().zip(&note.live) {
            if let (Some(file), true) = (file, live) {
                known[*file as usize] = true;
            }
        }
        let unknown = state.live_files().map(|(id, _)| id).filter(|id| !known[*id as usize]).collect();
        let limits = self.index.limits.clone();
        self.index = tokio::task::spawn_blocking(move || KeyIndex::load(&run, width, limits, &files)).await??;
        for (key, known) in remembered {
            // Of a deleted row whose place is gone, the place is no longer the last one.
            let placed = known.placed && (!self.index.is_in_memory() || self.index.get(&key).is_some());
            self.memory.set(key, Remembered { placed, ..known });
        }
        Ok(Some(unknown))
    }

    /// Whether the log tells all that happened since a version, and nothing that an index cannot follow.
    async fn led_here(&self, version: u64) -> Result<bool> {
        let Some(state) = &self.state else { return Ok(false) };
        for version in version + 1..=state.version {
            let Some(bytes) = self.log_store.read_commit_entry(version).await? else { return Ok(false) };
            let commit = Commit::parse(&bytes)?;
            if replacement(&commit).is_some() || commit.metadata.as_ref().is_some_and(|m| m.id != state.metadata.id) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends the use of the table: the index is saved.
    pub async fn close(mut self) {
        self.save_index().await;
    }
}

/// A table's id as a file's name, whatever it holds.
fn plain(id: &str) -> String {
    match id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') && !id.is_empty() {
        true => id.to_owned(),
        false => format!("{:016x}", xxh3_64(id.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_comes_back() {
        let note = Note {
            table: "t".into(),
            version: 7,
            key: vec!["id".into()],
            types: vec!["Int64".into()],
            files: vec!["a".into(), "b".into()],
            live: vec![true, false],
        };
        let mut memory = Memory::new(10);
        let sequence = Some(Sequence { epoch: u64::MAX, value: [1, 2, u64::MAX] });
        let first = Remembered { order: Order { sequence, time: None }, placed: true, partition: -1 };
        let second = Remembered { order: Order { sequence: None, time: Some(-5) }, placed: false, partition: 7 };
        memory.set([1, 2], first);
        memory.set([3, 4], second);
        let bytes = note.encode(&memory).unwrap();
        let (found, mut remembered) = Note::decode(&bytes).unwrap();
        remembered.sort_by_key(|(key, _)| *key);
        assert_eq!((found.version, found.files, found.live), (7, note.files, note.live));
        assert_eq!(remembered, [([1, 2], first), ([3, 4], second)]);
        assert!(Note::decode(&bytes[..20]).is_none());
    }
}
