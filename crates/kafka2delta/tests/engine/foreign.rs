//! Other engines write to the table between our commits: what they do is followed, built anew, or stops the table.
//! `SEED` and `SEQUENCES` choose what runs.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use crate::by_hand::ByHand;
use crate::delta_rs;
use crate::support::{Change, Key, Model, Row, merge, options, rows};
use crate::temporary;
use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use kafka2delta::options::{KeyIndexMode, MergeMode};
use kafka2delta::{CompactOptions, ErrorCode, KeyedTable, TableOptions};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

fn upsert(key: Key, name: &str) -> Change {
    let row =
        Row { name: Some(name.into()), big: Some(name.repeat(2)), part: Some(key.1 as i32 % 2), ..Row::default() };
    Change::Upsert { key, row, leaves_big: false, old: None, sequence: None }
}

/// Rows as another engine would write them, with the additional column that we would compute.
fn batch(rows: &[(Key, Row)]) -> RecordBatch {
    let text =
        |get: &dyn Fn(&Row) -> Option<String>| Arc::new(rows.iter().map(|(_, r)| get(r)).collect::<StringArray>());
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("tenant", Arc::new(rows.iter().map(|(k, _)| Some(k.0)).collect::<Int32Array>())),
        ("id", Arc::new(rows.iter().map(|(k, _)| Some(k.1)).collect::<Int64Array>())),
        ("name", text(&|r| r.name.clone())),
        ("big", text(&|r| r.big.clone())),
        ("part", Arc::new(rows.iter().map(|(_, r)| r.part).collect::<Int32Array>())),
        ("shout", text(&|r| r.name.as_ref().map(|n| n.to_uppercase()))),
    ];
    let fields: Vec<Field> = columns.iter().map(|(name, a)| Field::new(*name, a.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, a)| a).collect()).unwrap()
}

async fn append(uri: &str, rows: &[(Key, Row)]) {
    delta_rs::append(uri, &batch(rows)).await;
}

fn row(name: &str) -> Row {
    Row { name: Some(name.into()), big: Some("foreign".into()), part: Some(1), ..Row::default() }
}

fn log_entries(folder: &Path) -> Vec<u64> {
    let mut found: Vec<u64> = std::fs::read_dir(folder.join("_delta_log"))
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().to_str()?.strip_suffix(".json")?.parse().ok())
        .collect();
    found.sort_unstable();
    found
}

