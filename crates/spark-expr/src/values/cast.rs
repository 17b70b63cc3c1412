//! Casts as Spark's outside ANSI mode: what does not fit is null, or wraps.

use arrow::array::ArrayRef;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, i256,
};

use crate::fault::Res;
use crate::values::calendar::{MICROS_PER_DAY, MICROS_PER_SECOND, write_date, write_timestamp};
use crate::values::cast_text::{self, write_decimal};
use crate::values::decimals::rescale;
use crate::values::java_double::{write_double, write_float};
use crate::values::node::{Arg, Node, binaries, bools, prims, texts};
use crate::values::spark_types::{self, T, is_float, is_integral, name};

/// Casts a value.
pub(crate) fn cast(node: Node, to: &DataType) -> Res<Node> {
    if &node.data_type == to {
        return Ok(node);
    }
    if node.is_null_literal() {
        return Ok(Node::null(to));
    }
    let from = node.data_type.clone();
    check(&from, to)?;
    let literal = node.literal;
    let target = to.clone();
    let mut cast = Node::call(to.clone(), vec![node], move |args, rows| run(&args[0], &from, &target, rows))?;
    cast.literal = literal && is_integral(to);
    Ok(cast)
}

/// `TRY_CAST`: ANSI mode's cast, with null for what that refuses.
pub(crate) fn try_cast(node: Node, to: &DataType) -> Res<Node> {
    let from = node.data_type.clone();
    if &from == to || node.is_null_literal() {
        return cast(node, to);
    }
    let width = |t: &DataType| t.primitive_width().unwrap_or(0);
    match (&from, to) {
        (T::Utf8, t) if is_integral(t) => {
            let target = to.clone();
            Node::call(to.clone(), vec![node], move |args, rows| {
                let text = args[0].text();
                integers(&target, rows, |i| cast_text::integer(text.at(i).filter(|t| !t.contains('.'))?))
            })
        }
        (a, b) if is_integral(a) && is_integral(b) && width(a) > width(b) => {
            let target = to.clone();
            Node::call(to.clone(), vec![cast(node, &T::Int64)?], move |args, rows| {
                let value = args[0].prim::<Int64Type>();
                integers(&target, rows, |i| value.at(i))
            })
        }
        (T::Utf8, t) if t != &T::Binary => cast(node, to),
        (a, b) if is_integral(a) && (spark_types::is_numeric(b) || b == &T::Utf8) => cast(node, to),
        (T::Date32 | T::Timestamp(..), T::Utf8 | T::Date32 | T::Timestamp(..)) | (T::Boolean, T::Utf8) => {
            cast(node, to)
        }
        (T::Float32, T::Float64) => cast(node, to),
        _ => Err(format!("TRY_CAST from {} to {} is not supported: use CAST", name(&from), name(to)).into()),
    }
}

/// Integers of a type, null where they do not fit it.
fn integers(to: &DataType, rows: usize, mut value: impl FnMut(usize) -> Option<i64>) -> Res<ArrayRef> {
    match to {
        T::Int8 => prims::<Int8Type>(to, rows, |i| value(i)?.try_into().ok()),
        T::Int16 => prims::<Int16Type>(to, rows, |i| value(i)?.try_into().ok()),
        T::Int32 => prims::<Int32Type>(to, rows, |i| value(i)?.try_into().ok()),
        _ => prims::<Int64Type>(to, rows, value),
    }
}

fn check(from: &DataType, to: &DataType) -> Res<()> {
    let fail = |why: &str| Err(format!("there is no cast from {} to {}{why}", name(from), name(to)).into());
    if !spark_types::is_atomic(from) || !spark_types::is_atomic(to) {
        return fail(": take a field or an element of it");
    }
    match (from, to) {
        (T::Binary, T::Utf8) | (T::Utf8, _) | (_, T::Utf8) => Ok(()),
        (T::Binary, _) => fail(": cast it to STRING first"),
        (_, T::Binary) if is_integral(from) => Ok(()),
        (_, T::Binary) => fail(": cast it to STRING first"),
        (T::Date32, T::Timestamp(..)) | (T::Timestamp(..), T::Date32 | T::Timestamp(..)) => Ok(()),
        (T::Date32, _) => fail(": use unix_date, year, month or date_format"),
        (T::Timestamp(_, Some(_)), _) => Ok(()),
        (T::Timestamp(_, None), _) => fail(": cast it to TIMESTAMP first"),
        (_, T::Date32) => fail(": use date_from_unix_date, or cast to TIMESTAMP first"),
        (_, T::Timestamp(_, None)) => fail(": cast it to TIMESTAMP first"),
        _ => Ok(()),
    }
}

