//! Stores of tests, by schemes of their own in the URLs of tables.

use std::sync::Arc;

use deltalake::DeltaResult;
use deltalake::logstore::{
    LogStore, LogStoreFactory, ObjectStoreFactory, ObjectStoreRef, StorageConfig, default_logstore, logstore_factories,
    object_store_factories,
};
use object_store::path::Path;
use url::Url;

/// The store of a host.
type Open = fn(&str) -> ObjectStoreRef;

struct Factory(Open);

/// Has tables of a scheme (`name://`) be opened in the stores of their URLs' hosts. It may be called again.
pub fn register(scheme: &str, open: Open) {
    let scheme = Url::parse(scheme).unwrap();
    object_store_factories().insert(scheme.clone(), Arc::new(Factory(open)));
    logstore_factories().insert(scheme, Arc::new(Factory(open)));
}

impl ObjectStoreFactory for Factory {
    fn parse_url_opts(&self, url: &Url, _: &StorageConfig) -> DeltaResult<(ObjectStoreRef, Path)> {
        Ok((self.0(url.host_str().unwrap()), Path::from_url_path(url.path())?))
    }
}

impl LogStoreFactory for Factory {
    fn with_options(
        &self,
        store: ObjectStoreRef,
        root: ObjectStoreRef,
        location: &Url,
        options: &StorageConfig,
    ) -> DeltaResult<Arc<dyn LogStore>> {
        Ok(default_logstore(store, root, location, options))
    }
}
