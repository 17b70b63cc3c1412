//! What the table must hold after each commit, and what is true of each commit: its offsets follow those before, the files
//! that it names are there, and the table that a reader sees is the model's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutOptions};
use parking_lot::Mutex;
use serde_json::Value;
use uuid::Uuid;

use crate::by_hand::{ByHand, Files, vector_path};
use crate::changes::{Change, Key, Model, Row};
use crate::process::Intent;

/// The table's folder in the store.
pub const TABLE: &str = "table";

/// What another engine's commit does to the rows.
#[derive(Debug, Clone)]
pub enum Theirs {
    /// They lie in other files.
    Optimize,
    /// Those with this id go.
    Delete(i64),
    /// Those with this id get this value.
    Update(i64, String),
}

/// Who made a commit.
#[derive(Debug, Clone)]
pub enum By {
    /// A process of ours, with what it was about to commit.
    Us(Option<Arc<Intent>>),
    /// Another engine.
    Others(Theirs),
}

/// The table after a commit.
#[derive(Debug, Clone)]
pub struct Version {
    /// Since when, in milliseconds since 1970.
    pub at: i64,
    /// The stored offsets, by partition.
    pub offsets: Vec<Option<i64>>,
    /// The same as a model, which knows what no rule tells.
    model: Model,
}

impl Version {
    /// In what other rows differ; none where they do not.
    pub fn difference(&self, found: &BTreeMap<Key, Row>) -> Option<String> {
        self.model.difference(found)
    }
}

/// All versions so far.
pub struct History {
    inner: Arc<InMemory>,
    retention: Duration,
    model: Model,
    /// Keys that another engine deleted before their update.
    lost: Vec<Key>,
    /// The log's entries. The store's may be cleaned up.
    entries: Arc<Mutex<Vec<String>>>,
    /// The versions.
    pub versions: Vec<Version>,
    reader: ByHand,
    /// The live data files, with what they name.
    live: BTreeMap<String, Vec<String>>,
    /// When each file left the table, in milliseconds since 1970; none for those that are in it.
    files: BTreeMap<String, Option<i64>>,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} versions", self.versions.len())
    }
}

impl History {
    /// That of an empty store. `soft`: deleted rows stay, marked.
    pub fn new(inner: Arc<InMemory>, retention: Duration, soft: bool) -> Self {
        let entries = Arc::<Mutex<Vec<String>>>::default();
        let mut model = Model::default();
        model.soft = soft;
        let raw = Raw { inner: inner.clone(), entries: entries.clone() };
        Self {
            inner,
            retention,
            model,
            lost: Vec::new(),
            entries,
            versions: Vec::new(),
            reader: ByHand::of(Arc::new(raw)),
            live: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    /// The log's entries so far.
    pub fn entries(&self) -> Arc<Mutex<Vec<String>>> {
        self.entries.clone()
    }

    /// The stored offsets, by partition.
    pub fn offsets(&self) -> Vec<Option<i64>> {
        self.versions.last().map(|version| version.offsets.clone()).unwrap_or_default()
    }

    /// The files that are in the table.
    pub fn live_files(&self) -> impl Iterator<Item = &String> {
        self.files.iter().filter(|(_, left)| left.is_none()).map(|(path, _)| path)
    }

    /// Whether a reader within the retention needs a file. What left the table is told by its tombstone.
    pub fn is_needed(&self, path: &str, now: i64) -> bool {
        match self.files.get(path) {
            None => false,
            Some(None) => true,
            Some(Some(left)) => *left > now - self.retention.as_millis() as i64,
        }
    }

    /// Enters a commit that the store has taken. What is wrong with it is the error.
    pub fn landed(&mut self, version: u64, entry: &str, by: &By, now: i64) -> Result<(), String> {
        let expected = self.versions.len() as u64;
        if version != expected {
            return Err(format!("version {version} follows on {expected} versions"));
        }
        let actions: Vec<Value> = entry.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of =
            |kind: &'static str| actions.iter().map(move |action| &action[kind]).filter(|action| action.is_object());
        for remove in of("remove") {
            self.live.remove(remove["path"].as_str().unwrap());
        }
        for add in of("add") {
            let names = names(add);
            if let Some(gone) = names.iter().find(|path| head(&self.inner, path).is_none()) {
                return Err(format!("version {version} names {gone}, which is gone"));
            }
            self.live.insert(names[0].clone(), names);
        }
        for remove in of("remove") {
            let left = remove["deletionTimestamp"].as_i64().unwrap();
            for path in names(remove) {
                let before = self.files.get(&path).copied().flatten();
                self.files.insert(path, before.max(Some(left)));
            }
        }
        // A file of vectors belongs to several data files.
        for path in self.live.values().flatten() {
            self.files.insert(path.clone(), None);
        }
        let mut offsets = self.offsets();
        let stored: BTreeMap<usize, i64> = of("txn").filter_map(offset_of).collect();
        match by {
            By::Us(intent) if !stored.is_empty() => {
                let Some(intent) = intent else { return Err(format!("version {version} stores offsets of nothing")) };
                offsets.resize(intent.expected.len(), None);
                // A batch is fenced by the partitions that it has messages of: of others, another process may be further.
                let moved = |partition: &usize| intent.last[*partition] != intent.expected[*partition];
                if (0..offsets.len()).filter(moved).any(|at| intent.expected[at] != offsets[at]) {
                    return Err(format!(
                        "version {version} was to follow on the offsets {:?}, and those stored are {offsets:?}",
                        intent.expected
                    ));
                }
                for (partition, last) in stored {
                    if offsets[partition].is_some_and(|before| before > last) {
                        return Err(format!("the offset of partition {partition} fell to {last} from {offsets:?}"));
                    }
                    offsets[partition] = Some(last);
                }
                if (0..offsets.len()).filter(moved).any(|at| offsets[at] != intent.last[at]) {
                    return Err(format!("version {version} stores {offsets:?} instead of {:?}", intent.last));
                }
                intent.changes.iter().for_each(|change| self.apply(change));
            }
            By::Us(_) | By::Others(Theirs::Optimize) => {}
            By::Others(Theirs::Delete(id)) => self.model.rows.retain(|key, _| key.1 != *id),
            By::Others(Theirs::Update(id, big)) => {
                for (key, row) in self.model.rows.iter_mut().filter(|(key, _)| key.1 == *id) {
                    row.big = Some(big.clone());
                    self.model.untold.remove(key);
                }
            }
        }
        self.entries.lock().push(entry.to_owned());
        let mut model = Model::default();
        (model.rows, model.untold) = (self.model.rows.clone(), self.model.untold.clone());
        self.versions.push(Version { at: now, offsets, model });
        self.reader.advance();
        let mut found = BTreeMap::new();
        for (key, row) in self.reader.rows() {
            if found.insert(key, row).is_some() {
                return Err(format!("version {version} holds {key:?} twice"));
            }
        }
        match self.model.difference(&found) {
            Some(difference) => Err(format!("version {version} ({by:?}): {difference}")),
            None => Ok(()),
        }
    }

    /// Applies a change of the topic. Where another engine has deleted the row of an updated key, no rule tells the values that
    /// the update leaves out.
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Moved { key, .. } if !self.model.rows.contains_key(key) => self.lost.push(*key),
            Change::Moved { key, .. } => self.lost.retain(|lost| lost != key),
            _ => {}
        }
        let untold = match change {
            Change::Upsert { key, leaves_big: true, old: Some(old), .. } => {
                (self.lost.contains(old) && !self.model.rows.contains_key(key)).then_some(*key)
            }
            _ => None,
        };
        self.model.apply(change);
        self.model.untold.extend(untold);
    }
}

