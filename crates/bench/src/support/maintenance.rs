//! Compaction beside the merges, as a stream does it: one step at a time, begun after a merge where one is due.

use std::sync::Arc;

use kafka2delta::KeyedTable;
pub use kafka2delta::maintenance::CompactOptions;
use kafka2delta::maintenance::CompactResult;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Result;

/// The steps of one table.
pub struct Maintenance {
    options: CompactOptions,
    running: Option<JoinHandle<Result<Option<CompactResult>>>>,
    /// Steps done.
    pub steps: u64,
    /// Steps given up since others had changed the files.
    pub given_up: u64,
    /// Bytes that they wrote.
    pub bytes_written: u64,
    /// Rows that were deleted while they were rewritten.
    pub rows_carried_over: u64,
    /// Seconds of the longest step.
    pub longest: f64,
}

impl Maintenance {
    /// Steps by these options.
    pub fn new(options: CompactOptions) -> Self {
        Self { options, running: None, steps: 0, given_up: 0, bytes_written: 0, rows_carried_over: 0, longest: 0.0 }
    }

    /// Begins a step where one is due and none is under way.
    pub async fn after_merge(&mut self, table: &Arc<Mutex<KeyedTable>>) -> Result<()> {
        if self.running.as_ref().is_some_and(|running| !running.is_finished()) {
            return Ok(());
        }
        self.settle().await?;
        let Some(plan) = table.lock().await.plan_compaction(&self.options)? else { return Ok(()) };
        let table = table.clone();
        self.running = Some(tokio::spawn(async move {
            let rewritten = plan.rewrite(&CancellationToken::new()).await?;
            Ok(table.lock().await.commit_compaction(rewritten).await?)
        }));
        Ok(())
    }

    /// Waits for the step under way.
    pub async fn settle(&mut self) -> Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let Some(done) = running.await?? else {
            self.given_up += 1;
            return Ok(());
        };
        self.steps += 1;
        self.bytes_written += done.bytes_written;
        self.rows_carried_over += done.rows_carried_over;
        self.longest = self.longest.max(done.duration / 1e3);
        Ok(())
    }
}
