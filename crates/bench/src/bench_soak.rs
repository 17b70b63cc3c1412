//! The soak: thousands of small commits on one table with compaction beside them. Tells over time what a commit takes,
//! how the table and its log look, and what reading the whole table takes against a freshly optimised copy. At the end
//! every row is compared with a model.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka2delta::KeyedTable;
use serde_json::{Value, json};
use support::changes::{Distribution, Generator};
use support::log::{Checkpoint, LogReader, TableShape, newest_checkpoint};
use support::maintenance::{CompactOptions, Maintenance};
use support::measure::{median, number, percentile};
use support::model::Model;
use support::parts::Part;
use support::{Result, args::Args, deltars, engine, files, measure, parts};
use tokio::sync::Mutex;

const HELP: &str = "\
usage: npm run bench:soak -- [options]
  --rows N             rows of the table (default 200000)
  --commits N          commits (default 1000)
  --changes N          changes of a commit: 80 % updates, 15 % inserts, 5 % deletes (default 500)
  --dist D             uniform or recent: which keys are updated (default uniform)
  --points N           how often the table is looked at and read (default 5)
  --reads N            reads of the whole table at each point, of which the median counts (default 3)
  --interval MS        milliseconds from one commit's begin to the next; 0 for as fast as it goes (default 0)
  --seed N             of all that is random (default 42)
  --no-maintenance     leave compaction out
  --min-files N        small files of one class that are joined (default 8)
  --deleted-share S    share of deleted rows from which on a file is rewritten (default 0.2)
  --step-bytes N       bytes that a step of compaction reads (default 268435456)
  --work D             folder to work in, which stays, with the table in D/soak (default: a temporary one)
  --json               print one JSON object as the last line";

/// What a reader of the whole table is asked for, beside delta-rs: a program in Python.
const DUCKDB: &str = "benchmark/duckdb_scan.py";

/// The table between two looks at it.
struct Window {
    commits: usize,
    latency: Vec<f64>,
    shape: TableShape,
    log_bytes: u64,
    log_commits: u64,
    actions: u64,
    checkpoint: Checkpoint,
    checkpoint_s: f64,
    disk_bytes: u64,
    resident_mib: f64,
    steps: u64,
    read: Read,
}

/// Seconds of the reads at one point.
struct Read {
    open: f64,
    scan: f64,
    fresh_open: f64,
    fresh_scan: f64,
    /// Memory of the reader, the optimising included.
    peak_mib: f64,
}

impl Read {
    /// The time of a read against that of the fresh copy, opening included.
    fn ratio(&self) -> f64 {
        (self.open + self.scan) / (self.fresh_open + self.fresh_scan)
    }
}

impl Window {
    fn print_header() {
        println!(
            "{:>8} {:>8} {:>8} {:>8} {:>6} {:>6} {:>6} {:>9} {:>8} {:>9} {:>8} {:>9} {:>8} {:>9} {:>6} {:>8} {:>8} {:>6}",
            "commits",
            "p50 ms",
            "p95 ms",
            "max ms",
            "steps",
            "files",
            "of DV",
            "deleted",
            "MiB",
            "tombst.",
            "B/commit",
            "ckpt KiB",
            "ckpt ms",
            "disk MiB",
            "RSS",
            "read s",
            "fresh s",
            "ratio"
        );
    }

    fn print(&self) {
        let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
        println!(
            "{:8} {:8.2} {:8.2} {:8.1} {:6} {:6} {:6} {:8.1}% {:8.1} {:9} {:8.0} {:9.0} {:8.1} {:9.0} {:6.0} {:8.3} {:8.3} {:6.2}",
            self.commits,
            percentile(&self.latency, 0.5),
            percentile(&self.latency, 0.95),
            percentile(&self.latency, 1.0),
            self.steps,
            self.shape.files,
            self.shape.files_with_vectors,
            100.0 * self.shape.deleted as f64 / (self.shape.rows + self.shape.deleted) as f64,
            mib(self.shape.bytes),
            self.shape.tombstones,
            self.log_bytes as f64 / self.log_commits.max(1) as f64,
            self.checkpoint.bytes as f64 / 1024.0,
            self.checkpoint_s * 1e3,
            mib(self.disk_bytes),
            self.resident_mib,
            self.read.open + self.read.scan,
            self.read.fresh_open + self.read.fresh_scan,
            self.read.ratio(),
        );
    }

