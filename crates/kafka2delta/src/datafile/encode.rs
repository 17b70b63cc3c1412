//! Encoding of a data file: columns side by side on all cores.

use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;

use super::format::{FileFormat, large_columns};
use super::paths::file_path;
use super::split::FileRows;
use super::{order_columns, stats};
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::Add;
use crate::log::tags;
use crate::machine::now_millis;

/// Values below which one thread is faster.
const MIN_VALUES: usize = 50_000;
/// Threads of one file at most.
const MAX_THREADS: usize = 4;
/// Rows of a row group.
const GROUP_ROWS: usize = 1 << 20;

/// A data file ready to be stored.
#[derive(Debug)]
pub struct DataFile {
    /// Path relative to the table.
    pub path: Path,
    /// The Parquet file.
    pub bytes: Bytes,
    /// Its action.
    pub add: Add,
}

/// Encodes rows as a Parquet file. The batch may have the columns of [`order_columns`] at its end.
pub fn encode(
    batch: &RecordBatch,
    file: &FileRows,
    partition_columns: &[String],
    format: &FileFormat,
) -> Result<DataFile> {
    let kept: Vec<usize> =
        (0..batch.num_columns()).filter(|i| !partition_columns.contains(batch.schema_ref().field(*i).name())).collect();
    let columns = batch.project(&kept)?;
    let picked = (file.rows.len() != batch.num_rows()).then(|| UInt32Array::from(file.rows.clone()));
    let (rows, bytes, metadata) =
        to_parquet(&columns, picked.as_ref(), format.writer_properties(&large_columns(&columns)))?;
    let stats = stats::to_json(&rows, metadata.row_groups(), format.stats());
    let size = i64::try_from(bytes.len())
        .map_err(|_| Error::new(ErrorCode::Internal, "a data file is larger than 2^63 bytes"))?;
    let path = file_path(&file.partition_values, format.suffix());
    let add = Add {
        path: path.to_string(),
        partition_values: file.partition_values.clone(),
        size,
        modification_time: now_millis(),
        data_change: true,
        stats: Some(stats),
        tags: Some(tags::of_new_file(file.kafka_partition, order_columns::tag_of(&rows))),
        ..Add::default()
    };
    Ok(DataFile { path, bytes, add })
}

/// One column of a row group.
struct Job {
    column: usize,
    array: ArrayRef,
    /// One for each leaf.
    writers: Vec<ArrowColumnWriter>,
}

type Done = (usize, ArrayRef, Vec<ArrowColumnChunk>);

/// The picked rows, and their Parquet file.
fn to_parquet(
    batch: &RecordBatch,
    picked: Option<&UInt32Array>,
    properties: WriterProperties,
) -> Result<(RecordBatch, Bytes, ParquetMetaData)> {
    let schema: SchemaRef = Arc::new(Schema::new(batch.schema().fields().clone()));
    let num_rows = picked.map_or(batch.num_rows(), Array::len);
    let mut bytes = Vec::with_capacity(1 << 16);
    let writer = ArrowWriter::try_new(&mut bytes, schema.clone(), Some(properties))?;
    let (mut writer, factory) = writer.into_serialized_writer()?;
    let roots: Vec<usize> = {
        let leaves = writer.schema_descr();
        (0..leaves.num_columns()).map(|leaf| leaves.get_column_root_idx(leaf)).collect()
    };
    let mut columns: Vec<ArrayRef> = match picked {
        None => batch.columns().to_vec(),
        Some(_) => Vec::with_capacity(batch.num_columns()),
    };
    let mut groups = 0;
    // A file without rows has one group too.
    while groups == 0 || groups * GROUP_ROWS < num_rows {
        let first = groups * GROUP_ROWS;
        let count = GROUP_ROWS.min(num_rows - first);
        let mut writers = factory.create_column_writers(groups)?.into_iter().zip(&roots).peekable();
        let mut jobs = Vec::with_capacity(batch.num_columns());
        for column in 0..batch.num_columns() {
            let mut leaves = Vec::new();
            while let Some((writer, _)) = writers.next_if(|(_, root)| **root == column) {
                leaves.push(writer);
            }
            // Rows are picked once, by the thread that encodes the column.
            let array = columns.get(column).unwrap_or_else(|| batch.column(column)).clone();
            jobs.push(Job { column, array, writers: leaves });
        }
        let picked = picked.filter(|_| columns.len() < batch.num_columns());
        let done = run(jobs, &schema, picked, first..first + count)?;
        let mut group = writer.next_row_group()?;
        let taken = columns.is_empty();
        for (_, array, chunks) in done {
            if taken {
                columns.push(array);
            }
            for chunk in chunks {
                chunk.append_to_row_group(&mut group)?;
            }
        }
        group.close()?;
        groups += 1;
    }
    let metadata = writer.close()?;
    let options = RecordBatchOptions::new().with_row_count(Some(num_rows));
    let rows = RecordBatch::try_new_with_options(schema, columns, &options)?;
    Ok((rows, bytes.into(), metadata))
}

