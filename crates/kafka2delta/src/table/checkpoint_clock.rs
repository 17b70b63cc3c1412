//! When the next checkpoint is due: none holds up a merge, and all of them together take a bounded share of the time.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use crate::machine::{elapsed, moment};

/// A checkpoint waits until so many times the last one's duration has gone by: at most a 20th of the time is theirs.
const PAUSE: u32 = 20;

/// A checkpoint waits until the log since the last one has this part of its bytes: what is written again and again stays
/// in proportion to what is new.
const LOG_FRACTION: u64 = 4;

/// Intervals after which it no longer waits for that: readers pay for each commit that no checkpoint holds.
const MAX_INTERVALS: u64 = 10;

/// A checkpoint that was written, or was there already.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
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
    pub(crate) fn commit(&self, version: u64, log_bytes: u64, interval: u64) -> bool {
        let mut clock = self.inner.lock();
        clock.log_bytes += log_bytes;
        let commits = version.saturating_sub(clock.version.unwrap_or(0));
        let rested = clock.ended.is_none_or(|(ended, took)| elapsed(ended) >= took * PAUSE);
        let grown = clock.log_bytes >= clock.bytes / LOG_FRACTION || commits >= interval.saturating_mul(MAX_INTERVALS);
        let due = !clock.running && commits >= interval && rested && grown;
        clock.running |= due;
        due
    }

    pub(crate) fn ended(&self, began: Instant, result: Option<&CheckpointResult>) {
        let mut clock = self.inner.lock();
        clock.running = false;
        clock.ended = Some((moment(), elapsed(began)));
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
