//! Several handles on one table that do not know of each other's commits: what was decided on an older version is decided
//! anew, and each change takes effect once. Beside them other engines delete, update and compact.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kafka2delta::options::{KeyIndexMode, MergeMode};
use kafka2delta::scan::scan;
use kafka2delta::{CompactOptions, ErrorCode, KeyedTable, MergeResult, Offset, Result, TableOptions};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use crate::by_hand::ByHand;
use crate::delta_rs;
use crate::model::random_row;
use crate::support::{
    Change, Key, Model, Row, SOFT, all_rows, env, ipc, options, primary_key, rows, rows_of, run_seeds, with_partitions,
    with_times,
};
use crate::temporary;

fn row(name: &str) -> Row {
    Row { name: Some(name.into()), big: Some(format!("big {name}")), part: Some(0), extra: None, deleted: None }
}

fn upsert(id: i64, name: &str, sequence: u64) -> Change {
    let (key, row) = ((0, id), row(name));
    Change::Upsert { key, row, leaves_big: false, old: None, sequence: Some(sequence) }
}

/// Merges changes of one partition, whose offset is the number of its changes. `expected`: the offset that the caller
/// believes to be stored.
async fn merge_from(
    table: &mut KeyedTable,
    partition: i32,
    expected: Option<i64>,
    changes: &[Change],
) -> Result<MergeResult> {
    let last = expected.unwrap_or(-1) + changes.len() as i64;
    let offset = Offset { may_fall: false, app_id: format!("q:t:{partition}"), expected, last };
    // Without the column all are of partition 0: a second change tells the batch that there are others.
    let partitions = vec![partition; changes.len()];
    let batch = ipc(changes, &partitions, false, table.soft_deletes());
    table.merge(Some(batch), &primary_key(), &[offset], &CancellationToken::new()).await
}

