//! Statistics of a data file, from those that Parquet keeps.
//!
//! Format: <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#per-file-statistics>

use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type, Schema, SchemaRef, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::RowGroupMetaData;

use super::order_columns::is_order_column;

/// Columns that get bounds and null counts where the table does not say, as Spark has it.
const DEFAULT_COLUMNS: usize = 32;
/// Bytes of a text that its bounds keep.
pub const MAX_TEXT: usize = 32;

/// The columns that get bounds and null counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatsColumns {
    /// The first ones of the schema; the parts of a struct count one by one.
    First(usize),
    /// These.
    Named(Vec<String>),
}

impl StatsColumns {
    /// By the table's properties `delta.dataSkippingStatsColumns`, which wins, and `delta.dataSkippingNumIndexedCols`
    /// (-1 for all).
    pub fn of<'a>(property: impl Fn(&str) -> Option<&'a str>) -> Self {
        if let Some(names) = property("delta.dataSkippingStatsColumns") {
            return Self::Named(column_names(names));
        }
        let number = property("delta.dataSkippingNumIndexedCols").and_then(|n| n.trim().parse::<i64>().ok());
        match number {
            Some(-1) => Self::First(usize::MAX),
            Some(number) if number >= 0 => Self::First(usize::try_from(number).unwrap_or(usize::MAX)),
            _ => Self::First(DEFAULT_COLUMNS),
        }
    }

    /// Whether a column gets statistics that stands behind `leaves` others.
    fn include(&self, name: &str, leaves: usize) -> bool {
        match self {
            Self::First(number) => leaves < *number,
            Self::Named(names) => names.iter().any(|n| n.eq_ignore_ascii_case(name)),
        }
    }
}

/// The names of a list with commas, in which backquotes may stand around a name.
fn column_names(list: &str) -> Vec<String> {
    let (mut names, mut name, mut quoted) = (Vec::new(), String::new(), false);
    for c in list.chars().chain([',']) {
        match c {
            '`' => quoted = !quoted,
            ',' if !quoted => names.push(std::mem::take(&mut name).trim().to_owned()),
            c => name.push(c),
        }
    }
    names
}

fn leaves(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(fields) => fields.iter().map(|f| leaves(f.data_type())).sum(),
        _ => 1,
    }
}

/// What is known of a file's rows beside Parquet's own statistics, batch after batch.
#[derive(Debug)]
pub struct Summary {
    schema: SchemaRef,
    /// By column, where it gets statistics: nulls, and whether there is a NaN.
    columns: Vec<Option<(usize, bool)>>,
    rows: usize,
}

impl Summary {
    /// Of no rows yet.
    pub fn new(schema: SchemaRef, columns: &StatsColumns) -> Self {
        let mut before = 0;
        let included = |field: &FieldRef| {
            let included = columns.include(field.name(), before);
            before += leaves(field.data_type());
            (included && !field.data_type().is_nested() && !is_order_column(field.name())).then_some((0, false))
        };
        Self { columns: schema.fields().iter().map(included).collect(), schema, rows: 0 }
    }

    /// Adds rows.
    pub fn add(&mut self, rows: &RecordBatch) {
        self.rows += rows.num_rows();
        for (summary, column) in self.columns.iter_mut().zip(rows.columns()) {
            if let Some((nulls, nan)) = summary {
                *nulls += column.null_count();
                *nan |= has_nan(column);
            }
        }
    }

    /// The statistics' JSON. A bound that cannot be told is left out.
    pub fn to_json(&self, row_groups: &[RowGroupMetaData]) -> String {
        let (mut low, mut high, mut null_counts) = (String::new(), String::new(), String::new());
        for (field, summary) in self.schema.fields().iter().zip(&self.columns) {
            let Some((nulls, nan)) = summary else { continue };
            let name = quoted(field.name());
            push(&mut null_counts, &name, &nulls.to_string());
            if *nan || *nulls == self.rows {
                continue;
            }
            if let Some((min, max)) = bounds(&self.schema, field.name(), row_groups) {
                push(&mut low, &name, &min);
                push(&mut high, &name, &max);
            }
        }
        format!(
            r#"{{"numRecords":{},"minValues":{{{low}}},"maxValues":{{{high}}},"nullCount":{{{null_counts}}},"tightBounds":true}}"#,
            self.rows
        )
    }
}

