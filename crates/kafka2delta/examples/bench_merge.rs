//! The merge benchmark: batches of changes onto a table, ours beside delta-rs's MERGE and a plain append of the same
//! rows, in one process. The end states are compared before a figure is printed.
//!
//! The bound, the plain append, writes the batch's rows through the same Parquet writer and one commit of the log.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::*;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use datafusion::prelude::{SessionContext, col};
use kafka2delta::options::{Compression, KeyIndexMode, MergeMode, OnMissingValue, OrderGuard};
use kafka2delta::schema::SchemaEvolution;
use kafka2delta::{KeyedTable, Offset, TableOptions};
use rand::rngs::StdRng;
use rand::seq::index::sample;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const HELP: &str = "\
usage: npm run bench:merge -- [options]
  --rows N       rows of the table (default 1000000)
  --changes N    changes of a batch: 80 % updates, 15 % inserts, 5 % deletes (default 100000)
  --batches N    batches (default 5)
  --dist D       uniform or recent: which keys are updated (default uniform)
  --seed N       of all that is random (default 42)
  --no-deltars   leave delta-rs's MERGE out
  --json         print one JSON object as the last line";

struct Args {
    rows: usize,
    changes: usize,
    batches: usize,
    recent: bool,
    seed: u64,
    deltars: bool,
    json: bool,
}

fn args() -> Result<Option<Args>> {
    let mut args =
        Args { rows: 1_000_000, changes: 100_000, batches: 5, recent: false, seed: 42, deltars: true, json: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value\n{HELP}"));
        match word.as_str() {
            "--rows" => args.rows = value()?.parse()?,
            "--changes" => args.changes = value()?.parse()?,
            "--batches" => args.batches = value()?.parse()?,
            "--seed" => args.seed = value()?.parse()?,
            "--dist" => {
                args.recent = match value()?.as_str() {
                    "recent" => true,
                    "uniform" => false,
                    other => return Err(format!("--dist is uniform or recent, not {other}").into()),
                }
            }
            "--no-deltars" => args.deltars = false,
            "--json" => args.json = true,
            "--help" => return Ok(None),
            other => return Err(format!("unknown option {other}\n{HELP}").into()),
        }
    }
    if args.changes == 0 || args.changes > args.rows || args.batches == 0 {
        return Err("--changes must be between 1 and --rows, --batches at least 1".into());
    }
    Ok(Some(args))
}

fn schema() -> SchemaRef {
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("id", DataType::Int64),
        field("customer", DataType::Utf8),
        field("order_date", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        field("total_amount", DataType::Decimal128(10, 2)),
        field("status", DataType::Utf8),
        field("note", DataType::Utf8),
        field("created_at", DataType::Date32),
        field("__timestamp", DataType::Int64),
        field("__log_sequence_number", DataType::Int64),
    ]))
}

/// Rows of an orders table, as `ids` say.
fn rows(ids: &[i64], total: usize, rng: &mut StdRng, lsn: i64) -> Result<RecordBatch> {
    const STATUS: [&str; 5] = ["NEW", "PAID", "SHIPPED", "DELIVERED", "CANCELLED"];
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .";
    let start = 1_672_531_200_000_000i64;
    let step = 94_694_400_000_000 / total as i64;
    let micros = |id: i64| start + id * step + (id.wrapping_mul(7_919) & 0xFFFF);
    let mut note = [0u8; 60];
    let mut notes = StringBuilder::with_capacity(ids.len(), ids.len() * note.len());
    for _ in ids {
        note.fill_with(|| LETTERS[rng.random_range(0..64)]);
        notes.append_value(std::str::from_utf8(&note)?);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids.to_vec())),
        Arc::new(
            ids.iter()
                .map(|id| Some(format!("customer_{:06}", id.wrapping_mul(0x5BD1_E995) & 0xFFFF)))
                .collect::<StringArray>(),
        ),
        Arc::new(TimestampMicrosecondArray::from_iter_values(ids.iter().map(|id| micros(*id))).with_timezone("UTC")),
        Arc::new(
            Decimal128Array::from_iter_values(ids.iter().map(|_| i128::from(rng.random_range(100..10_000_000))))
                .with_precision_and_scale(10, 2)?,
        ),
        Arc::new(ids.iter().map(|_| Some(STATUS[rng.random_range(0..5)])).collect::<StringArray>()),
        Arc::new(notes.finish()),
        Arc::new(Date32Array::from_iter_values(ids.iter().map(|id| (micros(*id) / 86_400_000_000) as i32))),
        Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| 1_700_000_000_000 + id))),
        Arc::new(Int64Array::from_iter_values((0..ids.len() as i64).map(|n| lsn + n * 8))),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