async fn name_of(uri: &str, id: i64) -> Option<String> {
    rows(uri).await.remove(&(0, id)).map(|row| row.name.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_is_decided_anew_after_a_lost_version() {
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut a = KeyedTable::open(options(uri, mode)).await.unwrap();
        merge_from(&mut a, 0, None, &[upsert(1, "first", 5)]).await.unwrap();
        let mut b = KeyedTable::open(options(uri, mode)).await.unwrap();
        merge_from(&mut b, 1, None, &[upsert(1, "newer", 10)]).await.unwrap();
        // a learns of b's commit by losing the version to it.
        let result = merge_from(&mut a, 0, Some(0), &[upsert(1, "older", 7)]).await.unwrap();
        assert_eq!(result.dropped_stale, 1, "{mode:?}");
        assert_eq!(name_of(uri, 1).await.as_deref(), Some("newer"), "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_remembered_of_a_deleted_key_ends_where_others_wrote_it_again() {
    for memory in [1 << 30, 1] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let options = TableOptions { index_memory: memory, ..options(uri, MergeMode::Auto) };
        let mut a = KeyedTable::open(options.clone()).await.unwrap();
        let delete = Change::Delete { key: (0, 1), sequence: Some(5) };
        merge_from(&mut a, 0, None, &[upsert(1, "first", 4), upsert(2, "other", 4)]).await.unwrap();
        merge_from(&mut a, 0, Some(1), &[delete]).await.unwrap();
        let mut b = KeyedTable::open(options).await.unwrap();
        merge_from(&mut b, 1, None, &[upsert(1, "newer", 10)]).await.unwrap();
        a.follow().await.unwrap();
        let result = merge_from(&mut a, 0, Some(2), &[upsert(1, "older", 7)]).await.unwrap();
        assert_eq!(result.dropped_stale, 1);
        assert_eq!(name_of(uri, 1).await.as_deref(), Some("newer"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn left_out_values_come_from_the_row_that_another_writer_put_there_meanwhile() {
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut a = KeyedTable::open(options(uri, mode)).await.unwrap();
        let plain = |id, name: &str| Change::Upsert {
            key: (0, id),
            row: row(name),
            leaves_big: false,
            old: None,
            sequence: None,
        };
        merge_from(&mut a, 0, None, &[plain(1, "old"), plain(3, "third")]).await.unwrap();
        let mut b = KeyedTable::open(options(uri, mode)).await.unwrap();
        merge_from(&mut b, 1, None, &[plain(1, "new")]).await.unwrap();
        let moved =
            Change::Upsert { key: (0, 2), row: row("moved"), leaves_big: true, old: Some((0, 1)), sequence: None };
        let same = Change::Upsert { key: (0, 3), row: row("kept"), leaves_big: true, old: None, sequence: None };
        merge_from(&mut a, 0, Some(1), &[Change::Moved { key: (0, 1) }, moved, same]).await.unwrap();
        let rows = rows(uri).await;
        assert_eq!(rows[&(0, 2)].big.as_deref(), Some("big new"), "{mode:?}");
        assert_eq!(rows[&(0, 3)].big.as_deref(), Some("big third"), "{mode:?}");
        assert!(!rows.contains_key(&(0, 1)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_a_truncate_holds_back_leaves_rows_of_unproven_order() {
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut table = KeyedTable::open(options(uri, mode)).await.unwrap();
        let (mut expected, mut dropped) = ([None; 2], 0);
        let read = Change::Upsert { key: (0, 1), row: row("read"), leaves_big: false, old: None, sequence: None };
        // Messages' times are those of their positions. Rows of a snapshot have no position.
        for (partition, change, time) in [
            (0, upsert(2, "b", 90), 90),
            (0, Change::Truncate { sequence: Some(100) }, 100),
            (0, read, 115),
            (1, upsert(1, "late", 50), 50),
            (1, upsert(3, "newer", 110), 110),
        ] {
            let stored = &mut expected[partition as usize];
            let last = stored.unwrap_or(-1) + 1;
            let offset = Offset { may_fall: false, app_id: format!("q:t:{partition}"), expected: *stored, last };
            let batch = with_times(ipc(&[change], &[partition], false, false), "_timestamp", &[time]);
            let merged = table.merge(Some(batch), &primary_key(), &[offset], &CancellationToken::new()).await;
            dropped += merged.unwrap().dropped_stale;
            *stored = Some(last);
        }
        assert_eq!(dropped, 1, "{mode:?}");
        let names: Vec<String> = rows(uri).await.into_values().map(|row| row.name.unwrap()).collect();
        assert_eq!(names, ["read", "newer"], "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncate_of_another_worker_holds_back_what_loses_its_version_to_it() {
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut a = KeyedTable::open(options(uri, mode)).await.unwrap();
        merge_timed(&mut a, 0, None, upsert(1, "first", 5), 5).await;
        let mut b = KeyedTable::open(options(uri, mode)).await.unwrap();
        merge_timed(&mut b, 0, Some(0), Change::Truncate { sequence: Some(100) }, 100).await;
        // It is known to a by losing the version to it.
        let late = merge_timed(&mut a, 1, None, upsert(2, "late", 50), 50).await;
        assert_eq!(late.dropped_stale, 1, "{mode:?}");
        // And b learns likewise that the partition was read past it.
        merge_timed(&mut a, 1, Some(0), upsert(3, "newer", 110), 110).await;
        merge_timed(&mut b, 0, Some(1), upsert(4, "own", 120), 120).await;
        let begun_anew = merge_timed(&mut b, 1, Some(1), upsert(5, "of a source that begins anew", 7), 130).await;
        assert_eq!(begun_anew.dropped_stale, 0, "{mode:?}");
        let keys: Vec<i64> = rows(uri).await.into_keys().map(|key| key.1).collect();
        assert_eq!(keys, [3, 4, 5], "{mode:?}");
    }
}

/// Merges a change of a partition, whose message has this time.
async fn merge_timed(
    table: &mut KeyedTable,
    partition: i32,
    expected: Option<i64>,
    change: Change,
    time: i64,
) -> MergeResult {
    let last = expected.map_or(0, |last| last + 1);
    let offset = Offset { may_fall: false, app_id: format!("q:t:{partition}"), expected, last };
    let batch = with_times(ipc(&[change], &[partition], false, false), "_timestamp", &[time]);
    table.merge(Some(batch), &primary_key(), &[offset], &CancellationToken::new()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_compaction_is_dropped_where_the_table_was_made_anew_meanwhile() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    for id in 0..4 {
        let expected = (id > 0).then(|| id - 1);
        merge_from(&mut table, 0, expected, &[upsert(id, "x", 1)]).await.unwrap();
    }
    let full = CompactOptions { min_files: 2, max_bytes: 1 << 30, deleted_share: 0.3, full: true };
    let plan = table.plan_compaction(&full).unwrap().unwrap();
    let rewritten = plan.rewrite(&CancellationToken::new()).await.unwrap();
    std::fs::remove_dir_all(folder.path().join("_delta_log")).unwrap();
    let mut again = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    merge_from(&mut again, 0, None, &[upsert(7, "new", 1)]).await.unwrap();
    let error = table.commit_compaction(rewritten).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::TableReplaced, "{error}");
    let log = std::fs::read_dir(folder.path().join("_delta_log")).unwrap();
    let entries: Vec<String> = log.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(entries.iter().filter(|name| name.ends_with(".json")).count(), 1, "{entries:?}");
    assert_eq!(rows(uri).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merges_that_are_cancelled_or_lose_leave_no_files() {
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut rng = StdRng::seed_from_u64(7);
        let mut table = KeyedTable::open(options(uri, mode)).await.unwrap();
        let mut other = KeyedTable::open(options(uri, mode)).await.unwrap();
        let (mut expected, mut cancelled) = (None, 0);
        for round in 0..120 {
            let changes: Vec<Change> = (0..20).map(|id| upsert(id, &format!("r{round}"), 1)).collect();
            let offset = Offset { may_fall: false, app_id: "q:t:0".into(), expected, last: round };
            let cancel = CancellationToken::new();
            let (batch, token) = (ipc(&changes, &[], false, false), cancel.clone());
            let wait = std::time::Duration::from_micros(rng.random_range(0..8000));
            let timer = tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                token.cancel();
            });
            match table.merge(Some(batch), &primary_key(), &[offset], &cancel).await {
                Ok(_) => expected = Some(round),
                Err(error) => {
                    assert_eq!(error.code, ErrorCode::Cancelled, "{error}");
                    cancelled += 1;
                }
            }
            timer.abort();
            if round % 10 == 9 && expected.is_some() {
                other.follow().await.unwrap();
                let stored = other.info().offsets.iter().find(|(app, _)| app == "q:t:1").map(|(_, last)| *last);
                merge_from(&mut other, 1, stored, &[upsert(100, "beside", 1)]).await.unwrap();
            }
        }
        assert!(cancelled > 5, "{mode:?}: {cancelled}");
        let (stored, named) = (files_of(folder.path()), named_files(folder.path()));
        assert_eq!(stored.difference(&named).collect::<Vec<_>>(), Vec::<&String>::new(), "{mode:?}");
    }
}

/// Data files and vectors in the table's folder.
pub fn files_of(folder: &std::path::Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            match path.is_dir() {
                true if name == "_delta_log" => {}
                true => folders.push(path),
                false => assert!(found.insert(name.replace('=', "%3D").replace("%3D", "="))),
            }
        }
    }
    found
}

/// Those that the log names, or named.
pub fn named_files(folder: &std::path::Path) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for entry in std::fs::read_dir(folder.join("_delta_log")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let action: serde_json::Value = serde_json::from_str(line).unwrap();
            let Some(add) = action.get("add") else { continue };
            named.insert(add["path"].as_str().unwrap().to_owned());
            if let Some(vector) = add.get("deletionVector").filter(|vector| vector["storageType"] == "u") {
                named.insert(vector_path(vector["pathOrInlineDv"].as_str().unwrap()));
            }
        }
    }
    named
}

/// The file of a vector: its name is a UUID in Z85.
pub fn vector_path(text: &str) -> String {
    let bytes: [u8; 16] = z85::decode(&text[text.len() - 20..]).unwrap().try_into().unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    format!("deletion_vector_{}.bin", parts.join("-"))
}

// --- random sequences ---------------------------------------------------------------------------------

/// The table's rows, by the engine's own scan; a key that is there twice is a failure.
async fn scanned(uri: &str) -> BTreeMap<Key, Row> {
    let mut batches = scan(all_rows(uri)).await.unwrap();
    let mut rows = BTreeMap::new();
    while let Some(batch) = batches.next().await.unwrap() {
        for (key, row) in rows_of(&batch) {
            assert!(rows.insert(key, row).is_none(), "{key:?} is there twice");
        }
    }
    rows
}

/// What each key's live row has: the position and the partition of its last change. Rows that another engine wrote, or wrote
/// anew, have none.
type Positions = BTreeMap<Key, (u64, i32)>;

/// What the last truncate holds back of the other partition, as long as that was not read past its time.
#[derive(Debug, Clone, Copy)]
struct Floor {
    position: u64,
    partition: i32,
    passed: bool,
}

/// A change, and its place among those of both partitions, which is its message's time, too.
#[derive(Debug, Clone)]
struct Placed {
    partition: i32,
    change: Change,
    position: u64,
}

/// One random history: the changes of two partitions, by up to three handles of which none refreshes by itself.
struct History {
    rng: StdRng,
    model: Model,
    /// Of live rows of two partitions.
    positions: Positions,
    /// By partition: the position of its last change, but for those that came late.
    newest: [u64; 2],
    floor: Option<Floor>,
    /// By partition: what the log stores.
    stored: [Option<i64>; 2],
    sequence: u64,
    /// Whether changes have positions.
    has_orders: bool,
    /// Whether their messages have times: without them a truncate holds nothing back.
    has_times: bool,
    /// Whether batches tell how many partitions there are.
    tells_partitions: bool,
    /// Whether the other engine is delta-rs.
    by_delta_rs: bool,
    step: usize,
}

impl History {
    fn key(&mut self) -> Key {
        (self.rng.random_range(0..2), self.rng.random_range(0..6))
    }

    /// The partition of a key: with orders, keys change theirs.
    fn partition_of(&mut self, key: Key) -> i32 {
        match self.has_orders {
            true => self.rng.random_range(0..2),
            false => (key.1 % 2) as i32,
        }
    }

    /// A change, applied to the model; none where the dice say nothing.
    fn change(&mut self) -> Vec<Placed> {
        self.step += 1;
        self.sequence += 2;
        let (key, step) = (self.key(), self.step);
        let partition = self.partition_of(key);
        let sequence = self.has_orders.then_some(self.sequence);
        match self.rng.random_range(0..100) {
            0..15 if self.has_orders => self.late(key, step),
            0..58 => {
                let row = random_row(&mut self.rng, step);
                let leaves_big = self.rng.random_bool(0.4);
                self.apply(partition, Change::Upsert { key, row, leaves_big, old: None, sequence })
            }
            58..73 => self.apply(partition, Change::Delete { key, sequence }),
            73..93 => {
                let new = self.key();
                if new == key || !self.model.rows.contains_key(&key) || self.model.rows.contains_key(&new) {
                    return Vec::new();
                }
                let row = Row { extra: None, ..random_row(&mut self.rng, step) };
                let upsert = Change::Upsert { key: new, row, leaves_big: true, old: Some(key), sequence };
                // Both travel in one micro-batch, whichever partitions they come through.
                let mut both = self.apply(partition, Change::Moved { key });
                both.extend(self.apply(partition, upsert));
                both
            }
            93..96 => self.truncate(partition),
            _ => Vec::new(),
        }
    }

    /// A change that comes late: through the other partition than the row's last one, or than a truncate that it is older
    /// than.
    fn late(&mut self, key: Key, step: usize) -> Vec<Placed> {
        let row = Row { extra: None, ..random_row(&mut self.rng, step) };
        let held = self.floor.filter(|floor| !floor.passed && self.has_times && self.rng.random_bool(0.7));
        let (position, partition) = match (held, self.positions.get(&key)) {
            (Some(floor), _) => (floor.position - 1, 1 - floor.partition),
            (None, Some((last, at))) => (last - 1, 1 - at),
            (None, None) => return Vec::new(),
        };
        self.pass(partition, position);
        let change = Change::Upsert { key, row, leaves_big: false, old: None, sequence: Some(position) };
        vec![Placed { partition, change, position }]
    }

    /// A partition was read up to here.
    fn pass(&mut self, partition: i32, position: u64) {
        if let Some(floor) = &mut self.floor {
            floor.passed |= partition != floor.partition && position > floor.position;
        }
    }

    /// A truncate, which may be behind what the other partition brought.
    fn truncate(&mut self, partition: i32) -> Vec<Placed> {
        // Which files delta-rs made anew, and whose rows have no order since, is not known here.
        let behind = self.has_orders && !self.by_delta_rs && self.rng.random_bool(0.5);
        // Odd: no change has the same position.
        let position = if behind { (self.newest[partition as usize] + 1) | 1 } else { self.sequence };
        let stays = |(last, at): &(u64, i32)| *at != partition && *last > position;
        let kept: Vec<(Key, Row)> = match self.has_orders {
            true => self
                .positions
                .iter()
                .filter(|(_, last)| stays(last))
                .map(|(k, _)| (*k, self.model.rows[k].clone()))
                .collect(),
            false => Vec::new(),
        };
        self.model.apply(&Change::Truncate { sequence: None });
        self.model.rows.extend(kept);
        self.positions.retain(|_, last| stays(last));
        if self.has_times && self.floor.is_none_or(|floor| position >= floor.position) {
            self.floor = Some(Floor { position, partition, passed: false });
        }
        self.newest[partition as usize] = position;
        vec![Placed { partition, change: Change::Truncate { sequence: self.has_orders.then_some(position) }, position }]
    }

    fn apply(&mut self, partition: i32, mut change: Change) -> Vec<Placed> {
        if let Change::Upsert { row, .. } = &mut change {
            row.extra = None;
        }
        self.model.apply(&change);
        match &change {
            Change::Upsert { key, .. } => {
                self.positions.insert(*key, (self.sequence, partition));
            }
            Change::Delete { key, .. } | Change::Moved { key } => {
                self.positions.remove(key);
            }
            Change::Truncate { .. } => {}
        }
        self.pass(partition, self.sequence);
        self.newest[partition as usize] = self.sequence;
        vec![Placed { partition, change, position: self.sequence }]
    }

    /// A batch of both partitions, with the offsets that it ends at.
    fn batch(&mut self) -> (Vec<Placed>, [Option<i64>; 2]) {
        let mut batch = Vec::new();
        for _ in 0..self.rng.random_range(1..8) {
            batch.extend(self.change());
        }
        let mut last = self.stored;
        for placed in &batch {
            let last = &mut last[placed.partition as usize];
            *last = Some(last.unwrap_or(-1) + 1);
        }
        (batch, last)
    }

    async fn merge(&self, table: &mut KeyedTable, batch: &[Placed], last: [Option<i64>; 2]) -> Result<MergeResult> {
        let offset = |p: usize| Offset {
            may_fall: false,
            app_id: format!("q:t:{p}"),
            expected: self.stored[p],
            last: last[p].unwrap(),
        };
        let offsets: Vec<Offset> = (0..2).filter(|p| last[*p] != self.stored[*p]).map(offset).collect();
        let partitions: Vec<i32> = batch.iter().map(|placed| placed.partition).collect();
        let changes: Vec<Change> = batch.iter().map(|placed| placed.change.clone()).collect();
        let mut ipc = ipc(&changes, &partitions, false, table.soft_deletes());
        if self.has_times {
            let times: Vec<i64> = batch.iter().map(|placed| placed.position as i64).collect();
            ipc = with_times(ipc, "_timestamp", &times);
        }
        if self.tells_partitions {
            ipc = with_partitions(ipc, 2);
        }
        table.merge(Some(ipc), &primary_key(), &offsets, &CancellationToken::new()).await
    }
}

/// Looks for others' commits, and is given up at some moment: what it did not come to, the next call does.
async fn refresh_in_part(rng: &mut StdRng, table: &mut KeyedTable) -> bool {
    let cancel = CancellationToken::new();
    let (token, turns) = (cancel.clone(), rng.random_range(0..80));
    let canceller = tokio::spawn(async move {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        token.cancel();
    });
    let result = table.refresh(&cancel).await;
    canceller.await.unwrap();
    match result {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.code, ErrorCode::Cancelled, "{:?}", error.chain());
            true
        }
    }
}

/// What another engine does, to the table and to the model. Rows that it writes, or writes anew, have no order.
async fn foreign(history: &mut History, folder: &Path) {
    let by_delta_rs = history.by_delta_rs;
    let id = history.rng.random_range(0..6i64);
    let operation = history.rng.random_range(0..4);
    if env("TRACE").is_some() {
        println!("foreign {operation}, id {id}, delta-rs {by_delta_rs}");
    }
    if by_delta_rs {
        let uri = folder.to_str().unwrap();
        history.positions.clear();
        match operation {
            0..2 => drop(delta_rs::optimize(uri).await),
            2 => delta_rs::delete(uri, &format!("id = {id}")).await,
            _ => delta_rs::update(uri, &format!("id = {id}"), &[("big", "'theirs'")]).await,
        }
    } else {
        let (table, by_vectors) = (ByHand::read(folder), history.rng.random_bool(0.5));
        let rewritten = match operation {
            0..2 => table.optimize(history.rng.random_range(0..8)),
            2 => table.delete(id, by_vectors),
            _ => table.update(id, "theirs", by_vectors),
        };
        history.positions.retain(|key, _| !rewritten.contains(key));
    }
    match operation {
        0..2 => {}
        2 => {
            history.model.rows.retain(|key, _| key.1 != id);
            history.positions.retain(|key, _| key.1 != id);
        }
        _ => {
            let theirs = history.model.rows.iter_mut().filter(|(key, _)| key.1 == id);
            theirs.for_each(|(_, row)| row.big = Some("theirs".into()));
        }
    }
}

async fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let index = temporary::folder();
    let soft = rng.random_bool(0.15);
    let has_orders = rng.random_bool(0.5) && !soft;
    let mode = if rng.random_bool(0.5) { MergeMode::MergeOnRead } else { MergeMode::CopyOnWrite };
    let options = TableOptions {
        soft_delete_column: soft.then(|| SOFT.to_owned()),
        key_index: if rng.random_bool(0.1) { KeyIndexMode::None } else { KeyIndexMode::Auto },
        index_memory: *[1 << 30, 1 << 30, 16 << 10, 1].choose(&mut rng).unwrap(),
        index_folder: rng.random_bool(0.3).then(|| index.path().to_owned()),
        ..options(uri, mode)
    };
    // Of another engine's commits; one that has to be asked each time is slow.
    let foreign_share = *[0.0, 0.2, 0.5].choose(&mut rng).unwrap();
    let by_delta_rs = rng.random_range(0..25) == 0;
    let foreign_share = if soft { 0.0 } else { foreign_share };
    let mut model = Model::default();
    model.soft = soft;
    let mut history = History {
        model,
        positions: Positions::new(),
        newest: [100; 2],
        floor: None,
        stored: [None; 2],
        sequence: 100,
        has_orders,
        has_times: has_orders && rng.random_bool(0.7),
        tells_partitions: rng.random_bool(0.5),
        by_delta_rs,
        step: 0,
        rng,
    };
    // So that there is a table.
    let first = (history.key(), random_row(&mut history.rng, 0));
    let sequence = has_orders.then_some(100);
    let first = Change::Upsert { key: first.0, row: first.1, leaves_big: false, old: None, sequence };
    let mut handles = Vec::new();
    let mut creator = KeyedTable::open(options.clone()).await.unwrap();
    let first = history.apply(0, first);
    history.merge(&mut creator, &first, [Some(0), None]).await.unwrap();
    history.stored = [Some(0), None];
    handles.push(creator);
    for _ in 0..history.rng.random_range(1..3) {
        handles.push(KeyedTable::open(options.clone()).await.unwrap());
    }
    let full = CompactOptions { min_files: 2, max_bytes: 1 << 30, deleted_share: 0.3, full: true };
    for _ in 0..history.rng.random_range(3..12) {
        if history.rng.random_bool(foreign_share) {
            foreign(&mut history, folder.path()).await;
        }
        let at = history.rng.random_range(0..handles.len());
        if history.rng.random_bool(0.15) {
            // It compacts what it knows of, while the others go on.
            if let Some(plan) = handles[at].plan_compaction(&full).unwrap() {
                let rewritten = plan.rewrite(&CancellationToken::new()).await.unwrap();
                let other = (at + 1) % handles.len();
                step(&mut history, &mut handles[other], seed).await;
                if history.rng.random_bool(foreign_share) {
                    foreign(&mut history, folder.path()).await;
                }
                handles[at].commit_compaction(rewritten).await.unwrap();
            }
        }
        if history.rng.random_bool(0.1) {
            let opened = KeyedTable::open(options.clone()).await.unwrap();
            let before = std::mem::replace(&mut handles[at], opened);
            if history.rng.random_bool(0.5) {
                before.close().await;
            }
        }
        if history.rng.random_bool(0.2) {
            refresh_in_part(&mut history.rng, &mut handles[at]).await;
        }
        step(&mut history, &mut handles[at], seed).await;
        if history.rng.random_bool(0.1) {
            history.model.assert_equals(&scanned(uri).await, &format!("seed {seed}"));
        }
    }
    // One of so many is read by another reader.
    let found = if seed.is_multiple_of(10) { rows(uri).await } else { scanned(uri).await };
    history.model.assert_equals(&found, &format!("seed {seed}"));
}

/// Merges a batch by a handle that may be behind. The offsets are those of the log: in a stream, a worker that took over.
async fn step(history: &mut History, table: &mut KeyedTable, seed: u64) {
    let (batch, last) = history.batch();
    if batch.is_empty() {
        return;
    }
    if env("TRACE").is_some() {
        println!("{:?} → {last:?}: {batch:#?}", history.stored);
    }
    let mut result = history.merge(table, &batch, last).await;
    // A handle that is behind is fenced by what it knows; then it looks.
    if matches!(&result, Err(error) if error.code == ErrorCode::Fenced) {
        table.follow().await.unwrap();
        result = history.merge(table, &batch, last).await;
    }
    result.unwrap_or_else(|error| panic!("seed {seed}: {:?}", error.chain()));
    history.stored = last;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_handles_equal_the_map() {
    run_seeds(5000, run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_that_is_given_up_leaves_nothing_unseen() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut rng = StdRng::seed_from_u64(11);
    let plain = |id, name: &str, leaves_big| Change::Upsert {
        key: (0, id),
        row: row(name),
        leaves_big,
        old: None,
        sequence: None,
    };
    let mut other = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    let mut table = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    merge_from(&mut other, 0, None, &[plain(1, "first", false)]).await.unwrap();
    let (mut given_up, mut theirs, mut ours) = (0, 0, None);
    for round in 0..60 {
        for _ in 0..5 {
            merge_from(&mut other, 0, Some(theirs), &[plain(1, &format!("theirs {theirs}"), false)]).await.unwrap();
            theirs += 1;
        }
        given_up += usize::from(refresh_in_part(&mut rng, &mut table).await);
        // The value that is left out is the other writer's last one.
        merge_from(&mut table, 1, ours, &[plain(1, "ours", true)]).await.unwrap();
        ours = Some(ours.map_or(0, |last: i64| last + 1));
        let rows = rows(uri).await;
        assert_eq!(rows[&(0, 1)].big, Some(format!("big theirs {}", theirs - 1)), "round {round}");
        assert_eq!(rows.len(), 1);
        other.follow().await.unwrap();
    }
    assert!(given_up > 10, "{given_up}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_that_is_given_up_hides_no_restore() {
    let mut rng = StdRng::seed_from_u64(12);
    let mut given_up = 0;
    for round in 0..20 {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut table = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
        for id in 0..3 {
            merge_from(&mut table, 0, (id > 0).then(|| id - 1), &[upsert(id, "a", 1)]).await.unwrap();
        }
        delta_rs::restore(uri, 1).await;
        given_up += usize::from(refresh_in_part(&mut rng, &mut table).await);
        let error = merge_from(&mut table, 0, Some(2), &[upsert(9, "b", 1)]).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::TableReplaced, "round {round}: {error}");
    }
    assert!(given_up > 2, "{given_up}");
}
