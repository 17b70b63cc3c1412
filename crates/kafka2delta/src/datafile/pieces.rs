//! Batches of bounded size.
//!
//! What rows take in a file says little of what they take in memory: a dictionary holds a text once, however often it
//! stands in a column. So texts and bytes are read as views, which share the dictionary, and a batch of views is cut into
//! pieces, by what its rows will take, before their values are copied.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use crate::error::Result;

/// Rows that a batch holds at most.
const MAX_ROWS: usize = 64 * 1024;
/// Bytes that a batch of views should hold, by the average row of the row group with the largest rows. A row group in
/// which a few rows are much larger than the others exceeds it, by no more than its pages without compression.
pub(super) const BATCH_BYTES: u64 = 16 << 20;
/// Bytes that a piece holds at most, unless a single row has more.
pub(crate) const PIECE_BYTES: usize = 16 << 20;

/// The schema with views in place of texts and bytes, nested ones included.
pub(crate) fn with_views(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(view_field).collect::<Fields>();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn view_field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::clone(field).with_data_type(view_type(field.data_type())))
}

fn view_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::Dictionary(_, values) => match view_type(values) {
            view @ (DataType::Utf8View | DataType::BinaryView) => view,
            _ => data_type.clone(),
        },
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(view_field).collect()),
        DataType::List(item) => DataType::List(view_field(item)),
        DataType::LargeList(item) => DataType::LargeList(view_field(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(view_field(item), *size),
        DataType::Map(entries, sorted) => DataType::Map(view_field(entries), *sorted),
        other => other.clone(),
    }
}

/// Rows of a batch of some columns of a file: fewer where they are large.
pub(crate) fn batch_rows(metadata: &ParquetMetaData, columns: &ProjectionMask) -> usize {
    let largest = metadata.row_groups().iter().map(|group| row_bytes(group, columns)).max().unwrap_or(0);
    usize::try_from(BATCH_BYTES / largest.max(1)).unwrap_or(MAX_ROWS).clamp(1, MAX_ROWS)
}

/// Bytes of an average row of views.
fn row_bytes(group: &RowGroupMetaData, columns: &ProjectionMask) -> u64 {
    let chunks = group.columns().iter().enumerate().filter(|(leaf, _)| columns.leaf_included(*leaf));
    let bytes: u64 = chunks.map(|(_, chunk)| chunk_bytes(chunk)).sum();
    bytes / u64::try_from(group.num_rows()).unwrap_or(0).max(1)
}

/// Bytes of a column's values as views, or of their own width, and of what they point to.
pub(super) fn chunk_bytes(chunk: &ColumnChunkMetaData) -> u64 {
    use parquet::basic::Type;
    let width = match chunk.column_type() {
        Type::BOOLEAN => 1,
        Type::INT32 | Type::FLOAT => 4,
        Type::INT64 | Type::DOUBLE => 8,
        Type::INT96 | Type::BYTE_ARRAY => 16,
        Type::FIXED_LEN_BYTE_ARRAY => u64::try_from(chunk.column_descr().type_length()).unwrap_or(0).max(16),
    };
    let stored = u64::try_from(chunk.uncompressed_size()).unwrap_or(0);
    let values = u64::try_from(chunk.num_values()).unwrap_or(0).saturating_mul(width);
    match chunk.column_type() {
        Type::BYTE_ARRAY => values.saturating_add(stored),
        _ => values,
    }
}

/// Cuts a batch into pieces that hold at most [`PIECE_BYTES`] once their views are texts and bytes, or one row.
pub(crate) fn pieces(batch: &RecordBatch) -> Vec<RecordBatch> {
    cut(batch, PIECE_BYTES)
}

/// The same with another bound.
pub(crate) fn cut(batch: &RecordBatch, most: usize) -> Vec<RecordBatch> {
    let mut pieces = Vec::new();
    let mut rest: Vec<Range<usize>> = std::iter::once(0..batch.num_rows()).collect();
    while let Some(rows) = rest.pop() {
        let bytes: usize = batch.columns().iter().map(|column| plain_bytes(column, rows.clone())).sum();
        if bytes <= most || rows.len() < 2 {
            pieces.push(batch.slice(rows.start, rows.len()));
            continue;
        }
        let middle = rows.start + rows.len() / 2;
        rest.extend([middle..rows.end, rows.start..middle]);
    }
    pieces
}

