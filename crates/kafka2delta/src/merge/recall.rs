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
    /// Kafka partition, those below the last truncate or beside one, and those that an incremental snapshot reads, which
    /// keep theirs. Within a partition the order of the offsets is enough.
    pub(super) async fn recall(
        &mut self,
        batch: &ChangeBatch,
        keys: &[Fingerprint],
        floor: Option<Sequence>,
    ) -> Result<()> {
        let Some(state) = &self.state else { return Ok(()) };
        let incremental = batch.ops.contains(&Op::Incremental);
        if batch.sequences.is_none() && !incremental {
            return Ok(());
        }
        let sequence_of = |row: usize| batch.sequences.as_ref().and_then(|sequences| sequences[row]);
        let truncates = batch.ops.contains(&Op::Truncate);
        // A change that comes again would make a version a second time.
        let versions = self.options.write_mode.version_columns().is_some();
        let partition_of = |row: usize| batch.partitions.as_ref().map_or(0, |p| p[row]);
        let several = batch.partitions.as_ref().is_some_and(|p| p.windows(2).any(|two| two[0] != two[1]));
        if !several
            && !versions
            && floor.is_none()
            && !truncates
            && !incremental
            && !state.has_other_partitions(partition_of(0))
        {
            return Ok(());
        }
        let mut wanted: BTreeMap<FileId, Vec<(u32, Fingerprint)>> = BTreeMap::new();
        for (row, key) in keys.iter().enumerate() {
            let (op, sequence) = (batch.ops[row], sequence_of(row));
            if op == Op::Truncate || (sequence.is_none() && op != Op::Incremental && !truncates) {
                continue;
            }
            let Some(place) = self.index.get(key).filter(|_| self.memory.get(key).is_none()) else { continue };
            let file = &state.files[place.file as usize];
            let below_floor = floor.is_some_and(|floor| sequence.is_some_and(|s| s.is_before(&floor)));
            let needed = below_floor || truncates || versions || op == Op::Incremental;
            if file.live && (needed || file.partition != Some(partition_of(row))) {
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
