//! Opening data files. Every data file is opened here, so that all of the engine reads its values alike, whoever wrote it.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, TimeUnit};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::schema::types::SchemaDescriptor;

use super::calendar::Calendar;
use super::paths::store_path;
use super::pieces::{batch_rows, pieces, with_views};
use super::weight::Weight;
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::Add;

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

/// Rows of a file.
pub type Batches = BoxStream<'static, Result<RecordBatch>>;

/// A data file whose footer was read.
#[derive(Debug, Clone)]
pub struct OpenFile {
    stored: StoredFile,
    metadata: ArrowReaderMetadata,
    calendar: Calendar,
}

impl OpenFile {
    /// Reads the file's footer, and the places of its pages where `pages` asks for them.
    pub async fn open(mut stored: StoredFile, pages: PageIndexPolicy) -> Result<Self> {
        // Types come from Parquet's own annotations: what Arrow's writers add to them is theirs alone.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_offset_index_policy(pages);
        let loaded = ArrowReaderMetadata::load_async(&mut stored, options.clone()).await;
        let mut metadata = loaded.map_err(|error| Error::from(error).in_file(&stored.path))?;
        let in_microseconds = in_microseconds(metadata.schema(), metadata.parquet_schema());
        let has_int96 = in_microseconds.is_some();
        // Texts and bytes are read as views, of which pieces can be made.
        let options = options.with_schema(with_views(in_microseconds.as_ref().unwrap_or(metadata.schema())));
        metadata = ArrowReaderMetadata::try_new(metadata.metadata().clone(), options)?;
        let calendar = Calendar::of(metadata.metadata().file_metadata(), has_int96);
        Ok(Self { stored, metadata, calendar })
    }

    /// What its rows take in memory.
    pub(crate) fn weight(&self) -> Weight {
        let weight = Weight::of(self.metadata.metadata());
        Weight { footer: weight.footer + self.stored.tail.len() as u64, ..weight }
    }

    /// What the footer says.
    pub fn metadata(&self) -> &ArrowReaderMetadata {
        &self.metadata
    }

    /// Rows of the file, deleted ones included.
    pub fn num_rows(&self) -> u64 {
        u64::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Whether the footer's statistics are of the values that [`Self::batches`] gives.
    pub fn has_true_statistics(&self) -> bool {
        self.calendar.is_ours()
    }

    /// For what is to be known of row groups. It is not for reading rows.
    pub(crate) fn builder(&self) -> ParquetRecordBatchStreamBuilder<StoredFile> {
        ParquetRecordBatchStreamBuilder::new_with_metadata(self.stored.clone(), self.metadata.clone())
    }

    /// Some columns of some rows, all where none are given, in batches of bounded size. One at a time is without views.
    pub fn batches(&self, columns: ProjectionMask, rows: Option<RowSelection>) -> Result<Batches> {
        let cut = |batch| futures::stream::iter(pieces(&batch).into_iter().map(Ok));
        Ok(self.views(columns, rows)?.map_ok(cut).try_flatten().boxed())
    }

    /// The same with texts and bytes as views.
    pub fn views(&self, columns: ProjectionMask, rows: Option<RowSelection>) -> Result<Batches> {
        let batch_rows = batch_rows(self.metadata.metadata(), &columns);
        let mut builder = self.builder().with_projection(columns).with_batch_size(batch_rows);
        if let Some(rows) = rows {
            builder = builder.with_row_selection(rows);
        }
        let (calendar, path) = (self.calendar, self.stored.path.clone());
        let batches = builder.build()?;
        let converted = move |batch: parquet::errors::Result<RecordBatch>| {
            let batch = batch.map_err(|error| Error::from(error).in_file(&path))?;
            calendar.convert(batch, &path)
        };
        Ok(batches.map(converted).boxed())
    }
}

/// The columns of a file with the timestamps that are stored as INT96 as instants in microseconds: in nanoseconds, as
/// Parquet's reader takes them otherwise, only the years 1677 to 2262 fit. None where there are no such ones.
fn in_microseconds(schema: &Schema, stored: &SchemaDescriptor) -> Option<Schema> {
    if !stored.columns().iter().any(|column| column.physical_type() == PhysicalType::INT96) {
        return None;
    }
    let mut leaves = stored.columns().iter().map(|column| column.physical_type() == PhysicalType::INT96);
    let fields: Fields = schema.fields().iter().map(|field| field_in_microseconds(field, &mut leaves)).collect();
    Some(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn field_in_microseconds(field: &FieldRef, is_int96: &mut impl Iterator<Item = bool>) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| field_in_microseconds(field, is_int96)).collect())
        }
        DataType::List(item) => DataType::List(field_in_microseconds(item, is_int96)),
        DataType::Map(entries, sorted) => DataType::Map(field_in_microseconds(entries, is_int96), *sorted),
        other => match (is_int96.next(), other) {
            (Some(true), DataType::Timestamp(_, _)) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            _ => other.clone(),
        },
    };
    Arc::new(Field::clone(field).with_data_type(data_type))
}
