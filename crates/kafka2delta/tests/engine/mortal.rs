//! A store that ends its client at one of its requests, as a process ends that is killed: before the request, when it was done,
//! or on a disk with a part of a file written. From then on no request of that client is done, and none is answered. Or
//! the answer alone is lost, and the client goes on.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path as FilePath;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use async_trait::async_trait;
use deltalake::logstore::ObjectStoreRef;
use futures::stream::BoxStream;
use futures::{StreamExt, TryFutureExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use crate::schemes;

const SCHEME: &str = "mortal://";

/// How a request goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The client ends before it sends it.
    Before,
    /// The client ends when a part of the file was written, under the name that it has on a disk until it is whole.
    Within,
    /// It is done, and the client ends before it is answered.
    After,
    /// It is done, and the answer is lost.
    Lost,
    /// It is done, and the answer is lost; the store answers nothing any more until it comes back.
    Gone,
}

/// What a client was doing, and what it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    pub work: &'static str,
    pub what: &'static str,
}

/// The n-th request of a step, from 0 on. Requests that are made side by side have no order, but they have a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    pub step: Step,
    pub nth: usize,
    pub end: End,
}

pub const READS: &str = "reads a data file";

/// The client of a store.
pub struct Client {
    pub uri: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    folder: String,
    point: Option<Point>,
    steps: Mutex<BTreeMap<Step, usize>>,
    work: Mutex<&'static str>,
    is_reached: AtomicBool,
    is_gone: AtomicBool,
    ended: CancellationToken,
    /// Whoever waits for an answer is gone: threads that wait must end, too.
    released: CancellationToken,
    /// Held by each request while it is done.
    under_way: Arc<RwLock<()>>,
}

static CLIENTS: LazyLock<Mutex<HashMap<String, Arc<State>>>> = LazyLock::new(Mutex::default);
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Client {
    /// A client of a folder, one request of which goes wrong where a point is given.
    pub fn new(folder: &FilePath, point: Option<Point>) -> Self {
        schemes::register(SCHEME, open);
        let name = format!("client{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = folder.to_str().unwrap();
        let state = Arc::new(State { point, folder: folder.trim_start_matches('/').to_owned(), ..State::default() });
        CLIENTS.lock().unwrap().insert(name.clone(), state.clone());
        Self { uri: format!("{SCHEME}{name}{folder}"), state }
    }

    /// What it does from now on.
    pub fn begins(&self, work: &'static str) {
        *self.state.work.lock().unwrap() = work;
    }

    /// Works until it ends: none where it did. Then nothing that it asked for is under way any more.
    pub async fn until_its_end<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let result = tokio::select! {
            result = work => Some(result),
            () = self.state.ended.cancelled() => None,
        };
        self.state.released.cancel();
        drop(self.state.under_way.write().await);
        result
    }

    /// The store answers again.
    pub fn comes_back(&self) {
        self.state.is_gone.store(false, Ordering::SeqCst);
    }

    /// Whether the request that goes wrong was made.
    pub fn is_reached(&self) -> bool {
        self.state.is_reached.load(Ordering::SeqCst)
    }

    /// How often each step was asked for.
    pub fn steps(&self) -> BTreeMap<Step, usize> {
        self.state.steps.lock().unwrap().clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        CLIENTS.lock().unwrap().retain(|_, state| !Arc::ptr_eq(state, &self.state));
    }
}

fn failure(text: &str) -> object_store::Error {
    object_store::Error::Generic { store: "mortal", source: text.into() }
}

impl State {
    /// How this request goes wrong, if it does.
    fn count(&self, what: &'static str) -> Option<End> {
        let step = Step { work: *self.work.lock().unwrap(), what };
        let mut steps = self.steps.lock().unwrap();
        let count = steps.entry(step).or_default();
        *count += 1;
        let point = self.point.filter(|point| point.step == step && point.nth + 1 == *count)?;
        self.is_reached.store(true, Ordering::SeqCst);
        Some(point.end)
    }

    async fn no_answer<T>(&self) -> Result<T> {
        self.released.cancelled().await;
        Err(failure("its process has ended"))
    }

