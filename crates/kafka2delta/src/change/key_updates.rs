//! Updates of a key of which the batch has one half alone: the old key's row went, and the new key's change, which may leave
//! values out, comes in a later batch. The old key may have another row by then, so the commit that took the row is
//! remembered: here, and in the log.

use std::collections::VecDeque;

use deltalake::logstore::LogStoreRef;
use futures::TryStreamExt;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::Result;
use crate::key::hasher::Fingerprint;
use crate::log::actions::{Commit, CommitInfo};
use crate::log::entries::read_entries;

/// Commits in which the log is asked for what is not known here.
pub const COMMITS: u64 = 32;
/// Updates that are remembered.
const MOST: usize = 1 << 17;
/// Where a commit's note on itself tells of them.
const NOTE: &str = "kafka2delta.keyUpdates";

/// An update of a key, as a hash of its old and its new value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyUpdate(i64);

impl KeyUpdate {
    /// The update from one key to another.
    pub fn new(old: &Fingerprint, new: &Fingerprint) -> Self {
        let mut bytes = [0; 32];
        for (number, bytes) in old.iter().chain(new).zip(bytes.as_chunks_mut::<8>().0) {
            *bytes = number.to_le_bytes();
        }
        Self(xxh3_64(&bytes).cast_signed())
    }
}

/// The updates of which a commit has one half.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halves {
    /// Those of which no first half is pending any more, before what follows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<KeyUpdate>,
    /// Those whose second halves are to come: the commit took their old rows, or kept them in a file that the table never holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<KeyUpdate>,
    /// Those whose old rows are nowhere: the key was updated once more in the same batch, or the update had a first half
    /// pending already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<KeyUpdate>,
}

impl Halves {
    /// Notes them in a commit, where there are any.
    pub fn describe(&self, info: &mut CommitInfo) {
        if *self != Self::default()
            && let Ok(value) = serde_json::to_value(self)
        {
            info.insert(NOTE.into(), value);
        }
    }

    /// What a commit notes of them.
    fn of(commit: &Commit) -> Self {
        let note = commit.info.as_ref().and_then(|info| info.get(NOTE));
        note.and_then(|note| Self::deserialize(note).ok()).unwrap_or_default()
    }
}

/// The first halves of one update whose second halves are to come.
///
/// A key may be updated to the same new key again before the second half of the first time is read, and a connector that
/// starts again sends a first half again. The two cannot be told apart: the next second half belongs to the first of them in
/// both cases, and nothing tells where the row of the one after it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pending<T> {
    /// None that is known.
    #[default]
    None,
    /// One, and where the row is that it took.
    One(T),
    /// More than one, and where the row is that the first of them took.
    Several(T),
    /// Some, whose rows were not kept, or of which nothing tells whether their second halves come.
    Untold,
}

impl<T> Pending<T> {
    /// After a first half, which took the row that is there.
    pub fn with(self, row: T) -> Self {
        match self {
            Self::None => Self::One(row),
            _ => self.with_untold(),
        }
    }

    /// After a first half whose row was not kept.
    pub fn with_untold(self) -> Self {
        match self {
            Self::None | Self::Untold => Self::Untold,
            Self::One(first) | Self::Several(first) => Self::Several(first),
        }
    }

    /// After a second half.
    pub fn closed(self) -> Self {
        match self {
            Self::Several(_) => Self::Untold,
            Self::None | Self::One(_) | Self::Untold => Self::None,
        }
    }
}

/// The updates whose second halves are to come, as far as they are known.
#[derive(Debug, Default)]
pub struct KeyUpdates {
    /// By update, the version of the commit that took the row.
    pending: HashMap<KeyUpdate, Pending<u64>>,
    /// The oldest first, and some that are closed.
    order: VecDeque<KeyUpdate>,
    /// The first version whose updates are known, and all after it; none where the log alone tells.
    since: Option<u64>,
}

impl KeyUpdates {
    /// The first halves of an update that commits before have.
    pub fn pending(&self, update: &KeyUpdate) -> Pending<u64> {
        self.pending.get(update).copied().unwrap_or_default()
    }

    /// Enters a commit. All after it are known from now on.
    pub fn enter(&mut self, version: u64, commit: &Commit) {
        self.enter_halves(version, &Halves::of(commit));
    }

