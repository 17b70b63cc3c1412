//! A batch made ready for the table's schema, and its rows with the additional columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use crate::change::collapse::Collapsed;
use crate::change::forms::Forms;
use crate::computed::CompiledColumns;
use crate::error::Result;
use crate::schema::conform;
use crate::table::Basis;

/// A batch made ready for the table's schema.
pub(super) struct Prepared {
    /// The table's schema with this batch, and without it the same where nothing is new.
    pub(super) schema: SchemaRef,
    /// What this was decided on.
    pub(super) basis: Basis,
    pub(super) added_columns: Vec<String>,
    pub(super) widened_columns: Vec<String>,
    pub(super) compiled: Arc<CompiledColumns>,
    /// The batch's columns in the table's types, without additional ones.
    pub(super) base_schema: SchemaRef,
    /// The batch in these types, or with views of texts and bytes.
    pub(super) base: RecordBatch,
    /// What the types of the batch's columns do not tell.
    pub(super) forms: Forms,
    pub(super) left_out: Vec<(String, BooleanArray)>,
    pub(super) partitions: Option<Vec<i32>>,
    pub(super) collapsed: Collapsed,
    /// Left-out values that were nowhere to be found when `base` was made.
    pub(super) missing: u64,
}

/// The rows in the table's layout, additional columns computed.
pub(super) fn complete(rows: &RecordBatch, schema: &SchemaRef, compiled: &CompiledColumns) -> Result<RecordBatch> {
    let mut additional = compiled.evaluate(rows)?;
    let columns: Result<Vec<ArrayRef>> = schema
        .fields()
        .iter()
        .map(|field| match additional.remove(field.name()).or_else(|| rows.column_by_name(field.name()).cloned()) {
            Some(column) => conform(&column, field.data_type()),
            None => Ok(arrow::array::new_null_array(field.data_type(), rows.num_rows())),
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns?, &options)?)
}
