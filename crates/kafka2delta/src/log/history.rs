//! What was done to a table: the notes of its commits.

use std::collections::HashMap;

use deltalake::logstore::LogStoreRef;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};

use super::actions::{CommitInfo, Line};
use super::listing::newest_version;
use super::store::open_log_store_at;
use crate::error::{Error, ErrorCode, Result};

/// Commits read at the same time.
const PARALLEL_READS: usize = 16;

/// The newest `limit` commits that the log still has, newest first: each the JSON of its `commitInfo` with a field
/// `version`. A commit whose writer left no note has the version alone.
///
/// # Errors
/// `STORAGE_DENIED` where there is no table.
pub async fn history(uri: &str, storage_options: HashMap<String, String>, limit: usize) -> Result<Vec<String>> {
    let log_store = open_log_store_at(uri, &storage_options)?;
    let Some(newest) = newest_version(&log_store).await? else {
        return Err(Error::new(ErrorCode::StorageDenied, format!("there is no Delta table at '{uri}'")));
    };
    let count = u64::try_from(limit).unwrap_or(u64::MAX).min(newest.saturating_add(1));
    let mut entries = Vec::new();
    // In portions: the log may begin at any version.
    let mut next = Some(newest);
    let mut left = count;
    while let (Some(from), true) = (next, left > 0) {
        let portion = left.min(PARALLEL_READS as u64 * 4).min(from + 1);
        let versions: Vec<u64> = (0..portion).map(|i| from - i).collect();
        let reads: Vec<BoxFuture<'static, Result<Option<String>>>> =
            versions.into_iter().map(|version| note(log_store.clone(), version).boxed()).collect();
        let mut notes = futures::stream::iter(reads).buffered(PARALLEL_READS);
        while let Some(note) = notes.next().await {
            match note? {
                Some(note) => entries.push(note),
                None => return Ok(entries),
            }
        }
        left -= portion;
        next = from.checked_sub(portion);
    }
    Ok(entries)
}

/// The note of one commit; none where the log does not have it any more.
async fn note(log_store: LogStoreRef, version: u64) -> Result<Option<String>> {
    let Some(bytes) = log_store.read_commit_entry(version).await? else { return Ok(None) };
    // Most lines are files: only the note is parsed.
    let is_note = |line: &&[u8]| {
        line.trim_ascii_start().strip_prefix(b"{").is_some_and(|l| l.trim_ascii_start().starts_with(b"\"commitInfo\""))
    };
    let info = match bytes.split(|b| *b == b'\n').find(is_note) {
        Some(line) => serde_json::from_slice::<Line>(line)?.commit_info,
        None => None,
    };
    let mut info: CommitInfo = info.unwrap_or_default();
    info.insert("version".into(), version.into());
    Ok(Some(serde_json::Value::Object(info).to_string()))
}
