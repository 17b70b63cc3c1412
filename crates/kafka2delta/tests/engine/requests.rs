//! What is asked of the store: how often, and how many bytes.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, StructArray, UInt8Array};
use arrow::datatypes::{DataType, Field};
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use kafka2delta::options::{MergeMode, WriteMode};
use kafka2delta::{KeyedTable, Offset, TableOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::by_hand::ByHand;
use crate::counted::{Counted, Kind, Request, sum};
use crate::rows::{field, plain_options, put};
use crate::support::{Change, Key, Row, SOFT, ipc, options, primary_key};
use crate::write_modes::scd2;

/// Rows `id`, `text`; those without texts leave them out.
fn rows(ids: &[i64], texts: Vec<Option<String>>) -> Bytes {
    let left: ArrayRef = Arc::new(texts.iter().map(|text| Some(text.is_none())).collect::<BooleanArray>());
    let left = StructArray::from(vec![(Arc::new(Field::new("text", DataType::Boolean, false)), left)]);
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(Int64Array::from(ids.to_vec()))),
        ("text", Arc::new(StringArray::from(texts))),
        ("_op", Arc::new(UInt8Array::from(vec![0; ids.len()]))),
        ("_left_out", Arc::new(left)),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap().into()
}

async fn open(store: &Counted) -> KeyedTable {
    KeyedTable::open(plain_options(&store.uri, MergeMode::MergeOnRead)).await.unwrap()
}

