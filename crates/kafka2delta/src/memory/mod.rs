//! The memory that all tables of a process share. Whoever opens tables makes one [`SharedMemory`] and hands it to each.

mod indexes;
mod steps;

use serde::Serialize;

pub(crate) use self::indexes::IndexShare;
pub use self::indexes::{Asked, IndexMemory};
pub(crate) use self::steps::Permit;
pub use self::steps::StepMemory;

/// What tables share: the memory of their key indexes, and that of steps of compaction. Without limits as it is made.
#[derive(Debug, Clone, Default)]
pub struct SharedMemory {
    /// Of key indexes.
    pub indexes: IndexMemory,
    /// Of steps of compaction.
    pub steps: StepMemory,
}

/// Bytes by what holds them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Key indexes.
    pub indexes: u64,
    /// Steps of compaction that are under way.
    pub compaction: u64,
}

impl SharedMemory {
    /// What is held now.
    pub fn held(&self) -> Held {
        Held { indexes: self.indexes.held(), compaction: self.steps.held() }
    }
}
