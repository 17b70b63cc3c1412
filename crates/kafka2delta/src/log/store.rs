//! The store of a table: its log and its files, in a folder or a cloud.

use std::path::PathBuf;
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
    let url = match missing_folder(uri).and_then(|folder| url::Url::from_directory_path(folder).ok()) {
        Some(url) => url,
        None => deltalake::ensure_table_uri(uri).map_err(unusable)?,
    };
    let config = StorageConfig::parse_options(storage_options.clone()).map_err(unusable)?;
    logstore_for(&url, config).map_err(unusable)
}

/// The folder of a table that is not there. delta-rs would make it; who only looks must leave no trace, and the first
/// commit makes it.
fn missing_folder(uri: &str) -> Option<PathBuf> {
    if uri.contains("://") || uri.starts_with('~') {
        return None;
    }
    let path = std::path::absolute(uri).ok()?;
    let existing = path.ancestors().find(|folder| folder.exists())?;
    let missing = path.strip_prefix(existing).ok()?;
    // As delta-rs names it once it is there.
    (!missing.as_os_str().is_empty()).then(|| Some(existing.canonicalize().ok()?.join(missing)))?
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

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

    use super::*;

    #[tokio::test]
    async fn a_look_makes_no_folder_and_a_write_does() {
        let lake = crate::temporary::folder();
        let table = lake.path().join("a/b");
        let uri = table.to_str().expect("a temporary path is text");
        let store = open_log_store_at(uri, &Default::default()).expect("a folder that is not there is no error");
        assert!(store.object_store(None).head(&Path::from("_delta_log/0.json")).await.is_err());
        assert!(!lake.path().join("a").exists());
        store.object_store(None).put(&Path::from("x.parquet"), "x".into()).await.expect("the folder is made");
        assert!(table.join("x.parquet").exists());
        // The same table, now that it is there.
        let again = open_log_store_at(uri, &Default::default()).expect("the folder is there");
        assert_eq!(root_url(&store), root_url(&again));
    }
}
