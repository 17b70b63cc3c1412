//! Doubles as Java writes them before version 19, on which Spark 3.5 runs: not always the shortest digits.

use std::cmp::Ordering;

/// The digits and how many of them stand before the point.
struct Digits {
    digits: [u8; 40],
    count: usize,
    exponent: i32,
}

const EXP_SHIFT: i32 = 52;
const HIDDEN_BIT: u64 = 1 << 52;

/// `Double.toString`.
pub(crate) fn write_double(value: f64, out: &mut String) {
    let bits = value.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i32;
    let fraction = bits & (HIDDEN_BIT - 1);
    if special(value.is_nan(), value.is_infinite(), value.is_sign_negative(), out) {
        return;
    }
    if exponent == 0 && fraction == 0 {
        out.push_str("0.0");
        return;
    }
    let (exponent, fraction, significant) = match exponent {
        0 => {
            let zeros = fraction.leading_zeros() as i32;
            let shift = zeros - (63 - EXP_SHIFT);
            (1 - shift, fraction << shift, 64 - zeros)
        }
        _ => (exponent, fraction | HIDDEN_BIT, EXP_SHIFT + 1),
    };
    write(&digits(exponent - 1023, fraction, significant), out);
}

/// `Float.toString`.
pub(super) fn write_float(value: f32, out: &mut String) {
    let bits = value.to_bits();
    let exponent = (bits >> 23 & 0xff) as i32;
    let fraction = bits & 0x7f_ffff;
    if special(value.is_nan(), value.is_infinite(), value.is_sign_negative(), out) {
        return;
    }
    if exponent == 0 && fraction == 0 {
        out.push_str("0.0");
        return;
    }
    let (exponent, fraction, significant) = match exponent {
        0 => {
            let zeros = fraction.leading_zeros() as i32;
            let shift = zeros - (31 - 23);
            (1 - shift, fraction << shift, 32 - zeros)
        }
        _ => (exponent, fraction | 1 << 23, 24),
    };
    write(&digits(exponent - 127, u64::from(fraction) << (EXP_SHIFT - 23), significant), out);
}

/// Writes the sign, and what is no number.
fn special(nan: bool, infinite: bool, negative: bool, out: &mut String) -> bool {
    if nan {
        out.push_str("NaN");
        return true;
    }
    if negative {
        out.push('-');
    }
    if infinite {
        out.push_str("Infinity");
    }
    infinite
}

fn write(number: &Digits, out: &mut String) {
    use std::fmt::Write;
    let digits = std::str::from_utf8(&number.digits[..number.count]).unwrap_or_default();
    let exponent = number.exponent;
    if (1..8).contains(&exponent) {
        let whole = digits.len().min(exponent as usize);
        out.push_str(&digits[..whole]);
        out.extend(std::iter::repeat_n('0', exponent as usize - whole));
        out.push('.');
        out.push_str(if whole < digits.len() { &digits[whole..] } else { "0" });
    } else if (-2..=0).contains(&exponent) {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', exponent.unsigned_abs() as usize));
        out.push_str(digits);
    } else {
        out.push_str(&digits[..1]);
        out.push('.');
        out.push_str(if digits.len() > 1 { &digits[1..] } else { "0" });
        let _ = write!(out, "E{}", exponent - 1);
    }
}

fn bits_of_five(power: i32) -> i32 {
    // What Java's table has: the length of 5 to the power in bits.
    const BITS: [i32; 27] =
        [0, 3, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28, 31, 33, 35, 38, 40, 42, 45, 47, 49, 52, 54, 56, 59, 61];
    BITS.get(power as usize).copied().unwrap_or(power * 3)
}

