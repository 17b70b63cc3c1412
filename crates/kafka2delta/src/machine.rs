//! The machine beneath the engine: its clock, ids that nobody else has, and threads for work that blocks. With the feature
//! `simulation`, which nothing that is shipped has, a simulation may put its own in their place.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use uuid::Uuid;

/// Milliseconds since 1970.
pub(crate) fn now_millis() -> i64 {
    #[cfg(feature = "simulation")]
    if let Some(now) = simulated::with(|machine| machine.now_millis()) {
        return now;
    }
    chrono::Utc::now().timestamp_millis()
}

/// A moment, for durations.
pub(crate) fn moment() -> Instant {
    #[cfg(feature = "simulation")]
    if let Some(now) = simulated::with(|machine| machine.moment()) {
        return now;
    }
    Instant::now()
}

/// How long ago a moment was.
pub(crate) fn elapsed(since: Instant) -> Duration {
    moment().saturating_duration_since(since)
}

/// A random id.
pub(crate) fn new_id() -> Uuid {
    #[cfg(feature = "simulation")]
    if let Some(id) = simulated::with(|machine| machine.new_id()) {
        return id;
    }
    Uuid::new_v4()
}

/// Runs work that blocks on a thread of its own. A simulation, which has one thread, runs it at once.
pub(crate) fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    #[cfg(feature = "simulation")]
    if simulated::with(|_| ()).is_some() {
        return tokio::spawn(std::future::ready(work()));
    }
    tokio::task::spawn_blocking(work)
}

/// Runs work that waits for what it is to do, on a thread of its own, in a simulation too.
pub(crate) fn spawn_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    tokio::task::spawn_blocking(work)
}

/// Has a simulation wait for a thread that was told to end. Otherwise it goes on.
pub(crate) fn settle<T>(thread: &JoinHandle<T>) {
    #[cfg(feature = "simulation")]
    if simulated::with(|_| ()).is_some() {
        while !thread.is_finished() {
            std::thread::yield_now();
        }
    }
    #[cfg(not(feature = "simulation"))]
    let _ = thread;
}

/// What a simulation puts in the machine's place.
#[cfg(feature = "simulation")]
pub mod simulated {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::Instant;

    use uuid::Uuid;

    /// The machine of a simulation.
    pub trait Machine {
        /// Milliseconds since 1970.
        fn now_millis(&self) -> i64;
        /// A moment, for durations.
        fn moment(&self) -> Instant;
        /// A random id.
        fn new_id(&self) -> Uuid;
    }

    thread_local! {
        static MACHINE: RefCell<Option<Rc<dyn Machine>>> = const { RefCell::new(None) };
    }

    /// Gives this thread a machine, or its own back.
    pub fn install(machine: Option<Rc<dyn Machine>>) {
        MACHINE.with(|installed| *installed.borrow_mut() = machine);
    }

    pub(super) fn with<T>(ask: impl FnOnce(&dyn Machine) -> T) -> Option<T> {
        let machine = MACHINE.with(|installed| installed.borrow().clone());
        machine.map(|machine| ask(machine.as_ref()))
    }
}
