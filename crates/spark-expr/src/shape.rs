//! What a condition says of single columns, as a tree that others can read.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::kernels::cmp;
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};

use crate::compile::{compile, position};
use crate::syntax::parse::Ast;
use crate::values::cast::{cast, cast_array};
use crate::values::coerce;
use crate::values::conditions::normal;
use crate::values::node::Node;
use crate::values::spark_types::{self, T, is_integral};

/// How a column is compared with a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// The tree of a condition. Each part has for each row the same value (true, false or null) as what it stands for;
/// [`Shape::Other`] alone says nothing, not even below [`Shape::Not`].
///
/// Literals have the type of the column's field. Numbers are compared as Spark compares them: NaN is equal to itself and
/// greater than all others, and 0.0 is equal to -0.0. Texts and bytes are compared byte by byte.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// All of them; without any, it is true.
    And(Vec<Shape>),
    /// One of them; without any, it is false.
    Or(Vec<Shape>),
    /// The opposite. `<>`, `NOT IN` and `IS NOT NULL` are written with it.
    Not(Box<Shape>),
    /// A column compared with a literal, the column on the left. It is null where the column is.
    Compare {
        /// The column's name as in the schema.
        column: String,
        /// The comparison.
        comparison: Comparison,
        /// An array of one value, which is not null.
        literal: ArrayRef,
    },
    /// A column that has one of some values. It is null where the column is.
    In {
        /// The column's name as in the schema.
        column: String,
        /// The values, none of them null.
        literals: ArrayRef,
    },
    /// A column that is null.
    IsNull {
        /// The column's name as in the schema.
        column: String,
    },
    /// Any other condition.
    Other,
}

/// The tree of a condition that compiles for `schema`.
pub(crate) fn shape(expr: &Ast, schema: &SchemaRef) -> Shape {
    match expr {
        Ast::Call(function, args) => match (function.as_str(), args.as_slice()) {
            ("and", [left, right]) => {
                let mut all = Vec::new();
                for side in [left, right] {
                    match shape(side, schema) {
                        Shape::And(parts) => all.extend(parts),
                        part => all.push(part),
                    }
                }
                Shape::And(all)
            }
            ("or", [left, right]) => {
                let mut all = Vec::new();
                for side in [left, right] {
                    match shape(side, schema) {
                        Shape::Or(parts) => all.extend(parts),
                        part => all.push(part),
                    }
                }
                Shape::Or(all)
            }
            ("not", [inner]) => not(shape(inner, schema)),
            ("isnull", [Ast::Name(name)]) => is_null(name, schema),
            ("isnotnull", [Ast::Name(name)]) => not(is_null(name, schema)),
            ("in", [Ast::Name(name), items @ ..]) => within(name, items, schema).unwrap_or(Shape::Other),
            ("=" | "<" | "<=" | ">" | ">=" | "<=>", [left, right]) => {
                compare(function, left, right, schema).or_else(|| constant(expr, schema)).unwrap_or(Shape::Other)
            }
            _ => constant(expr, schema).unwrap_or(Shape::Other),
        },
        // A column of truth values is a condition by itself.
        Ast::Name(_) => compare("=", expr, &Ast::Bool(true), schema).unwrap_or(Shape::Other),
        _ => constant(expr, schema).unwrap_or(Shape::Other),
    }
}

fn not(shape: Shape) -> Shape {
    match shape {
        Shape::Other => Shape::Other,
        shape => Shape::Not(Box::new(shape)),
    }
}

fn field<'a>(name: &str, schema: &'a SchemaRef) -> Option<&'a Field> {
    Some(schema.field(position(name, schema).ok()??))
}

fn is_null(name: &str, schema: &SchemaRef) -> Shape {
    match field(name, schema) {
        Some(field) => Shape::IsNull { column: field.name().clone() },
        None => Shape::Other,
    }
}

/// A condition that names no column and is true or false.
fn constant(expr: &Ast, schema: &SchemaRef) -> Option<Shape> {
    let node = value(expr, schema)?;
    let value = node.value()?.as_boolean_opt()?;
    match value.is_valid(0) {
        true if value.value(0) => Some(Shape::And(Vec::new())),
        true => Some(Shape::Or(Vec::new())),
        false => None,
    }
}

