//! The store of a table: its log and its files, in a folder or a cloud.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use deltalake::logstore::{
    LogStoreRef, ObjectStoreRef, StorageConfig, logstore_for, logstore_with, object_store_factories,
};
use futures::StreamExt;
use object_store::ObjectStore;
use object_store::path::Path;

use super::renewed::RenewedStore;
use crate::error::{Error, ErrorCode, Result};

/// The log store of a path or URL.
pub(crate) fn open_log_store_at(uri: &str, storage_options: &HashMap<String, String>) -> Result<LogStoreRef> {
    let url = url_of(uri)?;
    logstore_for(&url, config_of(&url, storage_options)?).map_err(|e| unusable(&url, e))
}

/// The store of an open table, whose options may be replaced while the table is used.
#[derive(Debug, Clone)]
pub struct OpenStore {
    url: url::Url,
    /// None of a folder: it has no credentials.
    store: Option<Arc<RenewedStore>>,
}

impl OpenStore {
    /// Has all requests from now on go by other options, in whatever call they are made.
    pub fn renew(&self, storage_options: &HashMap<String, String>) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        store.renew(client_of(&self.url, &config_of(&self.url, storage_options)?)?);
        Ok(())
    }
}

/// [`open_log_store_at`], of a table that is opened for a long time.
pub(crate) fn open_renewable(uri: &str, storage_options: &HashMap<String, String>) -> Result<(LogStoreRef, OpenStore)> {
    let url = url_of(uri)?;
    let config = config_of(&url, storage_options)?;
    if url.scheme() == "file" {
        let log = logstore_for(&url, config).map_err(|e| unusable(&url, e))?;
        return Ok((log, OpenStore { url, store: None }));
    }
    let store = Arc::new(RenewedStore::new(client_of(&url, &config)?));
    let log = logstore_with(Arc::clone(&store) as ObjectStoreRef, &url, config).map_err(|e| unusable(&url, e))?;
    Ok((log, OpenStore { url, store: Some(store) }))
}

/// The client of a store, at its root: what delta-rs's `logstore_for` begins with.
fn client_of(url: &url::Url, config: &StorageConfig) -> Result<ObjectStoreRef> {
    let unknown = || deltalake::DeltaTableError::InvalidTableLocation(url.to_string());
    let scheme = url::Url::parse(&format!("{}://", url.scheme())).map_err(|_| unusable(url, unknown()))?;
    let factories = object_store_factories();
    let factory = factories.get(&scheme).ok_or_else(|| unusable(url, unknown()))?;
    let (client, _path) = factory.parse_url_opts(url, config).map_err(|e| unusable(url, e))?;
    Ok(client)
}

fn unusable(uri: impl std::fmt::Display, e: deltalake::DeltaTableError) -> Error {
    Error::with_source(ErrorCode::StorageDenied, format!("'{uri}' cannot be used as the path of a table"), e)
}

fn url_of(uri: &str) -> Result<url::Url> {
    super::s3::register();
    #[cfg(feature = "gcs")]
    deltalake::gcp::register_handlers(None);
    #[cfg(feature = "azure")]
    deltalake::azure::register_handlers(None);
    match missing_folder(uri).and_then(|folder| url::Url::from_directory_path(folder).ok()) {
        Some(url) => Ok(url),
        None => deltalake::ensure_table_uri(uri).map_err(|e| unusable(uri, e)),
    }
}

fn config_of(url: &url::Url, storage_options: &HashMap<String, String>) -> Result<StorageConfig> {
    StorageConfig::parse_options(storage_options.clone()).map_err(|e| unusable(url, e))
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
