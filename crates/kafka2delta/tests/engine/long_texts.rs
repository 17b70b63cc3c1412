//! A text that many rows share takes little in a file, whose dictionary holds it once, and more in memory than one column
//! can hold. Whatever reads such rows takes them in parts.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, FixedSizeBinaryBuilder, Int32Array, Int64Array,
    RecordBatch, StringArray, StructArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Int32Type};
use bytes::Bytes;
use kafka2delta::options::MergeMode;
use kafka2delta::scan::scan;
use kafka2delta::{CompactOptions, KeyedTable, TableOptions};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::rows::{batch, field, plain_options, put, put_batch};
use crate::support::{all_rows, with_column};
use crate::temporary;
use crate::write_modes::scd2;

const ROWS: i64 = 3700;
const TEXT: usize = 600_000;
/// What a batch of rows may take in memory.
const BATCH: usize = 20 << 20;

/// Adds a file in which rows 1 to [`ROWS`] have one text: 2.2 GB of them, more than the offsets of a column reach. `others`:
/// its other columns, for 100 rows each.
fn add_file(folder: &std::path::Path, version: u64, others: &[(&str, ArrayRef)]) {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(TEXT)]));
    let rows = |first: i64| {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(first + 1..first + 101));
        let same = DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0; 100]), text.clone());
        let columns = [("id", ids), ("text", Arc::new(same) as ArrayRef)];
        let columns = columns.into_iter().chain(others.iter().cloned());
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    };
    let mut writer = ArrowWriter::try_new(Vec::new(), rows(0).schema(), None).unwrap();
    (0..ROWS).step_by(100).for_each(|first| writer.write(&rows(first)).unwrap());
    let bytes = writer.into_inner().unwrap();
    std::fs::write(folder.join("big.parquet"), &bytes).unwrap();
    let stats = json!({ "numRecords": ROWS }).to_string();
    let add = json!({ "add": {
        "path": "big.parquet", "partitionValues": {}, "size": bytes.len(), "modificationTime": 1, "dataChange": true,
        "tags": { "kafka2delta.partition": "0" },
        "stats": stats,
    }});
    std::fs::write(folder.join(format!("_delta_log/{version:020}.json")), format!("{add}\n")).unwrap();
}

/// The table's rows and the bytes of their texts; no batch may be larger than [`BATCH`].
async fn scanned(uri: &str) -> (usize, usize) {
    let mut batches = scan(all_rows(uri)).await.unwrap();
    let (mut rows, mut bytes) = (0, 0);
    while let Some(batch) = batches.next().await.unwrap() {
        let texts = batch.column_by_name("text").unwrap().as_string::<i32>();
        let size = texts.offsets().last().unwrap() - texts.offsets()[0];
        assert!(size as usize <= BATCH, "a batch of {size} bytes");
        (rows, bytes) = (rows + texts.len(), bytes + size as usize);
    }
    (rows, bytes)
}

async fn compact(table: &mut KeyedTable) {
    let all = CompactOptions { min_files: 2, max_bytes: 1 << 30, deleted_share: 0.1, full: true };
    let plan = table.plan_compaction(&all).unwrap().unwrap();
    let rewritten = plan.rewrite(&CancellationToken::new()).await.unwrap();
    table.commit_compaction(rewritten).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_beyond_two_gigabytes_are_compacted_copied_filled_in_and_read() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let fields = [field("id", DataType::Int64), field("text", DataType::Utf8)];
    let open = |mode, cluster: &str| {
        let cluster_by = if cluster.is_empty() { vec![] } else { vec![cluster.to_owned()] };
        KeyedTable::open(TableOptions { cluster_by, ..plain_options(uri, mode) })
    };
    let mut table = open(MergeMode::MergeOnRead, "").await.unwrap();
    put(&mut table, &["id"], &fields, &[json!({ "id": 0, "text": "short" })]).await.unwrap();
    add_file(folder.path(), 1, &[]);
    table.follow().await.unwrap();
    assert_eq!(scanned(uri).await, (ROWS as usize + 1, 5 + ROWS as usize * TEXT));
    compact(&mut table).await;
    drop(table);
    // Copy-on-write.
    let mut table = open(MergeMode::CopyOnWrite, "text").await.unwrap();
    let deleted = put(&mut table, &["id"], &fields, &[json!({ "id": 1, "_op": 1 })]).await.unwrap();
    assert_eq!((deleted.deleted, deleted.files_added), (1, 1));
    put(&mut table, &["id"], &fields, &[json!({ "id": -1, "text": "a" })]).await.unwrap();
    // Sorted by the texts themselves.
    compact(&mut table).await;
    drop(table);
    let mut table = open(MergeMode::MergeOnRead, "").await.unwrap();
    let all: Vec<Value> = (2..=ROWS).map(|id| json!({ "id": id, "_left": ["text"] })).collect();
    let filled = put(&mut table, &["id"], &fields, &all).await.unwrap();
    assert_eq!((filled.updated, filled.missing_values), (ROWS as u64 - 1, 0));
    assert_eq!(scanned(uri).await, (ROWS as usize + 1, 6 + (ROWS as usize - 1) * TEXT));
    // Updated and moved at once: none of these rows is ever stored.
    let both = |id: i64| [json!({ "id": id, "_left": ["text"] }), json!({ "id": id, "_op": 4 })];
    let moved: Vec<Value> = (2..=ROWS).flat_map(both).collect();
    put(&mut table, &["id"], &fields, &moved).await.unwrap();
    assert_eq!(scanned(uri).await, (2, 6));
    drop(table);
    let mut table = open(MergeMode::MergeOnRead, "").await.unwrap();
    let again: Vec<Value> = (2..=ROWS).map(|id| json!({ "id": id + ROWS, "_left": ["text"] })).collect();
    let again = with_old_ids(batch(&fields, &again), (2..=ROWS).map(Some).collect());
    let filled = put_batch(&mut table, &["id"], again).await.unwrap();
    assert_eq!((filled.inserted, filled.missing_values), (ROWS as u64 - 1, 0));
    assert_eq!(scanned(uri).await, (ROWS as usize + 1, 6 + (ROWS as usize - 1) * TEXT));
}

