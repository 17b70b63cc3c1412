//! One attempt to commit, whoever made the commit: a merge, a delete, a compaction.

use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{Basis, KeyedTable, Landed};
use crate::error::Result;
use crate::log::actions::Commit;
use crate::log::commit::{Attempt, attempt};
use crate::log::entry_fingerprint;

/// A question to the log, asked beside the work for a commit: whether it still has the version that is known here. A table
/// that was dropped and made anew would otherwise get the commit, with a gap before it.
pub(crate) struct SameLog(Option<JoinHandle<Result<bool>>>);

impl SameLog {
    /// Whether it is the same; asked once, and true from then on.
    async fn take(&mut self) -> Result<bool> {
        match self.0.take() {
            Some(check) => check.await?,
            None => Ok(true),
        }
    }
}

impl KeyedTable {
    /// Begins to ask whether the log is still the same.
    pub(crate) fn ask_for_same_log(&self) -> SameLog {
        SameLog(self.anchor_check().map(tokio::spawn))
    }

    /// Tries to commit what was decided `on` a basis. None where the log is another one, or another writer took the version:
    /// then the log was followed, and the caller decides anew whatever [`Snapshot::basis`](super::Snapshot::basis) no
    /// longer bears out.
    pub(crate) async fn attempt(
        &mut self,
        on: Basis,
        commit: &Commit,
        id: Uuid,
        same_log: &mut SameLog,
    ) -> Result<Option<Landed>> {
        if same_log.take().await? {
            let version = self.snapshot.next_version(on)?;
            let bytes = commit.to_bytes()?;
            let anchor = entry_fingerprint::of(&bytes);
            if attempt(self.storage.log(), version, bytes, id).await? == Attempt::Won {
                return Ok(Some(Landed { version, anchor }));
            }
            tracing::debug!(version, "another writer took the version");
        }
        self.follow().await?;
        Ok(None)
    }
}
