//! The memory of all key indexes of a process.
//!
//! As long as there is room, an index takes what it wants. Then the indexes of tables that were not written to for a while
//! are asked to go to disk, the one that was left alone longest first, and what these hold counts as free at once. The others
//! have equal parts: what an index leaves of its part is divided among those that want more. An index learns its part when
//! its table is written to, and goes to disk where it holds more.
//!
//! Time is counted in merges, of all tables: so it stands still while nothing is written.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// An index is idle after so many merges for each table, of which none was its own.
const IDLE_TURNS: u64 = 8;
/// Merges for which what an index holds counts as free, after it was asked to go: it may have to wait for its disk.
const PATIENCE: u64 = 64;
/// Bytes that an index may hold in any case, unless it is idle: less is not worth a file.
const LEAST: u64 = 128 << 10;

/// The memory of all key indexes. Cloned, it is the same.
#[derive(Debug, Clone, Default)]
pub struct IndexMemory(Arc<Mutex<Books>>);

#[derive(Debug)]
struct Books {
    limit: u64,
    held: u64,
    /// Merges so far.
    turn: u64,
    next: u64,
    shares: BTreeMap<u64, Known>,
}

/// What is known of one index.
#[derive(Debug)]
struct Known {
    held: u64,
    /// When its table was last written to.
    used: u64,
    /// When it was asked to go to disk, and has not answered.
    asked: Option<u64>,
    ask: watch::Sender<()>,
}

impl Default for Books {
    fn default() -> Self {
        Self { limit: u64::MAX, held: 0, turn: 0, next: 0, shares: BTreeMap::new() }
    }
}

impl Books {
    fn is_idle(&self, known: &Known) -> bool {
        self.turn - known.used > IDLE_TURNS * self.shares.len() as u64
    }

    /// Asks idle ones to go, until so many bytes are free. Gives those whose bytes count as free.
    fn ask_idle(&mut self, own: u64, bytes: u64) -> Vec<u64> {
        let is_other = |id: u64, known: &Known| id != own && known.held > 0 && self.is_idle(known);
        let mut idle: Vec<(u64, u64)> =
            self.shares.iter().filter(|(id, known)| is_other(**id, known)).map(|(id, k)| (k.used, *id)).collect();
        idle.sort_unstable();
        let (turn, mut sum) = (self.turn, 0);
        let mut free = Vec::new();
        for (_, id) in idle {
            if sum >= bytes {
                break;
            }
            let Some(known) = self.shares.get_mut(&id) else { continue };
            let asked = *known.asked.get_or_insert_with(|| {
                known.ask.send_replace(());
                turn
            });
            if turn - asked <= PATIENCE {
                sum += known.held;
                free.push(id);
            }
        }
        free
    }

    /// The part of an index beside others: an equal one, and what those do not need of theirs. It is no less than what they
    /// leave free.
    fn part(&self, mut others: Vec<u64>) -> u64 {
        others.sort_unstable();
        let (mut bytes, mut left) = (self.limit, others.len() as u64 + 1);
        for held in others {
            if held > bytes / left {
                break;
            }
            bytes -= held;
            left -= 1;
        }
        bytes / left
    }
}

impl IndexMemory {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bounds all indexes together. What they hold beyond it they give up when their tables are written to next.
    pub fn limit(&self, bytes: u64) {
        self.books().limit = bytes;
    }

    /// Bytes that all indexes hold.
    pub fn held(&self) -> u64 {
        self.books().held
    }

    /// The share of a further index.
    pub(crate) fn share(&self) -> IndexShare {
        let mut books = self.books();
        let (id, used) = (books.next, books.turn);
        books.next += 1;
        books.shares.insert(id, Known { held: 0, used, asked: None, ask: watch::Sender::new(()) });
        drop(books);
        IndexShare { memory: self.clone(), id }
    }
}

/// What one index has of the memory. Dropped, it holds nothing.
#[derive(Debug)]
pub(crate) struct IndexShare {
    memory: IndexMemory,
    id: u64,
}

impl IndexShare {
    /// The table was written to.
    pub(crate) fn used(&self) {
        let mut books = self.memory.books();
        books.turn += 1;
        let turn = books.turn;
        if let Some(known) = books.shares.get_mut(&self.id) {
            known.used = turn;
            known.asked = None;
        }
    }

    /// What the index holds now.
    pub(crate) fn note(&self, bytes: u64) {
        let mut books = self.memory.books();
        if let Some(known) = books.shares.get_mut(&self.id) {
            let before = std::mem::replace(&mut known.held, bytes);
            if bytes < before {
                known.asked = None;
            }
            books.held = books.held - before + bytes;
        }
    }

    /// Bytes that the index may hold, where it wants so many more. Others are asked to go for them.
    pub(crate) fn allowance(&self, more: u64) -> u64 {
        let mut books = self.memory.books();
        let own = books.shares.get(&self.id).map_or(0, |known| known.held);
        let wanted = books.held.saturating_add(more);
        if wanted <= books.limit {
            return books.limit - (books.held - own);
        }
        let excess = wanted - books.limit;
        let free = books.ask_idle(self.id, excess);
        let others = books.shares.iter().filter(|(id, known)| **id != self.id && known.held > 0 && !free.contains(id));
        books.part(others.map(|(_, known)| known.held).collect()).max(LEAST)
    }

