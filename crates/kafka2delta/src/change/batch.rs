//! The change batch: the Arrow IPC stream that the caller hands over. Its layout is in `src/debezium/change-batch.ts`.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StructArray};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, UInt8Type, UInt64Type};
use arrow::ipc::reader::StreamDecoder;
use bytes::Bytes;
use std::sync::Arc;

use super::forms;
use crate::datafile::partition_values::empty_to_null;
use crate::error::{Error, ErrorCode, Result};
use crate::order::sequence::{Order, Sequence};

/// Names the topic's number of partitions in the stream's metadata.
const PARTITIONS: &str = "kafka2delta.partitions";

/// Names the columns that tell of the change in the stream's metadata, as a JSON list.
const OF_THE_CHANGE: &str = "kafka2delta.ofTheChange";

/// What a change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// The row is this.
    Upsert,
    /// There is no such row.
    Delete,
    /// Rows go: `docs/semantics.md`, Truncates.
    Truncate,
    /// A delete whose row goes on under another key: its values may still be needed.
    Moved,
    /// The row, if there is one, is marked as deleted and stays.
    SoftDelete,
}

/// A change batch, parsed: changes in the order in which they are applied. All columns have the same number of rows.
#[derive(Debug)]
pub struct ChangeBatch {
    /// The table's columns that the batch has.
    pub data: RecordBatch,
    /// See [`Op`].
    pub ops: Vec<Op>,
    /// Kafka partitions; none where all are 0.
    pub partitions: Option<Vec<i32>>,
    /// The changes' places among those of other partitions; none where the batch tells nothing of them.
    pub orders: Option<Vec<Order>>,
    /// Partitions that the topic has, where the batch tells.
    pub num_partitions: Option<usize>,
    /// Of a primary-key update the other key, by the key's columns: of an upsert the one before, of a delete the one after.
    /// None where no change has one.
    pub other_keys: Option<StructArray>,
    /// When the source made the change, in microseconds since 1970; none where no change tells.
    pub times: Option<Vec<Option<i64>>>,
    /// Columns that tell of the change and not of the row.
    pub of_the_change: Vec<String>,
    /// Columns of `data` that a change leaves as they are stored, with the rows where it does.
    pub left_out: Vec<(usize, BooleanArray)>,
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::BatchInvalid, message)
}

/// Reads the one record batch of an IPC stream. The columns point into `bytes`: nothing is copied.
pub fn read_ipc(bytes: Bytes) -> Result<RecordBatch> {
    let mut decoder = StreamDecoder::new();
    let mut buffer = Buffer::from(bytes);
    let broken = |e| Error::with_source(ErrorCode::BatchInvalid, "the change batch is not an Arrow IPC stream", e);
    let mut found = None;
    while !buffer.is_empty() {
        match decoder.decode(&mut buffer).map_err(broken)? {
            Some(_) if found.is_some() => return Err(invalid("the change batch has more than one record batch")),
            Some(batch) => found = Some(batch),
            None => break,
        }
    }
    found.ok_or_else(|| invalid("the change batch has no record batch"))
}

/// The values of a dictionary-encoded column, as Arrow libraries make them of texts: tables have no such type.
fn without_dictionary(column: &ArrayRef) -> Result<ArrayRef> {
    match column.data_type() {
        DataType::Dictionary(_, values) => Ok(arrow::compute::cast(column, values)?),
        _ => Ok(column.clone()),
    }
}

impl ChangeBatch {
    /// Parses an IPC stream.
    pub fn from_ipc(bytes: Bytes) -> Result<Self> {
        Self::from_record_batch(&read_ipc(bytes)?)
    }

