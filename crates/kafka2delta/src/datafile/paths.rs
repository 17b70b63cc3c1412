//! Paths of data files, as the log and the table's store have them.

use object_store::path::Path;

use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::{Add, StringMap};
use crate::machine::new_id;

/// Bytes that a folder's name may have where file systems end names at 255.
const MAX_FOLDER: usize = 200;

/// Folder of files whose partition values are not told by folders. Polars takes the values from the path and not from
/// the log: it refuses this one, where it would read nulls without it. Named by percent-encoded values, as others write
/// them, it would miss the files' deletion vectors and read deleted rows.
const VALUES_IN_LOG: &str = "partition_values_in_log=1";

/// What stands for null in a folder's name.
const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";

/// A new file's path, of a name with this end: ASCII that needs no encoding, since programs differ in how they encode.
pub(crate) fn file_path(partition_values: &StringMap, suffix: &str) -> Path {
    let name = format!("part-00000-{}-c000.{suffix}", new_id());
    match partition_folder(partition_values) {
        Some(folder) => Path::from(format!("{folder}/{name}")),
        None => Path::from(name),
    }
}

/// The folder of partition values, as `year=2024/month=5`; none where there are none.
pub(crate) fn partition_folder(partition_values: &StringMap) -> Option<String> {
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    let folders: Option<Vec<String>> = partition_values
        .iter()
        .map(|(name, value)| {
            // A text of this name would be taken for null by those who look at the folders.
            let is_clear = value.as_deref() != Some(NULL_FOLDER);
            let value = value.as_deref().unwrap_or(NULL_FOLDER);
            let folder = format!("{name}={value}");
            (is_clear && plain(name) && plain(value) && folder.len() <= MAX_FOLDER).then_some(folder)
        })
        .collect();
    let folder = folders.map_or_else(|| VALUES_IN_LOG.to_owned(), |folders| folders.join("/"));
    (!folder.is_empty()).then_some(folder)
}

/// Path of a data file in the table's store. The log's path is percent-encoded.
pub fn store_path(add: &Add) -> Result<Path> {
    path_in_store(&add.path)
}

/// The same, of a path of the log.
pub fn path_in_store(path: &str) -> Result<Path> {
    if path.contains("://") || path.starts_with('/') {
        return Err(Error::new(
            ErrorCode::TableUnsupported,
            format!("the table names a file outside its folder ({path}): a shallow clone is not written to"),
        ));
    }
    Path::from_url_path(path)
        .map_err(|e| Error::with_source(ErrorCode::TableCorrupt, format!("'{path}' is no path of a file"), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_plain_ascii() {
        let path_of = |value: Option<&str>| {
            let values = StringMap::from([("p".to_owned(), value.map(str::to_owned))]);
            file_path(&values, "snappy.parquet").to_string()
        };
        assert!(path_of(Some("2024-01.5")).starts_with("p=2024-01.5/part-"));
        assert!(path_of(None).starts_with("p=__HIVE_DEFAULT_PARTITION__/part-"));
        for odd in ["ü", "%", "a/b", "a b", "", "__HIVE_DEFAULT_PARTITION__", &"x".repeat(250)] {
            assert!(path_of(Some(odd)).starts_with("partition_values_in_log=1/part-"), "{odd}");
        }
    }
}
