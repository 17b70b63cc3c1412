//! Random values of every type, with those that readers get wrong: the ends of each type, old and far dates, odd texts.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, TimeUnit};
use rand::Rng;
use rand::rngs::StdRng;

use super::Result;

/// 0001-01-01 and 9999-12-31 as days since 1970.
const DAYS: (i32, i32) = (-719_162, 2_932_896);
const DAY_MICROS: i64 = 86_400_000_000;
/// Texts that paths, JSON and readers handle by rules of their own.
pub const ODD: [&str; 14] =
    ["plain", "two words", "ü", "日本", "%25", "a=b", "a/b", "a\\b", "a:b?c#d", "'\"`", " ", "é+&", "{}[]^", "NULL"];

/// An array of random values, a tenth of them null where `nulls` says so.
pub fn random(data_type: &DataType, rows: usize, nulls: bool, rng: &mut StdRng) -> Result<ArrayRef> {
    let valid: Vec<bool> = (0..rows).map(|_| !nulls || rng.random_bool(0.9)).collect();
    let nulls_of = |valid: &[bool]| NullBuffer::from(valid.to_vec());
    macro_rules! primitive {
        ($array:ty, $value:expr) => {
            Arc::new((0..rows).map(|i| valid[i].then(|| $value)).collect::<$array>()) as ArrayRef
        };
    }
    Ok(match data_type {
        DataType::Boolean => primitive!(BooleanArray, rng.random()),
        DataType::Int8 => primitive!(Int8Array, rng.random()),
        DataType::Int16 => primitive!(Int16Array, rng.random()),
        DataType::Int32 => primitive!(Int32Array, rng.random()),
        DataType::Int64 => primitive!(Int64Array, rng.random()),
        DataType::Float32 => primitive!(Float32Array, float(rng) as f32),
        DataType::Float64 => primitive!(Float64Array, float(rng)),
        DataType::Date32 => primitive!(Date32Array, pick(rng, DAYS.0, DAYS.1)),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let (first, last) = (i64::from(DAYS.0) * DAY_MICROS, i64::from(DAYS.1 + 1) * DAY_MICROS - 1);
            let values = (0..rows).map(|i| {
                valid[i].then(|| match rng.random_range(0..20) {
                    0 => first,
                    1 => last,
                    _ => rng.random_range(first..=last),
                })
            });
            Arc::new(values.collect::<TimestampMicrosecondArray>().with_timezone_opt(zone.clone()))
        }
        DataType::Decimal128(precision, scale) => {
            let most = 10i128.pow(u32::from(*precision)) - 1;
            let values = (0..rows).map(|i| {
                valid[i].then(|| match rng.random_range(0..10) {
                    0 => most,
                    1 => -most,
                    2 => 0,
                    _ => rng.random_range(-most..=most),
                })
            });
            Arc::new(values.collect::<Decimal128Array>().with_precision_and_scale(*precision, *scale)?)
        }
        DataType::Utf8 => primitive!(StringArray, text(rng)),
        DataType::Binary => {
            let values: Vec<Option<Vec<u8>>> = (0..rows)
                .map(|i| valid[i].then(|| (0..rng.random_range(0..12)).map(|_| rng.random()).collect()))
                .collect();
            Arc::new(values.iter().map(Option::as_deref).collect::<BinaryArray>())
        }
        DataType::List(field) => {
            let lengths: Vec<usize> = valid.iter().map(|v| if *v { rng.random_range(0..4) } else { 0 }).collect();
            let values = random(field.data_type(), lengths.iter().sum(), field.is_nullable(), rng)?;
            Arc::new(ListArray::new(field.clone(), OffsetBuffer::from_lengths(lengths), values, Some(nulls_of(&valid))))
        }
        DataType::Struct(fields) => {
            let members = fields.iter().map(|f| random(f.data_type(), rows, f.is_nullable(), rng));
            Arc::new(StructArray::new(fields.clone(), members.collect::<Result<_>>()?, Some(nulls_of(&valid))))
        }
        DataType::Map(entries, false) => {
            let DataType::Struct(parts) = entries.data_type() else { return Err("a map without entries".into()) };
            let lengths: Vec<usize> = valid.iter().map(|v| if *v { rng.random_range(0..3) } else { 0 }).collect();
            let count = lengths.iter().sum();
            let keys: ArrayRef = Arc::new((0..count).map(|n| Some(format!("k{n}"))).collect::<StringArray>());
            let values = random(parts[1].data_type(), count, parts[1].is_nullable(), rng)?;
            let pairs = StructArray::new(parts.clone(), vec![keys, values], None);
            Arc::new(MapArray::new(
                entries.clone(),
                OffsetBuffer::from_lengths(lengths),
                pairs,
                Some(nulls_of(&valid)),
                false,
            ))
        }
        other => return Err(format!("no values of the type {other} are made").into()),
    })
}

/// A map of texts to a type, as Delta names its parts.
pub fn map_of(value: DataType) -> DataType {
    let parts = vec![Field::new("key", DataType::Utf8, false), Field::new("value", value, true)];
    DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(parts.into()), false)), false)
}

/// A list of a type, as Delta names its parts.
pub fn list_of(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", element, true)))
}

fn pick(rng: &mut StdRng, first: i32, last: i32) -> i32 {
    match rng.random_range(0..10) {
        0 => first,
        1 => last,
        // Around the change of calendars of 1582.
        2 => -141_427 + rng.random_range(-12..12),
        _ => rng.random_range(first..=last),
    }
}

fn float(rng: &mut StdRng) -> f64 {
    match rng.random_range(0..12) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => f64::NEG_INFINITY,
        3 => -0.0,
        4 => 0.0,
        _ => f64::from(rng.random_range(-1_000_000..1_000_000)) / 64.0,
    }
}

fn text(rng: &mut StdRng) -> String {
    match rng.random_range(0..20) {
        0 => String::new(),
        1 => "\u{10FFFF}\u{1F600}\n\t\"\\".to_owned(),
        // Longer than what statistics keep.
        2 => "x".repeat(rng.random_range(30..100)),
        3 => "\u{10FFFF}".repeat(40),
        _ => format!("{} {}", ODD[rng.random_range(0..ODD.len())], rng.random_range(0..1000)),
    }
}
