//! A worker that has the table: it merges batches from the stored offsets on, and compacts beside that.

use std::time::Duration;

use kafka2delta::maintenance::Rewritten;
use kafka2delta::{CompactOptions, ErrorCode, KeyedTable, Offset};
use rand::Rng;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Actor, LONGEST_PAUSE, PAUSE};
use crate::changes::{ipc, primary_key, with_partitions};

/// Offsets by partition.
type Offsets = Vec<Option<i64>>;

/// A step of compaction that is under way.
type Step = JoinHandle<kafka2delta::Result<Rewritten>>;

/// Merges until it is dropped or told to stop, or `batches` are committed.
pub async fn run(mut actor: Actor, partitions: usize, batches: Option<usize>) -> usize {
    let mut table = actor.open().await;
    let mut stored = stored_of(&table, partitions);
    let (mut done, mut step) = (0, None);
    while batches.is_none_or(|batches| done < batches) {
        actor.rest(Duration::from_secs(25)).await;
        if actor.process.is_to_stop() {
            actor.world.count("writer stopped cleanly");
            break;
        }
        match actor.rng.random_range(0..100) {
            0..15 if step.is_none() => step = begin_step(&mut actor, &table),
            15..45 => {
                if let Some(begun) = step.take() {
                    end_step(&mut actor, &mut table, begun).await;
                }
            }
            45..50 => follow(&mut actor, &mut table).await,
            _ => match merge(&mut actor, &mut table, &stored).await {
                Some(last) => {
                    stored = last;
                    done += 1;
                }
                None => {
                    // Whatever has failed: the log tells what is stored.
                    follow(&mut actor, &mut table).await;
                    stored = stored_of(&table, partitions);
                }
            },
        }
    }
    if let Some(begun) = step.take() {
        end_step(&mut actor, &mut table, begun).await;
    }
    table.close().await;
    done
}

fn stored_of(table: &KeyedTable, partitions: usize) -> Offsets {
    let info = table.info();
    let of = |partition: usize| {
        let app = format!("q:t:{partition}");
        info.offsets.iter().find(|(id, _)| *id == app).map(|(_, last)| *last)
    };
    (0..partitions).map(of).collect()
}

/// Commits a batch. None where that failed.
async fn merge(actor: &mut Actor, table: &mut KeyedTable, stored: &Offsets) -> Option<Offsets> {
    let soft = actor.options.soft_delete_column.is_some();
    let (intent, partitions) = actor.source.lock().batch(&mut actor.rng, stored);
    let last = intent.last.clone();
    let offset = |partition: usize| Offset {
        app_id: format!("q:t:{partition}"),
        expected: stored[partition],
        last: last[partition].unwrap(),
        may_fall: false,
    };
    let offsets: Vec<Offset> = (0..stored.len()).filter(|at| last[*at] != stored[*at]).map(offset).collect();
    if offsets.is_empty() {
        return Some(last);
    }
    let batch = with_partitions(ipc(&intent.changes, &partitions, false, soft), stored.len());
    actor.process.intend(intent);
    match table.merge(Some(batch), &primary_key(), &offsets, &CancellationToken::new()).await {
        Ok(_) => Some(last),
        Err(error) => {
            if error.code == ErrorCode::Fenced {
                actor.world.count("writer fenced");
            }
            actor.met(&error);
            None
        }
    }
}

/// Looks for others' commits, as often as it takes.
async fn follow(actor: &mut Actor, table: &mut KeyedTable) {
    let mut pause = PAUSE;
    while let Err(error) = table.follow().await {
        actor.met(&error);
        actor.rest(pause).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

fn begin_step(actor: &mut Actor, table: &KeyedTable) -> Option<Step> {
    let full = actor.rng.random_bool(0.5);
    let options = CompactOptions { min_files: 2, max_bytes: 1 << 30, deleted_share: 0.3, full };
    match table.plan_compaction(&options) {
        Ok(plan) => plan.map(|plan| tokio::spawn(async move { plan.rewrite(&CancellationToken::new()).await })),
        Err(error) => {
            actor.met(&error);
            None
        }
    }
}

async fn end_step(actor: &mut Actor, table: &mut KeyedTable, step: Step) {
    let ended = match step.await.unwrap() {
        Ok(rewritten) => table.commit_compaction(rewritten).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(Some(_)) => actor.world.count("compaction"),
        Ok(None) => actor.world.count("compaction given up"),
        Err(error) => actor.met(&error),
    }
}
