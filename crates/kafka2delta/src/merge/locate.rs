//! Where the rows are that a batch replaces, deletes or truncates.

use roaring::RoaringBitmap;

use crate::collapse::{Collapsed, Truncate};
use crate::error::{Error, ErrorCode, Result};
use crate::index::Place;
use crate::keys::Fingerprint;
use crate::log::state::{FileEntry, TableState};
use crate::order;
use crate::rewrite::{Deletions, num_records};
use crate::scan::{is_live, row_number, vector_of};
use crate::table::KeyedTable;

/// Where the keys' rows stand before the batch.
#[derive(PartialEq, Eq)]
pub(super) struct Located {
    pub(super) upserts: Vec<Option<Place>>,
    pub(super) deletes: Vec<Option<Place>>,
    pub(super) below_floor: Vec<Option<Place>>,
}

impl KeyedTable {
    /// Where the key's row stands.
    pub(super) fn live_place(&self, key: &Fingerprint) -> Option<Place> {
        let state = self.state.as_ref()?;
        self.index.get(key).filter(|place| is_live(state, *place))
    }

    pub(super) fn locate(&self, collapsed: &Collapsed) -> Located {
        let find = |key: &Fingerprint| self.live_place(key);
        Located {
            upserts: collapsed.upsert_keys.iter().map(find).collect(),
            deletes: collapsed.deletes.iter().map(find).collect(),
            below_floor: collapsed
                .below_floor
                .iter()
                .map(|key| find(key).filter(|p| !self.is_above_floor(*p)))
                .collect(),
        }
    }

    /// Whether all rows of a place's file are newer than the last truncate.
    fn is_above_floor(&self, place: Place) -> bool {
        let (Some(state), Some(floor)) = (&self.state, self.floor()) else { return false };
        state.files[place.file as usize]
            .sequences
            .is_some_and(|(low, _)| low.epoch == floor.epoch && !low.is_before(&floor))
    }

    /// Rows to be taken out, by file: replaced and deleted ones.
    pub(super) fn deletions(&self, located: &Located) -> Result<Deletions> {
        let mut places: Vec<Place> =
            located.upserts.iter().chain(&located.deletes).chain(&located.below_floor).flatten().copied().collect();
        places.sort_unstable();
        let mut deletions = Deletions::new();
        for run in places.chunk_by(|a, b| a.file == b.file) {
            let rows = RoaringBitmap::from_sorted_iter(run.iter().map(|p| p.row))
                .map_err(|_| Error::new(ErrorCode::Internal, "two keys of a batch have one place"))?;
            deletions.insert(run[0].file, rows);
        }
        Ok(deletions)
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
