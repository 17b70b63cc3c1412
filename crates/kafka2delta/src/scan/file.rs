//! Reading one data file of a scan: first the columns of the condition, then the wanted ones of the rows that meet it.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, TimeUnit};
use delta_kernel::engine::arrow_data::{ArrowEngineData, EngineDataArrowExt};
use delta_kernel::engine::arrow_utils::{
    RowIndexBuilder, fixup_parquet_read, ordering_needs_row_indexes, parquet_read_plan,
};
use delta_kernel::engine::parquet_row_group_skipping::ParquetRowGroupSkipping;
use delta_kernel::expressions::ExpressionRef;
use delta_kernel::scan::state::transform_to_logical;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::PageIndexPolicy;
use parquet::schema::types::SchemaDescriptor;
use tokio::sync::mpsc::Sender;

use super::columns::in_columns;
use super::plan::{File, Part, Plan};
use super::predicate::Filter;
use crate::datafile::pieces::{batch_rows, with_views};
use crate::datafile::read::{StoredFile, in_pieces};
use crate::error::{Error, ErrorCode, Result};

type Batches = BoxStream<'static, Result<RecordBatch>>;

/// A file whose footer was read.
struct Opened<'a> {
    plan: &'a Plan,
    stored: StoredFile,
    metadata: ArrowReaderMetadata,
    num_rows: usize,
    location: String,
}

