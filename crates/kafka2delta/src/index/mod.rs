//! The key index: from a key to its row's place.
//!
//! It lies in memory ([`slots`]) up to a budget. Above, what was entered goes to sorted files on local disk ([`run`]),
//! and the keys of a batch are looked up there all at once, in the order of the files.

pub(crate) mod build;
pub(crate) mod duplicate_keys;
pub(crate) mod relocation;
pub(crate) mod run;
pub(crate) mod saved;
pub(crate) mod saving;
mod slots;
pub(crate) mod survivors;

use std::path::PathBuf;
use std::sync::Arc;

use hashbrown::HashMap;
use uuid::Uuid;

use self::relocation::{Relocated, Relocations, Translation};
use self::run::{Entry, Run, RunWriter, Width, merge};
use self::saving::Saving;
use self::slots::{FORGOTTEN, Slots, VACANT};
use self::survivors::Survivors;
use crate::error::{Error, ErrorCode, Result};
use crate::key::hasher::{Fingerprint, NO_KEY, index_hash, is_exact};
use crate::log::files::{FileId, Place};
use crate::machine::spawn_blocking;
use crate::memory::IndexShare;

/// Runs from which on all are joined into one.
const MAX_RUNS: usize = 6;
/// Rewrites from which on the places in runs are written anew.
const MAX_REWRITES: usize = 64;
/// Keys on disk for each of which a merge more goes by before an index comes back to memory: all of them are read for it.
const KEYS_A_MERGE: u64 = 16 * 1024;
/// Keys whose places are written anew at once after a rewrite, or one part of the index where that has more.
const RENEWED_KEYS: usize = 32 * 1024;
/// Keys from which on a second thread pays.
const TWO_THREADS: usize = 10_000;

impl Place {
    fn to_bits(self) -> u64 {
        u64::from(self.file) << 32 | u64::from(self.row)
    }

    fn of_bits(bits: u64) -> Option<Self> {
        (bits < VACANT).then_some(Self { file: (bits >> 32) as FileId, row: bits as u32 })
    }
}

#[derive(Debug)]
enum Keys {
    Exact(Slots<u64>),
    Hashed(Slots<Fingerprint>),
}

/// Runs the expression with the slots of either kind.
macro_rules! either {
    ($keys:expr, $slots:ident => $value:expr) => {
        match $keys {
            Keys::Exact($slots) => $value,
            Keys::Hashed($slots) => $value,
        }
    };
}

impl Keys {
    fn new(width: Width) -> Self {
        match width {
            Width::Exact => Self::Exact(Slots::default()),
            Width::Hashed => Self::Hashed(Slots::default()),
        }
    }

    fn get(&self, key: &Fingerprint) -> Option<u64> {
        match self {
            Self::Exact(slots) => slots.get(&key[0]),
            Self::Hashed(slots) => slots.get(key),
        }
    }

    fn insert(&mut self, key: &Fingerprint, place: u64) {
        match self {
            Self::Exact(slots) => slots.insert(key[0], place),
            Self::Hashed(slots) => slots.insert(*key, place),
        }
    }

    /// The keys of a shard, in no order.
    fn copied(&self, shard: usize, translation: &Translation) -> Vec<Entry> {
        let mut entries = either!(self, slots => slots.entries(shard));
        entries.iter_mut().for_each(|entry| entry.2 = translation.bits(entry.2));
        entries
    }

    fn sorted(&self) -> Box<dyn Iterator<Item = Result<Entry>> + '_> {
        match self {
            Self::Exact(slots) => Box::new(slots.sorted().flatten().map(Ok)),
            Self::Hashed(slots) => Box::new(slots.sorted().flatten().map(Ok)),
        }
    }
}

/// Where and how large an index may be.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: u64,
    /// Local folder for what does not fit.
    pub folder: PathBuf,
    /// What it has of the memory of all indexes.
    pub(crate) share: Arc<IndexShare>,
}

impl Limits {
    /// Bytes of memory that the index may take now.
    pub(crate) fn memory_now(&self) -> u64 {
        self.memory.min(self.share.allowance(0))
    }
}

