//! Spark's types: which one holds the values of two, and what is cast without being asked.

use arrow::datatypes::{DataType, Field};

use super::cast::cast;
use super::node::{Node, Res};
use super::parse::{ntz_type, timestamp_type};

pub(super) use arrow::datatypes::DataType as T;

/// The type's name in Spark's SQL.
pub fn name(data_type: &DataType) -> String {
    match data_type {
        T::Null => "void".into(),
        T::Boolean => "boolean".into(),
        T::Int8 => "tinyint".into(),
        T::Int16 => "smallint".into(),
        T::Int32 => "int".into(),
        T::Int64 => "bigint".into(),
        T::Float32 => "float".into(),
        T::Float64 => "double".into(),
        T::Decimal128(p, s) => format!("decimal({p},{s})"),
        T::Utf8 | T::LargeUtf8 | T::Utf8View => "string".into(),
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => "binary".into(),
        T::Date32 => "date".into(),
        T::Timestamp(_, Some(_)) => "timestamp".into(),
        T::Timestamp(_, None) => "timestamp_ntz".into(),
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => {
            format!("array<{}>", name(item.data_type()))
        }
        T::Struct(fields) => {
            let fields: Vec<_> = fields.iter().map(|f| format!("{}:{}", f.name(), name(f.data_type()))).collect();
            format!("struct<{}>", fields.join(","))
        }
        T::Map(entries, _) => match entries.data_type() {
            T::Struct(f) if f.len() == 2 => format!("map<{},{}>", name(f[0].data_type()), name(f[1].data_type())),
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

/// The type in which a column's values are computed.
pub(super) fn plain(data_type: &DataType) -> DataType {
    match data_type {
        T::Utf8View | T::LargeUtf8 => T::Utf8,
        T::BinaryView | T::LargeBinary | T::FixedSizeBinary(_) => T::Binary,
        T::Timestamp(_, Some(_)) => timestamp_type(),
        T::Timestamp(_, None) => ntz_type(),
        other => other.clone(),
    }
}

pub(super) fn is_integral(t: &DataType) -> bool {
    matches!(t, T::Int8 | T::Int16 | T::Int32 | T::Int64)
}

pub(super) fn is_float(t: &DataType) -> bool {
    matches!(t, T::Float32 | T::Float64)
}

pub(super) fn is_decimal(t: &DataType) -> bool {
    matches!(t, T::Decimal128(..))
}

pub(super) fn is_numeric(t: &DataType) -> bool {
    is_integral(t) || is_float(t) || is_decimal(t)
}

pub(super) fn is_time(t: &DataType) -> bool {
    matches!(t, T::Date32 | T::Timestamp(..))
}

/// Neither an array, a map nor a struct.
pub(super) fn is_atomic(t: &DataType) -> bool {
    is_numeric(t) || is_time(t) || matches!(t, T::Boolean | T::Utf8 | T::Binary)
}

fn rank(t: &DataType) -> Option<u8> {
    Some(match t {
        T::Int8 => 0,
        T::Int16 => 1,
        T::Int32 => 2,
        T::Int64 => 3,
        T::Float32 => 4,
        T::Float64 => 5,
        _ => return None,
    })
}

/// Digits and scale of the decimal that holds every value of an integer type or decimal.
pub(super) fn as_decimal(t: &DataType) -> Option<(u8, i8)> {
    Some(match t {
        T::Int8 => (3, 0),
        T::Int16 => (5, 0),
        T::Int32 => (10, 0),
        T::Int64 => (20, 0),
        T::Decimal128(p, s) => (*p, *s),
        _ => return None,
    })
}

/// The type of both without loss; none where only a cast to text would do.
pub(super) fn tightest(a: &DataType, b: &DataType) -> Option<DataType> {
    if a == b {
        return Some(a.clone());
    }
    match (a, b) {
        (T::Null, t) | (t, T::Null) => Some(t.clone()),
        (T::Date32, T::Timestamp(..)) => Some(b.clone()),
        (T::Timestamp(..), T::Date32) => Some(a.clone()),
        (T::Timestamp(..), T::Timestamp(..)) => Some(timestamp_type()),
        _ => match (rank(a), rank(b)) {
            (Some(x), Some(y)) => Some(if x > y { a.clone() } else { b.clone() }),
            _ => None,
        },
    }
}

/// The type of both, decimals among them.
pub(super) fn wider(a: &DataType, b: &DataType) -> Option<DataType> {
    if let Some(t) = tightest(a, b) {
        return Some(t);
    }
    match (a, b) {
        (T::Decimal128(..), f) | (f, T::Decimal128(..)) if is_float(f) => return Some(T::Float64),
        (T::List(x), T::List(y)) => {
            let item = wider(x.data_type(), y.data_type())?;
            return Some(T::List(std::sync::Arc::new(Field::new(x.name(), item, true))));
        }
        _ => {}
    }
    let ((p1, s1), (p2, s2)) = (as_decimal(a)?, as_decimal(b)?);
    let scale = s1.max(s2);
    let whole = (p1 as i8 - s1).max(p2 as i8 - s2);
    Some(T::Decimal128((whole + scale).min(38) as u8, scale.min(38)))
}

/// As [`wider`], and text beside what can be written as one.
pub(super) fn wider_or_text(a: &DataType, b: &DataType) -> Option<DataType> {
    wider(a, b).or_else(|| match (a, b) {
        (T::Utf8, t) | (t, T::Utf8) if is_atomic(t) && !matches!(t, T::Binary | T::Boolean) => Some(T::Utf8),
        _ => None,
    })
}

/// Casts all to one type, which `combine` finds.
pub(super) fn unify(
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

/// The type in which two values are compared.
pub(super) fn comparison(a: &DataType, b: &DataType) -> Option<DataType> {
    match (a, b) {
        (T::Utf8, T::Decimal128(..)) | (T::Decimal128(..), T::Utf8) => Some(T::Float64),
        (T::Utf8, t) | (t, T::Utf8) if is_atomic(t) => Some(t.clone()),
        _ => wider(a, b),
    }
}

fn wrong(function: &str, node: &Node, wanted: &str) -> super::node::Fault {
    format!("{function} takes {wanted}, not {}: cast it", name(&node.data_type)).into()
}

/// An argument that is to be text.
pub(super) fn text(function: &str, node: Node) -> Res<Node> {
    match &node.data_type {
        T::Null => cast(node, &T::Utf8),
        t if is_atomic(t) => cast(node, &T::Utf8),
        _ => Err(wrong(function, &node, "a string")),
    }
}

/// An argument that is to be a number of the type `to`.
pub(super) fn number(function: &str, node: Node, to: &DataType) -> Res<Node> {
    match &node.data_type {
        T::Null | T::Utf8 => cast(node, to),
        t if is_numeric(t) => cast(node, to),
        _ => Err(wrong(function, &node, "a number")),
    }
}

/// An argument that is to be an integer; a longer one wraps.
pub(super) fn int(function: &str, node: Node) -> Res<Node> {
    match &node.data_type {
        T::Null | T::Utf8 => cast(node, &T::Int32),
        t if is_numeric(t) => cast(node, &T::Int32),
        _ => Err(wrong(function, &node, "an integer")),
    }
}

/// An argument that is to be a date.
pub(super) fn date(function: &str, node: Node) -> Res<Node> {
    match &node.data_type {
        T::Null | T::Utf8 | T::Date32 | T::Timestamp(..) => cast(node, &T::Date32),
        _ => Err(wrong(function, &node, "a date")),
    }
}

/// An argument that is to be a timestamp.
pub(super) fn timestamp(function: &str, node: Node) -> Res<Node> {
    match &node.data_type {
        T::Null | T::Utf8 | T::Date32 | T::Timestamp(..) => cast(node, &timestamp_type()),
        _ => Err(wrong(function, &node, "a timestamp")),
    }
}

/// An argument that is to be bytes.
pub(super) fn binary(function: &str, node: Node) -> Res<Node> {
    match &node.data_type {
        T::Null | T::Utf8 | T::Binary => cast(node, &T::Binary),
        _ => Err(wrong(function, &node, "a string or binary")),
    }
}

/// Checks how many arguments there are.
pub(super) fn arity(function: &str, args: &[Node], min: usize, max: usize) -> Res<()> {
    if (min..=max).contains(&args.len()) {
        return Ok(());
    }
    let wanted = if min == max { min.to_string() } else { format!("{min} to {max}") };
    Err(format!("{function} takes {wanted} arguments, not {}", args.len()).into())
}
