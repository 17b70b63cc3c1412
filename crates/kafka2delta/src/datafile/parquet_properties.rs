//! How data files are written as Parquet.

use parquet::basic::{Compression as Codec, Encoding};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};

use super::{order_columns, stats};
use crate::options::Compression;

/// Spark 3.5 refuses old dates in files without its own version: it could not tell their calendar.
const SPARK_VERSION: &str = "3.5.0";

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