/// A checkpoint, and the entries before it are gone.
async fn clean_log(uri: &str) {
    let newest = delta_rs::checkpoint(uri).await;
    for version in log_entries(Path::new(uri)).into_iter().filter(|v| *v < newest) {
        std::fs::remove_file(Path::new(uri).join(format!("_delta_log/{version:020}.json"))).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_are_gone_are_not_written_again() {
    // Versions from ours on, which is 1: those that are cleaned up before ours is read, and after it.
    let cases: [(&[u64], &[u64]); 5] = [(&[], &[2]), (&[], &[3]), (&[], &[1, 2, 3]), (&[1], &[2]), (&[1], &[])];
    for (before, after) in cases {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let clean = |versions: &[u64]| {
            for version in versions {
                std::fs::remove_file(folder.path().join(format!("_delta_log/{version:020}.json"))).unwrap();
            }
        };
        let mut other = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
        for id in 0..2 {
            merge(&mut other, "q:t:0", &[upsert((0, id), "a")], false).await.unwrap();
        }
        other.maintenance().checkpoint().await.unwrap();
        clean(before);
        let mut table = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
        for id in 2..5 {
            merge(&mut other, "q:t:0", &[upsert((0, id), "a")], false).await.unwrap();
        }
        other.maintenance().checkpoint().await.unwrap();
        clean(after);
        let note = format!("{before:?}, {after:?}");
        table.follow().await.unwrap_or_else(|error| panic!("{note}: {:?}", error.chain()));
        let result = merge(&mut table, "q:t:0", &[upsert((0, 4), "b"), upsert((0, 5), "b")], false).await.unwrap();
        assert_eq!((result.version, result.inserted, result.updated), (5, 1, 1), "{note}");
        assert_eq!(rows(uri).await.len(), 6, "{note}");
    }
}

struct Others<'a> {
    uri: &'a str,
    next_key: i64,
    columns: u32,
}

impl Others<'_> {
    /// Something that another engine does, and what the table must hold after it.
    async fn act(&mut self, rng: &mut StdRng, model: &mut Model) -> String {
        let uri = self.uri;
        let known: Vec<Key> = model.rows.keys().copied().collect();
        let action = rng.random_range(0..10);
        match action {
            0 => {
                let below = rng.random_range(0..4i64);
                delta_rs::delete(uri, &format!("id < {below} AND tenant = 1")).await;
                model.rows.retain(|key, _| !(key.1 < below && key.0 == 1));
                format!("DELETE id < {below}")
            }
            1 => {
                let rest = rng.random_range(0..3i64);
                let updates = [("name", "'by hand'"), ("shout", "'BY HAND'")];
                delta_rs::update(uri, &format!("id % 3 = {rest}"), &updates).await;
                for (_, row) in model.rows.iter_mut().filter(|(key, _)| key.1 % 3 == rest) {
                    row.name = Some("by hand".into());
                }
                format!("UPDATE name WHERE id % 3 = {rest}")
            }
            2 => {
                // The key changes, and with it what the stream knows the row by.
                let Some(key) = known.choose(rng).copied() else { return String::new() };
                self.next_key += 1;
                let id = format!("CAST({} AS BIGINT)", self.next_key);
                delta_rs::update(uri, &format!("tenant = {} AND id = {}", key.0, key.1), &[("id", &id)]).await;
                let row = model.rows.remove(&key).unwrap();
                model.rows.insert((key.0, self.next_key), row);
                format!("UPDATE {key:?} SET id = {}", self.next_key)
            }
            3 => {
                self.next_key += 1;
                let mut source: Vec<(Key, Row)> = known.choose_multiple(rng, 3).map(|k| (*k, row("merged"))).collect();
                source.push(((1, self.next_key), row("merged")));
                let inserts = ["tenant", "id", "name", "big", "part", "shout"];
                let found = "t.id = s.id AND t.tenant = s.tenant";
                delta_rs::merge(uri, &batch(&source), found, &["name", "shout"], &inserts).await;
                for (key, row) in source {
                    let merged = row.name.clone();
                    model.rows.entry(key).or_insert(row).name = merged;
                }
                "MERGE".into()
            }
            4 => {
                self.next_key += 2;
                let new = [((0, self.next_key), row("new")), ((1, self.next_key - 1), row("new"))];
                append(uri, &new).await;
                model.rows.extend(new);
                "append".into()
            }
            5 => {
                delta_rs::optimize(uri).await;
                "OPTIMIZE".into()
            }
            6 => {
                self.columns += 1;
                delta_rs::add_column(uri, &format!("c{}", self.columns)).await;
                "ADD COLUMN".into()
            }
            7 => {
                let days = format!("interval {} days", rng.random_range(9..99));
                delta_rs::set_property(uri, "delta.logRetentionDuration", &days).await;
                "SET TBLPROPERTIES".into()
            }
            8 => {
                for _ in 0..rng.random_range(0..3) {
                    delta_rs::optimize(uri).await;
                }
                clean_log(uri).await;
                "log clean-up".into()
            }
            _ => {
                delta_rs::vacuum(uri).await;
                "VACUUM".into()
            }
        }
    }
}

async fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = temporary::folder();
    let index = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mode = if rng.random_bool(0.6) { MergeMode::MergeOnRead } else { MergeMode::CopyOnWrite };
    let options = TableOptions {
        key_index: if rng.random_bool(0.2) { KeyIndexMode::None } else { KeyIndexMode::Auto },
        index_memory: if rng.random_bool(0.4) { 1 } else { 1 << 30 },
        index_folder: rng.random_bool(0.5).then(|| index.path().to_owned()),
        ..options(uri, mode)
    };
    let note = format!("seed {seed}, {mode:?}, {:?}, memory {}", options.key_index, options.index_memory);
    let mut table = KeyedTable::open(options.clone()).await.unwrap();
    let mut model = Model::default();
    let mut others = Others { uri, next_key: 1000, columns: 0 };
    let mut history = Vec::new();
    let mut query = "q:t:0".to_owned();
    for step in 0..24 {
        if step > 0 && rng.random_bool(0.5) {
            history.push(others.act(&mut rng, &mut model).await);
            continue;
        }
        let mut changes = Vec::new();
        for n in 0..rng.random_range(1..8) {
            let known: Vec<Key> = model.rows.keys().copied().collect();
            let key = match known.choose(&mut rng) {
                Some(key) if rng.random_bool(0.6) => *key,
                _ => (rng.random_range(0..2), rng.random_range(0..12)),
            };
            changes.push(match rng.random_range(0..10) {
                0..3 if n > 0 => Change::Delete { key, sequence: None },
                _ => {
                    let mut change = upsert(key, &format!("s{step}"));
                    if let Change::Upsert { leaves_big, .. } = &mut change {
                        *leaves_big = rng.random_bool(0.4);
                    }
                    change
                }
            });
        }
        changes.iter().for_each(|change| model.apply(change));
        history.push(format!("ours {changes:?}"));
        let mut merged = merge(&mut table, &query, &changes, false).await;
        // Where the log was cleaned up, and others have replaced all that the last commit wrote, a query ends.
        if let Err(error) = &merged
            && error.message.contains("cannot be told")
            && history.iter().any(|what| what == "log clean-up")
        {
            query = format!("q{step}:t:0");
            history.push("another query".into());
            merged = merge(&mut table, &query, &changes, false).await;
        }
        if let Err(error) = merged {
            panic!("{note}: {:?}\n{history:#?}", error.chain());
        }
        model.assert_equals(&rows(uri).await, &format!("{note}, step {step}: {history:#?}"));
        if rng.random_bool(0.15) {
            if rng.random_bool(0.5) {
                table.close().await;
            }
            history.push("reopened".into());
            table = KeyedTable::open(options.clone()).await.unwrap_or_else(|e| panic!("{note}: {:?}", e.chain()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_do_between_our_commits_is_followed() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    if let Some(seed) = number("SEED") {
        return run(seed).await;
    }
    let first = rand::rng().random_range(0..1_000_000_000u64);
    let count = number("SEQUENCES").unwrap_or(30);
    println!("seeds {first} to {}", first + count - 1);
    let lane = |lane: u64| {
        tokio::spawn(async move {
            for seed in (first + lane..first + count).step_by(2) {
                run(seed).await;
            }
        })
    };
    let (a, b) = tokio::join!(lane(0), lane(1));
    a.unwrap();
    b.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_others_added_stays_in_files_that_are_written_anew() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = KeyedTable::open(options(uri, MergeMode::CopyOnWrite)).await.unwrap();
    merge(&mut table, "q:t:0", &[upsert((0, 1), "a"), upsert((0, 3), "a")], false).await.unwrap();
    delta_rs::add_column(uri, "theirs").await;
    delta_rs::update(uri, "id = 3", &[("theirs", "7")]).await;
    table.follow().await.unwrap();
    merge(&mut table, "q:t:0", &[upsert((0, 1), "b")], false).await.unwrap();
    let found = delta_rs::query(uri, None, "SELECT id FROM t WHERE theirs = 7").await;
    assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_come_back_are_found_again() {
    // All in memory; rows of the first batch on disk, with their places of before a compaction; and all on disk.
    for (memory, compacts) in [1 << 30, 32 << 10, 1].into_iter().flat_map(|memory| [(memory, false), (memory, true)]) {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let options = TableOptions { index_memory: memory, ..options(uri, MergeMode::MergeOnRead) };
        let mut table = KeyedTable::open(options).await.unwrap();
        let many: Vec<Change> = (0..300).map(|n| upsert((1, 2 * n + 1), "a")).collect();
        merge(&mut table, "q:t:0", &many, false).await.unwrap();
        merge(&mut table, "q:t:0", &[upsert((0, 5), "a")], false).await.unwrap();
        let then = ByHand::read(folder.path());
        if compacts {
            let all = CompactOptions { min_files: 2, max_bytes: 1 << 30, deleted_share: 0.1, full: true };
            let rewritten =
                table.plan_compaction(&all).unwrap().unwrap().rewrite(&CancellationToken::new()).await.unwrap();
            table.commit_compaction(rewritten).await.unwrap().unwrap();
        } else {
            ByHand::read(folder.path()).delete(3, true);
            table.follow().await.unwrap();
            merge(&mut table, "q:t:0", &[upsert((1, 3), "b")], false).await.unwrap();
        }
        ByHand::read(folder.path()).put_back(&then);
        table.follow().await.unwrap();
        let all = [upsert((1, 1), "c"), upsert((1, 3), "c"), upsert((0, 5), "c")];
        let merged = merge(&mut table, "q:t:0", &all, false).await.unwrap();
        assert_eq!((merged.inserted, merged.updated), (0, 3), "{memory}, {compacts}");
        assert_eq!(rows(uri).await.len(), 301, "{memory}, {compacts}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_there_twice_is_an_error_until_it_is_not() {
    for (memory, restart) in [(1 << 30, false), (1, false), (1 << 30, true), (1, true)] {
        let folder = temporary::folder();
        let index = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let note = format!("memory {memory}, restart {restart}");
        let index_folder = Some(index.path().to_owned());
        let options = TableOptions { index_memory: memory, index_folder, ..options(uri, MergeMode::Auto) };
        let mut table = KeyedTable::open(options.clone()).await.unwrap();
        let first: Vec<Change> = (0..9).map(|id| upsert((0, id), "a")).collect();
        merge(&mut table, "q:t:0", &first, false).await.unwrap();
        merge(&mut table, "q:t:0", &[upsert((0, 9), "a")], false).await.unwrap();
        let twice = [((0, 3), row("twice")), ((1, 3), row("fine"))];
        table = match restart {
            true => {
                table.close().await;
                append(uri, &twice).await;
                KeyedTable::open(options.clone()).await.unwrap()
            }
            false => {
                append(uri, &twice).await;
                table
            }
        };
        let before = log_entries(folder.path());
        for _ in 0..2 {
            let error = merge(&mut table, "q:t:0", &[upsert((0, 5), "b")], false).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::TableUnsupported, "{note}: {:?}", error.chain());
            assert!(
                error.message.contains("1 rows more") && error.message.contains("tenant = 0, id = 3"),
                "{note}: {error}"
            );
        }
        assert_eq!(log_entries(folder.path()), before, "{note}");
        delta_rs::delete(uri, "id = 3 AND tenant = 0 AND name = 'a'").await;
        merge(&mut table, "q:t:0", &[upsert((0, 5), "b"), upsert((0, 3), "c")], false).await.unwrap();
        let found = rows(uri).await;
        assert_eq!((found.len(), found[&(0, 3)].name.as_deref()), (11, Some("c")), "{note}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overwritten_table_stops() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    merge(&mut table, "q:t:0", &[upsert((0, 1), "a"), upsert((0, 2), "a")], false).await.unwrap();
    let new = batch(&[((0, 2), row("other"))]);
    delta_rs::overwrite(uri, &new).await;
    for _ in 0..2 {
        let error = merge(&mut table, "q:t:0", &[upsert((0, 3), "a")], false).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::TableReplaced, "{error}");
        assert!(error.message.contains("full overwrite") && error.message.contains("q:t:0 at 1"), "{error}");
    }
    let mut again = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    let error = merge(&mut again, "q:t:0", &[upsert((0, 3), "a")], false).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::TableReplaced);
    assert_eq!(log_entries(folder.path()), [0, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_dropped_and_made_anew_stops() {
    // How many commits the new one has: fewer than ours, as many, more; or there is none.
    for commits in [Some(1), Some(3), Some(6), None] {
        let folder = temporary::folder();
        let path = folder.path().join("table");
        let uri = path.to_str().unwrap();
        let mut table = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
        for id in 0..3 {
            merge(&mut table, "q:t:0", &[upsert((0, id), "a")], false).await.unwrap();
        }
        std::fs::remove_dir_all(&path).unwrap();
        for id in 0..commits.unwrap_or(0) {
            if id == 0 {
                std::fs::create_dir_all(&path).unwrap();
                delta_rs::create(uri, &batch(&[((0, id), row("new"))]), &["part"]).await;
            } else {
                append(uri, &[((0, id), row("new"))]).await;
            }
        }
        for _ in 0..2 {
            let error = merge(&mut table, "q:t:0", &[upsert((0, 3), "a")], false).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::TableReplaced, "{commits:?}: {:?}", error.chain());
            assert!(error.message.contains("q:t:0 at 2"), "{error}");
        }
        match commits {
            Some(commits) => assert_eq!(log_entries(&path).len() as i64, commits, "nothing of ours is in it"),
            None => assert!(!path.join("_delta_log").exists()),
        }
    }
}

/// Lets `change` write the actions of a commit anew.
fn edit_log(folder: &Path, version: u64, change: impl Fn(&mut Value)) {
    let path = folder.join(format!("_delta_log/{version:020}.json"));
    let text = std::fs::read_to_string(&path).unwrap();
    let mut out = String::new();
    for line in text.lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        change(&mut line);
        out.push_str(&format!("{line}\n"));
    }
    std::fs::write(path, out).unwrap();
}

fn percent_decoded(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [a, b, tail @ ..]) => {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&[*a, *b]).unwrap(), 16).unwrap());
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_partition_values_raw_paths_and_files_without_statistics() {
    let names = ["ü%25/ä b=c", "plain", "100 %", "a#b?c", "'q\"", "日本", "."];
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        for raw in [false, true] {
            let folder = temporary::folder();
            let uri = folder.path().to_str().unwrap();
            let note = format!("{mode:?}, raw {raw}");
            let mut model = Model::default();
            let mut data: Vec<(Key, Row)> = Vec::new();
            for (n, name) in (0..).zip(names) {
                data.push(((0, n), Row { part: None, ..row(name) }));
                data.push(((1, n), Row { part: None, ..row(name) }));
            }
            data.push(((0, 99), Row { big: Some("x".into()), ..Row::default() }));
            model.rows.extend(data.iter().cloned());
            delta_rs::create(uri, &batch(&data), &["name"]).await;
            edit_log(folder.path(), 0, |line| {
                let Some(add) = line["add"].as_object_mut() else { return };
                add.remove("stats");
                // As Spark writes it: only what must be is encoded.
                if raw {
                    let decoded = percent_decoded(add["path"].as_str().unwrap());
                    add["path"] =
                        decoded.replace('%', "%25").replace(' ', "%20").replace('#', "%23").replace('?', "%3F").into();
                }
            });
            let paths = |version: u64, action: &str| -> HashSet<String> {
                let path = folder.path().join(format!("_delta_log/{version:020}.json"));
                let text = std::fs::read_to_string(path).unwrap();
                let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
                lines.filter_map(|line| line[action]["path"].as_str().map(ToOwned::to_owned)).collect()
            };
            let first = paths(0, "add");
            assert_eq!(first.len(), 8);
            let partition_columns = vec!["name".to_owned()];
            let options = TableOptions { partition_columns, ..options(uri, mode) };
            let mut table = KeyedTable::open(options).await.unwrap();
            let mut changes = vec![Change::Delete { key: (0, 99), sequence: None }];
            for (n, name) in (0..).zip(names) {
                changes.push(upsert((0, n), name));
                if n % 2 == 0 {
                    changes.push(Change::Delete { key: (1, n), sequence: None });
                }
            }
            let result = merge(&mut table, "q:t:0", &changes, false).await;
            let result = result.unwrap_or_else(|e| panic!("{note}: {:?}", e.chain()));
            changes.iter().for_each(|change| model.apply(change));
            assert_eq!(paths(1, "remove"), first, "{note}: byte for byte");
            assert_eq!((result.inserted, result.updated, result.deleted), (0, 7, 5), "{note}");
            model.assert_equals(&rows(uri).await, &note);
            let again: Vec<Change> = (0..7).map(|n| upsert((n as i32 % 2, n), names[6 - n as usize])).collect();
            merge(&mut table, "q:t:0", &again, false).await.unwrap();
            again.iter().for_each(|change| model.apply(change));
            model.assert_equals(&rows(uri).await, &note);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_outside_the_table_are_refused() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    delta_rs::create(uri, &batch(&[((0, 1), row("a"))]), &["part"]).await;
    edit_log(folder.path(), 0, |line| {
        if let Some(path) = line["add"]["path"].as_str() {
            line["add"]["path"] = format!("file:///elsewhere/{path}").into();
        }
    });
    for key_index in [KeyIndexMode::Auto, KeyIndexMode::None] {
        let options = TableOptions { key_index, ..options(uri, MergeMode::Auto) };
        let mut table = KeyedTable::open(options).await.unwrap();
        let error = merge(&mut table, "q:t:0", &[upsert((0, 1), "b")], false).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::TableUnsupported, "{:?}", error.chain());
        assert!(error.message.contains("shallow clone"), "{error}");
        assert_eq!(log_entries(folder.path()), [0]);
        assert_eq!(std::fs::read_dir(folder.path().join("part=1")).unwrap().count(), 1, "nothing is written");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_in_vacuumed_files_are_missing_and_no_error() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    merge(&mut table, "q:t:0", &[upsert((0, 1), "a")], false).await.unwrap();
    merge(&mut table, "q:t:0", &[upsert((0, 2), "a")], false).await.unwrap();
    merge(&mut table, "q:t:0", &[Change::Moved { key: (0, 1), new: None }], false).await.unwrap();
    let deleted = delta_rs::vacuum(uri).await;
    assert!(deleted.iter().any(|file| file.contains("part=1")), "{deleted:?}");
    let change = Change::Upsert { key: (0, 8), row: row("b"), leaves_big: true, old: Some((0, 1)), sequence: None };
    let result = merge(&mut table, "q:t:0", &[change], false).await.unwrap();
    assert_eq!(result.missing_values, 1);
    assert_eq!(rows(uri).await[&(0, 8)].big, None);
}
