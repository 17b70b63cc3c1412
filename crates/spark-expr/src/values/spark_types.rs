//! Spark's types, and which one holds the values of two.

use arrow::datatypes::{DataType, Field, TimeUnit};

pub(crate) use arrow::datatypes::DataType as T;

/// The type TIMESTAMP.
pub(crate) fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The type TIMESTAMP_NTZ.
pub(crate) fn ntz_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// The type's name in Spark's SQL.
pub fn name(data_type: &DataType) -> String {
    match data_type {
        T::Null => "void".into(),
        T::Boolean => "boolean".into(),
        T::Int8 => "tinyint".into(),
        T::Int16 => "smallint".into(),
        T::Int32 => "int".into(),
        T::Int64 => "bigint".into(),
        T::Float32 => "float".into(),
        T::Float64 => "double".into(),
        T::Decimal128(p, s) => format!("decimal({p},{s})"),
        T::Utf8 | T::LargeUtf8 | T::Utf8View => "string".into(),
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => "binary".into(),
        T::Date32 => "date".into(),
        T::Timestamp(_, Some(_)) => "timestamp".into(),
        T::Timestamp(_, None) => "timestamp_ntz".into(),
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => {
            format!("array<{}>", name(item.data_type()))
        }
        T::Struct(fields) => {
            let fields: Vec<_> = fields.iter().map(|f| format!("{}:{}", f.name(), name(f.data_type()))).collect();
            format!("struct<{}>", fields.join(","))
        }
        T::Map(entries, _) => match entries.data_type() {
            T::Struct(f) if f.len() == 2 => format!("map<{},{}>", name(f[0].data_type()), name(f[1].data_type())),
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

/// The type in which a column's values are computed.
pub(crate) fn plain(data_type: &DataType) -> DataType {
    match data_type {
        T::Utf8View | T::LargeUtf8 => T::Utf8,
        T::BinaryView | T::LargeBinary | T::FixedSizeBinary(_) => T::Binary,
        T::Timestamp(_, Some(_)) => timestamp_type(),
        T::Timestamp(_, None) => ntz_type(),
        other => other.clone(),
    }
}

pub(crate) fn is_integral(t: &DataType) -> bool {
    matches!(t, T::Int8 | T::Int16 | T::Int32 | T::Int64)
}

pub(crate) fn is_float(t: &DataType) -> bool {
    matches!(t, T::Float32 | T::Float64)
}

pub(crate) fn is_decimal(t: &DataType) -> bool {
    matches!(t, T::Decimal128(..))
}

pub(crate) fn is_numeric(t: &DataType) -> bool {
    is_integral(t) || is_float(t) || is_decimal(t)
}

pub(crate) fn is_time(t: &DataType) -> bool {
    matches!(t, T::Date32 | T::Timestamp(..))
}

/// Neither an array, a map nor a struct.
pub(crate) fn is_atomic(t: &DataType) -> bool {
    is_numeric(t) || is_time(t) || matches!(t, T::Boolean | T::Utf8 | T::Binary)
}

fn rank(t: &DataType) -> Option<u8> {
    Some(match t {
        T::Int8 => 0,
        T::Int16 => 1,
        T::Int32 => 2,
        T::Int64 => 3,
        T::Float32 => 4,
        T::Float64 => 5,
        _ => return None,
    })
}

/// Digits and scale of the decimal that holds every value of an integer type or decimal.
pub(crate) fn as_decimal(t: &DataType) -> Option<(u8, i8)> {
    Some(match t {
        T::Int8 => (3, 0),
        T::Int16 => (5, 0),
        T::Int32 => (10, 0),
        T::Int64 => (20, 0),
        T::Decimal128(p, s) => (*p, *s),
        _ => return None,
    })
}

/// The type of both without loss; none where only a cast to text would do.
pub(crate) fn tightest(a: &DataType, b: &DataType) -> Option<DataType> {
    if a == b {
        return Some(a.clone());
    }
    match (a, b) {
        (T::Null, t) | (t, T::Null) => Some(t.clone()),
        (T::Date32, T::Timestamp(..)) => Some(b.clone()),
        (T::Timestamp(..), T::Date32) => Some(a.clone()),
        (T::Timestamp(..), T::Timestamp(..)) => Some(timestamp_type()),
        _ => match (rank(a), rank(b)) {
            (Some(x), Some(y)) => Some(if x > y { a.clone() } else { b.clone() }),
            _ => None,
        },
    }
}

/// The type of both, decimals among them.
pub(crate) fn wider(a: &DataType, b: &DataType) -> Option<DataType> {
    if let Some(t) = tightest(a, b) {
        return Some(t);
    }
    match (a, b) {
        (T::Decimal128(..), f) | (f, T::Decimal128(..)) if is_float(f) => return Some(T::Float64),
        (T::List(x), T::List(y)) => {
            let item = wider(x.data_type(), y.data_type())?;
            return Some(T::List(std::sync::Arc::new(Field::new(x.name(), item, true))));
        }
        _ => {}
    }
    let ((p1, s1), (p2, s2)) = (as_decimal(a)?, as_decimal(b)?);
    let scale = s1.max(s2);
    let whole = (p1 as i8 - s1).max(p2 as i8 - s2);
    Some(T::Decimal128((whole + scale).min(38) as u8, scale.min(38)))
}

/// As [`wider`], and text beside what can be written as one.
pub(crate) fn wider_or_text(a: &DataType, b: &DataType) -> Option<DataType> {
    wider(a, b).or_else(|| match (a, b) {
        (T::Utf8, t) | (t, T::Utf8) if is_atomic(t) && !matches!(t, T::Binary | T::Boolean) => Some(T::Utf8),
        _ => None,
    })
}

/// The type in which two values are compared.
pub(crate) fn comparison(a: &DataType, b: &DataType) -> Option<DataType> {
    match (a, b) {
        (T::Utf8, T::Decimal128(..)) | (T::Decimal128(..), T::Utf8) => Some(T::Float64),
        (T::Utf8, t) | (t, T::Utf8) if is_atomic(t) => Some(t.clone()),
        _ => wider(a, b),
    }
}
