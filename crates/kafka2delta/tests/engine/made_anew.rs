//! A table that is dropped and made anew while work for a commit is under way: the work is dropped, the new log gets no gap,
//! and nothing is left in the folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, Int64Array};
use kafka2delta::options::MergeMode;
use kafka2delta::{CompactOptions, ErrorCode, KeyedTable, Result, TableOptions};
use tokio_util::sync::CancellationToken;

use crate::counted::{Counted, Put};
use crate::handles::{files_of, named_files};
use crate::support::{Change, Row, merge, options, rows};
use crate::temporary;
use crate::widening::ipc;

fn upsert(id: i64, name: &str) -> Change {
    let row = Row { name: Some(name.into()), big: Some(name.into()), part: Some(0), ..Row::default() };
    Change::Upsert { key: (0, id), row, leaves_big: false, old: None, sequence: None }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        match path.is_dir() {
            true => copy(&path, &to.join(name)),
            false => drop(std::fs::copy(&path, to.join(name)).unwrap()),
        }
    }
}

fn log_of(folder: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(folder.join("_delta_log")).unwrap().map(|e| e.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(".json")).collect()
}

/// A table of two commits, in a folder of its own.
async fn other_table() -> temporary::Folder {
    let folder = temporary::folder();
    let mut table = KeyedTable::open(options(folder.path().to_str().unwrap(), MergeMode::Auto)).await.unwrap();
    for id in [7, 8] {
        merge(&mut table, "q:t:0", &[upsert(id, "new")], false).await.unwrap();
    }
    folder
}

/// Puts another table in the place of the one, while work for a commit is under way.
struct Swap<'a> {
    store: &'a Counted,
    other: temporary::Folder,
    /// Whether the data files go too: `DROP TABLE`, and not only a lost log.
    with_files: bool,
}

impl<'a> Swap<'a> {
    async fn new(store: &'a Counted, with_files: bool) -> Self {
        Self { store, other: other_table().await, with_files }
    }

    /// At the next file of this kind that is stored. The work goes on when what the log said before is out of date.
    fn at(&self, ending: &'static str) {
        let (from, to): (PathBuf, PathBuf) = (self.other.path().to_owned(), self.store.folder.path().to_owned());
        let (mut done, with_files) = (false, self.with_files);
        self.store.before_put(move |name| {
            if name.ends_with(ending) && !std::mem::replace(&mut done, true) {
                let gone = if with_files { to.clone() } else { to.join("_delta_log") };
                std::fs::remove_dir_all(gone).unwrap();
                copy(&from, &to);
                std::thread::sleep(Duration::from_millis(1100));
            }
        });
    }

    /// `before`: the files of the table that is gone.
    fn assert_dropped<T>(&self, result: Result<T>, before: &BTreeSet<String>, note: &str) {
        let note = format!("{note}, with files {}", self.with_files);
        let Err(error) = result else { panic!("{note}: it was committed") };
        assert_eq!(error.code, ErrorCode::TableReplaced, "{note}: {:?}", error.chain());
        let folder = self.store.folder.path();
        assert_eq!(log_of(folder), log_of(self.other.path()), "{note}: the log has a gap");
        let mut expected = files_of(self.other.path());
        if !self.with_files {
            expected.extend(before.iter().cloned());
        }
        assert_eq!(files_of(folder), expected, "{note}: what was written is left");
    }
}

const ALL: [(MergeMode, bool); 4] = [
    (MergeMode::MergeOnRead, false),
    (MergeMode::MergeOnRead, true),
    (MergeMode::CopyOnWrite, false),
    (MergeMode::CopyOnWrite, true),
];

