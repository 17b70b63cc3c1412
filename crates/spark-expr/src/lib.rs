//! SQL expressions over Arrow arrays, with the functions, types and rules of Spark 3.5 outside ANSI mode.
//!
//! An expression is parsed by Spark's grammar and compiled to kernels over Arrow arrays. Only functions that are tested
//! beside Spark's results exist here: all others are refused.

pub use expression::{Compiled, Expression};
pub use fault::Fault;
pub use predicate::{CompiledCondition, Condition};
pub use shape::{Comparison, Shape};
pub use values::spark_types::name as type_name;

mod compile;
mod expression;
mod fault;
mod functions;
mod predicate;
mod shape;
mod syntax;
mod text;
mod values;
