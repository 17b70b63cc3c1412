//! Tables that are damaged: what is missing, cut short or no longer what it was is told as that, by the file's name, and not as
//! an outage that would be waited for.

use std::path::{Path, PathBuf};

use kafka2delta::options::MergeMode;
use kafka2delta::{ErrorCode, KeyedTable, Result, TableOptions};

use crate::support::{Change, Row, merge, options, rows};
use crate::temporary;

fn upsert(id: i64, name: &str) -> Change {
    let row = Row { name: Some(name.into()), big: Some(name.repeat(200)), part: None, ..Row::default() };
    Change::Upsert { key: (0, id), row, leaves_big: false, old: None, sequence: None }
}

fn plain(folder: &Path) -> TableOptions {
    TableOptions { partition_columns: vec![], ..options(folder.to_str().unwrap(), MergeMode::MergeOnRead) }
}

/// A table of three commits, the last of which has a deletion vector in a file of its own.
async fn table(folder: &Path) -> KeyedTable {
    let mut table = KeyedTable::open(plain(folder)).await.unwrap();
    let first: Vec<Change> = (0..2000).map(|id| upsert(id, "a")).collect();
    let second: Vec<Change> = (0..2000).step_by(3).map(|id| upsert(id, "b")).collect();
    for changes in [&first[..], &second, &[upsert(1, "c")]] {
        merge(&mut table, "q:t:0", changes, false).await.unwrap();
    }
    table
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let found = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = found.filter(|path| path.to_str().unwrap().ends_with(ending)).collect();
    found.sort();
    found
}

fn entry(folder: &Path, version: u64) -> PathBuf {
    folder.join(format!("_delta_log/{version:020}.json"))
}

/// What is done to a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Removed,
    Emptied,
    Halved,
    /// Other bytes, as many.
    Overwritten,
}

fn damage(path: &Path, how: Damage) {
    let bytes = std::fs::read(path).unwrap();
    match how {
        Damage::Removed => std::fs::remove_file(path).unwrap(),
        Damage::Emptied => std::fs::write(path, []).unwrap(),
        Damage::Halved => std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap(),
        Damage::Overwritten => std::fs::write(path, vec![b'x'; bytes.len()]).unwrap(),
    }
}

const ALL: [Damage; 4] = [Damage::Removed, Damage::Emptied, Damage::Halved, Damage::Overwritten];

/// A start, and a merge that has to find the row of a key.
async fn start(folder: &Path) -> Result<()> {
    let mut table = KeyedTable::open(plain(folder)).await?;
    merge(&mut table, "q:t:0", &[upsert(1, "d")], false).await.map(|_| ())
}

fn assert_corrupt(result: Result<()>, names: Option<&Path>, note: &str) {
    let Err(error) = result else { panic!("{note}: nothing was told") };
    assert_eq!(error.code, ErrorCode::TableCorrupt, "{note}: {:?}", error.chain());
    if let Some(path) = names {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(error.message.contains(name), "{note}: {:?}", error.chain());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_data_file_is_told_by_its_name() {
    for how in ALL {
        let folder = temporary::folder();
        table(folder.path()).await.close().await;
        let file = files(folder.path(), ".parquet").swap_remove(0);
        damage(&file, how);
        assert_corrupt(start(folder.path()).await, Some(&file), &format!("{how:?}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_deletion_vector_is_told() {
    for how in ALL {
        let folder = temporary::folder();
        table(folder.path()).await.close().await;
        let vectors = files(folder.path(), ".bin");
        assert!(!vectors.is_empty());
        vectors.iter().for_each(|file| damage(file, how));
        assert_corrupt(start(folder.path()).await, None, &format!("{how:?}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_in_the_log_and_an_entry_that_is_no_json_refuse_a_start() {
    for version in [0, 1] {
        for how in [Damage::Removed, Damage::Halved, Damage::Overwritten] {
            let folder = temporary::folder();
            table(folder.path()).await.close().await;
            damage(&entry(folder.path(), version), how);
            assert_corrupt(start(folder.path()).await, None, &format!("version {version} {how:?}"));
        }
    }
}

/// What a disk may make of the newest entry that a crash of the machine came upon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newest_entry_that_is_cut_short_is_told() {
    for how in [Damage::Emptied, Damage::Halved] {
        let folder = temporary::folder();
        let mut running = table(folder.path()).await;
        let newest = entry(folder.path(), 2);
        damage(&newest, how);
        assert_corrupt(start(folder.path()).await, None, &format!("{how:?}, a start"));
        // A table that is open reads no more of it than tells whether the log is still the same.
        let merged = merge(&mut running, "q:t:0", &[upsert(2, "d")], false).await.map(|_| ());
        match how {
            Damage::Emptied => assert_corrupt(merged, Some(&newest), "a table that is open"),
            _ => merged.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_checkpoint_refuses_a_start_and_its_pointer_does_not() {
    for how in ALL {
        let folder = temporary::folder();
        let table = table(folder.path()).await;
        table.maintenance().checkpoint().await.unwrap();
        table.close().await;
        let log = folder.path().join("_delta_log");
        damage(&log.join("_last_checkpoint"), how);
        start(folder.path()).await.unwrap_or_else(|error| panic!("{how:?}: {:?}", error.chain()));
        let checkpoint = files(&log, ".checkpoint.parquet").swap_remove(0);
        damage(&checkpoint, how);
        if matches!(how, Damage::Removed | Damage::Emptied) {
            // It counts for none; the entries are there, and the log is whole.
            start(folder.path()).await.unwrap_or_else(|error| panic!("{how:?}: {:?}", error.chain()));
            continue;
        }
        assert_corrupt(start(folder.path()).await, None, &format!("{how:?}"));
        // Where the entries are left, the checkpoint is removed by hand.
        std::fs::remove_file(&checkpoint).unwrap();
        start(folder.path()).await.unwrap_or_else(|error| panic!("{how:?}: {:?}", error.chain()));
        assert_eq!(rows(folder.path().to_str().unwrap()).await.len(), 2000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_whose_folder_is_gone_stops() {
    let folder = temporary::folder();
    let path = folder.path().join("table");
    let mut running = table(&path).await;
    std::fs::remove_dir_all(&path).unwrap();
    let Err(error) = merge(&mut running, "q:t:0", &[upsert(2, "d")], false).await else { panic!("it went on") };
    assert_eq!(error.code, ErrorCode::TableReplaced, "{:?}", error.chain());
    assert!(error.message.contains("q:t:0 at"), "{}", error.message);
    assert!(!path.join("_delta_log").exists(), "a log with a gap");
}
