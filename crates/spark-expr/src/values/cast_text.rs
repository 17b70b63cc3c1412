//! How Spark reads texts as values, and writes decimals.

use arrow::datatypes::i256;

use crate::values::calendar::{self, MICROS_PER_DAY, MICROS_PER_SECOND};
use crate::values::decimals::rescale;
use crate::values::zone::Zone;

/// Without blanks and control characters at both ends.
fn trim_all(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ' || ('\u{7f}'..='\u{9f}').contains(&c))
}

pub(crate) fn boolean(text: &str) -> Option<bool> {
    let text = trim_all(text);
    let is = |words: [&str; 5]| words.iter().any(|w| text.eq_ignore_ascii_case(w));
    if is(["t", "true", "y", "yes", "1"]) {
        Some(true)
    } else if is(["f", "false", "n", "no", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// Digits with a sign; a fraction is cut off.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let bytes = trim_all(text).as_bytes();
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    };
    let point = digits.iter().position(|b| *b == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&digits[..at], &digits[at + 1..]),
        None => (digits, &[][..]),
    };
    if digits.is_empty() || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut value = 0i64;
    for byte in whole {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_sub(i64::from(byte - b'0'))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// What Java's `parseDouble` takes, and `inf` and `nan` in any case.
pub(crate) fn float<F: std::str::FromStr>(text: &str) -> Option<F> {
    let text = text.trim_matches(|c: char| c <= ' ');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { "-" } else { "" };
    match unsigned {
        "NaN" => return "NaN".parse().ok(),
        _ if text.eq_ignore_ascii_case("nan") => return "NaN".parse().ok(),
        _ if unsigned.eq_ignore_ascii_case("infinity") || unsigned.eq_ignore_ascii_case("inf") => {
            return format!("{sign}inf").parse().ok();
        }
        _ => {}
    }
    let digits = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    is_number(digits).then(|| digits.parse().ok())?
}

/// Digits, a point, an exponent.
fn is_number(text: &str) -> bool {
    let bytes = text.strip_prefix(['+', '-']).unwrap_or(text).as_bytes();
    let end = bytes.iter().position(|b| matches!(b, b'e' | b'E'));
    let (mantissa, exponent) = match end {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    };
    let points = mantissa.iter().filter(|b| **b == b'.').count();
    let digits = mantissa.iter().filter(|b| b.is_ascii_digit()).count();
    let exponent = exponent.is_none_or(|e| {
        let e = e.strip_prefix(b"+").or(e.strip_prefix(b"-")).unwrap_or(e);
        !e.is_empty() && e.iter().all(u8::is_ascii_digit)
    });
    digits > 0 && points <= 1 && points + digits == mantissa.len() && exponent
}

/// A decimal number with `scale` digits after the point, rounded half up.
pub(crate) fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let text = text.trim_matches(|c: char| c <= ' ');
    if !is_number(text) {
        return None;
    }
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    let negative = mantissa.starts_with('-');
    let (mut value, mut from, mut point, mut rest) = (i256::ZERO, 0i32, false, false);
    let ten = i256::from_i128(10);
    let limit = i256::from_parts(u128::MAX, i128::MAX / 1_000_000);
    for byte in mantissa.bytes() {
        match byte {
            b'.' => point = true,
            b'0'..=b'9' => {
                if value < limit {
                    value = value.checked_mul(ten)?.checked_add(i256::from_i128(i128::from(byte - b'0')))?;
                    from += i32::from(point);
                } else {
                    // More digits than matter; the last tells only of a half.
                    rest |= byte != b'0';
                    from -= i32::from(!point);
                }
            }
            _ => {}
        }
    }
    if rest && (value.checked_rem(ten)? == i256::ZERO || value.checked_rem(ten)? == i256::from_i128(5)) {
        value = value.checked_add(i256::ONE)?;
    }
    if negative {
        value = value.checked_neg()?;
    }
    if value == i256::ZERO {
        return Some(0);
    }
    rescale(value, from.checked_sub(exponent)?, precision, i32::from(scale))
}

/// Java's `BigDecimal.toString`, with an exponent for tiny values.
pub(super) fn write_decimal(value: i128, scale: i32, out: &mut String) {
    use std::fmt::Write;
    if value < 0 {
        out.push('-');
    }
    let digits = value.unsigned_abs().to_string();
    let adjusted = digits.len() as i32 - 1 - scale;
    if scale == 0 {
        out.push_str(&digits);
    } else if adjusted >= -6 {
        let whole = digits.len() as i32 - scale;
        if whole > 0 {
            let (whole, fraction) = digits.split_at(whole as usize);
            let _ = write!(out, "{whole}.{fraction}");
        } else {
            let _ = write!(out, "0.{}{digits}", "0".repeat(whole.unsigned_abs() as usize));
        }
    } else {
        out.push_str(&digits[..1]);
        if digits.len() > 1 {
            let _ = write!(out, ".{}", &digits[1..]);
        }
        let _ = write!(out, "E{adjusted}");
    }
}

/// `yyyy[-[m]m[-[d]d]]`, with anything after a blank or T behind the day.
pub(crate) fn date(text: &str) -> Option<i32> {
    let bytes = trim_all(text).as_bytes();
    let mut segments = [1i64; 3];
    let (mut i, mut value, mut digits, mut j, mut sign) = (0usize, 0i64, 0u32, 0usize, 1i64);
    let valid =
        |segment: usize, digits: u32| if segment == 0 { (4..=7).contains(&digits) } else { (1..=2).contains(&digits) };
    match bytes.first()? {
        b'-' => (sign, j) = (-1, 1),
        b'+' => j = 1,
        _ => {}
    }
    while j < bytes.len() && !matches!(bytes[j], b' ' | b'T') {
        match bytes[j] {
            b'-' if i < 2 => {
                if !valid(i, digits) {
                    return None;
                }
                segments[i] = value;
                (value, digits) = (0, 0);
                i += 1;
            }
            b @ b'0'..=b'9' if digits < 8 => {
                value = value * 10 + i64::from(b - b'0');
                digits += 1;
            }
            _ => return None,
        }
        j += 1;
    }
    if !valid(i, digits) || (i < 2 && j < bytes.len()) {
        return None;
    }
    segments[i] = value;
    calendar::date(sign * segments[0], segments[1], segments[2])
}

/// A date, and a time and zone behind it; a time alone, which would be today's, is none.
pub(crate) fn timestamp(text: &str, zoned: bool) -> Option<i64> {
    let text = trim_all(text);
    let bytes = text.as_bytes();
    let mut segments = [1i64, 1, 1, 0, 0, 0, 0];
    let (mut i, mut value, mut digits, mut j, mut sign) = (0usize, 0i64, 0u32, 0usize, 1i64);
    let mut zone = None;
    let valid = |segment: usize, digits: u32| match segment {
        0 => (4..=6).contains(&digits),
        6 => true,
        _ => (1..=2).contains(&digits),
    };
    match bytes.first()? {
        b'-' => (sign, j) = (-1, 1),
        b'+' => j = 1,
        _ => {}
    }
    while let Some(&byte) = bytes.get(j) {
        if byte.is_ascii_digit() {
            if i != 6 || digits < 6 {
                if digits > 8 {
                    return None;
                }
                value = value * 10 + i64::from(byte - b'0');
            }
            digits += 1;
            j += 1;
            continue;
        }
        let next = match (i, byte) {
            (0 | 1, b'-') | (2, b' ' | b'T') | (3 | 4, b':') | (5, b'.') => i + 1,
            (5 | 6, _) => 7,
            _ => return None,
        };
        if !valid(i, digits) {
            return None;
        }
        if i == 6 {
            value = fraction(value, digits);
        }
        segments[i] = value;
        (value, digits, i) = (0, 0, next);
        if next == 7 {
            zone = Some(text.get(j..)?.trim_matches(|c: char| c <= ' '));
            break;
        }
        j += 1;
    }
    if i < 7 {
        if !valid(i, digits) {
            return None;
        }
        segments[i] = if i == 6 { fraction(value, digits) } else { value };
    }
    let zone = match zone {
        Some(name) => Some(Zone::of(name)?),
        None => None,
    };
    let [year, month, day, hour, minute, second, micros] = segments;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = i64::from(calendar::date(sign * year, month, day)?);
    let of_day = ((hour * 60 + minute) * 60 + second) * MICROS_PER_SECOND + micros;
    let local = days.checked_mul(MICROS_PER_DAY)?.checked_add(of_day)?;
    match zone {
        Some(zone) if zoned => zone.to_utc(local),
        _ => Some(local),
    }
}

fn fraction(value: i64, digits: u32) -> i64 {
    value * 10i64.pow(6 - digits.min(6))
}
