//! The order of changes that came through different Kafka partitions.

pub(crate) mod memory;
pub(crate) mod sequence;
pub(crate) mod truncate;
