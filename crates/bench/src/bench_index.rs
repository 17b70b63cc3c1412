//! The key index: bytes a key, times to build, save and load it, and what batches cost with all of it in memory, with a
//! budget of a tenth of that, and with no index at all. The end states are compared before a figure is printed.
//!
//! Each runs in a process of its own of this same program, so that its memory is its own; they take turns batch by batch.

mod support;

use std::path::Path;
use std::time::Instant;

use kafka2delta::KeyedTable;
use kafka2delta::options::KeyIndexMode;
use serde_json::{Value, json};
use support::changes::{Changes, Distribution, Generator};
use support::measure::{median, number};
use support::parts::{Part, say};
use support::{Result, args::Args, deltars, engine, files, measure, parts};

const HELP: &str = "\
usage: npm run bench:index -- [options]
  --rows N       rows of the table (default 1000000)
  --changes N    changes of a batch: 80 % updates, 15 % inserts, 5 % deletes (default 10000)
  --batches N    batches (default 10)
  --dist D       uniform or recent: which keys are updated (default uniform)
  --share S      memory of the small budget, as a share of what the whole index takes (default 0.1)
  --none         without any index, too: every batch reads the key columns of files that can match
  --seed N       of all that is random (default 42)
  --work D       folder to work in, which stays; a table made there before is used again (default: a temporary one)
  --json         print one JSON object as the last line";

/// Bytes that the index may take, for the part's process; none for no index.
const MEMORY: &str = "BENCH_INDEX_MEMORY";

/// What a part's process does: builds the index, saves it, opens the table again, then applies batch after batch.
async fn part(path: &Path) -> Result<()> {
    let memory: Option<u64> = std::env::var(MEMORY).ok().map(|m| m.parse()).transpose()?;
    let folder = path.with_extension("index");
    std::fs::create_dir_all(&folder)?;
    let mut options = engine::options(path);
    options.index_folder = Some(folder.clone());
    match memory {
        Some(memory) => options.index_memory = memory,
        None => options.key_index = KeyIndexMode::None,
    }
    // Of opening the table and indexing it: building reads the key columns, loading the saved file.
    let open = async |options: &kafka2delta::TableOptions| -> Result<(KeyedTable, f64)> {
        let before = Instant::now();
        let mut table = KeyedTable::open(options.clone()).await?;
        engine::build_index(&mut table).await?;
        Ok((table, before.elapsed().as_secs_f64()))
    };
    let (table, build_s) = open(&options).await?;
    let build_peak = measure::peak_mib();
    let before = Instant::now();
    table.close().await;
    let save_s = before.elapsed().as_secs_f64();
    let saved_bytes = files::bytes_under(&folder);
    measure::reset_peak();
    let (mut table, load_s) = open(&options).await?;
    let info = table.info();
    say(json!({
        "keys": info.index_keys, "bytes": info.index_bytes, "build_s": build_s, "save_s": save_s, "load_s": load_s,
        "saved_bytes": saved_bytes, "build_peak_mib": number(build_peak), "load_peak_mib": number(measure::peak_mib()),
        "resident_mib": number(measure::resident_mib()),
    }))?;
    measure::reset_peak();
    for file in parts::batches() {
        let changes = Changes::from_ipc(&std::fs::read(file?)?)?;
        let before = Instant::now();
        let result = engine::merge(&mut table, &changes).await?;
        let seconds = before.elapsed().as_secs_f64();
        let info = table.info();
        say(json!({
            "seconds": seconds, "locate_ms": result.timings.locate, "bytes": info.index_bytes,
            "disk_bytes": files::bytes_under(&folder), "peak_mib": number(measure::peak_mib()),
            "resident_mib": number(measure::resident_mib()),
        }))?;
    }
    Ok(())
}

