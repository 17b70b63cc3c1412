//! The table's schema: how it grows with the batches, and which values fit it.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use delta_kernel::engine::arrow_conversion::{TryFromArrow, TryIntoArrow};
use delta_kernel::schema::StructType;
use serde::Deserialize;
use spark_expr::type_name;

use crate::error::{Error, ErrorCode, Result};

/// What to do with columns that the table does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
    /// Paths of the new columns and nested fields: `address.zip`, `tags.element.name`, `prices.value`.
    pub added: Vec<String>,
    /// Paths of those whose type grew: the table's files are to be rewritten.
    pub widened: Vec<String>,
}

/// The table's schema after a batch with these fields.
///
/// A column that the batch lacks stays. A type stays the table's where the batch's values fit it, and grows where both
/// fit a wider one. The fields of structs, also within arrays and maps, follow the same rules as columns.
pub fn evolve(table: &Schema, batch: &[Field], evolution: SchemaEvolution) -> Result<Evolved> {
    Growth::new(evolution).evolve(table, batch)
}

/// The same, for the columns that expressions make.
pub fn evolve_additional(table: &Schema, columns: &[Field]) -> Result<Evolved> {
    Growth { additional: true, ..Growth::new(SchemaEvolution::Add) }.evolve(table, columns)
}

/// What the schema of a batch adds to the table's.
struct Growth {
    evolution: SchemaEvolution,
    /// Whether the columns are those that expressions make.
    additional: bool,
    /// The column that is looked at.
    column: String,
    added: Vec<String>,
    widened: Vec<String>,
}

impl Growth {
    fn new(evolution: SchemaEvolution) -> Self {
        Self { evolution, additional: false, column: String::new(), added: Vec::new(), widened: Vec::new() }
    }

    fn evolve(mut self, table: &Schema, batch: &[Field]) -> Result<Evolved> {
        let fields = self.fields(table.fields(), batch.iter(), "")?;
        Ok(Evolved { schema: Arc::new(Schema::new(fields)), added: self.added, widened: self.widened })
    }