/// A batch of changes: its rows, and which of them are deletes.
struct Changes {
    rows: RecordBatch,
    deleted: Vec<bool>,
}

fn make_changes(args: &Args) -> Result<Vec<Changes>> {
    let mut rng = StdRng::seed_from_u64(args.seed);
    let mut live: Vec<i64> = (1..=args.rows as i64).collect();
    let mut next = args.rows as i64 + 1;
    let (updates, inserts) = (args.changes * 80 / 100, args.changes * 15 / 100);
    let deletes = args.changes - updates - inserts;
    let mut batches = Vec::new();
    for batch in 0..args.batches {
        let pool = if args.recent { (updates + deletes).max(live.len() / 100) } else { live.len() };
        let base = live.len() - pool;
        let picked: Vec<usize> = sample(&mut rng, pool, updates + deletes).into_iter().map(|i| base + i).collect();
        let mut changed: Vec<(i64, bool)> = picked.iter().enumerate().map(|(n, i)| (live[*i], n >= updates)).collect();
        let gone: HashSet<i64> = changed.iter().filter(|c| c.1).map(|c| c.0).collect();
        live.retain(|id| !gone.contains(id));
        for _ in 0..inserts {
            changed.push((next, false));
            live.push(next);
            next += 1;
        }
        // The order in the log is not that of the keys.
        for i in (1..changed.len()).rev() {
            changed.swap(i, rng.random_range(0..=i));
        }
        let ids: Vec<i64> = changed.iter().map(|c| c.0).collect();
        let lsn = args.rows as i64 * 10 + 1_000_000_000 * (batch as i64 + 1);
        let rows = rows(&ids, args.rows, &mut rng, lsn)?;
        batches.push(Changes { rows, deleted: changed.iter().map(|c| c.1).collect() });
    }
    Ok(batches)
}

impl Changes {
    /// The change batch that a caller would hand over.
    fn ipc(&self) -> Result<Bytes> {
        let mut fields: Vec<Arc<Field>> = self.rows.schema().fields().to_vec();
        fields.push(Arc::new(Field::new("_op", DataType::UInt8, false)));
        let mut columns = self.rows.columns().to_vec();
        columns.push(Arc::new(UInt8Array::from_iter_values(self.deleted.iter().map(|d| u8::from(*d)))));
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
        writer.write(&batch)?;
        writer.finish()?;
        Ok(writer.into_inner()?.into())
    }

    fn upserts(&self) -> Result<RecordBatch> {
        let kept: BooleanArray = self.deleted.iter().map(|d| Some(!d)).collect();
        Ok(arrow::compute::filter_record_batch(&self.rows, &kept)?)
    }

    fn with_deleted(&self) -> Result<RecordBatch> {
        let mut fields: Vec<Arc<Field>> = self.rows.schema().fields().to_vec();
        fields.push(Arc::new(Field::new("__deleted", DataType::Boolean, false)));
        let mut columns = self.rows.columns().to_vec();
        columns.push(Arc::new(BooleanArray::from(self.deleted.clone())));
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }
}

fn options(path: &Path) -> TableOptions {
    TableOptions {
        uri: path.to_string_lossy().into_owned(),
        storage_options: HashMap::new(),
        primary_key: None,
        additional_columns: Vec::new(),
        partition_columns: Vec::new(),
        name: None,
        description: None,
        properties: HashMap::new(),
        merge_mode: MergeMode::Auto,
        schema_evolution: SchemaEvolution::Add,
        order_guard: OrderGuard::Off,
        soft_delete_column: None,
        reset_order: false,
        on_missing_value: OnMissingValue::Null,
        target_file_size: 128 << 20,
        max_rewrite_bytes: 10 << 30,
        remembered_keys: 1_000_000,
        compression: Compression::Snappy,
        key_index: KeyIndexMode::Auto,
        index_memory: 8 << 30,
        index_folder: None,
        cluster_by: vec![],
    }
}

