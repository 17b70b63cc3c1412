//! What all processes of a simulation share: the store's files, the clock, and what is known of what happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use object_store::memory::InMemory;
use parking_lot::Mutex;
use tokio::sync::Notify;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::faults::{Course, Rates};
use crate::files::Files;
use crate::history::History;
use crate::process::Process;
use crate::time::{Clock, is_simulated};

static WORLDS: AtomicU64 = AtomicU64::new(0);

/// A fault of the engine.
#[derive(Debug, Clone)]
pub struct Violation {
    /// The number of the event that showed it.
    pub event: u64,
    /// When, since the beginning.
    pub at: Duration,
    /// What is wrong.
    pub message: String,
}

/// What happened so far.
#[derive(Debug, Default)]
struct Events {
    count: u64,
    hash: u64,
    /// By request, how often it was made.
    requests: BTreeMap<String, u64>,
    /// What was injected, by kind.
    counts: BTreeMap<&'static str, u64>,
    violation: Option<Violation>,
}

/// See above.
#[derive(Debug)]
pub struct World {
    /// Its number in this program.
    pub number: u64,
    /// The seed of all that is decided in it.
    pub seed: u64,
    /// Its time.
    pub clock: Arc<Clock>,
    /// Its store's files.
    pub files: Files,
    /// What was committed.
    pub history: Mutex<History>,
    rates: Mutex<Rates>,
    events: Mutex<Events>,
    processes: Mutex<Vec<Arc<Process>>>,
    /// Told when a fault is found.
    pub failed: Notify,
    trace: bool,
}

impl World {
    /// A world with an empty store. `retention`: of files that left the table; `soft`: deleted rows stay, marked.
    pub fn new(seed: u64, rates: Rates, retention: Duration, soft: bool) -> Arc<Self> {
        let inner = Arc::new(InMemory::new());
        Arc::new(Self {
            number: WORLDS.fetch_add(1, Ordering::SeqCst),
            seed,
            clock: Arc::default(),
            history: Mutex::new(History::new(inner.clone(), retention, soft)),
            files: Files::new(inner),
            rates: Mutex::new(rates),
            events: Mutex::default(),
            processes: Mutex::default(),
            failed: Notify::new(),
            trace: std::env::var_os("TRACE").is_some(),
        })
    }

    /// A new process.
    pub(crate) fn process(&self, role: &'static str, is_spared: bool) -> Arc<Process> {
        let mut processes = self.processes.lock();
        let process = Arc::new(Process::new(processes.len(), role, is_spared));
        self.event(|| format!("{role} {} begins", process.number));
        processes.push(process.clone());
        process
    }

    /// The processes so far.
    pub fn processes(&self) -> Vec<Arc<Process>> {
        self.processes.lock().clone()
    }

    /// From now on nothing fails.
    pub fn heal(&self) {
        *self.rates.lock() = Rates::none();
    }

    /// Notes what happened.
    pub fn event(&self, text: impl FnOnce() -> String) {
        let mut events = self.events.lock();
        events.count += 1;
        let now = self.clock.now();
        let text = text();
        events.hash = xxh3_64_with_seed(format!("{now:?} {text}").as_bytes(), events.hash);
        if self.trace {
            println!("{:>7} {:>10.3} s  {text}", events.count, now.as_secs_f64());
        }
    }

    /// Counts something that was done to the engine.
    pub fn count(&self, what: &'static str) {
        *self.events.lock().counts.entry(what).or_default() += 1;
    }

    /// What becomes of a request. Those of other threads than the simulation's come in any number and order: all that are
    /// alike and of one moment have the same course.
    pub(crate) fn course(&self, process: &Process, request: &str, is_write: bool) -> Course {
        let request = format!("{} {request}", process.number);
        if !is_simulated() {
            let request = format!("{request} at {:?}", self.clock.now());
            return self.rates.lock().course(self.seed, &request, is_write);
        }
        let times = {
            let mut events = self.events.lock();
            let times = events.requests.entry(request.clone()).or_default();
            *times += 1;
            *times
        };
        self.rates.lock().course(self.seed, &format!("{request} {times}"), is_write)
    }

    /// Notes a fault of the engine; of several the first counts.
    pub fn violated(&self, message: String) {
        self.event(|| format!("VIOLATION: {message}"));
        let mut events = self.events.lock();
        let violation = Violation { event: events.count, at: self.clock.now(), message };
        events.violation.get_or_insert(violation);
        self.failed.notify_one();
    }

    /// The fault that was found.
    pub fn violation(&self) -> Option<Violation> {
        self.events.lock().violation.clone()
    }

    /// Number and hash of all events.
    pub fn events(&self) -> (u64, u64) {
        let events = self.events.lock();
        (events.count, events.hash)
    }

    /// What was injected, by kind.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.events.lock().counts.clone()
    }
}
