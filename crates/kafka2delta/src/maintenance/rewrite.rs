//! The heavy part of a compaction: it reads the chosen files' live rows and stores them in new files, beside the merges,
//! and keeps where each row went.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, interleave_record_batch};
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use roaring::RoaringBitmap;
use tokio_util::sync::CancellationToken;

use super::choose::{Group, Source};
use super::cluster;
use super::cluster::Position;
use super::footers;
use super::footers::PARALLEL_OPENS;
use super::plan::CompactionPlan;
use crate::datafile::order_columns;
use crate::datafile::output::{GroupWriter, Output, OutputLayout};
use crate::datafile::pieces::pieces;
use crate::datafile::read::FileReader;
use crate::error::{Error, ErrorCode, Result};
use crate::index::relocation::{GroupRows, SourceRows};
use crate::log::deletion_vectors;
use crate::log::store::delete_unused;
use crate::machine::spawn_blocking;
use crate::memory::Permit;
use crate::schema::conform_batch;

/// Sorted rows that are picked at once, as views.
const SORTED_ROWS: usize = 1 << 16;

/// A file that was rewritten.
#[derive(Debug)]
pub(super) struct Rewrote {
    /// As the log has it.
    pub(super) path: String,
    /// Its deleted rows when it was read.
    pub(super) then: Arc<RoaringBitmap>,
    /// Its rows, deleted ones included.
    pub(super) rows: u64,
    /// Number of its first live row among those of the group.
    pub(super) base: u64,
    /// The numbers of its rows among those of the group.
    pub(super) numbers: Arc<SourceRows>,
}

/// A group's rows in their new files.
#[derive(Debug)]
pub(super) struct RewrittenGroup {
    pub(super) sources: Vec<Rewrote>,
    pub(super) outputs: Vec<Output>,
    /// Where each row went.
    pub(super) rows: Arc<GroupRows>,
}

impl Rewrote {
    /// Numbers, among the group's rows, of all its rows that were live.
    pub(super) fn all(&self) -> std::ops::Range<u64> {
        self.base..self.base + self.rows.saturating_sub(self.then.len())
    }
}

/// Files written, not yet committed. Dropped instead, they are left to vacuum.
#[derive(Debug)]
pub struct Rewritten {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) schema_string: String,
    pub(super) partition_columns: Vec<String>,
    pub(super) cluster_by: Vec<String>,
    pub(super) groups: Vec<RewrittenGroup>,
    pub(super) bytes_read: u64,
    pub(super) since: Instant,
    /// Until this is dropped, what the step holds is counted.
    permit: Option<Permit>,
}

impl Rewritten {
    /// Rows written.
    pub fn num_rows(&self) -> u64 {
        self.groups.iter().flat_map(|group| &group.outputs).map(|output| output.rows).sum()
    }

    fn paths(&self) -> Vec<Path> {
        self.groups.iter().flat_map(|group| &group.outputs).map(|output| output.path.clone()).collect()
    }

    /// Removes the files that were written.
    pub async fn discard(self) {
        delete_unused(&self.store, self.paths()).await;
    }
}

impl CompactionPlan {
    /// Writes the live rows of the chosen files into new ones. Memory holds a batch and the row group being written; of a
    /// sorted table all rows of a partition value's files, as they are encoded in these. Where it is cancelled, or fails,
    /// what it wrote is removed.
    pub async fn rewrite(mut self, cancel: &CancellationToken) -> Result<Rewritten> {
        self.read_footers().await?;
        let held = self.held_bytes();
        let mut done = Rewritten {
            store: self.store.clone(),
            schema_string: self.schema_string.clone(),
            partition_columns: self.partition_columns.clone(),
            cluster_by: self.cluster_by.clone(),
            groups: Vec::with_capacity(self.groups.len()),
            bytes_read: self.num_bytes(),
            since: Instant::now(),
            permit: self.permit.take(),
        };
        for group in std::mem::take(&mut self.groups) {
            let layout = OutputLayout {
                store: self.store.clone(),
                partition_columns: self.partition_columns.clone(),
                format: self.format.clone(),
                target_file_size: if group.one_file { u64::MAX } else { self.target_file_size },
                row_group_bytes: self.row_group_bytes,
                // The index follows the files, not the keys.
                key: None,
                partition_values: group.partition_values.clone(),
                kafka_partition: group.kafka_partition,
            };
            let mut writer = GroupWriter::new(layout);
            let watched = Watched { permit: done.permit.as_mut(), held };
            match self.rewrite_group(group, &mut writer, watched, cancel).await {
                Ok(group) => done.groups.push(group),
                Err(error) => {
                    writer.abort().await;
                    done.discard().await;
                    return Err(error);
                }
            }
        }
        Ok(done)
    }

