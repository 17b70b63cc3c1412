//! The files of a simulated store, with their virtual times, and what listings say of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::FutureExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt, PutMode, PutOptions, Result};
use parking_lot::Mutex;

use crate::history::put;
use crate::time::BEGIN;

/// The files, and what listings say of them.
#[derive(Debug)]
pub struct Files {
    /// The files themselves.
    pub inner: Arc<InMemory>,
    listed: Mutex<BTreeMap<Path, Listed>>,
}

/// In milliseconds since 1970.
#[derive(Debug, Clone)]
struct Listed {
    modified: i64,
    size: u64,
    from: i64,
    until: i64,
}

impl Files {
    pub(crate) fn new(inner: Arc<InMemory>) -> Self {
        Self { inner, listed: Mutex::default() }
    }

    /// What the store tells of a file.
    pub(crate) fn meta(&self, mut meta: ObjectMeta) -> ObjectMeta {
        let modified = self.listed.lock().get(&meta.location).map_or(BEGIN, |listed| listed.modified);
        meta.last_modified = time_of(modified);
        // It would count the files of all simulations.
        meta.e_tag = None;
        meta
    }

    /// Writes a file at once.
    pub(crate) fn put(&self, path: &Path, bytes: Bytes, mode: PutMode, now: i64, listed_after: Duration) -> Result<()> {
        let size = bytes.len() as u64;
        put(&self.inner, path, bytes, PutOptions::from(mode))?;
        let from = now + listed_after.as_millis() as i64;
        self.listed.lock().insert(path.clone(), Listed { modified: now, size, from, until: i64::MAX });
        Ok(())
    }

    /// Deletes a file at once. Listings show it for a while.
    pub(crate) fn delete(&self, path: &Path, now: i64, listed_for: Duration) -> Result<()> {
        self.inner.delete(path).now_or_never().unwrap()?;
        if let Some(file) = self.listed.lock().get_mut(path) {
            file.until = now + listed_for.as_millis() as i64;
        }
        Ok(())
    }

    /// What a listing shows now, by name.
    pub fn list(&self, prefix: Option<&Path>, now: i64) -> Vec<ObjectMeta> {
        let is_within = |path: &Path| prefix.is_none_or(|prefix| path.prefix_match(prefix).is_some());
        let listed = self.listed.lock();
        let shown = listed.iter().filter(|(path, file)| is_within(path) && file.from <= now && now < file.until);
        let meta = |(path, file): (&Path, &Listed)| ObjectMeta {
            location: path.clone(),
            last_modified: time_of(file.modified),
            size: file.size,
            e_tag: None,
            version: None,
        };
        shown.map(meta).collect()
    }
}

fn time_of(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap()
}
