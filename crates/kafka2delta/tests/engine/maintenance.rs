//! Compaction beside merges, against the map of `docs/architecture.md`: steps are planned, and committed after further
//! merges of
//! the same table object or of another one, deletes and compactions of other engines, and restarts. `SEED` and
//! `SEQUENCES` choose what runs; a failure prints its seed, and `TRACE=1` the steps.

use std::sync::Arc;

use crate::delta_rs;
use crate::support::{Change, Key, Model, Row, SOFT, env, ipc, options, primary_key, rows};
use crate::temporary;
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use deltalake::logstore::{StorageConfig, logstore_for};
use kafka2delta::datafile::read::read_rows;
use kafka2delta::log::state::TableState;
use kafka2delta::maintenance::Rewritten;
use kafka2delta::options::MergeMode;
use kafka2delta::{CompactOptions, KeyedTable, MergeResult, Offset, TableOptions};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

macro_rules! trace {
    ($($part:tt)*) => { if env("TRACE").is_some() { println!($($part)*) } };
}

async fn state(uri: &str) -> TableState {
    let url = deltalake::ensure_table_uri(uri).unwrap();
    TableState::load(&logstore_for(&url, StorageConfig::default()).unwrap()).await.unwrap().unwrap()
}

const ALL: CompactOptions = CompactOptions { min_files: 2, max_bytes: 1 << 30, deleted_share: 0.1, full: true };

async fn compact(table: &mut KeyedTable, options: &CompactOptions) -> Option<kafka2delta::CompactResult> {
    let plan = table.plan_compaction(options).unwrap()?;
    let rewritten = plan.rewrite(&CancellationToken::new()).await.unwrap();
    table.commit_compaction(rewritten).await.unwrap()
}

fn upsert(key: Key, name: &str, sequence: Option<u64>) -> Change {
    let row = Row {
        name: Some(name.into()),
        big: Some(name.repeat(3)),
        part: Some(key.1 as i32 % 2),
        extra: None,
        deleted: None,
    };
    Change::Upsert { key, row, leaves_big: false, old: None, sequence }
}

fn delete(key: Key) -> Change {
    Change::Delete { key, sequence: None }
}

/// One table under random work.
struct Run {
    rng: StdRng,
    seed: u64,
    uri: String,
    options: TableOptions,
    model: Model,
    /// Kafka partitions: a key's is its id modulo their number.
    partitions: i64,
    guarded: bool,
    with_extra: bool,
    sequence: u64,
    step: usize,
    /// Two writers of one table; each stores offsets of its own.
    tables: Vec<KeyedTable>,
    pending: Vec<Rewritten>,
    committed: usize,
    carried: u64,
    foreign: bool,
}

