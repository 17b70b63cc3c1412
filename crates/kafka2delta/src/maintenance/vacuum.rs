//! Vacuum: removes files that no reader within the retention needs.
//!
//! A file goes when no live file of the table names it, every tombstone that names it is older than the retention, and it
//! was itself written before: so files of commits under way stay, and files whose tombstones the log has already dropped
//! go. A deletion vector is named by the files that it belongs to, live or removed, and goes by the same rule: what
//! counts is when it was replaced and not when it was written.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use hashbrown::HashSet;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::task::{Maintenance, properties};
use crate::datafile::paths::path_in_store;
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::{Add, Commit, DeletionVectorDescriptor, Remove};
use crate::log::listing::LogFileKind;
use crate::log::state::TableState;
use crate::log::{deletion_vectors, features, listing};
use crate::machine::now_millis;

/// What the protocol has where the table's property does not say: 7 days.
const DEFAULT_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// Paths of removed files that the result names.
const NAMED_FILES: usize = 1000;
/// Folder of the change data feed.
const CHANGE_DATA: &str = "_change_data";

/// What is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VacuumOptions {
    /// How long files are kept after they left the table; none for the table's `delta.deletedFileRetentionDuration`. A
    /// shorter one than the property's takes files from readers that count on it, and one shorter than a commit takes to
    /// be written may take files of commits under way: nothing else may work on the table then.
    #[serde(default, deserialize_with = "from_millis")]
    pub retention: Option<Duration>,
    /// Nothing is removed; the result says what would be.
    pub dry_run: bool,
}

fn from_millis<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Duration>, D::Error> {
    let millis = f64::deserialize(deserializer)?;
    let time = Duration::try_from_secs_f64(millis / 1e3);
    time.map(Some).map_err(|_| D::Error::custom(format!("is {millis}, and must be a number of milliseconds")))
}

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VacuumResult {
    /// Paths relative to the table; the first 1,000.
    pub files: Vec<String>,
    /// Number of files.
    pub num_files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Maintenance {
    /// Removes files that no reader within the retention needs.
    ///
    /// # Errors
    /// `TABLE_UNSUPPORTED` for a table with features that we do not know, or with files outside its folder;
    /// `STORAGE_DENIED` where there is no table. After an error some files may have been removed, none that is needed.
    pub async fn vacuum(&self, options: &VacuumOptions) -> Result<VacuumResult> {
        let now = now_millis();
        // First: what is written from here on is not seen, and what was written before is committed or young.
        let mut files = Vec::new();
        let mut listed = self.storage.files().list(None);
        while let Some(file) = listed.try_next().await? {
            if !is_hidden(&file.location) {
                files.push(file);
            }
        }
        drop(listed);
        let chosen = *options;
        let loaded = TableState::load_with(self.storage.log(), Kept::default(), move |state, kept, remove| {
            let expired = remove.deletion_timestamp.unwrap_or(0) <= cutoff_of(now, &chosen, state);
            if expired { Ok(()) } else { kept.keep_remove(remove) }
        })
        .await?;
        let Some((state, mut kept)) = loaded else {
            return Err(Error::new(
                ErrorCode::StorageDenied,
                format!("there is no Delta table at '{}'", self.storage.uri()),
            ));
        };
        let cutoff = cutoff_of(now, options, &state);
        features::check_known(&state.protocol)?;
        for (_, file) in state.live_files() {
            kept.keep_add(&file.add)?;
        }
        if now - cutoff > millis(retention_of(&state)) {
            self.keep_older_tombstones(cutoff, &mut kept).await?;
        }
        let is_due =
            |file: &ObjectMeta| file.last_modified.timestamp_millis() <= cutoff && !kept.paths.contains(&file.location);
        files.retain(is_due);
        files.sort_by(|a, b| a.location.cmp(&b.location));
        let result = VacuumResult {
            files: files.iter().take(NAMED_FILES).map(|file| file.location.to_string()).collect(),
            num_files: files.len() as u64,
            bytes: files.iter().map(|file| file.size).sum(),
        };
        if !options.dry_run {
            self.delete(files.into_iter().map(|file| file.location).collect()).await?;
        }
        Ok(result)
    }

    /// Checkpoints drop tombstones by the table's own retention: for a longer one the commits are asked as well.
    async fn keep_older_tombstones(&self, cutoff: i64, kept: &mut Kept) -> Result<()> {
        let commits = listing::list(self.storage.files())
            .await?
            .into_iter()
            .filter(|file| file.kind == LogFileKind::Commit && file.meta.last_modified.timestamp_millis() > cutoff);
        for file in commits.collect::<Vec<_>>() {
            let Some(bytes) = self.storage.log().read_commit_entry(file.version).await? else { continue };
            for remove in Commit::parse(&bytes)?.removes {
                if remove.deletion_timestamp.unwrap_or(0) > cutoff {
                    kept.keep_remove(&remove)?;
                }
            }
        }
        Ok(())
    }

    /// Deletes files, many at once. One that is gone already is no error.
    pub(super) async fn delete(&self, paths: Vec<Path>) -> Result<()> {
        let paths = futures::stream::iter(paths.into_iter().map(Ok)).boxed();
        let mut deleted = self.storage.files().delete_stream(paths);
        while let Some(path) = deleted.next().await {
            match path {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn retention_of(state: &TableState) -> Duration {
    properties(state).deleted_file_retention_duration.unwrap_or(DEFAULT_RETENTION)
}

/// What left the table up to this time goes, in milliseconds since 1970.
fn cutoff_of(now: i64, options: &VacuumOptions, state: &TableState) -> i64 {
    now.saturating_sub(millis(options.retention.unwrap_or_else(|| retention_of(state))))
}

/// Files that stay.
#[derive(Default)]
struct Kept {
    paths: HashSet<Path>,
}

impl Kept {
    fn keep_add(&mut self, add: &Add) -> Result<()> {
        self.keep(&add.path, add.deletion_vector.as_ref())
    }

    fn keep_remove(&mut self, remove: &Remove) -> Result<()> {
        self.keep(&remove.path, remove.deletion_vector.as_ref())
    }

    fn keep(&mut self, path: &str, vector: Option<&DeletionVectorDescriptor>) -> Result<()> {
        self.paths.insert(path_in_store(path)?);
        if let Some(vector) = vector
            && let Some(path) = deletion_vectors::relative_path(vector)?
        {
            self.paths.insert(path);
        }
        Ok(())
    }
}

/// Whether a file is none of ours to remove: names that begin with `_` or `.` are the log's and other programs'. The
/// change data feed's folder and folders of partition columns with such names are the table's.
fn is_hidden(path: &Path) -> bool {
    let parts: Vec<_> = path.parts().collect();
    parts.iter().enumerate().any(|(at, part)| {
        let (name, is_folder) = (part.as_ref(), at + 1 < parts.len());
        match name.chars().next() {
            Some('.') => true,
            Some('_') => !(is_folder && (name.contains('=') || (at == 0 && name == CHANGE_DATA))),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_are_left_alone() {
        let hidden = ["_delta_log/1.json", ".part.crc", "a=1/_tmp/x.parquet", "_x.parquet", "a=1/.x", "_index/k=1/x"];
        assert!(hidden.iter().all(|path| is_hidden(&Path::from(*path))));
        let shown =
            ["x.parquet", "a=1/x.parquet", "_a=1/x.parquet", "_change_data/x.parquet", "ab/deletion_vector_1.bin"];
        assert!(!shown.iter().any(|path| is_hidden(&Path::from(*path))));
    }
}
