//! The processes of a simulation, each a task with random numbers of its own: [`writer`] merges and compacts, [`keeper`]
//! writes checkpoints and vacuums, [`others`] is another engine, and [`reader`] reads old versions.

pub mod keeper;
pub mod others;
pub mod reader;
pub mod writer;

use std::sync::Arc;
use std::time::Duration;

use kafka2delta::{Error, ErrorCode, KeyedTable, TableOptions};
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;

use crate::process::Process;
use crate::source::Source;
use crate::time::sleep;
use crate::world::World;

/// Until what failed is tried once more, at first and at most.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What an actor knows.
pub struct Actor {
    /// The world.
    pub world: Arc<World>,
    /// Its process.
    pub process: Arc<Process>,
    /// How it opens the table.
    pub options: TableOptions,
    /// The topic.
    pub(crate) source: Arc<Mutex<Source>>,
    /// Its random numbers.
    pub rng: StdRng,
}

impl Actor {
    /// Waits about so long.
    async fn rest(&mut self, about: Duration) {
        sleep(about.mul_f64(self.rng.random_range(0.1..1.9))).await;
    }

    /// Opens the table, as often as it takes.
    pub(crate) async fn open(&mut self) -> KeyedTable {
        let mut pause = PAUSE;
        loop {
            match KeyedTable::open(self.options.clone()).await {
                Ok(table) => return table,
                Err(error) => self.met(&error),
            }
            self.rest(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    /// Notes an error. One that a failing store cannot be the reason of is a fault of the engine.
    fn met(&self, error: &Error) {
        let Process { role, number, .. } = *self.process;
        self.world.event(|| format!("{role} {number} meets {}", error.code.as_str()));
        match error.code {
            ErrorCode::Storage | ErrorCode::Fenced | ErrorCode::CommitConflict => {}
            _ => self.world.violated(format!("{role} {number} meets {:?}", error.chain())),
        }
    }
}
