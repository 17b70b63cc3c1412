//! How stored rows remember the order of the changes that they come from.
//!
//! A data file keeps the order of each row in columns that the table's schema does not name. Readers go by the schema and
//! pass over them. Only topics of several partitions, and histories, need them. A file that another writer made anew lacks
//! them: of its rows no order is known.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use futures::TryStreamExt;
use object_store::ObjectStore;

use super::read::FileReader;
use crate::error::Result;
use crate::log::actions::Add;
use crate::log::tags::sequence_tag;
use crate::order::sequence::{Order, Sequence};

/// Physical columns of a data file: the epoch, and the three numbers of the sequence, as the bits of unsigned ones; the
/// message's time in milliseconds since 1970.
pub const COLUMNS: [&str; 5] =
    ["_kafka2delta_epoch", "_kafka2delta_seq_0", "_kafka2delta_seq_1", "_kafka2delta_seq_2", "_kafka2delta_time"];

/// Whether a column of a data file is one of ours.
pub fn is_order_column(name: &str) -> bool {
    COLUMNS.contains(&name)
}

/// The schema with our columns at its end.
pub fn with_columns(schema: &Schema) -> SchemaRef {
    let own = COLUMNS.iter().map(|name| Arc::new(Field::new(*name, DataType::Int64, true)));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain(own).collect::<Vec<_>>()))
}

/// The rows with their order, one for each row; without where none has one.
pub fn append(rows: &RecordBatch, orders: &[Order]) -> Result<RecordBatch> {
    if orders.iter().all(|order| *order == Order::default()) {
        return Ok(rows.clone());
    }
    let mut columns = rows.columns().to_vec();
    let column = |value: &dyn Fn(&Sequence) -> u64| -> ArrayRef {
        Arc::new(orders.iter().map(|o| o.sequence.map(|s| value(&s) as i64)).collect::<Int64Array>())
    };
    columns.push(column(&|s| s.epoch));
    columns.extend((0..3).map(|i| column(&|s| s.value[i])));
    columns.push(Arc::new(orders.iter().map(|o| o.time).collect::<Int64Array>()));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(with_columns(rows.schema_ref()), columns, &options)?)
}

/// The order of each row of a batch, by our columns; unknown where it lacks them.
pub fn orders_of(rows: &RecordBatch) -> Vec<Order> {
    let columns: Option<Vec<ArrayRef>> = COLUMNS.iter().map(|name| rows.column_by_name(name).cloned()).collect();
    columns.map_or_else(|| vec![Order::default(); rows.num_rows()], |columns| parse(&columns))
}

fn parse(columns: &[ArrayRef]) -> Vec<Order> {
    let columns: Vec<&Int64Array> = columns.iter().filter_map(|c| c.as_primitive_opt::<Int64Type>()).collect();
    let [epoch, a, b, c, time] = columns[..] else { return Vec::new() };
    let number = |column: &Int64Array, row: usize| column.value(row) as u64;
    (0..epoch.len())
        .map(|row| Order {
            sequence: [epoch, a, b, c].iter().all(|column| column.is_valid(row)).then(|| Sequence {
                epoch: number(epoch, row),
                value: [number(a, row), number(b, row), number(c, row)],
            }),
            time: time.is_valid(row).then(|| time.value(row)),
        })
        .collect()
}

/// The order of a file's rows; of `rows` alone (ascending, distinct) where given. And whether the file has our columns:
/// otherwise no order is known of any row.
pub async fn read(store: &Arc<dyn ObjectStore>, add: &Add, rows: Option<&[u32]>) -> Result<(Vec<Order>, bool)> {
    let reader = match rows {
        Some(_) => FileReader::open_for_rows(store, add).await?,
        None => FileReader::open(store, add).await?,
    };
    if !reader.has_column(COLUMNS[0]) {
        let count = rows.map_or(usize::try_from(reader.num_rows()).unwrap_or(0), <[u32]>::len);
        return Ok((vec![Order::default(); count], false));
    }
    let mut batches = reader.batches(with_columns(&Schema::empty()), rows)?;
    let mut orders = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        orders.extend(orders_of(&batch));
    }
    Ok((orders, true))
}

/// The text of [`SEQUENCE_TAG`] for rows with our columns; none where they lack them or have no common epoch.
pub fn tag_of(rows: &RecordBatch) -> Option<String> {
    rows.column_by_name(COLUMNS[0])?;
    sequence_tag(orders_of(rows).into_iter().map(|order| order.sequence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tags::{SEQUENCE_TAG, sequence_range};

    #[test]
    fn orders_come_back_from_columns_and_tag() {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
        let rows = RecordBatch::try_new(schema, vec![ids]).unwrap();
        let sequence = |value| Some(Sequence { epoch: u64::MAX, value });
        let orders = [
            Order { sequence: sequence([0, 5, u64::MAX]), time: Some(7) },
            Order::default(),
            Order { sequence: sequence([1 << 63, 0, 0]), time: None },
            Order { sequence: None, time: Some(9) },
        ];
        let with = append(&rows, &orders).unwrap();
        assert_eq!(orders_of(&with), orders);
        assert_eq!(append(&rows, &[Order::default(); 4]).unwrap().num_columns(), 1);
        assert_eq!(sequence_tag(orders.iter().map(|order| order.sequence)), None);
        let text = sequence_tag([orders[2].sequence, orders[0].sequence].into_iter()).unwrap();
        let mut add: Add = serde_json::from_str(
            r#"{"path":"a","partitionValues":{},"size":1,"modificationTime":0,"dataChange":true}"#,
        )
        .unwrap();
        add.tags = Some([(SEQUENCE_TAG.to_owned(), Some(text))].into());
        let (low, high) = sequence_range(&add).unwrap();
        assert_eq!((Some(low), Some(high)), (orders[0].sequence, orders[2].sequence));
    }
}