/// What an expression is in each row, where it names no column.
fn value(expr: &Ast, schema: &SchemaRef) -> Option<Node> {
    compile(expr, schema, &mut Vec::new()).ok().filter(|node| node.value().is_some())
}

fn compare(function: &str, left: &Ast, right: &Ast, schema: &SchemaRef) -> Option<Shape> {
    use Comparison::*;
    let (name, other, comparison) = match (left, right, function) {
        (Ast::Name(name), other, "=" | "<=>") | (other, Ast::Name(name), "=" | "<=>") => (name, other, Equal),
        (Ast::Name(name), other, "<") | (other, Ast::Name(name), ">") => (name, other, Less),
        (Ast::Name(name), other, "<=") | (other, Ast::Name(name), ">=") => (name, other, LessOrEqual),
        (Ast::Name(name), other, ">") | (other, Ast::Name(name), "<") => (name, other, Greater),
        (Ast::Name(name), other, ">=") | (other, Ast::Name(name), "<=") => (name, other, GreaterOrEqual),
        _ => return None,
    };
    let field = field(name, schema)?;
    let other = value(other, schema)?;
    let common = spark_types::comparison(&spark_types::plain(field.data_type()), &other.data_type)?;
    // NULL as written has a type of its own, in which Arrow counts no nulls: it gets the column's first.
    let other = cast(other, &common).ok()?;
    if function == "<=>" && other.value()?.is_null(0) {
        return Some(is_null(name, schema));
    }
    let literal = literal(&other, field)?;
    let compared = Shape::Compare { column: field.name().clone(), comparison, literal };
    Some(match function {
        // Where the column is null, `<=>` is false and `=` is null.
        "<=>" => Shape::And(vec![not(is_null(name, schema)), compared]),
        _ => compared,
    })
}

fn within(name: &str, items: &[Ast], schema: &SchemaRef) -> Option<Shape> {
    let field = field(name, schema)?;
    let mut nodes = vec![Node::column(0, spark_types::plain(field.data_type()))];
    for item in items {
        nodes.push(value(item, schema)?);
    }
    let (_, nodes) = coerce::unify("in", nodes, spark_types::wider_or_text).ok()?;
    let literals: Vec<ArrayRef> = nodes[1..].iter().map(|node| literal(node, field)).collect::<Option<_>>()?;
    let literals: Vec<&dyn Array> = literals.iter().map(AsRef::as_ref).collect();
    Some(Shape::In { column: field.name().clone(), literals: arrow::compute::concat(&literals).ok()? })
}

/// A constant of the type in which it is compared with a column, as a value of the column. None where the column has no
/// such value, or where its own values change when they are cast for the comparison.
fn literal(constant: &Node, field: &Field) -> Option<ArrayRef> {
    let common = &constant.data_type;
    let column = spark_types::plain(field.data_type());
    let value = normal(constant.value()?);
    if value.is_null(0) || !keeps_order(&column, common) || !is_computed_as_stored(field.data_type()) {
        return None;
    }
    let cast = cast_array(&value, common, &column).ok()?;
    let back = cast_array(&cast, &column, common).ok()?;
    let same = cmp::eq(&normal(&back), &value).ok()?;
    if same.is_null(0) || !same.value(0) {
        return None;
    }
    arrow::compute::cast(&cast, field.data_type()).ok().filter(|literal| literal.is_valid(0))
}

/// Whether all values of a type stay different, and in their order, when they are cast to another.
fn keeps_order(from: &DataType, to: &DataType) -> bool {
    let width = |t: &DataType| t.primitive_width().unwrap_or(0);
    match (from, to) {
        (from, to) if from == to => spark_types::is_atomic(from),
        (from, to) if is_integral(from) && is_integral(to) => width(from) <= width(to),
        (T::Int8 | T::Int16, T::Float32) | (T::Int8 | T::Int16 | T::Int32 | T::Float32, T::Float64) => true,
        (from, T::Decimal128(precision, scale)) => spark_types::as_decimal(from).is_some_and(|(p, s)| {
            let whole = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
            s <= *scale && whole(p, s) <= whole(*precision, *scale)
        }),
        (T::Timestamp(..), T::Timestamp(..)) => true,
        _ => false,
    }
}

/// Whether a column's values are not cut when they are read: timestamps are computed in microseconds.
fn is_computed_as_stored(stored: &DataType) -> bool {
    !matches!(stored, T::Timestamp(TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Nanosecond, _))
}
