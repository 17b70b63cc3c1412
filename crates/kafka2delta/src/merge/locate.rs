//! Where the rows are that a batch replaces, deletes or truncates.

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use crate::collapse::{Collapsed, Truncate};
use crate::error::{Error, ErrorCode, Result};
use crate::index::Place;
use crate::keys::Fingerprint;
use crate::log::state::{FileEntry, FileId, TableState};
use crate::options::WriteMode;
use crate::order;
use crate::rewrite::{Deletions, num_records};
use crate::scan::{is_live, row_number, vector_of};
use crate::table::KeyedTable;

/// Where the keys' rows stand before the batch.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Located {
    pub(super) upserts: Vec<Option<Place>>,
    pub(super) deletes: Vec<Option<Place>>,
    pub(super) below_floor: Vec<Option<Place>>,
    /// All of these, by file.
    pub(super) replaced: Deletions,
}

impl KeyedTable {
    /// Where the key's row stands.
    pub(super) fn live_place(&self, key: &Fingerprint) -> Option<Place> {
        let state = self.state.as_ref()?;
        self.index.get(key).filter(|place| is_live(state, *place))
    }

    pub(super) fn locate(&self, collapsed: &Collapsed) -> Result<Located> {
        if self.options.write_mode == WriteMode::Append {
            return Ok(Located { upserts: vec![None; collapsed.upserts.len()], ..Located::default() });
        }
        let find = |keys: &[Fingerprint]| -> Vec<Option<Place>> {
            let Some(state) = &self.state else { return vec![None; keys.len()] };
            let mut places = self.index.get_all(keys);
            places.iter_mut().for_each(|place| *place = place.filter(|place| is_live(state, *place)));
            places
        };
        let mut below_floor = find(&collapsed.below_floor);
        below_floor.iter_mut().for_each(|place| *place = place.filter(|place| !self.is_above_floor(*place)));
        let (upserts, deletes) = (find(&collapsed.upsert_keys), find(&collapsed.deletes));
        let replaced = by_file(upserts.iter().chain(&deletes).chain(&below_floor).flatten())?;
        Ok(Located { upserts, deletes, below_floor, replaced })
    }

    /// Whether all rows of a place's file are newer than the last truncate.
    pub(super) fn is_above_floor(&self, place: Place) -> bool {
        let (Some(state), Some(floor)) = (&self.state, self.floor()) else { return false };
        state.files[place.file as usize]
            .sequences
            .is_some_and(|(low, _)| low.epoch == floor.epoch && !low.is_before(&floor))
    }

    /// The stored rows that truncates remove.
    pub(super) async fn truncated(&self, state: &TableState, truncates: &[Truncate]) -> Result<Deletions> {
        let mut truncated = Deletions::new();
        for truncate in truncates {
            for (id, file) in state.live_files() {
                let live = match truncates_file(truncate, file) {
                    Some(false) => continue,
                    Some(true) => {
                        let total = num_records(&self.store, file).await?;
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

    /// The rows of a file that a truncate removes, by each row's own sequence.
    async fn truncated_rows(&self, truncate: &Truncate, file: &FileEntry) -> Result<RoaringBitmap> {
        let partition = file.partition.unwrap_or(truncate.partition);
        let mut rows = RoaringBitmap::new();
        for (row, sequence) in order::read(&self.store, &file.add, None).await?.into_iter().enumerate() {
            if truncate.removes(sequence, partition) {
                rows.insert(row_number(row)?);
            }
        }
        Ok(rows)
    }
}

/// Rows by file. By file first: sorting is most of the work.
fn by_file<'a>(places: impl Iterator<Item = &'a Place>) -> Result<Deletions> {
    let mut files: HashMap<FileId, Vec<u32>> = HashMap::new();
    for place in places {
        files.entry(place.file).or_default().push(place.row);
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
    let partition = file.partition.unwrap_or(truncate.partition);
    match (truncate.sequence, file.sequences) {
        (Some(floor), Some((low, high))) if low.epoch == floor.epoch => {
            match (high.is_before(&floor), low.is_before(&floor)) {
                (true, _) => Some(true),
                (_, false) => Some(false),
                _ => None,
            }
        }
        (None, _) => Some(truncate.removes(None, partition)),
        (Some(_), Some(_)) => Some(truncate.removes(None, partition)),
        (Some(_), None) => None,
    }
}
