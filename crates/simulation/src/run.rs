//! A simulation from its seed to its end.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use kafka2delta::TableOptions;
use kafka2delta::maintenance::VacuumOptions;
use kafka2delta::options::{KeyIndexMode, MergeMode};
use object_store::path::Path;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;

use crate::actors::{Actor, keeper, others, reader, writer};
use crate::changes::{SOFT, options};
use crate::faults::Rates;
use crate::history::TABLE;
use crate::process::Process;
use crate::source::Source;
use crate::store;
use crate::temporary::{Folder, folder};
use crate::time::{Installed, all_wait, sleep, tick};
use crate::world::{Violation, World};

/// How long files that left the table are kept.
const RETENTION: Duration = Duration::from_secs(30 * 60);
/// How long the log is kept.
const LOG_RETENTION: Duration = Duration::from_secs(45 * 60);
/// The longest that a process stands still. With slow requests it must stay below the retention: what is written and not
/// committed for longer may be vacuumed (`VacuumOptions`).
const STILL: Duration = Duration::from_secs(8 * 60);

/// What came of a seed.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// How many events there were.
    pub events: u64,
    /// What tells them from others.
    pub hash: u64,
    /// How much time was simulated.
    pub simulated: Duration,
    /// How often what was done to the engine.
    pub counts: BTreeMap<&'static str, u64>,
    /// The fault that was found.
    pub violation: Option<Violation>,
}

/// Simulates a seed for about so long.
pub fn run(seed: u64, length: Duration) -> Outcome {
    let mut rng = StdRng::seed_from_u64(seed);
    let partitions = if rng.random_bool(0.7) { 1 } else { 2 };
    let soft = rng.random_bool(0.2);
    let world = World::new(seed, Rates::random(&mut rng), RETENTION, soft);
    let installed = Installed::new(world.clock.clone(), seed);
    let runtime = tokio::runtime::Builder::new_current_thread().on_thread_park(all_wait).build().unwrap();
    let index = folder();
    let simulation = Simulation::new(world.clone(), partitions, soft, &index, rng);
    let simulated = async {
        tokio::spawn(tick());
        simulation.run(length).await;
    };
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(simulated)));
    // Tasks that still wait have timers.
    drop(runtime);
    drop(installed);
    if let Err(panic) = ended {
        world.violated(format!("panics: {}", text_of(panic.as_ref())));
    }
    store::end(&world);
    let (events, hash) = world.events();
    let (simulated, counts, violation) = (world.clock.now(), world.counts(), world.violation());
    Outcome { seed, events, hash, simulated, counts, violation }
}

/// What a panic says.
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

struct Simulation {
    world: Arc<World>,
    partitions: usize,
    source: Arc<Mutex<Source>>,
    options: TableOptions,
    rng: StdRng,
    tasks: Vec<JoinHandle<()>>,
}

/// A writer that is not known to be dead.
struct Alive {
    process: Arc<Process>,
    stood_still: bool,
}

impl Simulation {
    fn new(world: Arc<World>, partitions: usize, soft: bool, index: &Folder, mut rng: StdRng) -> Self {
        let mode = *[MergeMode::MergeOnRead, MergeMode::MergeOnRead, MergeMode::CopyOnWrite].choose(&mut rng).unwrap();
        let minutes = |time: Duration| format!("interval {} minutes", time.as_secs() / 60);
        let properties = HashMap::from([
            ("delta.deletedFileRetentionDuration".to_owned(), minutes(RETENTION)),
            ("delta.logRetentionDuration".to_owned(), minutes(LOG_RETENTION)),
            ("delta.checkpointInterval".to_owned(), rng.random_range(5..20).to_string()),
        ]);
        let options = TableOptions {
            properties,
            key_index: if rng.random_bool(0.1) { KeyIndexMode::None } else { KeyIndexMode::Auto },
            index_memory: *[1 << 30, 1 << 30, 16 << 10, 1].choose(&mut rng).unwrap(),
            index_folder: rng.random_bool(0.5).then(|| index.path().to_owned()),
            soft_delete_column: soft.then(|| SOFT.to_owned()),
            ..options("", mode)
        };
        let source = Arc::new(Mutex::new(Source::new(world.seed, partitions)));
        Self { world, partitions, source, options, rng, tasks: Vec::new() }
    }

    fn actor(&mut self, role: &'static str, is_spared: bool) -> Actor {
        let (process, uri) = store::process(&self.world, role, is_spared);
        let rng = StdRng::seed_from_u64(self.rng.random());
        let options = TableOptions { uri, ..self.options.clone() };
        Actor { world: self.world.clone(), process, options, source: self.source.clone(), rng }
    }

