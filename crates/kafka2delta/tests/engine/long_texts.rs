//! A text that many rows share takes little in a file, whose dictionary holds it once, and more in memory than one column
//! can hold. Whatever reads such rows takes them in parts.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int32Type};
use kafka2delta::options::MergeMode;
use kafka2delta::scan::scan;
use kafka2delta::{CompactOptions, KeyedTable, TableOptions};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::rows::{field, plain_options, put};
use crate::support::all_rows;
use crate::temporary;

const ROWS: i64 = 3700;
const TEXT: usize = 600_000;
/// What a batch of rows may take in memory.
const BATCH: usize = 20 << 20;

/// Adds a file in which rows 1 to [`ROWS`] have one text: 2.2 GB of them, more than the offsets of a column reach.
fn add_file(folder: &std::path::Path, version: u64) {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(TEXT)]));
    let rows = |first: i64| {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(first + 1..first + 101));
        let same = DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0; 100]), text.clone());
        RecordBatch::try_from_iter([("id", ids), ("text", Arc::new(same) as ArrayRef)]).unwrap()
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
    add_file(folder.path(), 1);
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
}