/// Encodes columns, the largest ones first, by several threads where that pays.
fn run(
    mut jobs: Vec<Job>,
    schema: &Schema,
    picked: Option<&UInt32Array>,
    rows: std::ops::Range<usize>,
) -> Result<Vec<Done>> {
    let one = |job: Job| -> Result<Done> {
        let array = match picked {
            Some(picked) => take(&job.array, picked, None)?,
            None => job.array,
        };
        let part = array.slice(rows.start, rows.len());
        let mut chunks = Vec::with_capacity(job.writers.len());
        let leaves = compute_leaves(schema.field(job.column), &part)?;
        for (mut writer, leaf) in job.writers.into_iter().zip(leaves) {
            writer.write(&leaf)?;
            chunks.push(writer.close()?);
        }
        Ok((job.column, array, chunks))
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS).min(jobs.len());
    if threads < 2 || rows.len() * jobs.len() < MIN_VALUES {
        return jobs.into_iter().map(one).collect();
    }
    jobs.sort_by_key(|job| job.array.get_buffer_memory_size());
    let jobs = Mutex::new(jobs);
    let next = || jobs.lock().ok().and_then(|mut jobs| jobs.pop());
    let work = || -> Result<Vec<Done>> { std::iter::from_fn(next).map(one).collect() };
    let mut done = std::thread::scope(|scope| -> Result<Vec<Done>> {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut done = work()?;
        for other in others {
            let part = other.join().map_err(|_| Error::new(ErrorCode::Internal, "the encoder panicked"))?;
            done.extend(part?);
        }
        Ok(done)
    })?;
    done.sort_by_key(|(column, _, _)| *column);
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::actions::StringMap;
    use arrow::array::{Int64Array, ListArray, StringArray, StructArray};
    use arrow::datatypes::{Field, Int64Type};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

    #[test]
    fn columns_encoded_side_by_side_are_read_in_their_order() {
        let count = 30_000i64;
        let ids: ArrayRef = Arc::new((0..count).collect::<Int64Array>());
        let texts: ArrayRef =
            Arc::new((0..count).map(|n| (n % 7 > 0).then(|| format!("text {n}"))).collect::<StringArray>());
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(
            (0..count).map(|n| (n % 5 > 0).then(|| (0..n % 4).map(Some).collect::<Vec<_>>())),
        ));
        let inner =
            |name: &str, array: &ArrayRef| (Arc::new(Field::new(name, array.data_type().clone(), true)), array.clone());
        let pairs: ArrayRef = Arc::new(StructArray::from(vec![inner("t", &texts), inner("l", &lists)]));
        let arrays = [("id", ids), ("text", texts), ("list", lists), ("pair", pairs)];
        let fields: Vec<Field> = arrays.iter().map(|(n, a)| Field::new(*n, a.data_type().clone(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(schema.clone(), arrays.into_iter().map(|(_, a)| a).collect()).unwrap();
        for rows in [vec![], vec![3], (0..count as u32).collect(), (0..count as u32).filter(|n| n % 3 > 0).collect()] {
            let file = FileRows { partition_values: StringMap::new(), rows: rows.clone(), kafka_partition: Some(0) };
            let file = encode(&batch, &file, &[], &FileFormat::of_tests()).unwrap();
            let read: Vec<RecordBatch> =
                ParquetRecordBatchReader::try_new(file.bytes, 1 << 20).unwrap().map(|b| b.unwrap()).collect();
            let read = arrow::compute::concat_batches(&schema, &read).unwrap();
            let expected = arrow::compute::take_record_batch(&batch, &UInt32Array::from(rows)).unwrap();
            assert_eq!(read, expected);
        }
    }
}
