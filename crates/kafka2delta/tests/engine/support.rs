//! What the tests of the engine share: merging, reading back, and running random sequences.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::{BTreeMap, HashMap};

use kafka2delta::scan::{AsOf, ScanOptions};
use kafka2delta::{KeyedTable, MergeResult, Offset, Result};
use rand::Rng;
use tokio_util::sync::CancellationToken;

pub use crate::changes::*;
use crate::delta_rs;

/// Merges changes as app `app`, from the offset that the table stores.
pub async fn merge(table: &mut KeyedTable, app: &str, changes: &[Change], with_extra: bool) -> Result<MergeResult> {
    let stored = table.info().offsets.into_iter().find(|(a, _)| a == app).map(|(_, v)| v);
    let last = stored.unwrap_or(-1) + changes.len() as i64;
    let offset = Offset { may_fall: false, app_id: app.to_owned(), expected: stored, last };
    let soft = table.soft_deletes();
    table.merge(Some(ipc(changes, &[], with_extra, soft)), &primary_key(), &[offset], &CancellationToken::new()).await
}

/// The table's rows, read by delta-rs; a key that is there twice is a failure.
pub async fn rows(uri: &str) -> BTreeMap<Key, Row> {
    let mut rows = BTreeMap::new();
    for batch in delta_rs::query(uri, None, "SELECT * FROM t").await {
        for (key, row) in rows_of(&batch) {
            assert!(rows.insert(key, row).is_none(), "{key:?} is there twice");
        }
    }
    rows
}
/// A number from the environment.
pub fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A scan of all rows and columns as they are now.
pub fn all_rows(uri: &str) -> ScanOptions {
    ScanOptions {
        uri: uri.to_owned(),
        storage_options: HashMap::new(),
        columns: None,
        condition: None,
        as_of: AsOf::Newest,
    }
}

/// Runs random sequences, four at a time: `SEED` alone, or `SEQUENCES` of them (default: `sequences`) from a random one on.
pub async fn run_seeds<F>(sequences: u64, run: fn(u64) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    if let Some(seed) = env("SEED") {
        return run(seed).await;
    }
    let first = rand::rng().random_range(0..1_000_000_000u64);
    let count = env("SEQUENCES").unwrap_or(sequences);
    println!("seeds {first} to {}", first + count - 1);
    let mut lanes = tokio::task::JoinSet::new();
    for lane in 0..4 {
        lanes.spawn(async move {
            for seed in (first + lane..first + count).step_by(4) {
                run(seed).await;
            }
        });
    }
    while let Some(lane) = lanes.join_next().await {
        lane.unwrap();
    }
    println!("{count} sequences");
}
