//! The Delta log: its actions, our own state of the table, and commits.

pub mod actions;
pub mod clock;
pub mod commit;
pub mod deletion_vectors;
pub mod entry_fingerprint;
pub mod features;
pub mod files;
pub mod history;
pub mod listing;
pub mod liveness;
pub mod replacement;
pub mod state;
pub mod store;
pub mod tags;
