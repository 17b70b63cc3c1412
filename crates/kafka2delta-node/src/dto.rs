//! Data objects of the border, in the order and by the names of `src/delta/native-api.ts`.

use std::collections::HashMap;

use kafka2delta::options as engine;
use kafka2delta::schema::SchemaEvolution;
use kafka2delta::{MergeResult, Offset, Result, TableInfo, TableOptions};
use napi::bindgen_prelude::BigInt;
use napi_derive::napi;

use crate::error::invalid;

#[napi(object)]
pub struct NativeTableOptions {
    pub uri: String,
    pub storage_options: HashMap<String, String>,
    pub primary_key: Option<Vec<String>>,
    pub additional_columns: Vec<String>,
    pub partition_columns: Vec<String>,
    pub name: Option<String>,
    pub description: Option<String>,
    pub properties: HashMap<String, String>,
    pub write_mode: String,
    /// Valid from, valid to, is current.
    pub version_columns: Option<Vec<String>>,
    pub merge_mode: String,
    pub schema_evolution: String,
    pub soft_delete_column: Option<String>,
    pub on_missing_value: String,
    pub target_file_size: f64,
    pub max_rewrite_bytes: f64,
    pub remembered_keys: f64,
    pub compression: String,
    pub key_index: String,
    pub index_memory: f64,
    pub index_dir: Option<String>,
    pub cluster_by: Option<Vec<String>>,
}

fn choice<T: Copy>(option: &str, value: &str, choices: &[(&str, T)]) -> Result<T> {
    choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        invalid(format!("{option} is '{value}'; it may be {}", names.join(", ")))
    })
}

pub(crate) fn count(option: &str, value: f64) -> Result<u64> {
    match (1.0..=9_007_199_254_740_991.0).contains(&value) {
        true => Ok(value as u64),
        false => Err(invalid(format!("{option} is {value}; it must be a positive number"))),
    }
}

fn write_mode(name: &str, columns: Option<Vec<String>>) -> Result<engine::WriteMode> {
    use engine::{VersionColumns, WriteMode};
    match (name, columns.map(<[String; 3]>::try_from)) {
        ("upsert", _) => Ok(WriteMode::Upsert),
        ("append", _) => Ok(WriteMode::Append),
        ("scd2", Some(Ok([valid_from, valid_to, is_current]))) => {
            Ok(WriteMode::Scd2(VersionColumns { valid_from, valid_to, is_current }))
        }
        ("scd2", _) => Err(invalid("writeMode scd2 needs the names of three columns")),
        _ => Err(invalid(format!("writeMode is '{name}'; it may be upsert, append, scd2"))),
    }
}

impl NativeTableOptions {
    /// The engine's options.
    pub fn into_engine(self) -> Result<TableOptions> {
        use engine::{Compression, KeyIndexMode, MergeMode, OnMissingValue};
        Ok(TableOptions {
            uri: self.uri,
            storage_options: self.storage_options,
            primary_key: self.primary_key,
            additional_columns: self.additional_columns,
            partition_columns: self.partition_columns,
            name: self.name,
            description: self.description,
            properties: self.properties,
            write_mode: write_mode(&self.write_mode, self.version_columns)?,
            merge_mode: choice(
                "mergeMode",
                &self.merge_mode,
                &[
                    ("auto", MergeMode::Auto),
                    ("merge-on-read", MergeMode::MergeOnRead),
                    ("copy-on-write", MergeMode::CopyOnWrite),
                ],
            )?,
            schema_evolution: choice(
                "schemaEvolution",
                &self.schema_evolution,
                &[("add", SchemaEvolution::Add), ("none", SchemaEvolution::None), ("fail", SchemaEvolution::Fail)],
            )?,
            soft_delete_column: self.soft_delete_column,
            on_missing_value: choice(
                "onMissingValue",
                &self.on_missing_value,
                &[("null", OnMissingValue::Null), ("fail", OnMissingValue::Fail)],
            )?,
            target_file_size: count("targetFileSize", self.target_file_size)?,
            max_rewrite_bytes: count("maxRewriteBytes", self.max_rewrite_bytes)?,
            remembered_keys: usize::try_from(count("rememberedKeys", self.remembered_keys)?)
                .map_err(|_| invalid("rememberedKeys is too large for this machine"))?,
            compression: choice(
                "compression",
                &self.compression,
                &[("snappy", Compression::Snappy), ("zstd", Compression::Zstd)],
            )?,
            key_index: choice(
                "keyIndex",
                &self.key_index,
                &[("auto", KeyIndexMode::Auto), ("none", KeyIndexMode::None)],
            )?,
            index_memory: count("indexMemory", self.index_memory)?,
            index_folder: self.index_dir.map(Into::into),
            cluster_by: self.cluster_by.unwrap_or_default(),
        })
    }
}

