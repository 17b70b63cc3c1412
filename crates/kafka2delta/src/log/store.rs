//! The store of a table: its log and its files, in a folder or a cloud.

use std::sync::Arc;

use deltalake::logstore::{LogStoreRef, StorageConfig, logstore_for};
use futures::StreamExt;
use object_store::ObjectStore;
use object_store::path::Path;

use crate::error::{Error, ErrorCode, Result};

/// The log store of a path or URL.
pub(crate) fn open_log_store_at(
    uri: &str,
    storage_options: &std::collections::HashMap<String, String>,
) -> Result<LogStoreRef> {
    super::s3::register();
    #[cfg(feature = "gcs")]
    deltalake::gcp::register_handlers(None);
    #[cfg(feature = "azure")]
    deltalake::azure::register_handlers(None);
    let unusable = |e: deltalake::DeltaTableError| {
        Error::with_source(ErrorCode::StorageDenied, format!("'{uri}' cannot be used as the path of a table"), e)
    };
    let url = deltalake::ensure_table_uri(uri).map_err(unusable)?;
    let config = StorageConfig::parse_options(storage_options.clone()).map_err(unusable)?;
    logstore_for(&url, config).map_err(unusable)
}

/// The table's URL, with a slash at its end.
pub(crate) fn root_url(log_store: &LogStoreRef) -> url::Url {
    let mut url = log_store.config().location().clone();
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

/// Removes files that no commit names, many at once; what cannot be removed is left to vacuum.
pub(crate) async fn delete_unused(store: &Arc<dyn ObjectStore>, files: Vec<Path>) {
    if files.is_empty() {
        return;
    }
    let files = futures::stream::iter(files.into_iter().map(Ok)).boxed();
    let mut deleted = store.delete_stream(files);
    while let Some(file) = deleted.next().await {
        if let Err(error) = file {
            tracing::debug!(%error, "an unused file is left to vacuum");
        }
    }
}