    /// The table's columns, or a struct's fields, with those of the batch: the new ones at the end.
    fn fields<'a>(
        &mut self,
        table: &Fields,
        batch: impl Iterator<Item = &'a Field>,
        parent: &str,
    ) -> Result<Vec<FieldRef>> {
        let mut fields = table.to_vec();
        for field in batch {
            let path = if parent.is_empty() { field.name().clone() } else { format!("{parent}.{}", field.name()) };
            if parent.is_empty() {
                self.column.clone_from(field.name());
            }
            let Some(known) = fields.iter_mut().find(|f| f.name().eq_ignore_ascii_case(field.name())) else {
                match self.evolution {
                    SchemaEvolution::Add => {
                        self.added.push(path);
                        fields.push(Arc::new(canonical(field)?));
                    }
                    SchemaEvolution::None => {}
                    SchemaEvolution::Fail => {
                        return Err(incompatible(format!(
                            "the changes have a new {} '{path}' of type {}, and schemaEvolution is 'fail': set it to \
                             'add' to store it, or to 'none' to ignore it",
                            if parent.is_empty() { "column" } else { "nested field" },
                            type_name(field.data_type())
                        )));
                    }
                }
                continue;
            };
            if known.name() != field.name() {
                return Err(incompatible(differ_in_case(parent, known.name(), field.name())));
            }
            let wider = self.data_type(known.data_type(), field.data_type(), &path)?;
            if wider != *known.data_type() {
                *known = Arc::new(known.as_ref().clone().with_data_type(wider));
            }
        }
        Ok(fields)
    }

    /// The type that a column or nested field has after the batch.
    fn data_type(&mut self, table: &DataType, batch: &DataType, path: &str) -> Result<DataType> {
        use DataType as T;
        match (table, batch) {
            // A struct that shares no field with the table's is another one: a record in a column that had another.
            (T::Struct(known), T::Struct(fields)) if share_a_field(known, fields) => {
                Ok(T::Struct(self.fields(known, fields.iter().map(AsRef::as_ref), path)?.into()))
            }
            (T::List(known), T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _)) => {
                Ok(T::List(self.item(known, item, &format!("{path}.element"))?))
            }
            (T::Map(known, sorted), T::Map(entries, _)) => {
                let (T::Struct(known_parts), T::Struct(parts)) = (known.data_type(), entries.data_type()) else {
                    return Err(self.does_not_fit(table, batch, path));
                };
                let ([known_key, known_value], [key, value]) = (known_parts.as_ref(), parts.as_ref()) else {
                    return Err(self.does_not_fit(table, batch, path));
                };
                let added = self.added.len();
                let key = self.item(known_key, key, &format!("{path}.key"))?;
                let value = self.item(known_value, value, &format!("{path}.value"))?;
                // delta-rs reads no file whose maps lack a field of the table's: the files are to be rewritten.
                if self.added.len() > added {
                    self.widened.push(path.to_owned());
                }
                let entries = known.as_ref().clone().with_data_type(T::Struct([key, value].into_iter().collect()));
                Ok(T::Map(Arc::new(entries), *sorted))
            }
            _ if fits(batch, table) => Ok(table.clone()),
            _ => match widen(table, batch).filter(|_| self.evolution == SchemaEvolution::Add) {
                Some(wider) => {
                    self.widened.push(path.to_owned());
                    Ok(wider)
                }
                None => Err(self.does_not_fit(table, batch, path)),
            },
        }
    }

    fn item(&mut self, table: &FieldRef, batch: &FieldRef, path: &str) -> Result<FieldRef> {
        let wider = self.data_type(table.data_type(), batch.data_type(), path)?;
        Ok(match wider == *table.data_type() {
            true => table.clone(),
            false => Arc::new(table.as_ref().clone().with_data_type(wider)),
        })
    }

    fn does_not_fit(&self, table: &DataType, batch: &DataType, path: &str) -> Error {
        incompatible(format!(
            "{} '{path}' has type {} in the table and {} in the changes: the values do not fit. {}",
            if path == self.column { "column" } else { "the nested field" },
            type_name(table),
            type_name(batch),
            self.remedy(table, batch, path == self.column)
        ))
    }

    /// Which option lets the stream go on with the same table.
    fn remedy(&self, table: &DataType, batch: &DataType, whole_column: bool) -> String {
        if self.additional {
            return format!(
                "CAST the expression of this additional column to {}, or give the column another name",
                type_name(table)
            );
        }
        let column = serde_json::Value::from(self.column.as_str());
        let other_column = format!(
            "renameColumns: {{ {column}: <new name> }} stores the values in a column of their own beside the old one, \
             and excludeColumns leaves them out"
        );
        if widen(table, batch).is_some() {
            return format!("schemaEvolution: 'add' makes the column wider. Otherwise, {other_column}");
        }
        match column_option(table, batch, whole_column) {
            Some(option) => format!(
                "If the source's values are still of that kind, columns: {{ {column}: {{ {option} }} }} stores them in \
                 the table's type. Otherwise, {other_column}"
            ),
            None => format!("The option {other_column}"),
        }
    }
}

/// The option of a column by which its values are stored in the type that the table has.
fn column_option(table: &DataType, batch: &DataType, whole_column: bool) -> Option<String> {
    use DataType as T;
    Some(match (table, batch) {
        (T::Decimal128(..), T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Float64) => {
            format!("decimal: '{}'", type_name(table))
        }
        (T::Float64, T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Decimal128(..)) => "decimal: 'double'".to_owned(),
        (T::Int32 | T::Int64, T::Utf8 | T::LargeUtf8 | T::Utf8View) => "time: 'number'".to_owned(),
        (T::Timestamp(_, None), T::Timestamp(_, Some(_))) => "timestampNtz: true".to_owned(),
        (T::Timestamp(_, Some(_)), T::Timestamp(_, None)) => "timestampNtz: false".to_owned(),
        (T::Utf8, other) if whole_column && !other.is_nested() && !is_binary(other) => "type: 'string'".to_owned(),
        _ => return None,
    })
}

