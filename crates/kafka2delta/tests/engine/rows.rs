//! Batches from JSON rows, and a table's rows as JSON, for tests of other columns than those of `support`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray, StructArray, UInt8Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use kafka2delta::{KeyedTable, MergeResult, Offset, Result, TableOptions};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::delta_rs;
use crate::support::{options, with_column};

/// Options of a table at `uri` without additional columns and partitions.
pub fn plain_options(uri: &str, mode: kafka2delta::options::MergeMode) -> TableOptions {
    TableOptions { additional_columns: vec![], partition_columns: vec![], ..options(uri, mode) }
}

pub fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

pub fn structure(fields: &[(&str, DataType)]) -> DataType {
    DataType::Struct(fields.iter().map(|(name, data_type)| field(name, data_type.clone())).collect())
}

pub fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(field("item", item)))
}

pub fn map(value: DataType) -> DataType {
    let entries = vec![Field::new("key", DataType::Utf8, false), field("value", value)];
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries.into()), false)), false)
}

/// An IPC stream of rows, each with its op in `_op` (default: an upsert) and the columns that it leaves out in `_left`.
pub fn batch(fields: &[Field], rows: &[Value]) -> Bytes {
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let reader = arrow::json::ReaderBuilder::new(schema.clone()).with_batch_size(rows.len().max(1));
    let mut reader = reader.build(text.as_bytes()).unwrap();
    let data = reader.next().unwrap().unwrap();
    let ops: UInt8Array = rows.iter().map(|row| Some(row["_op"].as_u64().unwrap_or(0) as u8)).collect();
    let mut fields = schema.fields().to_vec();
    let mut columns = data.columns().to_vec();
    fields.push(Arc::new(Field::new("_op", DataType::UInt8, false)));
    columns.push(Arc::new(ops));
    if rows.iter().any(|row| row.get("_left").is_some()) {
        let left = |row: &Value, name: &str| row["_left"].as_array().is_some_and(|l| l.iter().any(|l| l == name));
        let parts: Vec<(Arc<Field>, ArrayRef)> = schema
            .fields()
            .iter()
            .map(|f| {
                let mask: BooleanArray = rows.iter().map(|row| Some(left(row, f.name()))).collect();
                (Arc::new(Field::new(f.name(), DataType::Boolean, false)), Arc::new(mask) as ArrayRef)
            })
            .collect();
        let masks = StructArray::from(parts);
        fields.push(Arc::new(Field::new("_left_out", masks.data_type().clone(), false)));
        columns.push(Arc::new(masks));
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap().into()
}

/// Merges rows with the key `key`, one offset further.
pub async fn put(table: &mut KeyedTable, key: &[&str], fields: &[Field], rows: &[Value]) -> Result<MergeResult> {
    put_batch(table, key, batch(fields, rows)).await
}

/// The same with a batch.
pub async fn put_batch(table: &mut KeyedTable, key: &[&str], batch: Bytes) -> Result<MergeResult> {
    let stored = table.info().offsets.first().map(|(_, version)| *version);
    let offset =
        Offset { may_fall: false, app_id: "q:t:0".to_owned(), expected: stored, last: stored.unwrap_or(-1) + 1 };
    let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
    table.merge(Some(batch), &key, &[offset], &CancellationToken::new()).await
}

/// What the SQL gives of the table `t`, read by delta-rs; without nulls.
pub async fn read(uri: &str, sql: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    for batch in delta_rs::query(uri, None, sql).await {
        let mut writer = arrow::json::ArrayWriter::new(Vec::new());
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        let text = writer.into_inner();
        if !text.is_empty() {
            rows.extend(serde_json::from_slice::<Vec<Value>>(&text).unwrap());
        }
    }
    rows
}

/// The same, with the key's text column before the update of each row that has one.
pub fn with_old_key(fields: &[Field], rows: &[Value], name: &str, old: Vec<Option<&str>>) -> Bytes {
    let nulls = NullBuffer::from_iter(old.iter().map(Option::is_some));
    let values: ArrayRef = Arc::new(StringArray::from(old));
    let old = StructArray::new(vec![field(name, DataType::Utf8)].into(), vec![values], Some(nulls));
    with_column(batch(fields, rows), "_old_key", Arc::new(old))
}
