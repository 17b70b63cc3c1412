//! Which files of a group are due to be rewritten, and which of them together.
//!
//! Files are looked at by groups, of one partition value and Kafka partition. Small ones are sorted into classes by their
//! size, each [`CLASS_FACTOR`] times the one below. As soon as a class of a group has `min_files` files, these become one
//! with all that are smaller. A row thus moves up a class at least every few times that it is rewritten, and is rewritten a
//! logarithmic number of times.
//!
//! A group that gets no more files would keep up to `min_files` - 1 of each class. Once it has been quiet for [`QUIET`], its
//! small files become one as far as none is larger than [`QUIET_FACTOR`] times all smaller ones together: see [`settled`].
//!
//! A full compaction packs all files below the target size into as few files of that size as they fit into.
//!
//! A file with deleted rows is rewritten where their share is large, or where its deletions have cost as many bytes of
//! vectors and log as the file has: then the rewrite has paid for itself.

use std::collections::BTreeMap;

use hashbrown::HashSet;
use serde::Deserialize;

use crate::log::actions::Add;
use crate::log::files::{FileEntry, FileId};
use crate::options::{positive, share};

/// Bytes of a file in one class against the class below.
const CLASS_FACTOR: u64 = 4;
/// Bytes up to which all files are of one class: below, a file's size is mostly its footer.
pub(super) const LOWEST_CLASS: u64 = 16 << 10;
/// Milliseconds without a new file after which a group is quiet.
pub(super) const QUIET: i64 = 10 * 60 * 1000;
/// How many times as large as all smaller files of a quiet group together a file may be to become one with them.
const QUIET_FACTOR: u64 = 2;
/// Bytes that deletions of one file must have cost at least before it is rewritten for them: a commit has its price.
const LEAST_COST: u64 = 256 << 10;

/// When files are rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CompactOptions {
    /// Small files of one size class, Kafka partition and partition value from which on they become one.
    #[serde(deserialize_with = "positive")]
    pub min_files: usize,
    /// Bytes of the files that one step reads; it takes two small files, or one with deletions, in any case.
    #[serde(deserialize_with = "positive")]
    pub max_bytes: u64,
    /// Share of deleted rows from which on a file is rewritten, 0 to 1.
    #[serde(deserialize_with = "share")]
    pub deleted_share: f64,
    /// Every file that is small or has deleted rows, whether it pays or not.
    pub full: bool,
}

/// A file with its number.
pub(super) type Numbered<'a> = (FileId, &'a FileEntry);

/// Bytes of a file.
pub(super) fn size(add: &Add) -> u64 {
    u64::try_from(add.size).unwrap_or(0)
}

