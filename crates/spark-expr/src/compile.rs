//! From an expression as written to kernels.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, TimestampMicrosecondArray,
};
use arrow::datatypes::{Schema, SchemaRef};

use crate::fault::Res;
use crate::functions::{self, hash, nested, refused};
use crate::syntax::parse::Ast;
use crate::values::cast::{cast, try_cast};
use crate::values::cast_text;
use crate::values::node::Node;
use crate::values::spark_types::{self, T};

/// Compiles an expression over the columns of `schema`. Columns and nested fields that are not there count as null, and
/// are entered in `missing`.
pub(crate) fn compile(expr: &Ast, schema: &SchemaRef, missing: &mut Vec<String>) -> Res<Node> {
    match expr {
        Ast::Null => Ok(Node::null(&T::Null)),
        Ast::Bool(value) => Ok(Node::constant(Arc::new(BooleanArray::from(vec![*value])))),
        Ast::Number(text) => number(text),
        Ast::Text(text) => Ok(Node::text(text)),
        Ast::Typed(kind, text) => typed(kind, text),
        Ast::Name(name) => column(name, schema, missing),
        Ast::Field(base, field) => {
            let base = compile(base, schema, missing)?;
            if base.data_type == T::Null || nested::lacks(&base.data_type, field) {
                missing.push(field.clone());
                return Ok(Node::null(&T::Null));
            }
            nested::field(base, field)
        }
        Ast::Cast(value, to) => cast(compile(value, schema, missing)?, to),
        Ast::TryCast(value, to) => try_cast(compile(value, schema, missing)?, to),
        Ast::Call(function, args) => {
            let args = args.iter().map(|a| compile(a, schema, missing)).collect::<Res<Vec<_>>>()?;
            functions::call(function, args)
        }
    }
}

/// The position of a column, which is found without regard to case, as Spark finds it.
pub(crate) fn position(wanted: &str, schema: &Schema) -> Res<Option<usize>> {
    let mut found = schema.fields().iter().enumerate().filter(|(_, f)| f.name().eq_ignore_ascii_case(wanted));
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(format!("there are several columns '{wanted}' that differ in case").into()),
        (found, _) => Ok(found.map(|(index, _)| index)),
    }
}

fn column(wanted: &str, schema: &Schema, missing: &mut Vec<String>) -> Res<Node> {
    match position(wanted, schema)? {
        Some(index) => Ok(Node::column(index, spark_types::plain(schema.field(index).data_type()))),
        None => {
            missing.push(wanted.to_owned());
            Ok(Node::null(&T::Null))
        }
    }
}

fn decimal_literal(text: &str) -> Res<Node> {
    let wrong = || format!("the number {text} has more than 38 digits");
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().map_err(|_| wrong())?),
        None => (text, 0),
    };
    let digits: String = mantissa.chars().filter(|c| c.is_ascii_digit()).collect();
    let scale = mantissa.find('.').map_or(0, |at| mantissa.len() - at - 1) as i32 - exponent;
    if !(0..=38).contains(&scale) {
        return Err(wrong().into());
    }
    let value: i128 = digits.parse().map_err(|_| wrong())?;
    let length = digits.trim_start_matches('0').len().max(1) as i32;
    let precision = length.max(scale);
    if precision > 38 {
        return Err(wrong().into());
    }
    let value = if text.starts_with('-') { -value } else { value };
    let array = Decimal128Array::from(vec![value]).with_precision_and_scale(precision as u8, scale as i8)?;
    Ok(Node::literal(Arc::new(array)))
}

/// A number: an integer is INT where it fits, one with a point DECIMAL, one with an exponent DOUBLE.
fn number(text: &str) -> Res<Node> {
    let lower = text.to_ascii_lowercase();
    let range = || format!("the number {text} is out of its type's range");
    let is_number =
        |s: &str| cast_text::float::<f64>(s).is_some() && s.ends_with(|c: char| c.is_ascii_digit() || c == '.');
    let integer = |s: &str| s.parse::<i64>().map_err(|_| range());
    if let Some(digits) = lower.strip_suffix("bd")
        && is_number(digits)
    {
        return decimal_literal(digits);
    }
    let (digits, suffix) = lower.split_at(lower.len() - 1);
    let array: ArrayRef = match suffix {
        "l" if is_number(digits) => Arc::new(Int64Array::from(vec![integer(digits)?])),
        "s" if is_number(digits) => {
            Arc::new(Int16Array::from(vec![i16::try_from(integer(digits)?).map_err(|_| range())?]))
        }
        "y" if is_number(digits) => {
            Arc::new(Int8Array::from(vec![i8::try_from(integer(digits)?).map_err(|_| range())?]))
        }
        "f" if is_number(digits) => {
            let value: f32 = digits.parse().map_err(|_| range())?;
            if value.is_infinite() {
                return Err(range().into());
            }
            Arc::new(Float32Array::from(vec![value]))
        }
        "d" if is_number(digits) => Arc::new(Float64Array::from(vec![finite(digits).ok_or_else(range)?])),
        _ if !is_number(&lower) => return Err(format!("'{text}' is neither a number nor a name").into()),
        _ if lower.contains('e') => Arc::new(Float64Array::from(vec![finite(&lower).ok_or_else(range)?])),
        _ if lower.contains('.') => return decimal_literal(&lower),
        _ => match (lower.parse::<i32>(), lower.parse::<i64>()) {
            (Ok(value), _) => Arc::new(Int32Array::from(vec![value])),
            (_, Ok(value)) => Arc::new(Int64Array::from(vec![value])),
            _ => return decimal_literal(&lower),
        },
    };
    Ok(Node::literal(array))
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|v: &f64| v.is_finite())
}

fn typed(kind: &str, text: &str) -> Res<Node> {
    let wrong = |what: &str| format!("'{text}' is no {what}");
    Ok(Node::constant(match kind {
        "DATE" => Arc::new(Date32Array::from(vec![cast_text::date(text).ok_or_else(|| wrong("date"))?])),
        "TIMESTAMP" | "TIMESTAMP_LTZ" => {
            let micros = cast_text::timestamp(text, true).ok_or_else(|| wrong("timestamp"))?;
            Arc::new(TimestampMicrosecondArray::from(vec![micros]).with_timezone("UTC"))
        }
        "TIMESTAMP_NTZ" => {
            let micros = cast_text::timestamp(text, false).ok_or_else(|| wrong("timestamp"))?;
            Arc::new(TimestampMicrosecondArray::from(vec![micros]))
        }
        "X" => {
            let padded = if text.len() % 2 == 1 { format!("0{text}") } else { text.to_owned() };
            let bytes = hash::from_hex(padded.as_bytes()).ok_or_else(|| wrong("hexadecimal number"))?;
            Arc::new(BinaryArray::from(vec![bytes.as_slice()]))
        }
        _ => {
            return Err(
                "INTERVAL is not supported: use date_add, add_months, or unix_micros and timestamp_micros".into()
            );
        }
    }))
}

/// Refuses early, without a schema, what no schema would make right.
pub(crate) fn check(expr: &Ast) -> Res<()> {
    match expr {
        Ast::Call(name, args) => {
            if refused::differs_between_runs(name) {
                return Err(refused::unknown(name));
            }
            args.iter().try_for_each(check)
        }
        Ast::Field(base, _) | Ast::Cast(base, _) | Ast::TryCast(base, _) => check(base),
        _ => Ok(()),
    }
}
