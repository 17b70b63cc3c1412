//! The columns of a table's key, and the keys of rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};

use super::hasher::{Fingerprint, KeyHasher, NO_KEY};
use crate::error::{Error, ErrorCode, Result};

/// What is needed to read keys.
#[derive(Debug, Clone)]
pub struct KeyColumns {
    /// Names, in the key's order.
    pub names: Vec<String>,
    /// For the table's types.
    pub hasher: Arc<KeyHasher>,
    /// Where rows are versions: the column that says which is the current one. The others have no key.
    pub current: Option<String>,
}

impl KeyColumns {
    /// The keys of rows that have the key's columns.
    pub fn fingerprints(&self, rows: &RecordBatch) -> Result<Vec<Fingerprint>> {
        let column = |name: &String| {
            let column = rows.column_by_name(name).cloned();
            column.ok_or_else(|| Error::new(ErrorCode::Internal, format!("the key column '{name}' is gone")))
        };
        let keys = self.hasher.fingerprints(&self.names.iter().map(column).collect::<Result<Vec<_>>>()?)?;
        Ok(of_current(keys, self.current.as_ref().and_then(|name| rows.column_by_name(name))))
    }
}

/// The keys without those of versions that are not the current one.
pub(crate) fn of_current(mut keys: Vec<Fingerprint>, current: Option<&ArrayRef>) -> Vec<Fingerprint> {
    if let Some(current) = current.and_then(|column| column.as_boolean_opt()) {
        for (row, key) in keys.iter_mut().enumerate() {
            if current.is_valid(row) && !current.value(row) {
                *key = NO_KEY;
            }
        }
    }
    keys
}
