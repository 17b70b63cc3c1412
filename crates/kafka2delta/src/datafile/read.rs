//! Reading data files: key columns for the index, and single rows for values that changes leave out.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use super::paths::store_path;
use super::pieces::{batch_rows, compact, pieces, with_views};
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::{Add, StringMap};
use crate::schema::conform;

/// Bytes at a file's end that are read first: so many for each byte of the file, and within these bounds. Mostly they hold
/// the footer and the places of the pages, and of a small file all of it, which one request then reads.
const TAIL_SHARE: u64 = 512;
const MIN_TAIL: u64 = 32 << 10;
const MAX_TAIL: u64 = 512 << 10;

/// A data file in an object store, as Parquet's reader wants it.
#[derive(Debug, Clone)]
pub struct StoredFile {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
    /// Its last bytes, once they were read.
    tail: Bytes,
}

impl StoredFile {
    /// The file of an add action.
    pub fn new(store: &Arc<dyn ObjectStore>, add: &Add) -> Result<Self> {
        let size = u64::try_from(add.size)
            .map_err(|_| Error::new(ErrorCode::TableCorrupt, format!("{} has a negative size", add.path)))?;
        Ok(Self::at(store.clone(), store_path(add)?, size))
    }

    /// The file at a path, of so many bytes.
    pub fn at(store: Arc<dyn ObjectStore>, path: Path, size: u64) -> Self {
        Self { store, path, size, tail: Bytes::new() }
    }

    /// Reads the file's end.
    async fn read_tail(&mut self) -> parquet::errors::Result<()> {
        let bytes = (self.size / TAIL_SHARE).clamp(MIN_TAIL, MAX_TAIL).min(self.size);
        let tail = self.fetch(self.size - bytes..self.size).await?;
        // A file that is shorter than the log says is told of where its footer is looked for.
        if tail.len() as u64 == bytes {
            self.tail = tail;
        }
        Ok(())
    }

    async fn fetch(&self, range: Range<u64>) -> parquet::errors::Result<Bytes> {
        self.store.get_range(&self.path, range).await.map_err(|e| ParquetError::External(Box::new(e)))
    }

    /// The bytes, if they were read with the file's end.
    fn of_tail(&self, range: &Range<u64>) -> Option<Bytes> {
        let start = self.size - self.tail.len() as u64;
        if range.start < start || range.end > self.size {
            return None;
        }
        Some(self.tail.slice((range.start - start) as usize..(range.end - start) as usize))
    }
}

impl AsyncFileReader for StoredFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move {
            match self.of_tail(&range) {
                Some(bytes) => Ok(bytes),
                None => self.fetch(range).await,
            }
        }
        .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move {
            if let Some(bytes) = ranges.iter().map(|range| self.of_tail(range)).collect() {
                return Ok(bytes);
            }
            let bytes = self.store.get_ranges(&self.path, &ranges).await;
            bytes.map_err(|e| ParquetError::External(Box::new(e)))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move {
            let reader =
                ParquetMetaDataReader::new().with_metadata_options(options.map(|o| o.metadata_options().clone()));
            let reader = match options {
                Some(options) => reader
                    .with_column_index_policy(options.column_index_policy())
                    .with_offset_index_policy(options.offset_index_policy()),
                None => reader,
            };
            self.read_tail().await?;
            let size = self.size;
            let metadata = reader.load_and_finish(&mut *self, size).await?;
            if (self.tail.len() as u64) < size {
                self.tail = Bytes::new();
            }
            Ok(Arc::new(metadata))
        }
        .boxed()
    }
}

/// Reads columns of a file in the table's types, batch after batch, in order of rows. `rows` selects some, ascending.
///
/// Columns that the file lacks come from its partition values, or are null.
pub async fn read_columns(
    store: &Arc<dyn ObjectStore>,
    add: &Add,
    schema: &Schema,
    columns: &[String],
    rows: Option<&[u32]>,
    mut each: impl FnMut(Vec<ArrayRef>) -> Result<()>,
) -> Result<()> {
    let mut read = ColumnReader::open(store, add, schema, columns, rows).await?;
    while let Some(columns) = read.next().await? {
        each(columns)?;
    }
    Ok(())
}

/// The same, for those who must wait between the batches.
pub struct ColumnReader<'a> {
    stream: BoxStream<'static, Result<RecordBatch>>,
    add: &'a Add,
    schema: &'a Schema,
    columns: &'a [String],
}

