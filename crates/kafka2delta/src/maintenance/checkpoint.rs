//! Checkpoints beside the merges: none waits for one. The table's clock says when one is due.
//!
//! The kernel writes them: a classic single file, which holds V2 content where the table has the feature `v2Checkpoint`.

use std::time::Duration;

use delta_kernel::Snapshot;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::task::{Maintenance, properties};
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::Commit;
use crate::log::state::TableState;
use crate::log::{features, listing};
use crate::machine::{elapsed, moment, spawn_blocking};
use crate::table::KeyedTable;
use crate::table::checkpoint_clock::CheckpointResult;

/// Commits between checkpoints where the table's property does not say.
const DEFAULT_INTERVAL: u64 = 100;
/// How often checkpoints that come by themselves clean the log up: all its files are listed for it.
const CLEAN_UP_PAUSE: Duration = Duration::from_secs(3600);
/// Bytes of an action in the log beyond its statistics.
const ACTION_BYTES: u64 = 600;

impl KeyedTable {
    /// Begins a checkpoint of the newest version where one is due: not before `delta.checkpointInterval` commits, nor
    /// while another one is under way. One that fails is tried again later: the table is whole without it.
    pub(crate) fn checkpoint_if_due(&self, version: u64, commit: &Commit) {
        let Some(state) = self.snapshot.state() else { return };
        let interval = properties(state).checkpoint_interval.map_or(DEFAULT_INTERVAL, std::num::NonZero::get);
        let stats = commit.adds.iter().map(|add| add.stats.as_ref().map_or(0, String::len) as u64).sum::<u64>();
        let log_bytes = stats + ACTION_BYTES * (commit.adds.len() + commit.removes.len() + 1) as u64;
        if !self.checkpoints.commit(version, log_bytes, interval) {
            return;
        }
        let (maintenance, clock) = (self.maintenance(), self.checkpoints.clone());
        tokio::spawn(async move {
            let began = moment();
            let written = maintenance.write_checkpoint(Some(interval)).await;
            clock.ended(began, written.as_ref().ok());
            if let Err(error) = written {
                tracing::warn!(error = ?error.chain(), "a checkpoint could not be written");
            }
        });
    }
}

impl Maintenance {
    /// Writes a checkpoint after a commit that wrote all files in other types. Readers by Delta's Rust kernel up to July 2026
    /// (delta-io/delta-kernel-rs, pull request 2944) read the partition values of files that are gone, too, and refuse a
    /// decimal that has fewer digits than its column has by now: with a checkpoint they meet no such file. The table is whole
    /// without it, so a failure is only told.
    pub(crate) async fn checkpoint_new_types(&self) {
        if let Err(error) = self.write_checkpoint(Some(1)).await {
            tracing::warn!(error = ?error.chain(), "a checkpoint could not be written");
        }
    }

    /// Writes a checkpoint of the newest version, unless there is one, and cleans the log up by the table's properties.
    ///
    /// # Errors
    /// `STORAGE_DENIED` where there is no table. A checkpoint that was written stays where the clean-up fails.
    pub async fn checkpoint(&self) -> Result<CheckpointResult> {
        self.write_checkpoint(None).await
    }

    /// `interval`: one that another process wrote within half so many commits is as good.
    async fn write_checkpoint(&self, interval: Option<u64>) -> Result<CheckpointResult> {
        let mut cleaned = self.cleaned.lock().await;
        let began = moment();
        let engine = self.storage.log().engine(None);
        let root = crate::log::store::root_url(self.storage.log());
        if !self.storage.log().is_delta_table_location().await? {
            return Err(Error::new(
                ErrorCode::StorageDenied,
                format!("there is no Delta table at '{}'", self.storage.uri()),
            ));
        }
        // Reading and writing of the kernel blocks.
        let (version, state) = spawn_blocking(move || -> Result<(u64, TableState)> {
            let snapshot = Snapshot::builder_for(root).build(engine.as_ref())?;
            let state = TableState::of(&snapshot)?;
            features::check_known(&state.protocol)?;
            let newest = snapshot.version();
            let found = snapshot.log_segment().checkpoint_version;
            if let (Some(found), Some(interval)) = (found, interval)
                && newest - found < interval.div_ceil(2)
            {
                return Ok((found, state));
            }
            snapshot.checkpoint(engine.as_ref(), None)?;
            Ok((newest, state))
        })
        .await??;
        let path: Path = listing::folder().join(format!("{version:020}.checkpoint.parquet"));
        // Others' checkpoints may have other names.
        let bytes = self.storage.files().head(&path).await.map_or(0, |meta| meta.size);
        let mut log_files_removed = 0;
        if interval.is_none() || cleaned.is_none_or(|at| elapsed(at) >= CLEAN_UP_PAUSE) {
            log_files_removed = self.clean_log(&state).await?;
            *cleaned = Some(moment());
        }
        let duration = elapsed(began).as_secs_f64() * 1e3;
        Ok(CheckpointResult { version, bytes, log_files_removed, duration })
    }
}
