//! The change data feed, read by delta-rs: it tells exactly what each version changed, in both merge modes.
//! `SEED` and `SEQUENCES` choose what runs; with `TABLE` the table of a `SEED` is left there, for a look by other readers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::delta_rs;
use crate::support::{Change, Key, Model, Row, SOFT, merge, options, rows, rows_of};
use crate::temporary;
use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, UInt8Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::writer::StreamWriter;
use kafka2delta::options::MergeMode;
use kafka2delta::{ErrorCode, KeyedTable, Offset, TableOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

type Rows = BTreeMap<Key, Row>;

fn with_feed(uri: &str, mode: MergeMode) -> TableOptions {
    let properties = HashMap::from([("delta.enableChangeDataFeed".to_owned(), "true".to_owned())]);
    TableOptions { properties, ..options(uri, mode) }
}

/// By type of change; a key that is there twice is a failure.
async fn feed_rows(uri: &str, version: u64) -> HashMap<String, Rows> {
    let mut found: HashMap<String, Rows> = HashMap::new();
    for batch in delta_rs::change_feed(uri, version).await {
        let types = arrow::compute::cast(batch.column_by_name("_change_type").unwrap(), &DataType::Utf8).unwrap();
        for (i, (key, row)) in rows_of(&batch).into_iter().enumerate() {
            let change = types.as_string::<i32>().value(i).to_owned();
            assert!(found.entry(change).or_default().insert(key, row).is_none(), "{key:?} is there twice");
        }
    }
    found
}

/// The feed's rows are the difference of the two tables, and nothing else; a row may be updated to what it is.
fn assert_is_difference(feed: HashMap<String, Rows>, before: &Rows, after: &Rows, note: &str) {
    let of = |change: &str| feed.get(change).cloned().unwrap_or_default();
    let (pre, post) = (of("update_preimage"), of("update_postimage"));
    let unchanged = |key: &Key| pre.get(key) == post.get(key);
    let (mut inserted, mut deleted, mut old, mut new) = (Rows::new(), Rows::new(), Rows::new(), Rows::new());
    for key in before.keys().chain(after.keys()) {
        match (before.get(key), after.get(key)) {
            (Some(b), Some(a)) if b != a || (pre.contains_key(key) && unchanged(key)) => {
                old.insert(*key, b.clone());
                new.insert(*key, a.clone());
            }
            (Some(_), Some(_)) | (None, None) => {}
            (Some(b), None) => drop(deleted.insert(*key, b.clone())),
            (None, Some(a)) => drop(inserted.insert(*key, a.clone())),
        }
    }
    assert_eq!(of("insert"), inserted, "{note}: insert");
    assert_eq!(of("delete"), deleted, "{note}: delete");
    assert_eq!(pre, old, "{note}: update_preimage");
    assert_eq!(post, new, "{note}: update_postimage");
    assert_eq!(feed.len(), [inserted, deleted, old, new].iter().filter(|rows| !rows.is_empty()).count(), "{note}");
}

/// Files of the feed that the log names, and those that are there.
fn feed_files(folder: &Path) -> (HashSet<String>, HashSet<String>) {
    fn walk(folder: &Path, root: &Path, found: &mut HashSet<String>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path().is_dir() {
                true => walk(&entry.path(), root, found),
                false => drop(found.insert(entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned())),
            }
        }
    }
    let (mut named, mut stored) = (HashSet::new(), HashSet::new());
    walk(&folder.join("_change_data"), folder, &mut stored);
    for entry in std::fs::read_dir(folder.join("_delta_log")).unwrap().flatten() {
        if entry.path().extension().is_some_and(|e| e == "json") {
            for line in std::fs::read_to_string(entry.path()).unwrap().lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                named.extend(line["cdc"]["path"].as_str().map(ToOwned::to_owned));
            }
        }
    }
    (named, stored)
}

