//! Tables that another writer replaced as a whole: restored, overwritten, or made anew. The rows are others' then, while the
//! log still stores our offsets: a query that goes on from these would lose what lies between.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::TryStreamExt;

use super::KeyedTable;
use crate::change::deleted_rows::is_moved;
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::{Add, Commit, Remove};
use crate::log::app_id::query_of;
use crate::log::entries::read_entries;
use crate::log::replacement::{Replacement, replacement};
use crate::log::state::TableState;
use crate::log::tags::committed;
use crate::machine::now_millis;

/// Log entries that are looked through for the version that a RESTORE went back to.
const LOOKED_THROUGH: u64 = 100_000;

/// What is known of the time since a query's last commit.
enum Since {
    /// Nobody replaced the table, or it has that commit's rows all the same.
    Same,
    /// The commit of this version replaced it.
    Replaced(u64, Replacement),
    /// The log has no entries up to this version any more, and nothing else tells.
    Untold(u64),
}

impl KeyedTable {
    /// Refuses queries that committed last before the table was replaced, or of which that cannot be told. Another one, and
    /// a call without offsets, may go on with the rows that are there.
    ///
    /// # Errors
    /// `TABLE_REPLACED`, with the offsets that the table's rows stand for, where these are known.
    pub(crate) async fn check_not_replaced(&mut self, app_ids: impl Iterator<Item = &str>) -> Result<()> {
        let queries: BTreeSet<&str> = app_ids.map(query_of).collect();
        for query in queries {
            if !self.standing.knows_query(query) {
                match self.since_last_commit(query).await? {
                    Since::Same => self.standing.admit_query(query),
                    Since::Replaced(version, how) => self.refuse_queries(&[query], version, how).await,
                    Since::Untold(version) => self.refuse_untold(query, version),
                }
            }
            self.standing.check_query(query)?;
        }
        Ok(())
    }

    /// When a query last committed rows, in milliseconds since 1970.
    pub(crate) fn last_commit_time(&self, query: &str) -> Option<i64> {
        let txns = self.snapshot.state()?.txns.values();
        txns.filter(|txn| query_of(&txn.app_id) == query).filter_map(|txn| txn.last_updated).max()
    }

    /// The time of the next commit with offsets: later than that of every one before.
    pub(crate) fn next_commit_time(&self) -> i64 {
        let txns = self.snapshot.state().into_iter().flat_map(|state| state.txns.values());
        let last = txns.filter_map(|txn| txn.last_updated).max();
        now_millis().max(last.map_or(0, |last| last.saturating_add(1)))
    }

    /// Looks for what became of a query's last commit: in the log back to it, or in the files of the table.
    async fn since_last_commit(&self, query: &str) -> Result<Since> {
        let Some(state) = self.snapshot.state() else { return Ok(Since::Same) };
        if !state.txns.keys().any(|app_id| query_of(app_id) == query) {
            return Ok(Since::Same);
        }
        let mut entries = read_entries(self.storage.log(), (0..=state.version).rev());
        for version in (0..=state.version).rev() {
            let Some(Some(bytes)) = entries.try_next().await? else {
                // The log was cleaned up.
                let last = self.last_commit_time(query);
                let is_there = last.is_some() && state.live_files().any(|(_, file)| committed(&file.add) == last);
                return Ok(if is_there { Since::Same } else { Since::Untold(version) });
            };
            let commit = Commit::parse(&bytes)?;
            if commit.txns.iter().any(|txn| query_of(&txn.app_id) == query) {
                break;
            }
            if let Some(how) = replacement(&commit) {
                return Ok(Since::Replaced(version, how));
            }
        }
        Ok(Since::Same)
    }

    /// Refuses all queries of which the log stores offsets: the commit `version` replaced the table.
    pub(super) async fn refuse_all_queries(&mut self, version: u64, how: Replacement) {
        let stored = self.snapshot.state().into_iter().flat_map(|state| state.txns.keys());
        let queries: BTreeSet<String> = stored.map(|app_id| query_of(app_id).to_owned()).collect();
        let queries: Vec<&str> = queries.iter().map(String::as_str).collect();
        self.refuse_queries(&queries, version, how).await;
    }

