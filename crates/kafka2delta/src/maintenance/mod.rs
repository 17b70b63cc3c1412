//! Work beside the stream that keeps a table small and quick to read: compaction, checkpoints, clean-up of the log, and
//! vacuum. Each is a bounded step that its caller asks for; none holds up the merges but for a moment.
//!
//! A step of compaction has three parts. [`KeyedTable::plan_compaction`](crate::KeyedTable::plan_compaction) chooses
//! files from the table's state. [`CompactionPlan::rewrite`] reads and writes them while merges go on.
//! [`KeyedTable::commit_compaction`](crate::KeyedTable::commit_compaction) commits, and marks rows that were deleted
//! meanwhile in the new files' deletion vectors.
//!
//! [`Maintenance`] writes checkpoints and vacuums, and needs nothing of the open table.

mod checkpoint;
mod choose;
mod cleanup;
mod cluster;
mod commit;
mod due;
mod footers;
mod plan;
mod rewrite;
mod task;
mod vacuum;

pub use crate::table::checkpoint_clock::CheckpointResult;
pub use commit::CompactResult;
pub use due::CompactOptions;
pub use plan::CompactionPlan;
pub use rewrite::Rewritten;
pub use task::Maintenance;
pub use vacuum::{VacuumOptions, VacuumResult};
