//! Rounding, powers, bits.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, i256};

use crate::fault::Res;
use crate::values::cast::cast;
use crate::values::coerce::{self, arity};
use crate::values::decimals::{decimal_array, rescale};
use crate::values::java_double::write_double;
use crate::values::node::{Node, prims};
use crate::values::spark_types::{self, T, is_decimal, is_integral, is_numeric, name};

/// Compiles a function of numbers.
pub(super) fn build(function: &str, args: &mut Vec<Node>) -> Res<Option<Node>> {
    let mut take = |min, max| -> Res<Vec<Node>> {
        arity(function, args, min, max)?;
        Ok(std::mem::take(args))
    };
    Ok(Some(match function {
        "floor" | "ceil" | "ceiling" => to_whole(function, take(1, 1)?.remove(0))?,
        "round" | "bround" => round(function, take(1, 2)?)?,
        "rint" => double(function, take(1, 1)?, f64::round_ties_even)?,
        "sqrt" => double(function, take(1, 1)?, f64::sqrt)?,
        "exp" => double(function, take(1, 1)?, libm::exp)?,
        "degrees" => double(function, take(1, 1)?, |v| v * (180.0 / std::f64::consts::PI))?,
        "radians" => double(function, take(1, 1)?, |v| v * (std::f64::consts::PI / 180.0))?,
        "sign" | "signum" => double(function, take(1, 1)?, |v| if v == 0.0 || v.is_nan() { v } else { v.signum() })?,
        "power" | "pow" => {
            let args = doubles(function, take(2, 2)?)?;
            Node::call(T::Float64, args, |args, rows| {
                let (a, b) = (args[0].prim::<Float64Type>(), args[1].prim::<Float64Type>());
                prims::<Float64Type>(&T::Float64, rows, |i| Some(power(a.at(i)?, b.at(i)?)))
            })?
        }
        "&" | "|" | "^" => bits(function, take(2, 2)?)?,
        "~" => {
            let value = take(1, 1)?.remove(0);
            let minus_one =
                cast(Node::literal(Arc::new(arrow::array::Int32Array::from(vec![-1]))), &integral(function, &value)?)?;
            bits("^", vec![value, minus_one])?
        }
        "shiftleft" | "shiftright" | "shiftrightunsigned" => shift(function, take(2, 2)?)?,
        "bit_count" => {
            let value = take(1, 1)?.remove(0);
            if !is_integral(&value.data_type) {
                return Err(format!("bit_count takes an integer, not {}", name(&value.data_type)).into());
            }
            Node::call(T::Int32, vec![cast(value, &T::Int64)?], |args, rows| {
                let v = args[0].prim::<Int64Type>();
                prims::<Int32Type>(&T::Int32, rows, |i| v.at(i).map(|v| v.count_ones() as i32))
            })?
        }
        _ => return Ok(None),
    }))
}

/// Java's `StrictMath.pow`, where the C library has other answers.
fn power(base: f64, exponent: f64) -> f64 {
    if exponent.is_nan() || (base.abs() == 1.0 && exponent.is_infinite()) || (base.is_nan() && exponent != 0.0) {
        return f64::NAN;
    }
    libm::pow(base, exponent)
}

fn doubles(function: &str, args: Vec<Node>) -> Res<Vec<Node>> {
    args.into_iter().map(|a| coerce::number(function, a, &T::Float64)).collect()
}

fn double(function: &str, args: Vec<Node>, f: fn(f64) -> f64) -> Res<Node> {
    Node::call(T::Float64, doubles(function, args)?, move |args, rows| {
        let v = args[0].prim::<Float64Type>();
        prims::<Float64Type>(&T::Float64, rows, |i| v.at(i).map(f))
    })
}

fn to_whole(function: &str, arg: Node) -> Res<Node> {
    let up = function != "floor";
    match arg.data_type {
        T::Int64 => Ok(arg),
        T::Decimal128(_, 0) => Ok(arg),
        T::Decimal128(p, s) => {
            let out = T::Decimal128((i32::from(p) - i32::from(s) + 1).min(38) as u8, 0);
            let unit = 10i128.pow(s as u32);
            Node::call(out.clone(), vec![arg], move |args, rows| {
                let v = args[0].prim::<Decimal128Type>();
                decimal_array(&out, rows, |i| {
                    v.at(i).map(|v| if up { -(-v).div_euclid(unit) } else { v.div_euclid(unit) })
                })
            })
        }
        _ => {
            let arg = coerce::number(function, arg, &T::Float64)?;
            Node::call(T::Int64, vec![arg], move |args, rows| {
                let v = args[0].prim::<Float64Type>();
                prims::<Int64Type>(&T::Int64, rows, |i| v.at(i).map(|v| if up { v.ceil() } else { v.floor() } as i64))
            })
        }
    }
}

