//! A worker that ends at one of its requests to the store, or that loses the answer, and the next worker: a batch is in the
//! table with its offset, or neither is; the next worker goes on after the stored offset, and in the end the table holds what
//! the model does. The table of crash points in `docs/failures.md` says what stands in the store after each; this holds it
//! to that.
//!
//! Each run chooses, for each of the document's cells, one way of merging and one of the requests of that kind; `SEED` is what
//! it is chosen by. With `CRASH_POINTS=all` there are all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kafka2delta::maintenance::VacuumOptions;
use kafka2delta::options::MergeMode;
use kafka2delta::scan::scan;
use kafka2delta::{CompactOptions, KeyedTable, Offset, Result, TableOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use crate::handles::files_of;
use crate::mortal::{Client, End, Point, READS, Step};
use crate::saved_index::copy;
use crate::support::{Change, Key, Model, Row, all_rows, env, ipc, merge, options, primary_key, rows, rows_of};
use crate::temporary::{self, Folder};

/// So many that their vectors have files of their own.
const ROWS: i64 = 800;
const APP: &str = "q:t:0";
const ALL: CompactOptions = CompactOptions { min_files: 2, max_bytes: 1 << 30, deleted_share: 0.1, full: true };
const NOW: VacuumOptions = VacuumOptions { retention: Some(Duration::ZERO), dry_run: false };

/// What a worker does, each on the table that the one before left.
const WORKS: [&str; 5] = ["first batch", "batch", "compaction", "checkpoint", "vacuum"];
/// The batch that is merged while a step of compaction is on its way.
const BESIDE: i64 = 3;

fn upsert(id: i64, name: &str) -> Change {
    let row = Row { name: Some(name.into()), big: Some(name.repeat(9)), part: Some(id as i32 % 2), ..Row::default() };
    Change::Upsert { key: (0, id), row, leaves_big: false, old: None, sequence: None }
}

fn leaving_out(id: i64, name: &str, old: Option<i64>) -> Change {
    let row = Row { name: Some(name.into()), part: Some(id as i32 % 2), ..Row::default() };
    Change::Upsert { key: (0, id), row, leaves_big: true, old: old.map(|id| (0, id)), sequence: None }
}

fn delete(id: i64) -> Change {
    Change::Delete { key: (0, id), sequence: None }
}

/// The topic: batches, with each of which the offset grows by one.
fn batches() -> Vec<Vec<Change>> {
    let some = |from: i64, change: fn(i64) -> Change| (from..ROWS).step_by(3).map(change);
    let batch = |first: Vec<Change>, more: Vec<Change>| first.into_iter().chain(more).collect();
    // A row whose key was updated before it was stored: its values are kept for the batch that brings the new key.
    let updated = [upsert(ROWS + 5, "b"), Change::Moved { key: (0, ROWS + 5), new: Some((0, ROWS + 6)) }];
    let more = [leaving_out(2, "b", None), delete(4), upsert(ROWS, "b")];
    vec![
        (0..ROWS).map(|id| upsert(id, "a")).collect(),
        batch(some(0, |id| upsert(id, "b")).collect(), more.into_iter().chain(updated).collect()),
        vec![upsert(4, "c"), delete(ROWS), upsert(7, "c"), leaving_out(ROWS + 6, "c", Some(ROWS + 5))],
        batch(some(1, delete).collect(), vec![upsert(5, "d"), leaving_out(8, "d", None)]),
        batch(some(1, |id| upsert(id, "e")).collect(), vec![leaving_out(5, "e", None), upsert(ROWS, "e")]),
    ]
}

/// What the table holds at a stored offset.
fn model_at(stored: i64) -> Model {
    let mut model = Model::default();
    let applied = usize::try_from(stored + 1).unwrap();
    batches().iter().take(applied).flatten().for_each(|change| model.apply(change));
    model
}

fn stored_in(table: &KeyedTable) -> i64 {
    table.info().offsets.iter().find(|(app, _)| app == APP).map_or(-1, |(_, last)| *last)
}

/// Applies the batches up to this offset of which the table does not store that it has them.
async fn apply_up_to(table: &mut KeyedTable, last: i64) -> Result<()> {
    for offset in stored_in(table) + 1..=last {
        let expected = (offset > 0).then_some(offset - 1);
        let offsets = [Offset { may_fall: false, app_id: APP.into(), expected, last: offset }];
        let ipc = ipc(&batches()[usize::try_from(offset).unwrap()], &[], false, false);
        table.merge(Some(ipc), &primary_key(), &offsets, &CancellationToken::new()).await?;
    }
    Ok(())
}

/// Does a work once. A client is told of it where its requests are to be those of the work.
async fn attempt(work: &'static str, table: &mut KeyedTable, client: Option<&Client>) -> Result<()> {
    let begins = |work| client.into_iter().for_each(|client| client.begins(work));
    begins(work);
    match work {
        "first batch" => apply_up_to(table, 0).await,
        "batch" => apply_up_to(table, 1).await,
        "compaction" => {
            let Some(plan) = table.plan_compaction(&ALL)? else { return Ok(()) };
            let rewritten = plan.rewrite(&CancellationToken::new()).await?;
            begins("");
            let was_there = stored_in(table) == BESIDE;
            apply_up_to(table, BESIDE).await?;
            begins(work);
            let compacted = table.commit_compaction(rewritten).await?;
            // The batch has marked rows of the step's files; where it has copied the files, the step is dropped.
            let carries = compacted.is_some_and(|step| step.rows_carried_over > 0);
            assert!(was_there || carries != table.info().copy_on_write);
            Ok(())
        }
        "checkpoint" => table.maintenance().checkpoint().await.map(drop),
        _ => table.maintenance().vacuum(&NOW).await.map(drop),
    }
}

/// A table, and the folder of its saved index.
struct World {
    mode: MergeMode,
    table: Folder,
    index: Folder,
}

impl World {
    fn new(mode: MergeMode) -> Self {
        Self { mode, table: temporary::folder(), index: temporary::folder() }
    }

    fn copied(&self) -> Self {
        let to = Self::new(self.mode);
        copy(self.table.path(), to.table.path());
        copy(self.index.path(), to.index.path());
        to
    }

    fn path(&self) -> &str {
        self.table.path().to_str().unwrap()
    }

    async fn open(&self, uri: &str) -> KeyedTable {
        let properties = [("delta.logRetentionDuration", "interval 0 seconds"), ("delta.checkpointInterval", "1000")];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
        let index_folder = Some(self.index.path().to_owned());
        KeyedTable::open(TableOptions { properties, index_folder, ..options(uri, self.mode) }).await.unwrap()
    }

    async fn stored(&self) -> i64 {
        stored_in(&self.open(self.path()).await)
    }

    fn entries(&self) -> Vec<String> {
        let found = std::fs::read_dir(self.table.path().join("_delta_log")).into_iter().flatten();
        let names = found.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".json")).collect();
        names.sort();
        names
    }

    /// What stands in the store of a work that was done on the table as it was `before`, in the document's words.
    async fn stands(&self, work: &str, before: &Self) -> &'static str {
        let newest = || self.entries().pop().unwrap();
        match work {
            "checkpoint" | "vacuum" => {
                assert_eq!(self.stored().await, before.stored().await);
                "as before"
            }
            "compaction" => match std::fs::read_to_string(self.table.path().join("_delta_log").join(newest())) {
                Ok(entry) if entry.contains("OPTIMIZE") => "committed",
                _ => "not committed",
            },
            _ if self.stored().await > before.stored().await => "committed",
            _ => "not committed",
        }
    }

    async fn assert_holds(&self, model: &Model, note: &str) {
        if model.rows.is_empty() {
            return assert!(self.entries().is_empty(), "{note}");
        }
        let mut batches = scan(all_rows(self.path())).await.unwrap_or_else(|e| panic!("{note}: {:?}", e.chain()));
        let mut found: BTreeMap<Key, Row> = BTreeMap::new();
        while let Some(batch) = batches.next().await.unwrap_or_else(|e| panic!("{note}: {:?}", e.chain())) {
            for (key, row) in rows_of(&batch) {
                assert!(found.insert(key, row).is_none(), "{note}: {key:?} is there twice");
            }
        }
        model.assert_equals(&found, note);
    }
}

