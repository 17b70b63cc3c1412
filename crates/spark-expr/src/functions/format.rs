//! `format_string`: what of Java's `String.format` is used for columns.

use std::fmt::Write;

use arrow::datatypes::{Float64Type, Int64Type};

use crate::fault::Res;
use crate::values::cast::cast;
use crate::values::coerce::{self, arity};
use crate::values::java_double::write_double;
use crate::values::node::{Arg, Node, texts};
use crate::values::spark_types::{self, T, is_float, is_integral, name};

enum Part {
    Text(String),
    Value { index: usize, spec: Spec },
}

#[derive(Clone, Copy, Default)]
struct Spec {
    left: bool,
    zero: bool,
    plus: bool,
    group: bool,
    width: usize,
    precision: Option<usize>,
    conversion: char,
}

/// Compiles `format_string(format, …)`.
pub(super) fn build(function: &str, args: &mut Vec<Node>) -> Res<Option<Node>> {
    if !matches!(function, "format_string" | "printf") {
        return Ok(None);
    }
    arity(function, args, 1, 1_000)?;
    let mut values = std::mem::take(args);
    let format = match values.remove(0).const_text() {
        Some(Some(text)) => text,
        Some(None) => return Ok(Some(Node::null(&T::Utf8))),
        None => return Err(format!("{function}: the format is to be a text, the same in each row").into()),
    };
    let parts = parse(&format)?;
    let mut conversions = vec![' '; values.len()];
    for part in &parts {
        if let Part::Value { index, spec } = part {
            let Some(known) = conversions.get_mut(*index) else {
                return Err(format!("{function}: the format '{format}' has more conversions than values").into());
            };
            *known = spec.conversion;
        }
    }
    let values = values
        .into_iter()
        .zip(&conversions)
        .map(|(value, conversion)| {
            let data_type = value.data_type.clone();
            match conversion {
                'd' | 'x' | 'X' if is_integral(&data_type) => {
                    // Negative hexadecimal numbers are as long as their type.
                    if matches!(conversion, 'x' | 'X') && data_type != T::Int64 {
                        return Err("format_string: %x takes BIGINT: cast it".into());
                    }
                    cast(value, &T::Int64)
                }
                'f' if is_float(&data_type) => cast(value, &T::Float64),
                's' if spark_types::is_time(&data_type) => {
                    Err(format!("{function}: Spark writes a date as its days: use date_format").into())
                }
                's' if data_type == T::Binary => Err("format_string: %s of binary: cast it to STRING".into()),
                's' => coerce::text(function, value),
                ' ' => Ok(value),
                _ => Err(format!("{function}: %{conversion} does not take {}: cast it", name(&data_type)).into()),
            }
        })
        .collect::<Res<Vec<_>>>()?;
    Node::call(T::Utf8, values, move |args, rows| {
        let mut value = String::new();
        texts(rows, |i, out| {
            for part in &parts {
                match part {
                    Part::Text(text) => out.push_str(text),
                    Part::Value { index, spec } => {
                        value.clear();
                        write_value(spec, &args[*index], i, &mut value);
                        pad(spec, &value, out);
                    }
                }
            }
            Some(())
        })
    })
    .map(Some)
}

fn parse(format: &str) -> Res<Vec<Part>> {
    let wrong = |what: &str| format!("format_string: the format '{format}' has {what}, which is not supported");
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut chars = format.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut spec = Spec::default();
        let mut number = String::new();
        let mut index = None;
        let digits = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>, number: &mut String| {
            while let Some(d) = chars.next_if(char::is_ascii_digit) {
                number.push(d);
            }
        };
        if chars.peek().is_some_and(|c| ('1'..='9').contains(c)) {
            digits(&mut chars, &mut number);
            if chars.next_if_eq(&'$').is_some() {
                index = number.parse::<usize>().ok().map(|n| n - 1);
                number.clear();
            }
        }
        while let Some(flag) = chars.next_if(|c| number.is_empty() && "-0+,".contains(*c)) {
            match flag {
                '-' => spec.left = true,
                '0' => spec.zero = true,
                '+' => spec.plus = true,
                _ => spec.group = true,
            }
        }
        digits(&mut chars, &mut number);
        spec.width = if number.is_empty() { 0 } else { number.parse().map_err(|_| wrong("a wrong width"))? };
        if spec.width > 10_000 {
            return Err(wrong("a width above 10000").into());
        }
        if chars.next_if_eq(&'.').is_some() {
            number.clear();
            digits(&mut chars, &mut number);
            spec.precision =
                Some(number.parse().ok().filter(|p| *p <= 1_000).ok_or_else(|| wrong("a wrong precision"))?);
        }
        spec.conversion = chars.next().ok_or_else(|| wrong("a % at its end"))?;
        let valid = match spec.conversion {
            '%' if spec.width == 0 => {
                text.push('%');
                continue;
            }
            'n' if spec.width == 0 => {
                text.push('\n');
                continue;
            }
            's' => !spec.zero && !spec.plus && !spec.group,
            'd' => spec.precision.is_none(),
            'x' | 'X' => spec.precision.is_none() && !spec.plus && !spec.group,
            'f' => true,
            _ => false,
        };
        if !valid || (spec.zero && spec.left) || ((spec.zero || spec.left) && spec.width == 0) {
            return Err(wrong(&format!("a %{} with these flags", spec.conversion)).into());
        }
        parts.push(Part::Text(std::mem::take(&mut text)));
        let index = index.unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        parts.push(Part::Value { index, spec });
    }
    parts.push(Part::Text(text));
    Ok(parts)
}

