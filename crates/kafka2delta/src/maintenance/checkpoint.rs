//! Checkpoints beside the merges: none waits for one, and all of them together take a bounded share of the time.
//!
//! The kernel writes them: a classic single file, which holds V2 content where the table has the feature `v2Checkpoint`.

use std::time::{Duration, Instant};

use delta_kernel::Snapshot;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parking_lot::Mutex;

use super::task::{Maintenance, properties};
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::Commit;
use crate::log::state::TableState;
use crate::log::{features, listing};
use crate::table::KeyedTable;

/// Commits between checkpoints where the table's property does not say.
const DEFAULT_INTERVAL: u64 = 100;
/// A checkpoint waits until so many times the last one's duration has gone by: at most a 20th of the time is theirs.
const PAUSE: u32 = 20;
/// A checkpoint waits until the log since the last one has this part of its bytes: what is written again and again stays
/// in proportion to what is new.
const LOG_FRACTION: u64 = 4;
/// Intervals after which it no longer waits for that: readers pay for each commit that no checkpoint holds.
const MAX_INTERVALS: u64 = 10;
/// How often checkpoints that come by themselves clean the log up: all its files are listed for it.
const CLEAN_UP_PAUSE: Duration = Duration::from_secs(3600);
/// Bytes of an action in the log beyond its statistics.
const ACTION_BYTES: u64 = 600;

/// A checkpoint that was written, or was there already.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CheckpointResult {
    /// Version that it holds.
    pub version: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Log files removed since their retention is over.
    pub log_files_removed: u64,
    /// Milliseconds.
    pub duration: f64,
}

/// When the next checkpoint is due.
#[derive(Debug, Default)]
pub struct CheckpointClock {
    inner: Mutex<Clock>,
}

#[derive(Debug, Default)]
struct Clock {
    running: bool,
    /// Version of the newest checkpoint that we know.
    version: Option<u64>,
    bytes: u64,
    log_bytes: u64,
    ended: Option<(Instant, Duration)>,
}

impl CheckpointClock {
    /// Counts a commit, and tells whether a checkpoint is to begin: then it counts as under way until it has
    /// [`ended`](Self::ended).
    fn commit(&self, version: u64, log_bytes: u64, interval: u64) -> bool {
        let mut clock = self.inner.lock();
        clock.log_bytes += log_bytes;
        let commits = version.saturating_sub(clock.version.unwrap_or(0));
        let rested = clock.ended.is_none_or(|(ended, took)| ended.elapsed() >= took * PAUSE);
        let grown = clock.log_bytes >= clock.bytes / LOG_FRACTION || commits >= interval.saturating_mul(MAX_INTERVALS);
        let due = !clock.running && commits >= interval && rested && grown;
        clock.running |= due;
        due
    }

    fn ended(&self, began: Instant, result: Option<&CheckpointResult>) {
        let mut clock = self.inner.lock();
        clock.running = false;
        clock.ended = Some((Instant::now(), began.elapsed()));
        if let Some(result) = result {
            (clock.version, clock.bytes, clock.log_bytes) = (Some(result.version), result.bytes, 0);
        }
    }

    /// A checkpoint that the log has.
    pub(crate) fn found(&self, version: Option<u64>) {
        let mut clock = self.inner.lock();
        clock.version = clock.version.max(version);
    }
}

impl KeyedTable {
    /// Begins a checkpoint of the newest version where one is due: not before `delta.checkpointInterval` commits, nor
    /// while another one is under way. One that fails is tried again later: the table is whole without it.
    pub(crate) fn checkpoint_if_due(&self, version: u64, commit: &Commit) {
        let Some(state) = &self.state else { return };
        let interval = properties(state).checkpoint_interval.map_or(DEFAULT_INTERVAL, std::num::NonZero::get);
        let stats = commit.adds.iter().map(|add| add.stats.as_ref().map_or(0, String::len) as u64).sum::<u64>();
        let log_bytes = stats + ACTION_BYTES * (commit.adds.len() + commit.removes.len() + 1) as u64;
        if !self.checkpoints.commit(version, log_bytes, interval) {
            return;
        }
        let (maintenance, clock) = (self.maintenance(), self.checkpoints.clone());
        tokio::spawn(async move {
            let began = Instant::now();
            let written = maintenance.write_checkpoint(Some(interval)).await;
            clock.ended(began, written.as_ref().ok());
            if let Err(error) = written {
                tracing::warn!(error = ?error.chain(), "a checkpoint could not be written");
            }
        });
    }
}