impl<'a> ColumnReader<'a> {
    /// Opens the file: see [`read_columns`].
    pub async fn open(
        store: &Arc<dyn ObjectStore>,
        add: &'a Add,
        schema: &'a Schema,
        columns: &'a [String],
        rows: Option<&[u32]>,
    ) -> Result<Self> {
        let mut file = StoredFile::new(store, add)?;
        let metadata = open(&mut file, rows.is_some()).await?;
        let stream = in_pieces(open_columns(file, metadata, columns, rows)?);
        Ok(Self { stream, add, schema, columns })
    }

    /// The next batch; none at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<ArrayRef>>> {
        let batch = self.stream.try_next().await?;
        batch.map(|batch| in_table_types(&batch, self.add, self.schema, self.columns)).transpose()
    }
}

/// Reads a file's footer; where rows will be selected, also where its pages are, so that those without such rows are not
/// read. Texts and bytes will be read as views, of which [`pieces`] can be made.
async fn open(file: &mut StoredFile, selects: bool) -> Result<ArrowReaderMetadata> {
    let pages = if selects { PageIndexPolicy::Optional } else { PageIndexPolicy::Skip };
    let options = ArrowReaderOptions::new().with_offset_index_policy(pages);
    let metadata = ArrowReaderMetadata::load_async(file, options.clone()).await?;
    let options = options.with_schema(with_views(metadata.schema()));
    Ok(ArrowReaderMetadata::try_new(metadata.metadata().clone(), options)?)
}

fn open_columns(
    file: StoredFile,
    metadata: ArrowReaderMetadata,
    columns: &[String],
    rows: Option<&[u32]>,
) -> Result<ParquetRecordBatchStream<StoredFile>> {
    let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(file, metadata);
    let file_schema = builder.schema().clone();
    let wanted: Vec<usize> = columns.iter().filter_map(|name| file_schema.index_of(name).ok()).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let total = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
    let batch_rows = batch_rows(builder.metadata(), &mask);
    let mut builder = builder.with_projection(mask).with_batch_size(batch_rows);
    if let Some(rows) = rows {
        builder = builder.with_row_selection(selection(rows, total)?);
    }
    Ok(builder.build()?)
}

/// The rows of a stream in batches of bounded size. One at a time is without views.
pub(crate) fn in_pieces(stream: ParquetRecordBatchStream<StoredFile>) -> BoxStream<'static, Result<RecordBatch>> {
    let cut = |batch| futures::stream::iter(pieces(&batch).into_iter().map(Ok));
    stream.map_err(Error::from).map_ok(cut).try_flatten().boxed()
}

/// All columns of a file, batch after batch, for those who must wait between the batches.
#[derive(Debug)]
pub struct FileReader {
    file: StoredFile,
    metadata: ArrowReaderMetadata,
    add: Add,
}

impl FileReader {
    /// Reads the file's footer, for all of its rows.
    pub async fn open(store: &Arc<dyn ObjectStore>, add: &Add) -> Result<Self> {
        Self::new(store, add, false).await
    }

    /// Reads the file's footer, for some of its rows.
    pub async fn open_for_rows(store: &Arc<dyn ObjectStore>, add: &Add) -> Result<Self> {
        Self::new(store, add, true).await
    }

    async fn new(store: &Arc<dyn ObjectStore>, add: &Add, selects: bool) -> Result<Self> {
        let mut file = StoredFile::new(store, add)?;
        let metadata = open(&mut file, selects).await?;
        Ok(Self { file, metadata, add: add.clone() })
    }

    /// Whether the file itself has the column.
    pub fn has_column(&self, name: &str) -> bool {
        self.metadata.schema().index_of(name).is_ok()
    }

    /// Rows of the file, deleted ones included.
    pub fn num_rows(&self) -> u64 {
        u64::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Its rows, with the columns and types of `schema`, in batches of bounded size, in order.
    /// `rows` selects some, ascending.
    pub fn batches(self, schema: SchemaRef, rows: Option<&[u32]>) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let columns = names_of(&schema);
        let stream = in_pieces(open_columns(self.file, self.metadata, &columns, rows)?);
        Ok(typed(stream, self.add, schema, columns))
    }

    /// The same with texts and bytes as views, so that rows that are held together share the file's dictionaries.
    pub fn views(self, schema: &Schema) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let columns = names_of(schema);
        let stream = open_columns(self.file, self.metadata, &columns, None)?.map_err(Error::from);
        Ok(typed(stream.boxed(), self.add, with_views(schema), columns))
    }
}

