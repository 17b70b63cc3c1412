//! Following the commits of others: what they did is read from the log, what cannot be followed is built anew, and a
//! table that was replaced is not written to any more.

use super::KeyedTable;
use crate::error::{Error, ErrorCode, Result};
use crate::index::build::{Scope, index_files, read_keys};
use crate::key::columns::KeyColumns;
use crate::log::actions::Commit;
use crate::log::files::FileId;
use crate::log::liveness::load_vectors;
use crate::log::replacement::replacement;
use crate::log::state::TableState;
use crate::log::{entry_fingerprint, features};
use crate::options::KeyIndexMode;
use crate::schema::{not_null, to_arrow};

impl KeyedTable {
    /// Looks back in the log to our own last commit: a restore since then took rows and left offsets.
    pub(crate) async fn check_not_replaced(&mut self) -> Result<()> {
        let Some(state) = &self.state else { return Ok(()) };
        if state.txns.is_empty() {
            return Ok(());
        }
        for version in (0..=state.version).rev() {
            let Some(bytes) = self.log_store.read_commit_entry(version).await? else { break };
            let commit = Commit::parse(&bytes)?;
            if commit.info_str("engineInfo").is_some_and(|e| e.starts_with("kafka2delta/")) {
                break;
            }
            if let Some(how) = replacement(&commit) {
                return Err(self.replaced(&format!("version {version} of the table is a {how} by another writer")));
            }
        }
        Ok(())
    }

    /// The table is not written to any more.
    fn replaced(&mut self, what: &str) -> Error {
        let mut offsets: Vec<String> =
            self.state.iter().flat_map(|s| s.txns.values()).map(|t| format!("{} at {}", t.app_id, t.version)).collect();
        offsets.sort();
        let message = format!(
            "{what}: its rows and our offsets no longer belong together. Offsets stored: {}. Restart under another \
             queryName from offsets that fit the table's rows",
            if offsets.is_empty() { "none".to_owned() } else { offsets.join(", ") }
        );
        self.stopped = Some(message.clone());
        Error::new(ErrorCode::TableReplaced, message)
    }

    /// Looks whether the log still has the version that the state stands for; none where that cannot be told.
    pub(crate) fn anchor_check(&self) -> Option<impl Future<Output = Result<bool>> + use<>> {
        let state = self.state.as_ref()?;
        Some(entry_fingerprint::holds(self.store.clone(), state.version, state.anchor?))
    }

    /// Reads the table anew where the log lacks entries that would tell what happened: they were cleaned up, or the
    /// table is another one.
    async fn reload_same(&mut self) -> Result<()> {
        let id = self.state.as_ref().map(|s| s.metadata.id.clone());
        match TableState::load(&self.log_store).await? {
            None => Err(self.replaced("the table is gone")),
            Some(state) if Some(&state.metadata.id) != id.as_ref() => {
                Err(self.replaced("another writer made a new table in the same place"))
            }
            Some(_) => self.reload().await,
        }
    }

    /// Brings the state and the index forward by others' commits. Gives back whether there were any.
    pub async fn follow(&mut self) -> Result<bool> {
        // After an error the next call looks again.
        self.uncertain = true;
        let Some(state) = &self.state else {
            self.reload().await?;
            return Ok(self.state.is_some());
        };
        let start = state.version;
        if let Some(check) = self.anchor_check()
            && !check.await?
        {
            self.reload_same().await?;
            return Ok(true);
        }
        let mut touched = Vec::new();
        let followed = self.follow_commits(&mut touched).await;
        // Files that came and went again may be gone: those that stay are read.
        let complete = match &followed {
            Ok(_) => self.index_touched(touched).await,
            Err(_) => Ok(false),
        };
        // Rows that did not get into the index, or that have a key twice, are found by building it anew.
        self.indexed &= matches!(complete, Ok(true));
        let version = followed?;
        complete?;
        if version == start {
            // The entry may be gone to log clean-up while newer ones stand.
            let newest = self.log_store.get_latest_version(start).await?;
            if newest > start && self.log_store.read_commit_entry(start + 1).await?.is_none() {
                self.reload_same().await?;
                return Ok(true);
            }
        }
        if let Some(state) = &self.state {
            features::check_writable(state)?;
        }
        self.uncertain = false;
        Ok(version > start)
    }

    /// Applies others' commits to the state up to the newest, whose version it gives. `touched`: the files that they
    /// added or gave another vector.
    async fn follow_commits(&mut self, touched: &mut Vec<FileId>) -> Result<u64> {
        loop {
            let Some(state) = &mut self.state else { return Ok(0) };
            let version = state.version + 1;
            let Some(bytes) = self.log_store.read_commit_entry(version).await? else { return Ok(version - 1) };
            let commit = Commit::parse(&bytes)?;
            if let Some(how) = replacement(&commit) {
                return Err(self.replaced(&format!("version {version} of the table is a {how} by another writer")));
            }
            if commit.metadata.as_ref().is_some_and(|m| m.id != state.metadata.id) {
                return Err(
                    self.replaced(&format!("version {version} is a new table in the same place by another writer"))
                );
            }
            let applied = state.apply(version, &commit)?;
            state.anchor = Some(entry_fingerprint::of(&bytes));
            touched.extend(applied.added);
            touched.extend(applied.changed);
            if commit.metadata.is_some() || commit.protocol.is_some() {
                let schema = state.schema()?;
                // What we cannot write to, we may not be able to read: the index waits for a version that we can.
                self.indexed &= features::check_writable(state).is_ok();
                (self.schema, self.not_null) = (to_arrow(&schema)?, not_null(&schema));
                self.compiled = None;
            }
        }
    }

    /// Enters the files of others' commits into the index. Gives back whether the index is right: a key that got a
    /// second row is not what an index can tell.
    async fn index_touched(&mut self, mut files: Vec<FileId>) -> Result<bool> {
        let (Some(state), true, Some(key)) = (&mut self.state, self.indexed, self.key.clone()) else { return Ok(true) };
        files.retain(|id| state.files[*id as usize].live);
        // If a key has several deleted rows, the most recently written file wins.
        files.sort_by_key(|id| (state.files[*id as usize].add.modification_time, *id));
        files.dedup();
        load_vectors(&self.store, state, &files).await?;
        if self.options.key_index == KeyIndexMode::None || files.is_empty() {
            return Ok(true);
        }
        self.stage_foreign(&key, &files).await?;
        let Some(state) = &self.state else { return Ok(true) };
        // A vector that lost rows brings rows back: such a file is read again, like a new one.
        let scope = Scope { schema: &self.schema, key: &key, wanted: None };
        let found = index_files(&self.store, state, scope, &files, &mut self.index).await?;
        self.index.make_room().await;
        Ok(found.duplicates == 0)
    }

    /// Makes the places of keys known that others wrote, where the index is on disk: our own writers never give a key a
    /// second row, others may.
    pub(crate) async fn stage_foreign(&mut self, key: &KeyColumns, files: &[FileId]) -> Result<()> {
        let Some(state) = self.state.as_ref().filter(|_| !self.index.is_in_memory()) else { return Ok(()) };
        let mut keys = Vec::new();
        for id in files.iter().filter(|id| state.files[**id as usize].partition.is_none()) {
            let add = state.files[*id as usize].add.clone();
            keys.extend(read_keys(self.store.clone(), add, self.schema.clone(), key.clone()).await?);
        }
        self.index.stage(keys.into_iter()).await
    }
}
