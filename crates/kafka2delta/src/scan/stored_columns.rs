//! Reading the columns that the kernel asks for from one file.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use delta_kernel::engine::arrow_conversion::TryIntoArrow;
use delta_kernel::engine::arrow_utils::{fixup_parquet_read, ordering_needs_row_indexes, parquet_read_plan};
use delta_kernel::schema::SchemaRef as KernelSchema;
use futures::StreamExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::RowSelection;

use super::columns::in_columns;
use crate::datafile::open::{Batches, OpenFile};
use crate::datafile::read::in_type;
use crate::error::Result;

/// The columns that the kernel asks for, found by their names: missing ones, and missing fields within them, are null, and
/// narrower values become the table's. The kernel itself fails on some of them within arrays and maps.
pub(super) fn by_names(
    file: &OpenFile,
    physical: &KernelSchema,
    location: &str,
    rows: RowSelection,
) -> Result<Batches> {
    let schema: Schema = physical.as_ref().try_into_arrow()?;
    let schema = Arc::new(schema);
    let metadata = file.metadata();
    let found = schema.fields().iter().filter_map(|field| metadata.schema().index_of(field.name()).ok());
    let mask = ProjectionMask::roots(metadata.parquet_schema(), found);
    let location = location.to_owned();
    let in_types = move |batch: RecordBatch| -> Result<RecordBatch> {
        let column = |field: &FieldRef| match batch.column_by_name(field.name()) {
            Some(column) => in_type(column, field, &location),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        };
        let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
    };
    let batches = file.batches(mask, Some(rows))?;
    Ok(batches.map(move |batch| batch.and_then(&in_types)).boxed())
}

/// The columns that the kernel asks for, found as it finds them: by the numbers of their fields, or by their names.
pub(super) fn by_kernel(
    file: &OpenFile,
    physical: &KernelSchema,
    location: &str,
    rows: Option<RowSelection>,
) -> Result<Batches> {
    let metadata = file.metadata();
    let (order, mask) = parquet_read_plan(physical, metadata)?;
    if ordering_needs_row_indexes(&order) {
        return Err(delta_kernel::Error::unsupported("row numbers of data files").into());
    }
    let schema: SchemaRef = Arc::new(physical.as_ref().try_into_arrow()?);
    let (physical, location) = (physical.clone(), location.to_owned());
    let fixed = move |batch: RecordBatch| -> Result<RecordBatch> {
        match physical.num_fields() {
            // The kernel cannot order no columns; such are those of partitions alone.
            0 => Ok(batch),
            // Its expressions know no views.
            _ => {
                in_columns(&fixup_parquet_read(batch, &order, None, Some(&location), Some(&physical))?.into(), &schema)
            }
        }
    };
    let batches = file.batches(mask.unwrap_or_else(ProjectionMask::all), rows)?;
    Ok(batches.map(move |batch| batch.and_then(&fixed)).boxed())
}