/// A decimal rounded to a scale: half up, or half to the even digit.
fn round_decimal(value: i128, scale: i32, to: i32, even: bool) -> Option<i128> {
    if to >= scale {
        return rescale(i256::from_i128(value), scale, 38, to);
    }
    let unit = 10i128.checked_pow((scale - to) as u32)?;
    let (quotient, rest) = (value / unit, (value % unit).unsigned_abs());
    let half = unit.unsigned_abs() / 2;
    let up = rest > half || (rest == half && (!even || quotient % 2 != 0));
    Some(if up { quotient + value.signum() } else { quotient })
}

fn round(function: &str, mut args: Vec<Node>) -> Res<Node> {
    let to = match args.len() {
        2 => match coerce::int(function, args.remove(1))?.const_int() {
            Some(Some(to)) => to,
            _ => return Err(format!("{function}: the scale is to be a number, the same in each row").into()),
        },
        _ => 0,
    };
    let Some(mut arg) = args.pop() else { return Err(format!("{function} takes a number").into()) };
    if matches!(arg.data_type, T::Utf8 | T::Null) {
        arg = cast(arg, &T::Float64)?;
    }
    if !is_numeric(&arg.data_type) {
        return Err(format!("{function} takes a number, not {}: cast it", name(&arg.data_type)).into());
    }
    let even = function == "bround";
    let data_type = arg.data_type.clone();
    match data_type.clone() {
        T::Decimal128(p, s) => {
            let (p, s) = (i32::from(p), i32::from(s));
            let whole = p - s + 1;
            let (precision, scale) =
                if to < 0 { (whole.max(-to + 1).min(38), 0) } else { ((whole + s.min(to)).min(38), s.min(to)) };
            let out = T::Decimal128(precision as u8, scale as i8);
            Node::call(out.clone(), vec![arg], move |args, rows| {
                let v = args[0].prim::<Decimal128Type>();
                decimal_array(&out, rows, |i| {
                    let value = v.at(i)?;
                    let rounded = if to < -38 { Some(0) } else { round_decimal(value, s, to.min(s), even) }?;
                    rescale(i256::from_i128(rounded), to.min(s), precision as u8, scale)
                })
            })
        }
        T::Float32 => Node::call(data_type, vec![arg], move |args, rows| {
            let v = args[0].prim::<Float32Type>();
            let mut digits = String::new();
            prims::<Float32Type>(&T::Float32, rows, |i| {
                let value = v.at(i)?;
                if !value.is_finite() {
                    return Some(value);
                }
                digits.clear();
                write_double(f64::from(value), &mut digits);
                round_digits(&digits, to, even)
            })
        }),
        T::Float64 => Node::call(data_type, vec![arg], move |args, rows| {
            let v = args[0].prim::<Float64Type>();
            let mut digits = String::new();
            prims::<Float64Type>(&T::Float64, rows, |i| {
                let value = v.at(i)?;
                if !value.is_finite() {
                    return Some(value);
                }
                digits.clear();
                write_double(value, &mut digits);
                round_digits(&digits, to, even)
            })
        }),
        out => {
            if to >= 0 {
                return Ok(arg);
            }
            Node::call(data_type, vec![cast(arg, &T::Int64)?], move |args, rows| {
                let v = args[0].prim::<Int64Type>();
                let round = |i: usize| {
                    let value = i128::from(v.at(i)?);
                    if to < -30 {
                        return Some(0);
                    }
                    let rounded = round_decimal(value, 0, to, even)?.checked_mul(10i128.pow(-to as u32))?;
                    Some(rounded as i64)
                };
                match out {
                    T::Int8 => prims::<Int8Type>(&out, rows, |i| round(i).map(|v| v as i8)),
                    T::Int16 => prims::<Int16Type>(&out, rows, |i| round(i).map(|v| v as i16)),
                    T::Int32 => prims::<Int32Type>(&out, rows, |i| round(i).map(|v| v as i32)),
                    _ => prims::<Int64Type>(&out, rows, round),
                }
            })
        }
    }
}

