//! Data files: reading them, writing them, and taking rows out of them.

mod calendar;
pub(crate) mod copies;
pub(crate) mod encode;
pub(crate) mod format;
pub mod open;
pub(crate) mod order_columns;
pub(crate) mod output;
pub(crate) mod partition_values;
pub(crate) mod paths;
pub(crate) mod pieces;
pub mod read;
pub(crate) mod remove_rows;
pub(crate) mod split;
pub(crate) mod stats;
pub(crate) mod weight;