/// A table of four files.
async fn table_of_four(store: &Counted, mode: MergeMode) -> KeyedTable {
    let mut table = KeyedTable::open(options(&store.uri, mode)).await.unwrap();
    for id in 0..4 {
        merge(&mut table, "q:t:0", &[upsert(id, "a"), upsert(id + 10, "a")], false).await.unwrap();
    }
    table
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_is_dropped() {
    for (mode, with_files) in ALL {
        let store = Counted::new();
        let mut table = table_of_four(&store, mode).await;
        let (swap, before) = (Swap::new(&store, with_files).await, files_of(store.folder.path()));
        swap.at(".parquet");
        let changes: Vec<Change> = (0..4).map(|id| upsert(id, "b")).collect();
        let result = merge(&mut table, "q:t:0", &changes, false).await;
        swap.assert_dropped(result, &before, &format!("{mode:?}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_is_dropped() {
    for (mode, with_files) in ALL {
        let store = Counted::new();
        let mut table = KeyedTable::open(options(&store.uri, mode)).await.unwrap();
        for file in 0..2 {
            // So many that their vectors do not stand in the log.
            let rows: Vec<Change> = (0..3000).map(|id| upsert(2 * id + file, "a")).collect();
            merge(&mut table, "q:t:0", &rows, false).await.unwrap();
        }
        let (swap, before) = (Swap::new(&store, with_files).await, files_of(store.folder.path()));
        swap.at(if mode == MergeMode::CopyOnWrite { ".parquet" } else { ".bin" });
        let result = table.delete_where("id % 3 = 0", &CancellationToken::new()).await;
        swap.assert_dropped(result, &before, &format!("{mode:?}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_widening_is_dropped() {
    for (mode, with_files) in ALL {
        let store = Counted::new();
        let options =
            TableOptions { additional_columns: vec![], partition_columns: vec![], ..options(&store.uri, mode) };
        let mut table = KeyedTable::open(options).await.unwrap();
        let (key, never) = (["id".to_owned()], CancellationToken::new());
        for id in 0..4 {
            let narrow: ArrayRef = Arc::new(Int32Array::from(vec![id]));
            table.merge(Some(ipc(&[id], narrow)), &key, &[], &never).await.unwrap();
        }
        let (swap, before) = (Swap::new(&store, with_files).await, files_of(store.folder.path()));
        swap.at(".parquet");
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX]));
        let result = table.merge(Some(ipc(&[0], wide)), &key, &[], &never).await;
        swap.assert_dropped(result, &before, &format!("{mode:?}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_compaction_is_dropped() {
    for with_files in [false, true] {
        let store = Counted::new();
        let mut table = table_of_four(&store, MergeMode::MergeOnRead).await;
        let before = files_of(store.folder.path());
        let plan = table.plan_compaction(&ALL_FILES).unwrap().unwrap();
        let rewritten = plan.rewrite(&CancellationToken::new()).await.unwrap();
        // A row that is carried over as a vector of the new file, at whose writing the table goes.
        merge(&mut table, "q:t:0", &[upsert(0, "b")], false).await.unwrap();
        let merged: BTreeSet<String> = named_files(store.folder.path()).union(&before).cloned().collect();
        let swap = Swap::new(&store, with_files).await;
        swap.at(".bin");
        let result = table.commit_compaction(rewritten).await;
        swap.assert_dropped(result, &merged, "compaction");
    }
}

const ALL_FILES: CompactOptions = CompactOptions { min_files: 2, max_bytes: 1 << 30, deleted_share: 0.3, full: true };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_compaction_that_fails_leaves_files_alone_where_its_commit_is_in_doubt() {
    // What becomes of the vector file and of the log entry, and whether the files of the step stay.
    for (vector, entry, kept) in
        [(Put::Refused, Put::Stored, false), (Put::Stored, Put::Refused, true), (Put::Stored, Put::AnswerLost, true)]
    {
        let store = Counted::new();
        let mut table = table_of_four(&store, MergeMode::MergeOnRead).await;
        let plan = table.plan_compaction(&ALL_FILES).unwrap().unwrap();
        let rewritten = plan.rewrite(&CancellationToken::new()).await.unwrap();
        merge(&mut table, "q:t:0", &[upsert(0, "b")], false).await.unwrap();
        let (folder, note) = (store.folder.path(), format!("vector {vector:?}, entry {entry:?}"));
        store.fail_put(move |name| match name.ends_with(".bin") {
            true => vector,
            false if name.ends_with(".json") => entry,
            false => Put::Stored,
        });
        let result = table.commit_compaction(rewritten).await;
        store.fail_put(|_| Put::Stored);
        // A lost answer is looked for in the log.
        assert_eq!(result.is_ok(), entry == Put::AnswerLost, "{note}: {result:?}");
        let left: Vec<String> = files_of(folder).difference(&named_files(folder)).cloned().collect();
        assert_eq!(!left.is_empty(), kept && result.is_err(), "{note}: {left:?}");
        // The table goes on.
        merge(&mut table, "q:t:0", &[upsert(1, "c")], false).await.unwrap();
        assert_eq!(rows(folder.to_str().unwrap()).await.len(), 8, "{note}");
    }
}