    /// What writes a file, as the document of crash points names it.
    fn written(&self, path: &Path) -> &'static str {
        let path = path.as_ref().strip_prefix(&self.folder).unwrap_or_default().trim_start_matches('/');
        match path {
            _ if path.ends_with("_last_checkpoint") => "`_last_checkpoint`",
            _ if path.ends_with(".checkpoint.parquet") => "checkpoint",
            _ if path.starts_with("_delta_log/") => "log entry",
            _ if path.starts_with("_change_data/") => "file of the change data feed",
            _ if path.ends_with(".bin") => "vector file",
            // The table is partitioned: a file beside the folders is of no partition.
            _ if !path.contains('/') => "file of rows of updated keys",
            _ => "data file",
        }
    }

    async fn request<T, F>(&self, what: Option<&'static str>, write_part: impl FnOnce(), done: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let guard = self.under_way.clone().read_owned().await;
        if self.ended.is_cancelled() {
            drop(guard);
            return self.no_answer().await;
        }
        if self.is_gone.load(Ordering::SeqCst) {
            return Err(failure("the store is gone"));
        }
        let end = what.and_then(|what| self.count(what));
        if matches!(end, Some(End::Before | End::Within)) {
            if end == Some(End::Within) {
                write_part();
            }
            self.ended.cancel();
            drop(guard);
            return self.no_answer().await;
        }
        // By itself: a request that was sent is done, whoever waits for it.
        let done = tokio::spawn(async move {
            let _guard = guard;
            done.await
        });
        let result = done.await.unwrap();
        match end {
            Some(End::Lost) => return Err(failure("the answer is lost")),
            Some(End::Gone) => {
                self.is_gone.store(true, Ordering::SeqCst);
                return Err(failure("the answer is lost, and the store is gone"));
            }
            Some(_) => self.ended.cancel(),
            None => {}
        }
        if self.ended.is_cancelled() {
            return self.no_answer().await;
        }
        result
    }
}

fn open(host: &str) -> ObjectStoreRef {
    let state = CLIENTS.lock().unwrap()[host].clone();
    Arc::new(Store { inner: Arc::new(LocalFileSystem::new()), state })
}

#[derive(Clone)]
struct Store {
    inner: Arc<LocalFileSystem>,
    state: Arc<State>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mortal")
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mortal")
    }
}

/// What the local file system has of a file that is not whole: its name with `#` and a number.
fn write_part(path: &Path, payload: &PutPayload) {
    let bytes: Vec<u8> = payload.iter().flatten().copied().collect();
    let name = FilePath::new("/").join(format!("{path}#1"));
    std::fs::create_dir_all(name.parent().unwrap()).unwrap();
    std::fs::write(name, &bytes[..bytes.len() / 2]).unwrap();
}

#[async_trait]
impl ObjectStore for Store {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (inner, to, whole) = (self.inner.clone(), path.clone(), payload.clone());
        let done = async move { inner.put_opts(&to, payload, options).await };
        self.state.request(Some(self.state.written(path)), || write_part(path, &whole), done).await
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let (inner, to) = (self.inner.clone(), path.clone());
        self.state.request(None, || (), async move { inner.put_multipart_opts(&to, options).await }).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let (inner, from) = (self.inner.clone(), path.clone());
        let what = (self.state.written(path) == "data file").then_some(READS);
        self.state.request(what, || (), async move { inner.get_opts(&from, options).await }).await
    }

    /// One after the other: each is a request that may go wrong.
    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let deleted = paths.then(move |path| {
            let Store { inner, state } = store.clone();
            async move {
                let path = path?;
                let what = match state.written(&path) {
                    "log entry" => "removes an old entry of the log",
                    _ => "removes a file",
                };
                let one = futures::stream::once(futures::future::ready(Ok(path.clone()))).boxed();
                let done = async move { inner.delete_stream(one).try_collect::<Vec<_>>().await.map(|_| ()) };
                state.request(Some(what), || (), done).await.map(|()| path)
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (Store { inner, state }, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            // Remote stores list by name.
            let all = async move {
                inner.list(prefix.as_ref()).try_collect::<Vec<_>>().await.map(|mut files| {
                    files.sort_by(|a, b| a.location.cmp(&b.location));
                    files
                })
            };
            let files = state.request(None, || (), all).await?;
            Ok(futures::stream::iter(files.into_iter().map(Ok)))
        };
        listed.try_flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (inner, prefix) = (self.inner.clone(), prefix.cloned());
        self.state.request(None, || (), async move { inner.list_with_delimiter(prefix.as_ref()).await }).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (inner, source, target) = (self.inner.clone(), from.clone(), to.clone());
        let done = async move { inner.copy_opts(&source, &target, options).await };
        self.state.request(Some(self.state.written(to)), || (), done).await
    }
}