impl Run {
    async fn new(seed: u64, uri: &str) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mode = *[MergeMode::MergeOnRead, MergeMode::MergeOnRead, MergeMode::CopyOnWrite].choose(&mut rng).unwrap();
        let soft = rng.random_bool(0.2);
        let clusters: [&[&str]; 3] = [&[], &["name"], &["id", "name"]];
        let mut options = options(uri, mode);
        options.soft_delete_column = soft.then(|| SOFT.to_owned());
        options.cluster_by = clusters.choose(&mut rng).unwrap().iter().map(|name| (*name).to_owned()).collect();
        options.target_file_size = *[1 << 20, 1 << 20, 3500, 1].choose(&mut rng).unwrap();
        // All in memory, on disk after each batch, and something of either.
        options.index_memory = *[1 << 30, 1 << 30, 16 << 10, 1].choose(&mut rng).unwrap();
        if rng.random_bool(0.5) {
            options.partition_columns.clear();
        }
        let mut tables = Vec::new();
        for _ in 0..if rng.random_bool(0.5) { 2 } else { 1 } {
            tables.push(KeyedTable::open(options.clone()).await.unwrap());
        }
        let mut model = Model::default();
        model.soft = soft;
        Self {
            seed,
            uri: uri.to_owned(),
            options,
            model,
            partitions: rng.random_range(1..4),
            guarded: rng.random_bool(0.4),
            with_extra: false,
            sequence: 100,
            step: 0,
            tables,
            pending: Vec::new(),
            committed: 0,
            carried: 0,
            foreign: rng.random_bool(0.5),
            rng,
        }
    }

    /// A key of a writer: of several, each has its own.
    fn key(&mut self, writer: usize) -> Key {
        let tenant = if self.tables.len() > 1 { writer as i32 } else { self.rng.random_range(0..2) };
        (tenant, self.rng.random_range(0..24))
    }

    fn row(&mut self) -> Row {
        let (step, rng) = (self.step, &mut self.rng);
        Row {
            name: rng.random_bool(0.9).then(|| format!("n{}", rng.random_range(0..50))),
            big: rng.random_bool(0.8).then(|| format!("big-{step}-{}", "x".repeat(rng.random_range(0..40)))),
            part: rng.random_bool(0.9).then(|| rng.random_range(0..2)),
            extra: if self.with_extra { rng.random_bool(0.5).then(|| rng.random_range(0..1000)) } else { None },
            deleted: None,
        }
    }

    fn batch(&mut self, writer: usize) -> Vec<Change> {
        let mut changes = Vec::new();
        for _ in 0..self.rng.random_range(1..25) {
            self.sequence += self.rng.random_range(1..3);
            let sequence = self.guarded.then_some(self.sequence);
            let key = self.key(writer);
            match self.rng.random_range(0..100) {
                0..68 => {
                    let (row, leaves_big) = (self.row(), self.rng.random_bool(0.3));
                    changes.push(Change::Upsert { key, row, leaves_big, old: None, sequence });
                }
                68..90 => changes.push(Change::Delete { key, sequence }),
                90..99 if !self.guarded => {
                    let mut new = self.key(writer);
                    new.1 = new.1 / self.partitions * self.partitions + key.1 % self.partitions;
                    if new != key {
                        let row = self.row();
                        changes.push(Change::Moved { key, new: Some(new) });
                        changes.push(Change::Upsert { key: new, row, leaves_big: true, old: Some(key), sequence });
                    }
                }
                // Other engines' rewrites lose the sequences by which a truncate tells older rows.
                99.. if if self.guarded { !self.foreign } else { self.partitions == 1 } => {
                    changes.push(Change::Truncate { sequence });
                }
                _ => {}
            }
        }
        changes
    }

    async fn merge(&mut self, writer: usize, changes: &[Change]) -> Option<MergeResult> {
        if changes.is_empty() {
            return None;
        }
        let of = |change: &Change| match change {
            Change::Upsert { key, .. } | Change::Delete { key, .. } | Change::Moved { key, .. } => {
                (key.1 % self.partitions) as i32
            }
            Change::Truncate { .. } => 0,
        };
        let partitions: Vec<i32> = changes.iter().map(of).collect();
        let bytes = ipc(changes, &partitions, self.with_extra, self.model.soft);
        let table = &mut self.tables[writer];
        let app_id = format!("q:t:{writer}");
        let expected = table.info().offsets.into_iter().find(|(a, _)| *a == app_id).map(|(_, v)| v);
        let offset = Offset { may_fall: false, app_id, expected, last: expected.unwrap_or(-1) + changes.len() as i64 };
        trace!("writer {writer} from {:?}: {changes:?}", table.info().version);
        let result = table
            .merge(Some(bytes), &primary_key(), &[offset], &CancellationToken::new())
            .await
            .unwrap_or_else(|e| panic!("seed {}: {:?}", self.seed, e.chain()));
        changes.iter().for_each(|change| self.model.apply(change));
        self.check(writer);
        Some(result)
    }

    /// A writer that has just committed knows the whole table.
    fn check(&self, writer: usize) {
        let info = self.tables[writer].info();
        assert_eq!(info.num_rows, self.model.rows.len() as u64, "seed {}, version {:?}", self.seed, info.version);
    }

    async fn one(&mut self) {
        self.step += 1;
        let writer = self.rng.random_range(0..self.tables.len());
        match self.rng.random_range(0..100) {
            0..40 => {
                let batch = self.batch(writer);
                self.merge(writer, &batch).await;
            }
            40..62 => {
                let compact = CompactOptions {
                    min_files: self.rng.random_range(2..4),
                    max_bytes: *[1 << 30, 6000].choose(&mut self.rng).unwrap(),
                    deleted_share: *[0.3, 0.05].choose(&mut self.rng).unwrap(),
                    full: self.rng.random_bool(0.2),
                };
                if let Some(plan) = self.tables[writer].plan_compaction(&compact).unwrap() {
                    trace!("plan by {writer} of {} files", plan.num_files());
                    // A file that another engine rewrote is still there: nothing is vacuumed.
                    self.pending.push(plan.rewrite(&CancellationToken::new()).await.unwrap());
                }
            }
            62..84 => {
                if self.pending.is_empty() {
                    return;
                }
                // A crash before the commit leaves files behind, and nothing else.
                let rewritten = self.pending.remove(self.rng.random_range(0..self.pending.len()));
                if self.rng.random_bool(0.1) {
                    return;
                }
                let result = self.tables[writer].commit_compaction(rewritten).await;
                let result = result.unwrap_or_else(|e| panic!("seed {}: {:?}", self.seed, e.chain()));
                trace!("commit by {writer}: {result:?}");
                if let Some(result) = result {
                    self.committed += 1;
                    self.carried += result.rows_carried_over;
                    self.check(writer);
                }
            }
            84..88 => {
                self.tables[writer] = KeyedTable::open(self.options.clone()).await.unwrap();
                trace!("restart of {writer}");
            }
            88..91 => self.with_extra = true,
            91..94 if self.foreign && self.tables[0].info().version.is_some() => {
                trace!("optimize");
                delta_rs::optimize(&self.uri).await;
            }
            94..97 if self.foreign && !self.model.soft && self.tables[0].info().version.is_some() => {
                let key = self.key(writer);
                trace!("delete of {key:?}");
                let predicate = format!("tenant = {} AND id = {}", key.0, key.1);
                delta_rs::delete(&self.uri, &predicate).await;
                self.model.apply(&delete(key));
            }
            _ => self.compare().await,
        }
    }

    async fn compare(&self) {
        if state_exists(&self.uri) {
            self.model.assert_equals(&rows(&self.uri).await, &format!("seed {}, step {}", self.seed, self.step));
        }
    }

    /// Files hold rows of the Kafka partition that their tag names, and as many as their statistics say.
    async fn check_files(&self) {
        let state = state(&self.uri).await;
        let schema = Arc::new(arrow::datatypes::Schema::new(vec![arrow::datatypes::Field::new(
            "id",
            arrow::datatypes::DataType::Int64,
            true,
        )]));
        let url = deltalake::ensure_table_uri(&self.uri).unwrap();
        let store = logstore_for(&url, StorageConfig::default()).unwrap().object_store(None);
        for (_, file) in state.live_files() {
            let records = file.num_records.unwrap();
            let all: Vec<u32> = (0..records as u32).collect();
            let ids = read_rows(&store, &file.add, &schema, &["id".into()], &all).await.unwrap();
            if let Some(partition) = file.partition {
                for id in ids.column(0).as_primitive::<Int64Type>().iter().flatten() {
                    assert_eq!(id % self.partitions, i64::from(partition), "seed {}: {}", self.seed, file.add.path);
                }
            }
        }
    }
}

