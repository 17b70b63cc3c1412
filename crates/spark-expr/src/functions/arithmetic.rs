//! `+ - * / % div` and their like: integers wrap, decimals that are too large and divisions by zero are null.

use arrow::array::Datum;
use arrow::compute::kernels::numeric;
use arrow::datatypes::{Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, i256};

use crate::fault::Res;
use crate::functions::datetime::add_days;
use crate::values::cast::cast;
use crate::values::coerce;
use crate::values::decimals::{adjust, divide_half_up, power_of_ten, rescale};
use crate::values::node::{Node, prims};
use crate::values::spark_types::{self, T, as_decimal, is_decimal, is_float, is_integral, is_numeric, is_time, name};

#[derive(Clone, Copy, PartialEq)]
enum Op {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Positive,
    Quotient,
}

/// Compiles an operator.
pub(super) fn build(function: &str, args: &mut Vec<Node>) -> Res<Option<Node>> {
    let op = match function {
        "+" => Op::Add,
        "-" => Op::Subtract,
        "*" => Op::Multiply,
        "/" => Op::Divide,
        "%" | "mod" => Op::Remainder,
        "pmod" => Op::Positive,
        "div" => Op::Quotient,
        "negative" | "positive" | "abs" => return sign(function, args).map(Some),
        _ => return Ok(None),
    };
    coerce::arity(function, args, 2, 2)?;
    let (Some(right), Some(left)) = (args.pop(), args.pop()) else { return Ok(None) };
    binary(function, op, left, right).map(Some)
}

fn sign(function: &str, args: &mut Vec<Node>) -> Res<Node> {
    coerce::arity(function, args, 1, 1)?;
    let mut arg = args.remove(0);
    if matches!(arg.data_type, T::Utf8 | T::Null) {
        arg = cast(arg, &T::Float64)?;
    }
    if !is_numeric(&arg.data_type) {
        return Err(format!("{function} takes a number, not {}: cast it", name(&arg.data_type)).into());
    }
    if function == "positive" {
        return Ok(arg);
    }
    let data_type = arg.data_type.clone();
    let (absolute, out) = (function == "abs", data_type.clone());
    Node::call(data_type, vec![arg], move |args, rows| {
        macro_rules! ints {
            ($t:ty) => {{
                let values = args[0].prim::<$t>();
                prims::<$t>(&out, rows, |i| {
                    values.at(i).map(|v| if absolute { v.wrapping_abs() } else { v.wrapping_neg() })
                })
            }};
        }
        macro_rules! floats {
            ($t:ty) => {{
                let values = args[0].prim::<$t>();
                prims::<$t>(&out, rows, |i| values.at(i).map(|v| if absolute { v.abs() } else { -v }))
            }};
        }
        match out {
            T::Int8 => ints!(Int8Type),
            T::Int16 => ints!(Int16Type),
            T::Int32 => ints!(Int32Type),
            T::Int64 => ints!(Int64Type),
            T::Float32 => floats!(Float32Type),
            T::Float64 => floats!(Float64Type),
            _ => ints!(Decimal128Type),
        }
    })
}

