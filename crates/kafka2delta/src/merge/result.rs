//! What a merge is given and gives back beside its rows.

use std::time::Instant;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorCode, Result};

/// Attempts to commit before giving up.
pub(super) const MAX_ATTEMPTS: usize = 30;

/// A Kafka partition's progress, committed with its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offset {
    /// `<queryName>:<topic>:<partition>`, or with `*` for the partition: all of the topic that are not named beside it. These
    /// are only looked at, not written.
    pub app_id: String,
    /// What must be stored now; none for nothing.
    pub expected: Option<i64>,
    /// The last offset scanned.
    pub last: i64,
    /// Whether `last` may be below what is stored: the topic was made anew, or it is no offset but a time.
    pub may_fall: bool,
}

impl Offset {
    /// What the app ids of its topic begin with, where it stands for all partitions that are not named.
    pub(super) fn of_others(&self) -> Option<&str> {
        self.app_id.strip_suffix('*').filter(|topic| topic.ends_with(':'))
    }
}

/// Milliseconds of each step.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timings {
    /// Parsing and keeping the last change per key.
    pub collapse: f64,
    /// Finding rows in the index, and building it the first time.
    pub locate: f64,
    /// Left-out values and additional columns.
    pub fetch: f64,
    /// Data files and deletion vectors.
    pub write: f64,
    /// The log.
    pub commit: f64,
    /// All of it.
    pub total: f64,
}

/// What a merge did.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MergeResult {
    /// The commit's version.
    pub version: u64,
    /// Rows written.
    #[serde(rename = "numRowsUpserted")]
    pub upserted: u64,
    /// Of them, with keys that the table did not have.
    #[serde(rename = "numRowsInserted")]
    pub inserted: u64,
    /// Of them, with keys that it had.
    #[serde(rename = "numRowsUpdated")]
    pub updated: u64,
    /// Rows deleted.
    #[serde(rename = "numRowsDeleted")]
    pub deleted: u64,
    /// Changes dropped since a newer one, of another partition, is known, and of histories those that they hold already.
    #[serde(rename = "numDroppedStale")]
    pub dropped_stale: u64,
    /// Left-out values that were nowhere to be found.
    #[serde(rename = "numMissingValues")]
    pub missing_values: u64,
    /// Files written.
    #[serde(rename = "numFilesAdded")]
    pub files_added: u64,
    /// Files that left the table.
    #[serde(rename = "numFilesRemoved")]
    pub files_removed: u64,
    /// Files of which rows were taken.
    #[serde(rename = "numFilesTouched")]
    pub files_touched: u64,
    /// Bytes of files and vectors.
    pub bytes_written: u64,
    /// What the key index holds in memory after the commit.
    pub index_bytes: u64,
    /// The most bytes that the batch held at a time, on its way from the stream to the files, these included.
    pub peak_bytes: u64,
    /// Columns, and nested fields by their paths, that are new.
    pub added_columns: Vec<String>,
    /// Those whose type grew: the table was rewritten.
    pub widened_columns: Vec<String>,
    /// What the user should know, each said once as long as the table is open.
    pub notes: Vec<String>,
    /// See [`Timings`].
    pub timings: Timings,
}

pub(super) fn millis(since: &mut Instant) -> f64 {
    let now = Instant::now();
    let elapsed = now.duration_since(*since).as_secs_f64() * 1e3;
    *since = now;
    elapsed
}

pub(super) fn check_cancelled(cancel: &CancellationToken) -> Result<()> {
    match cancel.is_cancelled() {
        true => Err(Error::new(ErrorCode::Cancelled, "the merge was cancelled before it was committed")),
        false => Ok(()),
    }
}
