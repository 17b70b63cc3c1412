//! Sequences of stored rows, where the memory lacks them and offsets do not decide.

use std::collections::BTreeMap;

use crate::batch::{ChangeBatch, Op, Sequence};
use crate::error::Result;
use crate::index::Remembered;
use crate::keys::Fingerprint;
use crate::log::state::FileId;
use crate::order;
use crate::scan::is_live;
use crate::table::KeyedTable;

impl KeyedTable {
    /// Remembers the sequences of rows that the batch's changes must be compared with: those that came through another
    /// Kafka partition, and those below the last truncate. Within a partition the order of the offsets is enough.
    pub(super) async fn recall(
        &mut self,
        batch: &ChangeBatch,
        keys: &[Fingerprint],
        floor: Option<Sequence>,
    ) -> Result<()> {
        let (Some(state), Some(sequences)) = (&self.state, &batch.sequences) else { return Ok(()) };
        let partition_of = |row: usize| batch.partitions.as_ref().map_or(0, |p| p[row]);
        let several = batch.partitions.as_ref().is_some_and(|p| p.windows(2).any(|two| two[0] != two[1]));
        if !several && floor.is_none() && !state.has_other_partitions(partition_of(0)) {
            return Ok(());
        }
        let mut wanted: BTreeMap<FileId, Vec<(u32, Fingerprint)>> = BTreeMap::new();
        for (row, key) in keys.iter().enumerate() {
            let Some(sequence) = sequences[row].filter(|_| batch.ops[row] != Op::Truncate) else { continue };
            let Some(place) = self.index.get(key).filter(|_| self.memory.get(key).is_none()) else { continue };
            let file = &state.files[place.file as usize];
            let below_floor = floor.is_some_and(|floor| sequence.is_before(&floor));
            if file.live && (below_floor || file.partition != Some(partition_of(row))) {
                wanted.entry(place.file).or_default().push((place.row, *key));
            }
        }
        let mut found = Vec::new();
        for (file, mut rows) in wanted {
            rows.sort_unstable();
            rows.dedup();
            let entry = &state.files[file as usize];
            let numbers: Vec<u32> = rows.iter().map(|(row, _)| *row).collect();
            let sequences = order::read(&self.store, &entry.add, Some(&numbers)).await?;
            for ((row, key), sequence) in rows.into_iter().zip(sequences) {
                let deleted = !is_live(state, crate::index::Place { file, row });
                let partition = entry.partition.unwrap_or(-1);
                if sequence.is_some() {
                    found.push((key, Remembered { sequence, deleted, placed: false, partition }));
                }
            }
        }
        for (key, remembered) in found {
            for (forgotten, what) in self.memory.set(key, remembered) {
                self.forget(&forgotten, what);
            }
        }
        Ok(())
    }
}
