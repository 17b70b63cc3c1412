//! Vacuum, checkpoints and clean-up of the log: nothing goes that a reader within the retention needs.
//! `SEED` chooses what the random work is; it is printed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::delta_rs;
use crate::support::{Change, Key, Model, Row, merge, options, rows};
use crate::temporary;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use kafka2delta::maintenance::VacuumOptions;
use kafka2delta::options::MergeMode;
use kafka2delta::{CompactOptions, KeyedTable, TableOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

const NOW: VacuumOptions = VacuumOptions { retention: Some(Duration::ZERO), dry_run: false };

fn rng() -> StdRng {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}

fn upsert(id: i64, name: &str) -> Change {
    let row = Row { name: Some(name.into()), part: Some(id as i32 % 2), ..Row::default() };
    Change::Upsert { key: (0, id), row, leaves_big: false, old: None, sequence: None }
}

/// Merges, and a compaction now and then; gives the rows after each version.
async fn work(table: &mut KeyedTable, model: &mut Model, rng: &mut StdRng, steps: usize) -> HashMap<u64, usize> {
    let mut counts = HashMap::new();
    for _ in 0..steps {
        if rng.random_bool(0.2) {
            let options = CompactOptions { min_files: 2, max_bytes: 1 << 30, deleted_share: 0.3, full: false };
            if let Some(plan) = table.plan_compaction(&options).unwrap() {
                let rewritten = plan.rewrite(&CancellationToken::new()).await.unwrap();
                table.commit_compaction(rewritten).await.unwrap().unwrap();
            }
        } else {
            let batch: Vec<Change> = (0..rng.random_range(1..15))
                .map(|n| {
                    let id = rng.random_range(0..60);
                    if rng.random_bool(0.3) {
                        Change::Delete { key: (0, id), sequence: None }
                    } else {
                        upsert(id, &format!("n{n}"))
                    }
                })
                .collect();
            merge(table, "q:t:0", &batch, false).await.unwrap();
            batch.iter().for_each(|change| model.apply(change));
        }
        if let Some(version) = table.info().version {
            counts.insert(version, model.rows.len());
        }
    }
    counts
}

/// The table's files without the log, with the time of their last change set back.
fn files(folder: &Path, age: Option<Duration>) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().unwrap() != "_delta_log" {
                found.extend(files(&path, age));
            }
            continue;
        }
        if let Some(age) = age {
            std::fs::File::options().append(true).open(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
        }
        found.push(path.to_str().unwrap().to_owned());
    }
    found
}

const DAYS: Option<Duration> = Some(Duration::from_secs(20 * 24 * 3600));

