//! What a scan is asked for.

use std::collections::HashMap;

use serde::Deserialize;

/// Which version of a table is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AsOf {
    /// The newest one.
    Newest,
    /// The one with this number.
    Version(u64),
    /// The newest one that was committed by then, in milliseconds since 1970.
    Timestamp(i64),
}

/// What is read.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScanOptions {
    /// Path or URL of the table.
    pub uri: String,
    /// Options of its store.
    pub storage_options: HashMap<String, String>,
    /// Names of columns, in the order of the result; none for all of them.
    pub columns: Option<Vec<String>>,
    /// A condition on the rows, in Spark SQL.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// The version that is read.
    pub as_of: AsOf,
}
