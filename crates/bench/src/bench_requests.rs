//! What a table costs in a store that answers slowly: requests and milliseconds of a start, a merge, following others, and
//! compaction.

mod support;

use std::path::{Path, PathBuf};
use std::time::Instant;

use kafka2delta::{KeyedTable, TableOptions};
use serde_json::{Value, json};
use support::changes::{Distribution, Generator};
use support::maintenance::CompactOptions;
use support::slow_store::{take_requests, url_of};
use support::{Result, args::Args, engine, measure};
use tokio_util::sync::CancellationToken;

const HELP: &str = "\
usage: npm run bench:requests -- [options]
  --files N      data files of the table (default 200)
  --rows N       its rows (default 200000)
  --wait MS      milliseconds that each request takes (default 30)
  --commits N    commits of another writer that are followed (default 50)
  --changes N    changes of each (default 100)
  --seed N       of all that is random (default 42)
  --json         print one JSON object as the last line";

/// A table in a slow store, and what was measured of it.
struct Bench {
    folder: PathBuf,
    options: TableOptions,
    generator: Generator,
    changes: usize,
    figures: Vec<Value>,
}

impl Bench {
    /// Measures a piece of work.
    async fn measure<T>(&mut self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        take_requests(&self.folder);
        let before = Instant::now();
        let done = work.await?;
        let millis = before.elapsed().as_secs_f64() * 1e3;
        let requests = take_requests(&self.folder);
        let of = |kind: &str| requests.iter().filter(|(k, _)| *k == kind).count();
        let [get, put, list] = ["get", "put", "list"].map(of);
        println!("  {what:44} {:6} requests ({get} get, {put} put, {list} list) {millis:10.0} ms", requests.len());
        self.figures.push(json!({
            "what": what, "requests": requests.len(), "get": get, "put": put, "list": list,
            "ms": measure::number(millis),
        }));
        Ok(done)
    }

    /// Opens the table, and has its index stand.
    async fn start(&mut self, what: &str) -> Result<KeyedTable> {
        let options = self.options.clone();
        self.measure(what, async {
            let mut table = KeyedTable::open(options).await?;
            engine::build_index(&mut table).await?;
            Ok(table)
        })
        .await
    }

    async fn merge(&mut self, what: &str, table: &mut KeyedTable) -> Result<()> {
        let changes = self.generator.batch(self.changes)?;
        self.measure(what, async { engine::merge(table, &changes).await.map(drop) }).await
    }

    /// Another writer, whose requests take no time.
    async fn other(&self) -> Result<KeyedTable> {
        Ok(KeyedTable::open(engine::options(&self.folder)).await?)
    }

    async fn commits_of_another(&mut self, count: usize) -> Result<()> {
        let mut other = self.other().await?;
        for _ in 0..count {
            let changes = self.generator.batch(self.changes)?;
            engine::merge(&mut other, &changes).await?;
        }
        Ok(())
    }

    async fn compact(&mut self, table: &mut KeyedTable) -> Result<()> {
        let all = CompactOptions { min_files: 2, max_bytes: u64::MAX, deleted_share: 0.01, full: true };
        let plan = table.plan_compaction(&all)?.ok_or("there is nothing to compact")?;
        let rewritten =
            self.measure("compaction: rewrite", async { Ok(plan.rewrite(&CancellationToken::new()).await?) }).await?;
        let commit = async { table.commit_compaction(rewritten).await?.ok_or_else(|| "it was given up".into()) };
        self.measure("compaction: commit, for which merges wait", commit).await.map(drop)
    }
}

async fn run(args: &Args, folder: &Path) -> Result<Vec<Value>> {
    let files: usize = args.get("files", 200)?;
    let rows: usize = args.get("rows", 200_000)?;
    let commits: usize = args.get("commits", 50)?;
    let table_folder = folder.join("table");
    engine::make_table(engine::options(&table_folder), rows, rows.div_ceil(files), |_| Ok(())).await?;
    let options = TableOptions {
        uri: url_of(&table_folder, args.get("wait", 30)?),
        index_folder: Some(folder.join("index")),
        ..engine::options(&table_folder)
    };
    let generator = Generator::new(rows, Distribution::Uniform, args.get("seed", 42)?);
    let changes = args.get("changes", 100)?;
    let mut bench = Bench { folder: table_folder, options, generator, changes, figures: Vec::new() };
    let table = bench.start("start: the index is built").await?;
    table.close().await;
    let table = bench.start("start: the index is loaded").await?;
    table.close().await;
    bench.commits_of_another(commits).await?;
    let mut table = bench.start(&format!("start: loaded, {commits} commits behind")).await?;
    bench.merge("merge, the first", &mut table).await?;
    bench.merge("merge", &mut table).await?;
    bench.commits_of_another(commits).await?;
    bench.measure(&format!("follow {commits} commits"), async { Ok(table.follow().await?) }).await?;
    bench.merge("merge", &mut table).await?;
    bench.compact(&mut table).await?;
    bench.merge("merge", &mut table).await?;
    bench.commits_of_another(commits).await?;
    table.follow().await?;
    let mut other = bench.other().await?;
    let all = CompactOptions { min_files: 2, max_bytes: u64::MAX, deleted_share: 0.01, full: true };
    let plan = other.plan_compaction(&all)?.ok_or("there is nothing to compact")?;
    let rewritten = plan.rewrite(&CancellationToken::new()).await?;
    other.commit_compaction(rewritten).await?;
    bench.measure("follow another's compaction", async { Ok(table.follow().await?) }).await?;
    bench.merge("merge", &mut table).await?;
    Ok(bench.figures)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let Some(args) = Args::parse(HELP)? else { return Ok(()) };
    let folder = std::env::temp_dir().join(format!("kafka2delta-requests-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let figures = run(&args, &std::fs::canonicalize(&folder)?).await;
    std::fs::remove_dir_all(&folder)?;
    let figures = figures?;
    if args.has("json") {
        println!("{}", json!({ "figures": figures }));
    }
    Ok(())
}
