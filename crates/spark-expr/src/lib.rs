//! SQL expressions over Arrow arrays, with the functions, types and rules of Spark 3.5 outside ANSI mode.
//!
//! An expression is parsed by Spark's grammar and compiled to kernels over Arrow arrays. Only functions that are tested
//! beside Spark's results exist here: all others are refused.

pub use expression::{Compiled, Expression};
pub use node::Fault;
pub use predicate::{CompiledCondition, Condition};
pub use shape::{Comparison, Shape};
pub use types::name as type_name;

mod arithmetic;
mod calendar;
mod cast;
mod cast_text;
mod compile;
mod condition;
mod datetime;
mod expression;
mod format;
mod functions;
mod hash;
mod java_double;
mod json;
mod math;
mod murmur;
mod nested;
mod node;
mod parse;
mod parse_words;
mod pattern;
mod pattern_parse;
mod predicate;
mod regex;
mod regex_translate;
mod shape;
mod strings;
mod strings_more;
mod token;
mod types;
mod zone;