fn binary(function: &str, op: Op, mut left: Node, mut right: Node) -> Res<Node> {
    if is_time(&left.data_type) || is_time(&right.data_type) {
        return date_arithmetic(function, op, left, right);
    }
    // Spark reads texts beside numbers as doubles.
    for node in [&mut left, &mut right] {
        if node.data_type == T::Utf8 {
            if op == Op::Quotient {
                return Err("div takes numbers, not a string: cast it".into());
            }
            let taken = std::mem::replace(node, Node::null(&T::Null));
            *node = cast(taken, &T::Float64)?;
        }
    }
    match (left.is_null_literal(), right.is_null_literal()) {
        (true, true) => {
            let null = || Node::null(&T::Float64);
            (left, right) = (null(), null());
        }
        (true, false) => left = cast(left, &right.data_type)?,
        (false, true) => right = cast(right, &left.data_type)?,
        _ => {}
    }
    for node in [&left, &right] {
        if !is_numeric(&node.data_type) {
            return Err(format!("{function} takes numbers, not {}", name(&node.data_type)).into());
        }
    }
    if op == Op::Quotient && (is_float(&left.data_type) || is_float(&right.data_type)) {
        return Err("div takes integers and decimals, not doubles: write floor(a / b), or cast".into());
    }
    let some_decimal = is_decimal(&left.data_type) || is_decimal(&right.data_type);
    let some_float = is_float(&left.data_type) || is_float(&right.data_type);
    if some_decimal && !some_float {
        return decimals(op, decimal(left)?, decimal(right)?);
    }
    let data_type = match op {
        Op::Divide => T::Float64,
        Op::Quotient => T::Int64,
        _ if some_decimal => T::Float64,
        _ => spark_types::tightest(&left.data_type, &right.data_type).unwrap_or(T::Float64),
    };
    let args = vec![cast(left, &data_type)?, cast(right, &data_type)?];
    let out = data_type.clone();
    Node::call(data_type, args, move |args, rows| {
        let (a, b): (&dyn Datum, &dyn Datum) = (&args[0], &args[1]);
        // Arrow's kernels are the fastest where their rules are Spark's.
        match op {
            Op::Add => return Ok(numeric::add_wrapping(a, b)?),
            Op::Subtract => return Ok(numeric::sub_wrapping(a, b)?),
            Op::Multiply => return Ok(numeric::mul_wrapping(a, b)?),
            _ => {}
        }
        macro_rules! ints {
            ($t:ty) => {{
                let (a, b) = (args[0].prim::<$t>(), args[1].prim::<$t>());
                prims::<$t>(&out, rows, |i| {
                    let (a, b) = (a.at(i)?, b.at(i)?);
                    if b == 0 {
                        return None;
                    }
                    Some(match op {
                        Op::Quotient => a.wrapping_div(b),
                        Op::Positive => {
                            let r = a.wrapping_rem(b);
                            if r < 0 { r.wrapping_add(b).wrapping_rem(b) } else { r }
                        }
                        _ => a.wrapping_rem(b),
                    })
                })
            }};
        }
        macro_rules! floats {
            ($t:ty) => {{
                let (a, b) = (args[0].prim::<$t>(), args[1].prim::<$t>());
                prims::<$t>(&out, rows, |i| {
                    let (a, b) = (a.at(i)?, b.at(i)?);
                    if b == 0.0 {
                        return None;
                    }
                    Some(match op {
                        Op::Divide => a / b,
                        Op::Positive => {
                            let r = a % b;
                            if r < 0.0 { (r + b) % b } else { r }
                        }
                        _ => a % b,
                    })
                })
            }};
        }
        match out {
            T::Int8 => ints!(Int8Type),
            T::Int16 => ints!(Int16Type),
            T::Int32 => ints!(Int32Type),
            T::Int64 => ints!(Int64Type),
            T::Float32 => floats!(Float32Type),
            _ => floats!(Float64Type),
        }
    })
}

/// A date moved by days; differences of times would be intervals, which no table holds.
fn date_arithmetic(function: &str, op: Op, left: Node, right: Node) -> Res<Node> {
    let days = |node: &Node| is_integral(&node.data_type) && node.data_type != T::Int64;
    match op {
        Op::Add if left.data_type == T::Date32 && days(&right) => add_days(left, right, 1),
        Op::Add if right.data_type == T::Date32 && days(&left) => add_days(right, left, 1),
        Op::Subtract if left.data_type == T::Date32 && days(&right) => add_days(left, right, -1),
        _ => Err(format!(
            "{} {function} {} is not supported: use date_add, add_months, datediff, or unix_micros and timestamp_micros",
            name(&left.data_type),
            name(&right.data_type)
        )
        .into()),
    }
}

/// An integer as a decimal: a literal with the digits that it has, others with those of their type.
fn decimal(node: Node) -> Res<Node> {
    let (mut precision, scale) = as_decimal(&node.data_type).ok_or("a decimal takes a number")?;
    if node.literal
        && is_integral(&node.data_type)
        && let Some(value) = node.value()
    {
        let value = arrow::compute::cast(value, &T::Int64)?;
        let value = arrow::array::AsArray::as_primitive::<Int64Type>(&value).value(0);
        precision = value.unsigned_abs().to_string().len() as u8;
    }
    cast(node, &T::Decimal128(precision, scale))
}

