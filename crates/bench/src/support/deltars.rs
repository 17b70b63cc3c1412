//! delta-rs: its MERGE, its OPTIMIZE, and its reader.

use std::path::{Path, PathBuf};
use std::time::Instant;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::prelude::{SessionContext, col, not};
use deltalake::DeltaTable;
use deltalake::operations::optimize::OptimizeType;
use deltalake::protocol::checkpoints::create_checkpoint;
use futures::StreamExt;

use super::Result;
use super::changes::Changes;
use super::orders;

/// Opens a table.
pub async fn open(path: &Path) -> Result<DeltaTable> {
    Ok(deltalake::open_table(deltalake::ensure_table_uri(path.to_string_lossy())?).await?)
}

/// Applies changes by one MERGE.
pub async fn merge(table: DeltaTable, changes: &Changes) -> Result<DeltaTable> {
    let source = SessionContext::new().read_batch(changes.with_deleted()?)?;
    let names: Vec<String> = orders::schema().fields().iter().map(|f| f.name().clone()).collect();
    let (merged, _) = table
        .merge(source, col("target.id").eq(col("source.id")))
        .with_source_alias("source")
        .with_target_alias("target")
        .when_matched_delete(|d| d.predicate(col("source.__deleted")))?
        .when_matched_update(|u| names.iter().fold(u, |u, n| u.update(n.as_str(), col(format!("source.{n}")))))?
        .when_not_matched_insert(|i| {
            let i = i.predicate(not(col("source.__deleted")));
            names.iter().fold(i, |i, n| i.set(n.as_str(), col(format!("source.{n}"))))
        })?
        .await?;
    Ok(merged)
}

/// Rewrites a table's files into ones of 128 MiB without deleted rows, and its log into a checkpoint.
pub fn optimize(path: &Path) -> Result<()> {
    in_runtime(path, async |path| {
        let size = std::num::NonZeroU64::new(128 << 20).ok_or("no size")?;
        let table = open(&path).await?;
        let (table, _) = table.optimize().with_type(OptimizeType::Compact).with_target_size(size).await?;
        Ok(create_checkpoint(&table, None).await?)
    })
}

/// Seconds of a read of the whole table.
#[derive(Clone, Copy)]
pub struct ReadTime {
    /// Opening it: reading the log.
    pub open: f64,
    /// The aggregate over all columns.
    pub scan: f64,
}

/// Reads the whole table: an aggregate over all of its columns.
pub fn read_all(path: &Path) -> Result<ReadTime> {
    in_runtime(path, async |path| {
        let before = Instant::now();
        let table = open(&path).await?;
        let open = before.elapsed().as_secs_f64();
        let before = Instant::now();
        let frame = session(&table).await?.sql(ALL_COLUMNS).await?;
        frame.collect().await?;
        Ok(ReadTime { open, scan: before.elapsed().as_secs_f64() })
    })
}

/// An aggregate that has to read every column.
pub const ALL_COLUMNS: &str = "SELECT count(*), sum(id), max(customer), max(order_date), sum(total_amount), max(status), \
    max(note), max(created_at), sum(__timestamp), sum(__log_sequence_number) FROM t";

/// Hands over the table's rows, batch by batch.
pub fn for_each_batch(path: &Path, mut with: impl FnMut(RecordBatch) -> Result<()> + Send) -> Result<()> {
    in_runtime(path, async |path| {
        let table = open(&path).await?;
        let mut stream = session(&table).await?.table("t").await?.execute_stream().await?;
        while let Some(batch) = stream.next().await {
            with(batch?)?;
        }
        Ok(())
    })
}

async fn session(table: &DeltaTable) -> Result<SessionContext> {
    let context = SessionContext::new();
    table.update_datafusion_session(&context.state())?;
    context.register_table("t", table.table_provider().await?)?;
    Ok(context)
}

/// Runs delta-rs in a runtime of its own, on another thread: it reads the deletion vectors of all files at once, each in
/// a blocking thread that waits for others, and with more files than threads waits for ever.
fn in_runtime<T: Send>(path: &Path, work: impl AsyncFnOnce(PathBuf) -> Result<T> + Send) -> Result<T> {
    let path = path.to_owned();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .max_blocking_threads(8192)
                .enable_all()
                .build()?;
            let result = runtime.block_on(work(path));
            runtime.shutdown_background();
            result
        });
        thread.join().map_err(|_| "delta-rs panicked")?
    })
}

/// Count and sums over the columns of a table, as text; equal tables have equal ones.
pub fn state(path: &Path) -> Result<String> {
    let sql = "SELECT count(*), sum(id), sum(__log_sequence_number), sum(total_amount), sum(char_length(note)), \
               min(note), max(note), sum(cast(created_at as int)), count(distinct id) FROM t";
    Ok(arrow::util::pretty::pretty_format_batches(&query(path, sql)?)?.to_string())
}

/// The table's rows must have these ids.
pub fn check_count(path: &Path, ids: &[i64]) -> Result<()> {
    let batches = query(path, "SELECT count(*) AS count, sum(id) AS sum FROM t")?;
    let number = |column: usize| batches.first().map(|b| b.column(column).as_primitive::<Int64Type>().value(0));
    let (told, expected) = ([number(0), number(1)], [Some(ids.len() as i64), Some(ids.iter().sum())]);
    match told == expected {
        true => Ok(()),
        false => Err(format!("count and sum of the ids are {told:?} and should be {expected:?}").into()),
    }
}

fn query(path: &Path, sql: &str) -> Result<Vec<RecordBatch>> {
    in_runtime(path, async |path| Ok(session(&open(&path).await?).await?.sql(sql).await?.collect().await?))
}