/// Java's `FloatingDecimal.dtoa`.
fn digits(bin_exp: i32, fraction: u64, significant: i32) -> Digits {
    let tail_zeros = fraction.trailing_zeros() as i32;
    let fraction_bits = EXP_SHIFT + 1 - tail_zeros;
    let tiny_bits = (fraction_bits - bin_exp - 1).max(0);
    if (-21..=62).contains(&bin_exp) && tiny_bits == 0 && fraction_bits < 64 {
        let dropped = if bin_exp > significant { insignificant(bin_exp - significant - 1) } else { 0 };
        let value =
            if bin_exp >= EXP_SHIFT { fraction << (bin_exp - EXP_SHIFT) } else { fraction >> (EXP_SHIFT - bin_exp) };
        return whole_digits(value, dropped);
    }
    let mut dec_exp = estimate(fraction, bin_exp);
    let b5 = (-dec_exp).max(0);
    let mut b2 = b5 + tiny_bits + bin_exp;
    let s5 = dec_exp.max(0);
    let mut s2 = s5 + tiny_bits;
    let m5 = b5;
    let mut m2 = b2 - significant;
    let fraction = fraction >> tail_zeros;
    b2 -= fraction_bits - 1;
    let common = b2.min(s2);
    b2 -= common;
    s2 -= common;
    m2 -= common;
    if fraction_bits == 1 {
        m2 -= 1;
    }
    if m2 < 0 {
        b2 -= m2;
        s2 -= m2;
        m2 = 0;
    }
    let b_bits = fraction_bits + b2 + bits_of_five(b5);
    let ten_s_bits = s2 + 1 + bits_of_five(s5 + 1);
    if b_bits < 64 && ten_s_bits < 64 {
        let int = b_bits < 32 && ten_s_bits < 32;
        let five = |power: i32| 5i64.wrapping_pow(power as u32);
        let b = (fraction as i64).wrapping_mul(five(b5)) << b2;
        return small_digits(b, five(s5) << s2, five(m5) << m2, dec_exp, int);
    }
    let mut b = Big::from(fraction).times_five(b5).shifted(b2);
    let s = Big::from(1).times_five(s5).shifted(s2);
    let mut m = Big::from(1).times_five(m5).shifted(m2);
    let mut tens = s.clone();
    tens.multiply(10);
    let mut found = Digits { digits: [b'0'; 40], count: 0, exponent: 0 };
    let high_of = |b: &Big, m: &Big| b.plus(m).compare(&tens) != Ordering::Less;
    let mut q = b.divide_step(&s);
    m.multiply(10);
    let mut low = b.compare(&m) == Ordering::Less;
    let mut high = high_of(&b, &m);
    if q == 0 && !high {
        dec_exp -= 1;
    } else {
        found.push(q);
    }
    if !(-3..8).contains(&dec_exp) {
        (low, high) = (false, false);
    }
    while !low && !high {
        q = b.divide_step(&s);
        m.multiply(10);
        low = b.compare(&m) == Ordering::Less;
        high = high_of(&b, &m);
        found.push(q);
    }
    found.exponent = dec_exp + 1;
    if high {
        b.multiply(2);
        let up = !low
            || match b.compare(&tens) {
                Ordering::Greater => true,
                Ordering::Equal => found.digits[found.count - 1] & 1 != 0,
                Ordering::Less => false,
            };
        if up {
            found.round_up();
        }
    }
    found
}

/// The same in 64 or 32 bits: as in Java they overflow, which decides on the last digit of some numbers.
fn small_digits(mut b: i64, s: i64, mut m: i64, mut dec_exp: i32, int: bool) -> Digits {
    let cut = |v: i64| if int { i64::from(v as i32) } else { v };
    let mut found = Digits { digits: [b'0'; 40], count: 0, exponent: 0 };
    let tens = cut(s.wrapping_mul(10));
    let mut q = b / s;
    b = cut((b % s).wrapping_mul(10));
    m = cut(m.wrapping_mul(10));
    let mut low = b < m;
    let mut high = cut(b.wrapping_add(m)) > tens;
    if q == 0 && !high {
        dec_exp -= 1;
    } else {
        found.push(q as u8);
    }
    if !(-3..8).contains(&dec_exp) {
        (low, high) = (false, false);
    }
    while !low && !high && found.count < found.digits.len() {
        q = b / s;
        b = cut((b % s).wrapping_mul(10));
        m = cut(m.wrapping_mul(10));
        if m > 0 {
            low = b < m;
            high = cut(b.wrapping_add(m)) > tens;
        } else {
            (low, high) = (true, true);
        }
        found.push(q as u8);
    }
    found.exponent = dec_exp + 1;
    let difference = cut(cut(b.wrapping_shl(1)).wrapping_sub(tens));
    let odd = found.digits[found.count.max(1) - 1] & 1 != 0;
    if high && (!low || difference > 0 || (difference == 0 && odd)) {
        found.round_up();
    }
    found
}

impl Digits {
    fn push(&mut self, digit: u8) {
        debug_assert!(digit < 10);
        if self.count < self.digits.len() {
            self.digits[self.count] = b'0' + digit;
            self.count += 1;
        }
    }

