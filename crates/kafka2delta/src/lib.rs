//! The engine of kafka2delta: applies batches of changes, by primary key, to one Delta table, and commits rows and
//! Kafka offsets together. It knows no Kafka client and no Node.
//!
//! The way of a batch: [`change`] parses it and keeps the last change of each key, [`index`] says where the keys' rows
//! are, [`datafile`] encodes new rows and marks replaced ones, [`log`] commits. [`table::KeyedTable`] is an open table,
//! and [`merge`] applies batches to it. [`maintenance`] keeps the table small beside the batches. Which module may use
//! which is in `docs/architecture.md`.

pub mod change;
pub(crate) mod computed;
pub mod datafile;
pub(crate) mod error;
pub(crate) mod index;
pub(crate) mod key;
pub mod log;
pub(crate) mod machine;
pub mod maintenance;
pub mod memory;
pub(crate) mod merge;
pub mod objects;
pub mod options;
pub(crate) mod order;
pub mod scan;
pub mod schema;
pub(crate) mod table;
#[cfg(test)]
#[path = "../tests/engine/temporary.rs"]
mod temporary;

pub use error::{Error, ErrorCode, Result};
#[cfg(feature = "simulation")]
pub use machine::simulated;
pub use maintenance::{CompactOptions, CompactResult};
pub use memory::SharedMemory;
pub use merge::result::{MergeResult, Offset};
pub use options::TableOptions;
pub use table::{KeyedTable, TableInfo};
