//! Following the commits of others: what they did is read from the log, what cannot be followed is built anew, and a
//! table that was replaced is not written to any more.

use super::KeyedTable;
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::Commit;
use crate::log::files::FileId;
use crate::log::replacement::replacement;
use crate::log::state::TableState;
use crate::log::{entry_fingerprint, features};

impl KeyedTable {
    /// Looks back in the log to our own last commit: a restore since then took rows and left offsets.
    pub(crate) async fn check_not_replaced(&mut self) -> Result<()> {
        let Some(state) = self.snapshot.state() else { return Ok(()) };
        if state.txns.is_empty() {
            return Ok(());
        }
        for version in (0..=state.version).rev() {
            let Some(bytes) = self.storage.log().read_commit_entry(version).await? else { break };
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
        let mut offsets: Vec<String> = self
            .snapshot
            .state()
            .iter()
            .flat_map(|s| s.txns.values())
            .map(|t| format!("{} at {}", t.app_id, t.version))
            .collect();
        offsets.sort();
        let message = format!(
            "{what}: its rows and our offsets no longer belong together. Offsets stored: {}. Restart under another \
             queryName from offsets that fit the table's rows",
            if offsets.is_empty() { "none".to_owned() } else { offsets.join(", ") }
        );
        self.standing.stop(message.clone());
        Error::new(ErrorCode::TableReplaced, message)
    }

    /// Looks whether the log still has the version that the state stands for; none where that cannot be told.
    pub(crate) fn anchor_check(&self) -> Option<impl Future<Output = Result<bool>> + use<>> {
        let state = self.snapshot.state()?;
        Some(entry_fingerprint::holds(self.storage.files().clone(), state.version, state.anchor?))
    }

    /// Reads the table anew where the log lacks entries that would tell what happened: they were cleaned up, or the
    /// table is another one.
    async fn reload_same(&mut self) -> Result<()> {
        let id = self.snapshot.state().map(|s| s.metadata.id.clone());
        match TableState::load(self.storage.log()).await? {
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
        self.standing.doubt();
        let Some(state) = self.snapshot.state() else {
            self.reload().await?;
            return Ok(self.snapshot.state().is_some());
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
        if followed.is_err() {
            self.keys.distrust();
        }
        let version = followed?;
        // Files that came and went again may be gone: those that stay are read.
        self.keys.follow(&self.storage, &mut self.snapshot, touched).await?;
        if version == start {
            // The entry may be gone to log clean-up while newer ones stand.
            let newest = self.storage.log().get_latest_version(start).await?;
            if newest > start && self.storage.log().read_commit_entry(start + 1).await?.is_none() {
                self.reload_same().await?;
                return Ok(true);
            }
        }
        if let Some(state) = self.snapshot.state() {
            features::check_writable(state)?;
        }
        self.standing.trust();
        Ok(version > start)
    }

    /// Applies others' commits to the state up to the newest, whose version it gives. `touched`: the files that they
    /// added or gave another vector.
    async fn follow_commits(&mut self, touched: &mut Vec<FileId>) -> Result<u64> {
        loop {
            let Some(state) = self.snapshot.state() else { return Ok(0) };
            let version = state.version + 1;
            let Some(bytes) = self.storage.log().read_commit_entry(version).await? else { return Ok(version - 1) };
            let commit = Commit::parse(&bytes)?;
            if let Some(how) = replacement(&commit) {
                return Err(self.replaced(&format!("version {version} of the table is a {how} by another writer")));
            }
            if commit.metadata.as_ref().is_some_and(|m| m.id != state.metadata.id) {
                return Err(
                    self.replaced(&format!("version {version} is a new table in the same place by another writer"))
                );
            }
            let applied = self.snapshot.follow(version, &commit, entry_fingerprint::of(&bytes))?;
            touched.extend(applied.added);
            touched.extend(applied.changed);
            if commit.metadata.is_some() || commit.protocol.is_some() {
                // What we cannot write to, we may not be able to read: the index waits for a version that we can.
                if self.snapshot.state().is_some_and(|state| features::check_writable(state).is_err()) {
                    self.keys.distrust();
                }
                self.computed.forget();
            }
        }
    }
}
