//! The merge benchmark: batches of changes onto a table by our engine, by delta-rs's MERGE, and as a plain append of the
//! same rows, which is the bound: the same Parquet writer and one commit of the log. The end states are compared before
//! a figure is printed.
//!
//! Each of the three runs in a process of its own of this same program, so that its memory is its own; they take turns
//! batch by batch, so that whatever else the machine does hits all alike.

mod support;

use std::path::Path;
use std::time::Instant;

use kafka2delta::{KeyedTable, Offset};
use serde_json::{Value, json};
use support::changes::{Changes, Distribution, Generator};
use support::measure::{median, number};
use support::parts::{Part, say};
use support::{Result, args::Args, deltars, engine, files, measure, parts};
use tokio_util::sync::CancellationToken;

const HELP: &str = "\
usage: npm run bench:merge -- [options]
  --rows N       rows of the table (default 1000000)
  --changes N    changes of a batch: 80 % updates, 15 % inserts, 5 % deletes (default 100000)
  --batches N    batches (default 5)
  --dist D       uniform or recent: which keys are updated (default uniform)
  --seed N       of all that is random (default 42)
  --no-deltars   leave delta-rs's MERGE out
  --work D       folder to work in, which stays; a table made there before is used again (default: a temporary one)
  --json         print one JSON object as the last line";

/// What a part's process does: opens its table, then applies batch after batch as their files are named to it.
async fn part(name: &str, path: &Path) -> Result<()> {
    let before = Instant::now();
    let mut ours = None;
    let mut theirs = None;
    match name {
        "deltars" => theirs = Some(deltars::open(path).await?),
        _ => ours = Some(KeyedTable::open(engine::options(path)).await?),
    }
    if let (Some(table), "ours") = (&mut ours, name) {
        engine::build_index(table).await?;
    }
    let index_s = before.elapsed().as_secs_f64();
    let info = ours.as_ref().map(KeyedTable::info);
    say(
        json!({ "index_s": index_s, "index_bytes": info.map(|i| i.index_bytes), "peak_mib": number(measure::peak_mib()) }),
    )?;
    for file in parts::batches() {
        let changes = Changes::from_ipc(&std::fs::read(file?)?)?;
        measure::reset_peak();
        let mut timings = None;
        let (seconds, bytes) = match (&mut ours, name) {
            (Some(table), "ours") => {
                let offset: Offset = engine::next_offset(table, changes.deleted.len());
                let batch = changes.ipc()?;
                let key = engine::primary_key();
                let before = Instant::now();
                let result = table.merge(Some(batch), &key, &[offset], &CancellationToken::new()).await?;
                let seconds = before.elapsed().as_secs_f64();
                timings = Some(format!("{:?}", result.timings));
                (seconds, result.bytes_written)
            }
            (Some(table), _) => {
                let rows = changes.upserts()?;
                let before = Instant::now();
                let bytes = table.append(rows).await?;
                (before.elapsed().as_secs_f64(), bytes)
            }
            (None, _) => {
                let table = theirs.take().ok_or("no table")?;
                let size = files::bytes_under(path);
                let before = Instant::now();
                theirs = Some(deltars::merge(table, &changes).await?);
                let seconds = before.elapsed().as_secs_f64();
                (seconds, files::bytes_under(path) - size)
            }
        };
        say(json!({
            "seconds": seconds, "bytes": bytes, "timings": timings, "peak_mib": number(measure::peak_mib()),
        }))?;
    }
    Ok(())
}

/// What a part's batches took.
#[derive(Default)]
struct Measured {
    seconds: Vec<f64>,
    bytes: Vec<f64>,
    peak_mib: f64,
}

