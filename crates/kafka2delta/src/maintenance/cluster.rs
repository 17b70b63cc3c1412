//! The order of rows in rewritten files where the option `clusterBy` names columns: by one column its values, nulls
//! first; by several the Z-order of the rows' ranks in each, so that each column's values lie close together.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};

use crate::error::{Error, ErrorCode, Result};

/// A row of several batches: number of the batch, and of the row in it.
pub(super) type Position = (u32, u32);

/// The rows of all batches in the order of `columns`; rows of equal values keep their order.
pub(super) fn order(batches: &[RecordBatch], columns: &[String]) -> Result<Vec<Position>> {
    let mut positions: Vec<Position> = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    for (number, batch) in (0u32..).zip(batches) {
        positions.extend((0..batch.num_rows() as u32).map(|row| (number, row)));
    }
    if let [column] = columns {
        let rows = encoded(batches, column)?;
        positions.sort_by(|a, b| row(&rows, *a).cmp(&row(&rows, *b)));
        return Ok(positions);
    }
    let bits = (128 / columns.len().max(1)).clamp(1, 32) as u32;
    let mut codes: Vec<u128> = vec![0; positions.len()];
    for (number, column) in columns.iter().take(128).enumerate() {
        let rows = encoded(batches, column)?;
        let ranks = ranks(&rows, &positions, bits);
        for (code, rank) in codes.iter_mut().zip(ranks) {
            *code |= spread(rank, number, columns.len().min(128), bits);
        }
    }
    let mut numbers: Vec<usize> = (0..positions.len()).collect();
    numbers.sort_by_key(|number| codes[*number]);
    Ok(numbers.into_iter().map(|number| positions[number]).collect())
}

/// Bytes of a text that decide where its row comes.
const TEXT_BYTES: usize = 64;

/// A column's values as bytes that compare as the values do; of texts their beginnings.
fn encoded(batches: &[RecordBatch], column: &str) -> Result<Vec<Rows>> {
    let columns: Option<Vec<ArrayRef>> = batches.iter().map(|b| b.column_by_name(column).cloned()).collect();
    let columns =
        columns.ok_or_else(|| Error::new(ErrorCode::Internal, format!("the column '{column}' to sort by is gone")))?;
    let columns: Vec<ArrayRef> = columns.into_iter().map(beginnings).collect();
    let Some(first) = columns.first() else { return Ok(Vec::new()) };
    let converter = RowConverter::new(vec![SortField::new(first.data_type().clone())])?;
    columns.into_iter().map(|column| Ok(converter.convert_columns(&[column])?)).collect()
}

/// The first bytes of each text of a column: whole texts would be copied once for each row that has them.
fn beginnings(column: ArrayRef) -> ArrayRef {
    fn cut(bytes: Option<&[u8]>) -> Option<&[u8]> {
        bytes.map(|bytes| &bytes[..bytes.len().min(TEXT_BYTES)])
    }
    match column.data_type() {
        DataType::Utf8View => {
            let texts = column.as_string_view().iter().map(|text| cut(text.map(str::as_bytes)));
            Arc::new(texts.collect::<BinaryArray>())
        }
        DataType::BinaryView => Arc::new(column.as_binary_view().iter().map(cut).collect::<BinaryArray>()),
        _ => column,
    }
}

fn row<'a>(rows: &'a [Rows], position: Position) -> arrow::row::Row<'a> {
    rows[position.0 as usize].row(position.1 as usize)
}

/// Each row's rank among the distinct values, scaled to `bits` bits.
fn ranks(rows: &[Rows], positions: &[Position], bits: u32) -> Vec<u32> {
    let mut sorted: Vec<usize> = (0..positions.len()).collect();
    sorted.sort_by(|a, b| row(rows, positions[*a]).cmp(&row(rows, positions[*b])));
    let mut ranks = vec![0u64; positions.len()];
    let mut rank = 0u64;
    for (at, number) in sorted.iter().enumerate() {
        if at > 0 && row(rows, positions[*number]) != row(rows, positions[sorted[at - 1]]) {
            rank += 1;
        }
        ranks[*number] = rank;
    }
    let highest = u128::from(rank.max(1));
    ranks.into_iter().map(|r| ((u128::from(r) * ((1u128 << bits) - 1)) / highest) as u32).collect()
}

/// The bits of a rank at the places of column `number` of `count`, the highest ones first.
fn spread(rank: u32, number: usize, count: usize, bits: u32) -> u128 {
    let mut code = 0u128;
    for bit in 0..bits as usize {
        if rank & (1 << bit) != 0 {
            code |= 1 << (bit * count + (count - 1 - number));
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int32Array;
    use arrow::datatypes::{Field, Int32Type, Schema};

    fn batches() -> Vec<RecordBatch> {
        let schema = Schema::new(vec![Field::new("x", DataType::Int32, true), Field::new("y", DataType::Int32, true)]);
        let schema = Arc::new(schema);
        let cell = |i: i32| (i * 7 % 16, i * 11 % 16);
        (0..4)
            .map(|b| {
                let cells: Vec<(i32, i32)> = (b * 64..(b + 1) * 64).map(cell).collect();
                let x = Int32Array::from_iter_values(cells.iter().map(|c| c.0));
                let y = Int32Array::from_iter_values(cells.iter().map(|c| c.1));
                RecordBatch::try_new(schema.clone(), vec![Arc::new(x), Arc::new(y)]).unwrap()
            })
            .collect()
    }

    fn values(batches: &[RecordBatch], column: usize, positions: &[Position]) -> Vec<i32> {
        let value = |p: &Position| batches[p.0 as usize].column(column).as_primitive::<Int32Type>().value(p.1 as usize);
        positions.iter().map(value).collect()
    }

    #[test]
    fn one_column_is_sorted() {
        let batches = batches();
        let order = order(&batches, &["y".into()]).unwrap();
        let y = values(&batches, 1, &order);
        assert!(y.is_sorted() && order.len() == 256);
    }

    #[test]
    fn quarters_of_a_z_order_span_half_of_each_column() {
        let schema =
            Arc::new(Schema::new(vec![Field::new("x", DataType::Int32, true), Field::new("y", DataType::Int32, true)]));
        let x = Int32Array::from_iter_values((0..256).map(|i| i % 16));
        let y = Int32Array::from_iter_values((0..256).map(|i| i / 16));
        let batches = vec![RecordBatch::try_new(schema, vec![Arc::new(x), Arc::new(y)]).unwrap()];
        let order = order(&batches, &["x".into(), "y".into()]).unwrap();
        for quarter in order.chunks(64) {
            for column in 0..2 {
                let values = values(&batches, column, quarter);
                let (low, high) = (values.iter().min().unwrap(), values.iter().max().unwrap());
                assert!(high - low < 8, "{low} to {high}");
            }
        }
    }
}
