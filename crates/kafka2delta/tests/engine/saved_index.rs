//! Key indexes that were saved for another history of the table, or for one that is long past.

use std::path::Path;

use kafka2delta::options::{KeyIndexMode, MergeMode};
use kafka2delta::{KeyedTable, TableOptions};

use crate::support::{Change, Row, merge, options, rows};
use crate::temporary;

fn upsert(id: i64, name: &str) -> Change {
    let row = Row { name: Some(name.into()), big: None, part: Some(0), extra: None, deleted: None };
    Change::Upsert { key: (0, id), row, leaves_big: false, old: None, sequence: None }
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_put_back_from_a_backup_and_written_on_has_each_key_once() {
    let (folder, backup, index) = (temporary::folder(), temporary::folder(), temporary::folder());
    let path = folder.path().join("table");
    let uri = path.to_str().unwrap();
    let plain = options(uri, MergeMode::MergeOnRead);
    let indexed = TableOptions { index_folder: Some(index.path().to_owned()), ..plain.clone() };
    let mut table = KeyedTable::open(indexed.clone()).await.unwrap();
    merge(&mut table, "q:t:0", &(0..5).map(|id| upsert(id, "first")).collect::<Vec<_>>(), false).await.unwrap();
    copy(&path, backup.path());
    // The row of key 1 gets another place, which the index remembers.
    merge(&mut table, "q:t:0", &[upsert(1, "of the past")], false).await.unwrap();
    table.close().await;
    std::fs::remove_dir_all(&path).unwrap();
    copy(backup.path(), &path);
    let mut other = KeyedTable::open(plain).await.unwrap();
    for id in 10..13 {
        merge(&mut other, "q:t:0", &[upsert(id, "after")], false).await.unwrap();
    }
    let mut table = KeyedTable::open(indexed).await.unwrap();
    let result = merge(&mut table, "q:t:0", &[upsert(1, "new")], false).await.unwrap();
    assert_eq!((result.inserted, result.updated), (0, 1));
    assert_eq!(rows(uri).await.len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_an_index_saves_none() {
    let (folder, index) = (temporary::folder(), temporary::folder());
    let uri = folder.path().to_str().unwrap();
    let indexed = TableOptions { index_folder: Some(index.path().to_owned()), ..options(uri, MergeMode::MergeOnRead) };
    let mut table = KeyedTable::open(indexed.clone()).await.unwrap();
    merge(&mut table, "q:t:0", &(0..5).map(|id| upsert(id, "first")).collect::<Vec<_>>(), false).await.unwrap();
    drop(table);
    let none = TableOptions { key_index: KeyIndexMode::None, ..indexed.clone() };
    let mut table = KeyedTable::open(none).await.unwrap();
    merge(&mut table, "q:t:0", &[upsert(1, "second")], false).await.unwrap();
    table.close().await;
    let mut table = KeyedTable::open(indexed).await.unwrap();
    let result = merge(&mut table, "q:t:0", &[upsert(1, "third"), upsert(2, "third")], false).await.unwrap();
    assert_eq!((result.inserted, result.updated), (0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_far_behind_is_brought_forward_or_built_anew() {
    for commits in [20, 400] {
        let (folder, index) = (temporary::folder(), temporary::folder());
        let uri = folder.path().to_str().unwrap();
        let plain = options(uri, MergeMode::MergeOnRead);
        let indexed = TableOptions { index_folder: Some(index.path().to_owned()), ..plain.clone() };
        let mut table = KeyedTable::open(indexed.clone()).await.unwrap();
        merge(&mut table, "q:t:0", &(0..5).map(|id| upsert(id, "first")).collect::<Vec<_>>(), false).await.unwrap();
        table.close().await;
        let mut other = KeyedTable::open(plain).await.unwrap();
        for n in 0..commits {
            merge(&mut other, "q:t:0", &[upsert(n % 7, "after")], false).await.unwrap();
        }
        let mut table = KeyedTable::open(indexed).await.unwrap();
        let result = merge(&mut table, "q:t:0", &[upsert(1, "new"), upsert(6, "new"), upsert(9, "new")], false).await;
        let result = result.unwrap();
        assert_eq!((result.inserted, result.updated), (1, 2), "{commits}");
        assert_eq!(rows(uri).await.len(), 8, "{commits}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_was_never_stored_is_newer_than_the_place_that_the_index_keeps() {
    let (folder, index) = (temporary::folder(), temporary::folder());
    let uri = folder.path().to_str().unwrap();
    let indexed = TableOptions { index_folder: Some(index.path().to_owned()), ..options(uri, MergeMode::MergeOnRead) };
    let with_big = |big: &str| Row { big: Some(big.into()), part: Some(0), ..Row::default() };
    let put = |id: i64, row: Row, old: Option<i64>| Change::Upsert {
        key: (0, id),
        row,
        leaves_big: old.is_some(),
        old: old.map(|old| (0, old)),
        sequence: None,
    };
    let mut table = KeyedTable::open(indexed.clone()).await.unwrap();
    merge(&mut table, "q:t:0", &[put(1, with_big("stored"), None), put(9, with_big("other"), None)], false)
        .await
        .unwrap();
    // The row is replaced and its key updated in one batch; the new key's row comes after a restart.
    let moved = [put(1, with_big("never stored"), None), Change::Moved { key: (0, 1), new: None }];
    merge(&mut table, "q:t:0", &moved, false).await.unwrap();
    table.close().await;
    let mut table = KeyedTable::open(indexed).await.unwrap();
    merge(&mut table, "q:t:0", &[put(2, Row { part: Some(0), ..Row::default() }, Some(1))], false).await.unwrap();
    assert_eq!(rows(uri).await[&(0, 2)].big.as_deref(), Some("never stored"));
}

/// A table of five rows whose index was saved, and the file of that.
async fn saved(folder: &Path, index: &Path) -> (TableOptions, std::path::PathBuf) {
    let uri = folder.to_str().unwrap();
    let options = TableOptions { index_folder: Some(index.to_owned()), ..options(uri, MergeMode::MergeOnRead) };
    let mut table = KeyedTable::open(options.clone()).await.unwrap();
    merge(&mut table, "q:t:0", &(0..5).map(|id| upsert(id, "first")).collect::<Vec<_>>(), false).await.unwrap();
    table.close().await;
    let file = std::fs::read_dir(index).unwrap().next().unwrap().unwrap().path();
    (options, file)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_damaged_or_cannot_be_read_is_built_anew() {
    let (folder, index) = (temporary::folder(), temporary::folder());
    let (options, file) = saved(folder.path(), index.path()).await;
    let whole = std::fs::read(&file).unwrap();
    let mut damaged: Vec<Vec<u8>> = (0..whole.len()).step_by(31).map(|length| whole[..length].to_vec()).collect();
    damaged.extend((0..whole.len()).step_by(23).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    }));
    let mut keys = 5;
    let mut check = async |note: &str| {
        let mut table = KeyedTable::open(options.clone()).await.unwrap();
        // Each key is found where it is, and a new one is not taken for an old one.
        let mut changes: Vec<Change> = (0..keys).map(|id| upsert(id, "again")).collect();
        changes.push(upsert(keys, "new"));
        let result = merge(&mut table, "q:t:0", &changes, false).await.unwrap();
        assert_eq!((result.inserted, result.updated), (1, keys as u64), "{note}");
        keys += 1;
        drop(table);
        crate::index_size::wait_for_savings(index.path()).await;
    };
    for bytes in damaged {
        std::fs::write(&file, &bytes).unwrap();
        check(&format!("{} bytes", bytes.len())).await;
    }
    // A folder, which can be opened and not read.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    check("a folder").await;
}
