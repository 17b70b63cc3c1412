//! The object store of a simulation, as one process sees it. Each request waits before and after it is done. It fails before
//! it is done, its answer is lost after it was done, it is done after its answer, or the store is busy. The process may die
//! with it, or stand still before it.
//!
//! Listings come in pages, each of its own moment, and may show data files late or after they were deleted. Those of the log
//! do not: Delta asks of a store that a listing shows what was written before it, and that one writer alone makes a new
//! file; S3, GCS and Azure keep both for all files.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use deltalake::logstore::ObjectStoreRef;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::faults::{Course, Fault};
use crate::history::{By, TABLE};
use crate::process::{Intent, Process};
use crate::schemes;
use crate::time::{is_simulated, sleep};
use crate::world::World;

/// Of the URLs of simulated tables.
pub const SCHEME: &str = "simulated";

/// The longest page of a listing.
const PAGE: u64 = 40;

/// A process and its world, by the host of its URLs.
type Processes = HashMap<String, (Arc<World>, Arc<Process>)>;

static PROCESSES: LazyLock<Mutex<Processes>> = LazyLock::new(Mutex::default);

/// A new process, and the URL at which it opens the table.
pub fn process(world: &Arc<World>, role: &'static str, is_spared: bool) -> (Arc<Process>, String) {
    schemes::register(&format!("{SCHEME}://"), open);
    let process = world.process(role, is_spared);
    let host = host_of(world, &process);
    let url = format!("{SCHEME}://{host}/{TABLE}");
    PROCESSES.lock().insert(host, (world.clone(), process.clone()));
    (process, url)
}

/// Forgets the processes of a world.
pub fn end(world: &World) {
    let mut known = PROCESSES.lock();
    for process in world.processes() {
        known.remove(&host_of(world, &process));
    }
}

fn host_of(world: &World, process: &Process) -> String {
    format!("w{}p{}", world.number, process.number)
}

fn open(host: &str) -> ObjectStoreRef {
    let (world, process) = PROCESSES.lock()[host].clone();
    Arc::new(Store { world, process })
}

/// Whether a path is the log's.
fn is_log(path: &Path) -> bool {
    path.as_ref().starts_with(&format!("{TABLE}/_delta_log"))
}

/// The version of an entry of the log.
fn version_of(path: &Path) -> Option<u64> {
    let name = path.as_ref().strip_prefix(&format!("{TABLE}/_delta_log/"))?.strip_suffix(".json")?;
    (name.len() == 20).then(|| name.parse().ok())?
}

/// The store of a process.
#[derive(Clone)]
struct Store {
    world: Arc<World>,
    process: Arc<Process>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)
    }
}

fn failed(what: &'static str) -> Error {
    Error::Generic { store: SCHEME, source: what.into() }
}

impl Store {
    /// What other threads ask while the simulation waits is in no order.
    fn note(&self, what: &str, request: &str) {
        if !is_simulated() {
            return;
        }
        let Process { number, role, .. } = *self.process;
        self.world.event(|| format!("{role} {number}: {request}{what}"));
    }

    /// Nothing of a dead process comes back. The kernel's threads, which the simulation waits for, get an error.
    async fn never(&self) -> Error {
        if is_simulated() {
            std::future::pending::<()>().await;
        }
        failed("the process is dead")
    }

    /// Begins a request, and waits until it is to be done. What is not to be done is an error. `write` does it, now or later.
    async fn begin(&self, request: &str, write: Option<&Write>) -> Result<Course> {
        if self.process.is_dead() {
            return Err(self.never().await);
        }
        let mut course = self.world.course(&self.process, request, write.is_some());
        if self.process.is_spared {
            course = Course { before: Duration::ZERO, after: Duration::ZERO, fault: None, is_slow: false, ..course };
            course.listed_after = Duration::ZERO;
            return Ok(course);
        }
        // Of the kernel's requests those that read are as many as its threads come to.
        if (is_simulated() || write.is_some()) && self.process.count_request() {
            self.world.count("process killed");
            self.note(" when it dies", request);
            match (course.dice % 3, write) {
                (0, Some(write)) => drop(write.land(self)),
                (1, Some(write)) => write.land_later(self, course.before),
                _ => {}
            }
            self.process.died.notify_one();
            return Err(self.never().await);
        }
        if course.is_slow {
            self.world.count("slow");
        }
        sleep(course.before).await;
        let still = self.process.still_until().saturating_sub(self.world.clock.now());
        if !still.is_zero() && is_simulated() {
            self.world.count("request of a process that stood still");
            sleep(still).await;
        }
        if self.process.is_dead() {
            return Err(self.never().await);
        }
        match course.fault {
            Some(Fault::FailedBefore) => {
                self.world.count("failed before it was done");
                self.note(" fails", request);
                Err(failed("the request failed before it was done"))
            }
            Some(Fault::Busy) => {
                self.world.count("503");
                self.note(" meets a busy store", request);
                Err(failed("503 SlowDown"))
            }
            Some(Fault::DoneLate(late)) => {
                let Some(write) = write.filter(|_| is_simulated()) else { return Ok(course) };
                self.world.count("done after its answer, an error");
                self.note(" fails, and is done later", request);
                write.land_later(self, late);
                Err(failed("the request timed out"))
            }
            Some(Fault::AnswerLost) | None => Ok(course),
        }
    }

    /// Waits for the answer of what was done.
    async fn end<T>(&self, request: &str, course: Course, done: Result<T>) -> Result<T> {
        sleep(course.after).await;
        if self.process.is_dead() {
            return Err(self.never().await);
        }
        if course.fault == Some(Fault::AnswerLost) {
            self.world.count("answer lost");
            self.note(" is done, and its answer lost", request);
            return Err(failed("the answer was lost"));
        }
        self.note(if done.is_ok() { "" } else { " is refused" }, request);
        done
    }