    fn json(&self) -> Value {
        json!({
            "commits": self.commits,
            "p50_ms": number(percentile(&self.latency, 0.5)), "p95_ms": number(percentile(&self.latency, 0.95)),
            "max_ms": number(percentile(&self.latency, 1.0)),
            "files": self.shape.files, "files_with_vectors": self.shape.files_with_vectors,
            "rows": self.shape.rows, "deleted_rows": self.shape.deleted, "live_bytes": self.shape.bytes,
            "tombstones": self.shape.tombstones,
            "log_bytes_per_commit": number(self.log_bytes as f64 / self.log_commits.max(1) as f64),
            "actions_per_commit": number(self.actions as f64 / self.log_commits.max(1) as f64),
            "checkpoint_version": self.checkpoint.version, "checkpoint_bytes": self.checkpoint.bytes,
            "checkpoint_s": number(self.checkpoint_s),
            "checkpoint_adds": self.checkpoint.adds, "checkpoint_removes": self.checkpoint.removes,
            "compaction_steps": self.steps, "disk_bytes": self.disk_bytes, "resident_mib": number(self.resident_mib),
            "read_open_s": number(self.read.open), "read_scan_s": number(self.read.scan),
            "fresh_open_s": number(self.read.fresh_open), "fresh_scan_s": number(self.read.fresh_scan),
            "read_ratio": number(self.read.ratio()), "reader_peak_mib": number(self.read.peak_mib),
        })
    }
}

/// What a read's process is told: the fresh copy's path, and the number of reads.
const FRESH: &str = "BENCH_SOAK_FRESH";

/// Reads the table and an optimised copy of it, in turns; in a process of its own, whose memory is not the writer's.
fn read(path: &Path, fresh: &Path, reads: usize) -> Result<Read> {
    let (part, answer) = Part::start("read", path, Some((FRESH, json!([fresh, reads]).to_string())))?;
    part.end()?;
    let get = |name: &str| answer[name].as_f64().unwrap_or(f64::NAN);
    Ok(Read {
        open: get("open"),
        scan: get("scan"),
        fresh_open: get("fresh_open"),
        fresh_scan: get("fresh_scan"),
        peak_mib: get("peak_mib"),
    })
}

/// What that process does.
fn read_here(path: &Path) -> Result<()> {
    let told: (PathBuf, usize) = serde_json::from_str(&std::env::var(FRESH)?)?;
    let (fresh, reads) = (told.0.as_path(), told.1);
    if fresh.exists() {
        std::fs::remove_dir_all(fresh)?;
    }
    files::copy_table(path, fresh)?;
    deltars::optimize(fresh)?;
    let mut times = [[vec![], vec![]], [vec![], vec![]]];
    // The first of each is for the page cache.
    for turn in 0..=reads.max(1) {
        for (table, times) in [path, fresh].into_iter().zip(&mut times) {
            let time = deltars::read_all(table)?;
            if turn > 0 {
                times[0].push(time.open);
                times[1].push(time.scan);
            }
        }
    }
    let [[open, scan], [fresh_open, fresh_scan]] = times.map(|t| t.map(|t| median(&t)));
    parts::say(json!({
        "open": open, "scan": scan, "fresh_open": fresh_open, "fresh_scan": fresh_scan,
        "peak_mib": number(measure::peak_mib()),
    }))
}