    /// Runs a process until it dies. What it was doing is dropped then.
    fn spawn(&mut self, process: Arc<Process>, work: impl Future<Output = ()> + Send + 'static) {
        let world = self.world.clone();
        let task = async move {
            tokio::select! {
                biased;
                () = process.died.notified() => world.event(|| format!("{} {} is dead", process.role, process.number)),
                ended = AssertUnwindSafe(work).catch_unwind() => if let Err(panic) = ended {
                    world.violated(format!("{} {} panics: {}", process.role, process.number, text_of(panic.as_ref())));
                },
            }
        };
        self.tasks.push(tokio::spawn(task));
    }

    fn begin_writer(&mut self) -> Alive {
        let actor = self.actor("writer", false);
        let (process, partitions) = (actor.process.clone(), self.partitions);
        let stopped = process.clone();
        self.spawn(process.clone(), async move {
            writer::run(actor, partitions, None).await;
            stopped.end();
        });
        Alive { process, stood_still: false }
    }

    async fn run(mut self, length: Duration) {
        let mut alive = vec![self.begin_writer()];
        let keeper = self.actor("keeper", false);
        self.spawn(keeper.process.clone(), keeper::run(keeper));
        if self.rng.random_bool(0.6) {
            let others = self.actor("other engine", true);
            self.spawn(others.process.clone(), others::run(others));
        }
        let reader = self.actor("reader", true);
        self.spawn(reader.process.clone(), reader::run(reader, RETENTION.min(LOG_RETENTION)));
        while self.world.clock.now() < length && self.world.violation().is_none() {
            let wait = Duration::from_secs(self.rng.random_range(30..500));
            let world = self.world.clone();
            tokio::select! {
                biased;
                () = world.failed.notified() => break,
                () = sleep(wait) => {}
            }
            alive.retain(|writer| !writer.process.is_dead());
            let now = self.world.clock.now();
            let chosen = self.rng.random_range(0..alive.len().max(1));
            match (self.rng.random_range(0..10), alive.get_mut(chosen)) {
                // It dies within its next requests, and another one takes over.
                (0..4, Some(writer)) => writer.process.kill_after(self.rng.random_range(0..40)),
                // It stands still as if it were dead, another one takes over, and it comes back.
                (4..7, Some(writer)) if !writer.stood_still => {
                    writer.stood_still = true;
                    let until = now + STILL.mul_f64(self.rng.random_range(0.1..1.0));
                    writer.process.stand_still(until);
                    self.world.count("process stood still");
                }
                // It stops cleanly.
                (7, Some(writer)) => writer.process.ask_to_stop(),
                _ => {}
            }
            // Mostly one works alone, so that compaction comes to its end.
            let works = |writer: &Alive| !writer.process.is_dead() && writer.process.still_until() <= now;
            if !alive.iter().any(works) || alive.len() < 3 && self.rng.random_bool(0.25) {
                let next = self.begin_writer();
                alive.push(next);
            }
        }
        if self.world.violation().is_none() {
            self.end().await;
        }
    }

    /// The processes end, and nothing fails any more. One that begins now goes on, and what is left of the others goes.
    async fn end(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.world.processes().iter().for_each(|process| process.end());
        self.world.heal();
        // What others wrote may come later than its answer.
        sleep(crate::faults::LATE * 2).await;
        let actor = self.actor("last writer", false);
        let uri = actor.options.uri.clone();
        tokio::select! {
            biased;
            _ = writer::run(actor, self.partitions, Some(3)) => {}
            () = sleep(Duration::from_secs(3600)) => return self.world.violated("a writer does not come on".to_owned()),
        }
        let newest = self.world.history.lock().versions.len() - 1;
        reader::check(&self.world, &uri, newest, true);
        sleep(RETENTION.max(LOG_RETENTION) + Duration::from_secs(60)).await;
        let mut actor = self.actor("last keeper", false);
        let uri = actor.options.uri.clone();
        let maintenance = actor.open().await.maintenance();
        for ended in [
            maintenance.vacuum(&VacuumOptions::default()).await.map(|_| ()),
            maintenance.checkpoint().await.map(|_| ()),
        ] {
            if let Err(error) = ended {
                self.world.violated(format!("nothing fails any more, and yet: {:?}", error.chain()));
            }
        }
        self.check_files();
        reader::check(&self.world, &uri, newest, true);
    }

    /// After a vacuum beyond the retention, the store holds the table's files and no others, and the log what the newest
    /// version needs.
    fn check_files(&self) {
        let table = Path::from(TABLE);
        let (mut files, mut log): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        for meta in self.world.files.list(Some(&table), self.world.clock.millis()) {
            let path = meta.location.as_ref().strip_prefix("table/").unwrap().to_owned();
            if path.starts_with("_delta_log/") { log.push(path) } else { files.push(path) }
        }
        let live: Vec<String> = self.world.history.lock().live_files().cloned().collect();
        if files != live {
            let orphans: Vec<&String> = files.iter().filter(|file| !live.contains(file)).collect();
            self.world.violated(format!("files are left that nobody names: {orphans:?}, of {}", files.len()));
        }
        if log.len() > 4 {
            self.world.violated(format!("the log was not cleaned up: {log:?}"));
        }
    }
}
