//! Saving a key index beside the merges: its memory is copied in small steps, and a thread writes what was copied.
//!
//! So the file holds keys of different versions. It stands for the one at which the saving began: on the way from there to a
//! newer one all files are read that came since, whatever of them it knows already.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::run::{Entry, Run, RunWriter, Width, merge};
use super::slots::SHARDS;
use crate::error::{Error, ErrorCode, Result};
use crate::log::files::Place;
use crate::machine::{settle, spawn_thread};

/// Keys that are copied in one step, or one part of the index where that has more.
const STEP_KEYS: usize = 32 * 1024;
/// Steps that wait to be written.
const WAITING: usize = 4;

/// Age from which on an unfinished file is nobody's.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3600);

enum Part {
    /// Keys in no order, but all after those of the parts before.
    Entries(Vec<Vec<Entry>>),
    /// All were given, and the file ends with this note. What is not ended so is thrown away.
    End(Note),
}

/// Makes the note's bytes, on the thread that writes.
type Note = Box<dyn FnOnce() -> Result<Vec<u8>> + Send>;

/// A saving that is under way. Dropped, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Saving {
    parts: Sender<Part>,
    next_shard: usize,
    /// Whether the end was told.
    is_ended: bool,
    task: JoinHandle<()>,
}

impl Saving {
    /// Begins to write an index as a file, in place of the one before. `renewed` gives the places for those in the runs.
    pub(super) fn begin(
        path: PathBuf,
        width: Width,
        runs: Vec<Arc<Run>>,
        renewed: impl Fn(u64) -> u64 + Send + 'static,
    ) -> Self {
        let (parts, received) = channel(WAITING);
        let task = spawn_thread(move || match write(path, width, &runs, renewed, received) {
            Err(error) if error.code != ErrorCode::Cancelled => {
                tracing::warn!(error = ?error.chain(), "the key index could not be saved");
            }
            _ => {}
        });
        Self { parts, next_shard: 0, is_ended: false, task }
    }

    /// Takes some more keys, of which `copied` gives a part by its number. What was taken may still wait to be written: then
    /// the next call will do. Says whether all were taken, and the end is to be told.
    pub(super) fn step(&mut self, copied: impl Fn(usize) -> Vec<Entry>) -> bool {
        if self.next_shard < SHARDS
            && let Ok(permit) = self.parts.try_reserve()
        {
            let (mut shards, mut count) = (Vec::new(), 0);
            while self.next_shard < SHARDS && count < STEP_KEYS {
                let shard = copied(self.next_shard);
                self.next_shard += 1;
                count += shard.len();
                shards.push(shard);
            }
            permit.send(Part::Entries(shards));
        }
        self.next_shard == SHARDS && !self.is_ended
    }

    /// Ends the file. None is taken where what was copied still waits: the next call will do.
    pub(super) fn end(&mut self, note: impl FnOnce() -> Note) -> bool {
        let Ok(permit) = self.parts.try_reserve() else { return false };
        permit.send(Part::End(note()));
        self.is_ended = true;
        settle(&self.task);
        true
    }

    /// Whether the end was told.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Whether the file is written, or could not be.
    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Gives the file up, or waits for it where its end was told.
    pub(super) async fn stop(self) {
        drop(self.parts);
        settle(&self.task);
        let _ = self.task.await;
    }
}

fn write(
    path: PathBuf,
    width: Width,
    runs: &[Arc<Run>],
    renewed: impl Fn(u64) -> u64,
    mut received: Receiver<Part>,
) -> Result<()> {
    remove_leftovers(&path);
    let mut writer = RunWriter::create(path.with_extension(format!("{}.tmp", Uuid::new_v4())), width)?;
    let (mut end, given_up) = (None, Cell::new(false));
    let copied = std::iter::from_fn(|| match received.blocking_recv() {
        Some(Part::Entries(shards)) => Some(shards),
        Some(Part::End(note)) => {
            end = Some(note);
            None
        }
        None => {
            given_up.set(true);
            None
        }
    });
    let sorted = copied.fuse().flatten().flat_map(|mut entries| {
        entries.sort_unstable();
        entries.into_iter().map(Ok)
    });
    let mut sources: Vec<Box<dyn Iterator<Item = Result<Entry>> + '_>> = vec![Box::new(sorted)];
    for run in runs.iter().rev() {
        sources.push(Box::new(run.iter().map(|entry| entry.map(|(hash, key, place)| (hash, key, renewed(place))))));
    }
    merge(
        sources,
        |_, _| (),
        |entry| match Place::of_bits(entry.2) {
            _ if given_up.get() => Err(Error::new(ErrorCode::Cancelled, "the saving was given up")),
            Some(_) => writer.push(entry),
            None => Ok(()),
        },
    )?;
    match end {
        Some(note) => writer.finish(&note()?)?.rename(&path),
        None => Ok(()),
    }
}

/// Removes what processes that were killed left of the same file: others may be saving it now.
fn remove_leftovers(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_stem().and_then(|name| name.to_str())) else { return };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let is_ours = file.to_str().is_some_and(|file| file.starts_with(name) && file.ends_with(".tmp"));
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        if is_ours && age.is_some_and(|age| age > LEFTOVER_AGE) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