#[napi(object)]
pub struct NativeOffset {
    pub app_id: String,
    pub expected: Option<BigInt>,
    pub last: BigInt,
    pub may_fall: Option<bool>,
}

fn offset(value: &BigInt) -> Result<i64> {
    let (value, lossless) = value.get_i64();
    match lossless {
        true => Ok(value),
        false => Err(invalid("an offset is beyond 64 bits")),
    }
}

impl NativeOffset {
    /// The engine's offset.
    pub fn into_engine(self) -> Result<Offset> {
        Ok(Offset {
            expected: self.expected.as_ref().map(offset).transpose()?,
            last: offset(&self.last)?,
            app_id: self.app_id,
            may_fall: self.may_fall.unwrap_or(false),
        })
    }
}

#[napi(object)]
pub struct NativeTimings {
    pub collapse: f64,
    pub locate: f64,
    pub fetch: f64,
    pub write: f64,
    pub commit: f64,
    pub total: f64,
}

#[napi(object)]
pub struct NativeMergeResult {
    pub version: i64,
    pub num_rows_upserted: i64,
    pub num_rows_inserted: i64,
    pub num_rows_updated: i64,
    pub num_rows_deleted: i64,
    pub num_dropped_stale: i64,
    pub num_missing_values: i64,
    pub num_files_added: i64,
    pub num_files_removed: i64,
    pub num_files_touched: i64,
    pub bytes_written: i64,
    pub added_columns: Vec<String>,
    pub widened_columns: Vec<String>,
    pub notes: Vec<String>,
    pub timings: NativeTimings,
}

pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl From<MergeResult> for NativeMergeResult {
    fn from(result: MergeResult) -> Self {
        let t = result.timings;
        Self {
            version: number(result.version),
            num_rows_upserted: number(result.upserted),
            num_rows_inserted: number(result.inserted),
            num_rows_updated: number(result.updated),
            num_rows_deleted: number(result.deleted),
            num_dropped_stale: number(result.dropped_stale),
            num_missing_values: number(result.missing_values),
            num_files_added: number(result.files_added),
            num_files_removed: number(result.files_removed),
            num_files_touched: number(result.files_touched),
            bytes_written: number(result.bytes_written),
            added_columns: result.added_columns,
            widened_columns: result.widened_columns,
            notes: result.notes,
            timings: NativeTimings {
                collapse: t.collapse,
                locate: t.locate,
                fetch: t.fetch,
                write: t.write,
                commit: t.commit,
                total: t.total,
            },
        }
    }
}

#[napi(object)]
pub struct NativeStoredOffset {
    pub app_id: String,
    pub version: BigInt,
}

#[napi(object, use_nullable = true)]
pub struct NativeTableInfo {
    pub exists: bool,
    pub version: Option<i64>,
    pub uri: String,
    pub name: Option<String>,
    pub schema_json: Option<String>,
    pub partition_columns: Vec<String>,
    pub num_files: i64,
    pub num_rows: i64,
    pub size_bytes: i64,
    pub merge_mode: String,
    pub properties: HashMap<String, String>,
    pub offsets: Vec<NativeStoredOffset>,
    pub index_keys: i64,
    pub index_bytes: i64,
}

impl From<TableInfo> for NativeTableInfo {
    fn from(info: TableInfo) -> Self {
        Self {
            exists: info.version.is_some(),
            version: info.version.map(number),
            uri: info.uri,
            name: info.name,
            schema_json: info.schema_json,
            partition_columns: info.partition_columns,
            num_files: number(info.num_files),
            num_rows: number(info.num_rows),
            size_bytes: number(info.size_bytes),
            merge_mode: if info.copy_on_write { "copy-on-write" } else { "merge-on-read" }.to_owned(),
            properties: info.properties.into_iter().collect(),
            offsets: info
                .offsets
                .into_iter()
                .map(|(app_id, version)| NativeStoredOffset { app_id, version: BigInt::from(version) })
                .collect(),
            index_keys: number(info.index_keys),
            index_bytes: number(info.index_bytes),
        }
    }
}