/// Key to place.
///
/// A place may be out of date: its file may have left the table, or its row may have been deleted. Callers must check
/// liveness against `TableState`. So deletes of other writers need no search here, and the place of a deleted row stays
/// known for values that a later change leaves out.
#[derive(Debug)]
pub struct KeyIndex {
    width: Width,
    keys: Keys,
    /// Null keys, where the others are kept as they are.
    null_keys: HashMap<Fingerprint, Place>,
    /// The oldest first.
    runs: Vec<Arc<Run>>,
    /// Places in the runs of the keys that were asked for.
    staged: HashMap<Fingerprint, u64>,
    pub(crate) limits: Limits,
    /// Whether the disk refused: then memory has to do.
    disk_failed: bool,
    /// Whether it is on disk for the sake of other indexes, and the merges since.
    yielded: Option<u64>,
    /// Ends with the keys or the runs that it copies: where they are replaced, it begins anew.
    saving: Option<Saving>,
    relocations: Relocations,
}

impl KeyIndex {
    /// An empty index of keys that fingerprints hold, or of hashed ones.
    pub fn new(exact: bool, limits: Limits) -> Self {
        let width = if exact { Width::Exact } else { Width::Hashed };
        let index = Self {
            width,
            keys: Keys::new(width),
            null_keys: HashMap::new(),
            runs: Vec::new(),
            staged: HashMap::new(),
            limits,
            disk_failed: false,
            yielded: None,
            saving: None,
            relocations: Relocations::default(),
        };
        index.note_memory();
        index
    }

    fn is_null_key(&self, key: &Fingerprint) -> bool {
        self.width == Width::Exact && !is_exact(key)
    }

    /// Whether all keys are in memory. Otherwise [`Self::stage`] comes before [`Self::get`].
    pub fn is_in_memory(&self) -> bool {
        self.runs.is_empty()
    }

    /// The last place known of the key.
    pub fn get(&self, key: &Fingerprint) -> Option<Place> {
        if self.is_null_key(key) {
            return self.null_keys.get(key).copied();
        }
        let bits = self.keys.get(key).or_else(|| self.staged.get(key).copied());
        bits.and_then(|bits| Place::of_bits(self.relocations.translation().bits(bits)))
    }

    /// The last places known of keys.
    pub fn get_all(&self, keys: &[Fingerprint]) -> Vec<Option<Place>> {
        let mut places = Vec::with_capacity(keys.len());
        let translation = self.relocations.translation();
        either!(&self.keys, slots => slots.get_all(keys, |n, bits| {
            places.push(match bits {
                Some(bits) if !self.is_null_key(&keys[n]) => Place::of_bits(translation.bits(bits)),
                _ => self.get(&keys[n]),
            });
        }));
        places
    }

    /// Sets a key's place.
    pub fn insert(&mut self, key: Fingerprint, place: Place) {
        if self.is_null_key(&key) {
            self.null_keys.insert(key, place);
            return;
        }
        self.keys.insert(&key, place.to_bits());
    }

    /// Sets the places of keys. `choose` is given the number of a key and the place known of it, and says which it is
    /// to have; none leaves it as it is.
    pub fn insert_all(&mut self, keys: &[Fingerprint], mut choose: impl FnMut(usize, Option<Place>) -> Option<Place>) {
        let Self { width, keys: known, null_keys, staged, relocations, .. } = self;
        let translation = relocations.translation();
        let mut odd_keys = Vec::new();
        let mut vacant = Vec::new();
        either!(known, slots => slots.upsert_all(keys, |n, bits, new| {
            let none = keys[n] == NO_KEY;
            if none || (*width == Width::Exact && !is_exact(&keys[n])) {
                // Its slot is one of the number 0 perhaps: as it was.
                odd_keys.extend((!none).then_some(n));
                if new {
                    vacant.push(n);
                }
                return;
            }
            let before = if new { staged.get(&keys[n]).copied() } else { Some(*bits) };
            match choose(n, before.and_then(|bits| Place::of_bits(translation.bits(bits)))) {
                Some(place) => *bits = place.to_bits(),
                None if new => vacant.push(n),
                None => {}
            }
        }));
        for n in vacant {
            match known {
                Keys::Exact(slots) if slots.get(&keys[n][0]) == Some(VACANT) => slots.remove(&keys[n][0]),
                Keys::Hashed(slots) if slots.get(&keys[n]) == Some(VACANT) => slots.remove(&keys[n]),
                _ => {}
            }
        }
        for n in odd_keys {
            let before = null_keys.get(&keys[n]).copied();
            if let Some(place) = choose(n, before) {
                null_keys.insert(keys[n], place);
            }
        }
    }

    /// Sets the places of keys, whatever they were: many at once on two threads.
    pub fn set_all(&mut self, keys: &[Fingerprint], place: impl Fn(usize) -> Place + Sync) {
        let plain = |key: &Fingerprint| *key != NO_KEY && !self.is_null_key(key);
        if keys.len() < TWO_THREADS || !keys.iter().all(plain) {
            return self.insert_all(keys, |n, _| Some(place(n)));
        }
        either!(&mut self.keys, slots => slots.set_all(keys, |n| place(n).to_bits()));
    }