    async fn delete_one(self, path: Path) -> Result<Path> {
        let mut write = Write::Delete { path: path.clone(), listed_after: Duration::ZERO };
        let request = format!("delete {path}");
        let course = self.begin(&request, Some(&write)).await?;
        write.list_later(&self, &course);
        let done = write.land(&self);
        self.end(&request, course, done.map(|()| path)).await
    }

    fn list_from(&self, prefix: Option<Path>, after: Option<Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let store = self.clone();
        let pages = futures::stream::try_unfold(Some(after), move |after| {
            let (store, prefix) = (store.clone(), prefix.clone());
            async move {
                let Some(after) = after else { return Ok::<_, Error>(None) };
                let request = format!("list {} after {after:?}", prefix.clone().unwrap_or_default());
                let course = store.begin(&request, None).await?;
                let mut page = store.world.files.list(prefix.as_ref(), store.world.clock.millis());
                page.retain(|file| after.as_ref().is_none_or(|after| file.location > *after));
                let all = page.len();
                page.truncate(1 + (course.dice % PAGE) as usize);
                let next = page.last().map(|file| Some(file.location.clone())).filter(|_| page.len() < all);
                let page = store.end(&request, course, Ok(page)).await?;
                Ok(Some((futures::stream::iter(page.into_iter().map(Ok)), next)))
            }
        });
        pages.try_flatten().boxed()
    }
}

/// What a request changes.
#[derive(Clone)]
enum Write {
    Put { path: Path, bytes: Bytes, mode: PutMode, listed_after: Duration, intent: Option<Arc<Intent>> },
    Delete { path: Path, listed_after: Duration },
}

impl Write {
    /// Has listings show it later than it is done. They do not where it is the log's.
    fn list_later(&mut self, store: &Store, course: &Course) {
        let (Self::Put { path, listed_after, .. } | Self::Delete { path, listed_after }) = self;
        if !is_log(path) && !course.listed_after.is_zero() {
            store.world.count("listed late");
            *listed_after = course.listed_after;
        }
    }

    /// Does it.
    fn land(&self, store: &Store) -> Result<()> {
        let world = &store.world;
        let now = world.clock.millis();
        match self {
            Self::Put { path, bytes, mode, listed_after, intent } => {
                world.files.put(path, bytes.clone(), mode.clone(), now, *listed_after)?;
                if let Some(version) = version_of(path) {
                    let entry = std::str::from_utf8(bytes).unwrap();
                    landed(world, version, entry, &By::Us(intent.clone()));
                }
                Ok(())
            }
            Self::Delete { path, listed_after } => {
                let within = path.as_ref().strip_prefix(&format!("{TABLE}/")).unwrap_or_default();
                if world.history.lock().is_needed(within, now) {
                    let Process { role, number, .. } = *store.process;
                    world
                        .violated(format!("{role} {number} deletes {within}, which readers within the retention need"));
                }
                world.files.delete(path, now, *listed_after)
            }
        }
    }

    /// Does it later, whatever becomes of the process.
    fn land_later(&self, store: &Store, after: Duration) {
        if !is_simulated() {
            return;
        }
        let (write, store) = (self.clone(), store.clone());
        tokio::spawn(async move {
            sleep(after).await;
            let done = write.land(&store);
            let (Self::Put { path, .. } | Self::Delete { path, .. }) = &write;
            store.note(if done.is_ok() { " is done late" } else { " comes too late" }, path.as_ref());
        });
    }
}

/// Enters a commit that the store has taken.
pub(crate) fn landed(world: &World, version: u64, entry: &str, by: &By) {
    let result = world.history.lock().landed(version, entry, by, world.clock.millis());
    let who = if let By::Others(theirs) = by { format!("another engine: {theirs:?}") } else { "us".to_owned() };
    world.event(|| format!("version {version} by {who}, entry {:016x}", xxh3_64(entry.as_bytes())));
    world.count(if matches!(by, By::Us(_)) { "commit of ours" } else { "commit of another engine" });
    if let Err(message) = result {
        world.violated(message);
    }
}

#[async_trait]
impl ObjectStore for Store {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let request = format!("put {path}");
        let mut write = Write::Put {
            path: path.clone(),
            bytes: payload.into(),
            mode: options.mode,
            listed_after: Duration::ZERO,
            intent: self.process.intent(),
        };
        let course = self.begin(&request, Some(&write)).await?;
        write.list_later(self, &course);
        let done = write.land(self).map(|()| PutResult { e_tag: None, version: None });
        self.end(&request, course, done).await
    }

    async fn put_multipart_opts(&self, path: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unimplemented!("{path}: no file of a simulation is so large")
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let request = format!("get {path} {:?}", options.range);
        let course = self.begin(&request, None).await?;
        let done = self.world.files.inner.get_opts(path, options).now_or_never().unwrap();
        let done = done.map(|read| GetResult { meta: self.world.files.meta(read.meta.clone()), ..read });
        self.end(&request, course, done).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        paths.and_then(move |path| store.clone().delete_one(path)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_from(prefix.cloned(), None)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_from(prefix.cloned(), Some(offset.clone()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let all: Vec<ObjectMeta> = self.list(prefix).try_collect().await?;
        let own =
            |file: &ObjectMeta| prefix.map_or(0, |prefix| prefix.parts().count()) + 1 == file.location.parts().count();
        Ok(ListResult { common_prefixes: Vec::new(), objects: all.into_iter().filter(own).collect() })
    }

    async fn copy_opts(&self, from: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unimplemented!("{from}: the engine copies no file")
    }
}