    async fn refuse_queries(&mut self, queries: &[&str], version: u64, how: Replacement) {
        let state = match how.is_restore {
            true => self.restored_state(version, how.restored).await.unwrap_or_else(|error| {
                tracing::debug!(error = ?error.chain(), "the offsets of a restored version cannot be read");
                None
            }),
            false => None,
        };
        let restored = how.restored.or(state.as_ref().map(|state| state.version));
        let restored = restored.map(|restored| format!(" to version {restored}")).unwrap_or_default();
        let what = format!("version {version} of the table is {}{restored} by another writer", how.how);
        for query in queries {
            let remedy = match state.as_ref().and_then(|state| next_offsets(state, query)) {
                Some(offsets) => format!("with startingOffsets: {offsets}, where the rows of that version end"),
                None => "from offsets that fit the table's rows".to_owned(),
            };
            let message = format!(
                "{what}: its rows and the offsets of query '{query}' no longer belong together. Offsets stored: {}. \
                 Start under another queryName {remedy}",
                self.stored_offsets(),
            );
            self.standing.refuse_query(query, message);
        }
    }

    fn refuse_untold(&mut self, query: &str, version: u64) {
        let next = self.snapshot.state().and_then(|state| next_offsets(state, query));
        let message = format!(
            "the log has no entries up to version {version} any more, the last commit of query '{query}' among them, and \
             other writers have replaced all files of that commit: whether they restored or overwrote the table since \
             cannot be told. Offsets stored: {}. If they did not, start under another queryName with startingOffsets: {}. \
             If they did, start under another queryName from offsets that fit the table's rows",
            self.stored_offsets(),
            next.unwrap_or_else(|| "those after the stored ones".to_owned()),
        );
        self.standing.refuse_query(query, message);
    }

    /// The table at the version that the RESTORE `version` went back to; none where that cannot be told.
    async fn restored_state(&self, version: u64, restored: Option<u64>) -> Result<Option<TableState>> {
        let log = self.storage.log();
        if let Some(restored) = restored {
            return TableState::load_version(log, restored).await.map(Some);
        }
        let Some(restored) = self.version_with_files_of(version).await? else { return Ok(None) };
        let (then, now) =
            (TableState::load_version(log, restored).await?, TableState::load_version(log, version).await?);
        let files =
            |state: &TableState| state.live_files().map(|(_, file)| file.add.logical_id()).collect::<HashSet<_>>();
        Ok((files(&then) == files(&now)).then_some(then))
    }

    /// The newest version before this one that has the same files, as far as the log tells.
    async fn version_with_files_of(&self, version: u64) -> Result<Option<u64>> {
        // Files that are in one of the two versions alone.
        let mut differing = HashSet::new();
        let versions = (version.saturating_sub(LOOKED_THROUGH)..=version).rev();
        let mut entries = read_entries(self.storage.log(), versions.clone());
        for before in versions.map(|version| version.checked_sub(1)) {
            let Some(Some(bytes)) = entries.try_next().await? else { break };
            toggle(&mut differing, &Commit::parse(&bytes)?);
            if differing.is_empty() {
                return Ok(before);
            }
        }
        Ok(None)
    }

    fn stored_offsets(&self) -> String {
        let txns = self.snapshot.state().into_iter().flat_map(|state| state.txns.values());
        let mut offsets: Vec<String> = txns.map(|txn| format!("{} at {}", txn.app_id, txn.version)).collect();
        offsets.sort();
        if offsets.is_empty() { "none".to_owned() } else { offsets.join(", ") }
    }

    /// The log is not the one of before: the table is not written to any more.
    pub(super) fn replaced(&mut self, what: &str) -> Error {
        let message = format!(
            "{what}: its rows and our offsets no longer belong together. Offsets stored: {}. Restart under another \
             queryName from offsets that fit the table's rows",
            self.stored_offsets(),
        );
        self.standing.stop(message.clone());
        Error::new(ErrorCode::TableReplaced, message)
    }
}

/// Takes a commit back in the set of files by which a version differs from another one.
fn toggle(differing: &mut HashSet<(String, Option<String>)>, commit: &Commit) {
    let removed = commit.removes.iter().filter(|remove| !is_moved(remove)).map(Remove::logical_id);
    for file in removed.chain(commit.adds.iter().map(Add::logical_id)) {
        if !differing.remove(&file) {
            differing.insert(file);
        }
    }
}

/// The next offsets of a query after those that a version stores, as the option `startingOffsets` has them.
fn next_offsets(state: &TableState, query: &str) -> Option<String> {
    let mut topics: BTreeMap<&str, BTreeMap<&str, i64>> = BTreeMap::new();
    for txn in state.txns.values().filter(|txn| query_of(&txn.app_id) == query) {
        let mut parts = txn.app_id.rsplitn(3, ':');
        let (partition, topic) = (parts.next()?, parts.next()?);
        // Companions of offsets say something else.
        if partition.parse::<i32>().is_ok() {
            topics.entry(topic).or_default().insert(partition, txn.version + 1);
        }
    }
    (!topics.is_empty()).then(|| serde_json::to_string(&topics).ok()).flatten()
}