fn is_binary(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(data_type, T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_))
}

fn share_a_field(table: &Fields, batch: &Fields) -> bool {
    batch.iter().any(|b| table.iter().any(|t| t.name().eq_ignore_ascii_case(b.name())))
}

fn differ_in_case(parent: &str, one: &str, other: &str) -> String {
    match parent.is_empty() {
        true => format!(
            "columns '{one}' and '{other}' differ only in case, and Delta does not tell them apart: rename one \
             (renameColumns)"
        ),
        false => format!(
            "the nested fields '{one}' and '{other}' of '{parent}' differ only in case, and Delta does not tell them \
             apart: leave the column out (excludeColumns), or give it another name from now on (renameColumns)"
        ),
    }
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

/// Whether every value of `from`, a type that is not nested, has an exact one in `to`.
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
        _ => false,
    }
}

/// Casts a column to the table's type. The fields of structs are found by their names: those that the values lack are
/// null, and those that the type lacks are left out. Call it only for types that [`evolve`] lets pass.
pub fn conform(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    use DataType as T;
    if column.data_type() == to {
        return Ok(column.clone());
    }
    let wrong = |e| {
        let message = format!("a value of type {} does not fit {}", type_name(column.data_type()), type_name(to));
        Error::with_source(ErrorCode::SchemaIncompatible, message, e)
    };
    Ok(match (column.data_type(), to) {
        (T::Struct(_), T::Struct(fields)) => {
            let from = column.as_struct();
            let part = |field: &FieldRef| match from.column_by_name(field.name()) {
                Some(part) => conform(part, field.data_type()),
                None => Ok(new_null_array(field.data_type(), from.len())),
            };
            let parts = fields.iter().map(part).collect::<Result<Vec<_>>>()?;
            let nulls = from.nulls().cloned();
            Arc::new(StructArray::try_new_with_length(fields.clone(), parts, nulls, from.len()).map_err(wrong)?)
        }
        (T::List(_), T::List(item)) => {
            let from = column.as_list::<i32>();
            let values = conform(from.values(), item.data_type())?;
            let (offsets, nulls) = (from.offsets().clone(), from.nulls().cloned());
            Arc::new(ListArray::try_new(item.clone(), offsets, values, nulls).map_err(wrong)?)
        }
        (T::LargeList(item) | T::FixedSizeList(item, _), T::List(_)) => {
            conform(&cast_exactly(column, &T::List(item.clone())).map_err(wrong)?, to)?
        }
        (T::Map(_, _), T::Map(entries, sorted)) if matches!(entries.data_type(), T::Struct(f) if f.len() == 2) => {
            let from = column.as_map();
            let T::Struct(fields) = entries.data_type() else { return Ok(column.clone()) };
            let parts =
                vec![conform(from.keys(), fields[0].data_type())?, conform(from.values(), fields[1].data_type())?];
            let parts = StructArray::try_new(fields.clone(), parts, None).map_err(wrong)?;
            let (offsets, nulls) = (from.offsets().clone(), from.nulls().cloned());
            Arc::new(MapArray::try_new(entries.clone(), offsets, parts, nulls, *sorted).map_err(wrong)?)
        }
        _ => cast_exactly(column, to).map_err(wrong)?,
    })
}

fn cast_exactly(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    use DataType as T;
    let options = CastOptions { safe: false, ..CastOptions::default() };
    match (column.data_type(), to) {
        (T::Utf8View, T::Utf8 | T::LargeUtf8) | (T::BinaryView, T::Binary | T::LargeBinary) => {}
        // Views become other types as what they show does.
        (T::Utf8View, _) => return cast_exactly(&cast_with_options(column, &T::Utf8, &options)?, to),
        (T::BinaryView, _) => return cast_exactly(&cast_with_options(column, &T::Binary, &options)?, to),
        _ => {}
    }
    cast_with_options(column, to, &options)
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
