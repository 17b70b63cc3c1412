//! The rows: an orders table as of a web shop, 9 columns, some 95 bytes a row in Parquet.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use rand::Rng;
use rand::rngs::StdRng;
use xxhash_rust::xxh3::xxh3_64;

use super::Result;

/// The columns.
pub fn schema() -> SchemaRef {
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("id", DataType::Int64),
        field("customer", DataType::Utf8),
        field("order_date", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        field("total_amount", DataType::Decimal128(10, 2)),
        field("status", DataType::Utf8),
        field("note", DataType::Utf8),
        field("created_at", DataType::Date32),
        field("__timestamp", DataType::Int64),
        field("__log_sequence_number", DataType::Int64),
    ]))
}

/// Rows with these ids; the table begins with ids 1 to `total`, in the order of time.
pub fn rows(ids: &[i64], total: usize, rng: &mut StdRng, lsn: i64) -> Result<RecordBatch> {
    const STATUS: [&str; 5] = ["NEW", "PAID", "SHIPPED", "DELIVERED", "CANCELLED"];
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .";
    let start = 1_672_531_200_000_000i64;
    let step = 94_694_400_000_000 / total as i64;
    let micros = |id: i64| start + id * step + (id.wrapping_mul(7_919) & 0xFFFF);
    let mut note = [0u8; 60];
    let mut notes = StringBuilder::with_capacity(ids.len(), ids.len() * note.len());
    for _ in ids {
        // Ten letters for each random number.
        for letters in note.chunks_mut(10) {
            let mut bits: u64 = rng.random();
            for letter in letters {
                *letter = LETTERS[(bits & 63) as usize];
                bits >>= 6;
            }
        }
        notes.append_value(std::str::from_utf8(&note)?);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids.to_vec())),
        Arc::new(
            ids.iter()
                .map(|id| Some(format!("customer_{:06}", id.wrapping_mul(0x5BD1_E995) & 0xFFFF)))
                .collect::<StringArray>(),
        ),
        Arc::new(TimestampMicrosecondArray::from_iter_values(ids.iter().map(|id| micros(*id))).with_timezone("UTC")),
        Arc::new(
            Decimal128Array::from_iter_values(ids.iter().map(|_| i128::from(rng.random_range(100..10_000_000))))
                .with_precision_and_scale(10, 2)?,
        ),
        Arc::new(ids.iter().map(|_| Some(STATUS[rng.random_range(0..5)])).collect::<StringArray>()),
        Arc::new(notes.finish()),
        Arc::new(Date32Array::from_iter_values(ids.iter().map(|id| (micros(*id) / 86_400_000_000) as i32))),
        Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| 1_700_000_000_000 + id))),
        Arc::new(Int64Array::from_iter_values((0..ids.len() as i64).map(|n| lsn + n * 8))),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

/// A hash of each row over all of its columns, with the row's id. String columns may be of any string type.
pub fn hashes(rows: &RecordBatch) -> Result<Vec<(i64, u64)>> {
    let column = |name: &str| rows.column_by_name(name).ok_or_else(|| format!("the table has no column {name}"));
    let text = |name: &str| -> Result<ArrayRef> { Ok(arrow::compute::cast(column(name)?, &DataType::Utf8)?) };
    let (customer, status, note) = (text("customer")?, text("status")?, text("note")?);
    let (customer, status, note) = (customer.as_string::<i32>(), status.as_string::<i32>(), note.as_string::<i32>());
    let id = column("id")?.as_primitive::<Int64Type>();
    let order_date = column("order_date")?.as_primitive::<TimestampMicrosecondType>();
    let amount = column("total_amount")?.as_primitive::<Decimal128Type>();
    let created = column("created_at")?.as_primitive::<Date32Type>();
    let timestamp = column("__timestamp")?.as_primitive::<Int64Type>();
    let lsn = column("__log_sequence_number")?.as_primitive::<Int64Type>();
    let mut hashes = Vec::with_capacity(rows.num_rows());
    let mut bytes: Vec<u8> = Vec::with_capacity(160);
    for row in 0..rows.num_rows() {
        bytes.clear();
        bytes.extend(id.value(row).to_le_bytes());
        bytes.extend(order_date.value(row).to_le_bytes());
        bytes.extend(amount.value(row).to_le_bytes());
        bytes.extend(created.value(row).to_le_bytes());
        bytes.extend(timestamp.value(row).to_le_bytes());
        bytes.extend(lsn.value(row).to_le_bytes());
        for text in [customer, status, note] {
            bytes.extend(text.value(row).as_bytes());
            bytes.push(0);
        }
        // None of the rows has a null: each is a difference.
        bytes.extend(rows.columns().iter().map(|c| u8::from(c.is_null(row))));
        hashes.push((id.value(row), xxh3_64(&bytes)));
    }
    Ok(hashes)
}
