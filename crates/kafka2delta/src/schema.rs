//! The table's schema: how it grows with the batches, and which values fit it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use delta_kernel::engine::arrow_conversion::{TryFromArrow, TryIntoArrow};
use delta_kernel::schema::StructType;

use crate::error::{Error, ErrorCode, Result};

/// What to do with columns that the table does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaEvolution {
    /// They are added, nullable.
    Add,
    /// They are ignored.
    None,
    /// They are an error.
    Fail,
}

/// The Arrow schema of a Delta schema: canonical types and names of nested fields. All columns are nullable, since
/// deletes have nulls: which ones must be set, [`not_null`] tells.
pub fn to_arrow(schema: &StructType) -> Result<SchemaRef> {
    let schema: Schema = schema.try_into_arrow()?;
    let nullable = |field: &Arc<Field>| match field.is_nullable() {
        true => field.clone(),
        false => Arc::new(field.as_ref().clone().with_nullable(true)),
    };
    let fields: Vec<Arc<Field>> = schema.fields().iter().map(nullable).collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// The columns that are NOT NULL.
pub fn not_null(schema: &StructType) -> Vec<String> {
    schema.fields().filter(|field| !field.is_nullable()).map(|field| field.name().clone()).collect()
}

/// Refuses rows without a value in a column that must have one. An empty text counts as none where it is a partition's
/// value, which Delta reads back as null.
pub fn check_not_null(rows: &RecordBatch, not_null: &[String], partition_columns: &[String]) -> Result<()> {
    for name in not_null {
        let Some(column) = rows.column_by_name(name) else { continue };
        let mut missing = column.logical_null_count();
        if let Some(texts) = column.as_string_opt::<i32>().filter(|_| partition_columns.contains(name)) {
            missing += texts.iter().filter(|text| *text == Some("")).count();
        }
        if missing > 0 {
            return Err(incompatible(format!(
                "{missing} of {} rows to be written have no value in column '{name}', which is NOT NULL in the table: \
                 nothing of the batch was written. Run ALTER TABLE … ALTER COLUMN {name} DROP NOT NULL if the source \
                 may have nulls there",
                rows.num_rows()
            )));
        }
    }
    Ok(())
}

/// The Delta schema of an Arrow schema.
pub fn to_delta(schema: &Schema) -> Result<StructType> {
    StructType::try_from_arrow(schema)
        .map_err(|e| Error::with_source(ErrorCode::SchemaIncompatible, "a column's type has no Delta type", e))
}

/// A field as Delta reads it back: canonical and nullable.
pub fn canonical(field: &Field) -> Result<Field> {
    let one = to_delta(&Schema::new(vec![field.clone().with_nullable(true)]))?;
    Ok(to_arrow(&one)?.field(0).as_ref().clone())
}

fn incompatible(message: String) -> Error {
    Error::new(ErrorCode::SchemaIncompatible, message)
}

/// The table's schema after a batch.
#[derive(Debug)]
pub struct Evolved {
    /// All columns, the new ones at the end.
    pub schema: SchemaRef,
    /// Names of the new ones.
    pub added: Vec<String>,
    /// Names of those whose type grew: the table's files are to be rewritten.
    pub widened: Vec<String>,
}

/// The table's schema after a batch with these fields.
///
/// A column that the batch lacks stays. A type stays the table's where the batch's values fit it, and grows where both
/// fit a wider one.
pub fn evolve(table: &Schema, batch: &[Field], evolution: SchemaEvolution) -> Result<Evolved> {
    let mut fields: Vec<Arc<Field>> = table.fields().to_vec();
    let (mut added, mut widened) = (Vec::new(), Vec::new());
    for field in batch {
        let Some(known) = fields.iter_mut().find(|f| f.name().eq_ignore_ascii_case(field.name())) else {
            match evolution {
                SchemaEvolution::Add => {
                    added.push(field.name().clone());
                    fields.push(Arc::new(canonical(field)?));
                }
                SchemaEvolution::None => {}
                SchemaEvolution::Fail => {
                    return Err(incompatible(format!(
                        "the changes have a new column '{}' of type {}, and schemaEvolution is 'fail'",
                        field.name(),
                        field.data_type()
                    )));
                }
            }
            continue;
        };
        if known.name() != field.name() {
            return Err(incompatible(format!(
                "columns '{}' and '{}' differ only in case, and Delta does not tell them apart: rename one \
                 (renameColumns)",
                known.name(),
                field.name()
            )));
        }
        if fits(field.data_type(), known.data_type()) {
            continue;
        }
        match widen(known.data_type(), field.data_type()).filter(|_| evolution == SchemaEvolution::Add) {
            Some(wider) => {
                widened.push(field.name().clone());
                *known = Arc::new(known.as_ref().clone().with_data_type(wider));
            }
            None => {
                return Err(incompatible(format!(
                    "column '{}' has type {} in the table and {} in the changes: the values do not fit. Write to a new \
                     table, or change the table's column",
                    field.name(),
                    known.data_type(),
                    field.data_type()
                )));
            }
        }
    }
    Ok(Evolved { schema: Arc::new(Schema::new(fields)), added, widened })
}

/// The type that holds the values of both exactly: a longer integer, a double, or a decimal with more digits.
fn widen(table: &DataType, batch: &DataType) -> Option<DataType> {
    use DataType as T;
    match (table, batch) {
        (T::Int8, T::Int16 | T::Int32 | T::Int64)
        | (T::Int16, T::Int32 | T::Int64)
        | (T::Int32, T::Int64)
        | (T::Float32, T::Float64) => Some(batch.clone()),
        (T::Decimal128(p, s), T::Decimal128(batch_p, batch_s)) => {
            let whole = (i16::from(*p) - i16::from(*s)).max(i16::from(*batch_p) - i16::from(*batch_s));
            let scale = *s.max(batch_s);
            let precision = u8::try_from(whole + i16::from(scale)).ok()?;
            (precision <= 38).then_some(T::Decimal128(precision, scale))
        }
        _ => None,
    }
}

/// Whether every value of `from` has an exact one in `to`.
pub fn fits(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    if from == to {
        return true;
    }
    match (from, to) {
        (T::Null, _) => true,
        (T::Int8, T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64)
        | (T::Int16, T::Int32 | T::Int64 | T::Float32 | T::Float64)
        | (T::Int32, T::Int64 | T::Float64)
        | (T::Float32, T::Float64)
        | (T::Utf8 | T::LargeUtf8 | T::Utf8View, T::Utf8 | T::LargeUtf8 | T::Utf8View)
        | (
            T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_),
            T::Binary | T::LargeBinary | T::BinaryView,
        ) => true,
        (T::Decimal128(p, s), T::Decimal128(to_p, to_s)) => {
            to_s >= s && i16::from(*to_p) - i16::from(*to_s) >= i16::from(*p) - i16::from(*s)
        }
        (T::Int8, T::Decimal128(p, s)) => i16::from(*p) - i16::from(*s) >= 3,
        (T::Int16, T::Decimal128(p, s)) => i16::from(*p) - i16::from(*s) >= 5,
        (T::Int32, T::Decimal128(p, s)) => i16::from(*p) - i16::from(*s) >= 10,
        (T::Int64, T::Decimal128(p, s)) => i16::from(*p) - i16::from(*s) >= 19,
        (T::List(a) | T::LargeList(a), T::List(b) | T::LargeList(b)) => fits(a.data_type(), b.data_type()),
        (T::Map(a, _), T::Map(b, _)) => match (a.data_type(), b.data_type()) {
            (T::Struct(a), T::Struct(b)) => {
                a.len() == 2 && b.len() == 2 && a.iter().zip(b).all(|(a, b)| fits(a.data_type(), b.data_type()))
            }
            _ => false,
        },
        (T::Struct(a), T::Struct(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| a.name() == b.name() && fits(a.data_type(), b.data_type()))
        }
        _ => false,
    }
}

