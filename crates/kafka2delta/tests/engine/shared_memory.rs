//! Tables of one process that share memory: for their key indexes, and for steps of compaction.

use std::collections::BTreeSet;

use futures::FutureExt;
use kafka2delta::options::MergeMode;
use kafka2delta::{CompactOptions, KeyedTable, SharedMemory, TableOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use crate::support::{Change, Row, merge, options};
use crate::temporary;

const MB: u64 = 1 << 20;

fn upsert(id: i64, name: &str) -> Change {
    let row = Row { name: Some(name.into()), ..Row::default() };
    Change::Upsert { key: (0, id), row, leaves_big: false, old: None, sequence: None }
}

fn plain(uri: &str) -> TableOptions {
    TableOptions { additional_columns: vec![], partition_columns: vec![], ..options(uri, MergeMode::MergeOnRead) }
}

/// A table, and the keys that it has.
struct Shared {
    table: KeyedTable,
    keys: BTreeSet<i64>,
    _folder: temporary::Folder,
}

impl Shared {
    async fn open(memory: &SharedMemory) -> Self {
        let folder = temporary::folder();
        let table = KeyedTable::open_within(plain(folder.path().to_str().unwrap()), memory).await.unwrap();
        Self { table, keys: BTreeSet::new(), _folder: folder }
    }

    async fn upsert(&mut self, ids: impl Iterator<Item = i64>) {
        let ids: BTreeSet<i64> = ids.collect();
        let new = ids.iter().filter(|id| !self.keys.contains(id)).count() as u64;
        let changes: Vec<Change> = ids.iter().map(|id| upsert(*id, "a")).collect();
        let result = merge(&mut self.table, "q:t:0", &changes, false).await.unwrap();
        assert_eq!((result.inserted, result.updated), (new, ids.len() as u64 - new));
        self.keys.extend(ids);
        assert_eq!(self.table.info().num_rows, self.keys.len() as u64);
    }

    fn index_bytes(&self) -> u64 {
        self.table.info().index_bytes
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_stay_within_their_memory_and_know_every_row() {
    const LIMIT: u64 = 6 * MB;
    // A batch is entered before the index is looked at, and its table grows by a half at most where it grows.
    const BATCH: i64 = 10_000;
    const SLACK: u64 = 2 * MB;
    for seed in 0..2 {
        let mut rng = StdRng::seed_from_u64(seed);
        let memory = SharedMemory::default();
        memory.indexes.limit(LIMIT);
        let mut tables = Vec::new();
        for _ in 0..5 {
            tables.push(Shared::open(&memory).await);
        }
        let mut on_disk = 0;
        for n in 0..60 {
            // Some are written to often, and some are left alone for long.
            let at = if n % 20 < 17 { n / 20 } else { rng.random_range(0..tables.len()) };
            let first = rng.random_range(0..12) * BATCH;
            tables[at].upsert(first..first + BATCH).await;
            assert!(memory.indexes.held() <= LIMIT + SLACK, "seed {seed}: {} bytes", memory.indexes.held());
            let sum: u64 = tables.iter().map(Shared::index_bytes).sum();
            assert_eq!(memory.indexes.held(), sum, "seed {seed}");
            on_disk += tables.iter().filter(|t| t.keys.len() > 50_000 && t.index_bytes() < MB / 2).count();
        }
        assert!(on_disk > 0, "seed {seed}: all had room");
        for table in &mut tables {
            let all: Vec<i64> = table.keys.iter().copied().collect();
            table.upsert(all.into_iter().chain([-1])).await;
        }
        drop(tables);
        assert_eq!(memory.indexes.held(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_index_goes_to_disk_for_others_and_comes_back() {
    let memory = SharedMemory::default();
    memory.indexes.limit(6 * MB);
    let (mut idle, mut busy) = (Shared::open(&memory).await, Shared::open(&memory).await);
    idle.upsert(0..100_000).await;
    let held = idle.index_bytes();
    assert!(held > 2 * MB && held < 4 * MB, "{held}");
    let mut asked = idle.table.asked_for_memory();
    // Merges of others alone do not make it go: there is room.
    for n in 0..40 {
        busy.upsert(n..n + 1).await;
    }
    assert_eq!(asked.next().now_or_never(), None);
    busy.upsert(0..100_000).await;
    assert_eq!(asked.next().now_or_never(), Some(true));
    assert!(busy.index_bytes() > 2 * MB, "what the idle one holds counts as free");
    idle.table.yield_memory().await;
    assert!(idle.index_bytes() < MB / 10, "{}", idle.index_bytes());
    assert!(memory.indexes.held() <= 6 * MB);
    // It is on disk as long as there is no room, and knows its rows there.
    for n in 0..20 {
        idle.upsert(n * 1000..n * 1000 + 10).await;
        idle.upsert(200_000 + n..200_000 + n + 1).await;
        busy.upsert(n..n + 1).await;
    }
    assert!(idle.index_bytes() < MB / 4, "{}", idle.index_bytes());
    drop(busy);
    memory.indexes.limit(12 * MB);
    idle.upsert(99_990..100_010).await;
    assert!(idle.index_bytes() > 2 * MB, "{}", idle.index_bytes());
    idle.upsert(0..100_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_written_to_keeps_its_index_where_it_was_asked_before() {
    let memory = SharedMemory::default();
    memory.indexes.limit(5 * MB);
    let (mut first, mut second) = (Shared::open(&memory).await, Shared::open(&memory).await);
    first.upsert(0..60_000).await;
    for n in 0..40 {
        second.upsert(n..n + 1).await;
    }
    second.upsert(0..100_000).await;
    memory.indexes.limit(20 * MB);
    first.upsert(0..1).await;
    let held = first.index_bytes();
    assert!(held > MB);
    first.table.yield_memory().await;
    assert_eq!(first.index_bytes(), held);
}

fn compaction() -> CompactOptions {
    CompactOptions { min_files: 2, max_bytes: 1 << 30, deleted_share: 0.1, full: true }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_waits_for_memory_and_merges_go_on_meanwhile() {
    let memory = SharedMemory::default();
    memory.steps.limit(1);
    let (mut first, mut second) = (Shared::open(&memory).await, Shared::open(&memory).await);
    for n in 0..3 {
        first.upsert(n..n + 10).await;
        second.upsert(n..n + 10).await;
    }
    let cancel = CancellationToken::new();
    // However little there is: one goes.
    let mut plan = first.table.plan_compaction(&compaction()).unwrap().unwrap();
    assert!(!plan.take_permit(&cancel).await.unwrap());
    assert_eq!(memory.held().compaction, plan.held_bytes());
    let mut waiting = second.table.plan_compaction(&compaction()).unwrap().unwrap();
    waiting.read_footers().await.unwrap();
    {
        let mut taken = Box::pin(waiting.take_permit(&cancel));
        assert!(taken.as_mut().now_or_never().is_none());
        second.upsert(5..25).await;
        assert!(taken.as_mut().now_or_never().is_none());
        let rewritten = plan.rewrite(&cancel).await.unwrap();
        assert!(taken.as_mut().now_or_never().is_none(), "the step is not committed");
        assert!(first.table.commit_compaction(rewritten).await.unwrap().is_some());
        assert!(taken.await.unwrap());
    }
    assert!(second.table.still_has(&waiting));
    let rewritten = waiting.rewrite(&cancel).await.unwrap();
    assert!(second.table.commit_compaction(rewritten).await.unwrap().is_some());
    assert_eq!(memory.held().compaction, 0);
    assert_eq!(second.table.info().num_rows, second.keys.len() as u64);
    second.upsert(0..30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_waited_too_long_is_told_from_one_that_stands() {
    let memory = SharedMemory::default();
    let mut table = Shared::open(&memory).await;
    for n in 0..3 {
        table.upsert(n..n + 10).await;
    }
    let cancel = CancellationToken::new();
    let old = table.table.plan_compaction(&compaction()).unwrap().unwrap();
    let plan = table.table.plan_compaction(&compaction()).unwrap().unwrap();
    assert!(table.table.still_has(&old));
    let rewritten = plan.rewrite(&cancel).await.unwrap();
    table.table.commit_compaction(rewritten).await.unwrap();
    assert!(!table.table.still_has(&old));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_waits_can_be_cancelled() {
    let memory = SharedMemory::default();
    memory.steps.limit(1);
    let mut table = Shared::open(&memory).await;
    for n in 0..3 {
        table.upsert(n..n + 10).await;
    }
    let mut plan = table.table.plan_compaction(&compaction()).unwrap().unwrap();
    plan.take_permit(&CancellationToken::new()).await.unwrap();
    let mut waiting = table.table.plan_compaction(&compaction()).unwrap().unwrap();
    waiting.read_footers().await.unwrap();
    let cancel = CancellationToken::new();
    let mut taken = Box::pin(waiting.take_permit(&cancel));
    assert!(taken.as_mut().now_or_never().is_none());
    cancel.cancel();
    assert_eq!(taken.await.unwrap_err().code, kafka2delta::ErrorCode::Cancelled);
    drop(plan);
    assert_eq!(memory.held().compaction, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_step_holds_follows_its_rows_and_is_more_where_they_are_sorted() {
    let folder = temporary::folder();
    let mut held = Vec::new();
    for (n, (rows, cluster_by)) in
        [(1000, vec![]), (50_000, vec![]), (50_000, vec!["name".to_owned()])].iter().enumerate()
    {
        let uri = folder.path().join(n.to_string());
        let options = TableOptions { cluster_by: cluster_by.clone(), ..plain(uri.to_str().unwrap()) };
        let mut table = KeyedTable::open(options).await.unwrap();
        for first in [0, *rows] {
            let changes: Vec<Change> = (first..first + rows).map(|id| upsert(id, "a")).collect();
            merge(&mut table, "q:t:0", &changes, false).await.unwrap();
        }
        let mut plan = table.plan_compaction(&compaction()).unwrap().unwrap();
        plan.read_footers().await.unwrap();
        held.push(plan.held_bytes());
    }
    // A row has a name, a tenant, an id and more, and its old and its new number.
    assert!(held[0] >= 2 * 1000 * 40 && held[1] >= 2 * 50_000 * 40 && held[1] < 150 * MB, "{held:?}");
    assert!(held[2] > held[1] * 3 / 2, "{held:?}");
}
