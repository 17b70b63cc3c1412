//! Checkpoints, beside the merges: none waits for one.

use std::sync::atomic::Ordering;

use deltalake::protocol::checkpoints::create_checkpoint;

use crate::error::Result;
use crate::table::KeyedTable;

/// Commits between checkpoints where the table's property does not say.
const DEFAULT_INTERVAL: u64 = 100;

impl KeyedTable {
    /// Begins a checkpoint of the newest version every `delta.checkpointInterval` commits, unless one is under way. One
    /// that fails is tried again at the next turn: the table is whole without it.
    pub(crate) fn checkpoint_if_due(&self, version: u64) {
        let interval = self
            .state
            .as_ref()
            .and_then(|s| s.property("delta.checkpointInterval")?.parse().ok())
            .filter(|interval| *interval > 0)
            .unwrap_or(DEFAULT_INTERVAL);
        if version == 0 || !version.is_multiple_of(interval) || self.checkpointing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (busy, uri, storage) =
            (self.checkpointing.clone(), self.options.uri.clone(), self.options.storage_options.clone());
        tokio::spawn(async move {
            let written: Result<()> = async {
                let url = deltalake::ensure_table_uri(&uri)?;
                let table = deltalake::open_table_with_storage_options(url, storage).await?;
                Ok(create_checkpoint(&table, None).await?)
            }
            .await;
            if let Err(error) = written {
                tracing::warn!(error = ?error.chain(), "a checkpoint could not be written");
            }
            busy.store(false, Ordering::Release);
        });
    }
}
