//! Arguments of functions: how many there are, and to which type Spark casts them without being asked.

use arrow::datatypes::DataType;

use crate::fault::{Fault, Res};
use crate::values::cast::cast;
use crate::values::node::Node;
use crate::values::spark_types::{T, is_atomic, is_numeric, name, timestamp_type};

/// Casts all to one type, which `combine` finds.
pub(crate) fn unify(
    function: &str,
    nodes: Vec<Node>,
    combine: fn(&DataType, &DataType) -> Option<DataType>,
) -> Res<(DataType, Vec<Node>)> {
    // Texts first, as Spark does: what is written as text with one is so with all.
    let mut types: Vec<&DataType> = nodes.iter().map(|n| &n.data_type).collect();
    types.sort_by_key(|t| **t != T::Utf8);
    let mut common = T::Null;
    for t in types {
        common = combine(&common, t)
            .ok_or_else(|| format!("{function}: {} and {} have no common type: cast one", name(&common), name(t)))?;
    }
    let nodes = nodes.into_iter().map(|n| cast(n, &common)).collect::<Res<_>>()?;
    Ok((common, nodes))
}

fn wrong(function: &str, node: &Node, wanted: &str) -> Fault {
    format!("{function} takes {wanted}, not {}: cast it", name(&node.data_type)).into()
}

/// An argument that is to be text.
pub(crate) fn text(function: &str, node: Node) -> Res<Node> {
    match &node.data_type {
        T::Null => cast(node, &T::Utf8),
        t if is_atomic(t) => cast(node, &T::Utf8),
        _ => Err(wrong(function, &node, "a string")),
    }
}

/// An argument that is to be a number of the type `to`.
pub(crate) fn number(function: &str, node: Node, to: &DataType) -> Res<Node> {
    match &node.data_type {
        T::Null | T::Utf8 => cast(node, to),
        t if is_numeric(t) => cast(node, to),
        _ => Err(wrong(function, &node, "a number")),
    }
}

/// An argument that is to be an integer; a longer one wraps.
pub(crate) fn int(function: &str, node: Node) -> Res<Node> {
    match &node.data_type {
        T::Null | T::Utf8 => cast(node, &T::Int32),
        t if is_numeric(t) => cast(node, &T::Int32),
        _ => Err(wrong(function, &node, "an integer")),
    }
}

/// An argument that is to be a date.
pub(crate) fn date(function: &str, node: Node) -> Res<Node> {
    match &node.data_type {
        T::Null | T::Utf8 | T::Date32 | T::Timestamp(..) => cast(node, &T::Date32),
        _ => Err(wrong(function, &node, "a date")),
    }
}

/// An argument that is to be a timestamp.
pub(crate) fn timestamp(function: &str, node: Node) -> Res<Node> {
    match &node.data_type {
        T::Null | T::Utf8 | T::Date32 | T::Timestamp(..) => cast(node, &timestamp_type()),
        _ => Err(wrong(function, &node, "a timestamp")),
    }
}

/// An argument that is to be bytes.
pub(crate) fn binary(function: &str, node: Node) -> Res<Node> {
    match &node.data_type {
        T::Null | T::Utf8 | T::Binary => cast(node, &T::Binary),
        _ => Err(wrong(function, &node, "a string or binary")),
    }
}

/// Checks how many arguments there are.
pub(crate) fn arity(function: &str, args: &[Node], min: usize, max: usize) -> Res<()> {
    if (min..=max).contains(&args.len()) {
        return Ok(());
    }
    let wanted = if min == max { min.to_string() } else { format!("{min} to {max}") };
    Err(format!("{function} takes {wanted} arguments, not {}", args.len()).into())
}