/// Reads the rows of a file that belong to the result, and sends them.
pub(super) async fn read(plan: &Plan, file: File, sender: &Sender<Result<RecordBatch>>) -> Result<()> {
    let File { path, size, deleted, to_wanted, to_condition } = file;
    let url = plan
        .root
        .join(&path)
        .map_err(|e| Error::with_source(ErrorCode::TableCorrupt, format!("'{path}' is no path of a data file"), e))?;
    let opened = Opened::new(plan, &url, size).await?;
    let mut rows = match deleted.has_vector() {
        false => RowSelection::from(vec![RowSelector::select(opened.num_rows)]),
        true => {
            let (engine, root) = (plan.engine.clone(), plan.root.clone());
            let read = tokio::task::spawn_blocking(move || deleted.get_row_indexes(engine.as_ref(), &root));
            without(&read.await??.unwrap_or_default(), opened.num_rows)
        }
    };
    if let Some((filter, part)) = &plan.filter {
        if let Some(predicate) = &filter.of_row_groups {
            rows = rows.intersection(&opened.row_groups(predicate)?);
        }
        rows = opened.meeting(filter, part, &to_condition, rows).await?;
    }
    if !rows.selects_any() {
        return Ok(());
    }
    let mut batches = opened.batches(&plan.wanted, to_wanted, rows)?;
    while let Some(batch) = batches.try_next().await? {
        if sender.send(Ok(batch)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The rows of a file but for some.
fn without(deleted: &[u64], num_rows: usize) -> RowSelection {
    let mut selectors = Vec::with_capacity(2 * deleted.len() + 1);
    let mut next = 0;
    // A vector may name rows beyond the file's end, and names each at most once, ascending.
    for row in deleted.iter().filter_map(|row| usize::try_from(*row).ok()).take_while(|row| *row < num_rows) {
        if row > next {
            selectors.push(RowSelector::select(row - next));
        }
        selectors.push(RowSelector::skip(1));
        next = row + 1;
    }
    selectors.push(RowSelector::select(num_rows - next));
    RowSelection::from(selectors)
}

impl<'a> Opened<'a> {
    async fn new(plan: &'a Plan, url: &url::Url, size: u64) -> Result<Self> {
        let path = Path::from_url_path(url.path())
            .map_err(|e| Error::with_source(ErrorCode::TableCorrupt, format!("'{url}' is no path of a file"), e))?;
        let mut stored = StoredFile::at(plan.store.clone(), path, size);
        // The pages' places pay where rows are chosen.
        let pages = if plan.filter.is_some() { PageIndexPolicy::Optional } else { PageIndexPolicy::Skip };
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_page_index_policy(pages);
        let mut metadata = ArrowReaderMetadata::load_async(&mut stored, options.clone()).await?;
        let schema = in_microseconds(metadata.schema(), metadata.parquet_schema());
        let options = options.with_schema(with_views(schema.as_ref().unwrap_or(metadata.schema())));
        metadata = ArrowReaderMetadata::try_new(metadata.metadata().clone(), options)?;
        let num_rows = usize::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or(0);
        Ok(Self { plan, stored, metadata, num_rows, location: url.to_string() })
    }

    /// The rows of the row groups that may hold what is looked for, by their statistics.
    fn row_groups(&self, predicate: &delta_kernel::Predicate) -> Result<RowSelection> {
        let mut kept = RowIndexBuilder::new(self.metadata.metadata().row_groups());
        let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(self.stored.clone(), self.metadata.clone());
        let _ = builder.with_row_group_filter(predicate, Some(&mut kept));
        let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
        for row in kept.build()? {
            let row = usize::try_from(row).unwrap_or(0);
            match ranges.last_mut() {
                Some(last) if last.end == row => last.end += 1,
                _ => ranges.push(row..row + 1),
            }
        }
        Ok(RowSelection::from_consecutive_ranges(ranges.into_iter(), self.num_rows))
    }

    /// Of the given rows, those that meet the condition.
    async fn meeting(
        &self,
        filter: &Filter,
        part: &Part,
        transform: &Option<ExpressionRef>,
        rows: RowSelection,
    ) -> Result<RowSelection> {
        if !rows.selects_any() {
            return Ok(rows);
        }
        let mut batches = self.batches(part, transform.clone(), rows.clone())?;
        let mut met: Vec<BooleanArray> = Vec::new();
        while let Some(batch) = batches.try_next().await? {
            met.push(filter.evaluate(&batch)?);
        }
        Ok(rows.and_then(&RowSelection::from_filters(&met)))
    }

    /// Some columns of some rows, as the table has them.
    fn batches(&self, part: &Part, transform: Option<ExpressionRef>, rows: RowSelection) -> Result<Batches> {
        let (order, mask) = parquet_read_plan(&part.physical, &self.metadata)?;
        debug_assert!(!ordering_needs_row_indexes(&order), "a scan asks for no row numbers");
        let mask = mask.unwrap_or_else(ProjectionMask::all);
        let batch_rows = batch_rows(self.metadata.metadata(), &mask);
        let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(self.stored.clone(), self.metadata.clone())
            .with_row_selection(rows)
            .with_batch_size(batch_rows)
            .with_projection(mask);
        let engine = self.plan.engine.clone();
        let (physical, logical, schema) = (part.physical.clone(), part.logical.clone(), part.schema.clone());
        let location = self.location.clone();
        let to_table = move |batch: RecordBatch| -> Result<RecordBatch> {
            let read = match physical.num_fields() {
                // The kernel cannot order no columns; such are those of partitions alone.
                0 => ArrowEngineData::new(batch),
                _ => fixup_parquet_read(batch, &order, None, Some(&location), Some(&physical))?,
            };
            let made = transform_to_logical(engine.as_ref(), Box::new(read), &physical, &logical, transform.clone())?;
            in_columns(&made.try_into_record_batch()?, &schema)
        };
        Ok(in_pieces(builder.build()?).map(move |batch| batch.and_then(&to_table)).boxed())
    }
}

/// The columns of a file with the timestamps that are stored as INT96 in microseconds: in nanoseconds, as Parquet's reader
/// takes them otherwise, only the years 1677 to 2262 fit. None where there are no such ones.
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
            (Some(true), DataType::Timestamp(_, zone)) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
            _ => other.clone(),
        },
    };
    Arc::new(Field::clone(field).with_data_type(data_type))
}
