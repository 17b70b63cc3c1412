//! Reading one data file of a scan: first the columns of the condition, then the wanted ones of the rows that meet it.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::{FieldRef, Schema};
use delta_kernel::engine::arrow_conversion::TryIntoArrow;
use delta_kernel::engine::arrow_data::{ArrowEngineData, EngineDataArrowExt};
use delta_kernel::engine::arrow_utils::RowIndexBuilder;
use delta_kernel::engine::parquet_row_group_skipping::ParquetRowGroupSkipping;
use delta_kernel::expressions::ExpressionRef;
use delta_kernel::scan::state::transform_to_logical;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::file::metadata::PageIndexPolicy;
use tokio::sync::mpsc::Sender;

use super::columns::in_columns;
use super::plan::{File, Part, Plan};
use super::predicate::Filter;
use super::stored_columns::{by_kernel, by_names};
use crate::datafile::open::{Batches, OpenFile, StoredFile};
use crate::datafile::pieces::with_views;
use crate::error::{Error, ErrorCode, Result};

/// A file whose footer was read.
struct Opened<'a> {
    plan: &'a Plan,
    file: OpenFile,
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
        if let Some(predicate) = &filter.of_row_groups
            && opened.has_statistics_of(part)?
        {
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
        // The pages' places pay where rows are chosen.
        let pages = if plan.filter.is_some() { PageIndexPolicy::Optional } else { PageIndexPolicy::Skip };
        let file = OpenFile::open(StoredFile::at(plan.store.clone(), path, size), pages).await?;
        let num_rows = usize::try_from(file.num_rows()).unwrap_or(0);
        Ok(Self { plan, file, num_rows, location: url.to_string() })
    }

    /// Whether the statistics of row groups are of the table's own values: in their unit, scale and calendar.
    fn has_statistics_of(&self, part: &Part) -> Result<bool> {
        let schema: Schema = part.physical.as_ref().try_into_arrow()?;
        let (schema, stored) = (with_views(&schema), self.file.metadata().schema());
        let is_same = |field: &FieldRef| {
            stored.field_with_name(field.name()).map_or(true, |stored| stored.data_type() == field.data_type())
        };
        Ok(self.file.has_true_statistics() && schema.fields().iter().all(is_same))
    }

    /// The rows of the row groups that may hold what is looked for, by their statistics.
    fn row_groups(&self, predicate: &delta_kernel::Predicate) -> Result<RowSelection> {
        let mut kept = RowIndexBuilder::new(self.file.metadata().metadata().row_groups());
        let _ = self.file.builder().with_row_group_filter(predicate, Some(&mut kept));
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
        let batches = match self.plan.by_field_ids {
            true => by_kernel(&self.file, &part.physical, &self.location, Some(rows))?,
            false => by_names(&self.file, &part.physical, &self.location, rows)?,
        };
        let engine = self.plan.engine.clone();
        let (physical, logical, schema) = (part.physical.clone(), part.logical.clone(), part.schema.clone());
        let to_table = move |batch: RecordBatch| -> Result<RecordBatch> {
            let read = ArrowEngineData::new(batch);
            let made = transform_to_logical(engine.as_ref(), Box::new(read), &physical, &logical, transform.clone())?;
            in_columns(&made.try_into_record_batch()?, &schema)
        };
        Ok(batches.map(move |batch| batch.and_then(&to_table)).boxed())
    }
}
