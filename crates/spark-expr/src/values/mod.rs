//! Values: types, casts, and the nodes of a compiled expression.

pub(crate) mod calendar;
pub(crate) mod cast;
pub(crate) mod cast_text;
pub(crate) mod coerce;
pub(crate) mod conditions;
pub(crate) mod decimals;
pub(crate) mod java_double;
pub(crate) mod murmur;
pub(crate) mod node;
pub(crate) mod spark_types;
pub(crate) mod zone;