    /// Whether the index was asked to go to disk, has not, and its table has been left alone since.
    pub(crate) fn is_to_go(&self) -> bool {
        self.memory.books().shares.get(&self.id).is_some_and(|known| known.asked.is_some())
    }

    /// Tells when the index is asked to go to disk.
    pub(crate) fn asked(&self) -> Asked {
        Asked(self.memory.books().shares.get(&self.id).map(|known| known.ask.subscribe()))
    }
}

impl Drop for IndexShare {
    fn drop(&mut self) {
        let mut books = self.memory.books();
        if let Some(known) = books.shares.remove(&self.id) {
            books.held -= known.held;
        }
    }
}

/// Tells when an index is asked to go to disk.
#[derive(Debug)]
pub struct Asked(Option<watch::Receiver<()>>);

impl Asked {
    /// Waits until the index is asked; false once its table is closed.
    pub async fn next(&mut self) -> bool {
        match &mut self.0 {
            Some(asked) => asked.changed().await.is_ok(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const MB: u64 = 1 << 20;

    fn memory(limit: u64) -> IndexMemory {
        let memory = IndexMemory::default();
        memory.limit(limit);
        memory
    }

    fn holding(memory: &IndexMemory, bytes: u64) -> IndexShare {
        let share = memory.share();
        share.note(bytes);
        share
    }

    #[test]
    fn with_room_an_index_takes_what_the_others_leave() {
        let memory = memory(100 * MB);
        let (first, second) = (holding(&memory, 30 * MB), holding(&memory, 10 * MB));
        assert_eq!(memory.held(), 40 * MB);
        assert_eq!((first.allowance(0), second.allowance(0)), (90 * MB, 70 * MB));
        drop(first);
        assert_eq!((memory.held(), second.allowance(0)), (10 * MB, 100 * MB));
    }

    #[test]
    fn beyond_the_limit_all_have_equal_parts_and_what_small_ones_leave_of_theirs() {
        let memory = memory(100 * MB);
        let shares: Vec<_> = [10, 60, 80, 20].map(|held| holding(&memory, held * MB)).into();
        // 100 less 10 and 20, by two: below each of the large ones. The small ones may grow as far.
        assert_eq!(shares.iter().map(|share| share.allowance(0) / MB).collect::<Vec<_>>(), [26, 35, 35, 30]);
    }

    #[test]
    fn many_small_indexes_are_left_in_memory() {
        let memory = memory(MB);
        let shares: Vec<_> = (0..100).map(|_| holding(&memory, 50 << 10)).collect();
        assert!(shares.iter().all(|share| share.allowance(0) == LEAST));
    }

    #[tokio::test]
    async fn idle_ones_are_asked_the_longest_unused_first_and_count_as_free_for_a_while() {
        let memory = memory(100 * MB);
        let shares: Vec<_> = (0..4).map(|_| holding(&memory, 24 * MB)).collect();
        let mut asked: Vec<_> = shares.iter().map(IndexShare::asked).collect();
        let mut are_asked = move || asked.iter_mut().map(|a| a.next().now_or_never() == Some(true)).collect::<Vec<_>>();
        shares[1].used();
        for _ in 0..4 * IDLE_TURNS - 1 {
            shares[3].used();
        }
        shares[3].note(28 * MB);
        // The limit is reached and not exceeded.
        assert_eq!(shares[3].allowance(0), 28 * MB);
        assert_eq!(are_asked(), [false; 4]);
        shares[3].used();
        shares[3].note(30 * MB);
        // Two and more megabytes are too much: of the three others two were not used before the second one was.
        assert_eq!(shares[3].allowance(0), 52 * MB);
        assert_eq!(are_asked(), [true, false, false, false]);
        // They are asked once.
        assert_eq!(shares[3].allowance(30 * MB), 76 * MB);
        assert_eq!(are_asked(), [false, false, true, false]);
        for _ in 0..=PATIENCE {
            shares[3].used();
        }
        // By now the second one is idle, and the two that were asked do not go.
        assert_eq!(shares[3].allowance(0), 52 * MB);
        assert_eq!(are_asked(), [false, true, false, false]);
        assert!(shares[0].is_to_go());
        shares[2].used();
        assert!(!shares[2].is_to_go());
        shares[0].note(0);
        assert!(!shares[0].is_to_go());
        assert_eq!(shares[3].allowance(0), 52 * MB);
        drop(shares);
        assert_eq!(memory.held(), 0);
    }

    #[tokio::test]
    async fn who_listens_learns_of_the_end() {
        let memory = memory(MB);
        let share = memory.share();
        let mut asked = share.asked();
        assert_eq!(asked.next().now_or_never(), None);
        drop(share);
        assert!(!asked.next().await);
    }
}
