//! The file of a key index on local disk between runs.
//!
//! It stands for one version of the table. On the way to a newer one only files are read that came since; where the log
//! cannot tell what happened in between, the index is built anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::run::{Run, RunWriter, Width, merge};
use super::saving::Saving;
use super::{KeyIndex, Limits, sources};
use crate::error::Result;
use crate::key::hasher::Fingerprint;
use crate::log::files::{FileId, Place};
use crate::order::memory::{Memory, Remembered};
use crate::order::sequence::{Order, Sequence};

/// Bytes of a remembered key.
const MEMORY_BYTES: usize = 16 + 4 + 1 + 32 + 8;

/// What a saved index stands for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) table: String,
    pub(crate) version: u64,
    /// What tells the version's log entry; an index of another history does not fit.
    pub(crate) anchor: Option<u64>,
    pub(crate) key: Vec<String>,
    pub(crate) types: Vec<String>,
    pub(crate) files: Vec<SavedFile>,
}

/// A file that places name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedFile {
    /// Its number in the places.
    pub(crate) id: FileId,
    /// As the log has it.
    pub(crate) path: String,
    /// Whether it was in the table at the note's version: then all its keys are there.
    pub(crate) live: bool,
}

/// How a saving stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SavingStands {
    /// There is none, or the keys that it copied were replaced.
    None,
    UnderWay,
    Ended,
    /// The disk refused it.
    Failed,
}

impl Note {
    pub(crate) fn encode(&self, memory: &Memory) -> Result<Vec<u8>> {
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
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, Vec<(Fingerprint, Remembered)>)> {
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
    /// Writes the index as a file, in place of the one before.
    pub(crate) fn save(&self, path: &Path, note: &[u8]) -> Result<()> {
        let temporary = path.with_extension(format!("{}.tmp", Uuid::new_v4()));
        let mut writer = RunWriter::create(temporary, self.width)?;
        merge(
            sources(&self.keys, &self.runs, self.relocations.translation()),
            |_, _| (),
            |entry| match Place::of_bits(entry.2) {
                Some(_) => writer.push(entry),
                None => Ok(()),
            },
        )?;
        writer.finish(note)?.rename(path)
    }

    /// Goes on with saving the index beside the merges, or begins to, as the file `path`. Once all keys are copied, `note` is
    /// asked what they stand for; then the answer is true.
    pub(crate) fn save_some(
        &mut self,
        path: impl FnOnce() -> PathBuf,
        note: impl FnOnce() -> (Note, Arc<Memory>),
    ) -> bool {
        let Self { saving, keys, width, runs, relocations, .. } = self;
        let translation = relocations.translation();
        let begin = || {
            let translation = translation.clone();
            Saving::begin(path(), *width, runs.clone(), move |place| translation.bits(place))
        };
        let saving = saving.get_or_insert_with(begin);
        saving.step(|shard| keys.copied(shard, translation))
            && saving.end(|| {
                let (note, memory) = note();
                Box::new(move || note.encode(&memory))
            })
    }

    /// How a saving stands.
    pub(crate) fn saving(&self) -> SavingStands {
        match &self.saving {
            None => SavingStands::None,
            Some(saving) if !saving.is_finished() => SavingStands::UnderWay,
            Some(saving) if saving.is_ended() => SavingStands::Ended,
            Some(_) => SavingStands::Failed,
        }
    }

    /// Forgets a saving that is over.
    pub(crate) fn forget_saving(&mut self) {
        self.saving = None;
    }

    /// Gives a saving up, or waits for its end where all was copied.
    pub(crate) async fn stop_saving(&mut self) {
        if let Some(saving) = self.saving.take() {
            saving.stop().await;
        }
    }

    /// Whether the index can be saved: a file has no place for null keys among exact ones.
    pub(crate) fn can_be_saved(&self) -> bool {
        self.null_keys.is_empty()
    }

    /// Reads a saved index. `file` gives the file of a number; places in other files are left out.
    pub(crate) fn load(run: &Run, width: Width, limits: Limits, file: &[Option<FileId>]) -> Result<Self> {
        let mut index = Self::new(width == Width::Exact, limits);
        let bytes = run.len().saturating_mul(width.bytes() as u64) / 5 * 8;
        let fits = bytes < index.limits.memory.min(index.limits.share.allowance(bytes)) / 4 * 3;
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
            index.runs.push(Arc::new(run));
            index.yielded = (bytes < index.limits.memory / 4 * 3).then_some(0);
        }
        index.note_memory();
        Ok(index)
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
            anchor: Some(1),
            key: vec!["id".into()],
            types: vec!["Int64".into()],
            files: vec![
                SavedFile { id: 3, path: "a".into(), live: true },
                SavedFile { id: 9, path: "b".into(), live: false },
            ],
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
        assert_eq!((found.version, found.files), (7, note.files));
        assert_eq!(remembered, [([1, 2], first), ([3, 4], second)]);
        assert!(Note::decode(&bytes[..20]).is_none());
    }
}
