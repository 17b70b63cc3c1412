//! One attempt to commit, whoever made the commit: a merge, a delete, a compaction.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{Basis, Failed, KeyedTable, Landed};
use crate::error::Result;
use crate::log::actions::Commit;
use crate::log::commit::{Attempt, attempt};
use crate::log::entry_fingerprint;
use crate::machine::{elapsed, moment};

/// How long an answer of the log is believed. Work that takes longer asks again: one small read more, beside seconds.
const BELIEVED: Duration = Duration::from_secs(1);

/// A question to the log, asked beside the work for a commit: whether it still has the version that is known here. A table
/// that was dropped and made anew would otherwise get the commit, with a gap before it.
pub(crate) struct SameLog {
    asked: Instant,
    /// None where the answer is known to be yes.
    answer: Option<JoinHandle<Result<bool>>>,
}

impl KeyedTable {
    /// Before something is decided that is to be committed: refuses a table that is not to be written to any more, and looks at
    /// the log where it is not certain what it holds. Until the commit has ended, that is not certain again.
    pub(crate) async fn begin_commit(&mut self) -> Result<()> {
        self.standing.check()?;
        if self.standing.is_uncertain() {
            self.follow().await?;
        }
        self.standing.doubt();
        Ok(())
    }

    /// Begins to ask whether the log is still the same.
    pub(crate) fn ask_for_same_log(&self) -> SameLog {
        SameLog { asked: moment(), answer: self.anchor_check().map(tokio::spawn) }
    }

    /// Whether the log is the same, by an answer that is not older than [`BELIEVED`].
    async fn has_same_log(&self, same_log: &mut SameLog) -> Result<bool> {
        if let Some(answer) = same_log.answer.take()
            && !answer.await??
        {
            return Ok(false);
        }
        if elapsed(same_log.asked) > BELIEVED {
            same_log.asked = moment();
            if let Some(check) = self.anchor_check() {
                return check.await;
            }
        }
        Ok(true)
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
    ) -> Result<Option<Landed>, Failed> {
        let bytes = commit.to_bytes()?;
        if self.has_same_log(same_log).await? {
            let version = self.snapshot.next_version(on)?;
            let anchor = entry_fingerprint::of(&bytes);
            let tried = attempt(self.storage.log(), version, bytes, id).await;
            if tried.map_err(|error| Failed { error, in_doubt: true })? == Attempt::Won {
                return Ok(Some(Landed { version, anchor }));
            }
            tracing::debug!(version, "another writer took the version");
        }
        // It asks the same first.
        same_log.asked = moment();
        self.follow().await?;
        Ok(None)
    }
}
