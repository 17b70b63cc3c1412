//! The order of stored rows: what a restart would otherwise forget.
//!
//! A data file keeps the sequence of each row in columns that the table's schema does not name. Readers go by the schema
//! and pass over them. A file that another writer made anew lacks them: of its rows no order is known.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use object_store::ObjectStore;

use crate::batch::Sequence;
use crate::error::Result;
use crate::log::actions::Add;
use crate::read::read_columns;

/// Physical columns of a data file: the epoch, and the three numbers of the sequence, as the bits of unsigned ones.
pub const COLUMNS: [&str; 4] = ["_kafka2delta_epoch", "_kafka2delta_seq_0", "_kafka2delta_seq_1", "_kafka2delta_seq_2"];

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

/// The rows with their sequences, one for each row; without where none has one.
pub fn append(rows: &RecordBatch, sequences: &[Option<Sequence>]) -> Result<RecordBatch> {
    if sequences.iter().all(Option::is_none) {
        return Ok(rows.clone());
    }
    let mut columns = rows.columns().to_vec();
    let column = |value: &dyn Fn(&Sequence) -> u64| -> ArrayRef {
        Arc::new(sequences.iter().map(|s| s.as_ref().map(|s| value(s) as i64)).collect::<Int64Array>())
    };
    columns.push(column(&|s| s.epoch));
    columns.extend((0..3).map(|i| column(&|s| s.value[i])));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(with_columns(rows.schema_ref()), columns, &options)?)
}

/// The rows without our columns where no row has a sequence.
pub fn without_empty(rows: RecordBatch) -> Result<RecordBatch> {
    if rows.column_by_name(COLUMNS[0]).is_none_or(|epoch| epoch.null_count() < epoch.len()) {
        return Ok(rows);
    }
    let kept: Vec<usize> =
        (0..rows.num_columns()).filter(|i| !is_order_column(rows.schema_ref().field(*i).name())).collect();
    Ok(rows.project(&kept)?)
}

/// The sequences in our columns of a batch; none where it lacks them.
pub fn sequences_of(rows: &RecordBatch) -> Vec<Option<Sequence>> {
    let columns: Option<Vec<ArrayRef>> = COLUMNS.iter().map(|name| rows.column_by_name(name).cloned()).collect();
    columns.map_or_else(|| vec![None; rows.num_rows()], |columns| parse(&columns))
}

fn parse(columns: &[ArrayRef]) -> Vec<Option<Sequence>> {
    let columns: Vec<&Int64Array> = columns.iter().filter_map(|c| c.as_primitive_opt::<Int64Type>()).collect();
    let [epoch, a, b, c] = columns[..] else { return Vec::new() };
    let number = |column: &Int64Array, row: usize| column.value(row) as u64;
    (0..epoch.len())
        .map(|row| {
            [epoch, a, b, c].iter().all(|column| column.is_valid(row)).then(|| Sequence {
                epoch: number(epoch, row),
                value: [number(a, row), number(b, row), number(c, row)],
            })
        })
        .collect()
}

/// The sequences of a file's rows; of `rows` alone (ascending, distinct) where given.
pub async fn read(store: &Arc<dyn ObjectStore>, add: &Add, rows: Option<&[u32]>) -> Result<Vec<Option<Sequence>>> {
    let mut sequences = Vec::new();
    read_columns(store, add, &with_columns(&Schema::empty()), &names(), rows, |columns| {
        sequences.extend(parse(&columns));
        Ok(())
    })
    .await?;
    Ok(sequences)
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

/// The text of [`SEQUENCE_TAG`] for a file's rows; none where they have no common epoch.
pub fn sequence_tag(sequences: impl Iterator<Item = Option<Sequence>>) -> Option<String> {
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

    #[test]
    fn sequences_come_back_from_columns_and_tag() {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
        let rows = RecordBatch::try_new(schema, vec![ids]).unwrap();
        let at = |value| Some(Sequence { epoch: u64::MAX, value });
        let sequences = [at([0, 5, u64::MAX]), None, at([1 << 63, 0, 0])];
        let with = append(&rows, &sequences).unwrap();
        assert_eq!(sequences_of(&with), sequences);
        assert_eq!(without_empty(with.slice(1, 1)).unwrap().num_columns(), 1);
        assert_eq!(append(&rows, &[None; 3]).unwrap().num_columns(), 1);
        assert_eq!(sequence_tag(sequences.into_iter()), None);
        let text = sequence_tag([sequences[2], sequences[0]].into_iter()).unwrap();
        let mut add: Add = serde_json::from_str(
            r#"{"path":"a","partitionValues":{},"size":1,"modificationTime":0,"dataChange":true}"#,
        )
        .unwrap();
        add.tags = Some([(SEQUENCE_TAG.to_owned(), Some(text))].into());
        let (low, high) = sequence_range(&add).unwrap();
        assert_eq!((Some(low), Some(high)), (sequences[0], sequences[2]));
    }
}
