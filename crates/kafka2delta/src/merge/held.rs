//! Counts what a merge holds in memory: the batch as it was handed over, the arrays that are made of it, and its files
//! until they are stored. Values that several arrays share count once.

use std::ops::Range;

use arrow::array::{Array, ArrayData, RecordBatch};
use bytes::Bytes;
use hashbrown::HashSet;

/// Bytes for each change: its keys, its place among the others, and that of its row.
const CHANGE_BYTES: u64 = 64;

/// What a merge holds, and the most that it has held.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Where the batch lies that was handed over.
    batch: Range<usize>,
    /// Where buffers lie that are counted.
    seen: HashSet<usize>,
    bytes: u64,
    peak: u64,
}

impl Held {
    pub(super) fn new(batch: Option<&Bytes>) -> Self {
        let Some(batch) = batch else { return Self::default() };
        let (start, bytes) = (batch.as_ptr() as usize, batch.len() as u64);
        Self { batch: start..start + batch.len(), seen: HashSet::new(), bytes, peak: bytes }
    }

    /// The most bytes at a time so far.
    pub(super) fn peak(&self) -> u64 {
        self.peak
    }

    /// All but the batch itself is let go of: what comes now is made anew.
    pub(super) fn start_over(&mut self) {
        self.seen.clear();
        self.bytes = self.batch.len() as u64;
    }

    /// Something is held until the end.
    pub(super) fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.peak = self.peak.max(self.bytes);
    }

    /// So many changes are.
    pub(super) fn add_changes(&mut self, changes: usize) {
        self.add(changes as u64 * CHANGE_BYTES);
    }

    /// Rows are.
    pub(super) fn add_rows(&mut self, rows: &RecordBatch) {
        let bytes = self.count(rows, true);
        self.add(bytes);
    }

    /// Rows are held for a moment, and copies of so many times as much.
    pub(super) fn pass(&mut self, rows: &RecordBatch, copies: u64) {
        let bytes = self.count(rows, false) + copies * slice_bytes(rows);
        self.peak = self.peak.max(self.bytes + bytes);
    }

    /// Bytes of the rows that are not counted. `stays`: from now on they are.
    fn count(&mut self, rows: &RecordBatch, stays: bool) -> u64 {
        let mut new = HashSet::new();
        let mut bytes = 0;
        let mut todo: Vec<ArrayData> = rows.columns().iter().map(Array::to_data).collect();
        while let Some(data) = todo.pop() {
            let nulls = data.nulls().map(|nulls| nulls.buffer());
            for buffer in data.buffers().iter().chain(nulls) {
                let at = buffer.as_ptr() as usize;
                if !self.batch.contains(&at) && !self.seen.contains(&at) && new.insert(at) {
                    bytes += buffer.len() as u64;
                }
            }
            todo.extend(data.child_data().iter().cloned());
        }
        if stays {
            self.seen.extend(new);
        }
        bytes
    }
}

/// Bytes of the rows by themselves.
fn slice_bytes(rows: &RecordBatch) -> u64 {
    rows.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0) as u64).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn rows(columns: &[ArrayRef]) -> RecordBatch {
        RecordBatch::try_from_iter(columns.iter().enumerate().map(|(n, c)| (n.to_string(), c.clone()))).unwrap()
    }

    #[test]
    fn what_is_shared_counts_once() {
        let batch = Bytes::from(vec![0; 1000]);
        let mut held = Held::new(Some(&batch));
        let [one, two]: [ArrayRef; 2] = [100, 200].map(|n| Arc::new(Int64Array::from_iter_values(0..n)) as _);
        held.add_rows(&rows(std::slice::from_ref(&one)));
        assert_eq!(held.peak(), 1800);
        held.add_rows(&rows(&[one.clone(), one.slice(0, 100)]));
        assert_eq!(held.peak(), 1800);
        // Twice the same passes: each time alone.
        held.pass(&rows(&[two.slice(0, 100), one.clone()]), 1);
        held.pass(&rows(&[two.slice(0, 100), one.clone()]), 0);
        assert_eq!(held.peak(), 1800 + 800 + 1600);
        held.add(100);
        held.pass(&rows(std::slice::from_ref(&two)), 0);
        assert_eq!(held.peak(), 1800 + 800 + 1600);
        held.start_over();
        held.add_rows(&rows(&[one, two.slice(0, 100)]));
        held.add_changes(10);
        assert_eq!(held.peak(), 1800 + 800 + 1600);
        held.add(2000);
        assert_eq!(held.peak(), 1000 + 800 + 800 + 640 + 2000);
    }

    #[test]
    fn what_lies_in_the_batch_is_counted_with_it() {
        let buffer = arrow::buffer::Buffer::from_vec((0..100i64).collect::<Vec<_>>());
        let array = Int64Array::new(arrow::buffer::ScalarBuffer::new(buffer.clone(), 10, 50), None);
        let mut held = Held { batch: buffer.as_ptr() as usize..buffer.as_ptr() as usize + 800, ..Held::default() };
        held.add_rows(&rows(&[Arc::new(array)]));
        assert_eq!(held.peak(), 0);
    }
}
