//! Tests of the engine through what it offers, one program, which is linked once. One part of them is run by
//! `cargo test --release --test engine model::`.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]

mod by_hand;
mod change_feed;
mod changes;
mod corpus;
mod counted;
mod crash_points;
mod damaged;
mod delta_rs;
mod empty_partition_values;
mod features;
mod foreign;
mod forms;
mod handles;
mod index_size;
mod key_order;
mod long_texts;
mod made_anew;
mod maintenance;
mod missing_columns;
mod model;
mod mortal;
mod nested;
mod partitions;
mod random_handles;
mod requests;
mod retention;
mod rows;
mod saved_index;
mod schemes;
mod shared_memory;
mod slow_store;
mod support;
mod temporary;
mod widening;
mod write_modes;
mod writers;
