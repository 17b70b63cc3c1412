//! Readers: the newest version, and older ones within the retention, by the engine's own scan. Its threads read while the
//! simulation waits, so that what they see is one moment.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;
use std::time::Duration;

use kafka2delta::scan::{AsOf, ScanOptions, scan};
use rand::Rng;
use tokio::runtime::Runtime;

use super::Actor;
use crate::changes::{Key, Row, rows_of};
use crate::world::World;

static THREADS: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());

/// Reads until it is dropped. `kept`: how long a version can be read after it was the newest.
pub async fn run(mut actor: Actor, kept: Duration) {
    loop {
        actor.rest(Duration::from_secs(500)).await;
        let readable = first_readable(&actor.world, kept);
        let newest = actor.world.history.lock().versions.len();
        if newest == 0 {
            continue;
        }
        let version = actor.rng.random_range(readable..newest);
        check(&actor.world, &actor.options.uri, version, version + 1 == newest && actor.rng.random_bool(0.5));
    }
}

/// The first version that can be read.
fn first_readable(world: &World, kept: Duration) -> usize {
    let since = world.clock.millis() - kept.as_millis() as i64;
    let history = world.history.lock();
    // A version can be read as long as the next one is young.
    let old = history.versions.iter().take_while(|version| version.at <= since).count();
    old.saturating_sub(1)
}

/// Holds what a reader sees of a version against the model.
pub fn check(world: &World, uri: &str, version: usize, as_newest: bool) {
    let as_of = if as_newest { AsOf::Newest } else { AsOf::Version(version as u64) };
    let found = read(uri, as_of);
    world.event(|| format!("version {version} is read"));
    world.count("version read");
    let difference = match found {
        Err(error) => Some(error),
        Ok(rows) => world.history.lock().versions[version].difference(&rows),
    };
    if let Some(difference) = difference {
        world.violated(format!("a reader of version {version}: {difference}"));
    }
}

/// The rows of a version.
fn read(uri: &str, as_of: AsOf) -> Result<BTreeMap<Key, Row>, String> {
    let options =
        ScanOptions { uri: uri.to_owned(), storage_options: HashMap::new(), columns: None, condition: None, as_of };
    let all = async {
        let mut rows = BTreeMap::new();
        let mut batches = scan(options).await.map_err(|error| format!("{:?}", error.chain()))?;
        while let Some(batch) = batches.next().await.map_err(|error| format!("{:?}", error.chain()))? {
            for (key, row) in rows_of(&batch) {
                if rows.insert(key, row).is_some() {
                    return Err(format!("{key:?} is there twice"));
                }
            }
        }
        Ok(rows)
    };
    std::thread::scope(|threads| threads.spawn(|| THREADS.block_on(all)).join().unwrap())
}
