//! Partition values as texts.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::nullif;
use arrow::datatypes::DataType;

use crate::error::{Error, ErrorCode, Result};

/// A partition value as text, by the protocol's rules; null and the empty text are null.
pub(crate) fn partition_text(column: &ArrayRef, row: usize) -> Result<Option<String>> {
    if column.is_null(row) {
        return Ok(None);
    }
    let text = match column.data_type() {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            return Err(Error::new(ErrorCode::ConfigInvalid, "a table cannot be partitioned by a binary column"));
        }
        nested if nested.is_nested() => {
            return Err(Error::new(ErrorCode::ConfigInvalid, "a table cannot be partitioned by a nested column"));
        }
        DataType::Timestamp(_, zone) => {
            // With a zone in ISO 8601, since readers take a text without one to be of their session's.
            let format = if zone.is_some() { "%Y-%m-%dT%H:%M:%S%.6fZ" } else { "%Y-%m-%d %H:%M:%S%.6f" };
            let micros = arrow::compute::cast(
                &column.slice(row, 1),
                &DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None),
            )?;
            let value = micros.as_primitive::<arrow::datatypes::TimestampMicrosecondType>().value(0);
            chrono::DateTime::from_timestamp_micros(value)
                .ok_or_else(|| Error::new(ErrorCode::BatchInvalid, "a partition's timestamp is out of range"))?
                .format(format)
                .to_string()
        }
        _ => arrow::util::display::array_value_to_string(column, row)?,
    };
    Ok((!text.is_empty()).then_some(text))
}

/// The rows with null for each empty text in a partition column, which Delta reads back as null; and the columns that had
/// some. Keys and values are compared as the table will hold them.
pub fn empty_to_null(rows: &RecordBatch, partition_columns: &[String]) -> Result<(RecordBatch, Vec<String>)> {
    let mut columns = rows.columns().to_vec();
    let mut found = Vec::new();
    for (column, field) in columns.iter_mut().zip(rows.schema_ref().fields()) {
        if partition_columns.contains(field.name())
            && let Some(changed) = without_empty_texts(column)?
        {
            found.push(field.name().clone());
            *column = changed;
        }
    }
    if found.is_empty() {
        return Ok((rows.clone(), found));
    }
    Ok((RecordBatch::try_new(rows.schema(), columns)?, found))
}

/// The texts with null for each empty one; none where there is no empty one.
fn without_empty_texts(column: &ArrayRef) -> Result<Option<ArrayRef>> {
    let is_empty = |text: Option<&str>| Some(text == Some(""));
    let empty: BooleanArray = match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().iter().map(is_empty).collect(),
        DataType::LargeUtf8 => column.as_string::<i64>().iter().map(is_empty).collect(),
        DataType::Utf8View => column.as_string_view().iter().map(is_empty).collect(),
        _ => return Ok(None),
    };
    Ok(if empty.true_count() > 0 { Some(nullif(column, &empty)?) } else { None })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Arc;

    use arrow::array::TimestampMicrosecondArray;

    use super::*;

    #[test]
    fn instants_have_a_zone_and_local_times_have_none() {
        let micros = TimestampMicrosecondArray::from(vec![1_714_566_600_000_001]);
        let instant: ArrayRef = Arc::new(micros.clone().with_timezone("UTC"));
        let local: ArrayRef = Arc::new(micros);
        assert_eq!(partition_text(&instant, 0).unwrap().unwrap(), "2024-05-01T12:30:00.000001Z");
        assert_eq!(partition_text(&local, 0).unwrap().unwrap(), "2024-05-01 12:30:00.000001");
    }
}
