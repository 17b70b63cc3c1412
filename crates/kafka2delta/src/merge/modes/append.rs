//! Changelogs: each change is a row, in the order of the offsets. Nothing is replaced, so no key is looked up.

use std::sync::Arc;

use arrow::array::{Array, ListBuilder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field};

use crate::change::batch::ChangeBatch;
use crate::change::collapse::Collapsed;
use crate::error::Result;
use crate::key::hasher::NO_KEY;
use crate::merge::prepared::Prepared;
use crate::table::KeyedTable;

/// Column with the names of columns whose value a change left as it was: it is not known here.
const UNCHANGED: &str = "__unchanged";

/// The column that a changelog has beside the topic's: [`UNCHANGED`], from the first change on that needs it.
pub(super) fn own_column(batch: &ChangeBatch) -> Option<Field> {
    let leaves = batch.left_out.iter().any(|(_, mask)| mask.true_count() > 0);
    let names = DataType::List(Arc::new(Field::new("element", DataType::Utf8, true)));
    leaves.then(|| Field::new(UNCHANGED, names, true))
}

impl KeyedTable {
    /// All rows of the batch, as they are, but for those that the changelog has already.
    pub(super) async fn prepare_append(&mut self, batch: &ChangeBatch, mut prepared: Prepared) -> Result<Prepared> {
        let rows = batch.num_rows();
        if let Ok(at) = prepared.base.schema_ref().index_of(UNCHANGED) {
            let field = Arc::new(Field::new("element", DataType::Utf8, true));
            let mut names = ListBuilder::new(StringBuilder::new()).with_field(field);
            for row in 0..rows {
                let left = batch.left_out.iter().filter(|(_, mask)| mask.is_valid(row) && mask.value(row));
                let mut any = false;
                for (column, _) in left {
                    names.values().append_value(batch.data.schema_ref().field(*column).name());
                    any = true;
                }
                names.append(any);
            }
            let mut columns = prepared.base.columns().to_vec();
            columns[at] = Arc::new(names.finish());
            prepared.base = RecordBatch::try_new(prepared.base.schema(), columns)?;
        }
        let upserts = self.without_repeats(batch, &prepared.base, UNCHANGED).await?;
        let orders = batch.orders.as_ref();
        prepared.collapsed = Collapsed {
            upsert_keys: vec![NO_KEY; upserts.len()],
            upsert_orders: orders.map_or_else(Vec::new, |o| upserts.iter().map(|row| o[*row as usize]).collect()),
            dropped_stale: (rows - upserts.len()) as u64,
            upserts,
            ..Collapsed::default()
        };
        // The rows are written anew where a column grows: without those that are deleted.
        if !prepared.widened_columns.is_empty() {
            self.snapshot.load_all_vectors(&self.storage).await?;
        }
        Ok(prepared)
    }
}