fn write_value(spec: &Spec, arg: &Arg, row: usize, out: &mut String) {
    if arg.is_null(row) {
        // Java cuts "null" as any text.
        let null = if spec.conversion == 'X' { "NULL" } else { "null" };
        out.push_str(&null[..spec.precision.unwrap_or(4).min(4)]);
        return;
    }
    match spec.conversion {
        's' => {
            let text = arg.text().at(row).unwrap_or_default();
            let mut left = spec.precision.unwrap_or(usize::MAX);
            for c in text.chars() {
                // Java counts UTF-16 units, and half of a character is a question mark.
                match left.checked_sub(c.len_utf16()) {
                    Some(rest) => {
                        out.push(c);
                        left = rest;
                    }
                    None => {
                        out.push_str(if left > 0 { "?" } else { "" });
                        return;
                    }
                }
            }
        }
        'x' | 'X' => {
            let value = arg.prim::<Int64Type>().at(row).unwrap_or_default();
            let _ = if spec.conversion == 'x' { write!(out, "{value:x}") } else { write!(out, "{value:X}") };
        }
        'd' => {
            let value = arg.prim::<Int64Type>().at(row).unwrap_or_default();
            write_signed(spec, value < 0, &value.unsigned_abs().to_string(), out);
        }
        _ => {
            let value = arg.prim::<Float64Type>().at(row).unwrap_or_default();
            if !value.is_finite() {
                let sign = if value < 0.0 {
                    "-"
                } else if spec.plus && value > 0.0 {
                    "+"
                } else {
                    ""
                };
                out.push_str(sign);
                out.push_str(if value.is_nan() { "NaN" } else { "Infinity" });
                return;
            }
            write_signed(spec, value.is_sign_negative(), &fixed(value.abs(), spec.precision.unwrap_or(6)), out);
        }
    }
}

/// Java rounds the shortest decimal digits half up.
fn fixed(value: f64, precision: usize) -> String {
    let mut text = String::new();
    write_double(value, &mut text);
    let (mantissa, exponent) = match text.find('E') {
        Some(at) => (&text[..at], text[at + 1..].parse::<i64>().unwrap_or_default()),
        None => (text.as_str(), 0),
    };
    let point = mantissa.find('.').unwrap_or(mantissa.len()) as i64 + exponent;
    let mut digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).map(|b| b - b'0').collect();
    let mut point = point;
    if point < 0 {
        digits.splice(0..0, std::iter::repeat_n(0, point.unsigned_abs() as usize));
        point = 0;
    }
    let keep = point as usize + precision;
    let up = digits.get(keep).is_some_and(|d| *d >= 5);
    digits.resize(keep.max(1), 0);
    digits.truncate(keep);
    if up {
        let mut carry = true;
        for digit in digits.iter_mut().rev() {
            if carry {
                carry = *digit == 9;
                *digit = if carry { 0 } else { *digit + 1 };
            }
        }
        if carry {
            digits.insert(0, 1);
            point += 1;
        }
    }
    let write = |part: &[u8]| part.iter().map(|d| char::from(b'0' + d)).collect::<String>();
    let (whole, fraction) = digits.split_at(point as usize);
    let whole = write(whole);
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    if precision == 0 { whole.to_owned() } else { format!("{whole}.{}", write(fraction)) }
}

fn write_signed(spec: &Spec, negative: bool, digits: &str, out: &mut String) {
    let sign = if negative {
        "-"
    } else if spec.plus {
        "+"
    } else {
        ""
    };
    let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut number = String::new();
    for (i, c) in whole.chars().enumerate() {
        if spec.group && i > 0 && (whole.len() - i) % 3 == 0 {
            number.push(',');
        }
        number.push(c);
    }
    number.push_str(fraction);
    out.push_str(sign);
    if spec.zero {
        out.extend(std::iter::repeat_n('0', spec.width.saturating_sub(sign.len() + number.len())));
    }
    out.push_str(&number);
}

fn pad(spec: &Spec, value: &str, out: &mut String) {
    let missing = spec.width.saturating_sub(value.encode_utf16().count());
    let fill = if spec.zero && matches!(spec.conversion, 'x' | 'X') && !value.eq_ignore_ascii_case("null") {
        '0'
    } else {
        ' '
    };
    if !spec.left {
        out.extend(std::iter::repeat_n(fill, missing));
    }
    out.push_str(value);
    if spec.left {
        out.extend(std::iter::repeat_n(fill, missing));
    }
}
