//! The memory of steps of compaction: who begins one takes a permit for what it will hold, in the order of coming.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The memory of all steps that are under way. Cloned, it is the same.
#[derive(Debug, Clone, Default)]
pub struct StepMemory(Arc<Mutex<Books>>);

#[derive(Debug)]
struct Books {
    limit: u64,
    held: u64,
    /// The first to come is the first to go.
    line: VecDeque<(u64, oneshot::Sender<Permit>)>,
}

impl Default for Books {
    fn default() -> Self {
        Self { limit: u64::MAX, held: 0, line: VecDeque::new() }
    }
}

impl Books {
    /// Whether a step may begin. Where none is under way, one may, however much it holds.
    fn has_room(&self, bytes: u64) -> bool {
        self.held == 0 || self.held.saturating_add(bytes) <= self.limit
    }
}

impl StepMemory {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bounds all steps together. Those under way go on.
    pub fn limit(&self, bytes: u64) {
        self.books().limit = bytes;
        self.serve();
    }

    /// What bounds all steps together.
    pub(crate) fn most(&self) -> u64 {
        self.books().limit
    }

    /// Bytes of the permits that are taken.
    pub fn held(&self) -> u64 {
        self.books().held
    }

    /// A permit, where nobody has to be waited for.
    pub(crate) fn try_take(&self, bytes: u64) -> Option<Permit> {
        let mut books = self.books();
        let is_next = books.line.iter().all(|(_, waiting)| waiting.is_closed());
        if !is_next || !books.has_room(bytes) {
            return None;
        }
        Some(self.permit(&mut books, bytes))
    }

    /// Waits for a permit. Given up, it lets the next ones go.
    pub(crate) async fn take(&self, bytes: u64) -> Permit {
        let (tell, permit) = oneshot::channel();
        self.books().line.push_back((bytes, tell));
        let _line = Waiting(self);
        self.serve();
        match permit.await {
            Ok(permit) => permit,
            // Nobody takes those that wait out of the line.
            Err(_) => self.permit(&mut self.books(), bytes),
        }
    }

    fn permit(&self, books: &mut Books, bytes: u64) -> Permit {
        // So that a step of nothing is one, too.
        let bytes = bytes.max(1);
        books.held += bytes;
        Permit { memory: self.clone(), bytes }
    }

    /// Those who wait have their turns, until one has to go on waiting.
    fn serve(&self) {
        loop {
            let mut books = self.books();
            books.line.retain(|(_, waiting)| !waiting.is_closed());
            let Some((bytes, _)) = books.line.front() else { return };
            let bytes = *bytes;
            if !books.has_room(bytes) {
                return;
            }
            let Some((_, waiting)) = books.line.pop_front() else { return };
            let permit = self.permit(&mut books, bytes);
            drop(books);
            // Where it was given up just now, the permit comes back and is dropped.
            drop(waiting.send(permit));
        }
    }
}

/// A place in the line.
struct Waiting<'a>(&'a StepMemory);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.serve();
    }
}

/// The right to hold so many bytes. Dropped, it is given back.
#[derive(Debug)]
pub(crate) struct Permit {
    memory: StepMemory,
    bytes: u64,
}

impl Permit {
    /// So many bytes are held, though it is too late to wait for them: those that come later do.
    pub(crate) fn raise(&mut self, bytes: u64) {
        let more = bytes.saturating_sub(self.bytes);
        self.memory.books().held += more;
        self.bytes += more;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.memory.books().held -= self.bytes;
        self.memory.serve();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn memory(limit: u64) -> StepMemory {
        let memory = StepMemory::default();
        memory.limit(limit);
        memory
    }

    #[test]
    fn steps_go_in_the_order_of_coming_and_a_large_one_goes_alone() {
        let memory = memory(100);
        let first = memory.try_take(60).unwrap();
        let mut large = Box::pin(memory.take(1000));
        assert!(large.as_mut().now_or_never().is_none());
        // It would fit, and somebody was there before.
        assert!(memory.try_take(10).is_none());
        let mut small = Box::pin(memory.take(10));
        assert!(small.as_mut().now_or_never().is_none());
        drop(first);
        assert!(small.as_mut().now_or_never().is_none());
        let permit = large.as_mut().now_or_never().unwrap();
        assert_eq!(memory.held(), 1000);
        drop(permit);
        let permit = small.as_mut().now_or_never().unwrap();
        assert_eq!(memory.held(), 10);
        drop(permit);
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn what_a_step_holds_more_than_expected_counts_for_the_others() {
        let memory = memory(100);
        let mut first = memory.try_take(60).unwrap();
        first.raise(50);
        assert_eq!(memory.held(), 60);
        first.raise(95);
        assert_eq!(memory.held(), 95);
        assert!(memory.try_take(10).is_none());
        drop(first);
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn who_gives_up_lets_the_others_go() {
        let memory = memory(100);
        let first = memory.try_take(60).unwrap();
        let mut large = Box::pin(memory.take(1000));
        let mut small = Box::pin(memory.take(40));
        assert!(large.as_mut().now_or_never().is_none());
        assert!(small.as_mut().now_or_never().is_none());
        drop(large);
        let second = small.as_mut().now_or_never().unwrap();
        assert_eq!(memory.held(), 100);
        // A permit that was told and never fetched comes back.
        let mut told = Box::pin(memory.take(50));
        assert!(told.as_mut().now_or_never().is_none());
        drop((first, second));
        assert_eq!(memory.held(), 50);
        drop(told);
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn a_higher_limit_lets_waiting_ones_go() {
        let memory = memory(10);
        let first = memory.try_take(10).unwrap();
        let mut second = Box::pin(memory.take(5));
        assert!(second.as_mut().now_or_never().is_none());
        memory.limit(15);
        assert!(second.as_mut().now_or_never().is_some());
        drop(first);
    }

    #[test]
    fn random_steps_stay_within_the_limit_and_all_get_their_turn() {
        for seed in 0..20 {
            let mut rng = StdRng::seed_from_u64(seed);
            let memory = memory(100);
            let mut waiting = Vec::new();
            let mut taken: Vec<Permit> = Vec::new();
            for _ in 0..500 {
                match rng.random_range(0..4) {
                    0 | 1 => {
                        let bytes = if rng.random_bool(0.1) { 150 } else { rng.random_range(1..60) };
                        waiting.push(Box::pin(memory.take(bytes)));
                    }
                    2 if !taken.is_empty() => drop(taken.swap_remove(rng.random_range(0..taken.len()))),
                    3 if !waiting.is_empty() && rng.random_bool(0.2) => {
                        drop(waiting.remove(rng.random_range(0..waiting.len())));
                    }
                    _ => {}
                }
                let mut still = Vec::new();
                for mut step in waiting {
                    match step.as_mut().now_or_never() {
                        Some(permit) => {
                            assert!(still.is_empty(), "seed {seed}: one went before another that had come first");
                            taken.push(permit);
                        }
                        None => still.push(step),
                    }
                }
                waiting = still;
                assert!(memory.held() <= 100 || taken.len() == 1, "seed {seed}: {} bytes", memory.held());
            }
            while !waiting.is_empty() {
                assert!(!taken.is_empty(), "seed {seed}: nobody goes");
                taken.clear();
                let mut still = Vec::new();
                for mut step in waiting {
                    match step.as_mut().now_or_never() {
                        Some(permit) => taken.push(permit),
                        None => still.push(step),
                    }
                }
                waiting = still;
            }
            taken.clear();
            assert_eq!(memory.held(), 0);
        }
    }
}