fn run(arg: &Arg, from: &DataType, to: &DataType, rows: usize) -> Res<ArrayRef> {
    match (from, to) {
        (T::Utf8, _) => from_text(arg, to, rows),
        (_, T::Utf8) => to_text(arg, from, rows),
        (_, T::Binary) => to_bytes(arg, from, rows),
        (T::Date32, _) => {
            let days = arg.prim::<Date32Type>();
            prims::<TimestampMicrosecondType>(to, rows, |i| i64::from(days.at(i)?).checked_mul(MICROS_PER_DAY))
        }
        (T::Timestamp(..), T::Timestamp(..)) => {
            let micros = arg.prim::<TimestampMicrosecondType>();
            prims::<TimestampMicrosecondType>(to, rows, |i| micros.at(i))
        }
        (T::Timestamp(..), _) => from_timestamp(arg, to, rows),
        (T::Decimal128(_, scale), _) => from_decimal(arg, i32::from(*scale), to, rows),
        _ if is_float(from) => from_double(arg, from, to, rows),
        _ => from_integer(arg, from, to, rows),
    }
}

/// Calls `$then` with a closure from rows to values as `$as`.
macro_rules! with_numbers {
    ($arg:expr, $from:expr, $value:ident => $then:expr) => {
        match $from {
            T::Int8 => {
                let v = $arg.prim::<Int8Type>();
                let $value = |i| v.at(i).map(i64::from);
                $then
            }
            T::Int16 => {
                let v = $arg.prim::<Int16Type>();
                let $value = |i| v.at(i).map(i64::from);
                $then
            }
            T::Int32 => {
                let v = $arg.prim::<Int32Type>();
                let $value = |i| v.at(i).map(i64::from);
                $then
            }
            T::Boolean => {
                let v = $arg.bools();
                let $value = |i| v.at(i).map(i64::from);
                $then
            }
            _ => {
                let v = $arg.prim::<Int64Type>();
                let $value = |i| v.at(i);
                $then
            }
        }
    };
}

fn from_integer(arg: &Arg, from: &DataType, to: &DataType, rows: usize) -> Res<ArrayRef> {
    with_numbers!(arg, from, value => match to {
        T::Boolean => bools(rows, |i| value(i).map(|v| v != 0)),
        T::Int8 => prims::<Int8Type>(to, rows, |i| value(i).map(|v| v as i8)),
        T::Int16 => prims::<Int16Type>(to, rows, |i| value(i).map(|v| v as i16)),
        T::Int32 => prims::<Int32Type>(to, rows, |i| value(i).map(|v| v as i32)),
        T::Int64 => prims::<Int64Type>(to, rows, value),
        T::Float32 => prims::<Float32Type>(to, rows, |i| value(i).map(|v| v as f32)),
        T::Float64 => prims::<Float64Type>(to, rows, |i| value(i).map(|v| v as f64)),
        T::Decimal128(p, s) => prims::<Decimal128Type>(to, rows, |i| {
            rescale(i256::from_i128(i128::from(value(i)?)), 0, *p, i32::from(*s))
        }),
        // Integers are seconds, a truth value microseconds.
        _ if from == &T::Boolean => prims::<TimestampMicrosecondType>(to, rows, value),
        _ => prims::<TimestampMicrosecondType>(to, rows, |i| Some(saturating_micros(value(i)?))),
    })
}

fn saturating_micros(seconds: i64) -> i64 {
    seconds.saturating_mul(MICROS_PER_SECOND)
}

