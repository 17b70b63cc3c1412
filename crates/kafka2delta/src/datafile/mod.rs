//! Data files: reading them, writing them, and taking rows out of them.

pub mod encode;
pub mod order_columns;
pub mod parquet_properties;
pub mod partition_values;
pub mod paths;
pub mod read;
pub mod remove_rows;
pub mod split;
pub mod stats;
