//! Another engine: OPTIMIZE, DELETE and UPDATE, which it commits some time after it has read the table, if nobody was first.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::PutMode;
use object_store::path::Path;
use parking_lot::Mutex;
use rand::Rng;
use uuid::Uuid;

use super::Actor;
use crate::by_hand::{ByHand, Files};
use crate::history::{By, TABLE, Theirs, read};
use crate::store::landed;
use crate::time::new_id;
use crate::world::World;

/// Works on the table until it is dropped.
pub async fn run(mut actor: Actor) {
    loop {
        actor.rest(Duration::from_secs(150)).await;
        let id = actor.rng.random_range(0..8);
        let theirs = match actor.rng.random_range(0..4) {
            0..2 => Theirs::Optimize,
            2 => Theirs::Delete(id),
            _ => Theirs::Update(id, format!("theirs {}", actor.rng.random_range(0..100))),
        };
        let entries = actor.world.history.lock().entries();
        if entries.lock().is_empty() {
            continue;
        }
        let engine = Engine { world: actor.world.clone(), entries, theirs: theirs.clone() };
        let table = ByHand::of(Arc::new(engine));
        actor.rest(Duration::from_secs(10)).await;
        let by_vectors = actor.rng.random_bool(0.5);
        match theirs {
            Theirs::Optimize => drop(table.optimize(actor.rng.random_range(0..8))),
            Theirs::Delete(id) => drop(table.delete(id, by_vectors)),
            Theirs::Update(id, big) => drop(table.update(id, &big, by_vectors)),
        }
    }
}

/// The store, for one statement.
struct Engine {
    world: Arc<World>,
    entries: Arc<Mutex<Vec<String>>>,
    theirs: Theirs,
}

impl Engine {
    fn put(&self, path: &str, bytes: Bytes, mode: PutMode) -> bool {
        let path = Path::from(format!("{TABLE}/{path}"));
        self.world.files.put(&path, bytes, mode, self.now_millis(), Duration::ZERO).is_ok()
    }
}

impl Files for Engine {
    fn entry(&self, version: u64) -> Option<String> {
        self.entries.lock().get(version as usize).cloned()
    }

    fn read(&self, path: &str) -> Bytes {
        read(&self.world.files.inner, path)
    }

    fn write(&self, path: &str, bytes: Bytes) {
        self.put(path, bytes, PutMode::Overwrite);
    }

    fn commit(&self, version: u64, entry: String) -> bool {
        // An entry that was cleaned up is not to be written anew.
        let is_next = self.entries.lock().len() as u64 == version;
        let path = format!("_delta_log/{version:020}.json");
        let is_ours = is_next && self.put(&path, entry.clone().into(), PutMode::Create);
        if is_ours {
            landed(&self.world, version, &entry, &By::Others(self.theirs.clone()));
        } else {
            self.world.count("commit that another engine lost");
        }
        is_ours
    }

    fn now_millis(&self) -> i64 {
        self.world.clock.millis()
    }

    fn new_id(&self) -> Uuid {
        new_id()
    }
}
