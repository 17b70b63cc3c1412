//! What is known of a table without reading its data.

use serde::{Serialize, Serializer};

/// What is known of a table without reading its data.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableInfo {
    /// Version, none where there is no table.
    pub version: Option<u64>,
    /// The table's URL.
    pub uri: String,
    /// The table's name.
    pub name: Option<String>,
    /// JSON of the Delta schema.
    pub schema_json: Option<String>,
    /// In order.
    pub partition_columns: Vec<String>,
    /// Live files.
    pub num_files: u64,
    /// Live rows, by the statistics.
    pub num_rows: u64,
    /// Bytes of the live files.
    pub size_bytes: u64,
    /// How the table is written.
    #[serde(rename = "mergeMode", serialize_with = "merge_mode")]
    pub copy_on_write: bool,
    /// Table properties.
    #[serde(serialize_with = "map")]
    pub properties: Vec<(String, String)>,
    /// App id to last offset scanned: as text, which loses no digit.
    #[serde(serialize_with = "texts")]
    pub offsets: Vec<(String, i64)>,
    /// Keys in the index.
    pub index_keys: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
}

fn merge_mode<S: Serializer>(copy_on_write: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *copy_on_write { "copy-on-write" } else { "merge-on-read" })
}

fn map<S: Serializer>(entries: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(entries.iter().map(|(name, value)| (name, value)))
}

fn texts<S: Serializer>(offsets: &[(String, i64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(offsets.iter().map(|(app_id, offset)| (app_id, offset.to_string())))
}