/// The batch with the keys that its rows had before.
fn with_old_ids(batch: Bytes, old: Vec<Option<i64>>) -> Bytes {
    let nulls = NullBuffer::from_iter(old.iter().map(Option::is_some));
    let ids: ArrayRef = Arc::new(Int64Array::from(old));
    let old = StructArray::new(vec![field("id", DataType::Int64)].into(), vec![ids], Some(nulls));
    with_column(batch, "_old_key", Arc::new(old))
}

/// The batch with a position, which all of its changes have.
fn at(position: u64, batch: Bytes, rows: usize) -> Bytes {
    let mut positions = FixedSizeBinaryBuilder::new(24);
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&position.to_be_bytes());
    (0..rows).for_each(|_| positions.append_value(bytes).unwrap());
    let batch = with_column(batch, "_seq", Arc::new(positions.finish()));
    with_column(batch, "_epoch", Arc::new(UInt64Array::from(vec![7; rows])))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_hold_texts_beyond_two_gigabytes() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let options = TableOptions { write_mode: scd2(), ..plain_options(uri, MergeMode::MergeOnRead) };
    let mut table = KeyedTable::open(options).await.unwrap();
    let fields = [field("id", DataType::Int64), field("name", DataType::Utf8), field("text", DataType::Utf8)];
    let first = batch(&fields, &[json!({ "id": 0, "name": "a", "text": "short" })]);
    put_batch(&mut table, &["id"], at(9, first, 1)).await.unwrap();
    let numbers = |value: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![value; 100])) };
    let begins = TimestampMicrosecondArray::from(vec![1; 100]).with_timezone("UTC");
    add_file(
        folder.path(),
        1,
        &[
            ("name", Arc::new(StringArray::from(vec!["a"; 100]))),
            ("valid_from", Arc::new(begins)),
            ("is_current", Arc::new(BooleanArray::from(vec![true; 100]))),
            ("_kafka2delta_epoch", numbers(7)),
            ("_kafka2delta_seq_0", numbers(5)),
            ("_kafka2delta_seq_1", numbers(0)),
            ("_kafka2delta_seq_2", numbers(0)),
            ("_kafka2delta_time", numbers(5)),
        ],
    );
    table.follow().await.unwrap();
    // It goes back to the position of all rows of the file: each of them may be what is sent again.
    let back = batch(&fields, &[json!({ "id": 0, "name": "b", "text": "short" })]);
    let back = put_batch(&mut table, &["id"], at(5, back, 1)).await.unwrap();
    assert_eq!((back.updated, back.inserted, back.dropped_stale), (1, 1, 0));
    let all: Vec<Value> = (1..=ROWS).map(|id| json!({ "id": id, "name": "b", "_left": ["text"] })).collect();
    let filled = put_batch(&mut table, &["id"], at(20, batch(&fields, &all), ROWS as usize)).await.unwrap();
    assert_eq!((filled.upserted, filled.missing_values), (2 * ROWS as u64, 0));
    assert_eq!(scanned(uri).await, (2 * ROWS as usize + 2, 10 + 2 * ROWS as usize * TEXT));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_too_large_to_be_kept_is_newer_than_the_one_that_is_stored() {
    for restarts in [false, true] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut table = KeyedTable::open(plain_options(uri, MergeMode::MergeOnRead)).await.unwrap();
        let fields = [field("id", DataType::Int64), field("text", DataType::Utf8)];
        put(&mut table, &["id"], &fields, &[json!({ "id": 1, "text": "stored" }), json!({ "id": 7 })]).await.unwrap();
        let text = "y".repeat(70 << 20);
        let moved = [json!({ "id": 1, "text": text }), json!({ "id": 1, "_op": 4 })];
        put(&mut table, &["id"], &fields, &moved).await.unwrap();
        if restarts {
            table = KeyedTable::open(plain_options(uri, MergeMode::MergeOnRead)).await.unwrap();
        }
        let again = with_old_ids(batch(&fields, &[json!({ "id": 2, "_left": ["text"] })]), vec![Some(1)]);
        put_batch(&mut table, &["id"], again).await.unwrap();
        let mut batches = scan(all_rows(uri)).await.unwrap();
        let mut bytes = 0;
        while let Some(batch) = batches.next().await.unwrap() {
            let texts = batch.column_by_name("text").unwrap().as_string::<i32>();
            bytes += texts.iter().flatten().map(str::len).sum::<usize>();
        }
        assert_eq!(bytes, 70 << 20, "{restarts}");
    }
}
