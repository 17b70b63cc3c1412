//! The engine of kafka2delta: applies batches of changes, by primary key, to one Delta table, and commits rows and
//! Kafka offsets together. It knows no Kafka client and no Node.
//!
//! The way of a batch: [`batch`] parses it, [`collapse`] keeps the last change per key, [`index`] tells where the keys'
//! rows are, [`fill`] fetches values that a change leaves out, [`write`] encodes new rows, [`dv`] marks replaced ones,
//! [`log`] commits. [`table::KeyedTable`] is the whole. [`maintenance`] keeps it small beside the batches.

pub mod batch;
pub mod collapse;
pub mod computed;
pub mod duplicates;
pub mod dv;
pub mod encode;
pub mod error;
pub mod fill;
mod follow;
pub mod forms;
pub mod index;
pub mod keys;
pub mod log;
pub mod lookback;
pub mod maintenance;
pub mod merge;
pub mod objects;
pub mod options;
pub mod order;
pub mod read;
pub mod rewrite;
pub mod scan;
pub mod schema;
pub mod stats;
pub mod table;
#[cfg(test)]
#[path = "../tests/engine/temporary.rs"]
mod temporary;
pub mod truncate;
pub mod write;

pub use error::{Error, ErrorCode, Result};
pub use maintenance::{CompactOptions, CompactResult};
pub use merge::{MergeResult, Offset};
pub use options::TableOptions;
pub use table::{KeyedTable, TableInfo};