fn state_exists(uri: &str) -> bool {
    std::path::Path::new(uri).join("_delta_log").exists()
}

async fn run(seed: u64) -> (usize, u64) {
    let folder = temporary::folder();
    let mut run = Run::new(seed, folder.path().to_str().unwrap()).await;
    let first: Vec<Change> = (0..10).map(|id| upsert((0, id), "first", run.guarded.then_some(100))).collect();
    run.merge(0, &first).await;
    for _ in 0..run.rng.random_range(20..80) {
        run.one().await;
    }
    run.compare().await;
    run.check_files().await;
    // The index of each writer knows where each row is.
    for writer in 0..run.tables.len() {
        let keys: Vec<Key> = run.model.rows.keys().copied().collect();
        run.sequence += 1;
        let sequence = run.guarded.then_some(run.sequence);
        let all: Vec<Change> = keys.iter().map(|key| upsert(*key, &format!("last{writer}"), sequence)).collect();
        // Of a table that another writer left empty nothing is written, and this one does not hear of it.
        let Some(result) = run.merge(writer, &all).await else { continue };
        assert_eq!(result.inserted, 0, "seed {seed}");
        run.compare().await;
        while compact(&mut run.tables[writer], &ALL).await.is_some() {}
        run.check(writer);
        run.compare().await;
    }
    (run.committed, run.carried)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_beside_merges_changes_no_row() {
    if let Some(seed) = env("SEED") {
        run(seed).await;
        return;
    }
    let first = rand::rng().random_range(0..1_000_000_000u64);
    let count = env("SEQUENCES").unwrap_or(100);
    println!("seeds {first} to {}", first + count - 1);
    let mut runs = tokio::task::JoinSet::new();
    for lane in 0..4 {
        runs.spawn(async move {
            let mut sum = (0, 0);
            for seed in (first + lane..first + count).step_by(4) {
                let (committed, carried) = tokio::spawn(run(seed)).await.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                sum = (sum.0 + committed, sum.1 + carried);
            }
            sum
        });
    }
    let mut sum = (0, 0);
    while let Some(run) = runs.join_next().await {
        let run = run.unwrap();
        sum = (sum.0 + run.0, sum.1 + run.1);
    }
    println!("{count} sequences, {} steps committed, {} rows carried over", sum.0, sum.1);
    assert!(sum.0 > 0 && sum.1 > 0);
}

/// Copies the table to the folder `KEEP`, with its rows as text beside it, for a look with other readers.
fn keep(folder: &std::path::Path, model: &Model) {
    let Ok(target) = std::env::var("KEEP") else { return };
    let copied = std::process::Command::new("cp").arg("-r").arg(folder).arg(&target).status().unwrap();
    assert!(copied.success());
    let line = |(key, row): (&Key, &Row)| format!("{},{},{}", key.0, key.1, row.name.as_deref().unwrap_or(""));
    std::fs::write(format!("{target}.expected"), model.rows.iter().map(line).collect::<Vec<_>>().join("\n")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_rewrite_leaves_nothing() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = KeyedTable::open(options(uri, MergeMode::MergeOnRead)).await.unwrap();
    for id in [1, 3, 5] {
        crate::support::merge(&mut table, "q:t:0", &[upsert((0, id), "a", None)], false).await.unwrap();
    }
    let count = || std::fs::read_dir(folder.path().join("part=1")).unwrap().count();
    let before = count();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = table.plan_compaction(&ALL).unwrap().unwrap().rewrite(&cancel).await.unwrap_err();
    assert_eq!((error.code, count()), (kafka2delta::ErrorCode::Cancelled, before));
    // One that other writers made void is taken back as well.
    let first = table.plan_compaction(&ALL).unwrap().unwrap().rewrite(&CancellationToken::new()).await.unwrap();
    let second = table.plan_compaction(&ALL).unwrap().unwrap().rewrite(&CancellationToken::new()).await.unwrap();
    assert!(table.commit_compaction(first).await.unwrap().is_some());
    assert!(table.commit_compaction(second).await.unwrap().is_none());
    assert_eq!(count(), before + 1);
    assert_eq!(rows(uri).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_found_after_two_compactions_without_a_merge_between() {
    // On disk, places of before a compaction stay; in memory they are written anew.
    for memory in [1 << 30, 32 << 10, 1] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let options = TableOptions { index_memory: memory, ..options(uri, MergeMode::MergeOnRead) };
        let mut table = KeyedTable::open(options.clone()).await.unwrap();
        let many: Vec<Change> = (0..300).map(|n| upsert((1, 2 * n), "a", None)).collect();
        crate::support::merge(&mut table, "q:t:0", &many, false).await.unwrap();
        crate::support::merge(&mut table, "q:t:0", &[upsert((0, 2), "a", None)], false).await.unwrap();
        compact(&mut table, &ALL).await.unwrap();
        let mut other = KeyedTable::open(options).await.unwrap();
        crate::support::merge(&mut other, "q:t:1", &[upsert((0, 4), "a", None)], false).await.unwrap();
        table.follow().await.unwrap();
        compact(&mut table, &ALL).await.unwrap();
        let all: Vec<Change> = [(1, 0), (0, 2), (0, 4)].map(|key| upsert(key, "b", None)).into();
        let merged = crate::support::merge(&mut table, "q:t:0", &all, false).await.unwrap();
        assert_eq!((merged.inserted, merged.updated), (0, 3), "{memory}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_deleted_while_a_step_is_written_are_carried_over() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = KeyedTable::open(options(uri, MergeMode::MergeOnRead)).await.unwrap();
    let mut model = Model::default();
    for round in 0..4 {
        let batch: Vec<Change> = (0..20).map(|id| upsert((round, id), "a", None)).collect();
        crate::support::merge(&mut table, "q:t:0", &batch, false).await.unwrap();
        batch.iter().for_each(|c| model.apply(c));
    }
    let files = table.info().num_files;
    let rewritten = table.plan_compaction(&ALL).unwrap().unwrap().rewrite(&CancellationToken::new()).await.unwrap();
    // All rows of one file, some of another, and one that comes back.
    let mut batch: Vec<Change> = (0..20).step_by(2).map(|id| delete((1, id))).collect();
    batch.extend([delete((2, 4)), upsert((2, 5), "b", None), delete((3, 7))]);
    crate::support::merge(&mut table, "q:t:0", &batch, false).await.unwrap();
    batch.iter().for_each(|c| model.apply(c));
    let back = [upsert((3, 7), "back", None)];
    crate::support::merge(&mut table, "q:t:0", &back, false).await.unwrap();
    back.iter().for_each(|c| model.apply(c));
    let result = table.commit_compaction(rewritten).await.unwrap().unwrap();
    assert_eq!((result.files_added, result.rows, result.rows_carried_over), (2, 80, 13));
    // The file that lost all its rows had left the table before.
    assert_eq!(result.files_removed, files - 1);
    model.assert_equals(&rows(uri).await, "after the commit");
    keep(folder.path(), &model);
    let all: Vec<Change> = model.rows.keys().map(|key| upsert(*key, "c", None)).collect();
    let merged = crate::support::merge(&mut table, "q:t:0", &all, false).await.unwrap();
    assert_eq!((merged.inserted, merged.updated), (0, model.rows.len() as u64));
    let history = kafka2delta::log::history::history(uri, Default::default(), 2).await.unwrap();
    assert!(history.len() == 2 && history[0].contains("MERGE") && history[0].contains(r#""version":7"#), "{history:?}");
    assert!(history[1].contains("OPTIMIZE") && history[1].contains("numDeletionVectorsRemoved"), "{history:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_and_tags_survive_a_compaction() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = KeyedTable::open(options(uri, MergeMode::MergeOnRead)).await.unwrap();
    for round in 0..3u64 {
        let batch: Vec<Change> = (0..6).map(|id| upsert((0, id), "a", Some(100 + round))).collect();
        crate::support::merge(&mut table, "q:t:0", &batch, false).await.unwrap();
    }
    let batch = [upsert((0, 100), "a", None)];
    crate::support::merge(&mut table, "q:t:0", &batch, false).await.unwrap();
    assert!(compact(&mut table, &ALL).await.is_some());
    drop(table);
    let mut table = KeyedTable::open(options(uri, MergeMode::MergeOnRead)).await.unwrap();
    // Through another partition, older than what the table holds.
    let late = ipc(&[upsert((0, 3), "late", Some(101))], &[1], false, false);
    let offset = Offset { may_fall: false, app_id: "q:t:1".into(), expected: None, last: 0 };
    let result = table.merge(Some(late), &primary_key(), &[offset], &CancellationToken::new()).await.unwrap();
    assert_eq!(result.dropped_stale, 1);
    assert!(state(uri).await.live_files().all(|(_, file)| file.partition == Some(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_merge_and_compact_at_the_same_time() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap().to_owned();
    let mut table = KeyedTable::open(options(&uri, MergeMode::MergeOnRead)).await.unwrap();
    let mut model = Model::default();
    let first: Vec<Change> = (0..50).map(|id| upsert((0, id), "first", None)).collect();
    crate::support::merge(&mut table, "q:t:0", &first, false).await.unwrap();
    first.iter().for_each(|c| model.apply(c));
    let stop = CancellationToken::new();
    let compactor = tokio::spawn({
        let (uri, stop) = (uri.clone(), stop.clone());
        async move {
            let mut table = KeyedTable::open(options(&uri, MergeMode::MergeOnRead)).await.unwrap();
            let (mut steps, mut carried) = (0, 0);
            while !stop.is_cancelled() {
                table.follow().await.unwrap();
                match compact(&mut table, &ALL).await {
                    Some(result) => (steps, carried) = (steps + 1, carried + result.rows_carried_over),
                    None => tokio::task::yield_now().await,
                }
            }
            (steps, carried)
        }
    });
    let mut rng = StdRng::seed_from_u64(7);
    for round in 0..150 {
        let batch: Vec<Change> = (0..rng.random_range(1..20))
            .map(|_| {
                let key = (0, rng.random_range(0..50));
                if rng.random_bool(0.3) { delete(key) } else { upsert(key, &format!("n{round}"), None) }
            })
            .collect();
        crate::support::merge(&mut table, "q:t:0", &batch, false).await.unwrap();
        batch.iter().for_each(|c| model.apply(c));
    }
    stop.cancel();
    let (steps, carried) = compactor.await.unwrap();
    println!("{steps} steps, {carried} rows carried over");
    assert!(steps > 0);
    model.assert_equals(&rows(&uri).await, "after both");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_to_sort_by_that_is_not_there_is_told_of_and_left_out() {
    let folder = temporary::folder();
    let options =
        TableOptions { cluster_by: vec!["gone".into()], ..options(folder.path().to_str().unwrap(), MergeMode::Auto) };
    let mut table = KeyedTable::open(options).await.unwrap();
    assert!(table.plan_compaction(&ALL).unwrap().is_none(), "there is no table yet");
    let result = crate::support::merge(&mut table, "q:t:0", &[upsert((0, 1), "a", None)], false).await.unwrap();
    assert!(result.notes.len() == 1 && result.notes[0].contains("clusterBy names 'gone'"), "{:?}", result.notes);
    assert!(table.plan_compaction(&ALL).is_ok());
}
