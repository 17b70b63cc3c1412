//! Data files: Parquet with statistics, one for each partition value.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::nullif;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::row::{RowConverter, SortField};
use hashbrown::HashMap;
use object_store::path::Path;
use parquet::basic::{Compression as Codec, Encoding};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use uuid::Uuid;

use super::{order_columns, stats};
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::StringMap;
use crate::options::Compression;

/// Spark 3.5 refuses old dates in files without its own version: it could not tell their calendar.
const SPARK_VERSION: &str = "3.5.0";

/// Rows of a batch that go into one file.
#[derive(Debug)]
pub struct FileRows {
    /// Partition column to value.
    pub partition_values: StringMap,
    /// Rows of the batch, in their order.
    pub rows: Vec<u32>,
    /// Kafka partition; none where it is not known.
    pub kafka_partition: Option<i32>,
}

/// Splits rows by the partition columns' values and the Kafka partition, in order of first appearance.
pub fn split(batch: &RecordBatch, partition_columns: &[String], kafka: Option<&[i32]>) -> Result<Vec<FileRows>> {
    let num_rows = batch.num_rows() as u32;
    if partition_columns.is_empty() && kafka.is_none() {
        return Ok(vec![FileRows {
            partition_values: StringMap::new(),
            rows: (0..num_rows).collect(),
            kafka_partition: Some(0),
        }]);
    }
    let columns: Result<Vec<ArrayRef>> = partition_columns
        .iter()
        .map(|name| {
            batch.column_by_name(name).cloned().ok_or_else(|| {
                Error::new(ErrorCode::ConfigInvalid, format!("there is no column '{name}' to partition by"))
            })
        })
        .collect();
    let columns = columns?;
    let types = columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
    let converter = RowConverter::new(types)?;
    let values = (!columns.is_empty()).then(|| converter.convert_columns(&columns)).transpose()?;
    let mut groups: Vec<FileRows> = Vec::new();
    let mut by_value: HashMap<(Vec<u8>, i32), usize> = HashMap::new();
    let mut last: Option<usize> = None;
    for row in 0..num_rows {
        let value = values.as_ref().map(|v| v.row(row as usize));
        let partition = kafka.map_or(0, |k| k[row as usize]);
        // Neighbours are mostly of one partition: no look-up for them.
        if let Some(group) = last
            && groups[group].kafka_partition == Some(partition)
            && let Some(before) = groups[group].rows.last()
            && values.as_ref().map(|v| v.row(*before as usize)) == value
        {
            groups[group].rows.push(row);
            continue;
        }
        let bytes = value.map(|v| v.data().to_vec()).unwrap_or_default();
        let group = match by_value.entry((bytes, partition)) {
            hashbrown::hash_map::Entry::Occupied(group) => *group.get(),
            hashbrown::hash_map::Entry::Vacant(slot) => {
                let mut partition_values = StringMap::new();
                for (name, column) in partition_columns.iter().zip(&columns) {
                    partition_values.insert(name.clone(), partition_text(column, row as usize)?);
                }
                groups.push(FileRows { partition_values, rows: Vec::new(), kafka_partition: Some(partition) });
                *slot.insert(groups.len() - 1)
            }
        };
        groups[group].rows.push(row);
        last = Some(group);
    }
    Ok(groups)
}

/// Splits files that would exceed `target` bytes. What a row takes in a file is taken to be what it takes in memory,
/// which is more: a file may be smaller than its aim, never much larger.
pub fn split_by_size(files: Vec<FileRows>, batch: &RecordBatch, target: u64) -> Vec<FileRows> {
    let bytes: usize = batch.columns().iter().filter_map(|c| c.to_data().get_slice_memory_size().ok()).sum();
    let row_bytes = (bytes / batch.num_rows().max(1)).max(1) as u64;
    let rows = usize::try_from((target / row_bytes).max(1)).unwrap_or(usize::MAX);
    let mut out = Vec::with_capacity(files.len());
    for file in files {
        if file.rows.len() <= rows {
            out.push(file);
            continue;
        }
        out.extend(file.rows.chunks(rows).map(|chunk| FileRows {
            partition_values: file.partition_values.clone(),
            rows: chunk.to_vec(),
            kafka_partition: file.kafka_partition,
        }));
    }
    out
}

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
        DataType::Timestamp(_, _) => {
            let micros = arrow::compute::cast(
                &column.slice(row, 1),
                &DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None),
            )?;
            let value = micros.as_primitive::<arrow::datatypes::TimestampMicrosecondType>().value(0);
            chrono::DateTime::from_timestamp_micros(value)
                .ok_or_else(|| Error::new(ErrorCode::BatchInvalid, "a partition's timestamp is out of range"))?
                .format("%Y-%m-%d %H:%M:%S%.6f")
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

