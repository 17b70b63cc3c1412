//! Tables for trying readers: one for each way in which a table may be written or hold its values. Each comes from random
//! changes; beside it stand the rows that it must hold (`<name>.arrow`) and, version by version, their count and the sum
//! of their ids (`<name>.versions.jsonl`).

mod support;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::*;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::ipc::writer::FileWriter;
use kafka2delta::options::MergeMode;
use kafka2delta::{KeyedTable, TableOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use support::changes::Changes;
use support::maintenance::{CompactOptions, Maintenance};
use support::values::{ODD, list_of, map_of, random};
use support::{Result, args::Args, engine};
use tokio::sync::Mutex;

const HELP: &str = "\
usage: npm run bench:readers -- [options]
  --out D        folder of the tables; what lies there is made anew
  --rows N       rows of a table at its beginning (default 1000)
  --commits N    commits that change some of them (default 25)
  --seed N       of all that is random (default 42)";

/// One table.
struct Kind {
    name: &'static str,
    what: &'static str,
    columns: Vec<(&'static str, DataType)>,
    partition_columns: Vec<&'static str>,
    properties: Vec<(&'static str, &'static str)>,
    mode: MergeMode,
    compacted: bool,
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn kinds() -> Vec<Kind> {
    let plain = || {
        vec![
            ("flag", DataType::Boolean),
            ("tiny", DataType::Int8),
            ("small", DataType::Int16),
            ("number", DataType::Int32),
            ("long", DataType::Int64),
            ("single", DataType::Float32),
            ("double", DataType::Float64),
            ("text", DataType::Utf8),
            ("bytes", DataType::Binary),
            ("price", DataType::Decimal128(10, 2)),
        ]
    };
    let kind = |name, what, columns| Kind {
        name,
        what,
        columns,
        partition_columns: vec![],
        properties: vec![],
        mode: MergeMode::Auto,
        compacted: false,
    };
    let person = DataType::Struct(
        vec![
            Field::new("name", DataType::Utf8, true),
            Field::new("born", DataType::Date32, true),
            Field::new("tags", list_of(DataType::Utf8), true),
        ]
        .into(),
    );
    vec![
        kind("merge-on-read", "merge on read: deletion vectors", plain()),
        Kind { compacted: true, ..kind("compacted", "merge on read, then compacted", plain()) },
        Kind { mode: MergeMode::CopyOnWrite, ..kind("copy-on-write", "copy on write: no deletion vectors", plain()) },
        Kind {
            partition_columns: vec!["year", "price"],
            ..kind(
                "partitioned-plainly",
                "merge on read, partitioned by integers and decimals",
                vec![("year", DataType::Int32), ("price", DataType::Decimal128(10, 2)), ("text", DataType::Utf8)],
            )
        },
        Kind {
            partition_columns: vec!["part", "day"],
            ..kind(
                "partitioned",
                "merge on read, partitioned by odd texts (`ü`, `%25`, `a/b`, `a=b`, null…) and by dates",
                vec![("part", DataType::Utf8), ("day", DataType::Date32), ("text", DataType::Utf8)],
            )
        },
        Kind {
            partition_columns: vec!["part", "day"],
            compacted: true,
            ..kind(
                "partitioned-compacted",
                "the same, then compacted",
                vec![("part", DataType::Utf8), ("day", DataType::Date32), ("text", DataType::Utf8)],
            )
        },
        kind("dates", "merge on read, dates from year 1 to 9999", vec![("day", DataType::Date32)]),
        kind("timestamps", "merge on read, timestamps from year 1 to 9999", vec![("moment", timestamp())]),
        kind(
            "timestamps-ntz",
            "merge on read, timestamps without time zone",
            vec![("moment", DataType::Timestamp(TimeUnit::Microsecond, None))],
        ),
        kind(
            "decimals",
            "merge on read, decimals of 38 digits",
            vec![
                ("whole", DataType::Decimal128(38, 0)),
                ("middle", DataType::Decimal128(38, 18)),
                ("fraction", DataType::Decimal128(38, 37)),
            ],
        ),
        kind(
            "nested",
            "merge on read, structs, lists, maps in each other",
            vec![
                ("person", person.clone()),
                ("list", list_of(DataType::Int64)),
                ("map", map_of(DataType::Decimal128(20, 3))),
                ("people", list_of(person.clone())),
                ("by_name", map_of(person)),
            ],
        ),
        Kind {
            properties: vec![("delta.checkpointInterval", "5")],
            ..kind("checkpointed", "merge on read, with classic checkpoints", plain())
        },
        Kind {
            properties: vec![("delta.checkpointPolicy", "v2"), ("delta.checkpointInterval", "5")],
            ..kind("v2-checkpoint", "merge on read, `delta.checkpointPolicy` is `v2`", plain())
        },
        Kind {
            properties: vec![("delta.enableChangeDataFeed", "true")],
            ..kind("change-data-feed", "merge on read, with the change data feed", plain())
        },
        Kind {
            properties: vec![("delta.enableChangeDataFeed", "true")],
            mode: MergeMode::CopyOnWrite,
            ..kind("change-data-feed-cow", "copy on write, with the change data feed", plain())
        },
    ]
}

fn schema_of(kind: &Kind) -> SchemaRef {
    let columns = kind.columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    Arc::new(Schema::new(std::iter::once(Field::new("id", DataType::Int64, true)).chain(columns).collect::<Vec<_>>()))
}

/// Rows with these ids; partition values are few.
fn rows(kind: &Kind, ids: &[i64], rng: &mut StdRng) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(ids.to_vec()))];
    for (name, data_type) in &kind.columns {
        columns.push(match (kind.partition_columns.contains(name), data_type) {
            (true, DataType::Utf8) => {
                let value = |_: &i64| rng.random_bool(0.95).then(|| ODD[rng.random_range(0..ODD.len())]);
                Arc::new(ids.iter().map(value).collect::<StringArray>())
            }
            (true, DataType::Int32) => {
                let value = |_: &i64| rng.random_bool(0.9).then(|| rng.random_range(2020..2023));
                Arc::new(ids.iter().map(value).collect::<Int32Array>())
            }
            (true, DataType::Decimal128(precision, scale)) => {
                let prices = [Some(-150), Some(0), Some(12_345), None];
                let values = ids.iter().map(|_| prices[rng.random_range(0..4)]);
                Arc::new(values.collect::<Decimal128Array>().with_precision_and_scale(*precision, *scale)?)
            }
            (true, _) => {
                let days = [Some(-719_162), Some(0), Some(2_932_896), None];
                Arc::new(ids.iter().map(|_| days[rng.random_range(0..4)]).collect::<Date32Array>())
            }
            (false, data_type) => random(data_type, ids.len(), true, rng)?,
        });
    }
    Ok(RecordBatch::try_new(schema_of(kind), columns)?)
}

