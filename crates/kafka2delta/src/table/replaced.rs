//! Tables that another writer replaced as a whole: restored, overwritten, or made anew. The rows are others' then, while the
//! log still stores our offsets: a query that goes on from these would lose what lies between.

use std::collections::{BTreeMap, BTreeSet};

use super::KeyedTable;
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::Commit;
use crate::log::replacement::{Replacement, replacement};
use crate::log::state::TableState;

/// The query of an app id, which is `<queryName>:<topic>:<partition>`.
fn query_of(app_id: &str) -> &str {
    app_id.rsplitn(3, ':').nth(2).unwrap_or(app_id)
}

impl KeyedTable {
    /// Refuses queries that committed last before the table was replaced. Another one, and a call without offsets, may go
    /// on with the rows that are there.
    ///
    /// # Errors
    /// `TABLE_REPLACED`, with the offsets that the table's rows stand for, where these are known.
    pub(crate) async fn check_not_replaced(&mut self, app_ids: impl Iterator<Item = &str>) -> Result<()> {
        let queries: BTreeSet<&str> = app_ids.map(query_of).collect();
        for query in queries {
            if !self.standing.knows_query(query) {
                match self.replaced_since(query).await? {
                    Some((version, how)) => self.refuse_query(query, version, &how).await,
                    None => self.standing.admit_query(query),
                }
            }
            self.standing.check_query(query)?;
        }
        Ok(())
    }

    /// Looks back in the log to the query's last commit for one that replaced the table.
    async fn replaced_since(&self, query: &str) -> Result<Option<(u64, Replacement)>> {
        let Some(state) = self.snapshot.state() else { return Ok(None) };
        if !state.txns.keys().any(|app_id| query_of(app_id) == query) {
            return Ok(None);
        }
        for version in (0..=state.version).rev() {
            let Some(bytes) = self.storage.log().read_commit_entry(version).await? else { break };
            let commit = Commit::parse(&bytes)?;
            if commit.txns.iter().any(|txn| query_of(&txn.app_id) == query) {
                break;
            }
            if let Some(how) = replacement(&commit) {
                return Ok(Some((version, how)));
            }
        }
        Ok(None)
    }

    /// Refuses all queries of which the log stores offsets: the commit `version` replaced the table.
    pub(super) async fn refuse_queries(&mut self, version: u64, how: &Replacement) {
        let stored = self.snapshot.state().into_iter().flat_map(|state| state.txns.keys());
        let queries: BTreeSet<String> = stored.map(|app_id| query_of(app_id).to_owned()).collect();
        for query in queries {
            self.refuse_query(&query, version, how).await;
        }
    }

    async fn refuse_query(&mut self, query: &str, version: u64, how: &Replacement) {
        let restored = how.restored.map(|restored| format!(" to version {restored}")).unwrap_or_default();
        let what = format!("version {version} of the table is {}{restored} by another writer", how.how);
        let remedy = match self.offsets_of(query, how).await {
            Some(offsets) => format!("with startingOffsets: {offsets}, where the rows of that version end"),
            None => "from offsets that fit the table's rows".to_owned(),
        };
        let message = format!(
            "{what}: its rows and the offsets of query '{query}' no longer belong together. Offsets stored: {}. Start \
             under another queryName {remedy}",
            self.stored_offsets(),
        );
        self.standing.refuse_query(query, message);
    }

    /// The next offsets of a query after the version that was restored, as the option `startingOffsets` has them; none where
    /// they cannot be told.
    async fn offsets_of(&self, query: &str, how: &Replacement) -> Option<String> {
        let restored = TableState::load_version(self.storage.log(), how.restored?).await;
        let restored = restored.inspect_err(|error| {
            tracing::debug!(error = ?error.chain(), "the offsets of a restored version cannot be read");
        });
        let mut topics: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
        for txn in restored.ok()?.txns.values().filter(|txn| query_of(&txn.app_id) == query) {
            let mut parts = txn.app_id.rsplitn(3, ':');
            let (partition, topic) = (parts.next()?, parts.next()?);
            topics.entry(topic.to_owned()).or_default().insert(partition.to_owned(), txn.version + 1);
        }
        (!topics.is_empty()).then(|| serde_json::to_string(&topics).ok()).flatten()
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