fn from_double(arg: &Arg, from: &DataType, to: &DataType, rows: usize) -> Res<ArrayRef> {
    if from == &T::Float32 {
        let v = arg.prim::<Float32Type>();
        if let T::Decimal128(p, s) = to {
            let mut digits = String::new();
            return prims::<Decimal128Type>(to, rows, |i| {
                digits.clear();
                write_double(f64::from(v.at(i)?), &mut digits);
                cast_text::decimal(&digits, *p, *s)
            });
        }
        return double_to(|i| v.at(i).map(f64::from), to, rows);
    }
    let v = arg.prim::<Float64Type>();
    double_to(|i| v.at(i), to, rows)
}

fn double_to(value: impl Fn(usize) -> Option<f64>, to: &DataType, rows: usize) -> Res<ArrayRef> {
    match to {
        T::Boolean => bools(rows, |i| value(i).map(|v| v != 0.0)),
        // As Java: first to an integer, which then wraps.
        T::Int8 => prims::<Int8Type>(to, rows, |i| value(i).map(|v| v as i32 as i8)),
        T::Int16 => prims::<Int16Type>(to, rows, |i| value(i).map(|v| v as i32 as i16)),
        T::Int32 => prims::<Int32Type>(to, rows, |i| value(i).map(|v| v as i32)),
        T::Int64 => prims::<Int64Type>(to, rows, |i| value(i).map(|v| v as i64)),
        T::Float32 => prims::<Float32Type>(to, rows, |i| value(i).map(|v| v as f32)),
        T::Float64 => prims::<Float64Type>(to, rows, value),
        T::Decimal128(p, s) => {
            let mut digits = String::new();
            prims::<Decimal128Type>(to, rows, |i| {
                digits.clear();
                write_double(value(i)?, &mut digits);
                cast_text::decimal(&digits, *p, *s)
            })
        }
        _ => prims::<TimestampMicrosecondType>(to, rows, |i| {
            value(i).filter(|v| v.is_finite()).map(|v| (v * MICROS_PER_SECOND as f64) as i64)
        }),
    }
}

fn from_decimal(arg: &Arg, scale: i32, to: &DataType, rows: usize) -> Res<ArrayRef> {
    let value = arg.prim::<Decimal128Type>();
    let unit = 10i128.pow(scale as u32);
    // Java's longValue: the low 64 bits of the whole part.
    let whole = |i| value.at(i).map(|v| (v / unit) as i64);
    match to {
        T::Boolean => bools(rows, |i| value.at(i).map(|v| v != 0)),
        T::Int8 => prims::<Int8Type>(to, rows, |i| whole(i).map(|v| v as i8)),
        T::Int16 => prims::<Int16Type>(to, rows, |i| whole(i).map(|v| v as i16)),
        T::Int32 => prims::<Int32Type>(to, rows, |i| whole(i).map(|v| v as i32)),
        T::Int64 => prims::<Int64Type>(to, rows, whole),
        T::Float32 | T::Float64 => {
            let mut digits = String::new();
            let mut text = |i| {
                digits.clear();
                write_decimal(value.at(i)?, scale, &mut digits);
                Some(digits.clone())
            };
            match to {
                T::Float32 => prims::<Float32Type>(to, rows, |i| text(i)?.parse().ok()),
                _ => prims::<Float64Type>(to, rows, |i| text(i)?.parse().ok()),
            }
        }
        T::Decimal128(p, s) => {
            prims::<Decimal128Type>(to, rows, |i| rescale(i256::from_i128(value.at(i)?), scale, *p, i32::from(*s)))
        }
        _ => prims::<TimestampMicrosecondType>(to, rows, |i| {
            let micros = i256::from_i128(value.at(i)?).checked_mul(i256::from_i128(1_000_000))?;
            Some(micros.checked_div(i256::from_i128(unit))?.as_i128() as i64)
        }),
    }
}

