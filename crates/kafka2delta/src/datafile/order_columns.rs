//! The order of changes that came through different Kafka partitions, and how stored rows remember theirs.
//!
//! Within a partition the order of the offsets is the truth, and nothing here is asked. Between the partitions of a topic
//! the source's position decides where it proves something, and the time of the message where it does not.
//!
//! A data file keeps the order of each row in columns that the table's schema does not name. Readers go by the schema and
//! pass over them. Only topics of several partitions, and histories, need them. A file that another writer made anew lacks
//! them: of its rows no order is known.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use object_store::ObjectStore;
use serde::{Deserialize, Serialize};

use super::read::read_columns;
use crate::error::Result;
use crate::log::actions::Add;

/// The source's position of a streamed change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Which source's history it belongs to: positions compare within one epoch alone.
    pub epoch: u64,
    /// Three unsigned numbers. The first two order transactions; the third tells the changes of a transaction apart and
    /// orders nothing.
    pub value: [u64; 3],
}

impl Sequence {
    /// The part that orders transactions.
    fn transaction(&self) -> [u64; 2] {
        [self.value[0], self.value[1]]
    }

    /// Whether this change's transaction was committed before, with or after the other's; none where nothing tells.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        (self.epoch == other.epoch).then(|| self.transaction().cmp(&other.transaction()))
    }
}

impl Sequence {
    /// Whether a stream that was at `last` and sends this change goes back. Within a transaction, positions that stand
    /// still, or come without an order, do not tell.
    pub fn goes_back_from(&self, last: &Self) -> bool {
        let is_exact = self.value[2] == 0 && last.value[2] == 0;
        self.compare(last).is_some_and(|ordering| ordering.is_lt() || (ordering.is_eq() && is_exact))
    }
}

/// What a change tells of its place among those of other partitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Where the stream proves one.
    pub sequence: Option<Sequence>,
    /// The Kafka message's timestamp, in milliseconds since 1970.
    pub time: Option<i64>,
}

impl Order {
    /// Compares changes of different partitions: by their positions where these differ, else by the messages' times.
    /// None where nothing tells: then the order of arrival counts.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        let different = |ordering: &Ordering| ordering.is_ne();
        let by_sequence = self.sequence.zip(other.sequence).and_then(|(a, b)| a.compare(&b)).filter(different);
        by_sequence.or_else(|| self.time.zip(other.time).map(|(a, b)| a.cmp(&b)).filter(different))
    }

    /// Whether this change is known to be older than `other`, of another partition.
    pub fn is_before(&self, other: &Self) -> bool {
        self.compare(other) == Some(Ordering::Less)
    }
}

/// Physical columns of a data file: the epoch, and the three numbers of the sequence, as the bits of unsigned ones; the
/// message's time in milliseconds since 1970.
pub const COLUMNS: [&str; 5] =
    ["_kafka2delta_epoch", "_kafka2delta_seq_0", "_kafka2delta_seq_1", "_kafka2delta_seq_2", "_kafka2delta_time"];

/// Tag of the Kafka partition that a file's rows came through.
pub const PARTITION_TAG: &str = "kafka2delta.partition";
/// Tag of a file whose rows all have sequences of one epoch: `<epoch>:<lowest>:<highest>`, hexadecimal.
pub const SEQUENCE_TAG: &str = "kafka2delta.sequence";

/// Whether a column of a data file is one of ours.
pub fn is_order_column(name: &str) -> bool {
    COLUMNS.contains(&name)
}