/// The statistics' JSON of a file of these rows.
pub fn to_json(rows: &RecordBatch, row_groups: &[RowGroupMetaData], columns: &StatsColumns) -> String {
    let mut summary = Summary::new(rows.schema(), columns);
    summary.add(rows);
    summary.to_json(row_groups)
}

fn push(object: &mut String, name: &str, value: &str) {
    if !object.is_empty() {
        object.push(',');
    }
    let _ = write!(object, "{name}:{value}");
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Lowest and highest value over all row groups, as JSON.
fn bounds(rows: &Schema, name: &str, groups: &[RowGroupMetaData]) -> Option<(String, String)> {
    let schema = groups.first()?.schema_descr();
    let converter = StatisticsConverter::try_new(name, rows, schema).ok()?;
    let min = converter.row_group_mins(groups.iter()).ok()?;
    let max = converter.row_group_maxes(groups.iter()).ok()?;
    if min.null_count() > 0 || max.null_count() > 0 {
        return None;
    }
    let min_row = (0..min.len()).reduce(|a, b| if less(&min, b, a) { b } else { a })?;
    let max_row = (0..max.len()).reduce(|a, b| if less(&max, a, b) { b } else { a })?;
    Some((to_text(&min, min_row, false)?, to_text(&max, max_row, true)?))
}

fn less(array: &ArrayRef, a: usize, b: usize) -> bool {
    arrow::array::make_comparator(array, array, Default::default()).is_ok_and(|compare| compare(a, b).is_lt())
}

fn to_text(array: &ArrayRef, row: usize, is_max: bool) -> Option<String> {
    use arrow::util::display::array_value_to_string;
    Some(match array.data_type() {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Decimal128(_, _) => {
            array_value_to_string(array, row).ok()?
        }
        DataType::Float32 | DataType::Float64 => {
            let text = array_value_to_string(array, row).ok()?;
            // Infinity has no JSON number.
            if text.contains("inf") || text.contains("NaN") {
                return None;
            }
            text
        }
        DataType::Utf8 => quoted(array.as_string::<i32>().value(row)),
        DataType::Date32 => {
            let text = array_value_to_string(array, row).ok()?;
            // Years of five digits and before 0 are read differently by different programs.
            (text.len() == 10 && !text.starts_with('-')).then(|| quoted(&text))?
        }
        DataType::Timestamp(_, zone) => {
            let micros = array.as_primitive_opt::<TimestampMicrosecondType>()?.value(row);
            // Spark's statistics have milliseconds: a lower bound is cut, an upper one raised.
            let millis = if is_max { micros.checked_add(999)?.div_euclid(1000) } else { micros.div_euclid(1000) };
            let time = chrono::DateTime::from_timestamp_millis(millis)?;
            use chrono::Datelike;
            (0..=9999).contains(&time.year()).then_some(())?;
            let suffix = if zone.is_some() { "Z" } else { "" };
            quoted(&format!("{}{suffix}", time.format("%Y-%m-%dT%H:%M:%S%.3f")))
        }
        _ => return None,
    })
}

/// Whether a float column has a NaN: its bounds would mislead readers, who order NaN in different ways.
pub fn has_nan(column: &ArrayRef) -> bool {
    match column.data_type() {
        DataType::Float32 => column.as_primitive::<Float32Type>().values().iter().any(|v| v.is_nan()),
        DataType::Float64 => column.as_primitive::<Float64Type>().values().iter().any(|v| v.is_nan()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_which_columns_get_statistics() {
        let of = |wanted: &'static str, value: &'static str| StatsColumns::of(|name| (name == wanted).then_some(value));
        assert_eq!(of("", ""), StatsColumns::First(32));
        assert_eq!(of("delta.dataSkippingNumIndexedCols", "-1"), StatsColumns::First(usize::MAX));
        let first = of("delta.dataSkippingNumIndexedCols", "2");
        assert!(first.include("a", 1) && !first.include("b", 2));
        let named = of("delta.dataSkippingStatsColumns", " a, `x, y` ,b.c");
        assert_eq!(named, StatsColumns::Named(vec!["a".into(), "x, y".into(), "b.c".into()]));
        assert!(named.include("A", 99) && !named.include("b", 0));
    }
}
