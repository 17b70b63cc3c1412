//! The format of new data files: what a table's options and properties say of it, and what is always the same.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use parquet::basic::{Compression as Codec, Encoding};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;

use super::stats::StatsColumns;
use super::{order_columns, stats};
use crate::options::{Compression, TableOptions};

/// Spark 3.5 refuses old dates in files without its own version: it could not tell their calendar.
const SPARK_VERSION: &str = "3.5.0";

/// Bytes of a value from which on it is a large one: no page has more, unless it is such a value.
const LARGE: usize = 1 << 20;

/// How data files of a table are written. It is handed on as it is to all that write some.
#[derive(Debug, Clone)]
pub struct FileFormat {
    compression: Compression,
    stats: StatsColumns,
}

impl FileFormat {
    /// As these options, and the properties of the table, have it.
    pub fn new<'a>(options: &TableOptions, property: impl Fn(&str) -> Option<&'a str>) -> Self {
        Self { compression: options.compression, stats: StatsColumns::of(property) }
    }

    /// The columns that get statistics.
    pub(super) fn stats(&self) -> &StatsColumns {
        &self.stats
    }

    /// The end of a file's name.
    pub(super) fn suffix(&self) -> &'static str {
        match self.compression {
            Compression::Snappy => "snappy.parquet",
            Compression::Zstd => "zstd.parquet",
        }
    }

    /// Settings of the Parquet writer. A dictionary and bounds would hold several copies of large values: columns of such ones
    /// have none.
    pub fn writer_properties(&self, large: &[&str]) -> WriterProperties {
        let codec = match self.compression {
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
        for name in large {
            let column = ColumnPath::from(*name);
            builder = builder
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_statistics_enabled(column, EnabledStatistics::None);
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
}

/// Columns most of whose bytes are those of large values.
pub(crate) fn large_columns(rows: &RecordBatch) -> Vec<&str> {
    fn are_large(lengths: impl Iterator<Item = usize>) -> bool {
        let (mut all, mut large) = (0, 0);
        for length in lengths {
            all += length;
            large += if length >= LARGE { length } else { 0 };
        }
        large > all / 2
    }
    let is_large = |column: &ArrayRef| match column.data_type() {
        DataType::Utf8 => are_large(column.as_string::<i32>().offsets().lengths()),
        DataType::Binary => are_large(column.as_binary::<i32>().offsets().lengths()),
        _ => false,
    };
    let columns = rows.schema_ref().fields().iter().zip(rows.columns());
    columns.filter(|(_, column)| is_large(column)).map(|(field, _)| field.name().as_str()).collect()
}

#[cfg(test)]
impl FileFormat {
    /// Of a table without options and properties.
    pub(super) fn of_tests() -> Self {
        Self { compression: Compression::Snappy, stats: StatsColumns::of(|_| None) }
    }
}
