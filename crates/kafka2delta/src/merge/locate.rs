//! Where the rows are that a batch replaces, deletes or truncates.

use std::cmp::Ordering;

use roaring::RoaringBitmap;

use crate::change::collapse::Collapsed;
use crate::datafile::remove_rows::{Deletions, num_records};
use crate::error::{Error, ErrorCode, Result};
use crate::key::hasher::Fingerprint;
use crate::log::files::{FileEntry, FileId, Place};
use crate::log::liveness::{row_number, vector_of};
use crate::log::state::TableState;
use crate::order::truncate::Truncate;
use crate::table::KeyedTable;

/// Where the keys' rows stand before the batch.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Located {
    pub(super) upserts: Vec<Option<Place>>,
    pub(super) deletes: Vec<Option<Place>>,
    /// All of these, by file.
    pub(super) replaced: Deletions,
}

impl KeyedTable {
    pub(super) fn locate(&self, collapsed: &Collapsed) -> Result<Located> {
        if !self.options.write_mode.looks_up_keys() {
            return Ok(Located { upserts: vec![None; collapsed.upserts.len()], ..Located::default() });
        }
        let Some(state) = self.snapshot.state() else {
            let none = |keys: &[Fingerprint]| vec![None; keys.len()];
            let (upserts, deletes) = (none(&collapsed.upsert_keys), none(&collapsed.deletes));
            return Ok(Located { upserts, deletes, ..Located::default() });
        };
        let mut upserts = self.keys.places(&collapsed.upsert_keys);
        let mut deletes = self.keys.places(&collapsed.deletes);
        let mut replaced = by_file(state, upserts.iter().chain(&deletes).flatten())?;
        // Few places are out of date, and bitmaps find them all at once.
        let mut stale = Deletions::new();
        for (id, rows) in &mut replaced {
            let file = &state.files[*id as usize];
            let gone = match (&file.deleted, file.live) {
                (_, false) => rows.clone(),
                (None, true) => continue,
                (Some(deleted), true) => &*rows & &**deleted,
            };
            if !gone.is_empty() {
                *rows -= &gone;
                stale.insert(*id, gone);
            }
        }
        if !stale.is_empty() {
            replaced.retain(|_, rows| !rows.is_empty());
            let is_stale = |place: &Place| stale.get(&place.file).is_some_and(|rows| rows.contains(place.row));
            for place in upserts.iter_mut().chain(&mut deletes) {
                *place = place.filter(|place| !is_stale(place));
            }
        }
        Ok(Located { upserts, deletes, replaced })
    }

    /// The stored rows that truncates remove.
    pub(super) async fn truncated(&self, state: &TableState, truncates: &[Truncate]) -> Result<Deletions> {
        let mut truncated = Deletions::new();
        for truncate in truncates {
            for (id, file) in state.live_files() {
                let live = match truncates_file(truncate, file) {
                    Some(false) => continue,
                    Some(true) => {
                        let total = num_records(self.storage.files(), file).await?;
                        let last = row_number(usize::try_from(total).unwrap_or(usize::MAX))?;
                        RoaringBitmap::from_iter(0..last)
                    }
                    None => self.truncated_rows(truncate, file).await?,
                } - vector_of(state, id)?;
                if !live.is_empty() {
                    *truncated.entry(id).or_default() |= live;
                }
            }
        }
        Ok(truncated)
    }

    /// The rows of a file that a truncate removes, by each row's own order.
    async fn truncated_rows(&self, truncate: &Truncate, file: &FileEntry) -> Result<RoaringBitmap> {
        let partition = file.partition.unwrap_or(truncate.partition);
        let mut rows = RoaringBitmap::new();
        for (row, order) in self.orders.read(&self.storage, file, None).await?.into_iter().enumerate() {
            if truncate.removes(order, partition) {
                rows.insert(row_number(row)?);
            }
        }
        Ok(rows)
    }
}

/// Rows by file. By file first: sorting is most of the work.
fn by_file<'a>(state: &TableState, places: impl Iterator<Item = &'a Place>) -> Result<Deletions> {
    let mut slots = vec![u32::MAX; state.files.len()];
    let mut files: Vec<(FileId, Vec<u32>)> = Vec::new();
    for place in places {
        let slot = &mut slots[place.file as usize];
        if *slot == u32::MAX {
            *slot = files.len() as u32;
            files.push((place.file, Vec::new()));
        }
        files[*slot as usize].1.push(place.row);
    }
    let mut deletions = Deletions::new();
    for (file, mut rows) in files {
        rows.sort_unstable();
        let rows = RoaringBitmap::from_sorted_iter(rows)
            .map_err(|_| Error::new(ErrorCode::Internal, "two keys of a batch have one place"))?;
        deletions.insert(file, rows);
    }
    Ok(deletions)
}

/// Whether a truncate takes all of a file's rows, or none, as far as its tags tell.
fn truncates_file(truncate: &Truncate, file: &FileEntry) -> Option<bool> {
    if file.partition.is_none_or(|partition| partition == truncate.partition) {
        return Some(true);
    }
    let ((low, high), position) = (file.sequences?, truncate.order.sequence?);
    match (low.compare(&position)?, high.compare(&position)?) {
        (_, Ordering::Less) => Some(true),
        (Ordering::Greater, _) => Some(false),
        _ => None,
    }
}