/// The tables that the works begin with.
async fn befores(mode: MergeMode) -> BTreeMap<&'static str, World> {
    let world = World::new(mode);
    let mut befores = BTreeMap::new();
    for work in WORKS {
        if work == "compaction" {
            let mut table = world.open(world.path()).await;
            apply_up_to(&mut table, BESIDE - 1).await.unwrap();
            table.close().await;
        }
        befores.insert(work, world.copied());
        let mut table = world.open(world.path()).await;
        attempt(work, &mut table, None).await.unwrap();
        table.close().await;
    }
    befores
}

/// A worker on the table. With a point, what stood in the store when its request had gone wrong; then the worker has ended,
/// or it has gone on and has done its work all the same.
async fn worker(world: &World, work: &'static str, before: &World, client: &Client) -> Option<&'static str> {
    let working = async {
        let mut table = world.open(&client.uri).await;
        let result = attempt(work, &mut table, Some(client)).await;
        client.begins("");
        client.comes_back();
        let stands = world.stands(work, before).await;
        // A step of compaction that is dropped is none that failed.
        let says_so = result.is_ok() && work != "compaction";
        assert!(!says_so || stands != "not committed", "{work}: it was told, and {stands}");
        // It looks at the log, and does what it has not done.
        table.follow().await.unwrap();
        attempt(work, &mut table, None).await.unwrap_or_else(|error| panic!("{work}: {:?}", error.chain()));
        table.close().await;
        (stands, result)
    };
    match client.until_its_end(working).await {
        Some((stands, Ok(()))) => Some(stands),
        Some((stands, Err(_))) if client.is_reached() => Some(stands),
        Some((_, Err(error))) => panic!("{work}: {:?}", error.chain()),
        None => Some(world.stands(work, before).await),
    }
}

/// The next worker goes on, and the table becomes what it would have been.
async fn go_on(world: &World, reads_with_delta_rs: bool, note: &str) {
    let stored = world.stored().await;
    world.assert_holds(&model_at(stored), &format!("{note}, at offset {stored}")).await;
    let mut table = world.open(world.path()).await;
    let model = model_at(batches().len() as i64 - 1);
    apply_up_to(&mut table, batches().len() as i64 - 1).await.unwrap();
    world.assert_holds(&model, &format!("{note}, gone on after offset {stored}")).await;
    assert_eq!(table.info().num_rows, model.rows.len() as u64, "{note}");

    if let Some(plan) = table.plan_compaction(&ALL).unwrap() {
        let rewritten = plan.rewrite(&CancellationToken::new()).await.unwrap();
        table.commit_compaction(rewritten).await.unwrap().unwrap();
    }
    let checkpoint = table.maintenance().checkpoint().await.unwrap();
    assert_eq!(Some(checkpoint.version), table.info().version, "{note}");
    table.maintenance().vacuum(&NOW).await.unwrap();
    world.assert_holds(&model, &format!("{note}, after the clean-up")).await;
    // Nothing is left but what the table names, and parts of files, which no list shows.
    let found: BTreeSet<String> = files_of(world.table.path()).into_iter().filter(|name| !name.contains('#')).collect();
    assert_eq!(found.len() as u64, table.info().num_files, "{note}: {found:?}");
    let versions: Vec<u64> = world.entries().iter().map(|name| name[..20].parse().unwrap()).collect();
    assert!(versions.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{note}: {versions:?}");
    // An index that knows every row: all are replaced, none is there twice.
    let all: Vec<Change> = model.rows.keys().map(|key| upsert(key.1, "last")).collect();
    let result = merge(&mut table, APP, &all, false).await.unwrap();
    assert_eq!((result.inserted, result.updated), (0, all.len() as u64), "{note}");
    table.close().await;
    if reads_with_delta_rs {
        assert_eq!(rows(world.path()).await.len(), model.rows.len(), "{note}: by delta-rs");
    }
}

/// What stood in the store at a point.
async fn end_and_go_on(before: Arc<World>, point: Point) -> &'static str {
    let note = format!("{:?}, {point:?}", before.mode);
    let world = before.copied();
    let client = Client::new(world.table.path(), Some(point));
    let stands = worker(&world, point.step.work, &before, &client).await.unwrap();
    assert!(client.is_reached(), "{note}: there was no such request");
    go_on(&world, point.step.what == "log entry", &note).await;
    stands
}

const ENDS: [End; 5] = [End::Before, End::Within, End::After, End::Lost, End::Gone];

/// A step of a work, a way in which it goes wrong, and where that may be.
type Points = BTreeMap<(Step, End), Vec<(Arc<World>, usize)>>;

async fn all_points() -> Points {
    let mut points = Points::new();
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        for (work, before) in befores(mode).await {
            let world = before.copied();
            let before = Arc::new(before);
            let client = Client::new(world.table.path(), None);
            worker(&world, work, &before, &client).await;
            let steps = client.steps().into_iter().filter(|(step, _)| step.work == work && step.what != READS);
            for (step, count) in steps {
                println!("{mode:?}, {}: {}: {count} times", step.work, step.what);
                for end in ENDS {
                    let places = (0..count).map(|nth| (before.clone(), nth));
                    let is_possible = end != End::Within || !step.what.starts_with("removes");
                    if is_possible {
                        points.entry((step, end)).or_default().extend(places);
                    }
                }
            }
        }
    }
    points
}

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/failures.md"));