impl Measured {
    fn push(&mut self, answer: &Value) {
        self.seconds.push(answer["seconds"].as_f64().unwrap_or(f64::NAN));
        self.bytes.push(answer["bytes"].as_f64().unwrap_or(f64::NAN));
        self.peak_mib = self.peak_mib.max(answer["peak_mib"].as_f64().unwrap_or(f64::NAN));
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    if let Some((name, path)) = parts::this() {
        return part(&name, &path).await;
    }
    let Some(args) = Args::parse(HELP)? else { return Ok(()) };
    let rows: usize = args.get("rows", 1_000_000)?;
    let changes: usize = args.get("changes", 100_000)?;
    let count: usize = args.get("batches", 5)?;
    let distribution: Distribution = args.get("dist", Distribution::Uniform)?;
    if changes == 0 || changes > rows || count == 0 {
        return Err("--changes must be between 1 and --rows, --batches at least 1".into());
    }
    let temporary = tempfile::tempdir()?;
    let folder = args.text("work").map_or(temporary.path(), Path::new).to_path_buf();
    let base = engine::base_table(&folder, rows).await?;

    let mut names = vec!["ours", "append"];
    if !args.has("no-deltars") {
        names.push("deltars");
    }
    let work = tempfile::tempdir_in(&folder)?;
    let mut running = Vec::new();
    let mut ready = Vec::new();
    for name in &names {
        files::copy_table(&base, &work.path().join(name))?;
        let (part, answer) = Part::start(name, &work.path().join(name), None)?;
        running.push(part);
        ready.push(answer);
    }
    let mut generator = Generator::new(rows, distribution, args.get("seed", 42)?);
    let mut measured: Vec<Measured> = names.iter().map(|_| Measured::default()).collect();
    let file = work.path().join("batch.arrow");
    for batch in 0..count {
        std::fs::write(&file, generator.batch(changes)?.ipc()?)?;
        for at in parts::turn(batch, running.len()) {
            let answer = running[at].apply(&file)?;
            measured[at].push(&answer);
            let timings = answer["timings"].as_str().unwrap_or_default();
            eprintln!("  {:8} {:9.4} s  {timings}", names[at], answer["seconds"].as_f64().unwrap_or(f64::NAN));
        }
    }
    for part in running {
        part.end()?;
    }
    tokio::task::block_in_place(|| check(&work.path().join("ours"), work.path(), &names, &generator))?;
    report(&args, (rows, changes, count, distribution), &names, &measured, &ready[0]);
    Ok(())
}

/// The rows must be those that the changes leave, by whomever.
fn check(ours: &Path, work: &Path, names: &[&str], generator: &Generator) -> Result<()> {
    deltars::check_count(ours, generator.live())?;
    if names.contains(&"deltars") {
        let (a, b) = (deltars::state(ours)?, deltars::state(&work.join("deltars"))?);
        if a != b {
            return Err(format!("the end states differ\nours\n{a}\ndelta-rs\n{b}").into());
        }
        eprintln!("end states are equal\n{a}");
    }
    Ok(())
}

fn report(
    args: &Args,
    (rows, changes, count, distribution): (usize, usize, usize, Distribution),
    names: &[&str],
    measured: &[Measured],
    ours_ready: &Value,
) {
    let index_s = ours_ready["index_s"].as_f64().unwrap_or(f64::NAN);
    let index_bytes = ours_ready["index_bytes"].as_f64().unwrap_or(f64::NAN);
    let ours = median(&measured[0].seconds);
    println!("{changes} changes on {rows} rows, {distribution} keys, median of {count}");
    println!("  {:14} {:>10} {:>14} {:>12}   ours to it", "", "s a batch", "KiB written", "peak MiB");
    for (name, part) in names.iter().zip(measured) {
        let label = match *name {
            "append" => "plain append",
            "deltars" => "delta-rs MERGE",
            name => name,
        };
        let seconds = median(&part.seconds);
        let ratio = match *name {
            "ours" => String::new(),
            "append" => format!("{:.2} x its time", ours / seconds),
            _ => format!("{:.1} x faster", seconds / ours),
        };
        println!("  {label:14} {seconds:10.4} {:14.1} {:12.0}   {ratio}", median(&part.bytes) / 1024.0, part.peak_mib);
    }
    println!(
        "  the index of ours was built in {index_s:.2} s and takes {:.1} MiB, {:.1} bytes a key",
        index_bytes / (1 << 20) as f64,
        index_bytes / rows as f64
    );
    if args.has("json") {
        let part = |name: &str| names.iter().position(|n| *n == name).map(|at| &measured[at]);
        let seconds = |name: &str| part(name).map_or(Value::Null, |p| number(median(&p.seconds)));
        let bytes = |name: &str| part(name).map_or(Value::Null, |p| json!(median(&p.bytes) as u64));
        let peak = |name: &str| part(name).map_or(Value::Null, |p| number(p.peak_mib));
        let object = json!({
            "rows": rows, "changes": changes, "dist": distribution.to_string(), "batches": count,
            "ours_s": seconds("ours"), "append_s": seconds("append"), "deltars_s": seconds("deltars"),
            "bytes": bytes("ours"), "append_bytes": bytes("append"), "deltars_bytes": bytes("deltars"),
            "peak_mib": peak("ours"), "append_peak_mib": peak("append"), "deltars_peak_mib": peak("deltars"),
            "index_s": number(index_s), "index_bytes": number(index_bytes),
        });
        println!("{object}");
    }
}
