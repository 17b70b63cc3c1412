//! A simulation of the engine: several processes on one table, an object store that delays and fails, and hours of time in
//! a moment. All that happens follows from one seed, so that a seed which finds a fault finds it again.
//!
//! [`run`] simulates a seed. [`time`] is its clock, which stands still while something is to be done; [`store`] the object
//! store, whose requests wait and fail; [`history`] follows each commit in a model and holds the table against it; [`actors`]
//! are the processes. A process dies, or stands still, between any two of its requests: [`process`].
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: it fails by panicking, and what it says of a fault is the seed"
)]

pub mod actors;
#[path = "../../kafka2delta/tests/engine/by_hand.rs"]
#[allow(missing_docs, reason = "shared with the tests of the engine")]
mod by_hand;
#[path = "../../kafka2delta/tests/engine/changes.rs"]
#[allow(missing_docs, reason = "shared with the tests of the engine")]
mod changes;
pub mod faults;
pub mod files;
pub mod history;
pub mod process;
mod run;
#[path = "../../kafka2delta/tests/engine/schemes.rs"]
mod schemes;
mod source;
pub mod store;
#[path = "../../kafka2delta/tests/engine/temporary.rs"]
mod temporary;
pub mod time;
pub mod world;

pub use run::{Outcome, run};