/// Settings of the Parquet writer.
pub fn writer_properties(compression: Compression) -> WriterProperties {
    let codec = match compression {
        Compression::Snappy => Codec::SNAPPY,
        Compression::Zstd => Codec::ZSTD(Default::default()),
    };
    let mut builder = WriterProperties::builder();
    for name in order_columns::COLUMNS {
        builder = builder.set_column_statistics_enabled(name.into(), EnabledStatistics::None);
    }
    // Neighbours' sequences differ little; the epoch is mostly one.
    for name in &order_columns::COLUMNS[1..] {
        builder = builder
            .set_column_dictionary_enabled((*name).into(), false)
            .set_column_encoding((*name).into(), Encoding::DELTA_BINARY_PACKED);
    }
    builder
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(concat!("kafka2delta ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(vec![KeyValue::new(
            "org.apache.spark.version".to_owned(),
            SPARK_VERSION.to_owned(),
        )]))
        .set_compression(codec)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(Some(stats::MAX_TEXT))
        .build()
}

/// Milliseconds since 1970.
pub fn now_millis() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// Bytes that a folder's name may have where file systems end names at 255.
const MAX_FOLDER: usize = 200;
/// Folder of files whose partition values are not told by folders. Polars takes the values from the path and not from
/// the log: it refuses this one, where it would read nulls without it. Named by percent-encoded values, as others write
/// them, it would miss the files' deletion vectors and read deleted rows.
const VALUES_IN_LOG: &str = "partition_values_in_log=1";

/// What stands for null in a folder's name.
const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";

/// A new file's path: ASCII that needs no encoding, since programs differ in how they encode.
pub(crate) fn file_path(partition_values: &StringMap, compression: Compression) -> Path {
    let suffix = match compression {
        Compression::Snappy => "snappy",
        Compression::Zstd => "zstd",
    };
    let name = format!("part-00000-{}-c000.{suffix}.parquet", Uuid::new_v4());
    match partition_folder(partition_values) {
        Some(folder) => Path::from(format!("{folder}/{name}")),
        None => Path::from(name),
    }
}

/// The folder of partition values, as `year=2024/month=5`; none where there are none.
pub(crate) fn partition_folder(partition_values: &StringMap) -> Option<String> {
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    let folders: Option<Vec<String>> = partition_values
        .iter()
        .map(|(name, value)| {
            // A text of this name would be taken for null by those who look at the folders.
            let is_clear = value.as_deref() != Some(NULL_FOLDER);
            let value = value.as_deref().unwrap_or(NULL_FOLDER);
            let folder = format!("{name}={value}");
            (is_clear && plain(name) && plain(value) && folder.len() <= MAX_FOLDER).then_some(folder)
        })
        .collect();
    let folder = folders.map_or_else(|| VALUES_IN_LOG.to_owned(), |folders| folders.join("/"));
    (!folder.is_empty()).then_some(folder)
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
    use arrow::array::{Int32Array, StringArray};
    use arrow::datatypes::{Field, Schema};
    use std::sync::Arc;

    fn batch() -> RecordBatch {
        let schema = Schema::new(vec![Field::new("id", DataType::Int32, true), Field::new("p", DataType::Utf8, true)]);
        let ids = Int32Array::from_iter_values(0..6);
        let parts = StringArray::from(vec![Some("a"), Some("b"), Some("a"), None, Some(""), Some("a")]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::new(parts)]).unwrap()
    }

    #[test]
    fn rows_are_split_by_partition_value_and_kafka_partition() {
        let files = split(&batch(), &["p".into()], Some(&[0, 0, 0, 0, 0, 1])).unwrap();
        let found: Vec<_> = files.iter().map(|f| (f.partition_values["p"].as_deref(), f.rows.clone())).collect();
        let a = (Some("a"), vec![0, 2]);
        assert_eq!(found, [a, (Some("b"), vec![1]), (None, vec![3]), (None, vec![4]), (Some("a"), vec![5])]);
        assert_eq!(files[4].kafka_partition, Some(1));
    }

    #[test]
    fn a_large_file_becomes_several() {
        let files = split(&batch(), &[], None).unwrap();
        let files = split_by_size(files, &batch(), 30);
        assert!(files.len() > 1);
        assert_eq!(files.iter().flat_map(|f| f.rows.clone()).collect::<Vec<_>>(), (0..6).collect::<Vec<_>>());
    }

    #[test]
    fn paths_are_plain_ascii() {
        let path_of = |value: Option<&str>| {
            let values = StringMap::from([("p".to_owned(), value.map(str::to_owned))]);
            file_path(&values, Compression::Snappy).to_string()
        };
        assert!(path_of(Some("2024-01.5")).starts_with("p=2024-01.5/part-"));
        assert!(path_of(None).starts_with("p=__HIVE_DEFAULT_PARTITION__/part-"));
        for odd in ["ü", "%", "a/b", "a b", "", "__HIVE_DEFAULT_PARTITION__", &"x".repeat(250)] {
            assert!(path_of(Some(odd)).starts_with("partition_values_in_log=1/part-"), "{odd}");
        }
    }
}