/// Makes one table. Gives what the engine says where it refuses to.
async fn make(kind: &Kind, folder: &Path, count: usize, commits: usize, seed: u64) -> Result<Option<String>> {
    let path = folder.join(kind.name);
    if path.exists() {
        std::fs::remove_dir_all(&path)?;
    }
    let options = TableOptions {
        partition_columns: kind.partition_columns.iter().map(|c| (*c).to_owned()).collect(),
        properties: kind.properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<HashMap<_, _>>(),
        merge_mode: kind.mode,
        ..engine::options(&path)
    };
    let mut rng = StdRng::seed_from_u64(seed);
    let table = Arc::new(Mutex::new(KeyedTable::open(options).await?));
    let mut batches: Vec<RecordBatch> = Vec::new();
    // Id to batch and row.
    let mut model: BTreeMap<i64, (usize, usize)> = BTreeMap::new();
    let mut versions = File::create(folder.join(format!("{}.versions.jsonl", kind.name)))?;
    let mut next = 1i64;
    for commit in 0..=commits {
        let mut changed: Vec<(i64, bool)> = Vec::new();
        if commit > 0 {
            let live: Vec<i64> = model.keys().copied().collect();
            let size = rng.random_range(1..=(live.len() / 10).max(1));
            for at in rand::seq::index::sample(&mut rng, live.len(), size) {
                changed.push((live[at], rng.random_bool(0.2)));
            }
        }
        let inserts = if commit == 0 { count } else { rng.random_range(0..=count / 20) };
        changed.extend((next..next + inserts as i64).map(|id| (id, false)));
        next += inserts as i64;
        let ids: Vec<i64> = changed.iter().map(|c| c.0).collect();
        let changes = Changes { rows: rows(kind, &ids, &mut rng)?, deleted: changed.iter().map(|c| c.1).collect() };
        let merged = engine::merge(&mut *table.lock().await, &changes).await;
        let version = match (merged, commit) {
            (Ok(result), _) => result.version,
            (Err(refused), 0) => {
                std::fs::remove_dir_all(&path)?;
                return Ok(Some(refused.to_string()));
            }
            (Err(error), _) => return Err(error),
        };
        for (row, (id, deleted)) in changed.iter().enumerate() {
            match deleted {
                true => model.remove(id),
                false => model.insert(*id, (batches.len(), row)),
            };
        }
        batches.push(changes.rows);
        let sum: i64 = model.keys().sum();
        writeln!(versions, "{}", json!({ "version": version, "rows": model.len(), "sum_id": sum }))?;
    }
    if kind.compacted {
        let options = CompactOptions { min_files: 2, max_bytes: 1 << 30, deleted_share: 0.0, full: true };
        let mut maintenance = Maintenance::new(options);
        maintenance.after_merge(&table).await?;
        maintenance.settle().await?;
        let (version, sum) = (table.lock().await.info().version, model.keys().sum::<i64>());
        writeln!(versions, "{}", json!({ "version": version, "rows": model.len(), "sum_id": sum }))?;
    }
    let table = table.lock().await.info();
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    let places: Vec<(usize, usize)> = model.values().copied().collect();
    let expected = interleave_record_batch(&batches, &places)?;
    let mut writer =
        FileWriter::try_new(File::create(folder.join(format!("{}.arrow", kind.name)))?, &expected.schema())?;
    writer.write(&expected)?;
    writer.finish()?;
    println!("{}: {} rows in {} files, version {:?}", kind.name, expected.num_rows(), table.num_files, table.version);
    Ok(None)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let Some(args) = Args::parse(HELP)? else { return Ok(()) };
    let folder = args.text("out").ok_or("--out is missing")?;
    let folder = Path::new(folder);
    std::fs::create_dir_all(folder)?;
    let mut list = Vec::new();
    for kind in kinds() {
        let seed = args.get("seed", 42)?;
        let refused = make(&kind, folder, args.get("rows", 1000)?, args.get("commits", 25)?, seed)
            .await
            .map_err(|e| format!("{}: {e}", kind.name))?;
        if let Some(refused) = &refused {
            println!("{}: refused: {refused}", kind.name);
        }
        list.push(json!({ "name": kind.name, "what": kind.what, "refused": refused }));
    }
    std::fs::write(folder.join("tables.json"), serde_json::to_vec_pretty(&list)?)?;
    // Checkpoints are written beside the merges.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    Ok(())
}
