//! Keys that change their Kafka partition, since partitions were added: partitions are read at any pace, with re-sent
//! tails, truncates and restarts, with the source's positions and without, and the table must hold what the source had. `SEED`, `SEQUENCES`, `TRACE` as in
//! `model.rs`.

use std::collections::BTreeMap;

use crate::support::{Change, Key, Row, SOFT, env, ipc, options, primary_key, rows, run_seeds, with_times};
use crate::temporary;
use kafka2delta::options::MergeMode;
use kafka2delta::{KeyedTable, Offset, TableOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

/// What the source held at the end, and the topic's partitions: changes with the times of their messages.
struct Plan {
    truth: BTreeMap<Key, Row>,
    partitions: [Vec<(Change, i64)>; 2],
    restarts: bool,
    soft: bool,
    mode: MergeMode,
}

fn plan(rng: &mut StdRng) -> Plan {
    let (restarts, soft) = (rng.random_bool(0.6), rng.random_bool(0.3));
    let mut truth: BTreeMap<Key, Row> = BTreeMap::new();
    let mut partitions: [Vec<(Change, i64)>; 2] = Default::default();
    let steps = rng.random_range(10..80);
    let added = rng.random_range(0..steps);
    let has_positions = rng.random_bool(0.5);
    // As the connector sends them.
    let mut sent: Vec<Change> = Vec::new();
    let mut time = 1_000;
    for step in 0..steps {
        let sequence = has_positions.then_some(100 + step);
        let key: Key = (0, rng.random_range(0..8));
        let change = match rng.random_range(0..100) {
            // The memory of a delete is lost with a restart, and only it knows that a late change is too late. A late
            // change that lost against a soft delete leaves the row's values as they were deleted.
            0..20 if !restarts && !soft => {
                truth.remove(&key);
                Change::Delete { key, sequence }
            }
            20..24 => {
                match soft {
                    true => truth.values_mut().for_each(|row| row.deleted = Some(true)),
                    false => truth.clear(),
                }
                Change::Truncate { sequence }
            }
            _ => {
                let part = Some(rng.random_range(0..2));
                let row =
                    Row { name: Some(format!("n{step}")), part, deleted: soft.then_some(false), ..Row::default() };
                truth.insert(key, row.clone());
                Change::Upsert { key, row, leaves_big: false, old: None, sequence }
            }
        };
        sent.push(change);
        let repeat = if rng.random_bool(0.05) { rng.random_range(0..sent.len()) } else { sent.len() };
        for change in sent[sent.len() - 1..].iter().chain(&sent[repeat..]) {
            let partition = match change {
                _ if step < added => 0,
                Change::Upsert { key, .. } | Change::Delete { key, .. } | Change::Moved { key, .. } => {
                    (key.1 % 2) as usize
                }
                Change::Truncate { .. } => rng.random_range(0..2),
            };
            time += 1;
            partitions[partition].push((change.clone(), time));
        }
    }
    let mode = if rng.random_bool(0.5) { MergeMode::MergeOnRead } else { MergeMode::CopyOnWrite };
    Plan { truth, partitions, restarts, soft, mode }
}

async fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let plan = plan(&mut rng);
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let soft_delete_column = plan.soft.then(|| SOFT.to_owned());
    let options = TableOptions { soft_delete_column, ..options(uri, plan.mode) };
    let mut table = KeyedTable::open(options.clone()).await.unwrap();
    let mut done = [0, 0];
    let left = |done: &[usize; 2], p: usize| plan.partitions[p].len() - done[p];
    while left(&done, 0) + left(&done, 1) > 0 {
        let (mut taken, mut offsets) = (Vec::new(), Vec::new());
        for p in 0..2 {
            let take = rng.random_range(0..=left(&done, p).min(15));
            taken.extend(plan.partitions[p][done[p]..done[p] + take].iter().map(|(change, time)| (*time, p, change)));
            let expected = done[p].checked_sub(1).map(|last| last as i64);
            done[p] += take;
            if take > 0 {
                offsets.push(Offset {
                    may_fall: false,
                    app_id: format!("q:t:{p}"),
                    expected,
                    last: done[p] as i64 - 1,
                });
            }
        }
        if taken.is_empty() {
            continue;
        }
        taken.sort_by_key(|(time, _, _)| *time);
        let batch: Vec<Change> = taken.iter().map(|(_, _, change)| (*change).clone()).collect();
        let parts: Vec<i32> = taken.iter().map(|(_, p, _)| *p as i32).collect();
        let times: Vec<i64> = taken.iter().map(|(time, _, _)| *time).collect();
        if env("TRACE").is_some() {
            println!("version {:?}: {parts:?} {batch:#?}", table.info().version);
        }
        let bytes = with_times(ipc(&batch, &parts, false, plan.soft), "_timestamp", &times);
        table
            .merge(Some(bytes), &primary_key(), &offsets, &CancellationToken::new())
            .await
            .unwrap_or_else(|e| panic!("seed {seed}: {:?}", e.chain()));
        if plan.restarts && rng.random_bool(0.3) {
            table = KeyedTable::open(options.clone()).await.unwrap();
        }
    }
    assert_eq!(rows(uri).await, plan.truth, "seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_change_their_partition_keep_their_order() {
    run_seeds(300, run).await;
}
