//! Files of an object store that are no table's: what another program left there.

use std::collections::HashMap;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::error::Result;
use crate::log::store::open_log_store_at;

/// Names of the files right in a folder below a URI, in no order; none where there is no such folder.
pub async fn list(uri: &str, storage_options: HashMap<String, String>, folder: &str) -> Result<Vec<String>> {
    let store = open_log_store_at(uri, &storage_options)?.object_store(None);
    let prefix = Path::from(folder);
    let found: Vec<_> = store.list(Some(&prefix)).try_collect().await?;
    let names = found.iter().filter_map(|file| {
        let mut parts = file.location.prefix_match(&prefix)?;
        let name = parts.next()?;
        parts.next().is_none().then(|| name.as_ref().to_owned())
    });
    Ok(names.collect())
}

/// The bytes of a file below a URI.
pub async fn read(uri: &str, storage_options: HashMap<String, String>, path: &str) -> Result<Bytes> {
    let store = open_log_store_at(uri, &storage_options)?.object_store(None);
    Ok(store.get(&Path::from(path)).await?.bytes().await?)
}
