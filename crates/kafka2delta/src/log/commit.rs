//! One attempt to commit, and what can be known of how it ended.

use bytes::Bytes;
use deltalake::kernel::transaction::TransactionError;
use deltalake::logstore::{CommitOrBytes, LogStoreRef};
use serde_json::{Value, json};
use uuid::Uuid;

use super::actions::{Commit, CommitInfo};
use crate::error::{Error, ErrorCode, Result};
use crate::machine::now_millis;

/// What our commits say of themselves; others' commits are told by it.
pub const ENGINE_INFO: &str = concat!("kafka2delta/", env!("CARGO_PKG_VERSION"));
/// Parameter of our merges in the log: `merge-on-read`, or `copy-on-write` where rows move to new files.
pub const MERGE_MODE: &str = "mergeMode";

/// How an attempt ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The version is ours.
    Won,
    /// Another writer has that version.
    Lost,
}

/// Writes the commit's bytes as `version`. An error is looked into: the log tells whether the commit landed.
pub async fn attempt(log_store: &LogStoreRef, version: u64, bytes: Bytes, id: Uuid) -> Result<Attempt> {
    let Err(error) = log_store.write_commit_entry(version, CommitOrBytes::LogBytes(bytes), id).await else {
        return Ok(Attempt::Won);
    };
    // A conditional put that was tried twice finds its own first try.
    if let Some(bytes) = log_store.read_commit_entry(version).await? {
        let id = id.to_string();
        let ours = Commit::parse(&bytes)?.info_str("txnId") == Some(id.as_str());
        return Ok(if ours { Attempt::Won } else { Attempt::Lost });
    }
    Err(match error {
        TransactionError::ObjectStore { source } => source.into(),
        TransactionError::VersionAlreadyExists(_) => {
            Error::new(ErrorCode::Storage, format!("version {version} of the log exists and cannot be read"))
        }
        other => Error::with_source(ErrorCode::Storage, "the commit could not be written", other),
    })
}

/// The commit's note on itself. `txnId` is what it is found by.
pub fn commit_info(id: Uuid, metrics: &[(&str, u64)]) -> CommitInfo {
    let metrics: serde_json::Map<String, Value> =
        metrics.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.to_string()))).collect();
    let mut info = CommitInfo::new();
    info.insert("timestamp".into(), json!(now_millis()));
    info.insert("operation".into(), json!("MERGE"));
    info.insert("operationParameters".into(), json!({}));
    info.insert("isolationLevel".into(), json!("Serializable"));
    info.insert("isBlindAppend".into(), json!(false));
    info.insert("operationMetrics".into(), Value::Object(metrics));
    info.insert("engineInfo".into(), json!(ENGINE_INFO));
    info.insert("txnId".into(), json!(id.to_string()));
    info
}
