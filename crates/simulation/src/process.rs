//! A process as the store knows it. It dies between any two of its requests: from one on, which may be done or not, it gets
//! no answer, and what it was doing is dropped. So it dies before and after each data file, vector, log entry and
//! checkpoint, at each step of a clean-up, and with its index saved or not. Likewise it stands still, and goes on later.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::changes::Change;

/// What a merge is to commit: the offsets that it expects to be stored, those that it stores, and its changes in the order
/// in which they are applied.
#[derive(Debug, Clone)]
pub struct Intent {
    /// By partition.
    pub expected: Vec<Option<i64>>,
    /// By partition.
    pub last: Vec<Option<i64>>,
    pub(crate) changes: Vec<Change>,
}

/// A process.
#[derive(Debug)]
pub struct Process {
    /// Its number.
    pub number: usize,
    /// What it is, for the trace.
    pub role: &'static str,
    /// Whether the store serves it at once and without faults.
    pub is_spared: bool,
    state: Mutex<State>,
    /// Told when it dies.
    pub died: Notify,
}

#[derive(Debug, Default)]
struct State {
    requests: u64,
    dies_at: Option<u64>,
    is_dead: bool,
    is_to_stop: bool,
    still_until: Duration,
    intent: Option<Arc<Intent>>,
}

impl Process {
    pub(crate) fn new(number: usize, role: &'static str, is_spared: bool) -> Self {
        Self { number, role, is_spared, state: Mutex::default(), died: Notify::new() }
    }

    /// Counts a request. True where the process dies with it.
    pub(crate) fn count_request(&self) -> bool {
        let mut state = self.state.lock();
        state.requests += 1;
        let dies = !state.is_dead && state.dies_at.is_some_and(|at| state.requests >= at);
        state.is_dead |= dies;
        dies
    }

    /// Has it die after so many more requests.
    pub fn kill_after(&self, requests: u64) {
        let mut state = self.state.lock();
        state.dies_at = Some(state.requests + 1 + requests);
    }

    /// Whether it is dead.
    pub fn is_dead(&self) -> bool {
        self.state.lock().is_dead
    }

    /// Asks it to stop cleanly.
    pub fn ask_to_stop(&self) {
        self.state.lock().is_to_stop = true;
    }

    /// Whether it is to stop cleanly.
    pub fn is_to_stop(&self) -> bool {
        self.state.lock().is_to_stop
    }

    /// Ends it as a process that is stopped cleanly: nothing of it is served any more.
    pub fn end(&self) {
        self.state.lock().is_dead = true;
    }

    /// Has it stand still until then.
    pub fn stand_still(&self, until: Duration) {
        self.state.lock().still_until = until;
    }

    pub(crate) fn still_until(&self) -> Duration {
        self.state.lock().still_until
    }

    /// Says what its next commit is to be.
    pub fn intend(&self, intent: Intent) {
        self.state.lock().intent = Some(Arc::new(intent));
    }

    pub(crate) fn intent(&self) -> Option<Arc<Intent>> {
        self.state.lock().intent.clone()
    }
}
