//! The simulation's clock. It stands still while any task can run. When all of them wait, it leaps to the moment for which
//! the first one waits: the runtime tells that it is about to wait by its `on_thread_park`, and a task of its own, [`tick`],
//! then wakes who waits. What is woken may have nothing to do, as a request that is read ahead while nobody asks for it:
//! then the runtime is about to wait once more, and the next one is woken.
//!
//! Tokio's own paused clock is in its feature `test-util`, with which all that uses Tokio would be compiled once more for
//! the tests.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use kafka2delta::simulated::{Machine, install};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::{Builder, Uuid};

/// When simulations begin, in milliseconds since 1970: the year 2100. The Delta kernel asks the true clock which tombstones
/// are old enough to be left out of a checkpoint, and finds none.
pub const BEGIN: i64 = 4_102_444_800_000;

/// Time since the beginning. All threads may read it.
#[derive(Debug, Default)]
pub struct Clock(AtomicU64);

impl Clock {
    /// Time since the beginning.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }

    /// The same in milliseconds since 1970.
    pub fn millis(&self) -> i64 {
        BEGIN + self.now().as_millis() as i64
    }
}

/// Who waits, by the moment and by who came first.
type Timers = BTreeMap<(Duration, u64), Waker>;

struct Simulated {
    clock: Arc<Clock>,
    timers: RefCell<Timers>,
    next: RefCell<u64>,
    /// Whether all tasks wait, and whom to tell.
    all_wait: Cell<bool>,
    ticker: RefCell<Option<Waker>>,
    ids: RefCell<StdRng>,
    base: Instant,
}

thread_local! {
    static TIME: RefCell<Option<Rc<Simulated>>> = const { RefCell::new(None) };
}

fn current() -> Option<Rc<Simulated>> {
    TIME.with(|time| time.borrow().clone())
}

impl Machine for Simulated {
    fn now_millis(&self) -> i64 {
        self.clock.millis()
    }

    fn moment(&self) -> Instant {
        self.base + self.clock.now()
    }

    fn new_id(&self) -> Uuid {
        Builder::from_random_bytes(self.ids.borrow_mut().random()).into_uuid()
    }
}

/// While this lives, the thread has the simulation's time and ids.
pub struct Installed(());

impl Installed {
    /// Gives the thread a clock, and ids by a seed.
    pub fn new(clock: Arc<Clock>, seed: u64) -> Self {
        let simulated = Rc::new(Simulated {
            clock,
            timers: RefCell::default(),
            next: RefCell::new(0),
            all_wait: Cell::new(false),
            ticker: RefCell::new(None),
            ids: RefCell::new(StdRng::seed_from_u64(seed)),
            base: Instant::now(),
        });
        TIME.with(|time| *time.borrow_mut() = Some(simulated.clone()));
        install(Some(simulated));
        Self(())
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        install(None);
        TIME.with(|time| *time.borrow_mut() = None);
    }
}

/// Whether this thread is a simulation's. The Delta kernel asks the store on threads of its own, while the simulation waits.
pub fn is_simulated() -> bool {
    current().is_some()
}

/// A random id of the simulation.
pub fn new_id() -> Uuid {
    current().expect("a simulation's thread").new_id()
}

/// Tells that all tasks wait.
pub fn all_wait() {
    let Some(time) = current() else { return };
    assert!(!time.timers.borrow().is_empty(), "all tasks of the simulation wait for each other");
    time.all_wait.set(true);
    if let Some(ticker) = time.ticker.borrow().as_ref() {
        ticker.wake_by_ref();
    }
}

/// Leaps to the first moment for which a task waits, whenever all of them wait. A task that does not end.
pub async fn tick() {
    poll_fn(|context| {
        let Some(time) = current() else { return Poll::Pending };
        *time.ticker.borrow_mut() = Some(context.waker().clone());
        let first = if time.all_wait.take() { time.timers.borrow_mut().pop_first() } else { None };
        if let Some(((until, _), waker)) = first {
            time.clock.0.fetch_max(until.as_nanos() as u64, Ordering::SeqCst);
            waker.wake();
        }
        Poll::Pending
    })
    .await
}

/// Waits. On other threads than a simulation's it does not.
pub fn sleep(duration: Duration) -> Sleep {
    Sleep { until: current().map_or(Duration::ZERO, |time| time.clock.now() + duration), timer: None }
}

/// See [`sleep`].
#[must_use = "it waits when it is awaited"]
pub struct Sleep {
    until: Duration,
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(time) = current() else { return Poll::Ready(()) };
        if time.clock.now() >= self.until {
            return Poll::Ready(());
        }
        let timer = *self.timer.get_or_insert_with(|| {
            *time.next.borrow_mut() += 1;
            *time.next.borrow()
        });
        let before = time.timers.borrow_mut().insert((self.until, timer), context.waker().clone());
        drop(before);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let (Some(time), Some(timer)) = (current(), self.timer) {
            // With the waker a task may go, and its timers with it.
            let waker = time.timers.borrow_mut().remove(&(self.until, timer));
            drop(waker);
        }
    }
}