fn names_of(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

fn typed(
    stream: BoxStream<'static, Result<RecordBatch>>,
    add: Add,
    schema: SchemaRef,
    columns: Vec<String>,
) -> BoxStream<'static, Result<RecordBatch>> {
    let typed = move |batch: RecordBatch| {
        let arrays = in_table_types(&batch, &add, &schema, &columns)?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?)
    };
    stream.map(move |batch| batch.and_then(&typed)).boxed()
}

fn in_table_types(batch: &RecordBatch, add: &Add, schema: &Schema, columns: &[String]) -> Result<Vec<ArrayRef>> {
    columns
        .iter()
        .map(|name| {
            let field = schema.field_with_name(name)?;
            match batch.column_by_name(name) {
                Some(column) => conform(column, field.data_type()),
                None => partition_column(&add.partition_values, field, batch.num_rows()),
            }
        })
        .collect()
}

pub(super) fn partition_column(
    values: &StringMap,
    field: &arrow::datatypes::Field,
    num_rows: usize,
) -> Result<ArrayRef> {
    // Delta has no empty partition value: an empty text is null, and some writers put it for null.
    let Some(text) = values.get(field.name()).and_then(Option::as_ref).filter(|text| !text.is_empty()) else {
        return Ok(new_null_array(field.data_type(), num_rows));
    };
    let text = arrow::array::StringArray::new_repeated(text, num_rows);
    let text: ArrayRef = Arc::new(text);
    conform(&text, field.data_type()).map_err(|e| {
        Error::with_source(
            ErrorCode::TableCorrupt,
            format!("a partition value of '{}' cannot be read", field.name()),
            e,
        )
    })
}

fn selection(rows: &[u32], total: u64) -> Result<RowSelection> {
    let mut selectors = Vec::with_capacity(rows.len() * 2);
    let mut next = 0usize;
    for row in rows {
        let row = *row as usize;
        if row as u64 >= total || row < next {
            return Err(Error::new(ErrorCode::TableCorrupt, "a data file has fewer rows than the index knows"));
        }
        if row > next {
            selectors.push(RowSelector::skip(row - next));
        }
        selectors.push(RowSelector::select(1));
        next = row + 1;
    }
    Ok(RowSelection::from(selectors))
}

/// Reads single rows: the columns named, for `rows` (ascending, distinct), as one batch in that order.
pub async fn read_rows(
    store: &Arc<dyn ObjectStore>,
    add: &Add,
    schema: &SchemaRef,
    columns: &[String],
    rows: &[u32],
) -> Result<RecordBatch> {
    let fields: Result<Vec<_>, _> = columns.iter().map(|name| schema.field_with_name(name).cloned()).collect();
    let projected = Arc::new(Schema::new(fields?));
    let mut batches = Vec::new();
    read_columns(store, add, schema, columns, Some(rows), |arrays| {
        let len = arrays.first().map_or(0, |a| a.len());
        let options = RecordBatchOptions::new().with_row_count(Some(len));
        batches.push(RecordBatch::try_new_with_options(projected.clone(), arrays, &options)?);
        Ok(())
    })
    .await?;
    let batch = arrow::compute::concat_batches(&projected, &batches)?;
    check_count(&batch, rows, add)?;
    Ok(batch)
}

/// The same with texts and bytes as views: values that several rows share are held once.
pub async fn read_rows_in_views(
    store: &Arc<dyn ObjectStore>,
    add: &Add,
    schema: &Schema,
    columns: &[String],
    rows: &[u32],
) -> Result<RecordBatch> {
    let fields = columns.iter().map(|name| schema.field_with_name(name).cloned());
    let projected = with_views(&Schema::new(fields.collect::<Result<Vec<_>, _>>()?));
    let mut file = StoredFile::new(store, add)?;
    let metadata = open(&mut file, true).await?;
    let stream = open_columns(file, metadata, columns, Some(rows))?.map_err(Error::from).boxed();
    let stream = typed(stream, add.clone(), projected.clone(), columns.to_vec());
    let batches: Vec<RecordBatch> = stream.map(|batch| compact(&batch?)).try_collect().await?;
    let batch = arrow::compute::concat_batches(&projected, &batches)?;
    check_count(&batch, rows, add)?;
    Ok(batch)
}

fn check_count(batch: &RecordBatch, rows: &[u32], add: &Add) -> Result<()> {
    if batch.num_rows() != rows.len() {
        return Err(Error::new(ErrorCode::TableCorrupt, format!("{} has fewer rows than the index knows", add.path)));
    }
    Ok(())
}
