//! delta-rs: its MERGE, its OPTIMIZE, and its reader.

use std::collections::HashMap;
use std::path::Path;

use arrow::array::RecordBatch;
use datafusion::prelude::{SessionContext, col, not};
use deltalake::DeltaTable;
use deltalake::operations::optimize::OptimizeType;

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

/// Rewrites a table's files into ones of 128 MiB without deleted rows.
pub async fn optimize(path: &Path) -> Result<()> {
    let size = std::num::NonZeroU64::new(128 << 20).ok_or("no size")?;
    open(path).await?.optimize().with_type(OptimizeType::Compact).with_target_size(size).await?;
    Ok(())
}

/// Runs SQL over the table, which it names `t`.
pub async fn query(path: &Path, sql: &str) -> Result<Vec<RecordBatch>> {
    let bytes = kafka2delta::query::query(&path.to_string_lossy(), HashMap::new(), Some(sql)).await?;
    Ok(arrow::ipc::reader::StreamReader::try_new(std::io::Cursor::new(bytes), None)?
        .collect::<std::result::Result<_, _>>()?)
}

/// Count and sums over the columns of a table, as text; equal tables have equal ones.
pub async fn state(path: &Path) -> Result<String> {
    let sql = "SELECT count(*), sum(id), sum(`__log_sequence_number`), sum(total_amount), sum(char_length(note)), \
               sum(datediff(created_at, date '2000-01-01')), count(distinct id) FROM t";
    Ok(arrow::util::pretty::pretty_format_batches(&query(path, sql).await?)?.to_string())
}
