//! Updates of a key of which a batch has one half alone: the old key's row went, and the new key's change, which may leave
//! values out, comes in a later batch, or came in an earlier one. The old key may have another row by then, so the commit that
//! took the row is remembered: here, and in the log.

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// Of the updates of which a commit has one half: what is known of each after the commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halves {
    /// Their second halves came: nothing is known of them any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<KeyUpdate>,
    /// [`Pending::Second`]: the commit took their old rows, or kept them in a file that the table never holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<KeyUpdate>,
    /// [`Pending::First`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub early: Vec<KeyUpdate>,
    /// [`Pending::Untold`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untold: Vec<KeyUpdate>,
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

    /// So that equal batches have equal notes.
    pub fn sort(&mut self) {
        for updates in [&mut self.closed, &mut self.open, &mut self.early, &mut self.untold] {
            updates.sort_unstable();
        }
    }

    /// What a commit notes of them.
    fn of(commit: &Commit) -> Self {
        let note = commit.info.as_ref().and_then(|info| info.get(NOTE));
        note.and_then(|note| Self::deserialize(note).ok()).unwrap_or_default()
    }
}

/// Whether a commit notes halves of updates.
pub fn are_noted(commit: &Commit) -> bool {
    commit.info.as_ref().is_some_and(|info| info.contains_key(NOTE))
}

/// Which half of an update is to come.
///
/// A key may be updated to the same new key again before the second half of the first time is read, and a connector that
/// starts again sends halves again. Nothing tells these apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pending<T> {
    /// None that is known.
    #[default]
    None,
    /// The second one, and where the row is that the first one took.
    Second(T),
    /// The first one: the second one came early, while the old key's row was there.
    First,
    /// Another one came while one was pending: nothing tells whose values further second halves leave out.
    Untold,
}

impl<T> Pending<T> {
    /// After a first half, which took the row that is there.
    pub fn after_first(self, row: T) -> Self {
        match self {
            Self::None => Self::Second(row),
            Self::First => Self::None,
            Self::Second(_) | Self::Untold => Self::Untold,
        }
    }

    /// After a second half that is a repeat, by the row that its key has: its first half may have been one, too.
    pub fn after_repeat(self) -> Self {
        match self {
            Self::Second(_) => Self::Untold,
            other => other,
        }
    }
}

/// The updates of which one half is to come, as far as they are known.
#[derive(Debug, Default)]
pub struct KeyUpdates {
    /// By update, with the version of the commit that took the row, and the number of its entry.
    pending: HashMap<KeyUpdate, (Pending<u64>, u64)>,
    /// Entries by their numbers, the oldest first. Some are of updates that are closed.
    order: VecDeque<(KeyUpdate, u64)>,
    entries: u64,
    /// The first version whose updates are known, and all after it; none where the log alone tells.
    since: Option<u64>,
}

impl KeyUpdates {
    /// What commits before tell of an update.
    pub fn pending(&self, update: &KeyUpdate) -> Pending<u64> {
        self.pending.get(update).map(|(pending, _)| *pending).unwrap_or_default()
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
        let open = halves.open.iter().map(|update| (update, Pending::Second(version)));
        let early = halves.early.iter().map(|update| (update, Pending::First));
        let untold = halves.untold.iter().map(|update| (update, Pending::Untold));
        for (update, pending) in open.chain(early).chain(untold) {
            self.entries += 1;
            self.pending.insert(*update, (pending, self.entries));
            self.order.push_back((*update, self.entries));
        }
        while self.order.len() > MOST
            && let Some((oldest, entry)) = self.order.pop_front()
        {
            if self.pending.get(&oldest).is_some_and(|(_, newest)| *newest == entry) {
                self.pending.remove(&oldest);
            }
        }
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
            early: vec![update(5, 6)],
            untold: vec![update(4, 5)],
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

    #[test]
    fn an_update_is_known_until_its_second_half_comes() {
        let mut updates = KeyUpdates::default();
        let there = update(1, 2);
        let open = Halves { open: vec![there], ..Halves::default() };
        let closed = Halves { closed: vec![there], ..Halves::default() };
        updates.enter_halves(3, &open);
        assert_eq!(updates.pending(&there), Pending::Second(3));
        updates.enter_halves(5, &closed);
        assert_eq!(updates.pending(&there), Pending::None);
        // Closed, and made once more in one batch.
        updates.enter_halves(6, &Halves { closed: vec![there], ..open });
        assert_eq!(updates.pending(&there), Pending::Second(6));
        updates.enter_halves(7, &Halves { early: vec![there], ..closed.clone() });
        assert_eq!(updates.pending(&there), Pending::First);
        updates.enter_halves(8, &Halves { untold: vec![there], ..closed });
        assert_eq!(updates.pending(&there), Pending::Untold);
    }

    #[test]
    fn of_an_update_that_is_pending_twice_nothing_tells() {
        let none = Pending::None;
        assert_eq!(none.after_first(1), Pending::Second(1));
        assert_eq!(none.after_first(1).after_first(2), Pending::Untold);
        assert_eq!(none.after_first(1).after_repeat(), Pending::Untold);
        assert_eq!(Pending::Untold.after_first(1), Pending::Untold);
        // The one that the early second half belongs to.
        assert_eq!(Pending::First.after_first(1), Pending::None);
        assert_eq!(Pending::<u64>::First.after_repeat(), Pending::First);
    }

    #[test]
    fn the_oldest_go() {
        let mut updates = KeyUpdates::default();
        let reopened = update(1, 0);
        updates.enter_halves(6, &Halves { open: vec![reopened], ..Halves::default() });
        let many = Halves { open: (0..MOST as u64).map(|n| update(n, 0)).collect(), ..Halves::default() };
        updates.enter_halves(7, &many);
        assert_eq!((updates.pending.len(), updates.pending(&reopened)), (MOST, Pending::Second(7)));
        updates.enter_halves(8, &Halves { open: vec![update(0, 1)], ..Halves::default() });
        assert_eq!((updates.pending.len(), updates.pending(&update(0, 0))), (MOST, Pending::None));
    }
}
