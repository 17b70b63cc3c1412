//! The data files of a table's state, by number.

use std::ops::{Index, IndexMut};
use std::sync::LazyLock;

use super::state::{FileEntry, FileId};
use crate::error::{Error, ErrorCode, Result};

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