fn get(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or(f64::NAN)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    if let Some((_, path)) = parts::this() {
        return part(&path).await;
    }
    let Some(args) = Args::parse(HELP)? else { return Ok(()) };
    let rows: usize = args.get("rows", 1_000_000)?;
    let changes: usize = args.get("changes", 10_000)?;
    let count: usize = args.get("batches", 10)?;
    let share: f64 = args.get("share", 0.1)?;
    let distribution: Distribution = args.get("dist", Distribution::Uniform)?;
    if changes == 0 || changes > rows || count == 0 || !(0.0..=1.0).contains(&share) {
        return Err("--changes must be between 1 and --rows, --batches at least 1, --share between 0 and 1".into());
    }
    let temporary = tempfile::tempdir()?;
    let folder = args.text("work").map_or(temporary.path(), Path::new).to_path_buf();
    let base = engine::base_table(&folder, rows).await?;
    let work = tempfile::tempdir_in(&folder)?;

    let mut names = vec!["memory", "budget"];
    if args.has("none") {
        names.push("none");
    }
    let mut running: Vec<Part> = Vec::new();
    let mut ready: Vec<Value> = Vec::new();
    let mut budget = 0u64;
    for name in &names {
        let path = work.path().join(name);
        files::copy_table(&base, &path)?;
        let memory = match *name {
            "memory" => Some(u64::MAX.to_string()),
            "budget" => {
                budget = (get(&ready[0], "bytes") * share) as u64;
                Some(budget.to_string())
            }
            _ => None,
        };
        let (part, answer) = Part::start(name, &path, memory.map(|m| (MEMORY, m)))?;
        eprintln!("  {name}: {answer}");
        running.push(part);
        ready.push(answer);
    }
    let mut generator = Generator::new(rows, distribution, args.get("seed", 42)?);
    let file = work.path().join("batch.arrow");
    let mut answers: Vec<Vec<Value>> = names.iter().map(|_| Vec::new()).collect();
    for batch in 0..count {
        std::fs::write(&file, generator.batch(changes)?.ipc()?)?;
        for at in parts::turn(batch, running.len()) {
            answers[at].push(running[at].apply(&file)?);
        }
    }
    for part in running {
        part.end()?;
    }
    let states = tokio::task::block_in_place(|| -> Result<Vec<String>> {
        names.iter().map(|name| deltars::state(&work.path().join(name))).collect()
    })?;
    if let Some(other) = states.iter().position(|state| *state != states[0]) {
        return Err(format!("the end states of {} and {} differ", names[0], names[other]).into());
    }
    deltars::check_count(&work.path().join(names[0]), generator.live())?;

    let keys = get(&ready[0], "keys");
    let mib = |bytes: f64| bytes / (1 << 20) as f64;
    println!(
        "index of {keys} keys: {:.1} bytes a key, {:.1} MiB",
        get(&ready[0], "bytes") / keys,
        mib(get(&ready[0], "bytes"))
    );
    println!(
        "  {:8} {:>8} {:>8} {:>8} {:>10} {:>10} {:>10} {:>10} {:>10} {:>8}",
        "", "build s", "save s", "load s", "saved MiB", "index MiB", "disk MiB", "batch s", "locate ms", "RSS MiB"
    );
    let of = |at: usize, name: &str| median(&answers[at].iter().map(|a| get(a, name)).collect::<Vec<_>>());
    for (at, name) in names.iter().enumerate() {
        println!(
            "  {name:8} {:8.3} {:8.3} {:8.3} {:10.1} {:10.1} {:10.1} {:10.4} {:10.2} {:8.0}",
            get(&ready[at], "build_s"),
            get(&ready[at], "save_s"),
            get(&ready[at], "load_s"),
            mib(get(&ready[at], "saved_bytes")),
            mib(of(at, "bytes")),
            mib(of(at, "disk_bytes")),
            of(at, "seconds"),
            of(at, "locate_ms"),
            of(at, "resident_mib")
        );
    }
    let ratio = of(1, "seconds") / of(0, "seconds");
    println!(
        "{changes} changes on {rows} rows, {distribution} keys, median of {count}: with a budget of {share} a batch takes {ratio:.2} x the time"
    );
    if args.has("json") {
        let part = |at: usize| {
            json!({
                "ready": ready[at], "batch_s": number(of(at, "seconds")), "locate_ms": number(of(at, "locate_ms")),
                "index_bytes": number(of(at, "bytes")), "disk_bytes": number(of(at, "disk_bytes")),
                "peak_mib": number(of(at, "peak_mib")), "resident_mib": number(of(at, "resident_mib")),
            })
        };
        let parts: serde_json::Map<String, Value> =
            names.iter().enumerate().map(|(at, name)| ((*name).to_owned(), part(at))).collect();
        println!(
            "{}",
            json!({
                "rows": rows, "changes": changes, "dist": distribution.to_string(), "batches": count, "share": share,
                "budget_bytes": budget, "bytes_per_key": number(get(&ready[0], "bytes") / keys), "ratio": number(ratio),
                "parts": parts,
            })
        );
    }
    Ok(())
}
