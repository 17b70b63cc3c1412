//! Actions of the Delta log, as the protocol writes them.
//!
//! delta-rs decodes and encodes `path` again on its way; ours stays byte for byte as the log has it, since the
//! kernel and Spark match adds and removes by the raw text.
//! Format: <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#actions>

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A map of the log whose values may be null.
pub type StringMap = BTreeMap<String, Option<String>>;

/// Where a deletion vector is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletionVectorDescriptor {
    /// `u`: file beside the table, `i`: inline, `p`: absolute path.
    pub storage_type: String,
    /// By storage type: prefix and z85 of the UUID, the z85 data, or the path.
    pub path_or_inline_dv: String,
    /// Bytes from the file's start to the size field.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub offset: Option<i32>,
    /// Bytes of the data without size and checksum.
    pub size_in_bytes: i32,
    /// Rows that are deleted.
    pub cardinality: i64,
}

impl DeletionVectorDescriptor {
    /// The protocol's unique id: two descriptors with the same one are the same vector.
    pub fn unique_id(&self) -> String {
        match self.offset {
            Some(offset) => format!("{}{}@{offset}", self.storage_type, self.path_or_inline_dv),
            None => format!("{}{}", self.storage_type, self.path_or_inline_dv),
        }
    }
}

/// A file that belongs to the table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Add {
    /// Percent-encoded path relative to the table, as the log has it.
    pub path: String,
    /// Partition column to its value as text, null for null.
    #[serde(default)]
    pub partition_values: StringMap,
    /// Bytes.
    pub size: i64,
    /// Milliseconds since 1970.
    pub modification_time: i64,
    /// Whether rows change, and are not only moved.
    pub data_change: bool,
    /// JSON of the statistics.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stats: Option<String>,
    /// Free notes; ours start with `kafka2delta.`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tags: Option<StringMap>,
    /// Rows of the file that are deleted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deletion_vector: Option<DeletionVectorDescriptor>,
    /// Of row tracking.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub base_row_id: Option<i64>,
    /// Of row tracking.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub default_row_commit_version: Option<i64>,
    /// Of clustered tables.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub clustering_provider: Option<String>,
}

/// A file that no longer belongs to the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remove {
    /// The add's path, byte for byte.
    pub path: String,
    /// Milliseconds since 1970: vacuum keeps the file for the retention from here on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deletion_timestamp: Option<i64>,
    /// Whether rows change, and are not only moved.
    #[serde(default)]
    pub data_change: bool,
    /// Whether the fields below are there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub extended_file_metadata: Option<bool>,
    /// The add's partition values.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub partition_values: Option<StringMap>,
    /// The add's size.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub size: Option<i64>,
    /// The add's vector.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deletion_vector: Option<DeletionVectorDescriptor>,
    /// Notes on the file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tags: Option<StringMap>,
    /// The add's row tracking.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub base_row_id: Option<i64>,
    /// The add's row tracking.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub default_row_commit_version: Option<i64>,
}

impl Remove {
    /// The file as it was; none where the action does not say its size.
    pub fn to_add(&self) -> Option<Add> {
        Some(Add {
            path: self.path.clone(),
            partition_values: self.partition_values.clone().unwrap_or_default(),
            size: self.size?,
            data_change: self.data_change,
            deletion_vector: self.deletion_vector.clone(),
            base_row_id: self.base_row_id,
            default_row_commit_version: self.default_row_commit_version,
            ..Add::default()
        })
    }
}

impl Add {
    /// The action that takes this file out of the table at `now` (milliseconds since 1970).
    pub fn to_remove(&self, now: i64) -> Remove {
        Remove {
            path: self.path.clone(),
            deletion_timestamp: Some(now),
            data_change: true,
            extended_file_metadata: Some(true),
            partition_values: Some(self.partition_values.clone()),
            size: Some(self.size),
            deletion_vector: self.deletion_vector.clone(),
            tags: None,
            base_row_id: self.base_row_id,
            default_row_commit_version: self.default_row_commit_version,
        }
    }

    /// Rows of the file by its statistics, deleted ones included.
    pub fn num_records(&self) -> Option<u64> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct NumRecords {
            num_records: Option<u64>,
        }
        let stats: NumRecords = serde_json::from_str(self.stats.as_deref()?).ok()?;
        stats.num_records
    }

    /// Path and vector: what identifies the file in the log.
    pub fn logical_id(&self) -> (String, Option<String>) {
        (self.path.clone(), self.deletion_vector.as_ref().map(DeletionVectorDescriptor::unique_id))
    }
}

impl Remove {
    /// Path and vector: what identifies the file in the log.
    pub fn logical_id(&self) -> (String, Option<String>) {
        (self.path.clone(), self.deletion_vector.as_ref().map(DeletionVectorDescriptor::unique_id))
    }
}

