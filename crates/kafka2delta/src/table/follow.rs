//! Following the commits of others: what they did is read from the log, and what cannot be followed is built anew.

use tokio_util::sync::CancellationToken;

use super::KeyedTable;
use super::keys::{Keys, Touched};
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::Commit;
use crate::log::replacement::replacement;
use crate::log::state::TableState;
use crate::log::{entry_fingerprint, features};

impl KeyedTable {
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

    /// [`follow`](Self::follow), which ends when it is cancelled: the next call looks again at what it did not come to.
    ///
    /// # Errors
    /// `CANCELLED`, and those of `follow`.
    pub async fn refresh(&mut self, cancel: &CancellationToken) -> Result<bool> {
        tokio::select! {
            followed = self.follow() => followed,
            () = cancel.cancelled() => {
                // The state may be ahead of what rests on it: all is read as if the table were opened again.
                self.keys = Keys::new(&self.options);
                self.standing.interrupted();
                Err(Error::new(ErrorCode::Cancelled, "the table was not looked at to the end: the call was cancelled"))
            }
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
        if self.standing.is_interrupted() {
            self.reload_same().await?;
            return Ok(true);
        }
        let start = state.version;
        if let Some(check) = self.anchor_check()
            && !check.await?
        {
            self.reload_same().await?;
            return Ok(true);
        }
        let mut touched = Touched::default();
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
    async fn follow_commits(&mut self, touched: &mut Touched) -> Result<u64> {
        loop {
            let Some(state) = self.snapshot.state() else { return Ok(0) };
            let version = state.version + 1;
            let Some(bytes) = self.storage.log().read_commit_entry(version).await? else { return Ok(version - 1) };
            let commit = Commit::parse(&bytes)?;
            let replaced = replacement(&commit);
            if replaced.is_none() && commit.metadata.as_ref().is_some_and(|m| m.id != state.metadata.id) {
                return Err(
                    self.replaced(&format!("version {version} is a new table in the same place by another writer"))
                );
            }
            let applied = self.snapshot.follow(version, &commit, entry_fingerprint::of(&bytes))?;
            if let Some(how) = replaced {
                self.keys.distrust();
                self.refuse_queries(version, &how).await;
            }
            touched.add(applied);
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
