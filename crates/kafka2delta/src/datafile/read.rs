//! Reading data files: key columns for the index, and single rows for values that changes leave out.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::ObjectStore;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::file::metadata::PageIndexPolicy;
use spark_expr::type_name;

use super::open::{Batches, OpenFile, StoredFile};
use super::pieces::{compact, with_views};
use super::weight::Weight;
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::{Add, StringMap};
use crate::schema::{conform, fits};

/// Files that rows are read from at the same time.
pub(crate) const PARALLEL_READS: usize = 16;
/// Rows of a file that are read before it is its turn.
const ROWS_AHEAD: usize = 4096;

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
        let file = open(store, add, rows.is_some()).await?;
        let (mask, rows) = chosen(&file, columns, rows)?;
        let stream = file.batches(mask, rows)?;
        Ok(Self { stream, add, schema, columns })
    }

    /// The next batch; none at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<ArrayRef>>> {
        let batch = self.stream.try_next().await?;
        batch.map(|batch| in_table_types(&batch, self.add, self.schema, self.columns)).transpose()
    }
}

/// Reads a file's footer; where rows will be selected, also where its pages are, so that those without such rows are not
/// read.
async fn open(store: &Arc<dyn ObjectStore>, add: &Add, selects: bool) -> Result<OpenFile> {
    let pages = if selects { PageIndexPolicy::Optional } else { PageIndexPolicy::Skip };
    OpenFile::open(StoredFile::new(store, add)?, pages).await
}

/// What is read of a file: the columns of these names that it has, and the rows.
fn chosen(file: &OpenFile, columns: &[String], rows: Option<&[u32]>) -> Result<(ProjectionMask, Option<RowSelection>)> {
    let metadata = file.metadata();
    let wanted: Vec<usize> = columns.iter().filter_map(|name| metadata.schema().index_of(name).ok()).collect();
    let rows = rows.map(|rows| selection(rows, file.num_rows())).transpose()?;
    Ok((ProjectionMask::roots(metadata.parquet_schema(), wanted), rows))
}

/// All columns of a file, batch after batch, for those who must wait between the batches.
#[derive(Debug)]
pub struct FileReader {
    file: OpenFile,
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
        Ok(Self { file: open(store, add, selects).await?, add: add.clone() })
    }

    /// Whether the file itself has the column.
    pub fn has_column(&self, name: &str) -> bool {
        self.file.metadata().schema().index_of(name).is_ok()
    }

    /// Rows of the file, deleted ones included.
    pub fn num_rows(&self) -> u64 {
        self.file.num_rows()
    }

    /// What its rows take in memory.
    pub(crate) fn weight(&self) -> Weight {
        self.file.weight()
    }

    /// Its rows, with the columns and types of `schema`, in batches of bounded size, in order.
    /// `rows` selects some, ascending.
    pub fn batches(self, schema: SchemaRef, rows: Option<&[u32]>) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let columns = names_of(&schema);
        let (mask, rows) = chosen(&self.file, &columns, rows)?;
        Ok(typed(self.file.batches(mask, rows)?, self.add, schema, columns))
    }

    /// The same with texts and bytes as views, so that rows that are held together share the file's dictionaries.
    pub fn views(self, schema: &Schema) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let columns = names_of(schema);
        let (mask, rows) = chosen(&self.file, &columns, None)?;
        Ok(typed(self.file.views(mask, rows)?, self.add, with_views(schema), columns))
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
                Some(column) => in_type(column, field, &add.path),
                None => partition_column(&add.partition_values, field, batch.num_rows()),
            }
        })
        .collect()
}

/// A column of a file in the table's type.
pub(crate) fn in_type(column: &ArrayRef, field: &Field, path: &str) -> Result<ArrayRef> {
    let (stored, table) = (column.data_type(), field.data_type());
    if has_values_of(stored, table) {
        return conform(column, table);
    }
    let (name, stored, table) = (field.name(), type_name(stored), type_name(table));
    let message = format!("{path}: column '{name}' is stored as {stored}, and the table has it as {table}");
    Err(Error::new(ErrorCode::TableCorrupt, message))
}

/// Whether values that a file stores in one type are, as they are or refused one by one, values of the table's type. A cast
/// alone would round numbers, and read texts as other things.
fn has_values_of(stored: &DataType, table: &DataType) -> bool {
    use DataType as T;
    let of_items = |stored: &FieldRef, table: &FieldRef| has_values_of(stored.data_type(), table.data_type());
    match (stored, table) {
        (T::Struct(stored), T::Struct(table)) => table.iter().all(|field| {
            let found = stored.iter().find(|stored| stored.name() == field.name());
            found.is_none_or(|stored| of_items(stored, field))
        }),
        (T::List(stored) | T::LargeList(stored) | T::FixedSizeList(stored, _), T::List(table)) => {
            of_items(stored, table)
        }
        // Keys and values are found by their places: writers name them as they like.
        (T::Map(stored, _), T::Map(table, _)) => match (stored.data_type(), table.data_type()) {
            (T::Struct(stored), T::Struct(table)) => stored.iter().zip(table).all(|(s, t)| of_items(s, t)),
            _ => false,
        },
        (T::Decimal128(_, stored), T::Decimal128(_, table)) => stored <= table,
        (T::Timestamp(_, _), T::Timestamp(_, _))
        | (T::Date32, T::Timestamp(_, None))
        | (T::Binary | T::LargeBinary | T::BinaryView, T::Utf8 | T::Utf8View)
        | (T::Utf8 | T::LargeUtf8 | T::Utf8View, T::Binary | T::BinaryView) => true,
        _ => fits(stored, table) || (stored.is_signed_integer() && table.is_signed_integer()),
    }
}

