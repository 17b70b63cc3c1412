//! The order of stored rows that changes of another Kafka partition meet.

use std::collections::BTreeMap;

use futures::{FutureExt, StreamExt, TryStreamExt};
use hashbrown::HashMap;

use crate::change::batch::{ChangeBatch, Op};
use crate::datafile::read::PARALLEL_READS;
use crate::error::Result;
use crate::key::hasher::Fingerprint;
use crate::log::files::{FileEntry, FileId};
use crate::order::memory::Remembered;
use crate::table::KeyedTable;

impl KeyedTable {
    /// Reads the order of the rows that the batch's changes must be compared with: those that came through another
    /// partition, and beside a truncate all, those of old keys too. Within a partition the order of the offsets is enough.
    pub(super) async fn recall(
        &self,
        batch: &ChangeBatch,
        keys: &[Fingerprint],
        old_keys: &[Option<Fingerprint>],
    ) -> Result<HashMap<Fingerprint, Remembered>> {
        let mut recalled = HashMap::new();
        let (Some(state), true) = (self.snapshot.state(), batch.orders.is_some()) else { return Ok(recalled) };
        let truncates = batch.ops.contains(&Op::Truncate);
        if !truncates && !self.meets_other_partitions(batch) {
            return Ok(recalled);
        }
        let mut wanted: BTreeMap<FileId, Vec<(u32, Fingerprint)>> = BTreeMap::new();
        for (row, (key, place)) in keys.iter().zip(self.keys.places(keys)).enumerate() {
            let Some(place) = place.filter(|_| batch.ops[row] != Op::Truncate && self.keys.memory().get(key).is_none())
            else {
                continue;
            };
            let file = &state.files[place.file as usize];
            if file.live && (truncates || file.partition.is_some_and(|p| p != batch.partition(row))) {
                wanted.entry(place.file).or_default().push((place.row, *key));
            }
        }
        for key in old_keys.iter().flatten().filter(|_| truncates) {
            if let Some(place) = self.keys.live_place(self.snapshot.state(), key) {
                wanted.entry(place.file).or_default().push((place.row, *key));
            }
        }
        let reads = wanted.into_iter().map(|(file, rows)| self.recall_rows(&state.files[file as usize], rows).boxed());
        let mut reads = futures::stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(PARALLEL_READS);
        while let Some(rows) = reads.try_next().await? {
            recalled.extend(rows);
        }
        Ok(recalled)
    }

    /// The order of rows of one file.
    async fn recall_rows(
        &self,
        file: &FileEntry,
        mut rows: Vec<(u32, Fingerprint)>,
    ) -> Result<Vec<(Fingerprint, Remembered)>> {
        rows.sort_unstable();
        rows.dedup();
        let numbers: Vec<u32> = rows.iter().map(|(row, _)| *row).collect();
        let orders = self.orders.read(&self.storage, file, Some(&numbers)).await?;
        // A file that another writer made anew has no order.
        let partition = file.partition.unwrap_or(-1);
        let remembered = |order| Remembered { order, placed: false, partition };
        Ok(rows.into_iter().zip(orders).map(|((_, key), order)| (key, remembered(order))).collect())
    }

    /// Whether changes of the batch may meet a change that came through another partition.
    pub(super) fn meets_other_partitions(&self, batch: &ChangeBatch) -> bool {
        let first = batch.partition(0);
        batch.partitions.as_ref().is_some_and(|partitions| partitions.iter().any(|p| *p != first))
            || self.snapshot.state().is_some_and(|state| state.has_other_partitions(first))
    }
}
