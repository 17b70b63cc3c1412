//! Options of a table, as its caller names them. Complete: defaults are the caller's.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::schema::SchemaEvolution;

/// How changes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MergeMode {
    /// Merge on read for tables that we create and those with deletion vectors enabled, otherwise copy on write.
    Auto,
    /// Replaced rows are marked in deletion vectors. An existing table's protocol is upgraded for it.
    MergeOnRead,
    /// Files with replaced rows are rewritten.
    CopyOnWrite,
}

/// What becomes of changes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WriteMode {
    /// The table equals the source's.
    Upsert,
    /// Each change is a row.
    Append,
    /// Each version of a row is one: a slowly changing dimension of type 2.
    Scd2(VersionColumns),
}

impl WriteMode {
    /// The columns of versions, where rows have some.
    pub fn version_columns(&self) -> Option<&VersionColumns> {
        if let Self::Scd2(columns) = self { Some(columns) } else { None }
    }

    /// Whether rows that the table has are replaced or removed. Otherwise rows are only added.
    pub fn replaces_rows(&self) -> bool {
        match self {
            Self::Upsert | Self::Scd2(_) => true,
            Self::Append => false,
        }
    }

    /// Whether the rows of a change's key are looked up.
    pub fn looks_up_keys(&self) -> bool {
        match self {
            Self::Upsert | Self::Scd2(_) => true,
            Self::Append => false,
        }
    }

    /// The name that tables keep of it; none for upserts.
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Self::Upsert => None,
            Self::Append => Some("append"),
            Self::Scd2(_) => Some("scd2"),
        }
    }

    /// The option that names the columns which the mode adds to a table; none where it has no such option.
    pub fn columns_option(&self) -> Option<&'static str> {
        match self {
            Self::Upsert | Self::Append => None,
            Self::Scd2(_) => Some("scd2Columns"),
        }
    }
}

/// Names of the columns that tell a version's time.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VersionColumns {
    /// Timestamp: since when it was the current one.
    pub valid_from: String,
    /// Timestamp: since when it is not any more; null for the current one.
    pub valid_to: String,
    /// Boolean: whether it is the current one.
    pub is_current: String,
}

/// What to do where a left-out value is nowhere to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnMissingValue {
    /// It becomes null, and is counted.
    Null,
    /// The batch fails.
    Fail,
}

/// How keys' rows are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyIndexMode {
    /// By an index of all keys, in memory or on local disk.
    Auto,
    /// By the key columns of the files that may hold them, read anew for each batch.
    None,
}

/// Parquet compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Fast, what Spark writes.
    Snappy,
    /// Smaller.
    Zstd,
}

/// All that the engine needs to know of a table.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TableOptions {
    /// Absolute path or URL.
    pub uri: String,
    /// For the object store.
    pub storage_options: HashMap<String, String>,
    /// Columns of the key; none where the batches tell.
    pub primary_key: Option<Vec<String>>,
    /// `expr AS name`
    #[serde(rename = "additionalCols")]
    pub additional_columns: Vec<String>,
    /// At creation.
    #[serde(rename = "partitionCols")]
    pub partition_columns: Vec<String>,
    /// Table name at creation.
    pub name: Option<String>,
    /// Description at creation.
    pub description: Option<String>,
    /// Table properties at creation.
    #[serde(rename = "tableProperties")]
    pub properties: HashMap<String, String>,
    /// See [`WriteMode`].
    pub write_mode: WriteMode,
    /// See [`MergeMode`].
    pub merge_mode: MergeMode,
    /// See [`SchemaEvolution`].
    pub schema_evolution: SchemaEvolution,
    /// Boolean column that marks deleted rows, which stay; none where they go.
    pub soft_delete_column: Option<String>,
    /// See [`OnMissingValue`].
    pub on_missing_value: OnMissingValue,
    /// Bytes that a data file aims at.
    #[serde(deserialize_with = "positive")]
    pub target_file_size: u64,
    /// Bytes of data files up to which the table is rewritten for a wider column.
    pub max_rewrite_bytes: u64,
    /// Keys whose deletes are remembered.
    pub remembered_keys: usize,
    /// See [`Compression`].
    pub compression: Compression,
    /// See [`KeyIndexMode`].
    pub key_index: KeyIndexMode,
    /// Bytes of memory that the key index takes; above, it lies on local disk.
    #[serde(deserialize_with = "positive")]
    pub index_memory: u64,
    /// Local folder where the index is kept between runs; none for nowhere.
    #[serde(rename = "indexDir")]
    pub index_folder: Option<PathBuf>,
    /// Columns by which compaction sorts the rows of rewritten files: one by its values, several in Z-order. Empty: rows
    /// keep their order.
    pub cluster_by: Vec<String>,
}

/// A number above 0.
pub(crate) fn positive<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default + PartialEq,
{
    let number = T::deserialize(deserializer)?;
    if number == T::default() { Err(D::Error::custom("must be above 0")) } else { Ok(number) }
}

/// A number from 0 to 1.
pub(crate) fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let share = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    Err(D::Error::custom(format!("is {share}, and must be from 0 to 1")))
}
