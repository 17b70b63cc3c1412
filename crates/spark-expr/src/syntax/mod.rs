//! Spark's grammar: from a text to a tree.

pub(crate) mod keyword_forms;
pub(crate) mod parse;
pub(crate) mod token;
