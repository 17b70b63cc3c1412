//! Changes: a batch of them, what is left of it, and the values that it leaves out.

pub mod batch;
pub mod collapse;
pub mod deleted_rows;
pub mod forms;
pub mod left_out;
