//! Reading a table back: the rows of a version as Arrow batches, with the columns and the rows that are wanted.
//!
//! The Delta kernel says which files hold rows ([`plan`]) and what their columns are in the table's terms. Each file is
//! read by itself ([`file`]): the columns of the condition first, then the wanted columns of the rows that meet it.
//! [`changes`] reads the change data feed.

pub mod changes;
mod columns;
mod engine;
mod file;
mod options;
mod plan;
mod predicate;
mod stored_columns;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;

pub use self::options::{AsOf, ScanOptions};
use self::plan::Plan;
pub(crate) use self::plan::files_that_may_hold;
pub(crate) use self::predicate::Filter;
use crate::error::{Error, Result};

/// Files that are read at the same time, at least: a store answers slowly.
const MIN_PARALLEL_FILES: usize = 4;
/// Batches that wait to be taken.
const WAITING_BATCHES: usize = 2;

/// Batches of a result as they are read, in no certain order. At most one batch for each reader and
/// [`WAITING_BATCHES`] more are in memory. Dropping this stops the readers.
#[derive(Debug)]
pub struct Batches {
    schema: SchemaRef,
    version: u64,
    batches: Receiver<Result<RecordBatch>>,
    readers: JoinSet<()>,
}

impl Batches {
    /// The columns of every batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The table's version that is read; of a change data feed, the last one.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The next batch, or none after the last one.
    ///
    /// # Errors
    /// What a reader ran into. Nothing follows it.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let next = self.batches.recv().await;
        if let Some(Err(_)) = next {
            self.readers.abort_all();
            self.batches.close();
            while self.batches.try_recv().is_ok() {}
        }
        if next.is_none() {
            // A reader that panicked has sent nothing.
            while let Some(ended) = self.readers.join_next().await {
                match ended {
                    Err(e) if e.is_panic() => return Err(Error::from(e)),
                    _ => {}
                }
            }
        }
        next.transpose()
    }
}

/// Begins to read a table.
///
/// # Errors
/// `STORAGE_DENIED` where there is no table, `EXPRESSION_INVALID` for a column or a condition that the table does not have,
/// `TABLE_UNSUPPORTED` for a table with features that are not known, `TABLE_CORRUPT`, `STORAGE`.
pub async fn scan(options: ScanOptions) -> Result<Batches> {
    let (plan, files) = Plan::make(options).await?;
    let plan = Arc::new(plan);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let num_readers = cores.max(MIN_PARALLEL_FILES).min(files.len().max(1));
    let files = Arc::new(Mutex::new(VecDeque::from(files)));
    let (sender, batches) = channel(WAITING_BATCHES);
    let mut readers = JoinSet::new();
    for _ in 0..num_readers {
        readers.spawn(read_files(plan.clone(), files.clone(), sender.clone()));
    }
    Ok(Batches { schema: plan.wanted.schema.clone(), version: plan.version, batches, readers })
}

async fn read_files(plan: Arc<Plan>, files: Arc<Mutex<VecDeque<plan::File>>>, sender: Sender<Result<RecordBatch>>) {
    loop {
        let Some(next) = files.lock().pop_front() else { return };
        if let Err(error) = file::read(&plan, next, &sender).await {
            // Whoever has gone away does not hear of it.
            let _ = sender.send(Err(error)).await;
            return;
        }
    }
}