    /// Forgets a key.
    pub fn remove(&mut self, key: &Fingerprint) {
        if self.is_null_key(key) {
            self.null_keys.remove(key);
            return;
        }
        let in_runs = !self.runs.is_empty();
        match &mut self.keys {
            Keys::Exact(slots) if in_runs => slots.insert(key[0], FORGOTTEN),
            Keys::Hashed(slots) if in_runs => slots.insert(*key, FORGOTTEN),
            Keys::Exact(slots) => slots.remove(&key[0]),
            Keys::Hashed(slots) => slots.remove(key),
        }
    }

    /// Makes room for the keys of so many rows, within the budget. Rows that were rewritten have keys that are there already.
    pub fn reserve(&mut self, rows: usize) {
        let room =
            self.limits.memory_now().saturating_sub(self.allocated_bytes() as u64) / self.width.bytes() as u64 / 2;
        let more = rows.saturating_sub(either!(&self.keys, slots => slots.len()));
        let additional = more.min(usize::try_from(room).unwrap_or(usize::MAX));
        either!(&mut self.keys, slots => slots.reserve(additional));
        self.note_memory();
    }

    /// Tells the other indexes what this one holds.
    pub(crate) fn note_memory(&self) {
        self.limits.share.note(self.allocated_bytes() as u64);
    }

    /// Keys known, those of deleted rows included. With files on disk a key may count twice.
    pub fn len(&self) -> usize {
        let runs: u64 = self.runs.iter().map(|run| run.len()).sum();
        either!(&self.keys, slots => slots.len()) + self.null_keys.len() + runs as usize
    }

    /// Whether no key is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory.
    pub fn allocated_bytes(&self) -> usize {
        either!(&self.keys, slots => slots.allocated_bytes())
            + self.runs.iter().map(|run| run.allocated_bytes()).sum::<usize>()
            + self.staged.allocation_size()
            + self.relocations.allocated_bytes()
    }

    /// Looks keys up in the files on disk, so that [`Self::get`] knows them; those of the time before are forgotten.
    pub async fn stage(&mut self, keys: impl Iterator<Item = Fingerprint>) -> Result<()> {
        // What was staged before may have been far more.
        self.staged = HashMap::new();
        if self.runs.is_empty() {
            return Ok(());
        }
        let mut wanted: Vec<(u64, Fingerprint)> = keys
            .filter(|key| !self.is_null_key(key) && self.keys.get(key).is_none())
            .map(|key| (index_hash(&key, self.width == Width::Exact), key))
            .collect();
        let runs = self.runs.clone();
        let found = spawn_blocking(move || -> Result<Vec<(Fingerprint, u64)>> {
            wanted.sort_unstable();
            wanted.dedup();
            let mut found = Vec::new();
            for run in runs.iter().rev() {
                let mut hits = Vec::new();
                run.get_all(&wanted, |n, place| {
                    found.push((wanted[n].1, place));
                    hits.push(n);
                })?;
                let mut hits = hits.into_iter().peekable();
                let mut n = 0;
                wanted.retain(|_| {
                    n += 1;
                    hits.next_if_eq(&(n - 1)).is_none()
                });
            }
            Ok(found)
        })
        .await??;
        self.staged.extend(found);
        Ok(())
    }

    /// Enters files whose rows went to others.
    pub(crate) fn relocate(&mut self, files: Vec<(FileId, Relocated)>) {
        self.relocations.add(files);
        let translation = self.relocations.translation();
        self.null_keys.values_mut().for_each(|place| *place = translation.place(*place));
    }

    /// Forgets where rows went of which none is in the table any more, by its live files.
    pub(crate) fn forget_dead(&mut self, is_live: impl Fn(FileId) -> bool) {
        self.relocations.forget_dead(is_live);
    }

    /// Whether the index may have places in a file whose rows went to others.
    pub(crate) fn is_relocated(&self, file: FileId) -> bool {
        self.relocations.has(file)
    }

    /// Writes some places anew that are those of before a rewrite.
    pub(crate) fn renew_some(&mut self) {
        let mut count = 0;
        while let Some(shard) = self.relocations.next_shard().filter(|_| count < RENEWED_KEYS) {
            let translation = self.relocations.translation();
            count += either!(&mut self.keys, slots => slots.update(shard, |place| translation.bits(place)));
            self.relocations.renewed(self.runs.is_empty());
        }
    }