fn merge_offset(last: &mut i64, by: usize) -> Offset {
    let expected = (*last >= 0).then_some(*last);
    *last += by as i64;
    Offset { app_id: "bench:t:0".into(), expected, last: *last }
}

/// The table before the changes: files of a quarter of a million rows.
async fn make_table(path: &Path, args: &Args) -> Result<i64> {
    let mut table = KeyedTable::open(options(path)).await?;
    let mut last = -1;
    for first in (0..args.rows).step_by(250_000) {
        let ids: Vec<i64> = (first as i64 + 1..=(first + 250_000).min(args.rows) as i64).collect();
        let mut rng = StdRng::seed_from_u64(first as u64);
        let changes =
            Changes { rows: rows(&ids, args.rows, &mut rng, first as i64 * 10)?, deleted: vec![false; ids.len()] };
        let offset = merge_offset(&mut last, ids.len());
        table.merge(Some(changes.ipc()?), &["id".into()], &[offset], &CancellationToken::new()).await?;
    }
    Ok(last)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The highest resident size of this process so far, MiB.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").trim().parse::<f64>().ok()).map_or(f64::NAN, |kb| kb / 1024.0)
}

struct Measured {
    seconds: Vec<f64>,
    bytes: u64,
    peak_mib: f64,
}

async fn ours(path: &Path, batches: &[Changes], last: i64) -> Result<(Measured, f64)> {
    let mut last = last;
    let mut table = KeyedTable::open(options(path)).await?;
    // An empty change of a key that is not there builds the index.
    let before = Instant::now();
    let none = Changes { rows: batches[0].rows.slice(0, 1), deleted: vec![true] };
    let missing = RecordBatch::try_new(schema(), {
        let mut columns = none.rows.columns().to_vec();
        columns[0] = Arc::new(Int64Array::from(vec![-1]));
        columns
    })?;
    let offset = merge_offset(&mut last, 1);
    let first = Changes { rows: missing, deleted: vec![true] };
    table.merge(Some(first.ipc()?), &["id".into()], &[offset], &CancellationToken::new()).await?;
    let index_seconds = before.elapsed().as_secs_f64();
    let (mut seconds, mut bytes) = (Vec::new(), 0);
    for batch in batches {
        let ipc = batch.ipc()?;
        let offset = merge_offset(&mut last, batch.deleted.len());
        let before = Instant::now();
        let result = table.merge(Some(ipc), &["id".into()], &[offset], &CancellationToken::new()).await?;
        seconds.push(before.elapsed().as_secs_f64());
        bytes += result.bytes_written;
        eprintln!("  {:?}", result.timings);
    }
    Ok((Measured { seconds, bytes, peak_mib: peak_mib() }, index_seconds))
}

async fn append(path: &Path, batches: &[Changes]) -> Result<Measured> {
    let mut table = KeyedTable::open(options(path)).await?;
    let (mut seconds, mut bytes) = (Vec::new(), 0);
    for batch in batches {
        let rows = batch.upserts()?;
        let before = Instant::now();
        bytes += table.append(rows).await?;
        seconds.push(before.elapsed().as_secs_f64());
    }
    Ok(Measured { seconds, bytes, peak_mib: peak_mib() })
}

async fn delta_rs(path: &Path, batches: &[Changes]) -> Result<Measured> {
    let mut table = deltalake::open_table(deltalake::ensure_table_uri(path.to_string_lossy())?).await?;
    let mut seconds = Vec::new();
    let names: Vec<String> = schema().fields().iter().map(|f| f.name().clone()).collect();
    for batch in batches {
        let source = SessionContext::new().read_batch(batch.with_deleted()?)?;
        let before = Instant::now();
        let (merged, _) = table
            .merge(source, col("target.id").eq(col("source.id")))
            .with_source_alias("source")
            .with_target_alias("target")
            .when_matched_delete(|d| d.predicate(col("source.__deleted")))?
            .when_matched_update(|u| names.iter().fold(u, |u, n| u.update(n.as_str(), col(format!("source.{n}")))))?
            .when_not_matched_insert(|i| {
                let i = i.predicate(datafusion::prelude::not(col("source.__deleted")));
                names.iter().fold(i, |i, n| i.set(n.as_str(), col(format!("source.{n}"))))
            })?
            .await?;
        seconds.push(before.elapsed().as_secs_f64());
        table = merged;
    }
    Ok(Measured { seconds, bytes: 0, peak_mib: peak_mib() })
}

