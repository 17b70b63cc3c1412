//! Patterns in texts: of dates and times, and regular expressions.

pub(crate) mod pattern;
pub(crate) mod pattern_parse;
pub(crate) mod regex_translate;