    /// Keeps the index within its budget: forgets places that nobody needs, and moves the rest to disk where it is still too
    /// much. Gives the number of live rows that it found beyond the first one of a key. An index that the disk refuses stays
    /// in memory, and that is logged.
    pub async fn make_room(&mut self, survivors: impl FnOnce() -> Survivors) -> u64 {
        self.staged = HashMap::new();
        self.note_memory();
        let memory = self.limits.memory_now();
        // A quarter is for the runs' directories and for what is staged. Old places in memory are soon gone by themselves.
        let bytes = self.allocated_bytes() - self.relocations.allocated_bytes();
        let is_over = bytes as u64 > memory / 4 * 3;
        if self.disk_failed || !is_over && !self.has_old_runs() {
            return 0;
        }
        let survivors = survivors();
        if self.runs.is_empty() {
            let translation = self.relocations.translation();
            either!(&mut self.keys, slots => slots.retain(|key, place| survivors.keep(key, translation.bits(place))));
            if self.allocated_bytes() as u64 <= memory / 2 {
                self.note_memory();
                return 0;
            }
        }
        let for_others = is_over && memory < self.limits.memory;
        self.move_to_disk(survivors, for_others).await
    }

    /// Moves all to disk for the sake of other indexes, where it was asked to go. Gives what [`Self::make_room`] gives.
    pub async fn go(&mut self, survivors: impl FnOnce() -> Survivors) -> u64 {
        self.staged = HashMap::new();
        if !self.limits.share.is_to_go() {
            return self.make_room(survivors).await;
        }
        if self.disk_failed || either!(&self.keys, slots => slots.len()) == 0 {
            return 0;
        }
        self.move_to_disk(survivors(), true).await
    }

    async fn move_to_disk(&mut self, survivors: Survivors, for_others: bool) -> u64 {
        let duplicates = self.spill(survivors).await.unwrap_or_else(|error| {
            tracing::warn!(error = ?error.chain(), "the key index exceeds its memory, and the disk refuses it");
            self.disk_failed = true;
            0
        });
        if for_others && !self.disk_failed {
            self.yielded = Some(0);
        }
        self.note_memory();
        duplicates
    }

    /// Reads an index that went to disk for the sake of others back into memory, where there is room for it again. To be
    /// called after each merge. Gives what [`Self::make_room`] gives.
    pub async fn come_back(&mut self, survivors: impl FnOnce() -> Survivors) -> u64 {
        let Some(merges) = &mut self.yielded else { return 0 };
        *merges += 1;
        let merges = *merges;
        let on_disk: u64 = self.runs.iter().map(|run| run.len()).sum();
        // A table of keys that grew has half as many slots again.
        let bytes = (self.len() as u64).saturating_mul(self.width.bytes() as u64) / 2 * 3;
        if merges <= on_disk / KEYS_A_MERGE || self.limits.memory / 2 < bytes {
            return 0;
        }
        if self.limits.share.allowance(bytes) / 2 < bytes {
            return 0;
        }
        self.move_to_memory(survivors()).await.unwrap_or_else(|error| {
            tracing::warn!(error = ?error.chain(), "the key index stays on disk: it cannot be read back");
            self.yielded = None;
            0
        })
    }

    /// Joins all that is on disk and in memory, in memory.
    async fn move_to_memory(&mut self, survivors: Survivors) -> Result<u64> {
        self.saving = None;
        let keys = Arc::new(std::mem::replace(&mut self.keys, Keys::new(self.width)));
        let (width, parts, runs) = (self.width, keys.clone(), self.runs.clone());
        let translation = self.relocations.translation().clone();
        let read = spawn_blocking(move || {
            let (mut duplicates, mut joined) = (0, Keys::new(width));
            merge(
                sources(&parts, &runs, &translation),
                |newer, older| duplicates += u64::from(survivors.are_two_rows(newer, older)),
                |(_, key, place)| {
                    if survivors.keep(&key, place) {
                        joined.insert(&key, place);
                    }
                    Ok(())
                },
            )?;
            Ok::<_, Error>((joined, duplicates))
        })
        .await?;
        match read {
            Ok((joined, duplicates)) => {
                self.keys = joined;
                self.runs.clear();
                self.relocations = Relocations::default();
                self.yielded = None;
                self.note_memory();
                Ok(duplicates)
            }
            Err(error) => {
                self.take_back(keys)?;
                Err(error)
            }
        }
    }