    async fn rewrite_group(
        &self,
        group: Group,
        writer: &mut GroupWriter,
        mut watched: Watched<'_>,
        cancel: &CancellationToken,
    ) -> Result<RewrittenGroup> {
        let footers = || group.sources.iter().filter_map(|source| source.footer.as_ref());
        // Sequences are kept where a file has some.
        let ordered = footers().any(|footer| footer.is_ordered);
        let piece = footers().map(|footer| footer.weight.piece).max().unwrap_or(0);
        let paths: Vec<String> = group.sources.iter().map(|source| source.add.path.clone()).collect();
        let schema = if ordered { order_columns::with_columns(&self.schema) } else { self.schema.clone() };
        let mut sources = Vec::with_capacity(paths.len());
        let mut held: Vec<RecordBatch> = Vec::new();
        let mut base = 0;
        let opens: Vec<_> = group.sources.into_iter().map(|source| open(&self.store, source)).collect();
        let mut opened = futures::stream::iter(opens).buffered(PARALLEL_OPENS);
        for path in paths {
            let Some((reader, then)) = opened.try_next().await? else { break };
            let rows = reader.num_rows();
            let mut batches = match self.cluster_by.is_empty() {
                true => reader.batches(schema.clone(), None)?,
                false => reader.views(&schema)?,
            };
            let mut first = 0u64;
            while let Some(batch) = batches.try_next().await? {
                check_cancelled(cancel)?;
                let next = first + batch.num_rows() as u64;
                if self.cluster_by.is_empty() {
                    watched.saw(&batch, piece);
                }
                let live = live_rows(batch, &then, first)?;
                first = next;
                match self.cluster_by.is_empty() {
                    true => writer.write(live).await?,
                    false if live.num_rows() > 0 => held.push(live),
                    false => {}
                }
            }
            if first != rows {
                return Err(Error::new(ErrorCode::TableCorrupt, format!("{path} has too few rows")));
            }
            let live = rows.saturating_sub(then.len());
            let numbers = Arc::new(SourceRows::new(base, &then));
            sources.push(Rewrote { path, then, rows, base, numbers });
            base += live;
        }
        let permutation = match self.cluster_by.is_empty() {
            true => None,
            false => Some(self.write_sorted(held, &schema, writer, cancel).await?),
        };
        let outputs = writer.finish().await?;
        let starts = outputs.iter().map(|output| (output.start, output.rows)).collect();
        Ok(RewrittenGroup { sources, outputs, rows: Arc::new(GroupRows::new(starts, permutation)) })
    }

    /// `batches` have views in place of the schema's texts and bytes.
    async fn write_sorted(
        &self,
        batches: Vec<RecordBatch>,
        schema: &SchemaRef,
        writer: &mut GroupWriter,
        cancel: &CancellationToken,
    ) -> Result<Vec<u32>> {
        if batches.is_empty() {
            return Ok(Vec::new());
        }
        let batches = Arc::new(batches);
        let (columns, all) = (self.cluster_by.clone(), batches.clone());
        let (positions, permutation) = spawn_blocking(move || {
            let positions = cluster::order(&all, &columns)?;
            let permutation = permutation(&all, &positions)?;
            Ok::<_, Error>((positions, permutation))
        })
        .await??;
        for chunk in positions.chunks(SORTED_ROWS) {
            let (all, chunk) = (batches.clone(), chunk.to_vec());
            let picked = spawn_blocking(move || pick(&all, &chunk)).await??;
            for piece in pieces(&picked) {
                check_cancelled(cancel)?;
                let schema = schema.clone();
                writer.write(spawn_blocking(move || conform_batch(&piece, &schema)).await??).await?;
            }
        }
        Ok(permutation)
    }
}

