//! Functions and operators, a file for each family.

use crate::fault::Res;
use crate::values::node::Node;

pub(crate) mod arithmetic;
pub(crate) mod conditions;
pub(crate) mod datetime;
pub(crate) mod format;
pub(crate) mod hash;
pub(crate) mod json;
pub(crate) mod math;
pub(crate) mod nested;
pub(crate) mod refused;
pub(crate) mod regex;
pub(crate) mod string_search;
pub(crate) mod strings;
#[cfg(test)]
mod tests;

/// Compiles a call of a function or an operator.
pub(crate) fn call(function: &str, mut args: Vec<Node>) -> Res<Node> {
    type Build = fn(&str, &mut Vec<Node>) -> Res<Option<Node>>;
    const FAMILIES: [Build; 11] = [
        arithmetic::build,
        conditions::build,
        strings::build,
        string_search::build,
        datetime::build,
        math::build,
        hash::build,
        regex::build,
        format::build,
        json::build,
        nested::build,
    ];
    for build in FAMILIES {
        if let Some(node) = build(function, &mut args)? {
            return Ok(node);
        }
    }
    Err(refused::unknown(function))
}
