//! The Delta log: its actions, our own state of the table, and commits.

pub(crate) mod actions;
pub(crate) mod app_id;
pub(crate) mod commit;
pub(crate) mod deletion_vectors;
pub(crate) mod entries;
pub(crate) mod entry_fingerprint;
pub(crate) mod features;
pub(crate) mod files;
pub mod history;
pub(crate) mod listing;
pub(crate) mod liveness;
mod renewed;
pub(crate) mod replacement;
mod s3;
pub mod state;
pub mod store;
pub(crate) mod tags;
