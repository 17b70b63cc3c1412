//! A store that counts what is asked of it, also at the same time, and lets a test act before a file is stored.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use async_trait::async_trait;
use deltalake::logstore::ObjectStoreRef;
use futures::stream::BoxStream;
use futures::{StreamExt, TryFutureExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio_util::sync::CancellationToken;

use crate::schemes;
use crate::temporary::{Folder, folder};

const SCHEME: &str = "counted://";

/// What is done before a file of this name is stored.
type BeforePut = Box<dyn FnMut(&str) + Send>;

/// What becomes of the request to store a file of this name.
type FailPut = Box<dyn FnMut(&str) -> Put + Send>;

/// What a read waits for.
type HoldGet = Box<dyn FnMut() -> Option<CancellationToken> + Send>;

/// How the store takes a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Stored,
    /// It fails, and nothing is stored.
    Refused,
    /// It is stored, and the answer is an error.
    AnswerLost,
}

/// A folder behind a store that counts.
pub struct Counted {
    pub uri: String,
    pub folder: Folder,
    requests: Arc<Requests>,
}

#[derive(Default)]
struct Requests {
    log: Mutex<Vec<Request>>,
    /// Of data files, and of entries of the log.
    at_once: [Mutex<AtOnce>; 2],
    before_put: Mutex<Option<BeforePut>>,
    fail_put: Mutex<Option<FailPut>>,
    hold_get: Mutex<Option<HoldGet>>,
}

/// How much is read at the same time.
#[derive(Debug, Default)]
struct AtOnce {
    now: usize,
    most: usize,
}

/// A read that is under way.
struct UnderWay<'a>(&'a Mutex<AtOnce>);

impl<'a> UnderWay<'a> {
    fn begin(at_once: &'a Mutex<AtOnce>) -> Self {
        let mut known = at_once.lock().unwrap();
        known.now += 1;
        known.most = known.most.max(known.now);
        Self(at_once)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().now -= 1;
    }
}

/// A request to the store.
#[derive(Debug, Clone)]
pub struct Request {
    pub kind: Kind,
    pub path: String,
    pub bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Get,
    Put,
    /// Of many files, or of one.
    Delete,
}

static STORES: LazyLock<Mutex<HashMap<String, Arc<Requests>>>> = LazyLock::new(Mutex::default);
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Counted {
    /// A new folder.
    pub fn new() -> Self {
        schemes::register(SCHEME, open);
        let (folder, requests) = (folder(), Arc::<Requests>::default());
        let name = format!("store{}", NEXT.fetch_add(1, Ordering::Relaxed));
        STORES.lock().unwrap().insert(name.clone(), requests.clone());
        Self { uri: format!("{SCHEME}{name}{}", folder.path().display()), folder, requests }
    }

    /// The requests for data files since the last call.
    pub fn take(&self) -> Vec<Request> {
        let requests = std::mem::take(&mut *self.requests.log.lock().unwrap());
        requests.into_iter().filter(|request| is_data(&request.path)).collect()
    }

    /// How many entries of the log were read since the last call, and how many of them at most at the same time.
    pub fn take_entries(&self) -> (usize, usize) {
        let requests = std::mem::take(&mut *self.requests.log.lock().unwrap());
        let is_read = |request: &&Request| request.kind == Kind::Get && is_entry(&request.path);
        (requests.iter().filter(is_read).count(), self.requests.take_most(1))
    }

    /// How many data files were read at most at the same time since the last call.
    pub fn take_most_at_once(&self) -> usize {
        self.requests.take_most(0)
    }

    /// Acts before each file is stored, by its name.
    pub fn before_put(&self, act: impl FnMut(&str) + Send + 'static) {
        *self.requests.before_put.lock().unwrap() = Some(Box::new(act));
    }

    /// Has reads wait until what they are given is cancelled.
    pub fn hold_get(&self, decide: impl FnMut() -> Option<CancellationToken> + Send + 'static) {
        *self.requests.hold_get.lock().unwrap() = Some(Box::new(decide));
    }

    /// Decides whether a file is stored, by its name.
    pub fn fail_put(&self, decide: impl FnMut(&str) -> Put + Send + 'static) {
        *self.requests.fail_put.lock().unwrap() = Some(Box::new(decide));
    }
}

fn is_data(path: &str) -> bool {
    path.ends_with(".parquet") && !path.contains("_delta_log/")
}

fn is_entry(path: &str) -> bool {
    path.ends_with(".json") && path.contains("_delta_log/")
}

impl Requests {
    fn take_most(&self, of: usize) -> usize {
        std::mem::take(&mut self.at_once[of].lock().unwrap().most)
    }

    fn begin(&self, path: &str) -> Option<UnderWay<'_>> {
        let of = if is_data(path) { Some(0) } else { is_entry(path).then_some(1) };
        of.map(|of| UnderWay::begin(&self.at_once[of]))
    }
}

/// Of requests, how many are of a kind, and their bytes.
pub fn sum(requests: &[Request], kind: Kind) -> (usize, u64) {
    let of_kind = requests.iter().filter(|request| request.kind == kind);
    of_kind.fold((0, 0), |(count, bytes), request| (count + 1, bytes + request.bytes))
}

fn open(host: &str) -> ObjectStoreRef {
    let requests = STORES.lock().unwrap()[host].clone();
    Arc::new(Store { inner: LocalFileSystem::new(), requests })
}

struct Store {
    inner: LocalFileSystem,
    requests: Arc<Requests>,
}

impl Store {
    fn count(&self, kind: Kind, path: &Path, bytes: u64) {
        self.requests.log.lock().unwrap().push(Request { kind, path: path.to_string(), bytes });
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counted")
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counted")
    }
}

/// Ranges are asked for as of a remote store: near ones with one request.
#[async_trait]
impl ObjectStore for Store {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if let Some(act) = &mut *self.requests.before_put.lock().unwrap() {
            act(path.filename().unwrap_or_default());
        }
        self.count(Kind::Put, path, payload.content_length() as u64);
        let put = match &mut *self.requests.fail_put.lock().unwrap() {
            Some(decide) => decide(path.filename().unwrap_or_default()),
            None => Put::Stored,
        };
        let failed = || object_store::Error::Generic { store: "counted", source: "the test says so".into() };
        match put {
            Put::Stored => self.inner.put_opts(path, payload, options).await,
            Put::Refused => Err(failed()),
            Put::AnswerLost => self.inner.put_opts(path, payload, options).await.and_then(|_| Err(failed())),
        }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.count(Kind::Put, path, 0);
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let range = options.range.clone();
        let _under_way = self.requests.begin(path.as_ref());
        let held = self.requests.hold_get.lock().unwrap().as_mut().and_then(|decide| decide());
        match held {
            Some(held) => held.cancelled().await,
            // Whatever else is asked for at the same time is so before this one ends.
            None => tokio::task::yield_now().await,
        }
        let result = self.inner.get_opts(path, options).await?;
        let Range { start, end } = result.range.clone();
        self.count(Kind::Get, path, if matches!(range, Some(GetRange::Bounded(_)) | None) { end - start } else { 0 });
        Ok(result)
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.requests.log.lock().unwrap().push(Request { kind: Kind::Delete, path: ".parquet".into(), bytes: 0 });
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        // Remote stores list by name.
        let listed = self.inner.list(prefix);
        let sorted = async move {
            let mut files: Vec<ObjectMeta> = listed.try_collect().await?;
            files.sort_by(|a, b| a.location.cmp(&b.location));
            Ok(futures::stream::iter(files.into_iter().map(Ok)))
        };
        sorted.try_flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
