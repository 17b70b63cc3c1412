//! Whether the log still is the one that our state stands for. A table that was dropped and made anew while we kept
//! its state would otherwise get our next commit, with a gap before it or on top of other rows.

use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};

/// Bytes of an entry that tell it from others: the commit info comes first, with its time and mostly an id.
const BYTES: usize = 1024;

/// What tells a version's entry from another one.
pub fn of(entry: &[u8]) -> u64 {
    xxh3_64(&entry[..entry.len().min(BYTES)])
}

/// Whether the log still has this entry: one small read.
pub async fn holds(store: Arc<dyn ObjectStore>, version: u64, anchor: u64) -> Result<bool> {
    let path = Path::from(format!("_delta_log/{version:020}.json"));
    match store.get_range(&path, 0..BYTES as u64).await {
        Ok(bytes) => Ok(of(&bytes) == anchor),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(Error::from(error).in_file(&path)),
    }
}
