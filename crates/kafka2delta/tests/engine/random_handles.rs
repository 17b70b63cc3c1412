//! Random histories of several handles on one table, held against the model: merges by handles that are behind, compaction
//! beside them, and another engine that deletes, updates and compacts. `SEED` and `SEQUENCES` choose what runs, and `TRACE=1`
//! prints the steps.

use std::collections::BTreeMap;
use std::path::Path;

use kafka2delta::options::{KeyIndexMode, MergeMode};
use kafka2delta::scan::scan;
use kafka2delta::{CompactOptions, ErrorCode, KeyedTable, MergeResult, Offset, Result, TableOptions};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use crate::by_hand::ByHand;
use crate::delta_rs;
use crate::handles::refresh_in_part;
use crate::model::random_row;
use crate::support::{
    Change, Key, Model, Row, SOFT, all_rows, env, ipc, options, primary_key, rows, rows_of, run_seeds, with_partitions,
    with_times,
};
use crate::temporary;

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
    /// Halves of key updates that come in a later batch, perhaps by another handle: partition, old and new key, and whether
    /// it is the second half.
    halves: Vec<(i32, Key, Key, bool)>,
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
        if self.rng.random_bool(0.3)
            && let Some((partition, old, new, is_second)) = self.pending_half()
        {
            let row = random_row(&mut self.rng, step);
            let second = Change::Upsert { key: new, row, leaves_big: true, old: Some(old), sequence };
            return self.apply(partition, if is_second { second } else { Change::Moved { key: old, new: Some(new) } });
        }
        match self.rng.random_range(0..100) {
            0..15 if self.has_orders => self.late(key, step),
            0..58 => {
                let row = random_row(&mut self.rng, step);
                let leaves_big = self.rng.random_bool(0.4);
                self.apply(partition, Change::Upsert { key, row, leaves_big, old: None, sequence })
            }
            58..73 => self.apply(partition, Change::Delete { key, sequence }),
            73..93 => {
                // Also one of which a first half is pending: it was made again, or is sent again.
                let new = self.key();
                let again = self.halves.choose(&mut self.rng).filter(|_| step.is_multiple_of(3));
                let (key, new) = again.map_or((key, new), |(_, old, new, _)| (*old, *new));
                if new == key || !self.model.rows.contains_key(&key) || self.model.rows.contains_key(&new) {
                    return Vec::new();
                }
                let row = Row { extra: None, ..random_row(&mut self.rng, step) };
                let upsert = Change::Upsert { key: new, row, leaves_big: true, old: Some(key), sequence };
                let moved = Change::Moved { key, new: Some(new) };
                // Keys stay in their partitions, but where positions tell the order.
                let (from, to) = match self.has_orders {
                    true => (partition, 1 - partition),
                    false => (self.partition_of(key), self.partition_of(new)),
                };
                if from == to {
                    self.model.halves_apart = false;
                    let mut both = self.apply(from, moved);
                    both.extend(self.apply(to, upsert));
                    self.model.halves_apart = true;
                    return both;
                }
                // Mostly both travel in one micro-batch, whichever partitions they come through. What was sent may be sent again.
                let (is_second, is_alone) = (self.rng.random_bool(0.8), self.rng.random_bool(0.35));
                if is_alone || self.rng.random_bool(0.1) {
                    self.halves.push((if is_second { to } else { from }, key, new, is_second));
                }
                let mut sent = Vec::new();
                if !is_alone || is_second {
                    sent.extend(self.apply(from, moved));
                }
                if !is_alone || !is_second {
                    sent.extend(self.apply(to, upsert));
                }
                sent
            }
            93..96 => self.truncate(partition),
            _ => Vec::new(),
        }
    }

    /// A half of a key update of which the other one came.
    fn pending_half(&mut self) -> Option<(i32, Key, Key, bool)> {
        let at = (0..self.halves.len()).choose(&mut self.rng)?;
        Some(self.halves.swap_remove(at))
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
            Change::Delete { key, .. } | Change::Moved { key, .. } => {
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
        // Who tells of no partitions has one.
        if self.tells_partitions || partitions.iter().all(|partition| *partition == 0) {
            ipc = with_partitions(ipc, 2);
        }
        table.merge(Some(ipc), &primary_key(), &offsets, &CancellationToken::new()).await
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
    model.halves_apart = true;
    let mut history = History {
        model,
        positions: Positions::new(),
        newest: [100; 2],
        floor: None,
        halves: Vec::new(),
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