/// The files that an action names.
fn names(action: &Value) -> Vec<String> {
    let mut names = vec![action["path"].as_str().unwrap().to_owned()];
    let vector = &action["deletionVector"];
    if vector["storageType"] == "u" {
        names.push(vector_path(vector["pathOrInlineDv"].as_str().unwrap()));
    }
    names
}

/// Partition and offset of a `txn`.
fn offset_of(txn: &Value) -> Option<(usize, i64)> {
    let partition = txn["appId"].as_str()?.strip_prefix("q:t:")?.parse().ok()?;
    Some((partition, txn["version"].as_i64()?))
}

fn in_store(path: &str) -> Path {
    Path::from(format!("{TABLE}/{path}"))
}

fn head(inner: &InMemory, path: &str) -> Option<u64> {
    Some(inner.head(&in_store(path)).now_or_never().unwrap().ok()?.size)
}

/// A file of the table.
pub(crate) fn read(inner: &InMemory, path: &str) -> Bytes {
    let read = inner.get(&in_store(path)).now_or_never().unwrap().unwrap_or_else(|e| panic!("{path}: {e}"));
    read.bytes().now_or_never().unwrap().unwrap()
}

/// The store's files, for one who only reads, and the log's entries without clean-up.
struct Raw {
    inner: Arc<InMemory>,
    entries: Arc<Mutex<Vec<String>>>,
}

impl Files for Raw {
    fn entry(&self, version: u64) -> Option<String> {
        self.entries.lock().get(version as usize).cloned()
    }

    fn read(&self, path: &str) -> Bytes {
        read(&self.inner, path)
    }

    fn write(&self, _: &str, _: Bytes) {
        unreachable!("it only reads")
    }

    fn commit(&self, _: u64, _: String) -> bool {
        unreachable!("it only reads")
    }

    fn now_millis(&self) -> i64 {
        unreachable!("it only reads")
    }

    fn new_id(&self) -> Uuid {
        unreachable!("it only reads")
    }
}

/// Writes a file at once.
pub(crate) fn put(inner: &InMemory, path: &Path, bytes: Bytes, options: PutOptions) -> object_store::Result<()> {
    inner.put_opts(path, bytes.into(), options).now_or_never().unwrap().map(|_| ())
}
