//! Decimals: their precision, scale and rounding.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Decimal128Type, i256};

use crate::fault::Res;
use crate::values::node::prims;

/// A precision and scale, the scale cut where 38 digits do not hold both.
pub(crate) fn adjust(precision: i32, scale: i32) -> (u8, i8) {
    if precision <= 38 {
        return (precision as u8, scale as i8);
    }
    let whole = precision - scale;
    (38, (38 - whole).max(scale.min(6)) as i8)
}

/// 10 to a power that 256 bits hold.
pub(crate) fn power_of_ten(exponent: u32) -> Option<i256> {
    i256::from_i128(10).checked_pow(exponent)
}

/// A quotient rounded half up (away from zero).
pub(crate) fn divide_half_up(a: i256, b: i256) -> Option<i256> {
    let quotient = a.checked_div(b)?;
    let rest = a.checked_rem(b)?;
    let twice = rest.checked_abs()?.checked_mul(i256::from_i128(2))?;
    if twice < b.checked_abs()? {
        return Some(quotient);
    }
    let up = if (a < i256::ZERO) == (b < i256::ZERO) { i256::ONE } else { i256::MINUS_ONE };
    quotient.checked_add(up)
}

/// A value of `scale` with another scale and at most `precision` digits, else none.
pub(crate) fn rescale(value: i256, scale: i32, precision: u8, to: i32) -> Option<i128> {
    let value = match to - scale {
        0 => value,
        up @ 1.. => value.checked_mul(power_of_ten(up as u32)?)?,
        down => match power_of_ten(-down as u32) {
            Some(power) => divide_half_up(value, power)?,
            None => i256::ZERO,
        },
    };
    let value = value.to_i128()?;
    (value.unsigned_abs() < 10u128.pow(u32::from(precision))).then_some(value)
}

/// An array of decimals of the type `data_type`.
pub(crate) fn decimal_array(
    data_type: &DataType,
    rows: usize,
    value: impl FnMut(usize) -> Option<i128>,
) -> Res<ArrayRef> {
    prims::<Decimal128Type>(data_type, rows, value)
}