/// A file of the change data feed: rows of the table with their `_change_type`.
/// A commit that has any is told by them alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cdc {
    /// Percent-encoded path relative to the table.
    pub path: String,
    /// Partition column to its value as text, null for null.
    #[serde(default)]
    pub partition_values: StringMap,
    /// Bytes.
    pub size: i64,
    /// Always false: the rows are in the adds.
    pub data_change: bool,
}

/// An application's own version, committed with its rows: here the Kafka offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Txn {
    /// `<queryName>:<topic>:<partition>`
    pub app_id: String,
    /// The last offset scanned.
    pub version: i64,
    /// Milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_updated: Option<i64>,
}

/// The format of data files: always Parquet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// `parquet`
    pub provider: String,
    /// Empty.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// The table's schema and properties.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The table's UUID; another one is another table.
    pub id: String,
    /// Its name for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// Its description for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<String>,
    /// Parquet.
    pub format: Format,
    /// JSON of the schema.
    pub schema_string: String,
    /// In order.
    pub partition_columns: Vec<String>,
    /// Table properties.
    #[serde(default)]
    pub configuration: BTreeMap<String, String>,
    /// Milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created_time: Option<i64>,
}

/// What readers and writers of the table must know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Protocol {
    /// Readers of lower versions keep out.
    pub min_reader_version: i32,
    /// Writers of lower versions keep out.
    pub min_writer_version: i32,
    /// Named features, from reader version 3 on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reader_features: Option<Vec<String>>,
    /// Named features, from writer version 7 on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub writer_features: Option<Vec<String>>,
}

/// A commit's note on itself. Fields differ by writer.
pub type CommitInfo = serde_json::Map<String, serde_json::Value>;

/// One line of a commit: one of these is set; actions that we do not use are left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// See [`Add`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub add: Option<Add>,
    /// See [`Remove`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remove: Option<Remove>,
    /// See [`Cdc`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cdc: Option<Cdc>,
    /// See [`Metadata`].
    #[serde(skip_serializing_if = "Option::is_none", default, rename = "metaData")]
    pub metadata: Option<Metadata>,
    /// See [`Protocol`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub protocol: Option<Protocol>,
    /// See [`Txn`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub txn: Option<Txn>,
    /// See [`CommitInfo`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commit_info: Option<CommitInfo>,
}

/// The actions of one commit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Commit {
    /// Files added.
    pub adds: Vec<Add>,
    /// Files removed.
    pub removes: Vec<Remove>,
    /// Files of the change data feed.
    pub cdcs: Vec<Cdc>,
    /// A new schema or properties.
    pub metadata: Option<Metadata>,
    /// A new protocol.
    pub protocol: Option<Protocol>,
    /// Application versions.
    pub txns: Vec<Txn>,
    /// The writer's note.
    pub info: Option<CommitInfo>,
}

impl Commit {
    /// Reads a commit file: one JSON object a line.
    pub fn parse(bytes: &[u8]) -> crate::error::Result<Self> {
        let mut commit = Self::default();
        for line in bytes.split(|b| *b == b'\n') {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            commit.push(serde_json::from_slice(line)?);
        }
        Ok(commit)
    }

    /// Adds a line's action.
    pub fn push(&mut self, line: Line) {
        self.adds.extend(line.add);
        self.removes.extend(line.remove);
        self.cdcs.extend(line.cdc);
        self.txns.extend(line.txn);
        self.metadata = line.metadata.or(self.metadata.take());
        self.protocol = line.protocol.or(self.protocol.take());
        self.info = line.commit_info.or(self.info.take());
    }

    /// The bytes of the commit file. The commit info comes first, as Spark writes it.
    pub fn to_bytes(&self) -> crate::error::Result<bytes::Bytes> {
        let mut out = Vec::with_capacity(512 * (1 + self.adds.len() + self.removes.len()));
        let mut line = |line: &Line| -> crate::error::Result<()> {
            serde_json::to_writer(&mut out, line)?;
            out.push(b'\n');
            Ok(())
        };
        if self.info.is_some() {
            line(&Line { commit_info: self.info.clone(), ..Line::default() })?;
        }
        if self.protocol.is_some() {
            line(&Line { protocol: self.protocol.clone(), ..Line::default() })?;
        }
        if self.metadata.is_some() {
            line(&Line { metadata: self.metadata.clone(), ..Line::default() })?;
        }
        for txn in &self.txns {
            line(&Line { txn: Some(txn.clone()), ..Line::default() })?;
        }
        for remove in &self.removes {
            line(&Line { remove: Some(remove.clone()), ..Line::default() })?;
        }
        for add in &self.adds {
            line(&Line { add: Some(add.clone()), ..Line::default() })?;
        }
        for cdc in &self.cdcs {
            line(&Line { cdc: Some(cdc.clone()), ..Line::default() })?;
        }
        Ok(out.into())
    }

    /// A text of the commit info.
    pub fn info_str(&self, key: &str) -> Option<&str> {
        self.info.as_ref()?.get(key)?.as_str()
    }
}