pub(super) fn partition_column(values: &StringMap, field: &Field, num_rows: usize) -> Result<ArrayRef> {
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
    let file = open(store, add, true).await?;
    let (mask, selected) = chosen(&file, columns, Some(rows))?;
    let stream = typed(file.views(mask, selected)?, add.clone(), projected.clone(), columns.to_vec());
    let batches: Vec<RecordBatch> = stream.map(|batch| compact(&batch?)).try_collect().await?;
    let batch = arrow::compute::concat_batches(&projected, &batches)?;
    check_count(&batch, rows, add)?;
    Ok(batch)
}

/// The same of several files, in their order, each with what the caller knows it by.
pub fn read_rows_of_files<T: Send + 'static>(
    store: &Arc<dyn ObjectStore>,
    schema: &SchemaRef,
    columns: &[String],
    files: impl Iterator<Item = (T, Add, Vec<u32>)>,
) -> BoxStream<'static, Result<(T, RecordBatch)>> {
    let read = |(file, add, rows): (T, Add, Vec<u32>)| {
        let (store, schema, columns) = (store.clone(), schema.clone(), columns.to_vec());
        async move { Ok((file, read_rows_in_views(&store, &add, &schema, &columns, &rows).await?)) }.boxed()
    };
    // Boxed futures of owned things: closures over references are not Send in general.
    let reads: Vec<BoxFuture<'static, Result<_>>> = files.map(read).collect();
    futures::stream::iter(reads).buffered(PARALLEL_READS).boxed()
}

/// Rows of a file that are being read, batch after batch.
pub struct RowsOfFile<T> {
    /// What the caller knows the file by.
    pub file: T,
    /// Its action.
    pub add: Add,
    /// Their numbers.
    pub rows: Vec<u32>,
    /// In all columns of a schema.
    pub batches: Batches,
}

/// Begins to read rows of files, of some at a time, and gives them in their order. Where they are few, they are read then.
pub fn begin_reads<T: Send + 'static>(
    store: &Arc<dyn ObjectStore>,
    schema: &SchemaRef,
    files: impl Iterator<Item = (T, Add, Vec<u32>)>,
) -> BoxStream<'static, Result<RowsOfFile<T>>> {
    let begin = |(file, add, rows): (T, Add, Vec<u32>)| {
        let (store, schema) = (store.clone(), schema.clone());
        async move {
            let reader = FileReader::open_for_rows(&store, &add).await?;
            let mut batches = reader.batches(schema, Some(&rows))?.peekable();
            if rows.len() <= ROWS_AHEAD {
                Pin::new(&mut batches).peek().await;
            }
            Ok(RowsOfFile { file, add, rows, batches: batches.boxed() })
        }
        .boxed()
    };
    let reads: Vec<BoxFuture<'static, Result<_>>> = files.filter(|(_, _, rows)| !rows.is_empty()).map(begin).collect();
    futures::stream::iter(reads).buffered(PARALLEL_READS).boxed()
}

fn check_count(batch: &RecordBatch, rows: &[u32], add: &Add) -> Result<()> {
    if batch.num_rows() != rows.len() {
        return Err(Error::new(ErrorCode::TableCorrupt, format!("{} has fewer rows than the index knows", add.path)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int32Array, Int64Array};
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt};
    use parquet::arrow::ArrowWriter;

    /// Reads a column of a file as a column of another type.
    async fn read_as(column: ArrayRef, data_type: DataType) -> Result<ArrayRef> {
        let rows = RecordBatch::try_from_iter([("c", column)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        let bytes = writer.into_inner().unwrap();
        let add: Add = serde_json::from_value(serde_json::json!({
            "path": "a.parquet", "size": bytes.len(), "partitionValues": {}, "modificationTime": 0, "dataChange": true
        }))
        .unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        store.put(&Path::from("a.parquet"), bytes.into()).await.unwrap();
        let schema = Arc::new(Schema::new(vec![Field::new("c", data_type, true)]));
        Ok(read_rows(&store, &add, &schema, &["c".into()], &[0]).await?.column(0).clone())
    }

    #[tokio::test]
    async fn values_that_a_cast_would_change_are_refused() {
        let long: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let read = read_as(long, DataType::Int32).await.unwrap();
        assert_eq!(read.as_ref(), &Int32Array::from(vec![7]));
        let long: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX]));
        assert_eq!(read_as(long, DataType::Int32).await.unwrap_err().code, ErrorCode::SchemaIncompatible);
        let double: ArrayRef = Arc::new(Float64Array::from(vec![1.5]));
        let error = read_as(double, DataType::Int32).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::TableCorrupt);
        assert_eq!(error.message, "a.parquet: column 'c' is stored as double, and the table has it as int");
    }
}