/// Bytes that a file would have without its deleted rows, about.
fn live_size(file: &FileEntry) -> u64 {
    let (Some(rows), Some(live)) = (file.num_records, file.num_live_rows()) else { return size(&file.add) };
    let share = u128::from(size(&file.add)) * u128::from(live) / u128::from(rows.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// The number of the class that a size belongs to.
fn class(size: u64) -> u32 {
    match size <= LOWEST_CLASS {
        true => 0,
        false => (size / LOWEST_CLASS).ilog(CLASS_FACTOR) + 1,
    }
}

/// Whether a file's deleted rows are reason enough to rewrite it.
fn is_worn(file: &FileEntry, options: &CompactOptions) -> bool {
    let deleted = file.num_deleted();
    if deleted == 0 {
        return false;
    }
    let share = file.num_records.is_some_and(|rows| deleted as f64 >= options.deleted_share * rows as f64);
    options.full || share || file.deletion_bytes >= size(&file.add).max(LEAST_COST)
}

/// Files of a group that a step would rewrite together.
pub(super) struct Work {
    pub(super) files: Vec<FileId>,
    /// With fewer there is nothing gained.
    pub(super) least: usize,
    /// They become one file, which they fit into.
    pub(super) one_file: bool,
}

/// What is due in a group.
pub(super) fn due(files: &[Numbered<'_>], options: &CompactOptions, target: u64, now: i64) -> Vec<Work> {
    let mut due = match options.full {
        true => packed(files, target),
        false => {
            let crowded = crowded(files, options.min_files.max(2), target);
            let settled = || settled(files, target).filter(|_| is_quiet(files, now));
            crowded.or_else(settled).into_iter().collect()
        }
    };
    let joined: HashSet<FileId> = due.iter().flat_map(|work| work.files.iter().copied()).collect();
    let worn = files.iter().filter(|(id, file)| !joined.contains(id) && is_worn(file, options));
    let worn: Vec<FileId> = worn.map(|(id, _)| *id).collect();
    if !worn.is_empty() {
        due.push(Work { files: worn, least: 1, one_file: false });
    }
    due
}

/// The small files of a class that has enough of them, with all that are smaller.
fn crowded(files: &[Numbered<'_>], enough: usize, target: u64) -> Option<Work> {
    let class_of = |file: &FileEntry| Some(class(size(&file.add))).filter(|_| size(&file.add) < target / 2);
    let mut by_class: BTreeMap<u32, usize> = BTreeMap::new();
    for class in files.iter().filter_map(|(_, file)| class_of(file)) {
        *by_class.entry(class).or_default() += 1;
    }
    let (highest, _) = by_class.into_iter().rev().find(|(_, files)| *files >= enough)?;
    let joins = |file: &FileEntry| class_of(file).is_some_and(|class| class <= highest);
    let files = files.iter().filter(|(_, file)| joins(file)).map(|(id, _)| *id).collect();
    Some(Work { files, least: 2, one_file: false })
}

/// Whether a group got no file for a while.
fn is_quiet(files: &[Numbered<'_>], now: i64) -> bool {
    files.iter().all(|(_, file)| file.add.modification_time.saturating_add(QUIET) <= now)
}

/// The small files of a quiet group that become one, from the smallest on.
///
/// A row's file is by half larger after such a step, in terms of [`LOWEST_CLASS`] at least: each row is rewritten at most
/// log₁.₅(target / [`LOWEST_CLASS`]) times, 23 for 128 MB. Files that stay are each more than three times as large as the one
/// before: log₃ of the same, 9 at most.
fn settled(files: &[Numbered<'_>], target: u64) -> Option<Work> {
    let mut small: Vec<(u64, FileId)> = files.iter().map(|(id, file)| (live_size(file), *id)).collect();
    small.retain(|(size, _)| *size < target / 2);
    small.sort_unstable();
    let mut sum = 0;
    let mut joined = Vec::new();
    for (size, id) in small {
        let size = size.max(LOWEST_CLASS);
        if !joined.is_empty() && (size > QUIET_FACTOR * sum || sum + size > target) {
            break;
        }
        sum += size;
        joined.push(id);
    }
    (joined.len() > 1).then_some(Work { files: joined, least: 2, one_file: true })
}

/// Files below the target size in as few files as they fit into: each goes to the first with room, the oldest first.
fn packed(files: &[Numbered<'_>], target: u64) -> Vec<Work> {
    let mut open: Vec<(u64, Work)> = Vec::new();
    let mut files: Vec<_> = files.iter().filter(|(_, file)| live_size(file) < target).collect();
    files.sort_by_key(|(id, file)| (file.add.modification_time, *id));
    for (id, file) in files {
        let size = live_size(file).max(1);
        match open.iter_mut().find(|(free, _)| *free >= size) {
            Some((free, work)) => {
                *free -= size;
                work.files.push(*id);
            }
            None => open.push((target - size, Work { files: vec![*id], least: 2, one_file: true })),
        }
    }
    open.into_iter().map(|(_, work)| work).filter(|work| work.files.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_grow_by_the_factor() {
        assert_eq!([0, 1, 16 << 10, (16 << 10) + 1, 64 << 10, 256 << 10].map(class), [0, 0, 0, 1, 2, 3]);
    }
}
