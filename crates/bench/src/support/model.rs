//! What the table should hold: a hash of each row, by its id.

use std::path::Path;

use arrow::array::RecordBatch;

use super::changes::Changes;
use super::{Result, deltars, orders};

/// The rows as the changes leave them.
#[derive(Default)]
pub struct Model {
    /// By id; 0 for no row.
    hashes: Vec<u64>,
    rows: u64,
}

impl Model {
    fn set(&mut self, id: i64, hash: u64) -> Result<()> {
        let at = usize::try_from(id)?;
        if self.hashes.len() <= at {
            self.hashes.resize(at + 1 + at / 8, 0);
        }
        let before = std::mem::replace(&mut self.hashes[at], hash);
        self.rows = self.rows + u64::from(hash != 0) - u64::from(before != 0);
        Ok(())
    }

    /// Rows of the table before the changes.
    pub fn insert(&mut self, rows: &RecordBatch) -> Result<()> {
        // A hash of 0 would be no row.
        orders::hashes(rows)?.into_iter().try_for_each(|(id, hash)| self.set(id, hash.max(1)))
    }

    /// Applies changes.
    pub fn apply(&mut self, changes: &Changes) -> Result<()> {
        for ((id, hash), deleted) in orders::hashes(&changes.rows)?.into_iter().zip(&changes.deleted) {
            self.set(id, if *deleted { 0 } else { hash.max(1) })?;
        }
        Ok(())
    }

    /// Number of rows.
    pub fn len(&self) -> u64 {
        self.rows
    }

    /// Compares every row of the table, read by delta-rs: an error names the first difference.
    pub fn check(&self, path: &Path) -> Result<()> {
        let mut seen = vec![false; self.hashes.len()];
        let mut rows = 0u64;
        deltars::for_each_batch(path, |batch| {
            for (id, hash) in orders::hashes(&batch)? {
                let at = usize::try_from(id)?;
                match self.hashes.get(at) {
                    Some(expected) if *expected == hash.max(1) => {}
                    Some(0) | None => return Err(format!("the table has the row {id}, which was deleted").into()),
                    Some(_) => return Err(format!("the row {id} is another than the last one written").into()),
                }
                if std::mem::replace(&mut seen[at], true) {
                    return Err(format!("the row {id} is there twice").into());
                }
                rows += 1;
            }
            Ok(())
        })?;
        if rows != self.rows {
            let missing = self.hashes.iter().zip(&seen).position(|(hash, seen)| *hash != 0 && !seen);
            return Err(format!("the table has {rows} rows of {}, and not {missing:?}", self.rows).into());
        }
        Ok(())
    }
}