/// Count and sums of a table, as text.
async fn end_state(path: &Path) -> Result<String> {
    let sql = "SELECT count(*), sum(id), sum(\"__log_sequence_number\"), sum(total_amount), sum(char_length(note)), \
               count(distinct id) FROM t";
    let sql = sql.replace('"', "`");
    let bytes = kafka2delta::query::query(&path.to_string_lossy(), HashMap::new(), Some(&sql)).await?;
    let batches: std::result::Result<Vec<_>, _> =
        arrow::ipc::reader::StreamReader::try_new(std::io::Cursor::new(bytes), None)?.collect();
    Ok(arrow::util::pretty::pretty_format_batches(&batches?)?.to_string())
}

fn bytes_under(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|e| if e.path().is_dir() { bytes_under(&e.path()) } else { e.metadata().map_or(0, |m| m.len()) })
        .sum()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let Some(args) = args()? else {
        println!("{HELP}");
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    eprintln!("making a table of {} rows and {} batches of {} changes", args.rows, args.batches, args.changes);
    let last = make_table(&path("base"), &args).await?;
    let batches = make_changes(&args)?;
    for name in ["ours", "append", "deltars"] {
        copy_folder(&path("base"), &path(name))?;
    }
    eprintln!("plain append");
    let append = append(&path("append"), &batches).await?;
    eprintln!("ours");
    let (ours, index_seconds) = ours(&path("ours"), &batches, last).await?;
    let mut deltars = None;
    if args.deltars {
        eprintln!("delta-rs MERGE");
        let before = bytes_under(&path("deltars"));
        let mut measured = delta_rs(&path("deltars"), &batches).await?;
        measured.bytes = bytes_under(&path("deltars")) - before;
        let (a, b) = (end_state(&path("ours")).await?, end_state(&path("deltars")).await?);
        if a != b {
            return Err(format!("the end states differ\nours\n{a}\ndelta-rs\n{b}").into());
        }
        eprintln!("end states are equal\n{a}");
        deltars = Some(measured);
    }
    let n = args.batches as u64;
    let (ours_s, append_s) = (median(ours.seconds), median(append.seconds));
    println!(
        "{} changes on {} rows, {} keys, median of {n}",
        args.changes,
        args.rows,
        if args.recent { "recent" } else { "uniform" }
    );
    println!(
        "  ours             {ours_s:8.4} s   {:9.1} KiB written   (index built in {index_seconds:.2} s)",
        ours.bytes as f64 / 1024.0 / n as f64
    );
    println!(
        "  plain append     {append_s:8.4} s   {:9.1} KiB written   ours is {:.2} x of it",
        append.bytes as f64 / 1024.0 / n as f64,
        ours_s / append_s
    );
    let deltars_s = deltars.map(|d| (median(d.seconds), d.bytes));
    if let Some((seconds, bytes)) = deltars_s {
        println!(
            "  delta-rs MERGE   {seconds:8.4} s   {:9.1} KiB written   ours is {:.1} x faster",
            bytes as f64 / 1024.0 / n as f64,
            seconds / ours_s
        );
    }
    println!("  peak memory      {:8.0} MiB until ours had ended", ours.peak_mib);
    if args.json {
        println!(
            r#"{{"rows":{},"changes":{},"dist":"{}","batches":{n},"ours_s":{ours_s:.6},"append_s":{append_s:.6},"deltars_s":{},"bytes":{},"index_s":{index_seconds:.4},"peak_mib":{:.1}}}"#,
            args.rows,
            args.changes,
            if args.recent { "recent" } else { "uniform" },
            deltars_s.map_or("null".to_owned(), |(s, _)| format!("{s:.6}")),
            ours.bytes / n,
            ours.peak_mib,
        );
    }
    Ok(())
}
