//! The order of changes that came through different Kafka partitions.

pub mod memory;
pub mod sequence;
pub mod truncate;
