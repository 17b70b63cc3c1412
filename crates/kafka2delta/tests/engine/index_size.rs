//! How much the key index holds, in memory and on disk: what it is given to use, whatever others do to the table.

use kafka2delta::options::MergeMode;
use kafka2delta::{CompactOptions, ErrorCode, KeyedTable, TableOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use crate::delta_rs;
use crate::slow_store::{take_requests, url_of};
use crate::support::{Change, Row, merge, options};
use crate::temporary;

fn upsert(id: i64, name: &str) -> Change {
    let row = Row { name: Some(name.into()), ..Row::default() };
    Change::Upsert { key: (0, id), row, leaves_big: false, old: None, sequence: None }
}

fn delete(id: i64) -> Change {
    Change::Delete { key: (0, id), sequence: None }
}

fn plain(uri: &str, memory: u64) -> TableOptions {
    TableOptions {
        index_memory: memory,
        additional_columns: vec![],
        partition_columns: vec![],
        remembered_keys: 10_000,
        ..options(uri, MergeMode::MergeOnRead)
    }
}

async fn compact(table: &mut KeyedTable) {
    let all = CompactOptions { min_files: 2, max_bytes: 1 << 30, deleted_share: 0.1, full: true };
    while let Some(plan) = table.plan_compaction(&all).unwrap() {
        let rewritten = plan.rewrite(&CancellationToken::new()).await.unwrap();
        table.commit_compaction(rewritten).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_whose_rows_are_gone_are_forgotten() {
    const LIVE: i64 = 300_000;
    const BATCH: i64 = 20_000;
    // On disk, and in memory.
    for memory in [2 << 20, 24 << 20] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut table = KeyedTable::open(plain(uri, memory)).await.unwrap();
        let mut most = 0;
        for first in (0..4 * LIVE).step_by(BATCH as usize) {
            let mut changes: Vec<Change> = (first..first + BATCH).map(|id| upsert(id, "a")).collect();
            changes.extend((first - LIVE..first - LIVE + BATCH).filter(|id| *id >= 0).map(delete));
            merge(&mut table, "q:t:0", &changes, false).await.unwrap();
            let info = table.info();
            assert!(info.index_bytes <= memory, "{} of {memory}", info.index_bytes);
            most = most.max(info.index_keys);
            if first % (5 * BATCH) == 0 {
                compact(&mut table).await;
            }
        }
        // What had rows or was remembered when the runs were joined, a third more until they are again, and what is in memory
        // or has just been.
        let bound = (LIVE as u64 + 10_000) * 4 / 3 + 2 * memory / 24;
        assert!(most <= bound.min(4 * LIVE as u64 * 3 / 4), "{most} of {bound}");
        let changes = [upsert(4 * LIVE - 1, "b"), upsert(3 * LIVE, "b"), upsert(LIVE, "b"), upsert(4 * LIVE, "b")];
        let result = merge(&mut table, "q:t:0", &changes, false).await.unwrap();
        assert_eq!((result.inserted, result.updated), (2, 2));
        assert_eq!(table.info().num_rows, LIVE as u64 + 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_key_tells_its_row_for_as_long_as_it_is_remembered() {
    // More commits lie between than are looked through for rows of keys that are not remembered.
    for (memory, remembered_keys, is_found) in [(1 << 30, 10, true), (1, 10, true), (1 << 30, 1, false), (1, 1, false)]
    {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut table = KeyedTable::open(TableOptions { remembered_keys, ..plain(uri, memory) }).await.unwrap();
        let big = Row { big: Some("of the old row".into()), part: Some(0), ..Row::default() };
        let first = Change::Upsert { key: (0, 1), row: big, leaves_big: false, old: None, sequence: None };
        merge(&mut table, "q:t:0", &[first, upsert(7, "a"), upsert(8, "a")], false).await.unwrap();
        merge(&mut table, "q:t:0", &[Change::Moved { key: (0, 1), new: None }], false).await.unwrap();
        merge(&mut table, "q:t:0", &[delete(7)], false).await.unwrap();
        for id in 100..150 {
            merge(&mut table, "q:t:0", &[upsert(id, "a")], false).await.unwrap();
        }
        let row = Row { part: Some(0), ..Row::default() };
        let second = Change::Upsert { key: (0, 2), row, leaves_big: true, old: Some((0, 1)), sequence: None };
        let result = merge(&mut table, "q:t:0", &[second], false).await.unwrap();
        assert_eq!(result.missing_values, u64::from(!is_found), "{memory}, {remembered_keys}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_rewrite_passes_through_the_memory_and_ends_on_disk() {
    const ROWS: i64 = 400_000;
    let memory = 2 << 20;
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = KeyedTable::open(plain(uri, memory)).await.unwrap();
    for first in (0..ROWS).step_by(40_000) {
        let changes: Vec<Change> = (first..first + 40_000).map(|id| upsert(id, "a")).collect();
        merge(&mut table, "q:t:0", &changes, false).await.unwrap();
    }
    for round in 0..2 {
        assert!(delta_rs::optimize(uri).await > 1);
        table.follow().await.unwrap();
        let info = table.info();
        assert!(info.index_bytes <= memory, "{} of {memory}", info.index_bytes);
        assert_eq!(info.index_keys, ROWS as u64);
        // Merges of one row neither move the index nor join its parts: each leaves one key more.
        for n in 1..=12 {
            let result = merge(&mut table, "q:t:0", &[upsert(n * 30_000, "b")], false).await.unwrap();
            assert_eq!((result.inserted, result.updated), (0, 1), "{round}");
            let info = table.info();
            assert!(info.index_bytes <= memory / 8, "{} of {memory}", info.index_bytes);
            assert_eq!(info.index_keys, ROWS as u64 + n as u64);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_there_twice_is_found_among_many() {
    const ROWS: i64 = 150_000;
    for memory in [1, 1 << 20, 1 << 30] {
        let (folder, other) = (temporary::folder(), temporary::folder());
        let uri = folder.path().to_str().unwrap();
        let mut table = KeyedTable::open(plain(uri, memory)).await.unwrap();
        merge(&mut table, "q:t:0", &(0..50_000).map(|id| upsert(id, "a")).collect::<Vec<_>>(), false).await.unwrap();
        // Rows as another engine writes them.
        let mut source = KeyedTable::open(plain(other.path().to_str().unwrap(), 1 << 30)).await.unwrap();
        let theirs: Vec<Change> = (0..ROWS).map(|n| upsert(50_000 + n, "theirs")).chain([upsert(7, "twice")]).collect();
        merge(&mut source, "q:t:0", &theirs, false).await.unwrap();
        let rows = delta_rs::query(other.path().to_str().unwrap(), None, "SELECT * FROM t").await;
        let rows = arrow::compute::concat_batches(&rows[0].schema(), &rows).unwrap();
        delta_rs::append(uri, &rows).await;
        let mut again = KeyedTable::open(plain(uri, memory)).await.unwrap();
        for table in [&mut table, &mut again] {
            let error = merge(table, "q:t:1", &[upsert(1, "b")], false).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::TableUnsupported, "{memory}: {:?}", error.chain());
            assert!(error.message.contains("1 rows more") && error.message.contains("id = 7"), "{memory}: {error}");
        }
        delta_rs::delete(uri, "name = 'twice'").await;
        for (n, table) in [table, again].iter_mut().enumerate() {
            table.follow().await.unwrap();
            let changes =
                [upsert(7, "b"), upsert(49_999, "b"), upsert(50_000 + ROWS - 1, "b"), upsert(-1 - n as i64, "b")];
            let result = merge(table, &format!("q:t:{}", n + 1), &changes, false).await.unwrap();
            assert_eq!((result.inserted, result.updated), (1, 3), "{memory}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_after_a_crash_follows_few_commits() {
    let (folder, index) = (temporary::folder(), temporary::folder());
    let uri = url_of(folder.path(), 0);
    let options = TableOptions { index_folder: Some(index.path().to_owned()), ..plain(&uri, 1 << 30) };
    let mut table = KeyedTable::open(options.clone()).await.unwrap();
    for n in 0..700 {
        merge(&mut table, "q:t:0", &[upsert(n % 7, "a"), upsert(n % 5, "a")], false).await.unwrap();
    }
    table.maintenance().checkpoint().await.unwrap();
    // No close: as by a crash. What was handed to the writing thread before is written.
    drop(table);
    wait_for_savings(index.path()).await;
    take_requests(folder.path());
    let mut table = KeyedTable::open(options).await.unwrap();
    let result = merge(&mut table, "q:t:0", &[upsert(1, "b"), upsert(9, "b")], false).await.unwrap();
    assert_eq!((result.inserted, result.updated), (1, 1));
    let requests = take_requests(folder.path());
    let entries = requests.iter().filter(|(kind, path)| *kind == "get" && path.ends_with(".json")).count();
    assert!((2..200).contains(&entries), "{entries} entries of the log were read");
}

/// Until the files of savings that were given up are gone.
pub async fn wait_for_savings(folder: &std::path::Path) {
    for _ in 0..500 {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        if !names.into_iter().any(|name| name.to_str().unwrap().ends_with(".tmp")) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("an index is still being saved");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_was_saved_beside_merges_knows_every_row() {
    const ROWS: i64 = 300_000;
    let base = temporary::folder();
    let mut table = KeyedTable::open(plain(base.path().to_str().unwrap(), 1 << 30)).await.unwrap();
    for first in (0..ROWS).step_by(50_000) {
        let changes: Vec<Change> = (first..first + 50_000).map(|id| upsert(id, "a")).collect();
        merge(&mut table, "q:t:0", &changes, false).await.unwrap();
    }
    drop(table);
    for (seed, memory) in [(1, 1u64 << 30), (2, 1 << 30), (3, 1 << 20), (4, 8 << 20)] {
        let mut rng = StdRng::seed_from_u64(seed);
        let (folder, index) = (temporary::folder(), temporary::folder());
        let path = folder.path().join("table");
        crate::saved_index::copy(base.path(), &path);
        let uri = url_of(&path, 0);
        let options = TableOptions { index_folder: Some(index.path().to_owned()), ..plain(&uri, memory) };
        let mut live: Vec<bool> = vec![true; ROWS as usize + 40_000];
        live[ROWS as usize..].fill(false);
        let mut table = KeyedTable::open(options.clone()).await.unwrap();
        for n in 0..rng.random_range(18..30) {
            let mut changes = Vec::new();
            for _ in 0..1000 {
                let id = rng.random_range(0..live.len());
                let stays = rng.random_bool(0.6);
                live[id] = stays;
                changes.push(if stays { upsert(id as i64, "b") } else { delete(id as i64) });
            }
            merge(&mut table, "q:t:0", &changes, false).await.unwrap();
            if seed % 2 == 0 && n % 6 == 5 {
                compact(&mut table).await;
            }
        }
        drop(table);
        wait_for_savings(index.path()).await;
        take_requests(&path);
        let mut table = KeyedTable::open(options).await.unwrap();
        merge(&mut table, "q:t:0", &[upsert(-1, "new")], false).await.unwrap();
        // It was loaded: no file is read that was there when it was saved.
        let old = |path: &String| path.ends_with(".parquet") && base.path().join(path).exists();
        let read = take_requests(&path).into_iter().filter(|(kind, path)| *kind == "get" && old(path)).count();
        assert_eq!(read, 0, "seed {seed}");
        let changes: Vec<Change> = (0..live.len()).map(|id| upsert(id as i64, "c")).collect();
        let result = merge(&mut table, "q:t:0", &changes, false).await.unwrap();
        let expected = live.iter().filter(|live| **live).count() as u64;
        assert_eq!((result.updated, result.inserted), (expected, live.len() as u64 - expected), "seed {seed}");
        assert_eq!(table.info().num_rows, live.len() as u64 + 1, "seed {seed}");
    }
}