    /// Takes the control columns apart from the table's.
    pub fn from_record_batch(batch: &RecordBatch) -> Result<Self> {
        let rows = batch.num_rows();
        if u32::try_from(rows).is_err() {
            return Err(invalid("the change batch has more than 2^32 rows"));
        }
        let mut fields = Vec::new();
        let mut columns: Vec<ArrayRef> = Vec::new();
        let (mut ops, mut partitions, mut values, mut epochs, mut stamps, mut times, mut other_keys, mut left_out) =
            (None, None, None, None, None, None, None, None);
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let wrong =
                || invalid(format!("column {} of the change batch has type {}", field.name(), field.data_type()));
            match field.name().as_str() {
                "_op" => {
                    let codes = column.as_primitive_opt::<UInt8Type>().ok_or_else(wrong)?;
                    if codes.null_count() > 0 {
                        return Err(invalid("_op has nulls"));
                    }
                    let parsed: Result<Vec<Op>> = codes.values().iter().map(|code| parse_op(*code)).collect();
                    ops = Some(parsed?);
                }
                "_part" => {
                    let parts = column.as_primitive_opt::<Int32Type>().ok_or_else(wrong)?;
                    partitions = Some(parts.values().to_vec());
                }
                "_seq" => {
                    values = Some(
                        column.as_fixed_size_binary_opt().filter(|a| a.value_length() == 24).ok_or_else(wrong)?.clone(),
                    )
                }
                "_epoch" => epochs = Some(column.as_primitive_opt::<UInt64Type>().ok_or_else(wrong)?.clone()),
                "_timestamp" => stamps = Some(column.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?.clone()),
                "_time" => times = Some(column.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?.iter().collect()),
                "_old_key" => other_keys = Some(column.as_struct_opt().ok_or_else(wrong)?.clone()),
                "_left_out" => left_out = Some(column.as_struct_opt().ok_or_else(wrong)?.clone()),
                _ => {
                    let column = without_dictionary(column)?;
                    fields.push(Arc::new(Field::new(field.name(), column.data_type().clone(), true)));
                    columns.push(column);
                }
            }
        }
        let ops = ops.ok_or_else(|| invalid("the change batch has no column _op"))?;
        let order_of = |row: usize| {
            let epoch = epochs.as_ref().map_or(0, |e| if e.is_null(row) { 0 } else { e.value(row) });
            let value = values.as_ref().filter(|values| values.is_valid(row)).map(|v| parse_sequence(v.value(row)));
            Order {
                sequence: value.map(|value| Sequence { epoch, value }),
                time: stamps.as_ref().filter(|stamps| stamps.is_valid(row)).map(|stamps| stamps.value(row)),
            }
        };
        let orders = (values.is_some() || stamps.is_some()).then(|| (0..rows).map(order_of).collect());
        let schema = Arc::new(Schema::new_with_metadata(fields, forms::of_batch(batch.schema().metadata())));
        let mut left = Vec::new();
        if let Some(left_out) = left_out {
            for (field, column) in left_out.fields().iter().zip(left_out.columns()) {
                let index = schema
                    .index_of(field.name())
                    .map_err(|_| invalid(format!("_left_out names a column '{}' that is not there", field.name())))?;
                let mask =
                    column.as_boolean_opt().ok_or_else(|| invalid("_left_out has a child that is not boolean"))?;
                left.push((index, mask.clone()));
            }
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        let data = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let num_partitions = batch.schema().metadata().get(PARTITIONS).and_then(|number| number.parse().ok());
        let of_the_change: Vec<String> = match batch.schema().metadata().get(OF_THE_CHANGE) {
            Some(names) => serde_json::from_str(names)
                .map_err(|_| invalid(format!("{OF_THE_CHANGE} of the change batch is not a list of names: {names}")))?,
            None => Vec::new(),
        };
        Ok(Self { data, ops, partitions, orders, num_partitions, other_keys, times, of_the_change, left_out: left })
    }

    /// Makes empty texts null in partition columns, also in old keys, and gives the columns that had some: see
    /// [`empty_to_null`].
    pub fn clear_empty_partition_values(&mut self, partition_columns: &[String]) -> Result<Vec<String>> {
        if partition_columns.is_empty() {
            return Ok(Vec::new());
        }
        let (data, found) = empty_to_null(&self.data, partition_columns)?;
        self.data = data;
        if let Some(old) = &self.other_keys {
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(old.len()));
            let schema = Arc::new(Schema::new(old.fields().clone()));
            let parts = RecordBatch::try_new_with_options(schema, old.columns().to_vec(), &options)?;
            let (parts, in_old) = empty_to_null(&parts, partition_columns)?;
            if !in_old.is_empty() {
                let (fields, nulls) = (old.fields().clone(), old.nulls().cloned());
                self.other_keys = Some(StructArray::try_new(fields, parts.columns().to_vec(), nulls)?);
            }
        }
        Ok(found)
    }

    /// Names of the columns that tell of the change and not of the row.
    pub fn names_of_the_change(&self) -> impl Iterator<Item = &str> {
        self.of_the_change.iter().map(String::as_str)
    }

    /// Number of changes.
    pub fn num_rows(&self) -> usize {
        self.ops.len()
    }

    /// The Kafka partition that a change came through.
    pub fn partition(&self, row: usize) -> i32 {
        self.partitions.as_ref().map_or(0, |partitions| partitions[row])
    }

    /// A change's place among those of other partitions.
    pub fn order(&self, row: usize) -> Order {
        self.orders.as_ref().map_or(Order::default(), |orders| orders[row])
    }

    /// The columns named as the primary key.
    pub fn key_columns(&self, primary_key: &[String]) -> Result<Vec<ArrayRef>> {
        primary_key
            .iter()
            .map(|name| {
                self.data
                    .column_by_name(name)
                    .cloned()
                    .ok_or_else(|| invalid(format!("the change batch lacks the key column '{name}'")))
            })
            .collect()
    }

    /// Whether a change leaves values as they are stored.
    pub fn leaves_out(&self, row: usize) -> bool {
        self.left_out.iter().any(|(_, mask)| mask.value(row))
    }

    /// Types of the table's columns.
    pub fn schema(&self) -> SchemaRef {
        self.data.schema()
    }
}

fn parse_op(code: u8) -> Result<Op> {
    match code {
        0 => Ok(Op::Upsert),
        1 => Ok(Op::Delete),
        2 => Ok(Op::Truncate),
        4 => Ok(Op::Moved),
        // The old key of a key update keeps its row: there is nothing more to do for the new one.
        5 | 6 => Ok(Op::SoftDelete),
        _ => Err(invalid(format!("_op {code} is unknown"))),
    }
}

fn parse_sequence(bytes: &[u8]) -> [u64; 3] {
    let mut numbers = [0; 3];
    for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *number = u64::from_be_bytes(*bytes);
    }
    numbers
}
