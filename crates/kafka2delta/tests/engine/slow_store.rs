//! A store on local disk that counts its requests, each of which takes as long as the URL says.

use std::fmt;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use deltalake::DeltaResult;
use deltalake::logstore::{ObjectStoreFactory, StorageConfig, logstore_factories, object_store_factories};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use url::Url;

const SCHEME: &str = "slow";

/// Kind and path of all requests.
static REQUESTS: Mutex<Vec<(&'static str, String)>> = Mutex::new(Vec::new());

/// The URL of a folder, whose requests take `millis` each.
pub fn url_of(folder: &FilePath, millis: u64) -> String {
    let scheme = |name: &str| Url::parse(&format!("{name}://")).unwrap();
    let logs = logstore_factories().get(&scheme("file")).unwrap().value().clone();
    logstore_factories().entry(scheme(SCHEME)).or_insert(logs);
    object_store_factories().entry(scheme(SCHEME)).or_insert_with(|| Arc::new(Factory));
    format!("{SCHEME}://{millis}{}", folder.to_str().unwrap())
}

/// Kind and path, within the folder, of the requests since the last call.
pub fn take_requests(folder: &FilePath) -> Vec<(&'static str, String)> {
    let root = format!("{}/", folder.to_str().unwrap().trim_start_matches('/'));
    let mut taken = Vec::new();
    REQUESTS.lock().unwrap().retain(|(kind, path)| {
        let within = path.strip_prefix(&root);
        taken.extend(within.map(|path| (*kind, path.to_owned())));
        within.is_none()
    });
    taken
}

/// What is listed after the request, in the order of names, as object stores give it.
fn sorted(
    request: impl Future<Output = ()> + Send + 'static,
    listed: BoxStream<'static, Result<ObjectMeta>>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let all = request.then(|()| listed.collect::<Vec<_>>()).map(|mut all| {
        all.sort_by_key(|meta| meta.as_ref().map(|meta| meta.location.clone()).ok());
        futures::stream::iter(all)
    });
    all.into_stream().flatten().boxed()
}

struct Factory;

impl ObjectStoreFactory for Factory {
    fn parse_url_opts(&self, url: &Url, _config: &StorageConfig) -> DeltaResult<(Arc<dyn ObjectStore>, Path)> {
        let wait = Duration::from_millis(url.host_str().and_then(|host| host.parse().ok()).unwrap_or(0));
        let store = SlowStore { inner: Arc::new(LocalFileSystem::new()), wait };
        Ok((Arc::new(store), Path::from_url_path(url.path())?))
    }
}

#[derive(Debug, Clone)]
struct SlowStore {
    inner: Arc<LocalFileSystem>,
    wait: Duration,
}

impl SlowStore {
    fn request(&self, kind: &'static str, path: &Path) -> impl Future<Output = ()> + Send + use<> {
        REQUESTS.lock().unwrap().push((kind, path.to_string()));
        let wait = self.wait;
        async move {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
    }
}

impl fmt::Display for SlowStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)
    }
}

#[async_trait]
impl ObjectStore for SlowStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.request("put", location).await;
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.request("put", location).await;
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.request("get", location).await;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let counted = locations.then(move |path| {
            let request = path.as_ref().ok().map(|path| store.request("delete", path));
            async move {
                if let Some(request) = request {
                    request.await;
                }
                path
            }
        });
        self.inner.delete_stream(counted.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        sorted(self.request("list", prefix.unwrap_or(&Path::default())), self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let request = self.request("list", prefix.unwrap_or(&Path::default()));
        sorted(request, self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.request("list", prefix.unwrap_or(&Path::default())).await;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.request("copy", from).await;
        self.inner.copy_opts(from, to, options).await
    }
}