/// A file that is read, and its deleted rows.
fn open(store: &Arc<dyn ObjectStore>, source: Source) -> BoxFuture<'static, Result<(FileReader, Arc<RoaringBitmap>)>> {
    let store = store.clone();
    async move {
        let deleted = match (&source.deleted, &source.add.deletion_vector) {
            (Some(deleted), _) => deleted.clone(),
            (None, Some(vector)) => Arc::new(deletion_vectors::read(store.as_ref(), vector).await?),
            (None, None) => Arc::default(),
        };
        let again = footers::open(&store, &source);
        let reader = match source.footer.and_then(|footer| footer.reader) {
            Some(reader) => reader,
            None => again.await?,
        };
        if deleted.max().is_some_and(|last| u64::from(last) >= reader.num_rows()) {
            let message = format!("the deletion vector of {} names rows that it has not", source.add.path);
            return Err(Error::new(ErrorCode::TableCorrupt, message));
        }
        Ok((reader, deleted))
    }
    .boxed()
}

/// Counts batches that are larger than the footers told, where a few of the rows are: each is held as it is read, as texts,
/// encoded and compressed.
struct Watched<'a> {
    permit: Option<&'a mut Permit>,
    held: u64,
}

impl Watched<'_> {
    const COPIES: u64 = 4;

    /// `piece`: what was to be expected.
    fn saw(&mut self, batch: &RecordBatch, piece: u64) {
        let more = (batch.get_array_memory_size() as u64).saturating_sub(piece);
        if let Some(permit) = self.permit.as_mut().filter(|_| more > piece) {
            permit.raise(self.held + Self::COPIES * more);
        }
    }
}

fn check_cancelled(cancel: &CancellationToken) -> Result<()> {
    match cancel.is_cancelled() {
        true => Err(Error::new(ErrorCode::Cancelled, "the compaction was cancelled before it was committed")),
        false => Ok(()),
    }
}

fn live_rows(batch: RecordBatch, deleted: &RoaringBitmap, first: u64) -> Result<RecordBatch> {
    let rows = first..first + batch.num_rows() as u64;
    let row = |row: u64| u32::try_from(row).unwrap_or(u32::MAX);
    if deleted.range_cardinality(row(rows.start)..row(rows.end)) == 0 {
        return Ok(batch);
    }
    let mask: BooleanArray = rows.map(|number| Some(!deleted.contains(row(number)))).collect();
    Ok(filter_record_batch(&batch, &mask)?)
}

fn pick(batches: &[RecordBatch], positions: &[Position]) -> Result<RecordBatch> {
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    let indices: Vec<(usize, usize)> = positions.iter().map(|(b, row)| (*b as usize, *row as usize)).collect();
    Ok(interleave_record_batch(&batches, &indices)?)
}

/// The new number of each row.
fn permutation(batches: &[RecordBatch], positions: &[Position]) -> Result<Vec<u32>> {
    let mut first = 0usize;
    let mut bases = Vec::with_capacity(batches.len());
    for batch in batches {
        bases.push(first);
        first += batch.num_rows();
    }
    if u32::try_from(first).is_err() {
        return Err(Error::new(
            ErrorCode::ConfigInvalid,
            "more than 2^32 rows cannot be sorted in one step: lower maxBytes",
        ));
    }
    let mut permutation = vec![0; first];
    for (new, (batch, row)) in (0u32..).zip(positions) {
        permutation[bases[*batch as usize] + *row as usize] = new;
    }
    Ok(permutation)
}
