//! Our engine, as the benchmarks open and use it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Int64Array, RecordBatch};
use kafka2delta::options::{Compression, KeyIndexMode, MergeMode, OnMissingValue, WriteMode};
use kafka2delta::schema::SchemaEvolution;
use kafka2delta::{KeyedTable, MergeResult, Offset, TableOptions};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use super::Result;
use super::changes::Changes;
use super::orders;

const APP: &str = "bench:t:0";

/// Options as a stream without further ones has them.
pub fn options(path: &Path) -> TableOptions {
    TableOptions {
        uri: path.to_string_lossy().into_owned(),
        storage_options: HashMap::new(),
        primary_key: None,
        additional_columns: Vec::new(),
        partition_columns: Vec::new(),
        name: None,
        description: None,
        properties: HashMap::new(),
        write_mode: WriteMode::Upsert,
        merge_mode: MergeMode::Auto,
        schema_evolution: SchemaEvolution::Add,
        soft_delete_column: None,
        on_missing_value: OnMissingValue::Null,
        target_file_size: 128 << 20,
        max_rewrite_bytes: 10 << 30,
        remembered_keys: 1_000_000,
        compression: Compression::Snappy,
        key_index: KeyIndexMode::Auto,
        index_memory: 8 << 30,
        index_folder: None,
        cluster_by: Vec::new(),
    }
}

/// The key of the orders.
pub fn primary_key() -> Vec<String> {
    vec!["id".into()]
}

/// The offset after `by` more messages.
pub fn next_offset(table: &KeyedTable, by: usize) -> Offset {
    let expected = table.info().offsets.into_iter().find(|(app, _)| app == APP).map(|(_, last)| last);
    Offset { may_fall: false, app_id: APP.into(), expected, last: expected.unwrap_or(-1) + by as i64 }
}

/// Applies changes and commits them with their offset.
pub async fn merge(table: &mut KeyedTable, changes: &Changes) -> Result<MergeResult> {
    let offset = next_offset(table, changes.deleted.len());
    Ok(table.merge(Some(changes.ipc()?), &primary_key(), &[offset], &CancellationToken::new()).await?)
}

/// Deletes a key that is not there: the index stands afterwards.
pub async fn build_index(table: &mut KeyedTable) -> Result<()> {
    let row = orders::rows(&[1], 1, &mut StdRng::seed_from_u64(0), 0)?;
    let mut columns = row.columns().to_vec();
    columns[0] = Arc::new(Int64Array::from(vec![-1]));
    let rows = RecordBatch::try_new(row.schema(), columns)?;
    merge(table, &Changes { rows, deleted: vec![true] }).await?;
    Ok(())
}

/// Rows of a file of the table before the changes: a table has some ten files, each of what fits into memory.
pub fn rows_per_file(rows: usize) -> usize {
    (rows / 10).clamp(250_000, 1_000_000)
}

/// Makes the table before the changes, file by file, and tells `seen` of the rows of each.
pub async fn make_table(
    options: TableOptions,
    rows: usize,
    per_file: usize,
    mut seen: impl FnMut(&RecordBatch) -> Result<()>,
) -> Result<()> {
    let mut table = KeyedTable::open(options).await?;
    for first in (0..rows).step_by(per_file) {
        let ids: Vec<i64> = (first as i64 + 1..=(first + per_file).min(rows) as i64).collect();
        let mut rng = StdRng::seed_from_u64(first as u64);
        let batch = orders::rows(&ids, rows, &mut rng, first as i64 * 10)?;
        seen(&batch)?;
        // The first batch makes the table; more of them would need an index.
        if first == 0 {
            merge(&mut table, &Changes { rows: batch, deleted: vec![false; ids.len()] }).await?;
        } else {
            table.append(batch).await?;
        }
    }
    Ok(())
}

/// The table before the changes: made here, or found as it was made before.
pub async fn base_table(folder: &Path, rows: usize) -> Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let per_file = rows_per_file(rows);
    let path = folder.join(format!("base-{rows}-{per_file}"));
    let complete = path.with_extension("complete");
    if complete.exists() && path.exists() {
        eprintln!("the table of {rows} rows lies in {}", path.display());
        return Ok(path);
    }
    let before = Instant::now();
    if path.exists() {
        std::fs::remove_dir_all(&path)?;
    }
    make_table(options(&path), rows, per_file, |_| Ok(())).await?;
    std::fs::write(complete, "")?;
    eprintln!("made a table of {rows} rows, {per_file} a file, in {:.1} s", before.elapsed().as_secs_f64());
    Ok(path)
}