fn random_changes(rng: &mut StdRng, extra: bool) -> Vec<Change> {
    let mut changes = Vec::new();
    for _ in 0..rng.random_range(1..15) {
        let key = |rng: &mut StdRng| -> Key { (rng.random_range(0..2), rng.random_range(0..10)) };
        let row = |rng: &mut StdRng| Row {
            name: rng.random_bool(0.9).then(|| format!("n{}", rng.random_range(0..5))),
            big: rng.random_bool(0.8).then(|| format!("big{}", rng.random_range(0..1000))),
            part: rng.random_bool(0.9).then(|| rng.random_range(0..3)),
            extra: (extra && rng.random_bool(0.5)).then(|| rng.random_range(0..9)),
            deleted: None,
        };
        let k = key(rng);
        match rng.random_range(0..100) {
            0..60 => {
                let leaves_big = rng.random_bool(0.3);
                changes.push(Change::Upsert { key: k, row: row(rng), leaves_big, old: None, sequence: None });
            }
            60..85 => changes.push(Change::Delete { key: k, sequence: None }),
            85..97 => {
                let new = key(rng);
                if new != k {
                    changes.push(Change::Moved { key: k, new: Some(new) });
                    let leaves_big = rng.random_bool(0.5);
                    let (row, old) = (row(rng), Some(k));
                    changes.push(Change::Upsert { key: new, row, leaves_big, old, sequence: None });
                }
            }
            _ if rng.random_bool(0.5) => changes.push(Change::Truncate { sequence: None }),
            _ => {}
        }
    }
    changes
}

async fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let temporary = temporary::folder();
    let folder = std::env::var("TABLE").map_or_else(|_| temporary.path().to_owned(), Into::into);
    let uri = folder.to_str().unwrap();
    let mode = if rng.random_bool(0.5) { MergeMode::MergeOnRead } else { MergeMode::CopyOnWrite };
    let soft = rng.random_bool(0.3);
    let options = TableOptions { soft_delete_column: soft.then(|| SOFT.to_owned()), ..with_feed(uri, mode) };
    // Two writers of one table, whose commits come in each other's way.
    let mut first = KeyedTable::open(options.clone()).await.unwrap();
    let insert = Change::Upsert {
        key: (0, 0),
        row: Row { name: Some("first".into()), part: Some(1), ..Row::default() },
        leaves_big: false,
        old: None,
        sequence: None,
    };
    merge(&mut first, "q:t:0", std::slice::from_ref(&insert), false).await.unwrap();
    let second = KeyedTable::open(options).await.unwrap();
    let mut tables = [first, second];
    let mut model = Model::default();
    model.soft = soft;
    model.apply(&insert);
    let mut before = rows(uri).await;
    assert_is_difference(feed_rows(uri, 0).await, &Rows::new(), &before, &format!("seed {seed}, version 0"));
    for step in 0..12 {
        let extra = step > 6;
        let changes = random_changes(&mut rng, extra);
        if changes.is_empty() {
            continue;
        }
        let turn = rng.random_range(0..2);
        // The other one's offsets are its own: it learns of a commit by losing its own attempt.
        let result = merge(&mut tables[turn], &format!("q:t:{turn}"), &changes, extra).await;
        let result = result.unwrap_or_else(|e| panic!("seed {seed}: {:?}", e.chain()));
        changes.iter().for_each(|change| model.apply(change));
        let after = rows(uri).await;
        let note = format!("seed {seed}, {mode:?}, soft {soft}, version {}: {changes:#?}", result.version);
        assert_is_difference(feed_rows(uri, result.version).await, &before, &after, &note);
        before = after;
    }
    // What a key's other writer keeps of its moved rows in memory, this one does not know.
    let keys: Vec<&Key> = model.rows.keys().collect();
    assert_eq!(before.keys().collect::<Vec<_>>(), keys, "seed {seed}");
    let (named, stored) = feed_files(&folder);
    assert_eq!(named, stored, "seed {seed}: what a lost attempt wrote is gone");
    assert!(named.iter().all(|path| path.is_ascii()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_is_the_difference_of_two_versions() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    if let Some(seed) = number("SEED") {
        return run(seed).await;
    }
    let first = rand::rng().random_range(0..1_000_000_000u64);
    let count = number("SEQUENCES").unwrap_or(30);
    println!("seeds {first} to {}", first + count - 1);
    let lanes = (0..2).map(|lane| {
        tokio::spawn(async move {
            for seed in (first + lane..first + count).step_by(2) {
                run(seed).await;
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
}

fn ipc(columns: Vec<(&str, ArrayRef)>) -> bytes::Bytes {
    let fields: Vec<Field> = columns.iter().map(|(n, a)| Field::new(*n, a.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, a)| a).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner().unwrap().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wider_column_tells_only_the_rows_that_changed() {
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let plain = TableOptions { additional_columns: vec![], partition_columns: vec![], ..with_feed(uri, mode) };
        let mut table = KeyedTable::open(plain).await.unwrap();
        let ids = |ids: Vec<i64>| Arc::new(Int64Array::from(ids)) as ArrayRef;
        let ops = |ops: Vec<u8>| Arc::new(UInt8Array::from(ops)) as ArrayRef;
        let narrow = Arc::new(Int32Array::from(vec![1, 2, 3])) as ArrayRef;
        let wide = Arc::new(Int64Array::from(vec![1 << 40])) as ArrayRef;
        let batches = [
            ipc(vec![("id", ids(vec![1, 2, 3])), ("v", narrow), ("_op", ops(vec![0, 0, 0]))]),
            ipc(vec![("id", ids(vec![2])), ("v", wide.clone()), ("_op", ops(vec![0]))]),
            ipc(vec![("id", ids(vec![9])), ("v", wide), ("_op", ops(vec![1]))]),
        ];
        for (last, batch) in (0i64..).zip(batches) {
            let expected = (last > 0).then_some(last - 1);
            let offset = Offset { may_fall: false, app_id: "q:t:0".into(), expected, last };
            let key = ["id".to_owned()];
            table.merge(Some(batch), &key, &[offset], &CancellationToken::new()).await.unwrap();
        }
        let mut found = Vec::new();
        for batch in delta_rs::change_feed(uri, 1).await {
            let text = |name: &str| arrow::compute::cast(batch.column_by_name(name).unwrap(), &DataType::Utf8).unwrap();
            let (change, id, v) = (text("_change_type"), text("id"), text("v"));
            for i in 0..batch.num_rows() {
                found.push([&change, &id, &v].map(|a| a.as_string::<i32>().value(i).to_owned()));
            }
        }
        found.sort();
        let expected = [["update_postimage", "2", "1099511627776"], ["update_preimage", "2", "2"]];
        assert_eq!(found, expected, "{mode:?}");
        assert!(
            delta_rs::change_feed(uri, 2).await.iter().all(|batch| batch.num_rows() == 0),
            "a delete of what is not there"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_protocol_lists_the_feed_and_its_columns_are_refused() {
    for (mode, reader) in [(MergeMode::MergeOnRead, 3), (MergeMode::CopyOnWrite, 1)] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let insert = Change::Upsert {
            key: (0, 0),
            row: Row { name: Some("a".into()), ..Row::default() },
            leaves_big: false,
            old: None,
            sequence: None,
        };
        let mut table = KeyedTable::open(with_feed(uri, mode)).await.unwrap();
        merge(&mut table, "q:t:0", std::slice::from_ref(&insert), false).await.unwrap();
        let log = std::fs::read_to_string(folder.path().join("_delta_log/00000000000000000000.json")).unwrap();
        let lines = log.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
        let protocol = lines.into_iter().find(|l| l["protocol"].is_object()).unwrap()["protocol"].clone();
        assert_eq!(
            (protocol["minReaderVersion"].as_i64(), protocol["minWriterVersion"].as_i64()),
            (Some(reader), Some(7))
        );
        assert!(protocol["writerFeatures"].as_array().unwrap().contains(&"changeDataFeed".into()), "{protocol}");

        let folder = temporary::folder();
        let additional_columns = vec!["upper(NAME) AS shout".into(), "1 AS _Change_Type".into()];
        let options = TableOptions { additional_columns, ..with_feed(folder.path().to_str().unwrap(), mode) };
        let mut table = KeyedTable::open(options).await.unwrap();
        let error = merge(&mut table, "q:t:0", &[insert], false).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::ConfigInvalid, "{error}");
        assert!(error.message.contains("'_Change_Type'"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
    }
}