/// Bytes of some rows of a column without views.
fn plain_bytes(column: &ArrayRef, rows: Range<usize>) -> usize {
    let views = |views: &[u128]| views[rows.clone()].iter().map(|view| *view as u32 as usize).sum::<usize>();
    let offsets = 4 * rows.len();
    match column.data_type() {
        DataType::Utf8View => offsets + views(column.as_string_view().views()),
        DataType::BinaryView => offsets + views(column.as_binary_view().views()),
        DataType::Struct(_) => column.as_struct().columns().iter().map(|part| plain_bytes(part, rows.clone())).sum(),
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            let (from, to) = (list.value_offsets()[rows.start], list.value_offsets()[rows.end]);
            offsets + plain_bytes(list.values(), from as usize..to as usize)
        }
        DataType::Map(_, _) => {
            let map = column.as_map();
            let entries = map.value_offsets()[rows.start] as usize..map.value_offsets()[rows.end] as usize;
            let parts = [map.keys(), map.values()];
            offsets + parts.into_iter().map(|part| plain_bytes(part, entries.clone())).sum::<usize>()
        }
        _ => column.slice(rows.start, rows.len()).to_data().get_slice_memory_size().unwrap_or(0),
    }
}

/// The batch with copies of what its views point to, where these take less than the buffers that the views hold.
pub(crate) fn compact(batch: &RecordBatch) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch.columns().iter().map(compact_column).collect();
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns, &options)?)
}

fn compact_column(column: &ArrayRef) -> ArrayRef {
    let takes_less = |buffers: &[Buffer]| plain_bytes(column, 0..column.len()) < buffers.iter().map(Buffer::len).sum();
    match column.data_type() {
        DataType::Utf8View if takes_less(column.as_string_view().data_buffers()) => {
            Arc::new(column.as_string_view().gc())
        }
        DataType::BinaryView if takes_less(column.as_binary_view().data_buffers()) => {
            Arc::new(column.as_binary_view().gc())
        }
        _ => column.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, ListBuilder, MapBuilder, StringBuilder, StringViewArray, StructArray};
    use arrow::compute::{cast, concat_batches};
    use arrow::datatypes::Int64Type;

    /// Rows of texts of different lengths in a column, in lists, maps and structs, as views.
    fn rows(count: usize) -> RecordBatch {
        let text = |row: usize| "x".repeat(row * 37 % 500);
        let texts: ArrayRef =
            Arc::new((0..count).map(|row| (row % 5 > 0).then(|| text(row))).collect::<StringViewArray>());
        let mut lists = ListBuilder::new(StringBuilder::new());
        let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        for row in 0..count {
            (0..row % 4).for_each(|_| lists.values().append_value(text(row)));
            lists.append(row % 7 > 0);
            maps.keys().append_value("key");
            maps.values().append_value(text(row + 1));
            maps.append(true).unwrap();
        }
        let lists: ArrayRef = Arc::new(lists.finish());
        let maps: ArrayRef = Arc::new(maps.finish());
        let numbers: ArrayRef = Arc::new((0..count as i64).collect::<Int64Array>());
        let pair =
            |name: &str, array: &ArrayRef| (Arc::new(Field::new(name, array.data_type().clone(), true)), array.clone());
        let pairs: ArrayRef = Arc::new(StructArray::from(vec![pair("n", &numbers), pair("t", &texts)]));
        let in_views = |array: ArrayRef| cast(&array, &view_type(array.data_type())).unwrap();
        let columns = [("n", numbers), ("t", texts), ("l", in_views(lists)), ("m", in_views(maps)), ("s", pairs)];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
    }

    #[test]
    fn pieces_are_bounded_and_hold_all_rows() {
        let batch = rows(500);
        for (from, len) in [(0, 500), (100, 250), (7, 0)] {
            let batch = batch.slice(from, len);
            for most in [1, 3000, 20_000, 1 << 30] {
                let pieces = cut(&batch, most);
                for piece in &pieces {
                    let bytes: usize = piece.columns().iter().map(|c| plain_bytes(c, 0..c.len())).sum();
                    assert!(bytes <= most || piece.num_rows() == 1, "{bytes} of {most}");
                }
                assert_eq!(concat_batches(&batch.schema(), &pieces).unwrap(), batch);
                assert!(most < 1 << 30 || pieces.len() == 1);
            }
        }
    }

    #[test]
    fn what_a_piece_takes_is_what_its_plain_arrays_take() {
        let batch = rows(300).slice(20, 200);
        for column in batch.columns() {
            let plain = match column.data_type() {
                DataType::Utf8View => cast(column, &DataType::Utf8).unwrap(),
                DataType::Int64 => column.clone(),
                _ => continue,
            };
            let taken = plain.to_data().get_slice_memory_size().unwrap();
            let told = plain_bytes(column, 0..column.len());
            assert!(told.abs_diff(taken) <= 64, "{}: {told} and {taken}", column.data_type());
        }
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(0), 20);
    }
}