fn names() -> Vec<String> {
    COLUMNS.iter().map(|name| (*name).to_owned()).collect()
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

/// The rows without our columns where no row has an order.
pub fn without_empty(rows: RecordBatch) -> Result<RecordBatch> {
    let is_empty = |name| rows.column_by_name(name).is_some_and(|column| column.null_count() == column.len());
    if !COLUMNS.iter().all(|name| is_empty(name)) {
        return Ok(rows);
    }
    let kept: Vec<usize> =
        (0..rows.num_columns()).filter(|i| !is_order_column(rows.schema_ref().field(*i).name())).collect();
    Ok(rows.project(&kept)?)
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

/// The order of a file's rows; of `rows` alone (ascending, distinct) where given.
pub async fn read(store: &Arc<dyn ObjectStore>, add: &Add, rows: Option<&[u32]>) -> Result<Vec<Order>> {
    let mut orders = Vec::new();
    read_columns(store, add, &with_columns(&Schema::empty()), &names(), rows, |columns| {
        orders.extend(parse(&columns));
        Ok(())
    })
    .await?;
    Ok(orders)
}

/// Lowest and highest sequence of rows that come one after the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct SequenceRange {
    range: Option<(Sequence, Sequence)>,
    /// A row has none, or one of another epoch.
    mixed: bool,
}

impl SequenceRange {
    /// Adds a row's sequence.
    pub fn add(&mut self, sequence: Option<Sequence>) {
        match (sequence, &mut self.range) {
            (Some(new), None) => self.range = Some((new, new)),
            (Some(new), Some((low, high))) if new.epoch == low.epoch => {
                low.value = low.value.min(new.value);
                high.value = high.value.max(new.value);
            }
            _ => self.mixed = true,
        }
    }

    /// The text of [`SEQUENCE_TAG`]; none where the rows have no common epoch.
    pub fn tag(&self) -> Option<String> {
        let (low, high) = self.range.filter(|_| !self.mixed)?;
        let text = |v: [u64; 3]| format!("{:x}.{:x}.{:x}", v[0], v[1], v[2]);
        Some(format!("{:x}:{}:{}", low.epoch, text(low.value), text(high.value)))
    }
}

/// The text of [`SEQUENCE_TAG`] for rows with our columns; none where they lack them or have no common epoch.
pub fn tag_of(rows: &RecordBatch) -> Option<String> {
    rows.column_by_name(COLUMNS[0])?;
    sequence_tag(orders_of(rows).into_iter().map(|order| order.sequence))
}

fn sequence_tag(sequences: impl Iterator<Item = Option<Sequence>>) -> Option<String> {
    let mut range = SequenceRange::default();
    sequences.for_each(|sequence| range.add(sequence));
    range.tag()
}

fn tag<'a>(add: &'a Add, name: &str) -> Option<&'a str> {
    add.tags.as_ref()?.get(name)?.as_deref()
}

/// Lowest and highest sequence of a file whose rows all have one, by its tag.
pub fn sequence_range(add: &Add) -> Option<(Sequence, Sequence)> {
    let mut parts = tag(add, SEQUENCE_TAG)?.split(':');
    let epoch = u64::from_str_radix(parts.next()?, 16).ok()?;
    let mut value = || -> Option<[u64; 3]> {
        let numbers: Option<Vec<u64>> = parts.next()?.split('.').map(|n| u64::from_str_radix(n, 16).ok()).collect();
        numbers?.try_into().ok()
    };
    Some((Sequence { epoch, value: value()? }, Sequence { epoch, value: value()? }))
}

/// The Kafka partition that a file's rows came through, by its tag.
pub fn file_partition(add: &Add) -> Option<i32> {
    tag(add, PARTITION_TAG)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(value: [u64; 3], time: i64) -> Order {
        Order { sequence: Some(Sequence { epoch: 1, value }), time: Some(time) }
    }

    #[test]
    fn positions_decide_where_they_differ_and_times_where_they_do_not() {
        assert!(at([1, 9, 0], 20).is_before(&at([2, 0, 0], 10)));
        assert!(at([1, 2, 9], 10).is_before(&at([1, 2, 0], 20)));
        assert_eq!(at([1, 2, 9], 10).compare(&at([1, 2, 0], 10)), None);
        let other_epoch = Order { sequence: Some(Sequence { epoch: 2, value: [9, 0, 0] }), time: Some(5) };
        assert!(other_epoch.is_before(&at([1, 0, 0], 6)));
        assert_eq!(Order::default().compare(&at([1, 0, 0], 6)), None);
    }

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
        assert_eq!(without_empty(with.slice(1, 1)).unwrap().num_columns(), 1);
        assert_eq!(without_empty(with.slice(3, 1)).unwrap().num_columns(), 6);
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
