//! The change data feed: which rows the versions of a table inserted, updated and deleted.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use delta_kernel::Engine;
use delta_kernel::engine::arrow_conversion::TryIntoArrow;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::table_changes::TableChanges;
use delta_kernel::table_changes::scan::TableChangesScan;
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinSet;

use super::columns::{in_columns, plain};
use super::engine::engine_of;
use super::plan::no_table;
use super::{Batches, WAITING_BATCHES};
use crate::error::{Error, ErrorCode, Result};
use crate::log::features::CHANGE_DATA_FEED;
use crate::log::store::{open_log_store_at, root_url};

/// Begins to read what the versions `from` to `to` (inclusive; none: to the newest one) changed. Beside the table's
/// columns there are `_change_type` (`insert`, `delete`, `update_preimage`, `update_postimage`), `_commit_version` and
/// `_commit_timestamp`.
///
/// # Errors
/// `TABLE_UNSUPPORTED` where the table keeps no change data feed, `VERSION_MISSING` where the log lacks a version.
pub async fn changes(
    uri: &str,
    storage_options: &HashMap<String, String>,
    from: u64,
    to: Option<u64>,
) -> Result<Batches> {
    let log_store = open_log_store_at(uri, storage_options)?;
    if !log_store.is_delta_table_location().await? {
        return Err(no_table(uri));
    }
    let engine = engine_of(&log_store);
    let root = root_url(&log_store);
    // The kernel waits for its requests, and must not do so on a thread that serves them.
    let (scan, version, engine) = tokio::task::spawn_blocking(move || -> Result<_> {
        let changes = TableChanges::try_new(root, engine.as_ref(), from, to).map_err(refused)?;
        let version = changes.end_version();
        Ok((changes.into_scan_builder().build()?, version, engine))
    })
    .await??;
    let schema: Schema = scan.logical_schema().as_ref().try_into_arrow()?;
    let schema = plain(&schema);
    let (sender, batches) = channel(WAITING_BATCHES);
    let mut readers = JoinSet::new();
    let columns = schema.clone();
    readers.spawn_blocking(move || send(&scan, engine, &columns, &sender));
    Ok(Batches { schema, version, batches, readers })
}

/// What is wrong with the range, in terms of the table.
fn refused(error: delta_kernel::Error) -> Error {
    let error = match own(error) {
        Ok(own) => return own,
        Err(error) => error,
    };
    let (code, message) = match &error {
        delta_kernel::Error::ChangeDataFeedUnsupported(version) => (
            ErrorCode::TableUnsupported,
            format!(
                "the table keeps no change data feed at version {version}: set {CHANGE_DATA_FEED} to true; versions from \
                 then on can be read"
            ),
        ),
        delta_kernel::Error::ChangeDataFeedIncompatibleSchema(..) => (
            ErrorCode::TableUnsupported,
            "the table's columns changed between these versions: read the versions before and after by themselves"
                .into(),
        ),
        _ => (ErrorCode::VersionMissing, "the log does not have all of these versions".into()),
    };
    Error::with_source(code, message, error)
}

/// Our own error, where that is what the kernel was told.
fn own(error: delta_kernel::Error) -> Result<Error, delta_kernel::Error> {
    match error {
        delta_kernel::Error::GenericError { source } => match source.downcast() {
            Ok(own) => Ok(*own),
            Err(source) => Err(delta_kernel::Error::GenericError { source }),
        },
        other => Err(other),
    }
}

/// Reads the feed on a thread of its own, until nobody takes the batches any more.
fn send(scan: &TableChangesScan, engine: Arc<dyn Engine>, schema: &SchemaRef, sender: &Sender<Result<RecordBatch>>) {
    let batches = match scan.execute(engine) {
        Ok(batches) => batches,
        Err(error) => {
            let _ = sender.blocking_send(Err(refused(error)));
            return;
        }
    };
    for batch in batches {
        let batch = batch.map_err(refused).and_then(|batch| in_columns(&batch.try_into_record_batch()?, schema));
        let ends = batch.is_err();
        if sender.blocking_send(batch).is_err() || ends {
            return;
        }
    }
}
