//! A store under an open table whose client may be replaced: credentials end, and another client has new ones.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use deltalake::logstore::ObjectStoreRef;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use parking_lot::RwLock;

/// Each request goes to the client that counts when it begins. Those that are under way keep theirs: so do uploads in parts,
/// listings and streams of deletes, for all that they ask.
#[derive(Debug)]
pub(super) struct RenewedStore {
    client: RwLock<ObjectStoreRef>,
}

impl RenewedStore {
    pub(super) fn new(client: ObjectStoreRef) -> Self {
        Self { client: RwLock::new(client) }
    }

    pub(super) fn renew(&self, client: ObjectStoreRef) {
        *self.client.write() = client;
    }

    fn client(&self) -> ObjectStoreRef {
        Arc::clone(&self.client.read())
    }
}

impl fmt::Display for RenewedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&*self.client.read(), f)
    }
}

/// All of them, also those that have a default: a store may do better.
#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for RenewedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.client().put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.client().put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.client().get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.client().get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.client().delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.client().list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.client().list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.client().list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.client().copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.client().rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn requests_go_to_the_client_that_counts_when_they_begin() {
        let (first, second) = (Arc::new(InMemory::new()), Arc::new(InMemory::new()));
        let store = RenewedStore::new(Arc::clone(&first) as ObjectStoreRef);
        let path = Path::from("a");
        let mut upload = store.put_multipart(&path).await.expect("memory takes uploads");
        store.renew(Arc::clone(&second) as ObjectStoreRef);
        upload.put_part("begun".into()).await.expect("a part");
        upload.complete().await.expect("the upload");
        assert!(store.head(&path).await.is_err());
        store.put(&path, "later".into()).await.expect("memory takes files");
        let read = async |store: &InMemory| store.get(&path).await.expect("a file").bytes().await.expect("its bytes");
        assert_eq!((read(&first).await, read(&second).await), (Bytes::from("begun"), Bytes::from("later")));
    }
}