/// A double's decimal digits rounded at a scale.
fn round_digits<F: std::str::FromStr>(text: &str, to: i32, even: bool) -> Option<F> {
    let (negative, text) = (text.starts_with('-'), text.trim_start_matches('-'));
    let (mantissa, exponent) = match text.find('E') {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    let point = mantissa.find('.').unwrap_or(mantissa.len());
    let digits: i128 = mantissa.bytes().filter(u8::is_ascii_digit).fold(0, |n, b| n * 10 + i128::from(b - b'0'));
    let scale = (mantissa.len() - point).saturating_sub(1) as i32 - exponent;
    let (value, scale) = if to >= scale {
        (digits, scale)
    } else if scale - to > 36 {
        (0, 0)
    } else {
        (round_decimal(digits, scale, to, even)?, to)
    };
    // A zero made by rounding has lost its sign on the way through a decimal.
    let sign = if negative && value != 0 { "-" } else { "" };
    format!("{sign}{value}e{}", -scale).parse().ok()
}

fn integral(function: &str, node: &Node) -> Res<T> {
    match &node.data_type {
        t if is_integral(t) => Ok(t.clone()),
        other => Err(format!("{function} takes integers, not {}", name(other)).into()),
    }
}

fn bits(function: &str, mut args: Vec<Node>) -> Res<Node> {
    let (Some(b), Some(a)) = (args.pop(), args.pop()) else { return Err("it takes two integers".into()) };
    integral(function, &a)?;
    integral(function, &b)?;
    let data_type = spark_types::tightest(&a.data_type, &b.data_type).unwrap_or(T::Int64);
    let operator = function.to_owned();
    let args = vec![cast(a, &data_type)?, cast(b, &data_type)?];
    let out = data_type.clone();
    Node::call(data_type, args, move |args, rows| {
        macro_rules! ints {
            ($t:ty) => {{
                let (a, b) = (args[0].prim::<$t>(), args[1].prim::<$t>());
                match operator.as_str() {
                    "&" => prims::<$t>(&out, rows, |i| Some(a.at(i)? & b.at(i)?)),
                    "|" => prims::<$t>(&out, rows, |i| Some(a.at(i)? | b.at(i)?)),
                    _ => prims::<$t>(&out, rows, |i| Some(a.at(i)? ^ b.at(i)?)),
                }
            }};
        }
        match out {
            T::Int8 => ints!(Int8Type),
            T::Int16 => ints!(Int16Type),
            T::Int32 => ints!(Int32Type),
            _ => ints!(Int64Type),
        }
    })
}

/// Shifts of 32 or 64 bits, by the low bits of the distance as Java's.
fn shift(function: &str, mut args: Vec<Node>) -> Res<Node> {
    let (Some(by), Some(mut value)) = (args.pop(), args.pop()) else { return Err("it takes two integers".into()) };
    let by = coerce::int(function, by)?;
    if is_decimal(&value.data_type) || integral(function, &value).is_err() {
        return Err(format!("{function} takes an integer, not {}", name(&value.data_type)).into());
    }
    if value.data_type != T::Int64 {
        value = cast(value, &T::Int32)?;
    }
    let name = function.to_owned();
    let out = value.data_type.clone();
    Node::call(out.clone(), vec![value, by], move |args, rows| -> Res<ArrayRef> {
        let by = args[1].prim::<Int32Type>();
        macro_rules! shift {
            ($t:ty, $unsigned:ty, $signed:ty) => {{
                let v = args[0].prim::<$t>();
                match name.as_str() {
                    "shiftleft" => prims::<$t>(&out, rows, |i| Some(v.at(i)?.wrapping_shl(by.at(i)? as u32))),
                    "shiftright" => prims::<$t>(&out, rows, |i| Some(v.at(i)?.wrapping_shr(by.at(i)? as u32))),
                    _ => prims::<$t>(&out, rows, |i| {
                        Some((v.at(i)? as $unsigned).wrapping_shr(by.at(i)? as u32) as $signed)
                    }),
                }
            }};
        }
        if out == T::Int32 { shift!(Int32Type, u32, i32) } else { shift!(Int64Type, u64, i64) }
    })
}