fn from_timestamp(arg: &Arg, to: &DataType, rows: usize) -> Res<ArrayRef> {
    let micros = arg.prim::<TimestampMicrosecondType>();
    let seconds = |i| micros.at(i).map(|v| v.div_euclid(MICROS_PER_SECOND));
    let double = |i| micros.at(i).map(|v| v as f64 / MICROS_PER_SECOND as f64);
    match to {
        T::Date32 => prims::<Date32Type>(to, rows, |i| micros.at(i).map(|v| v.div_euclid(MICROS_PER_DAY) as i32)),
        T::Boolean => bools(rows, |i| micros.at(i).map(|v| v != 0)),
        T::Int8 => prims::<Int8Type>(to, rows, |i| seconds(i).map(|v| v as i8)),
        T::Int16 => prims::<Int16Type>(to, rows, |i| seconds(i).map(|v| v as i16)),
        T::Int32 => prims::<Int32Type>(to, rows, |i| seconds(i).map(|v| v as i32)),
        T::Int64 => prims::<Int64Type>(to, rows, seconds),
        _ => double_to(double, to, rows),
    }
}

fn from_text(arg: &Arg, to: &DataType, rows: usize) -> Res<ArrayRef> {
    let text = arg.text();
    match to {
        T::Boolean => bools(rows, |i| cast_text::boolean(text.at(i)?)),
        t if is_integral(t) => integers(t, rows, |i| cast_text::integer(text.at(i)?)),
        T::Float32 => prims::<Float32Type>(to, rows, |i| cast_text::float(text.at(i)?)),
        T::Float64 => prims::<Float64Type>(to, rows, |i| cast_text::float(text.at(i)?)),
        T::Decimal128(p, s) => prims::<Decimal128Type>(to, rows, |i| cast_text::decimal(text.at(i)?, *p, *s)),
        T::Date32 => prims::<Date32Type>(to, rows, |i| cast_text::date(text.at(i)?)),
        T::Binary => binaries(rows, |i, out| {
            out.extend_from_slice(text.at(i)?.as_bytes());
            Some(())
        }),
        T::Timestamp(_, zone) => {
            let zoned = zone.is_some();
            prims::<TimestampMicrosecondType>(to, rows, |i| cast_text::timestamp(text.at(i)?, zoned))
        }
        other => Err(format!("there is no cast from string to {}", name(other)).into()),
    }
}

/// Big-endian, as Java writes integers.
fn to_bytes(arg: &Arg, from: &DataType, rows: usize) -> Res<ArrayRef> {
    let width = from.primitive_width().unwrap_or(8);
    with_numbers!(arg, from, value => binaries(rows, |i, out| {
        out.extend_from_slice(&value(i)?.to_be_bytes()[8 - width..]);
        Some(())
    }))
}

fn to_text(arg: &Arg, from: &DataType, rows: usize) -> Res<ArrayRef> {
    use std::fmt::Write;
    match from {
        T::Boolean => {
            let v = arg.bools();
            texts(rows, |i, out| {
                out.push_str(if v.at(i)? { "true" } else { "false" });
                Some(())
            })
        }
        T::Float32 => {
            let v = arg.prim::<Float32Type>();
            texts(rows, |i, out| v.at(i).map(|v| write_float(v, out)))
        }
        T::Float64 => {
            let v = arg.prim::<Float64Type>();
            texts(rows, |i, out| v.at(i).map(|v| write_double(v, out)))
        }
        T::Decimal128(_, scale) => {
            let v = arg.prim::<Decimal128Type>();
            texts(rows, |i, out| v.at(i).map(|v| write_decimal(v, i32::from(*scale), out)))
        }
        T::Date32 => {
            let v = arg.prim::<Date32Type>();
            texts(rows, |i, out| v.at(i).map(|v| write_date(i64::from(v), out)))
        }
        T::Timestamp(..) => {
            let v = arg.prim::<TimestampMicrosecondType>();
            texts(rows, |i, out| v.at(i).map(|v| write_timestamp(v, out)))
        }
        T::Binary => {
            let v = arg.bytes();
            // A string column holds UTF-8 only.
            texts(rows, |i, out| {
                out.push_str(&String::from_utf8_lossy(v.at(i)?));
                Some(())
            })
        }
        _ => with_numbers!(arg, from, value => texts(rows, |i, out| write!(out, "{}", value(i)?).ok())),
    }
}

/// Casts an array of a type to another, which [`cast`] allows.
pub(crate) fn cast_array(array: &ArrayRef, from: &DataType, to: &DataType) -> Res<ArrayRef> {
    if from == to {
        return Ok(array.clone());
    }
    run(&Arg { array: array.clone(), scalar: false }, from, to, arrow::array::Array::len(array))
}
