//! What the write modes do differently from an upsert.

pub(super) mod append;
pub(super) mod scd2;
pub(super) mod soft_delete;
