//! The data files of a table's state, by number, and the places of rows in them.

use std::ops::{Index, IndexMut};
use std::sync::{Arc, LazyLock};

use delta_kernel::Version;
use roaring::RoaringBitmap;

use super::actions::Add;
use super::tags::{file_partition, sequence_range};
use crate::error::{Error, ErrorCode, Result};
use crate::order::sequence::Sequence;

/// Bytes of a remove and an add in the log beyond their paths and statistics.
pub(super) const LOG_ENTRY_BYTES: u64 = 600;

/// Number of a file in our state; never given twice while the table is open.
pub type FileId = u32;

/// Where a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The data file.
    pub file: FileId,
    /// Number of the row in the file, from 0.
    pub row: u32,
}

/// A data file that we know, live or not.
#[derive(Debug, Clone)]
pub struct FileEntry {
    /// Its add action, as the log has it.
    pub add: Add,
    /// Whether it belongs to the table at our version.
    pub live: bool,
    /// Rows that its deletion vector deletes; none where the vector was not read yet.
    pub deleted: Option<Arc<RoaringBitmap>>,
    /// The Kafka partition that its rows came through, where that is known.
    pub partition: Option<i32>,
    /// Lowest and highest sequence, where all its rows have one.
    pub sequences: Option<(Sequence, Sequence)>,
    /// Rows by the statistics, deleted ones included.
    pub num_records: Option<u64>,
    /// Bytes that deletions cost since the file was written, as far as we saw: vectors and log entries.
    pub deletion_bytes: u64,
    /// Whether it left the table since none of its rows was left: they were deleted, or replaced in other files.
    pub emptied: bool,
    /// Version that took it out of the table.
    pub(super) left_at: Version,
}

impl FileEntry {
    pub(super) fn new(add: Add) -> Self {
        let deleted = add.deletion_vector.is_none().then(Arc::default);
        let (partition, sequences) = (file_partition(&add), sequence_range(&add));
        let num_records = add.num_records();
        let deletion_bytes = deletion_cost(&add);
        Self { add, live: true, deleted, partition, sequences, num_records, deletion_bytes, emptied: false, left_at: 0 }
    }

    /// What stands for a file that left long ago: no row of it can be read.
    pub(super) fn forgotten() -> Self {
        Self {
            add: Add::default(),
            live: false,
            deleted: Some(Arc::default()),
            partition: None,
            sequences: None,
            num_records: Some(0),
            deletion_bytes: 0,
            emptied: false,
            left_at: 0,
        }
    }

    /// Whether nothing is known of the file any more: it left the table long ago.
    pub fn is_forgotten(&self) -> bool {
        self.add.path.is_empty()
    }

    /// Rows that its deletion vector deletes.
    pub fn num_deleted(&self) -> u64 {
        self.add.deletion_vector.as_ref().map_or(0, |dv| u64::try_from(dv.cardinality).unwrap_or(0))
    }

    /// Rows that are not deleted, by the statistics.
    pub fn num_live_rows(&self) -> Option<u64> {
        self.num_records?.checked_sub(self.num_deleted())
    }
}

/// Bytes that the file's present vector cost: its data, and the remove and add that brought it.
fn deletion_cost(add: &Add) -> u64 {
    add.deletion_vector.as_ref().map_or(0, |vector| {
        let texts = 2 * add.path.len() + add.stats.as_ref().map_or(0, String::len);
        u64::try_from(vector.size_in_bytes).unwrap_or(0) + texts as u64 + LOG_ENTRY_BYTES
    })
}

static FORGOTTEN: LazyLock<FileEntry> = LazyLock::new(FileEntry::forgotten);

/// Data files by [`FileId`]. One that was forgotten takes a pointer's room, and is seen as a file without rows.
#[derive(Debug, Clone, Default)]
pub struct Files {
    entries: Vec<Option<Box<FileEntry>>>,
}

impl Files {
    /// Enters a file and gives its number.
    pub(super) fn push(&mut self, entry: FileEntry) -> Result<FileId> {
        let id = FileId::try_from(self.entries.len())
            .map_err(|_| Error::new(ErrorCode::TableUnsupported, "the table has more than 2^32 files"))?;
        self.entries.push(Some(Box::new(entry)));
        Ok(id)
    }

    /// Drops what is known of a file. Its number stays taken.
    pub(super) fn forget(&mut self, id: FileId) {
        if let Some(entry) = self.entries.get_mut(id as usize) {
            *entry = None;
        }
    }

    /// Numbers given.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// All by number, forgotten ones too.
    pub fn iter(&self) -> impl Iterator<Item = &FileEntry> {
        self.entries.iter().map(|entry| entry.as_deref().unwrap_or(&FORGOTTEN))
    }

    /// Whether no number was given.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Index<usize> for Files {
    type Output = FileEntry;

    fn index(&self, id: usize) -> &FileEntry {
        self.entries[id].as_deref().unwrap_or(&FORGOTTEN)
    }
}

impl IndexMut<usize> for Files {
    fn index_mut(&mut self, id: usize) -> &mut FileEntry {
        self.entries[id].get_or_insert_with(|| Box::new(FileEntry::forgotten()))
    }
}
