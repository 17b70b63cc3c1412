//! The Delta log: its actions, our own state of the table, and commits.

pub mod actions;
pub mod commit;
pub mod deletion_vectors;
pub mod entry_fingerprint;
pub mod features;
pub mod files;
pub mod history;
pub mod listing;
pub mod state;
