//! Rows that a truncate removes and that stay all the same: marked as deleted, or as versions of the past.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use futures::TryStreamExt;

use super::scd2::{closed, truncated_at};
use crate::datafile::encode::encode;
use crate::datafile::order_columns;
use crate::datafile::read::{RowsOfFile, begin_reads};
use crate::datafile::remove_rows::{Deletions, Taken};
use crate::datafile::split::split;
use crate::error::Result;
use crate::log::state::TableState;
use crate::merge::change_feed::{ChangeFeed, ChangeType};
use crate::merge::files::with_flags;
use crate::merge::prepared::{Prepared, complete};
use crate::table::KeyedTable;

/// Bytes of rows that are marked at once.
const MAX_HELD: usize = 64 << 20;

impl KeyedTable {
    /// Writes truncated rows anew, marked: one file of the table after the other.
    pub(in crate::merge) async fn keep_as_deleted(
        &self,
        state: &TableState,
        truncated: &Deletions,
        prepared: &Prepared,
        taken: &mut Taken,
        mut feed: Option<&mut ChangeFeed>,
    ) -> Result<()> {
        let stored = order_columns::with_columns(&prepared.base_schema);
        let files = truncated.iter().map(|(id, rows)| {
            let file = &state.files[*id as usize];
            (file.partition, file.add.clone(), rows.iter().collect())
        });
        let mut reads = begin_reads(self.storage.files(), &stored, files);
        while let Some(RowsOfFile { file: partition, mut batches, .. }) = reads.try_next().await? {
            let (mut held, mut bytes) = (Vec::new(), 0);
            while let Some(found) = batches.try_next().await? {
                bytes += found.get_array_memory_size();
                held.push(found);
                if bytes > MAX_HELD {
                    let found = concat_batches(&stored, &std::mem::take(&mut held))?;
                    self.keep_rows(found, partition, prepared, taken, feed.as_deref_mut()).await?;
                    bytes = 0;
                }
            }
            self.keep_rows(concat_batches(&stored, &held)?, partition, prepared, taken, feed.as_deref_mut()).await?;
        }
        Ok(())
    }

    /// Writes rows of one file anew, marked. `found` has their order, too.
    async fn keep_rows(
        &self,
        found: RecordBatch,
        partition: Option<i32>,
        prepared: &Prepared,
        taken: &mut Taken,
        feed: Option<&mut ChangeFeed>,
    ) -> Result<()> {
        let count = found.num_rows();
        let base_columns: Vec<usize> = (0..prepared.base_schema.fields().len()).collect();
        let rows = found.project(&base_columns)?;
        let marked = match (self.options.write_mode.version_columns(), &self.options.soft_delete_column) {
            (Some(columns), _) => closed(&rows, columns, truncated_at(&prepared.collapsed.truncates))?,
            (None, Some(column)) => with_flags(&rows, column, std::iter::repeat_n(true, count))?,
            (None, None) => return Ok(()),
        };
        let complete = complete(&marked, &prepared.schema, &prepared.compiled)?;
        self.snapshot.check_not_null(&complete)?;
        if let Some(feed) = feed {
            feed.push(&complete, vec![ChangeType::UpdatePostimage; count]).await?;
        }
        let complete = order_columns::append(&complete, &order_columns::orders_of(&found))?;
        let (key, partition_columns) = (self.keys.required()?, self.partition_columns());
        let format = self.file_format();
        for mut group in split(&complete, &partition_columns, Some(&vec![partition.unwrap_or(0); count]))? {
            group.kafka_partition = partition;
            let copy = encode(&complete, &group, &partition_columns, &format)?;
            let picked = take_record_batch(&complete, &UInt32Array::from(group.rows.clone()))?;
            taken.store_copy(self.storage.files(), copy, key.fingerprints(&picked)?).await?;
        }
        Ok(())
    }
}
