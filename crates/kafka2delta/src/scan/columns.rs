//! Columns of a table by their names, and batches in their types.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use delta_kernel::schema::{SchemaRef as KernelSchema, StructField, StructType};

use crate::error::{Error, ErrorCode, Result};
use crate::schema::conform;

/// The columns of these names, in their order.
pub(super) fn selected(table: &StructType, names: &[String]) -> Result<KernelSchema> {
    let mut fields = Vec::with_capacity(names.len());
    for name in names {
        fields.push(find(table, name)?.clone());
    }
    if fields.is_empty() {
        return Err(Error::new(ErrorCode::ConfigInvalid, "a scan without columns: name at least one"));
    }
    Ok(Arc::new(StructType::try_new(fields)?))
}

/// The column of a name: the same one, or the only one that is the same but for its case, as in Spark.
pub(super) fn find<'a>(table: &'a StructType, name: &str) -> Result<&'a StructField> {
    if let Some(field) = table.field(name) {
        return Ok(field);
    }
    let mut found = table.fields().filter(|field| field.name().to_lowercase() == name.to_lowercase());
    match (found.next(), found.next()) {
        (Some(field), None) => Ok(field),
        (Some(_), Some(_)) => {
            Err(Error::new(ErrorCode::ExpressionInvalid, format!("several columns are called '{name}'")))
        }
        (None, _) => {
            let names: Vec<&str> = table.fields().map(|field| field.name().as_str()).collect();
            let message = format!("the table has no column '{name}'; its columns are {}", names.join(", "));
            Err(Error::new(ErrorCode::ExpressionInvalid, message))
        }
    }
}

/// Columns without the metadata of the Delta schema.
pub(super) fn plain(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_metadata(HashMap::new()));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The batch in the types of a result's columns, which are in the same order.
pub(super) fn in_columns(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns: Vec<ArrayRef> =
        columns.map(|(column, field)| conform(column, field.data_type())).collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}
