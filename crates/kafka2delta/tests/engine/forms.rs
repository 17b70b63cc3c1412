//! What the types of columns do not tell of their values: the table remembers it, and refuses to mix.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, UInt8Array};
use arrow::datatypes::{Field, Schema};
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use kafka2delta::change::forms::FORMS;
use kafka2delta::options::MergeMode;
use kafka2delta::schema::SchemaEvolution;
use kafka2delta::{ErrorCode, KeyedTable, Result, TableOptions};
use tokio_util::sync::CancellationToken;

use crate::support::options;
use crate::temporary;

fn ipc(id: i32, values: ArrayRef, forms: Option<&str>) -> Bytes {
    let columns: Vec<(&str, ArrayRef)> =
        vec![("id", Arc::new(Int32Array::from(vec![id]))), ("t", values), ("_op", Arc::new(UInt8Array::from(vec![0])))];
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), *name != "_op")).collect();
    let metadata: HashMap<String, String> =
        forms.map(|forms| (FORMS.to_owned(), forms.to_owned())).into_iter().collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    let batch = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, column)| column).collect()).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap().into()
}

fn long(value: i64) -> ArrayRef {
    Arc::new(Int64Array::from(vec![value]))
}

fn int(value: i32) -> ArrayRef {
    Arc::new(Int32Array::from(vec![value]))
}

const MILLIS: Option<&str> = Some(r#"{"t":"milliseconds"}"#);
const MICROS: Option<&str> = Some(r#"{"t":"microseconds"}"#);
const NANOS: Option<&str> = Some(r#"{"t":"nanoseconds"}"#);
const PLAIN: Option<&str> = Some(r#"{"t":"plain"}"#);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_that_a_table_does_not_take_are_not_remembered() {
    let folder = temporary::folder();
    let plain = TableOptions {
        additional_columns: vec![],
        partition_columns: vec![],
        schema_evolution: SchemaEvolution::None,
        ..options(folder.path().to_str().unwrap(), MergeMode::MergeOnRead)
    };
    let mut table = KeyedTable::open(plain).await.unwrap();
    let without =
        RecordBatch::try_from_iter([("id", int(1)), ("_op", Arc::new(UInt8Array::from(vec![0])) as ArrayRef)]);
    let without = without.unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &without.schema()).unwrap();
    writer.write(&without).unwrap();
    let first: Bytes = writer.into_inner().unwrap().into();
    for batch in [first, ipc(2, int(5), MILLIS), ipc(3, long(5), MICROS)] {
        table.merge(Some(batch), &["id".to_owned()], &[], &CancellationToken::new()).await.unwrap();
    }
    assert!(table.info().properties.iter().all(|(name, _)| name != FORMS));
}

/// Merges each batch after the table was opened anew, as after a restart.
async fn merge_each(batches: Vec<Bytes>) -> (Vec<Result<u64>>, Option<String>) {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut results = Vec::new();
    let mut stored = None;
    for batch in batches {
        let plain = TableOptions {
            additional_columns: vec![],
            partition_columns: vec![],
            ..options(uri, MergeMode::MergeOnRead)
        };
        let mut table = KeyedTable::open(plain).await.unwrap();
        let merged = table.merge(Some(batch), &["id".to_owned()], &[], &CancellationToken::new()).await;
        results.push(merged.map(|merged| merged.version));
        let properties = table.info().properties;
        stored = properties.iter().find(|(name, _)| *name == FORMS).map(|(_, value)| value.clone());
    }
    (results, stored)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_of_another_unit_are_refused_after_a_restart_too() {
    for (first, second) in [
        ((int(3_723_004), MILLIS), (long(3_723_004_000), MICROS)),
        ((long(3_723_004_000), MICROS), (int(3_723_004), MILLIS)),
        ((long(3_723_004_000), MICROS), (long(3_723_004_000_000), NANOS)),
    ] {
        let batches = vec![ipc(1, first.0, first.1), ipc(2, second.0, second.1), ipc(3, long(7), None)];
        let (results, stored) = merge_each(batches).await;
        assert_eq!(stored.as_deref(), first.1);
        let error = results[1].as_ref().unwrap_err();
        assert_eq!(error.code, ErrorCode::SchemaIncompatible);
        assert!(error.to_string().contains("time.precision.mode"), "{error}");
        assert!(results[2].is_ok(), "a batch without forms says nothing against the table's");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_knows_no_forms_learns_them_unless_the_type_says_another_unit() {
    let (results, stored) =
        merge_each(vec![ipc(1, long(5), None), ipc(2, long(6), NANOS), ipc(3, long(6), MICROS)]).await;
    assert_eq!(stored.as_deref(), NANOS);
    assert!(results[1].is_ok());
    assert!(results[2].is_err());
    for (before, after) in [((int(5), None), (long(6), MICROS)), ((long(5), None), (int(6), MILLIS))] {
        let (results, _) = merge_each(vec![ipc(1, before.0, before.1), ipc(2, after.0, after.1)]).await;
        assert_eq!(results[1].as_ref().unwrap_err().code, ErrorCode::SchemaIncompatible);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_numbers_and_numbers_with_a_unit_do_not_mix_after_a_restart_either() {
    for (first, second) in [
        ((int(90), PLAIN), (int(3_723_004), MILLIS)),
        ((int(3_723_004), MILLIS), (int(90), PLAIN)),
        ((int(90), PLAIN), (long(3_723_004_000), MICROS)),
        ((long(3_723_004_000), MICROS), (int(90), PLAIN)),
    ] {
        let (results, stored) = merge_each(vec![ipc(1, first.0, first.1), ipc(2, second.0, second.1)]).await;
        assert_eq!(stored.as_deref(), first.1);
        let error = results[1].as_ref().unwrap_err();
        assert_eq!(error.code, ErrorCode::SchemaIncompatible);
        assert!(error.to_string().contains("plain values"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_numbers_grow_also_where_the_table_does_not_know_that_they_are_plain() {
    for known in [PLAIN, None] {
        let batches =
            vec![ipc(1, int(5), known), ipc(2, long(6), PLAIN), ipc(3, int(7), PLAIN), ipc(4, int(8), MILLIS)];
        let (results, stored) = merge_each(batches).await;
        assert!(results[..3].iter().all(Result::is_ok), "{results:?}");
        assert_eq!(stored.as_deref(), PLAIN);
        assert!(results[3].is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_knows_units_alone_learns_which_columns_are_plain() {
    let all = Some(r#"{"id":"plain","t":"milliseconds"}"#);
    let other = Some(r#"{"id":"microseconds","t":"milliseconds"}"#);
    let (results, stored) =
        merge_each(vec![ipc(1, int(5), MILLIS), ipc(2, int(6), all), ipc(3, int(7), other), ipc(4, int(8), PLAIN)])
            .await;
    assert!(results[..2].iter().all(Result::is_ok), "{results:?}");
    assert_eq!(stored.as_deref(), all);
    assert!(results[2].is_err());
    assert!(results[3].is_err());
}
