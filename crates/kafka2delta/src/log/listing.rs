//! The files of the log's folder.
//!
//! Names: <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#delta-table-specification>

use std::sync::Arc;

use deltalake::logstore::LogStoreRef;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};

use crate::error::Result;

/// What a file of the log's folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFileKind {
    /// A version's actions.
    Commit,
    /// A checkpoint, or one of `parts` files of one.
    Checkpoint {
        /// 1 where it is one file.
        parts: u32,
    },
    /// A version's checksum, or several versions' actions in one file: the log is whole without it.
    Extra,
}

/// A file of the log's folder that belongs to a version.
#[derive(Debug, Clone, PartialEq)]
pub struct LogFile {
    /// The version; of several the last.
    pub version: u64,
    /// See [`LogFileKind`].
    pub kind: LogFileKind,
    /// Where it is, how large and how old.
    pub meta: ObjectMeta,
}

/// The log's folder in the table's store.
pub fn folder() -> Path {
    Path::from("_delta_log")
}

fn parse(meta: ObjectMeta) -> Option<LogFile> {
    let number = |text: &str| -> Option<u64> {
        (text.len() == 20 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
    };
    let name = meta.location.filename()?.to_owned();
    let parts: Vec<&str> = name.split('.').collect();
    let version = number(parts.first()?)?;
    let (version, kind) = match parts[1..] {
        ["json"] => (version, LogFileKind::Commit),
        ["crc"] => (version, LogFileKind::Extra),
        ["checkpoint", "parquet"] => (version, LogFileKind::Checkpoint { parts: 1 }),
        ["checkpoint", part, of, "parquet"] if part.len() == 10 => {
            (version, LogFileKind::Checkpoint { parts: of.parse().ok()? })
        }
        ["checkpoint", _, "parquet" | "json"] => (version, LogFileKind::Checkpoint { parts: 1 }),
        [end, "compacted", "json"] => (number(end)?, LogFileKind::Extra),
        _ => return None,
    };
    Some(LogFile { version, kind, meta })
}

/// All versions' files, by version.
pub async fn list(store: &Arc<dyn ObjectStore>) -> Result<Vec<LogFile>> {
    let listed = store.list_with_delimiter(Some(&folder())).await?;
    let mut files: Vec<LogFile> = listed.objects.into_iter().filter_map(parse).collect();
    files.sort_by_key(|file| file.version);
    Ok(files)
}

/// The newest version; none where there is no table.
pub async fn newest_version(log_store: &LogStoreRef) -> Result<Option<u64>> {
    let store = log_store.object_store(None);
    let files = list(&store).await?;
    Ok(files.iter().filter(|file| file.kind != LogFileKind::Extra).map(|file| file.version).max())
}

/// The newest version after this one, if there is any: of an entry, or of a checkpoint of entries that are gone.
pub async fn newest_after(store: &Arc<dyn ObjectStore>, version: u64) -> Result<Option<u64>> {
    // The names of the next version's files begin with this.
    let next = folder().join(format!("{:020}", version + 1));
    let mut listed = store.list_with_offset(Some(&folder()), &next);
    let mut newest = None;
    while let Some(meta) = listed.try_next().await? {
        let file = parse(meta).filter(|file| file.kind != LogFileKind::Extra && file.version > version);
        newest = newest.max(file.map(|file| file.version));
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_file_is() {
        let of = |name: &str| {
            let meta = ObjectMeta {
                location: Path::from(format!("_delta_log/{name}")),
                last_modified: Default::default(),
                size: 1,
                e_tag: None,
                version: None,
            };
            parse(meta).map(|file| (file.version, file.kind))
        };
        let one = LogFileKind::Checkpoint { parts: 1 };
        assert_eq!(of("00000000000000000010.json"), Some((10, LogFileKind::Commit)));
        assert_eq!(of("00000000000000000010.checkpoint.parquet"), Some((10, one)));
        assert_eq!(of("00000000000000000010.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json"), Some((10, one)));
        let part = LogFileKind::Checkpoint { parts: 3 };
        assert_eq!(of("00000000000000000010.checkpoint.0000000001.0000000003.parquet"), Some((10, part)));
        let compacted = "00000000000000000004.00000000000000000006.compacted.json";
        assert_eq!(of(compacted), Some((6, LogFileKind::Extra)));
        assert_eq!(of("00000000000000000010.crc"), Some((10, LogFileKind::Extra)));
        for other in ["_last_checkpoint", "10.json", "00000000000000000010.json.tmp", "_commit_1.json.tmp"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