/// Reads both by DuckDB; none where no Python with DuckDB is named.
fn duckdb(path: &Path, fresh: &Path) -> Result<Option<Value>> {
    let Some(python) = std::env::var_os("ORACLE_PYTHON").filter(|p| !p.is_empty()) else { return Ok(None) };
    let output = Command::new(python).arg(DUCKDB).arg(path).arg(fresh).output()?;
    if !output.status.success() {
        return Err(format!("DuckDB cannot read the table: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(Some(serde_json::from_slice(&output.stdout)?))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    if let Some((_, path)) = parts::this() {
        return tokio::task::block_in_place(|| read_here(&path));
    }
    let Some(args) = Args::parse(HELP)? else { return Ok(()) };
    let rows: usize = args.get("rows", 200_000)?;
    let commits: usize = args.get("commits", 1000)?;
    let changes: usize = args.get("changes", 500)?;
    let distribution: Distribution = args.get("dist", Distribution::Uniform)?;
    let points: usize = args.get("points", 5)?;
    let reads: usize = args.get("reads", 3)?;
    let interval = Duration::from_millis(args.get("interval", 0)?);
    if changes == 0 || changes > rows || commits == 0 || points == 0 {
        return Err("--changes must be between 1 and --rows, --commits and --points at least 1".into());
    }
    let temporary = tempfile::tempdir()?;
    let folder = args.text("work").map_or(temporary.path(), Path::new).to_path_buf();
    std::fs::create_dir_all(&folder)?;
    let (path, fresh): (PathBuf, PathBuf) = (folder.join("soak"), folder.join("fresh"));
    for old in [&path, &fresh] {
        if old.exists() {
            std::fs::remove_dir_all(old)?;
        }
    }

    let before = Instant::now();
    let mut model = Model::default();
    engine::make_table(engine::options(&path), rows, engine::rows_per_file(rows), |batch| model.insert(batch)).await?;
    eprintln!("made a table of {rows} rows in {:.1} s", before.elapsed().as_secs_f64());
    let mut generator = Generator::new(rows, distribution, args.get("seed", 42)?);
    let mut table = KeyedTable::open(engine::options(&path)).await?;
    engine::build_index(&mut table).await?;
    let table = Arc::new(Mutex::new(table));
    let mut maintenance = (!args.has("no-maintenance"))
        .then(|| -> Result<_> {
            Ok(Maintenance::new(CompactOptions {
                min_files: args.get("min-files", 8)?,
                max_bytes: args.get("step-bytes", 256 << 20)?,
                deleted_share: args.get("deleted-share", 0.2)?,
                full: false,
            }))
        })
        .transpose()?;

    let mut log = LogReader::default();
    log.follow(&path)?;
    let mut windows: Vec<Window> = Vec::new();
    let mut latency = Vec::new();
    let mut merged_bytes = 0u64;
    let (mut log_before, mut seconds) = ((log.bytes, log.commits, log.actions), 0.0);
    Window::print_header();
    let mut began = Instant::now();
    for commit in 1..=commits {
        let batch = generator.batch(changes)?;
        model.apply(&batch)?;
        let wait = interval.saturating_sub(began.elapsed());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        began = Instant::now();
        // A merge that waits for the table while a step of compaction is committed waits for it here too.
        let result = engine::merge(&mut *table.lock().await, &batch).await?;
        let took = began.elapsed().as_secs_f64();
        latency.push(took * 1e3);
        seconds += took;
        merged_bytes += result.bytes_written;
        if let Some(maintenance) = &mut maintenance {
            maintenance.after_merge(&table).await?;
        }
        // The last window ends with the last commit.
        if commit * points / commits == (commit - 1) * points / commits {
            continue;
        }
        if let Some(maintenance) = &mut maintenance {
            maintenance.settle().await?;
        }
        log.follow(&path)?;
        let shape = log.shape();
        let info = table.lock().await.info();
        let told = (info.version, info.num_files, info.num_rows);
        if told != (Some(log.version()), shape.files, shape.rows) || shape.rows != model.len() {
            let expected = model.len();
            return Err(format!("the engine tells {told:?}, the log {shape:?}, the model {expected} rows").into());
        }
        let before = Instant::now();
        let task = table.lock().await.maintenance();
        task.checkpoint().await?;
        let checkpoint_s = before.elapsed().as_secs_f64();
        let window = Window {
            checkpoint_s,
            commits: commit,
            latency: std::mem::take(&mut latency),
            shape,
            log_bytes: log.bytes - log_before.0,
            log_commits: log.commits - log_before.1,
            actions: log.actions - log_before.2,
            checkpoint: newest_checkpoint(&path)?.unwrap_or_default(),
            disk_bytes: files::bytes_under(&path),
            resident_mib: measure::resident_mib(),
            steps: maintenance.as_ref().map_or(0, |m| m.steps),
            read: tokio::task::block_in_place(|| read(&path, &fresh, reads))?,
        };
        log_before = (log.bytes, log.commits, log.actions);
        window.print();
        windows.push(window);
    }
    let memory = (measure::peak_mib(), table.lock().await.info().index_bytes);
    drop(table);
    let before = Instant::now();
    let mut reopened = KeyedTable::open(engine::options(&path)).await?;
    let open_s = before.elapsed().as_secs_f64();
    let before = Instant::now();
    engine::build_index(&mut reopened).await?;
    let index_s = before.elapsed().as_secs_f64();
    tokio::task::block_in_place(|| model.check(&path))?;
    println!("every row is as the model has it: {} rows", model.len());

    let duckdb = tokio::task::block_in_place(|| duckdb(&path, &fresh))?;
    let (first, last) = (&windows[0], &windows[windows.len() - 1]);
    let p50 = |window: &Window| percentile(&window.latency, 0.5);
    println!(
        "{commits} commits of {changes} changes on {rows} rows in {seconds:.1} s of merges; latency of the last window to \
         the first: p50 {:.2}, p95 {:.2}",
        p50(last) / p50(first),
        percentile(&last.latency, 0.95) / percentile(&first.latency, 0.95)
    );
    println!("merges wrote {:.1} MiB", merged_bytes as f64 / (1 << 20) as f64);
    if let Some(m) = &maintenance {
        println!(
            "compaction: {} steps ({} given up), {:.1} MiB, {} rows carried over, the longest {:.2} s",
            m.steps,
            m.given_up,
            m.bytes_written as f64 / (1 << 20) as f64,
            m.rows_carried_over,
            m.longest
        );
    }
    println!(
        "opened again in {open_s:.3} s, index in {index_s:.2} s; peak memory {:.0} MiB; the index {:.1} MiB",
        memory.0,
        memory.1 as f64 / (1 << 20) as f64
    );
    match &duckdb {
        Some(times) => println!("DuckDB: {times}"),
        None => println!("DuckDB is left out: no Python with it"),
    }
    let worst = windows.iter().map(|w| w.read.ratio()).fold(f64::NAN, f64::max);
    println!("reading the whole table took at most {worst:.2} x the time of a freshly optimised copy");
    if args.has("json") {
        let object = json!({
            "rows": rows, "commits": commits, "changes": changes, "dist": distribution.to_string(),
            "interval_ms": interval.as_millis() as u64, "merge_seconds": number(seconds),
            "p50_ms_first": number(p50(first)), "p50_ms_last": number(p50(last)),
            "p95_ms_first": number(percentile(&first.latency, 0.95)),
            "p95_ms_last": number(percentile(&last.latency, 0.95)),
            "worst_read_ratio": number(worst), "duckdb": duckdb,
            "bytes_merged": merged_bytes,
            "compaction_steps": maintenance.as_ref().map(|m| m.steps),
            "compaction_bytes": maintenance.as_ref().map(|m| m.bytes_written),
            "rows_carried_over": maintenance.as_ref().map(|m| m.rows_carried_over),
            "open_s": number(open_s), "index_s": number(index_s), "peak_mib": number(memory.0),
            "index_bytes": memory.1,
            "windows": windows.iter().map(Window::json).collect::<Vec<_>>(),
        });
        println!("{object}");
    }
    Ok(())
}