fn decimals(op: Op, left: Node, right: Node) -> Res<Node> {
    let (T::Decimal128(p1, s1), T::Decimal128(p2, s2)) = (left.data_type.clone(), right.data_type.clone()) else {
        return Err("a decimal takes a number".into());
    };
    let (p1, s1, p2, s2) = (i32::from(p1), i32::from(s1), i32::from(p2), i32::from(s2));
    let scale = s1.max(s2);
    let (precision, result_scale) = match op {
        Op::Add | Op::Subtract => adjust((p1 - s1).max(p2 - s2) + scale + 1, scale),
        Op::Multiply => adjust(p1 + p2 + 1, s1 + s2),
        Op::Divide => {
            let fraction = 6.max(s1 + p2 + 1);
            adjust(p1 - s1 + s2 + fraction, fraction)
        }
        Op::Remainder | Op::Positive => adjust((p1 - s1).min(p2 - s2) + scale, scale),
        Op::Quotient => (38, 0),
    };
    let result_scale = i32::from(result_scale);
    if op == Op::Divide && p1 - s1 + s2 + result_scale > 76 {
        let (a, b) = (name(&left.data_type), name(&right.data_type));
        return Err(format!("{a} / {b} has more digits than are computed: cast one to a shorter decimal").into());
    }
    let out = if op == Op::Quotient { T::Int64 } else { T::Decimal128(precision, result_scale as i8) };
    let data_type = out.clone();
    let (up1, up2) = (power_of_ten((scale - s1) as u32), power_of_ten((scale - s2) as u32));
    let (Some(up1), Some(up2)) = (up1, up2) else { return Err("its scale is too large".into()) };
    Node::call(data_type, vec![left, right], move |args, rows| {
        let (a, b) = (args[0].prim::<Decimal128Type>(), args[1].prim::<Decimal128Type>());
        // Eighteen digits and one more fit 128 bits, the case of nearly all columns.
        if matches!(op, Op::Add | Op::Subtract) && precision < 38 && result_scale == scale {
            let (up1, up2) = (10i128.pow((scale - s1) as u32), 10i128.pow((scale - s2) as u32));
            return prims::<Decimal128Type>(&out, rows, |i| {
                let (a, b) = (a.at(i)? * up1, b.at(i)? * up2);
                Some(if op == Op::Add { a + b } else { a - b })
            });
        }
        let wide = |i: usize| -> Option<(i256, i256)> { Some((i256::from_i128(a.at(i)?), i256::from_i128(b.at(i)?))) };
        let same = |i: usize| -> Option<(i256, i256)> {
            let (a, b) = wide(i)?;
            Some((a.checked_mul(up1)?, b.checked_mul(up2)?))
        };
        if op == Op::Quotient {
            return prims::<Int64Type>(&out, rows, |i| {
                let (a, b) = same(i)?;
                // Java's longValue: the low 64 bits.
                Some(a.checked_div(b)?.as_i128() as i64)
            });
        }
        prims::<Decimal128Type>(&out, rows, |i| {
            let (value, from) = match op {
                Op::Add => same(i).and_then(|(a, b)| Some((a.checked_add(b)?, scale)))?,
                Op::Subtract => same(i).and_then(|(a, b)| Some((a.checked_sub(b)?, scale)))?,
                Op::Multiply => wide(i).and_then(|(a, b)| Some((a.checked_mul(b)?, s1 + s2)))?,
                Op::Divide => {
                    let (a, b) = wide(i)?;
                    let shift = result_scale - s1 + s2;
                    let quotient = match shift {
                        0.. => divide_half_up(a.checked_mul(power_of_ten(shift as u32)?)?, b)?,
                        _ => divide_half_up(a, b.checked_mul(power_of_ten(-shift as u32)?)?)?,
                    };
                    (quotient, result_scale)
                }
                _ => {
                    let (a, b) = same(i)?;
                    let rest = a.checked_rem(b)?;
                    let rest = if op == Op::Positive && rest < i256::ZERO {
                        rest.checked_add(b)?.checked_rem(b)?
                    } else {
                        rest
                    };
                    (rest, scale)
                }
            };
            rescale(value, from, precision, result_scale)
        })
    })
}