/// Casts a column to the table's type. Call only where [`fits`] holds.
pub fn conform(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if column.data_type() == to {
        return Ok(column.clone());
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, to, &options)
        .map_err(|e| Error::with_source(ErrorCode::SchemaIncompatible, format!("a value does not fit {to}"), e))
}

/// The batch in the layout of `schema`: columns by name, missing ones null.
pub fn conform_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns: Result<Vec<ArrayRef>> = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) => conform(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns?, &options)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, data_type: DataType) -> Field {
        Field::new(name, data_type, true)
    }

    #[test]
    fn new_columns_are_added_at_the_end_and_dropped_ones_stay() {
        let table = Schema::new(vec![field("id", DataType::Int64), field("gone", DataType::Utf8)]);
        let batch = [field("new", DataType::Date32), field("id", DataType::Int32)];
        let Evolved { schema, added, .. } = evolve(&table, &batch, SchemaEvolution::Add).unwrap();
        let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!((names, added), (vec!["id", "gone", "new"], vec!["new".to_owned()]));
        assert!(evolve(&table, &batch, SchemaEvolution::Fail).is_err());
        assert_eq!(evolve(&table, &batch, SchemaEvolution::None).unwrap().schema.fields().len(), 2);
    }

    #[test]
    fn what_does_not_fit_grows_or_is_refused() {
        let table = Schema::new(vec![field("id", DataType::Int32)]);
        for (name, data_type) in [("id", DataType::Float64), ("id", DataType::Utf8), ("ID", DataType::Int32)] {
            let error = evolve(&table, &[field(name, data_type)], SchemaEvolution::Add).unwrap_err();
            assert_eq!(error.code, ErrorCode::SchemaIncompatible);
        }
        let grown = evolve(&table, &[field("id", DataType::Int64)], SchemaEvolution::Add).unwrap();
        assert_eq!(grown.schema.field(0).data_type(), &DataType::Int64);
        assert!(evolve(&table, &[field("id", DataType::Int64)], SchemaEvolution::Fail).is_err());
        let decimal = widen(&DataType::Decimal128(10, 2), &DataType::Decimal128(9, 4));
        assert_eq!(decimal, Some(DataType::Decimal128(12, 4)));
        assert!(fits(&DataType::Decimal128(5, 2), &DataType::Decimal128(10, 4)));
        assert!(!fits(&DataType::Decimal128(5, 2), &DataType::Decimal128(5, 3)));
    }
}