    fn round_up(&mut self) {
        let mut i = self.count - 1;
        while self.digits[i] == b'9' && i > 0 {
            self.digits[i] = b'0';
            i -= 1;
        }
        if self.digits[i] == b'9' {
            self.exponent += 1;
            self.digits[0] = b'1';
        } else {
            self.digits[i] += 1;
        }
    }
}

fn insignificant(power: i32) -> u32 {
    if (2..64).contains(&power) { (f64::from(power) * std::f64::consts::LOG10_2) as u32 } else { 0 }
}

fn whole_digits(mut value: u64, dropped: u32) -> Digits {
    let mut exponent = 0;
    if dropped != 0 {
        let power = 10u64.pow(dropped);
        let rest = value % power;
        value = value / power + u64::from(rest >= power / 2);
        exponent += dropped as i32;
    }
    while value != 0 && value.is_multiple_of(10) {
        value /= 10;
        exponent += 1;
    }
    let mut reversed = [0u8; 20];
    let mut count = 0;
    while value != 0 {
        reversed[count] = (value % 10) as u8;
        value /= 10;
        count += 1;
    }
    let mut found = Digits { digits: [b'0'; 40], count: 0, exponent: exponent + count as i32 };
    for digit in reversed[..count].iter().rev() {
        found.push(*digit);
    }
    found
}

fn estimate(fraction: u64, bin_exp: i32) -> i32 {
    let d2 = f64::from_bits(1023 << 52 | fraction & (HIDDEN_BIT - 1));
    #[allow(
        clippy::approx_constant,
        clippy::excessive_precision,
        reason = "Java's own constants, and its order of operations"
    )]
    let d = (d2 - 1.5) * 0.289529654 + 0.176091259 + f64::from(bin_exp) * 0.301029995663981;
    d.floor() as i32
}

/// A natural number of up to 2,304 bits, on the stack.
#[derive(Clone)]
struct Big {
    limbs: [u32; 72],
    len: usize,
}

impl Big {
    fn from(value: u64) -> Self {
        let mut limbs = [0; 72];
        limbs[0] = value as u32;
        limbs[1] = (value >> 32) as u32;
        let mut big = Self { limbs, len: 2 };
        big.trim();
        big
    }

    fn trim(&mut self) {
        while self.len > 0 && self.limbs[self.len - 1] == 0 {
            self.len -= 1;
        }
    }

    fn multiply(&mut self, by: u32) {
        let mut carry = 0u64;
        for limb in &mut self.limbs[..self.len] {
            let product = u64::from(*limb) * u64::from(by) + carry;
            *limb = product as u32;
            carry = product >> 32;
        }
        if carry != 0 {
            self.limbs[self.len] = carry as u32;
            self.len += 1;
        }
    }

    fn times_five(mut self, power: i32) -> Self {
        const FIVES: u32 = 5u32.pow(13);
        for _ in 0..power / 13 {
            self.multiply(FIVES);
        }
        self.multiply(5u32.pow((power % 13) as u32));
        self
    }

    fn shifted(mut self, by: i32) -> Self {
        let (limbs, bits) = (by as usize / 32, by as u32 % 32);
        self.multiply(1 << bits);
        self.limbs.copy_within(0..self.len, limbs);
        self.limbs[..limbs].fill(0);
        self.len += limbs;
        self.trim();
        self
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.len
            .cmp(&other.len)
            .then_with(|| self.limbs[..self.len].iter().rev().cmp(other.limbs[..other.len].iter().rev()))
    }

    fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        let mut carry = 0u64;
        for i in 0..self.len.max(other.len) {
            let s = u64::from(sum.limbs[i]) + u64::from(other.limbs[i]) + carry;
            sum.limbs[i] = s as u32;
            carry = s >> 32;
        }
        sum.len = self.len.max(other.len);
        if carry != 0 {
            sum.limbs[sum.len] = carry as u32;
            sum.len += 1;
        }
        sum
    }

    fn subtract(&mut self, other: &Self) {
        let mut borrow = 0i64;
        for i in 0..self.len {
            let d = i64::from(self.limbs[i]) - i64::from(other.limbs[i]) - borrow;
            borrow = i64::from(d < 0);
            self.limbs[i] = d as u32;
        }
        self.trim();
    }

    /// The next digit of the quotient; the rest is multiplied by ten.
    fn divide_step(&mut self, by: &Self) -> u8 {
        let mut digit = 0;
        while self.compare(by) != Ordering::Less {
            self.subtract(by);
            digit += 1;
        }
        self.multiply(10);
        digit
    }
}
