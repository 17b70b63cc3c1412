//! The condition of a scan: evaluated on rows, and beforehand held against what files and row groups say of their values.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{self as arrow_types, DataType, Schema, TimeUnit};
use delta_kernel::SnapshotRef;
use delta_kernel::engine::arrow_conversion::TryIntoArrow;
use delta_kernel::expressions::{ColumnName, Expression, Predicate, PredicateRef, Scalar};
use delta_kernel::schema::{DataType as KernelType, SchemaRef as KernelSchema, StructField};
use spark_expr::{Comparison, CompiledCondition, Condition, Shape};

use super::columns::{plain, selected};
use crate::error::{Error, ErrorCode, Result};

/// A condition, compiled for one table.
pub(crate) struct Filter {
    condition: CompiledCondition,
    /// The columns that it names.
    pub(crate) columns: KernelSchema,
    /// What the files' statistics and partition values are held against.
    pub(super) of_files: Option<PredicateRef>,
    /// What the statistics of a file's row groups are held against, by the names that the file has for its columns.
    pub(super) of_row_groups: Option<Predicate>,
}

impl Filter {
    /// # Errors
    /// `EXPRESSION_INVALID` where the text is no condition on the columns of the table.
    pub(super) fn new(text: &str, snapshot: &SnapshotRef) -> Result<Self> {
        let invalid = |fault: spark_expr::Fault| {
            Error::new(ErrorCode::ExpressionInvalid, format!("the condition `{text}` is not valid: {fault}"))
        };
        let table = snapshot.schema();
        let parsed = Condition::parse(text).map_err(invalid)?;
        let all: Schema = table.as_ref().try_into_arrow()?;
        let of_table = parsed.compile(&plain(&all)).map_err(invalid)?;
        let columns = match of_table.columns() {
            // A condition on no column, such as `false`, is evaluated on rows all the same.
            [] => selected(&table, &table.fields().take(1).map(|f| f.name().clone()).collect::<Vec<_>>())?,
            names => selected(&table, names)?,
        };
        let alone: Schema = columns.as_ref().try_into_arrow()?;
        let condition = parsed.compile(&plain(&alone)).map_err(invalid)?;
        let config = snapshot.table_configuration();
        let of_log = |name: &str| Some((ColumnName::new([name]), table.field(name)?));
        let mode = config.column_mapping_mode();
        let partitions = config.logical_partition_columns();
        let of_file = |name: &str| {
            let field = table.field(name)?;
            // A file does not hold its partition values: the kernel would take the column for one of nulls.
            let is_stored = !partitions.iter().any(|partition| partition == field.name());
            is_stored.then(|| (ColumnName::new([field.physical_name(mode)]), field))
        };
        let of_files = predicate(condition.shape(), &of_log).map(Arc::new);
        let of_row_groups = predicate(condition.shape(), &of_file);
        Ok(Self { condition, columns, of_files, of_row_groups })
    }

    /// Which rows meet the condition. Neither true nor false is no.
    pub(crate) fn evaluate(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        self.condition
            .evaluate(rows)
            .map_err(|fault| Error::new(ErrorCode::ExpressionInvalid, format!("the condition failed: {fault}")))
    }
}

type FindColumn<'a> = dyn Fn(&str) -> Option<(ColumnName, &'a StructField)> + 'a;

/// A predicate that is true for every row for which the condition is, and maybe for others; none where nothing can be
/// said.
fn predicate(shape: &Shape, column: &FindColumn) -> Option<Predicate> {
    match shape {
        Shape::And(parts) => {
            let known: Vec<_> = parts.iter().filter_map(|part| predicate(part, column)).collect();
            (!known.is_empty()).then(|| Predicate::and_from(known))
        }
        Shape::Or(parts) => {
            let all: Option<Vec<_>> = parts.iter().map(|part| predicate(part, column)).collect();
            all.map(Predicate::or_from)
        }
        other => exact(other, column),
    }
}

/// A predicate that is true for the same rows as the condition, so that its opposite may be taken; none where there is
/// no such one.
fn exact(shape: &Shape, column: &FindColumn) -> Option<Predicate> {
    let all = |parts: &[Shape]| parts.iter().map(|part| exact(part, column)).collect::<Option<Vec<_>>>();
    Some(match shape {
        Shape::And(parts) => Predicate::and_from(all(parts)?),
        Shape::Or(parts) => Predicate::or_from(all(parts)?),
        Shape::Not(part) => Predicate::not(exact(part, column)?),
        Shape::IsNull { column: name } => {
            let (name, field) = column(name)?;
            // Of structs, arrays and maps there are no statistics, and the kernel takes such a column for none.
            matches!(field.data_type(), KernelType::Primitive(_)).then(|| Predicate::is_null(Expression::from(name)))?
        }
        Shape::Compare { column: name, comparison, literal } => compare(column(name)?, *comparison, literal)?,
        Shape::In { column: name, literals } => {
            let (name, field) = column(name)?;
            let one = |at: usize| compare((name.clone(), field), Comparison::Equal, &literals.slice(at, 1));
            Predicate::or_from((0..literals.len()).map(one).collect::<Option<Vec<_>>>()?)
        }
        Shape::Other => return None,
    })
}

fn compare((name, field): (ColumnName, &StructField), comparison: Comparison, literal: &ArrayRef) -> Option<Predicate> {
    let value = scalar(literal)?;
    // The literal has the column's type, or the two would be compared as something else.
    if value.data_type() != *field.data_type() {
        return None;
    }
    let column = Expression::from(name);
    Some(match comparison {
        Comparison::Equal => Predicate::eq(column, value),
        Comparison::Less => Predicate::lt(column, value),
        Comparison::LessOrEqual => Predicate::le(column, value),
        Comparison::Greater => Predicate::gt(column, value),
        Comparison::GreaterOrEqual => Predicate::ge(column, value),
    })
}

/// The value of an array of one row. None for null, which equals nothing, and for floating point numbers: statistics
/// leave NaN out, and Spark takes it for the largest number.
fn scalar(literal: &ArrayRef) -> Option<Scalar> {
    use arrow_types as t;
    if literal.len() != 1 || literal.is_null(0) {
        return None;
    }
    Some(match literal.data_type() {
        DataType::Int8 => Scalar::Byte(literal.as_primitive::<t::Int8Type>().value(0)),
        DataType::Int16 => Scalar::Short(literal.as_primitive::<t::Int16Type>().value(0)),
        DataType::Int32 => Scalar::Integer(literal.as_primitive::<t::Int32Type>().value(0)),
        DataType::Int64 => Scalar::Long(literal.as_primitive::<t::Int64Type>().value(0)),
        DataType::Utf8 => Scalar::String(literal.as_string::<i32>().value(0).to_owned()),
        DataType::Boolean => Scalar::Boolean(literal.as_boolean().value(0)),
        DataType::Date32 => Scalar::Date(literal.as_primitive::<t::Date32Type>().value(0)),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let micros = literal.as_primitive::<t::TimestampMicrosecondType>().value(0);
            match zone {
                Some(_) => Scalar::Timestamp(micros),
                None => Scalar::TimestampNtz(micros),
            }
        }
        DataType::Decimal128(precision, scale) => {
            let value = literal.as_primitive::<t::Decimal128Type>().value(0);
            Scalar::decimal(value, *precision, u8::try_from(*scale).ok()?).ok()?
        }
        _ => return None,
    })
}
