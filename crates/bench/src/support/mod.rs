//! What the benchmark programs share: a table of orders, changes of it, peers, and measuring.
#![allow(dead_code, reason = "each program uses a part of it")]

pub mod args;
pub mod changes;
// The tests' own: it counts and waits, and knows no tests.
#[cfg(feature = "deltars")]
pub mod deltars;
pub mod engine;
pub mod files;
pub mod log;
pub mod maintenance;
pub mod measure;
#[cfg(feature = "deltars")]
pub mod model;
pub mod orders;
pub mod parts;
#[allow(clippy::unwrap_used, missing_docs, reason = "it is written for tests")]
#[path = "../../../kafka2delta/tests/engine/slow_store.rs"]
pub mod slow_store;
pub mod values;

/// Any error ends a benchmark.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
