//! Which rows of a batch go into which data file: one for each partition value and Kafka partition.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::row::{RowConverter, SortField};
use hashbrown::HashMap;

use super::partition_values::partition_text;
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::StringMap;

/// Rows of a batch that go into one file.
#[derive(Debug)]
pub struct FileRows {
    /// Partition column to value.
    pub partition_values: StringMap,
    /// Rows of the batch, in their order.
    pub rows: Vec<u32>,
    /// Kafka partition; none where it is not known.
    pub kafka_partition: Option<i32>,
}

/// Splits rows by the partition columns' values and the Kafka partition, in order of first appearance.
pub fn split(batch: &RecordBatch, partition_columns: &[String], kafka: Option<&[i32]>) -> Result<Vec<FileRows>> {
    let num_rows = batch.num_rows() as u32;
    if partition_columns.is_empty() && kafka.is_none() {
        return Ok(vec![FileRows {
            partition_values: StringMap::new(),
            rows: (0..num_rows).collect(),
            kafka_partition: Some(0),
        }]);
    }
    let columns: Result<Vec<ArrayRef>> = partition_columns
        .iter()
        .map(|name| {
            batch.column_by_name(name).cloned().ok_or_else(|| {
                Error::new(ErrorCode::ConfigInvalid, format!("there is no column '{name}' to partition by"))
            })
        })
        .collect();
    let columns = columns?;
    let types = columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
    let converter = RowConverter::new(types)?;
    let values = (!columns.is_empty()).then(|| converter.convert_columns(&columns)).transpose()?;
    let mut groups: Vec<FileRows> = Vec::new();
    let mut by_value: HashMap<(Vec<u8>, i32), usize> = HashMap::new();
    let mut last: Option<usize> = None;
    for row in 0..num_rows {
        let value = values.as_ref().map(|v| v.row(row as usize));
        let partition = kafka.map_or(0, |k| k[row as usize]);
        // Neighbours are mostly of one partition: no look-up for them.
        if let Some(group) = last
            && groups[group].kafka_partition == Some(partition)
            && let Some(before) = groups[group].rows.last()
            && values.as_ref().map(|v| v.row(*before as usize)) == value
        {
            groups[group].rows.push(row);
            continue;
        }
        let bytes = value.map(|v| v.data().to_vec()).unwrap_or_default();
        let group = match by_value.entry((bytes, partition)) {
            hashbrown::hash_map::Entry::Occupied(group) => *group.get(),
            hashbrown::hash_map::Entry::Vacant(slot) => {
                let mut partition_values = StringMap::new();
                for (name, column) in partition_columns.iter().zip(&columns) {
                    partition_values.insert(name.clone(), partition_text(column, row as usize)?);
                }
                groups.push(FileRows { partition_values, rows: Vec::new(), kafka_partition: Some(partition) });
                *slot.insert(groups.len() - 1)
            }
        };
        groups[group].rows.push(row);
        last = Some(group);
    }
    Ok(groups)
}

/// Splits files that would exceed `target` bytes. What a row takes in a file is taken to be what it takes in memory,
/// which is more: a file may be smaller than its aim, never much larger.
pub fn split_by_size(files: Vec<FileRows>, batch: &RecordBatch, target: u64) -> Vec<FileRows> {
    let bytes: usize = batch.columns().iter().filter_map(|c| c.to_data().get_slice_memory_size().ok()).sum();
    let row_bytes = (bytes / batch.num_rows().max(1)).max(1) as u64;
    let rows = usize::try_from((target / row_bytes).max(1)).unwrap_or(usize::MAX);
    let mut out = Vec::with_capacity(files.len());
    for file in files {
        if file.rows.len() <= rows {
            out.push(file);
            continue;
        }
        out.extend(file.rows.chunks(rows).map(|chunk| FileRows {
            partition_values: file.partition_values.clone(),
            rows: chunk.to_vec(),
            kafka_partition: file.kafka_partition,
        }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    fn batch() -> RecordBatch {
        let schema = Schema::new(vec![Field::new("id", DataType::Int32, true), Field::new("p", DataType::Utf8, true)]);
        let ids = Int32Array::from_iter_values(0..6);
        let parts = StringArray::from(vec![Some("a"), Some("b"), Some("a"), None, Some(""), Some("a")]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::new(parts)]).unwrap()
    }

    #[test]
    fn rows_are_split_by_partition_value_and_kafka_partition() {
        let files = split(&batch(), &["p".into()], Some(&[0, 0, 0, 0, 0, 1])).unwrap();
        let found: Vec<_> = files.iter().map(|f| (f.partition_values["p"].as_deref(), f.rows.clone())).collect();
        let a = (Some("a"), vec![0, 2]);
        assert_eq!(found, [a, (Some("b"), vec![1]), (None, vec![3]), (None, vec![4]), (Some("a"), vec![5])]);
        assert_eq!(files[4].kafka_partition, Some(1));
    }

    #[test]
    fn a_large_file_becomes_several() {
        let files = split(&batch(), &[], None).unwrap();
        let files = split_by_size(files, &batch(), 30);
        assert!(files.len() > 1);
        assert_eq!(files.iter().flat_map(|f| f.rows.clone()).collect::<Vec<_>>(), (0..6).collect::<Vec<_>>());
    }
}