    /// Ends the entering of many files: of several places of one key the newest one stays. Gives the number of live rows beyond
    /// the first one of a key.
    pub async fn settle(&mut self, survivors: Survivors) -> Result<u64> {
        self.staged = HashMap::new();
        match self.runs.is_empty() {
            true => Ok(0),
            false => self.join(survivors).await,
        }
    }

    /// Whether what is known of rewrites, for the places in runs, is too much to be kept.
    fn has_old_runs(&self) -> bool {
        let bytes = self.relocations.allocated_bytes() as u64;
        !self.runs.is_empty() && (self.relocations.len() >= MAX_REWRITES || bytes > self.limits.memory_now() / 8)
    }

    /// Moves what is in memory to disk, in a run of its own or with those that are there.
    async fn spill(&mut self, survivors: Survivors) -> Result<u64> {
        let newest =
            self.runs.iter().rev().take_while(|run| Some(run.len()) != self.largest()).map(|r| r.len()).sum::<u64>();
        if self.runs.len() >= MAX_RUNS || self.has_old_runs() || newest * 3 > self.largest().unwrap_or(u64::MAX) {
            return self.join(survivors).await;
        }
        self.saving = None;
        let keys = Arc::new(std::mem::replace(&mut self.keys, Keys::new(self.width)));
        let (width, path, parts) = (self.width, self.new_path(), keys.clone());
        let translation = self.relocations.translation().clone();
        let written = spawn_blocking(move || {
            let mut writer = RunWriter::create(path, width)?;
            for entry in sources(&parts, &[], &translation).into_iter().flatten() {
                writer.push(entry?)?;
            }
            let run = writer.finish(&[])?;
            run.unlink();
            Ok(run)
        })
        .await?;
        self.replace(keys, written.map(|run| (run, false)))?;
        Ok(0)
    }

    /// Joins all runs and what is in memory into one run, without the places that nobody needs.
    async fn join(&mut self, survivors: Survivors) -> Result<u64> {
        self.saving = None;
        let keys = Arc::new(std::mem::replace(&mut self.keys, Keys::new(self.width)));
        let (width, path, parts, runs) = (self.width, self.new_path(), keys.clone(), self.runs.clone());
        let translation = self.relocations.translation().clone();
        let written = spawn_blocking(move || {
            let mut duplicates = 0;
            let mut writer = RunWriter::create(path, width)?;
            merge(
                sources(&parts, &runs, &translation),
                |newer, older| duplicates += u64::from(survivors.are_two_rows(newer, older)),
                |(hash, key, place)| match survivors.keep(&key, place) {
                    true => writer.push((hash, key, place)),
                    false => Ok(()),
                },
            )?;
            let run = writer.finish(&[])?;
            run.unlink();
            Ok((run, duplicates))
        })
        .await?;
        let (run, duplicates) = match written {
            Ok((run, duplicates)) => (Ok((run, true)), duplicates),
            Err(error) => (Err(error), 0),
        };
        self.replace(keys, run)?;
        Ok(duplicates)
    }

    fn replace(&mut self, keys: Arc<Keys>, written: Result<(Run, bool)>) -> Result<()> {
        match written {
            Ok((run, all)) => {
                if all {
                    self.runs.clear();
                    self.relocations = Relocations::default();
                }
                self.runs.push(Arc::new(run));
                Ok(())
            }
            Err(error) => {
                self.take_back(keys)?;
                Err(error)
            }
        }
    }

    fn take_back(&mut self, keys: Arc<Keys>) -> Result<()> {
        self.keys = Arc::into_inner(keys).ok_or_else(|| Error::new(ErrorCode::Internal, "the key index is in use"))?;
        Ok(())
    }

    fn largest(&self) -> Option<u64> {
        self.runs.iter().map(|run| run.len()).max()
    }

    fn new_path(&self) -> PathBuf {
        self.limits.folder.join(format!("kafka2delta-{}.run", Uuid::new_v4()))
    }
}

/// All parts of an index, the newest first.
fn sources<'a>(
    keys: &'a Keys,
    runs: &'a [Arc<Run>],
    translation: &'a Translation,
) -> Vec<Box<dyn Iterator<Item = Result<Entry>> + 'a>> {
    let translated = |entry: Result<Entry>| entry.map(|(hash, key, place)| (hash, key, translation.bits(place)));
    let mut parts: Vec<Box<dyn Iterator<Item = Result<Entry>> + 'a>> = vec![Box::new(keys.sorted().map(translated))];
    for run in runs.iter().rev() {
        parts.push(Box::new(run.iter().map(translated)));
    }
    parts
}
