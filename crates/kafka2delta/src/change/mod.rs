//! Changes: a batch of them, what is left of it, and the values that it leaves out.

pub(crate) mod batch;
pub(crate) mod collapse;
pub(crate) mod deleted_rows;
pub mod forms;
pub(crate) mod key_updates;
pub(crate) mod left_out;