/// The rows of one of the document's tables of crash points.
fn documented(table: &str) -> BTreeSet<String> {
    let table = DOCUMENT.split(&format!("<!-- {table} -->")).nth(1).unwrap();
    let rows = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    rows.take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_next_worker_goes_on_wherever_one_has_ended() {
    let points = all_points().await;
    let seed = env("SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000_000));
    let is_all = std::env::var("CRASH_POINTS").is_ok_and(|value| value == "all");
    println!("seeds {seed} to {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut chosen = Vec::new();
    for ((step, end), places) in points {
        let one = rng.random_range(0..places.len());
        let places = places.into_iter().enumerate().filter(|(number, _)| is_all || *number == one);
        chosen.extend(places.map(|(_, (before, nth))| (before, Point { step, nth, end })));
    }
    let (chosen, mut lanes) = (Arc::new(chosen), tokio::task::JoinSet::new());
    for lane in 0..4 {
        let chosen = chosen.clone();
        lanes.spawn(async move {
            let mut found = Vec::new();
            for (before, point) in chosen.iter().skip(lane).step_by(4) {
                found.push((*point, end_and_go_on(before.clone(), *point).await));
            }
            found
        });
    }
    let mut outcomes: BTreeMap<Step, BTreeMap<End, &str>> = BTreeMap::new();
    for (Point { step, end, .. }, stands) in lanes.join_all().await.into_iter().flatten() {
        let before = outcomes.entry(step).or_default().insert(end, stands);
        assert!(before.is_none_or(|before| before == stands), "{step:?}, {end:?}: {before:?} and {stands}");
    }
    let row = |(Step { work, what }, ends): (&Step, &BTreeMap<End, &str>)| {
        let cells = ENDS.map(|end| ends.get(&end).copied().unwrap_or("–")).join(" | ");
        format!("| {work}: {what} | {cells} |")
    };
    let rows: BTreeSet<String> = outcomes.iter().map(row).collect();
    println!("{} ends\n{}", chosen.len(), Vec::from_iter(rows.clone()).join("\n"));
    assert_eq!(rows, documented("crash points of the engine"), "the table of crash points in docs/failures.md");
}

/// Files that a start reads for its index, where the table is in `world`.
async fn files_read(world: &World) -> usize {
    let client = Client::new(world.table.path(), None);
    let mut table = world.open(&client.uri).await;
    merge(&mut table, "other", &[upsert(ROWS + 7, "other")], false).await.unwrap();
    client.steps().iter().filter(|(step, _)| step.what == READS).map(|(_, count)| count).sum()
}

/// Puts into `folder` what is there while a file of `whole` is being written.
fn write_half(whole: &Path, folder: &Path) {
    let saved = std::fs::read_dir(whole).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&saved).unwrap();
    let part = folder.join(saved.file_name().unwrap()).with_extension("half.tmp");
    std::fs::write(part, &bytes[..bytes.len() / 2]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_index_is_the_old_one_or_the_new_one_wherever_its_saving_has_ended() {
    let mode = MergeMode::MergeOnRead;
    let world = World::new(mode);
    let mut table = world.open(world.path()).await;
    apply_up_to(&mut table, 1).await.unwrap();
    table.close().await;
    let mut table = world.open(world.path()).await;
    apply_up_to(&mut table, 2).await.unwrap();
    let before = world.copied();
    table.close().await;
    let within = before.copied();
    write_half(world.index.path(), within.index.path());
    let num_files = table_files(&world).await;
    let mut cells = Vec::new();
    for (end, world) in [("before", before), ("within", within), ("after", world)] {
        cells.push(match files_read(&world.copied()).await {
            0 => "the new one is taken",
            read if read < num_files => "the old one is taken",
            _ => "none is taken",
        });
        go_on(&world, false, end).await;
    }
    let row = format!("| the index is saved | {} |", cells.join(" | "));
    assert_eq!(BTreeSet::from([row]), documented("crash points of the index"));
}

async fn table_files(world: &World) -> usize {
    world.open(world.path()).await.info().num_files as usize
}