async fn count_at(uri: &str, version: u64) -> usize {
    let batches = delta_rs::query(uri, Some(version), "SELECT count(name) FROM t").await;
    batches[0].column(0).as_primitive::<Int64Type>().value(0) as usize
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vacuum_without_retention_leaves_the_newest_version() {
    let mut rng = rng();
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        for partitioned in [true, false] {
            let folder = temporary::folder();
            let uri = folder.path().to_str().unwrap();
            let mut options = options(uri, mode);
            if !partitioned {
                options.partition_columns.clear();
            }
            let (mut table, mut model) = (KeyedTable::open(options).await.unwrap(), Model::default());
            for round in 0..3 {
                work(&mut table, &mut model, &mut rng, 25).await;
                let before = files(folder.path(), None).len();
                let would = table.maintenance().vacuum(&VacuumOptions { dry_run: true, ..NOW }).await.unwrap();
                assert_eq!(files(folder.path(), None).len(), before);
                let done = table.maintenance().vacuum(&NOW).await.unwrap();
                assert_eq!(done, would);
                assert!(done.num_files > 0 && done.files.len() as u64 == done.num_files);
                assert_eq!(files(folder.path(), None).len() as u64, before as u64 - done.num_files);
                // Only live files and their vectors are left.
                let kept = files(folder.path(), None);
                let data = kept.iter().filter(|f| f.ends_with(".parquet")).count() as u64;
                assert_eq!(data, table.info().num_files);
                model.assert_equals(&rows(uri).await, &format!("{mode:?}, round {round}"));
                if round == 1 {
                    table.maintenance().checkpoint().await.unwrap();
                }
                assert_eq!(table.maintenance().vacuum(&NOW).await.unwrap().num_files, 0);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vacuum_keeps_what_readers_within_the_retention_need() {
    let mut rng = rng();
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = KeyedTable::open(options(uri, MergeMode::MergeOnRead)).await.unwrap();
    let mut model = Model::default();
    work(&mut table, &mut model, &mut rng, 30).await;
    let first = table.info().version.unwrap();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let began = SystemTime::now();
    let mut counts = work(&mut table, &mut model, &mut rng, 10).await;
    table.maintenance().checkpoint().await.unwrap();
    counts.extend(work(&mut table, &mut model, &mut rng, 10).await);
    // By their age all files could go; vectors that were replaced just now may be as old.
    files(folder.path(), DAYS);
    let young = table.maintenance().vacuum(&VacuumOptions::default()).await.unwrap();
    assert_eq!(young.num_files, 0, "{young:?}");
    let retention = Some(began.elapsed().unwrap() + Duration::from_millis(100));
    let done = table.maintenance().vacuum(&VacuumOptions { retention, dry_run: false }).await.unwrap();
    assert!(done.num_files > 0);
    for version in first + 1..=table.info().version.unwrap() {
        assert_eq!(count_at(uri, version).await, counts[&version], "version {version}");
    }
    model.assert_equals(&rows(uri).await, "newest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_longer_retention_than_the_tables_is_kept() {
    let mut rng = rng();
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let properties =
        HashMap::from([("delta.deletedFileRetentionDuration".to_owned(), "interval 0 seconds".to_owned())]);
    let options = TableOptions { properties, ..options(uri, MergeMode::MergeOnRead) };
    let (mut table, mut model) = (KeyedTable::open(options).await.unwrap(), Model::default());
    let counts = work(&mut table, &mut model, &mut rng, 20).await;
    // The checkpoint drops all tombstones: the commits still tell.
    table.maintenance().checkpoint().await.unwrap();
    files(folder.path(), DAYS);
    let hour = VacuumOptions { retention: Some(Duration::from_secs(3600)), dry_run: false };
    assert_eq!(table.maintenance().vacuum(&hour).await.unwrap().num_files, 0);
    for (version, count) in counts {
        assert_eq!(count_at(uri, version).await, count, "version {version}");
    }
    assert!(table.maintenance().vacuum(&VacuumOptions::default()).await.unwrap().num_files > 0);
    model.assert_equals(&rows(uri).await, "newest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_no_commit_names_go_by_their_age() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = KeyedTable::open(options(uri, MergeMode::MergeOnRead)).await.unwrap();
    merge(&mut table, "q:t:0", &[upsert(1, "a")], false).await.unwrap();
    // A rewrite that crashed before its commit.
    merge(&mut table, "q:t:0", &[upsert(3, "a")], false).await.unwrap();
    let all = CompactOptions { min_files: 2, max_bytes: 1 << 30, deleted_share: 0.3, full: true };
    let lost = table.plan_compaction(&all).unwrap().unwrap().rewrite(&CancellationToken::new()).await.unwrap();
    assert_eq!(lost.num_rows(), 2);
    drop(lost);
    for path in
        ["a.parquet", "x=1/b.parquet", "_x=1/c.parquet", "_change_data/d.parquet", "_mine/e.parquet", ".f.crc", "_g"]
    {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    assert_eq!(table.maintenance().vacuum(&VacuumOptions::default()).await.unwrap().num_files, 0);
    files(folder.path(), DAYS);
    std::fs::write(folder.path().join("young.parquet"), "x").unwrap();
    let done = table.maintenance().vacuum(&VacuumOptions::default()).await.unwrap();
    assert_eq!(done.num_files, 5, "{done:?}");
    for kept in ["_mine/e.parquet", ".f.crc", "_g", "young.parquet"] {
        assert!(folder.path().join(kept).exists(), "{kept}");
    }
    assert_eq!(rows(uri).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encoded_paths_are_told() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let schema = Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("p", DataType::Utf8, true)]);
    let schema = Arc::new(schema);
    let names = ["a b", "ü%25", "x=1&y", "c:d+e", "plain", "%20"];
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..names.len() as i64));
    let batch = RecordBatch::try_new(schema, vec![ids, Arc::new(StringArray::from(names.to_vec()))]).unwrap();
    delta_rs::create(uri, &batch, &["p"]).await;
    for _ in 0..2 {
        delta_rs::append(uri, &batch).await;
    }
    delta_rs::delete(uri, "id < 2").await;
    files(folder.path(), DAYS);
    let mut options = options(uri, MergeMode::Auto);
    options.partition_columns.clear();
    let table = KeyedTable::open(options).await.unwrap();
    let done = table.maintenance().vacuum(&NOW).await.unwrap();
    assert_eq!(done.num_files, 6, "{done:?}");
    let left = delta_rs::query(uri, None, "SELECT id, p FROM t").await;
    assert_eq!(left.iter().map(RecordBatch::num_rows).sum::<usize>(), 12);
}

fn log_files(folder: &Path, end: &str) -> Vec<String> {
    let log = std::fs::read_dir(folder.join("_delta_log")).unwrap();
    let names = log.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(end)).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_stands_for_the_log_before_it() {
    let mut rng = rng();
    for v2 in [false, true] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let properties = [("delta.logRetentionDuration", "interval 0 seconds"), ("delta.checkpointInterval", "1000")];
        let properties = properties.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let options = TableOptions { properties, ..options(uri, MergeMode::MergeOnRead) };
        let (mut table, mut model) = (KeyedTable::open(options.clone()).await.unwrap(), Model::default());
        work(&mut table, &mut model, &mut rng, 25).await;
        if v2 {
            let version = table.info().version.unwrap() + 1;
            let commit = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors","v2Checkpoint"],"writerFeatures":["deletionVectors","v2Checkpoint"]}}"#;
            std::fs::write(folder.path().join(format!("_delta_log/{version:020}.json")), commit).unwrap();
            table.follow().await.unwrap();
        }
        let done = table.maintenance().checkpoint().await.unwrap();
        assert_eq!(Some(done.version), table.info().version);
        assert_eq!(done.log_files_removed, done.version, "all but the newest commit");
        let size = std::fs::metadata(folder.path().join(format!("_delta_log/{:020}.checkpoint.parquet", done.version)));
        assert_eq!(done.bytes, size.unwrap().len());
        // The open table goes on, and a new one finds the same.
        work(&mut table, &mut model, &mut rng, 10).await;
        let again = table.maintenance().checkpoint().await.unwrap();
        assert!(again.version > done.version && log_files(folder.path(), ".checkpoint.parquet").len() == 1);
        work(&mut table, &mut model, &mut rng, 5).await;
        let reopened = KeyedTable::open(options).await.unwrap().info();
        let info = table.info();
        assert_eq!(
            (reopened.version, reopened.num_rows, reopened.num_files),
            (info.version, info.num_rows, info.num_files)
        );
        assert_eq!((reopened.offsets, reopened.size_bytes), (info.offsets, info.size_bytes));
        model.assert_equals(&rows(uri).await, &format!("v2 {v2}"));
        let last = kafka2delta::log::history::history(uri, HashMap::new(), 1000).await.unwrap();
        assert_eq!(last.len(), log_files(folder.path(), ".json").len());
        if let Ok(kept) = std::env::var("KEEP") {
            let target = format!("{kept}-{}", if v2 { "v2" } else { "classic" });
            std::fs::rename(folder.path(), &target).unwrap();
            let line = |(key, row): (&Key, &Row)| format!("{},{},{}", key.0, key.1, row.name.as_deref().unwrap_or(""));
            let expected: Vec<String> = model.rows.iter().map(line).collect();
            std::fs::write(format!("{target}.expected"), expected.join("\n")).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_come_by_themselves() {
    let mut rng = rng();
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let properties = HashMap::from([("delta.checkpointInterval".to_owned(), "10".to_owned())]);
    let mut table =
        KeyedTable::open(TableOptions { properties, ..options(uri, MergeMode::MergeOnRead) }).await.unwrap();
    let mut model = Model::default();
    for _ in 0..50 {
        work(&mut table, &mut model, &mut rng, 2).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let checkpoints = log_files(folder.path(), ".checkpoint.parquet");
    println!("{checkpoints:?} of {:?} versions", table.info().version);
    assert!((1..10).contains(&checkpoints.len()), "{checkpoints:?}");
    // What a table that we create keeps.
    let info = table.info();
    let property = |name: &str| info.properties.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    assert_eq!(property("delta.deletedFileRetentionDuration"), Some("interval 1 day"));
    assert_eq!(property("delta.logRetentionDuration"), Some("interval 3 days"));
}
