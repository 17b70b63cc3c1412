//! Clean-up of the log: files of versions that nobody can ask for any more.

use std::collections::BTreeMap;
use std::time::Duration;

use object_store::path::Path;

use super::task::{Maintenance, properties};
use crate::error::Result;
use crate::log::listing;
use crate::log::listing::{LogFile, LogFileKind};
use crate::log::state::TableState;
use crate::machine::now_millis;

/// What the protocol has where the table's property does not say: 30 days.
const DEFAULT_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

impl Maintenance {
    /// Removes log files by `delta.logRetentionDuration`, unless `delta.enableExpiredLogCleanup` is false, and gives
    /// their number.
    ///
    /// Each version from which on the retention counts stays readable: the newest checkpoint at or below it stays with
    /// all that follows. Sidecars of other writers' V2 checkpoints are left to them.
    pub(super) async fn clean_log(&self, state: &TableState) -> Result<u64> {
        let properties = properties(state);
        if properties.enable_expired_log_cleanup == Some(false) {
            return Ok(0);
        }
        let retention = properties.log_retention_duration.unwrap_or(DEFAULT_RETENTION);
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let expired = expired(&listing::list(self.storage.files()).await?, now_millis().saturating_sub(retention));
        let removed = expired.len() as u64;
        // The oldest first: what is left after a crash is a log without its beginning, not one with a hole.
        self.delete(expired).await?;
        Ok(removed)
    }
}

/// Log files, by version, that are not needed for the table as it was at `cutoff` (milliseconds since 1970) or later.
fn expired(files: &[LogFile], cutoff: i64) -> Vec<Path> {
    let written = |file: &LogFile| file.meta.last_modified.timestamp_millis();
    // The version that was the newest one at the cutoff can still be asked for by its time.
    let mut first = None;
    for file in files.iter().filter(|file| file.kind == LogFileKind::Commit) {
        if written(file) > cutoff {
            break;
        }
        first = Some(file.version);
    }
    let Some(first) = first else { return Vec::new() };
    let mut parts: BTreeMap<(u64, u32), u32> = BTreeMap::new();
    for file in files {
        if let LogFileKind::Checkpoint { parts: of } = file.kind {
            *parts.entry((file.version, of)).or_default() += 1;
        }
    }
    let complete = parts.into_iter().filter(|((_, of), found)| found >= of).map(|((version, _), _)| version);
    let Some(base) = complete.filter(|version| *version <= first).max() else { return Vec::new() };
    let is_expired = |file: &&LogFile| file.version < base && written(file) <= cutoff;
    // Files follow each other by version: one that is younger keeps all that come after it.
    let commits = files.iter().filter(|file| file.kind == LogFileKind::Commit).take_while(is_expired);
    let others = files.iter().filter(|file| file.kind != LogFileKind::Commit).filter(is_expired);
    let mut expired: Vec<&LogFile> = commits.chain(others).collect();
    expired.sort_by_key(|file| file.version);
    expired.into_iter().map(|file| file.meta.location.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectMeta;

    fn file(version: u64, kind: LogFileKind, at: i64) -> LogFile {
        let name = if kind == LogFileKind::Commit { "json" } else { "checkpoint.parquet" };
        let meta = ObjectMeta {
            location: Path::from(format!("{version}.{name}")),
            last_modified: chrono::DateTime::from_timestamp_millis(at).unwrap(),
            size: 1,
            e_tag: None,
            version: None,
        };
        LogFile { version, kind, meta }
    }

    #[test]
    fn the_checkpoint_below_the_retention_stays() {
        let one = LogFileKind::Checkpoint { parts: 1 };
        let mut files: Vec<LogFile> = (0..20).map(|v| file(v, LogFileKind::Commit, v as i64 * 10)).collect();
        files.extend([file(4, one, 45), file(8, one, 85), file(12, one, 125)]);
        files.sort_by_key(|file| file.version);
        let names = |cutoff| expired(&files, cutoff).iter().map(Path::to_string).collect::<Vec<_>>();
        // At the time 95 version 9 was the newest: it needs checkpoint 8.
        let expected =
            ["0.json", "1.json", "2.json", "3.json", "4.json", "4.checkpoint.parquet", "5.json", "6.json", "7.json"];
        assert_eq!(names(95), expected);
        assert_eq!(names(80), expected);
        assert_eq!(names(79).len(), 4);
        assert!(names(39).is_empty() && names(-1).is_empty());
        // A checkpoint in parts counts when all are there.
        let part = LogFileKind::Checkpoint { parts: 2 };
        let mut files: Vec<LogFile> = (0..6).map(|v| file(v, LogFileKind::Commit, 0)).collect();
        files.push(file(3, part, 0));
        assert!(expired(&files, 100).is_empty());
        files.push(file(3, part, 0));
        assert_eq!(expired(&files, 100).len(), 3);
    }
}
