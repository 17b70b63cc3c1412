//! Which files a scan reads, and how their columns become the table's: from the Delta kernel.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use delta_kernel::engine::arrow_conversion::TryIntoArrow;
use delta_kernel::expressions::ExpressionRef;
use delta_kernel::history_manager::{HistoryCommitType, latest_version_as_of};
use delta_kernel::scan::ScanBuilder;
use delta_kernel::scan::state::{DvInfo, ScanFile};
use delta_kernel::schema::SchemaRef as KernelSchema;
use delta_kernel::table_features::ColumnMappingMode;
use delta_kernel::{Engine, PredicateRef, Snapshot, SnapshotRef};
use deltalake::logstore::LogStoreRef;
use object_store::ObjectStore;
use url::Url;

use super::columns::{plain, selected};
use super::engine::engine_of;
use super::options::{AsOf, ScanOptions};
use super::predicate::Filter;
use crate::error::{Error, ErrorCode, Result};
use crate::log::store::{open_log_store_at, root_url};

/// Some columns of all files.
pub(super) struct Part {
    /// As the files have them.
    pub(super) physical: KernelSchema,
    /// As the table has them.
    pub(super) logical: KernelSchema,
    /// The same.
    pub(super) schema: SchemaRef,
}

/// What the files of a scan have in common.
pub(super) struct Plan {
    pub(super) engine: Arc<dyn Engine>,
    /// Of the whole store, not of the table's folder.
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) root: Url,
    pub(super) version: u64,
    /// The columns that are wanted.
    pub(super) wanted: Part,
    /// Whether the files' columns are found by the numbers of their fields, not by their names.
    pub(super) by_field_ids: bool,
    /// The condition, and the columns that it needs.
    pub(super) filter: Option<(Filter, Part)>,
}

/// A data file that may hold rows of the result.
pub(super) struct File {
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) deleted: DvInfo,
    /// Makes the table's columns of the file's, for those that are wanted.
    pub(super) to_wanted: Option<ExpressionRef>,
    /// The same, for those of the condition.
    pub(super) to_condition: Option<ExpressionRef>,
}

impl Plan {
    /// Reads the table's log. The files come in the order of the log, the newest first.
    pub(super) async fn make(options: ScanOptions) -> Result<(Self, Vec<File>)> {
        let log_store = open_log_store_at(&options.uri, &options.storage_options)?;
        if !log_store.is_delta_table_location().await? {
            return Err(no_table(&options.uri));
        }
        // The kernel waits for its requests, and must not do so on a thread that serves them.
        tokio::task::spawn_blocking(move || plan(&log_store, &options)).await?
    }
}

/// What a path without a table is told.
pub(super) fn no_table(uri: &str) -> Error {
    Error::new(ErrorCode::StorageDenied, format!("there is no Delta table at '{uri}'"))
}

/// The snapshot of a table that is wanted.
pub(super) fn snapshot(engine: &dyn Engine, root: Url, as_of: AsOf) -> Result<SnapshotRef> {
    let newest = Snapshot::builder_for(root.clone()).build(engine)?;
    let version = match as_of {
        AsOf::Newest => return Ok(newest),
        AsOf::Version(version) => version,
        AsOf::Timestamp(time) => {
            let found = latest_version_as_of(&newest, engine, time, HistoryCommitType::Recreatable);
            found
                .map_err(|e| not_there(format!("no version of the table was there by {time} ms since 1970"), e))?
                .version
        }
    };
    if version > newest.version() {
        let message = format!("the table has no version {version}: its newest one is {}", newest.version());
        return Err(Error::new(ErrorCode::VersionMissing, message));
    }
    if version == newest.version() {
        return Ok(newest);
    }
    Snapshot::builder_for(root)
        .at_version(version)
        .build(engine)
        .map_err(|e| not_there(format!("the log does not have version {version} of the table any more"), e))
}

fn not_there(message: String, error: delta_kernel::Error) -> Error {
    Error::with_source(ErrorCode::VersionMissing, message, error)
}

fn plan(log_store: &LogStoreRef, options: &ScanOptions) -> Result<(Plan, Vec<File>)> {
    let engine = engine_of(log_store);
    let root = root_url(log_store);
    let snapshot = snapshot(engine.as_ref(), root.clone(), options.as_of)?;
    let table = snapshot.schema();
    let wanted = match &options.columns {
        Some(names) => selected(&table, names)?,
        None => table.clone(),
    };
    let filter = options.condition.as_deref().map(|text| Filter::new(text, &snapshot)).transpose()?;
    let predicate = filter.as_ref().and_then(|filter| filter.of_files.clone());
    let (wanted, found) = part(&snapshot, engine.as_ref(), wanted, predicate.clone())?;
    let mut files = found.into_iter().map(File::try_from).collect::<Result<Vec<_>>>()?;
    let filter = match filter {
        None => None,
        Some(filter) => {
            let (part, found) = part(&snapshot, engine.as_ref(), filter.columns.clone(), predicate)?;
            let mut transforms: HashMap<String, _> = found.into_iter().map(|f| (f.path, f.transform)).collect();
            for file in &mut files {
                file.to_condition = transforms.remove(&file.path).flatten();
            }
            Some((filter, part))
        }
    };
    let store = log_store.root_object_store(None);
    let by_field_ids = snapshot.table_configuration().column_mapping_mode() == ColumnMappingMode::Id;
    Ok((Plan { engine, store, root, version: snapshot.version(), wanted, by_field_ids, filter }, files))
}

/// The files that may hold rows for which a condition is true at a version, by their paths in the log, and the condition.
pub(crate) async fn files_that_may_hold(
    log_store: &LogStoreRef,
    version: u64,
    condition: &str,
) -> Result<(Filter, HashSet<String>)> {
    let (log_store, condition) = (log_store.clone(), condition.to_owned());
    // The kernel waits for its requests, and must not do so on a thread that serves them.
    tokio::task::spawn_blocking(move || {
        let engine = engine_of(&log_store);
        let snapshot = snapshot(engine.as_ref(), root_url(&log_store), AsOf::Version(version))?;
        let filter = Filter::new(&condition, &snapshot)?;
        let (_, files) = part(&snapshot, engine.as_ref(), filter.columns.clone(), filter.of_files.clone())?;
        Ok((filter, files.into_iter().map(|file| file.path).collect()))
    })
    .await?
}

/// Some columns, and the files that hold them.
fn part(
    snapshot: &SnapshotRef,
    engine: &dyn Engine,
    columns: KernelSchema,
    predicate: Option<PredicateRef>,
) -> Result<(Part, Vec<ScanFile>)> {
    let scan = ScanBuilder::new(snapshot.clone()).with_schema(columns).with_predicate(predicate).build()?;
    let mut files = Vec::new();
    for found in scan.scan_metadata(engine)? {
        files = found?.visit_scan_files(files, |files: &mut Vec<ScanFile>, file| files.push(file))?;
    }
    let logical = scan.logical_schema().clone();
    let schema: Schema = logical.as_ref().try_into_arrow()?;
    Ok((Part { physical: scan.physical_schema().clone(), logical, schema: plain(&schema) }, files))
}

impl TryFrom<ScanFile> for File {
    type Error = Error;

    fn try_from(file: ScanFile) -> Result<Self> {
        let size = u64::try_from(file.size)
            .map_err(|_| Error::new(ErrorCode::TableCorrupt, format!("{} has a negative size", file.path)))?;
        let ScanFile { path, dv_info: deleted, transform: to_wanted, .. } = file;
        Ok(Self { path, size, deleted, to_wanted, to_condition: None })
    }
}
