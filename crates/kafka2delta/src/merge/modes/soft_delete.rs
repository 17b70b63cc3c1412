//! Rows that a truncate removes and that stay all the same: marked as deleted, or as versions of the past.

use arrow::array::{RecordBatch, UInt32Array};

use super::scd2::{closed, truncated_at};
use crate::datafile::encode::encode;
use crate::datafile::order_columns;
use crate::datafile::parquet_properties::writer_properties;
use crate::datafile::read::read_rows;
use crate::datafile::remove_rows::{Deletions, Taken};
use crate::datafile::split::split;
use crate::error::Result;
use crate::log::state::TableState;
use crate::merge::change_feed::{ChangeFeed, ChangeType};
use crate::merge::files::with_flags;
use crate::merge::prepared::{Prepared, complete};
use crate::table::KeyedTable;

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
        let key = self.keys.required()?;
        let base = prepared.base.schema();
        let stored = order_columns::with_columns(&base);
        let names: Vec<String> = stored.fields().iter().map(|f| f.name().clone()).collect();
        let base_columns: Vec<usize> = (0..base.fields().len()).collect();
        let partition_columns = self.partition_columns();
        let stats = self.stats_columns();
        for (id, rows) in truncated.iter().filter(|(_, rows)| !rows.is_empty()) {
            let file = &state.files[*id as usize];
            let numbers: Vec<u32> = rows.iter().collect();
            let found: RecordBatch = read_rows(self.storage.files(), &file.add, &stored, &names, &numbers).await?;
            let rows = found.project(&base_columns)?;
            let marked = match (self.options.write_mode.version_columns(), &self.options.soft_delete_column) {
                (Some(columns), _) => closed(&rows, columns, truncated_at(&prepared.collapsed.truncates))?,
                (None, Some(column)) => with_flags(&rows, column, std::iter::repeat_n(true, numbers.len()))?,
                (None, None) => return Ok(()),
            };
            let complete = complete(&marked, &prepared.schema, &prepared.compiled)?;
            self.snapshot.check_not_null(&complete)?;
            if let Some(feed) = &mut feed {
                feed.push(&complete, vec![ChangeType::UpdatePostimage; numbers.len()]).await?;
            }
            let complete = order_columns::append(&complete, &order_columns::orders_of(&found))?;
            let kafka = vec![file.partition.unwrap_or(0); numbers.len()];
            for mut group in split(&complete, &partition_columns, Some(&kafka))? {
                group.kafka_partition = file.partition;
                let compression = self.options.compression;
                let copy =
                    encode(&complete, &group, &partition_columns, writer_properties(compression), compression, &stats)?;
                let picked = arrow::compute::take_record_batch(&complete, &UInt32Array::from(group.rows.clone()))?;
                taken.store_copy(self.storage.files(), copy, key.fingerprints(&picked)?).await?;
            }
        }
        Ok(())
    }
}
