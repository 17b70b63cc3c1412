//! Spark's Murmur3 and xxHash64, which chain the columns' hashes: each seeds the next.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use xxhash_rust::xxh64::xxh64;

use crate::values::spark_types::is_atomic;

/// A hash that Spark chains over values.
pub(crate) trait Hasher: Copy {
    fn int(self, value: i32) -> Self;
    fn long(self, value: i64) -> Self;
    fn bytes(self, value: &[u8]) -> Self;
}

/// Murmur3 of 32 bits.
#[derive(Clone, Copy)]
pub(crate) struct Murmur3(pub i32);

impl Murmur3 {
    fn mix(self, value: i32) -> Self {
        let k = (value as u32).wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        let h = (self.0 as u32 ^ k).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
        Self(h as i32)
    }

    fn finish(self, length: u32) -> Self {
        let mut h = self.0 as u32 ^ length;
        h = (h ^ h >> 16).wrapping_mul(0x85eb_ca6b);
        h = (h ^ h >> 13).wrapping_mul(0xc2b2_ae35);
        Self((h ^ h >> 16) as i32)
    }
}

impl Hasher for Murmur3 {
    fn int(self, value: i32) -> Self {
        self.mix(value).finish(4)
    }

    fn long(self, value: i64) -> Self {
        self.mix(value as i32).mix((value >> 32) as i32).finish(8)
    }

    fn bytes(self, value: &[u8]) -> Self {
        let words = value.chunks_exact(4);
        let rest = words.remainder();
        let mut h = self;
        for word in words {
            h = h.mix(i32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        }
        // Unlike Murmur3's own, each byte that is left is a word.
        for byte in rest {
            h = h.mix(i32::from(*byte as i8));
        }
        h.finish(value.len() as u32)
    }
}

/// xxHash of 64 bits.
#[derive(Clone, Copy)]
pub(crate) struct XxHash64(pub i64);

impl Hasher for XxHash64 {
    fn int(self, value: i32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn long(self, value: i64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn bytes(self, value: &[u8]) -> Self {
        Self(xxh64(value, self.0 as u64) as i64)
    }
}

/// Whether values of the type have a hash here.
pub(crate) fn hashable(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) => hashable(item.data_type()),
        DataType::Struct(fields) => fields.iter().all(|f| hashable(f.data_type())),
        DataType::Null => true,
        other => is_atomic(other),
    }
}

/// The hash with a value's; null leaves it.
pub(crate) fn update<H: Hasher>(h: H, array: &ArrayRef, row: usize) -> H {
    if array.is_null(row) {
        return h;
    }
    match array.data_type() {
        DataType::Boolean => h.int(i32::from(array.as_boolean().value(row))),
        DataType::Int8 => h.int(i32::from(array.as_primitive::<Int8Type>().value(row))),
        DataType::Int16 => h.int(i32::from(array.as_primitive::<Int16Type>().value(row))),
        DataType::Int32 => h.int(array.as_primitive::<Int32Type>().value(row)),
        DataType::Date32 => h.int(array.as_primitive::<Date32Type>().value(row)),
        DataType::Int64 => h.long(array.as_primitive::<Int64Type>().value(row)),
        DataType::Timestamp(..) => h.long(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Float32 => {
            let v = array.as_primitive::<Float32Type>().value(row);
            h.int(if v == 0.0 {
                0
            } else if v.is_nan() {
                0x7fc0_0000
            } else {
                v.to_bits() as i32
            })
        }
        DataType::Float64 => {
            let v = array.as_primitive::<Float64Type>().value(row);
            h.long(if v == 0.0 {
                0
            } else if v.is_nan() {
                0x7ff8_0000_0000_0000
            } else {
                v.to_bits() as i64
            })
        }
        DataType::Decimal128(p, _) => {
            let v = array.as_primitive::<Decimal128Type>().value(row);
            if *p <= 18 {
                return h.long(v as i64);
            }
            // Java's shortest two's complement, big end first.
            let bytes = v.to_be_bytes();
            let sign = if v < 0 { 0xff } else { 0 };
            let mut start = 0;
            while start < 15 && bytes[start] == sign && (bytes[start + 1] ^ sign) & 0x80 == 0 {
                start += 1;
            }
            h.bytes(&bytes[start..])
        }
        DataType::Utf8 => h.bytes(array.as_string::<i32>().value(row).as_bytes()),
        DataType::Binary => h.bytes(array.as_binary::<i32>().value(row)),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let items = list.value(row);
            (0..items.len()).fold(h, |h, i| update(h, &items, i))
        }
        DataType::Struct(_) => array.as_struct().columns().iter().fold(h, |h, column| update(h, column, row)),
        _ => h,
    }
}
