//! Keys: the values of the primary key's columns, as 128 bits.
//!
//! A key of one integer column is exact. Any other is the XXH3 hash of its bytes: with a billion keys the chance of
//! one collision is below 2^-68.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int8Type, Int16Type, Int32Type, Int64Type};
use arrow::row::{RowConverter, SortField};
use xxhash_rust::xxh3::xxh3_128;

use crate::error::{Error, ErrorCode, Result};

/// A key as 128 bits: exact or a hash.
pub type Fingerprint = [u64; 2];

/// Of rows that their key does not stand for: versions that are not the current one. The index passes over it.
pub const NO_KEY: Fingerprint = [0, 4];

const EXACT: u64 = 1;
const NULL: u64 = 2;

/// Turns key columns into fingerprints. The same values give the same ones in every batch and file, since the
/// columns are cast to the table's types first.
#[derive(Debug)]
pub struct KeyHasher {
    types: Vec<DataType>,
    rows: Option<RowConverter>,
}

impl KeyHasher {
    /// For key columns of these types.
    pub fn new(types: Vec<DataType>) -> Result<Self> {
        if types.is_empty() {
            return Err(Error::new(ErrorCode::BatchInvalid, "a table needs a primary key of at least one column"));
        }
        let rows = match types.as_slice() {
            [
                DataType::Int8
                | DataType::Int16
                | DataType::Int32
                | DataType::Int64
                | DataType::Utf8
                | DataType::Binary,
            ] => None,
            _ => Some(RowConverter::new(types.iter().cloned().map(SortField::new).collect())?),
        };
        Ok(Self { types, rows })
    }

    /// Whether fingerprints hold the key itself, and not its hash. Nulls apart.
    pub fn is_exact(&self) -> bool {
        matches!(self.types.as_slice(), [DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64])
    }

    /// Types of the key's columns.
    pub fn types(&self) -> &[DataType] {
        &self.types
    }

    /// The fingerprint of each row. `columns` are the key's, in order, of any type that casts to the table's.
    pub fn fingerprints(&self, columns: &[ArrayRef]) -> Result<Vec<Fingerprint>> {
        let mut cast = Vec::with_capacity(columns.len());
        for (column, data_type) in columns.iter().zip(&self.types) {
            cast.push(match column.data_type() == data_type {
                true => column.clone(),
                false => arrow::compute::cast(column, data_type)?,
            });
        }
        if cast.len() != self.types.len() {
            return Err(Error::new(ErrorCode::Internal, "the key has another number of columns"));
        }
        if let Some(rows) = &self.rows {
            let rows = rows.convert_columns(&cast)?;
            return Ok(rows.iter().map(|row| hashed(row.data())).collect());
        }
        let column = &cast[0];
        Ok(match column.data_type() {
            DataType::Int8 => exact(column.as_primitive::<Int8Type>().iter().map(|v| v.map(i64::from))),
            DataType::Int16 => exact(column.as_primitive::<Int16Type>().iter().map(|v| v.map(i64::from))),
            DataType::Int32 => exact(column.as_primitive::<Int32Type>().iter().map(|v| v.map(i64::from))),
            DataType::Int64 if column.null_count() == 0 => {
                column.as_primitive::<Int64Type>().values().iter().map(|v| [*v as u64, EXACT]).collect()
            }
            DataType::Int64 => exact(column.as_primitive::<Int64Type>().iter()),
            DataType::Utf8 => {
                column.as_string::<i32>().iter().map(|v| v.map_or([0, NULL], |v| hashed(v.as_bytes()))).collect()
            }
            _ => column.as_binary::<i32>().iter().map(|v| v.map_or([0, NULL], hashed)).collect(),
        })
    }
}

fn exact(values: impl Iterator<Item = Option<i64>>) -> Vec<Fingerprint> {
    values.map(|v| v.map_or([0, NULL], |v| [v as u64, EXACT])).collect()
}

fn hashed(bytes: &[u8]) -> Fingerprint {
    let hash = xxh3_128(bytes);
    [hash as u64, (hash >> 64) as u64]
}

/// The fingerprint of a key of one integer column.
#[inline]
pub fn exact_key(value: u64) -> Fingerprint {
    [value, EXACT]
}

/// Whether a fingerprint holds the key itself.
#[inline]
pub fn is_exact(key: &Fingerprint) -> bool {
    key[1] == EXACT
}

/// Spreads a number over 64 bits, one to one: the finaliser of SplitMix64.
#[inline]
pub fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// A hash of a fingerprint for hash tables.
#[inline]
pub fn table_hash(key: &Fingerprint) -> u64 {
    mixed(key[0] ^ key[1].rotate_left(32))
}

/// The hash by which the key index orders keys: of those that fingerprints hold exactly, or of hashed ones.
#[inline]
pub fn index_hash(key: &Fingerprint, exact: bool) -> u64 {
    if exact { mixed(key[0]) } else { table_hash(key) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn equal_values_of_narrower_types_are_equal_keys() {
        let hasher = KeyHasher::new(vec![DataType::Int64]).unwrap();
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![Some(-1), Some(7), None]));
        let narrow: ArrayRef = Arc::new(Int32Array::from(vec![Some(-1), Some(7), None]));
        assert_eq!(hasher.fingerprints(&[wide]).unwrap(), hasher.fingerprints(&[narrow]).unwrap());
    }

    #[test]
    fn columns_of_a_composite_key_do_not_run_together() {
        let hasher = KeyHasher::new(vec![DataType::Utf8, DataType::Utf8]).unwrap();
        let a: ArrayRef = Arc::new(StringArray::from(vec![Some("ab"), Some("a"), Some(""), None]));
        let b: ArrayRef = Arc::new(StringArray::from(vec![Some("c"), Some("bc"), None, Some("")]));
        let keys = hasher.fingerprints(&[a, b]).unwrap();
        assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), 4);
    }
}
