//! Where the rows are that a batch replaces, deletes or truncates.

use std::collections::HashSet;

use roaring::RoaringBitmap;

use crate::batch::Sequence;
use crate::collapse::{Collapsed, Truncate};
use crate::error::{Error, ErrorCode, Result};
use crate::index::Place;
use crate::keys::Fingerprint;
use crate::log::state::{FileEntry, TableState};
use crate::rewrite::{Deletions, num_records};
use crate::scan::{is_live, row_number, vector_of};
use crate::table::KeyedTable;
use crate::write::{PARTITION_TAG, SEQUENCE_TAG};

/// Where the keys' rows stand before the batch.
#[derive(PartialEq, Eq)]
pub(super) struct Located {
    pub(super) upserts: Vec<Option<Place>>,
    pub(super) deletes: Vec<Option<Place>>,
    pub(super) below_floor: Vec<Option<Place>>,
}

impl KeyedTable {
    pub(super) fn locate(&self, collapsed: &Collapsed) -> Located {
        let find = |key: &Fingerprint| {
            let state = self.state.as_ref()?;
            self.index.get(key).filter(|place| is_live(state, *place))
        };
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
    pub(super) fn is_above_floor(&self, place: Place) -> bool {
        let (Some(state), Some(floor)) = (&self.state, self.floor()) else { return false };
        sequence_range(&state.files[place.file as usize])
            .is_some_and(|(low, _)| low.epoch == floor.epoch && !low.is_before(&floor))
    }

    /// Rows to be taken out, by file: replaced, deleted and truncated ones.
    pub(super) async fn deletions(
        &self,
        state: &TableState,
        located: &Located,
        truncates: &[Truncate],
    ) -> Result<Deletions> {
        let mut places: Vec<Place> =
            located.upserts.iter().chain(&located.deletes).chain(&located.below_floor).flatten().copied().collect();
        places.sort_unstable();
        let mut deletions = Deletions::new();
        for run in places.chunk_by(|a, b| a.file == b.file) {
            let rows = RoaringBitmap::from_sorted_iter(run.iter().map(|p| p.row))
                .map_err(|_| Error::new(ErrorCode::Internal, "two keys of a batch have one place"))?;
            deletions.insert(run[0].file, rows);
        }
        for truncate in truncates {
            self.truncate(state, truncate, &mut deletions).await?;
        }
        Ok(deletions)
    }

    /// Adds the rows that a truncate removes. A row's own sequence is known where it was remembered; otherwise its
    /// file's tags tell.
    pub(super) async fn truncate(
        &self,
        state: &TableState,
        truncate: &Truncate,
        deletions: &mut Deletions,
    ) -> Result<()> {
        let mut whole = HashSet::new();
        for (id, file) in state.live_files() {
            if truncates_file(truncate, file) {
                whole.insert(id);
                let total = num_records(&self.store, file).await?;
                let last = row_number(usize::try_from(total).unwrap_or(usize::MAX))?;
                let live = RoaringBitmap::from_iter(0..last) - vector_of(state, id)?;
                *deletions.entry(id).or_default() |= live;
            }
        }
        for (key, remembered) in self.memory.iter() {
            let (Some(sequence), Some(place)) = (remembered.sequence, self.index.get(key)) else { continue };
            if remembered.deleted || !is_live(state, place) {
                continue;
            }
            let goes = truncate.removes(
                Some(sequence),
                file_partition(&state.files[place.file as usize]).unwrap_or(truncate.partition),
            );
            match (goes, whole.contains(&place.file)) {
                (true, false) => {
                    deletions.entry(place.file).or_default().insert(place.row);
                }
                (false, true) => {
                    if let Some(rows) = deletions.get_mut(&place.file) {
                        rows.remove(place.row);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

pub(super) fn sequence_tag(sequences: &[Option<Sequence>], rows: &[u32]) -> Option<String> {
    let mut all = rows.iter().map(|row| sequences[*row as usize]);
    let first = all.next()??;
    let (mut low, mut high) = (first.value, first.value);
    for sequence in all {
        let sequence = sequence.filter(|s| s.epoch == first.epoch)?;
        low = low.min(sequence.value);
        high = high.max(sequence.value);
    }
    let text = |v: [u64; 3]| format!("{:x}.{:x}.{:x}", v[0], v[1], v[2]);
    Some(format!("{:x}:{}:{}", first.epoch, text(low), text(high)))
}

/// Lowest and highest sequence of a file whose rows all have one.
pub(super) fn sequence_range(file: &FileEntry) -> Option<(Sequence, Sequence)> {
    let tag = file.add.tags.as_ref()?.get(SEQUENCE_TAG)?.as_deref()?;
    let mut parts = tag.split(':');
    let epoch = u64::from_str_radix(parts.next()?, 16).ok()?;
    let mut value = || -> Option<[u64; 3]> {
        let numbers: Option<Vec<u64>> = parts.next()?.split('.').map(|n| u64::from_str_radix(n, 16).ok()).collect();
        numbers?.try_into().ok()
    };
    Some((Sequence { epoch, value: value()? }, Sequence { epoch, value: value()? }))
}

pub(super) fn file_partition(file: &FileEntry) -> Option<i32> {
    file.add.tags.as_ref()?.get(PARTITION_TAG)?.as_deref()?.parse().ok()
}

/// Whether a truncate takes a file's rows as far as its tags tell.
pub(super) fn truncates_file(truncate: &Truncate, file: &FileEntry) -> bool {
    let partition = file_partition(file).unwrap_or(truncate.partition);
    match (truncate.sequence, sequence_range(file)) {
        (Some(floor), Some((_, high))) if high.epoch == floor.epoch => high.is_before(&floor),
        _ => truncate.removes(None, partition),
    }
}
