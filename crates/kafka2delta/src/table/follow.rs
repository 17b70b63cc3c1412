//! Following the commits of others: what they did is read from the log, and what cannot be followed is built anew.

use futures::TryStreamExt;
use tokio_util::sync::CancellationToken;

use super::KeyedTable;
use super::keys::Touched;
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::Commit;
use crate::log::entries::read_entries;
use crate::log::replacement::replacement;
use crate::log::state::{Applied, TableState};
use crate::log::{entry_fingerprint, features, listing};

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
                self.keys = self.keys.anew(&self.options);
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
        let (mut touched, basis) = (Touched::default(), self.snapshot.basis());
        let followed = self.follow_commits(&mut touched).await;
        if followed.is_err() {
            self.keys.distrust();
        }
        if !followed? {
            self.reload_same().await?;
            return Ok(true);
        }
        // What cannot be written to may not be readable either: the index waits for a version that is.
        if let Some(state) = self.snapshot.state()
            && let Err(error) = features::check_writable(state)
        {
            self.keys.distrust();
            return Err(error);
        }
        if self.snapshot.basis() != basis {
            self.keys.others_wrote();
        }
        // Files that came and went again may be gone: those that stay are read.
        self.keys.follow(&self.storage, &mut self.snapshot, touched).await?;
        self.standing.trust();
        Ok(self.snapshot.state().is_some_and(|state| state.version > start))
    }

    /// Applies others' commits to the state up to the newest. `touched`: the files that they added or gave another vector.
    /// The answer is no where the log lacks an entry, which was cleaned up: a commit must not take its place.
    async fn follow_commits(&mut self, touched: &mut Touched) -> Result<bool> {
        let Some(mut version) = self.snapshot.state().map(|state| state.version) else { return Ok(true) };
        // While many are read, more may come.
        while let Some(newest) = listing::newest_after(self.storage.files(), version).await? {
            let mut entries = read_entries(self.storage.log(), version + 1..=newest);
            while let Some(entry) = entries.try_next().await? {
                let Some(bytes) = entry else { return Ok(false) };
                version += 1;
                touched.add(self.follow_commit(version, &bytes).await?);
            }
        }
        Ok(true)
    }

    /// Applies the next commit, by its log entry.
    async fn follow_commit(&mut self, version: u64, entry: &[u8]) -> Result<Applied> {
        let commit = Commit::parse(entry)?;
        let replaced = replacement(&commit);
        let id = self.snapshot.state().map(|state| &state.metadata.id);
        if replaced.is_none() && commit.metadata.as_ref().is_some_and(|metadata| Some(&metadata.id) != id) {
            return Err(self.replaced(&format!("version {version} is a new table in the same place by another writer")));
        }
        let applied = self.snapshot.follow(version, &commit, entry_fingerprint::of(entry))?;
        self.keys.enter_updates(version, &commit);
        if let Some(how) = replaced {
            self.keys.distrust();
            self.refuse_all_queries(version, how).await;
        }
        Ok(applied)
    }
}