    fn enter_halves(&mut self, version: u64, halves: &Halves) {
        self.since.get_or_insert(version);
        for update in &halves.closed {
            self.pending.remove(update);
        }
        for update in &halves.open {
            self.enter_half(*update, |pending| pending.with(version));
        }
        for update in &halves.lost {
            self.enter_half(*update, Pending::with_untold);
        }
        while self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.pending.remove(&oldest);
        }
    }

    fn enter_half(&mut self, update: KeyUpdate, add: impl Fn(Pending<u64>) -> Pending<u64>) {
        let before = self.pending(&update);
        if before == Pending::None {
            self.order.push_back(update);
        }
        self.pending.insert(update, add(before));
    }

    /// Leaves all to the log.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Reads the last commits up to `newest`, unless they are known.
    ///
    /// # Errors
    /// `STORAGE`, `TABLE_CORRUPT`.
    pub async fn learn(&mut self, newest: u64, log: &LogStoreRef) -> Result<()> {
        let first = (newest + 1).saturating_sub(COMMITS);
        if self.since.is_some_and(|since| since <= first) {
            return Ok(());
        }
        let mut entries = read_entries(log, first..=newest);
        let mut learned = Self::default();
        for version in first..=newest {
            let Some(entry) = entries.try_next().await? else { break };
            // An entry that was cleaned up tells nothing.
            let commit = entry.map(|bytes| Commit::parse(&bytes)).transpose()?.unwrap_or_default();
            learned.enter(version, &commit);
        }
        *self = learned;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(old: u64, new: u64) -> KeyUpdate {
        KeyUpdate::new(&[old, 1], &[new, 1])
    }

    #[test]
    fn an_update_is_told_from_its_way_back() {
        assert_ne!(update(1, 2), update(2, 1));
        assert_ne!(update(1, 2), update(1, 3));
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let halves = Halves {
            closed: vec![update(7, 8)],
            open: vec![update(1, 2), update(u64::MAX, 3)],
            lost: vec![update(4, 5)],
        };
        let mut info = CommitInfo::new();
        halves.describe(&mut info);
        let text = serde_json::to_string(&info).unwrap();
        let commit = Commit { info: Some(serde_json::from_str(&text).unwrap()), ..Commit::default() };
        assert_eq!(Halves::of(&commit), halves);
        let mut info = CommitInfo::new();
        Halves::default().describe(&mut info);
        assert!(info.is_empty());
    }

    fn halves(closed: &[KeyUpdate], open: &[KeyUpdate], lost: &[KeyUpdate]) -> Halves {
        Halves { closed: closed.to_vec(), open: open.to_vec(), lost: lost.to_vec() }
    }

    #[test]
    fn an_update_is_known_until_its_second_half_comes() {
        let mut updates = KeyUpdates::default();
        let there = update(1, 2);
        updates.enter_halves(3, &halves(&[], &[there], &[]));
        assert_eq!(updates.pending(&there), Pending::One(3));
        updates.enter_halves(5, &halves(&[there], &[], &[]));
        assert_eq!(updates.pending(&there), Pending::None);
        // Closed, and made once more in one batch.
        updates.enter_halves(6, &halves(&[there], &[there], &[]));
        assert_eq!(updates.pending(&there), Pending::One(6));
    }

    #[test]
    fn of_an_update_that_is_pending_twice_the_first_row_alone_is_told() {
        let there = update(1, 2);
        for again in [halves(&[], &[there], &[]), halves(&[], &[], &[there])] {
            let mut updates = KeyUpdates::default();
            updates.enter_halves(3, &halves(&[], &[there], &[]));
            updates.enter_halves(4, &again);
            assert_eq!(updates.pending(&there), Pending::Several(3));
            // What a commit notes that closes the first of them.
            updates.enter_halves(5, &halves(&[there], &[], &[there]));
            assert_eq!(updates.pending(&there), Pending::Untold);
            updates.enter_halves(6, &halves(&[], &[there], &[]));
            assert_eq!(updates.pending(&there), Pending::Untold);
        }
    }

    #[test]
    fn a_second_half_closes_one_first_half() {
        assert_eq!(Pending::One(1).closed(), Pending::None);
        assert_eq!(Pending::None.with(1).with(2).closed(), Pending::Untold);
        assert_eq!(Pending::<u64>::Untold.with(1).closed(), Pending::None);
    }

    #[test]
    fn the_oldest_go() {
        let mut updates = KeyUpdates::default();
        let many = Halves { open: (0..=MOST as u64).map(|n| update(n, 0)).collect(), ..Halves::default() };
        updates.enter_halves(7, &many);
        assert_eq!((updates.pending.len(), updates.pending(&update(0, 0))), (MOST, Pending::None));
        assert_eq!(updates.pending(&update(1, 0)), Pending::One(7));
    }
}
