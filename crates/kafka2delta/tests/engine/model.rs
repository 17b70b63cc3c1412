//! Random changes over few keys, with random batch boundaries, re-sent tails, restarts and both merge modes, against the
//! map of `docs/architecture.md`. `SEED` and `SEQUENCES` choose what runs; a failure prints its seed, and
//! `TRACE=1` its changes. `KEEP` names a folder where the tables stay, for `npm run check:protocol`.

pub use crate::support::random_row;
use crate::support::{Change, Key, Model, SOFT, env, merge, options, rows, run_seeds};
use crate::temporary;
use kafka2delta::options::{KeyIndexMode, MergeMode};
use kafka2delta::{KeyedTable, TableOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

#[derive(Debug)]
struct Plan {
    changes: Vec<Change>,
    mode: MergeMode,
    soft: bool,
}

fn plan(rng: &mut StdRng) -> Plan {
    let has_positions = rng.random_bool(0.5);
    let mut changes: Vec<Change> = Vec::new();
    let mut sequence = 100u64;
    let key = |rng: &mut StdRng| -> Key { (rng.random_range(0..2), rng.random_range(0..8)) };
    for step in 0..rng.random_range(10..120) {
        sequence += rng.random_range(0..3);
        // Positions stand still, go back and are missing: within a partition they decide nothing.
        let at = if rng.random_bool(0.15) { sequence.saturating_sub(rng.random_range(0..20)) } else { sequence };
        let sequence = has_positions.then_some(at).filter(|_| rng.random_bool(0.9));
        let k = key(rng);
        match rng.random_range(0..100) {
            0..60 => changes.push(Change::Upsert {
                key: k,
                row: random_row(rng, step),
                leaves_big: rng.random_bool(0.3),
                old: None,
                sequence,
            }),
            60..82 => changes.push(Change::Delete { key: k, sequence }),
            // A primary-key update is a delete and an insert.
            82..98 => {
                let new = key(rng);
                if new != k {
                    changes.push(Change::Moved { key: k, new: Some(new) });
                    changes.push(Change::Upsert {
                        key: new,
                        row: random_row(rng, step),
                        leaves_big: rng.random_bool(0.7),
                        old: Some(k),
                        sequence,
                    });
                }
            }
            98.. if rng.random_bool(0.3) => changes.push(Change::Truncate { sequence }),
            _ => {}
        }
        // What Debezium sends again after a crash is a contiguous repeat of the end.
        if rng.random_bool(0.04) && !changes.is_empty() {
            let from = rng.random_range(0..changes.len());
            changes.extend_from_within(from..);
            changes.truncate(600);
        }
    }
    let mode = if rng.random_bool(0.5) { MergeMode::MergeOnRead } else { MergeMode::CopyOnWrite };
    Plan { changes, mode, soft: rng.random_bool(0.3) }
}

async fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let plan = plan(&mut rng);
    if !matches!(plan.changes.first(), Some(Change::Upsert { .. })) {
        return;
    }
    let folder = temporary::folder();
    let kept = std::env::var("KEEP").ok().map(|keep| std::path::Path::new(&keep).join(seed.to_string()));
    let uri = kept.as_deref().unwrap_or(folder.path()).to_str().unwrap();
    let soft_delete_column = plan.soft.then(|| SOFT.to_owned());
    let index = temporary::folder();
    let options = TableOptions {
        soft_delete_column,
        key_index: if rng.random_bool(0.2) { KeyIndexMode::None } else { KeyIndexMode::Auto },
        // One byte: all of it goes to disk after each batch.
        index_memory: if rng.random_bool(0.3) { 1 } else { 1 << 30 },
        index_folder: rng.random_bool(0.5).then(|| index.path().to_owned()),
        ..options(uri, plan.mode)
    };
    let mut table = KeyedTable::open(options.clone()).await.unwrap();
    let mut model = Model::default();
    model.soft = plan.soft;
    let extra_from = rng.random_range(0..plan.changes.len() + 1);
    let mut done = 0;
    while done < plan.changes.len() {
        let size = rng.random_range(1..=30.min(plan.changes.len() - done));
        let batch = &plan.changes[done..done + size];
        done += size;
        let with_extra = done > extra_from;
        let batch: Vec<Change> = batch
            .iter()
            .cloned()
            .map(|mut change| {
                if let (Change::Upsert { row, .. }, false) = (&mut change, with_extra) {
                    row.extra = None;
                }
                change
            })
            .collect();
        if env("TRACE").is_some() {
            println!("version {:?}: {batch:#?}", table.info().version);
        }
        model.version = table.info().version.unwrap_or(0);
        for change in &batch {
            model.apply(change);
        }
        let result = merge(&mut table, "q:t:0", &batch, with_extra)
            .await
            .unwrap_or_else(|e| panic!("seed {seed}: {:?}", e.chain()));
        assert_eq!(table.info().num_rows, model.rows.len() as u64, "seed {seed}, version {}", result.version);
        if rng.random_bool(0.2) {
            model.assert_equals(&rows(uri).await, &format!("seed {seed}, version {}", result.version));
        }
        if rng.random_bool(0.15) {
            let before = table.info();
            // Otherwise it ends as by a crash: an index that was saved earlier is behind.
            if rng.random_bool(0.5) {
                table.close().await;
            }
            table = KeyedTable::open(options.clone()).await.unwrap();
            model.restarted();
            let after = table.info();
            assert_eq!((before.num_rows, before.offsets), (after.num_rows, after.offsets), "seed {seed}");
        }
    }
    model.assert_equals(&rows(uri).await, &format!("seed {seed}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_changes_equal_the_map() {
    run_seeds(2000, run).await;
}
