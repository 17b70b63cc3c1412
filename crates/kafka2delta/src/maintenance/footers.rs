//! What a step of compaction will hold in memory, by the footers of its files.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::ObjectStore;

use super::choose::{Footer, Group, Source};
use super::plan::CompactionPlan;
use crate::datafile::order_columns;
use crate::datafile::output::PART_BYTES;
use crate::datafile::read::FileReader;
use crate::error::Result;

/// Footers that are read at the same time.
pub(super) const PARALLEL_OPENS: usize = 16;
/// Bytes of footers that are held until their files are read; others are read again.
const KEPT: u64 = 8 << 20;
/// Bytes of a row's old and its new number.
const NUMBERS: u64 = 16;
/// Bytes of what a column is encoded with, beside its values, and of a row's place in its dictionary, of which a page has few.
const ENCODER: u64 = 80 << 10;
const PLACE: u64 = 8;
const PLACES: u64 = 160 << 10;
/// Bytes of a sorted row's place among the others, and of its value in one column to sort by.
const POSITION: u64 = 40;
const SORTED_VALUE: u64 = 96;
/// A value from which on a page has no other one: it is held as it is encoded, and compressed.
const OWN_PAGE: u64 = 1 << 20;

impl CompactionPlan {
    /// Reads the footers of the step's files, unless that was done.
    ///
    /// # Errors
    /// `TABLE_CORRUPT`, `STORAGE`.
    pub async fn read_footers(&mut self) -> Result<()> {
        let sources = || self.groups.iter().flat_map(|group| &group.sources);
        if sources().all(|source| source.footer.is_some()) {
            return Ok(());
        }
        let opens: Vec<_> = sources().map(|source| open(&self.store, source)).collect();
        let mut readers = futures::stream::iter(opens).buffered(PARALLEL_OPENS);
        let mut held = 0;
        for source in self.groups.iter_mut().flat_map(|group| &mut group.sources) {
            let Some(reader) = readers.try_next().await? else { break };
            let weight = reader.weight();
            held += weight.footer;
            source.footer = Some(Footer {
                weight,
                rows: reader.num_rows(),
                is_ordered: reader.has_column(order_columns::COLUMNS[0]),
                reader: (held <= KEPT).then_some(reader),
            });
        }
        Ok(())
    }

    /// Lets go of what is open: the step has to wait.
    pub(super) fn close_files(&mut self) {
        for footer in self.groups.iter_mut().flat_map(|group| &mut group.sources).filter_map(|s| s.footer.as_mut()) {
            footer.reader = None;
        }
    }

    /// Bytes that the step will hold, by the footers of its files: 0 before these are read.
    pub fn held_bytes(&self) -> u64 {
        let numbers: u64 = self.groups.iter().map(|group| NUMBERS * sum(group, |footer| footer.rows)).sum();
        numbers + self.groups.iter().map(|group| self.held_by(group)).max().unwrap_or(0)
    }

    /// What a group holds while it is rewritten.
    fn held_by(&self, group: &Group) -> u64 {
        let footers = sum(group, |footer| footer.weight.footer).min(KEPT)
            + PARALLEL_OPENS as u64 * most(group, |footer| footer.weight.footer);
        let (rows, plain) = (sum(group, |footer| footer.rows), sum(group, |footer| footer.weight.plain));
        let reading = group.sources.iter().filter_map(|source| {
            let Footer { weight, .. } = source.footer.as_ref()?;
            // Rows without the deleted ones are a copy.
            let copies = 1 + u64::from(source.has_deleted());
            Some(weight.fetched + weight.pages + copies * weight.piece)
        });
        let reading = reading.max().unwrap_or(0);
        let (row, leaves) = (most(group, |footer| footer.weight.row), most(group, |footer| footer.weight.leaves));
        let encoders = leaves * (ENCODER + (rows * PLACE).min(PLACES));
        let pages = if row < OWN_PAGE { 0 } else { row * 5 / 2 };
        // Where a group of rows is done, its last pages come to what was compressed before.
        let encoded = (self.row_group_bytes as u64 * 3 / 2).min(plain * 3 / 2) + plain.min(PART_BYTES as u64);
        footers + reading + encoders + pages + encoded + self.sorted(group, rows)
    }

    /// What is held beside that where rows are sorted: all of them as views, and their order.
    fn sorted(&self, group: &Group, rows: u64) -> u64 {
        if self.cluster_by.is_empty() {
            return 0;
        }
        let views = sum(group, |footer| footer.weight.views);
        let places = rows * (POSITION + SORTED_VALUE * self.cluster_by.len() as u64);
        // Those that are picked, as views and as texts.
        views + places + 2 * most(group, |footer| footer.weight.piece)
    }
}

impl Source {
    fn has_deleted(&self) -> bool {
        self.add.deletion_vector.is_some()
    }
}

/// Opens the file of a source.
pub(super) fn open(store: &Arc<dyn ObjectStore>, source: &Source) -> BoxFuture<'static, Result<FileReader>> {
    let (store, add) = (store.clone(), source.add.clone());
    async move { FileReader::open(&store, &add).await }.boxed()
}

fn sum(group: &Group, of: impl Fn(&Footer) -> u64) -> u64 {
    group.sources.iter().filter_map(|source| source.footer.as_ref()).map(of).sum()
}

fn most(group: &Group, of: impl Fn(&Footer) -> u64) -> u64 {
    group.sources.iter().filter_map(|source| source.footer.as_ref()).map(of).max().unwrap_or(0)
}