impl Maintenance {
    /// Writes a checkpoint of the newest version, unless there is one, and cleans the log up by the table's properties.
    ///
    /// # Errors
    /// `STORAGE_DENIED` where there is no table. A checkpoint that was written stays where the clean-up fails.
    pub async fn checkpoint(&self) -> Result<CheckpointResult> {
        self.write_checkpoint(None).await
    }

    /// `interval`: one that another process wrote within half so many commits is as good.
    async fn write_checkpoint(&self, interval: Option<u64>) -> Result<CheckpointResult> {
        let mut cleaned = self.cleaned.lock().await;
        let began = Instant::now();
        let engine = self.log_store.engine(None);
        let root = crate::table::root_url(&self.log_store);
        if !self.log_store.is_delta_table_location().await? {
            return Err(Error::new(ErrorCode::StorageDenied, format!("there is no Delta table at '{}'", self.uri())));
        }
        // Reading and writing of the kernel blocks.
        let (version, state) = tokio::task::spawn_blocking(move || -> Result<(u64, TableState)> {
            let snapshot = Snapshot::builder_for(root).build(engine.as_ref())?;
            let state = TableState::of(&snapshot)?;
            features::check_known(&state.protocol)?;
            let newest = snapshot.version();
            let found = snapshot.log_segment().checkpoint_version;
            if let (Some(found), Some(interval)) = (found, interval)
                && newest - found < interval.div_ceil(2)
            {
                return Ok((found, state));
            }
            snapshot.checkpoint(engine.as_ref(), None)?;
            Ok((newest, state))
        })
        .await??;
        let path: Path = listing::folder().join(format!("{version:020}.checkpoint.parquet"));
        // Others' checkpoints may have other names.
        let bytes = self.store.head(&path).await.map_or(0, |meta| meta.size);
        let mut log_files_removed = 0;
        if interval.is_none() || cleaned.is_none_or(|at| at.elapsed() >= CLEAN_UP_PAUSE) {
            log_files_removed = self.clean_log(&state).await?;
            *cleaned = Some(Instant::now());
        }
        let duration = began.elapsed().as_secs_f64() * 1e3;
        Ok(CheckpointResult { version, bytes, log_files_removed, duration })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_take_a_bounded_share() {
        let clock = CheckpointClock::default();
        assert!(!clock.commit(9, 1000, 10));
        assert!(clock.commit(10, 1000, 10));
        assert!(!clock.commit(11, 1000, 1), "one at a time");
        let result = CheckpointResult { version: 11, bytes: 40_000, ..CheckpointResult::default() };
        let ended_long_ago = |took| clock.inner.lock().ended = Some((Instant::now() - Duration::from_secs(30), took));
        clock.ended(Instant::now(), Some(&result));
        ended_long_ago(Duration::ZERO);
        assert!(!clock.commit(22, 1000, 10), "the log has hardly grown");
        assert!(clock.commit(23, 9000, 10));
        clock.ended(Instant::now() - Duration::from_secs(1), Some(&result));
        assert!(!clock.commit(50, 1_000_000, 10), "the last one took long");
        ended_long_ago(Duration::from_secs(1));
        assert!(clock.commit(51, 0, 10));
        clock.ended(Instant::now(), Some(&result));
        ended_long_ago(Duration::ZERO);
        assert!(clock.commit(111, 0, 10), "readers do not wait for ever");
    }
}