fn gets(requests: &[Request]) -> (usize, u64) {
    sum(requests, Kind::Get)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_left_out_value_is_read_with_its_page_alone() {
    let store = Counted::new();
    let mut table = open(&store).await;
    let mut rng = StdRng::seed_from_u64(1);
    let mut noise = || (0..20_000).map(|_| rng.random_range('!'..='~')).collect::<String>();
    let ids: Vec<i64> = (0..1500).collect();
    let texts = ids.iter().map(|_| Some(noise())).collect();
    let key = ["id".to_owned()];
    table.merge(Some(rows(&ids, texts)), &key, &[], &CancellationToken::new()).await.unwrap();
    let (_, stored) = sum(&store.take(), Kind::Put);
    assert!(stored > 20 << 20, "{stored}");
    let merged = table.merge(Some(rows(&[1200], vec![None])), &key, &[], &CancellationToken::new()).await.unwrap();
    assert_eq!((merged.updated, merged.missing_values), (1, 0));
    let (count, bytes) = gets(&store.take());
    println!("{count} requests, {bytes} bytes of {stored}");
    // The end of the file, the dictionary, and the page.
    assert!(count <= 3 && bytes < 3 << 20, "{count} requests, {bytes} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_reads_small_files_with_one_request_each() {
    let store = Counted::new();
    let mut table = open(&store).await;
    let fields = [field("id", DataType::Int64), field("text", DataType::Utf8)];
    for id in 0..12 {
        put(&mut table, &["id"], &fields, &[json!({ "id": id, "text": "a" })]).await.unwrap();
    }
    drop(table);
    store.take();
    let mut table = open(&store).await;
    put(&mut table, &["id"], &fields, &[json!({ "id": 3, "_left": ["text"] })]).await.unwrap();
    // All for the index, one for the value that is left out.
    assert_eq!(gets(&store.take()).0, 12 + 1);
}

fn upsert(id: i64, sequence: Option<u64>) -> Change {
    let row = Row { name: Some("a".into()), part: Some(id as i32 % 3), ..Row::default() };
    Change::Upsert { key: (0, id), row, leaves_big: false, old: None, sequence }
}

async fn merge(table: &mut KeyedTable, changes: &[Change], partition: i32) {
    let app_id = format!("q:t:{partition}");
    let expected = table.info().offsets.into_iter().find(|(app, _)| *app == app_id).map(|(_, last)| last);
    let offset = Offset { may_fall: false, app_id, expected, last: expected.unwrap_or(-1) + 1 };
    let batch = ipc(changes, &vec![partition; changes.len()], false, table.soft_deletes());
    table.merge(Some(batch), &primary_key(), &[offset], &CancellationToken::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_looked_for_once_in_files_that_have_none() {
    let store = Counted::new();
    let mut table = KeyedTable::open(options(&store.uri, MergeMode::MergeOnRead)).await.unwrap();
    let first: Vec<Change> = (0..30).map(|id| upsert(id, None)).collect();
    merge(&mut table, &first, 0).await;
    store.take();
    // Changes through another partition: they must be compared with the three files' rows.
    for id in 0..9 {
        merge(&mut table, &[upsert(id, Some(id as u64))], 1).await;
    }
    assert_eq!(gets(&store.take()).0, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_a_lost_version_are_deleted_with_one_request() {
    let store = Counted::new();
    let mut table = KeyedTable::open(options(&store.uri, MergeMode::MergeOnRead)).await.unwrap();
    let keys: Vec<Key> = (0..9).map(|id| (0, id)).collect();
    let changes: Vec<Change> = keys.iter().map(|key| upsert(key.1, None)).collect();
    merge(&mut table, &changes, 0).await;
    store.take();
    let (folder, mut lost) = (store.folder.path().to_owned(), false);
    let first = std::fs::read_to_string(folder.join(format!("_delta_log/{:020}.json", 0))).unwrap();
    let actions = first.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let removed = actions.into_iter().find_map(|action| action["add"]["path"].as_str().map(str::to_owned)).unwrap();
    store.before_put(move |name| {
        if name.ends_with(".json") && !std::mem::replace(&mut lost, true) {
            let remove = json!({ "remove": { "path": removed, "deletionTimestamp": 1, "dataChange": true } });
            std::fs::write(folder.join("_delta_log").join(name), format!("{remove}\n")).unwrap();
        }
    });
    merge(&mut table, &changes, 0).await;
    let requests = store.take();
    assert_eq!((sum(&requests, Kind::Put).0, sum(&requests, Kind::Delete).0), (6, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_the_log_are_read_many_at_a_time() {
    const COMMITS: usize = 150;
    let (store, index) = (Counted::new(), crate::temporary::folder());
    let plain = options(&store.uri, MergeMode::MergeOnRead);
    let indexed = TableOptions { index_folder: Some(index.path().to_owned()), ..plain.clone() };
    let mut table = KeyedTable::open(indexed.clone()).await.unwrap();
    merge(&mut table, &[upsert(1, None)], 0).await;
    crate::index_size::wait_for_savings(index.path()).await;
    let mut other = KeyedTable::open(plain).await.unwrap();
    let by_others = |n: usize| {
        let last = n as i64;
        Offset { may_fall: false, app_id: "others:t:0".into(), expected: last.checked_sub(1).filter(|n| *n >= 0), last }
    };
    for n in 0..COMMITS {
        let batch = ipc(&[upsert(2, None)], &[0], false, false);
        other.merge(Some(batch), &primary_key(), &[by_others(n)], &CancellationToken::new()).await.unwrap();
    }
    store.take_entries();
    // A worker that was idle. What tells whether the log is still the same is a read, too.
    assert!(table.follow().await.unwrap());
    let (count, most) = store.take_entries();
    assert!(count == COMMITS + 1 && (16..=32).contains(&most), "{count}, {most}");
    // Where nothing is new, no entry is looked for.
    assert!(!table.follow().await.unwrap());
    assert_eq!(store.take_entries(), (1, 1));
    drop(table);
    // A start: back to the query's own last commit, and forward from the version that its index was saved at.
    let mut table = KeyedTable::open(indexed).await.unwrap();
    store.take_entries();
    merge(&mut table, &[upsert(3, None)], 0).await;
    let (count, most) = store.take_entries();
    assert!(count > 2 * COMMITS && (16..=32).contains(&most), "{count}, {most}");
    assert_eq!(table.info().num_rows, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_many_files_are_read_many_at_a_time() {
    let plain = options("", MergeMode::MergeOnRead);
    let feed = HashMap::from([("delta.enableChangeDataFeed".to_owned(), "true".to_owned())]);
    let feed = TableOptions { properties: feed, ..plain.clone() };
    let named = |id: i64, name: &str, part: i64, old: Option<i64>| Change::Upsert {
        key: (0, id),
        row: Row { name: Some(name.into()), part: Some(part as i32), ..Row::default() },
        leaves_big: old.is_some(),
        old: old.map(|old| (0, old)),
        sequence: None,
    };
    let all = |change: &dyn Fn(i64) -> Change| (0..20).map(change).collect::<Vec<_>>();
    let sent = all(&|id| upsert(id, Some(id as u64 + 1)));
    // Each row is in a file of its own. What is measured reads them in one way alone.
    for (what, options, before, measured) in [
        (
            "current versions",
            TableOptions { write_mode: scd2(), ..plain.clone() },
            vec![],
            all(&|id| named(id, "b", id % 3, None)),
        ),
        ("repeats", TableOptions { write_mode: WriteMode::Append, ..plain.clone() }, vec![], sent.clone()),
        (
            "rows that are marked as deleted",
            TableOptions { soft_delete_column: Some(SOFT.to_owned()), ..plain.clone() },
            vec![],
            vec![Change::Truncate { sequence: None }],
        ),
        ("deleted rows for the feed", feed.clone(), vec![], all(&|id| Change::Delete { key: (0, id), sequence: None })),
        ("written rows for the feed", feed, vec![], all(&|id| named(100 + id, "a", id, None))),
        (
            "rows of updated keys",
            plain,
            all(&|id| Change::Moved { key: (0, id), new: None }),
            all(&|id| named(100 + id, "a", 0, Some(id))),
        ),
    ] {
        let store = Counted::new();
        let options = TableOptions { uri: store.uri.clone(), ..options };
        let mut table = KeyedTable::open(options.clone()).await.unwrap();
        for change in &sent {
            merge(&mut table, std::slice::from_ref(change), 0).await;
        }
        if !before.is_empty() {
            merge(&mut table, &before, 0).await;
            table = KeyedTable::open(options).await.unwrap();
        }
        store.take_most_at_once();
        merge(&mut table, &measured, 0).await;
        let most = store.take_most_at_once();
        assert!((9..=16).contains(&most), "{what}: {most}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_deletes_of_others_reads_no_data_file() {
    for memory in [1 << 30, 1] {
        let store = Counted::new();
        let options = TableOptions { index_memory: memory, ..options(&store.uri, MergeMode::MergeOnRead) };
        let mut table = KeyedTable::open(options.clone()).await.unwrap();
        for file in 0..5 {
            let rows: Vec<Change> = (0..60).map(|id| upsert(3 * (60 * file + id), None)).collect();
            merge(&mut table, &rows, 0).await;
        }
        // Another worker, and another engine: what they delete are vectors of the five files.
        let mut other = KeyedTable::open(options).await.unwrap();
        let deletes: Vec<Change> = (0..5).map(|n| Change::Delete { key: (0, 180 * n), sequence: None }).collect();
        merge(&mut other, &deletes, 1).await;
        for id in [9, 12, 480] {
            let rewritten = ByHand::read(store.folder.path()).delete(id, true);
            assert!(rewritten.is_empty(), "{rewritten:?}");
        }
        store.take();
        assert!(table.follow().await.unwrap());
        assert_eq!(gets(&store.take()).0, 0, "index memory {memory}");
        // What was followed is right: one row is there no more, another one is.
        merge(&mut table, &[upsert(9, None), upsert(15, None)], 0).await;
        assert_eq!(table.info().num_rows, 300 - 5 - 3 + 1, "index memory {memory}");
    }
}
