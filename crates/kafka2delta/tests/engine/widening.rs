//! Columns that grow: the table is rewritten, and every reader finds the values that were there.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int32Array, Int64Array, RecordBatch, UInt8Array};
use arrow::datatypes::DataType;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use kafka2delta::options::MergeMode;
use kafka2delta::{KeyedTable, TableOptions};
use parquet::arrow::ArrowWriter;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::counted::{Counted, Kind, sum};
use crate::delta_rs;
use crate::handles::{files_of, named_files};
use crate::support::options;
use crate::temporary;

pub fn ipc(ids: &[i32], values: ArrayRef) -> Bytes {
    let ops = UInt8Array::from(vec![0; ids.len()]);
    let columns: [(&str, ArrayRef); 3] =
        [("id", Arc::new(Int32Array::from(ids.to_vec()))), ("v", values), ("_op", Arc::new(ops))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap().into()
}

async fn read(uri: &str) -> Vec<(i32, String)> {
    let mut rows = Vec::new();
    for batch in delta_rs::query(uri, None, "SELECT id, CAST(v AS STRING) AS v FROM t ORDER BY id").await {
        let ids = arrow::compute::cast(batch.column(0), &DataType::Int32).unwrap();
        let texts = arrow::compute::cast(batch.column(1), &DataType::Utf8).unwrap();
        for row in 0..batch.num_rows() {
            let id = ids.as_any().downcast_ref::<Int32Array>().unwrap().value(row);
            let text = texts.as_any().downcast_ref::<arrow::array::StringArray>().unwrap();
            rows.push((id, if arrow::array::Array::is_null(text, row) { "null" } else { text.value(row) }.to_owned()));
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_column_grows() {
    let decimals = |values: Vec<Option<i128>>, precision, scale| -> ArrayRef {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap())
    };
    let before = decimals(vec![Some(622_232_700), None, Some(-5)], 12, 3);
    let after = decimals(vec![Some(123_456)], 18, 5);
    let expected = ["622232.70000", "null", "-0.00500", "1.23456"];
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap().to_owned();
        let options =
            TableOptions { additional_columns: vec![], partition_columns: vec!["v".into()], ..options(&uri, mode) };
        let mut table = KeyedTable::open(options).await.unwrap();
        let key = ["id".to_owned()];
        let never = CancellationToken::new();
        table.merge(Some(ipc(&[1, 2, 3], before.clone())), &key, &[], &never).await.unwrap();
        let grown = table.merge(Some(ipc(&[4], after.clone())), &key, &[], &never).await.unwrap();
        assert_eq!(grown.widened_columns, ["v"]);
        // Older readers of the kernel refuse the shorter texts of files that are gone: a checkpoint stands for the log before.
        let checkpoint = format!("_delta_log/{:020}.checkpoint.parquet", grown.version);
        assert!(folder.path().join(checkpoint).exists());
        let expected: Vec<(i32, String)> = (1..).zip(expected.iter().map(|v| (*v).to_owned())).collect();
        assert_eq!(read(&uri).await, expected);
        // Rows are found again.
        let moved = table.merge(Some(ipc(&[1], after.clone())), &key, &[], &never).await.unwrap();
        assert_eq!((moved.inserted, moved.updated), (0, 1));
        assert_eq!(read(&uri).await[0].1, expected[3].1);
    }
}

/// Stores a file of one row, by another writer who knows the narrow type alone.
fn foreign_add(folder: &std::path::Path, id: i32) -> serde_json::Value {
    let columns: [(&str, ArrayRef); 2] =
        [("id", Arc::new(Int32Array::from(vec![id]))), ("v", Arc::new(Int32Array::from(vec![id])))];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    let bytes = writer.into_inner().unwrap();
    let path = format!("foreign-{id}.parquet");
    std::fs::write(folder.join(&path), &bytes).unwrap();
    json!({ "add": {
        "path": path, "partitionValues": {}, "size": bytes.len(), "modificationTime": 1, "dataChange": true,
        "stats": r#"{"numRecords":1}"#,
    }})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_rewritten_is_kept_where_another_writer_commits_first() {
    const FILES: i32 = 6;
    const LOST: i32 = 20;
    let store = Counted::new();
    let table_options = TableOptions {
        additional_columns: vec![],
        partition_columns: vec![],
        ..options(&store.uri, MergeMode::MergeOnRead)
    };
    let mut table = KeyedTable::open(table_options).await.unwrap();
    let (key, never) = (["id".to_owned()], CancellationToken::new());
    let ints = |id: i32| -> ArrayRef { Arc::new(Int32Array::from(vec![id])) };
    for id in 0..FILES {
        table.merge(Some(ipc(&[id], ints(id))), &key, &[], &never).await.unwrap();
    }
    store.take();
    // Before each of the first attempts another writer adds a file; one of its commits removes a file, too.
    let (folder, mut lost) = (store.folder.path().to_owned(), 0);
    let first = std::fs::read_to_string(folder.join(format!("_delta_log/{:020}.json", 1))).unwrap();
    let first: Vec<serde_json::Value> = first.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let removed = first.iter().find_map(|action| action["add"]["path"].as_str()).unwrap().to_owned();
    store.before_put(move |name| {
        if !name.ends_with(".json") || lost == LOST {
            return;
        }
        let mut actions = vec![foreign_add(&folder, 100 + lost)];
        if lost == 2 {
            actions.push(json!({ "remove": { "path": removed, "deletionTimestamp": 1, "dataChange": true } }));
        }
        lost += 1;
        let text: String = actions.iter().map(|action| format!("{action}\n")).collect();
        std::fs::write(folder.join("_delta_log").join(name), text).unwrap();
    });
    let long: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX]));
    let grown = table.merge(Some(ipc(&[0], long)), &key, &[], &never).await.unwrap();
    assert_eq!(grown.widened_columns, ["v"]);
    // Each file once; that of the row that is replaced has none left. And the new row, once for each time that it is decided
    // anew.
    let (copies, _) = sum(&store.take(), Kind::Put);
    let most = (FILES - 1) + LOST + (LOST + 1);
    assert!(copies <= most as usize, "{copies} files written, {most} at most");
    let folder = store.folder.path().to_str().unwrap();
    let mut expected: Vec<(i32, String)> = (2..FILES).chain(100..100 + LOST).map(|id| (id, id.to_string())).collect();
    expected.insert(0, (0, i64::MAX.to_string()));
    assert_eq!(read(folder).await, expected);
    // What was not needed is gone.
    let (stored, named) = (files_of(store.folder.path()), named_files(store.folder.path()));
    assert_eq!(stored.difference(&named).collect::<Vec<_>>(), Vec::<&String>::new());
}
