//! Changelogs and histories, against what each change does to the map of `docs/architecture.md`. `SEED` and `SEQUENCES` as in
//! `model`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::delta_rs;
use crate::model::random_row;
use crate::support::{
    Change, Key, Model, Row, env, ipc, options, primary_key, rows_of, run_seeds, with_column, with_metadata, with_times,
};
use crate::temporary;
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::TimestampMicrosecondType;
use bytes::Bytes;
use kafka2delta::options::{KeyIndexMode, MergeMode, VersionColumns, WriteMode};
use kafka2delta::{ErrorCode, KeyedTable, MergeResult, Offset, Result, TableOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

/// Begin, end, and the row.
type Version = (i64, Option<i64>, Row);

pub fn scd2() -> WriteMode {
    let [valid_from, valid_to, is_current] = ["valid_from", "valid_to", "is_current"].map(str::to_owned);
    WriteMode::Scd2(VersionColumns { valid_from, valid_to, is_current })
}

async fn apply(table: &mut KeyedTable, changes: &[(Change, i64)], with_extra: bool) -> Result<MergeResult> {
    let times: Vec<i64> = changes.iter().map(|(_, time)| *time).collect();
    let changes: Vec<Change> = changes.iter().map(|(change, _)| change.clone()).collect();
    apply_batch(table, with_times(ipc(&changes, &[], with_extra, false), "_time", &times), changes.len()).await
}

async fn apply_batch(table: &mut KeyedTable, batch: Bytes, changes: usize) -> Result<MergeResult> {
    let stored = table.info().offsets.into_iter().next().map(|(_, offset)| offset);
    let offset = Offset {
        may_fall: false,
        app_id: "q:t:0".into(),
        expected: stored,
        last: stored.unwrap_or(-1) + changes as i64,
    };
    table.merge(Some(batch), &primary_key(), &[offset], &CancellationToken::new()).await
}

async fn read(uri: &str) -> Vec<RecordBatch> {
    delta_rs::query(uri, None, "SELECT * FROM t").await
}

/// The versions of each key, in order.
async fn versions(uri: &str) -> BTreeMap<Key, Vec<Version>> {
    let mut found: BTreeMap<Key, Vec<Version>> = BTreeMap::new();
    for batch in read(uri).await {
        let time = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<TimestampMicrosecondType>().clone();
        let (begins, ends) = (time("valid_from"), time("valid_to"));
        let current = batch.column_by_name("is_current").unwrap().as_boolean();
        for (n, (key, row)) in rows_of(&batch).into_iter().enumerate() {
            let end = ends.is_valid(n).then(|| ends.value(n));
            assert_eq!(current.value(n), end.is_none(), "{key:?}");
            found.entry(key).or_default().push((begins.value(n), end, row));
        }
    }
    found.values_mut().for_each(|versions| sort(versions));
    found
}

fn sort(versions: &mut [Version]) {
    versions.sort_by_key(|(begin, end, row)| (*begin, end.unwrap_or(i64::MAX), format!("{row:?}")));
}

/// The map, and what each change made of it.
#[derive(Default)]
struct History {
    map: Model,
    versions: BTreeMap<Key, Vec<Version>>,
}

impl History {
    fn apply(&mut self, change: &Change, time: i64) {
        let before = self.map.rows.clone();
        self.map.apply(change);
        let mut ended: BTreeMap<Key, i64> = BTreeMap::new();
        for (key, old) in &before {
            if self.map.rows.get(key) != Some(old) {
                let last = self.versions.get_mut(key).unwrap().iter_mut().find(|v| v.1.is_none()).unwrap();
                let end = time.max(last.0);
                last.1 = Some(end);
                ended.insert(*key, end);
            }
        }
        for (key, new) in &self.map.rows {
            if before.get(key) != Some(new) {
                // A change that another clock wrote does not begin before the one that it follows.
                let begin = ended.get(key).copied().unwrap_or(time);
                self.versions.entry(*key).or_default().push((begin, None, new.clone()));
            }
        }
    }

    fn assert_equals(&self, found: &BTreeMap<Key, Vec<Version>>, note: &str) {
        let mut expected = self.versions.clone();
        expected.values_mut().for_each(|versions| sort(versions));
        for (key, versions) in &expected {
            assert_eq!(found.get(key), Some(versions), "{key:?}, {note}");
        }
        assert_eq!(found.len(), expected.len(), "{note}");
    }
}

impl History {
    /// Whether the current versions are the map's rows, and every version is there, with whatever end.
    fn assert_kept(&self, found: &BTreeMap<Key, Vec<Version>>, note: &str) {
        for (key, versions) in &self.versions {
            let found = found.get(key).unwrap_or_else(|| panic!("{key:?}, {note}"));
            let current: Vec<&Version> = found.iter().filter(|version| version.1.is_none()).collect();
            let wanted: Vec<&Row> = self.map.rows.get(key).into_iter().collect();
            assert_eq!(current.iter().map(|version| &version.2).collect::<Vec<_>>(), wanted, "{key:?}, {note}");
            for (begin, _, row) in versions {
                assert!(found.iter().any(|(b, _, r)| b == begin && r == row), "{key:?} at {begin}, {note}");
            }
        }
    }
}

fn random_changes(rng: &mut StdRng, guarded: bool) -> Vec<(Change, i64)> {
    let mut changes: Vec<(Change, i64)> = Vec::new();
    let key = |rng: &mut StdRng| -> Key { (rng.random_range(0..2), rng.random_range(0..6)) };
    let (mut time, mut sequence) = (1_700_000_000_000_000i64, 10u64);
    for step in 0..rng.random_range(5..80) {
        time += rng.random_range(0..3);
        sequence += 1;
        let sequence = guarded.then_some(sequence);
        let k = key(rng);
        let upsert = |rng: &mut StdRng, key: Key, old: Option<Key>| Change::Upsert {
            key,
            // Few values: some changes change nothing.
            row: Row { big: Some(format!("b{}", rng.random_range(0..3))), ..random_row(rng, step % 2) },
            leaves_big: old.is_none() && rng.random_bool(0.4),
            old,
            sequence,
        };
        match rng.random_range(0..100) {
            0..65 => changes.push((upsert(rng, k, None), time)),
            65..85 => changes.push((Change::Delete { key: k, sequence }, time)),
            85..95 if !guarded => {
                let new = key(rng);
                if new != k {
                    changes.push((Change::Moved { key: k, new: Some(new) }, time));
                    changes.push((upsert(rng, new, Some(k)), time));
                }
            }
            95.. => changes.push((Change::Truncate { sequence: None }, time)),
            _ => {}
        }
        // With positions, a repeat is left out of what the history has: see `sent again`.
        if !guarded && rng.random_bool(0.05) && !changes.is_empty() {
            let from = rng.random_range(0..changes.len());
            let truncates = |c: &(Change, i64)| matches!(c.0, Change::Truncate { .. });
            // A truncate that comes again takes what came after the first one.
            if !changes[from..].iter().any(truncates) {
                changes.extend_from_within(from..);
            }
        }
    }
    changes
}

fn random_options(rng: &mut StdRng, uri: &str, write_mode: WriteMode) -> TableOptions {
    let mode = if rng.random_bool(0.6) { MergeMode::MergeOnRead } else { MergeMode::CopyOnWrite };
    TableOptions {
        write_mode,
        key_index: if rng.random_bool(0.2) { KeyIndexMode::None } else { KeyIndexMode::Auto },
        index_memory: if rng.random_bool(0.3) { 1 } else { 1 << 30 },
        ..options(uri, mode)
    }
}

async fn run_history(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let guarded = rng.random_bool(0.4);
    let changes = random_changes(&mut rng, guarded);
    if !matches!(changes.first(), Some((Change::Upsert { .. }, _))) {
        return;
    }
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let options = random_options(&mut rng, uri, scd2());
    let mut table = KeyedTable::open(options.clone()).await.unwrap();
    let mut history = History::default();
    let mut done = 0;
    while done < changes.len() {
        let size = rng.random_range(1..=25.min(changes.len() - done));
        let batch = &changes[done..done + size];
        done += size;
        if env("TRACE").is_some() {
            println!("version {:?}: {batch:#?}", table.info().version);
        }
        batch.iter().for_each(|(change, time)| history.apply(change, *time));
        apply(&mut table, batch, true).await.unwrap_or_else(|e| panic!("seed {seed}: {:?}", e.chain()));
        if rng.random_bool(0.3) {
            history.assert_equals(&versions(uri).await, &format!("seed {seed}, after {done} changes"));
        }
        if rng.random_bool(0.2) {
            table = KeyedTable::open(options.clone()).await.unwrap();
        }
    }
    history.assert_equals(&versions(uri).await, &format!("seed {seed}"));
    // Sent again as a whole: no version is lost, and the current ones are right. Where nothing was deleted, none is new.
    let deletes = |(c, _): &(Change, i64)| matches!(c, Change::Truncate { .. } | Change::Delete { .. });
    if guarded && !changes.iter().any(|(c, _)| matches!(c, Change::Truncate { .. })) {
        for batch in changes.chunks(20) {
            apply(&mut table, batch, true).await.unwrap();
        }
        let found = versions(uri).await;
        let note = format!("seed {seed}, sent again");
        match changes.iter().any(deletes) {
            false => history.assert_equals(&found, &note),
            true => history.assert_kept(&found, &note),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories() {
    run_seeds(400, run_history).await;
}

fn upsert(id: i64, name: &str, sequence: Option<u64>) -> Change {
    let row = Row { name: Some(name.into()), big: Some("big".into()), part: Some(0), ..Row::default() };
    Change::Upsert { key: (0, id), row, leaves_big: false, old: None, sequence }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_again_after_a_restart_makes_no_version() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let options = TableOptions { write_mode: scd2(), ..options(uri, MergeMode::Auto) };
    let mut table = KeyedTable::open(options.clone()).await.unwrap();
    let changes: Vec<_> = (0..20).map(|i| (upsert(i % 3, &format!("n{i}"), Some(100 + i as u64)), i)).collect();
    apply(&mut table, &changes, false).await.unwrap();
    let before = versions(uri).await;
    assert_eq!(before.values().map(Vec::len).sum::<usize>(), 20);
    let mut table = KeyedTable::open(options).await.unwrap();
    apply(&mut table, &changes[5..], false).await.unwrap();
    assert_eq!(versions(uri).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_takes_left_out_values_of_an_updated_key_from_its_old_row() {
    for (mode, batches) in [(MergeMode::MergeOnRead, 1), (MergeMode::CopyOnWrite, 1), (MergeMode::MergeOnRead, 3)] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let options = TableOptions { write_mode: scd2(), ..options(uri, mode) };
        let mut table = KeyedTable::open(options).await.unwrap();
        let mut moved = upsert(2, "b", None);
        if let Change::Upsert { leaves_big, old, .. } = &mut moved {
            (*leaves_big, *old) = (true, Some((0, 1)));
        }
        let changes = [(upsert(1, "a", None), 10), (Change::Moved { key: (0, 1), new: None }, 20), (moved, 20)];
        for batch in changes.chunks(changes.len() / batches) {
            apply(&mut table, batch, false).await.unwrap();
        }
        let found = versions(uri).await;
        let shown = |id: i64| -> Vec<_> {
            found[&(0, id)].iter().map(|(begin, end, row)| (*begin, *end, row.big.as_deref())).collect()
        };
        assert_eq!(shown(1), [(10, Some(20), Some("big"))]);
        assert_eq!(shown(2), [(20, None, Some("big"))]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncate_ends_all_current_versions() {
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut table = KeyedTable::open(TableOptions { write_mode: scd2(), ..options(uri, mode) }).await.unwrap();
        let first: Vec<_> = (0..5).map(|i| (upsert(i, "a", None), 10)).collect();
        apply(&mut table, &first, false).await.unwrap();
        apply(&mut table, &[(upsert(0, "b", None), 20)], false).await.unwrap();
        let truncate = Change::Truncate { sequence: None };
        apply(&mut table, &[(upsert(1, "b", None), 25), (truncate, 30), (upsert(2, "c", None), 40)], false)
            .await
            .unwrap();
        let ends = |versions: &[Version]| versions.iter().map(|(begin, end, _)| (*begin, *end)).collect::<Vec<_>>();
        let found = versions(uri).await;
        assert_eq!(ends(&found[&(0, 0)]), [(10, Some(20)), (20, Some(30))]);
        assert_eq!(ends(&found[&(0, 1)]), [(10, Some(25)), (25, Some(30))]);
        assert_eq!(ends(&found[&(0, 2)]), [(10, Some(30)), (40, None)]);
        assert_eq!(ends(&found[&(0, 3)]), [(10, Some(30))]);
        // The ended ones stay ended.
        apply(&mut table, &[(Change::Truncate { sequence: None }, 50)], false).await.unwrap();
        assert_eq!(ends(&versions(uri).await[&(0, 3)]), [(10, Some(30))]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changelog_has_each_change_once() {
    let seed = env("SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000_000));
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..20 {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut options = random_options(&mut rng, uri, WriteMode::Append);
        options.properties.insert("delta.appendOnly".into(), "true".into());
        options.properties.insert("delta.enableChangeDataFeed".into(), "true".into());
        let mut table = KeyedTable::open(options.clone()).await.unwrap();
        let changes: Vec<_> = random_changes(&mut rng, true)
            .into_iter()
            .filter(|(change, _)| !matches!(change, Change::Truncate { .. }))
            .collect();
        let repeat_from = rng.random_range(0..=changes.len());
        let sent: Vec<_> = changes.iter().chain(&changes[repeat_from..]).cloned().collect();
        let size = rng.random_range(1..30);
        // Where nothing older comes before it in its batch, the last change may be another one at its position.
        let last = sent.len() - 1;
        let is_told = changes.len().max(last - last % size) < last;
        let is_kept_twice = last >= changes.len() && !is_told;
        let kept: Vec<_> = changes.iter().chain(changes.last().filter(|_| is_kept_twice)).collect();
        let mut expected: Vec<(Key, Row)> = Vec::new();
        for (change, _) in &kept {
            match change {
                Change::Upsert { key, row, leaves_big, .. } => {
                    let big = row.big.clone().filter(|_| !leaves_big);
                    expected.push((*key, Row { big, ..row.clone() }));
                }
                Change::Delete { key, .. } | Change::Moved { key, .. } => expected.push((*key, Row::default())),
                Change::Truncate { .. } => {}
            }
        }
        let mut left_out = 0;
        for batch in sent.chunks(size) {
            let result = apply(&mut table, batch, true).await.unwrap();
            assert_eq!((result.deleted, result.files_removed), (0, 0));
            assert_eq!(result.upserted + result.dropped_stale, batch.len() as u64);
            left_out += result.dropped_stale;
            if rng.random_bool(0.3) {
                table = KeyedTable::open(options.clone()).await.unwrap();
            }
        }
        let mut found: Vec<(Key, Row)> = read(uri).await.iter().flat_map(rows_of).collect();
        let text = |row: &(Key, Row)| format!("{row:?}");
        found.sort_by_key(text);
        expected.sort_by_key(text);
        assert_eq!(found, expected, "seed {seed}");
        assert_eq!(left_out, (sent.len() - kept.len()) as u64, "seed {seed}");
        let mut other = KeyedTable::open(TableOptions { write_mode: WriteMode::Upsert, ..options }).await.unwrap();
        let error = apply(&mut other, &changes[..1], true).await.unwrap_err();
        assert!(error.message.contains("set delta.appendOnly to false"), "{error:?}");
        let left: usize = kept.iter().filter(|(c, _)| matches!(c, Change::Upsert { leaves_big: true, .. })).count();
        let named: usize = read(uri)
            .await
            .iter()
            .filter_map(|batch| batch.column_by_name("__unchanged").cloned())
            .map(|names| names.len() - names.null_count())
            .sum();
        assert_eq!(named, left, "seed {seed}");
    }
}

/// Changes by name and position, each applied as it came, in these batches: the rows of the changelog after each.
async fn changelog_after(batches: &[&[(&str, u64)]]) -> Vec<String> {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let options = TableOptions { write_mode: WriteMode::Append, ..options(uri, MergeMode::Auto) };
    let mut shown = Vec::new();
    for batch in batches {
        let mut table = KeyedTable::open(options.clone()).await.unwrap();
        let changes: Vec<_> = batch.iter().map(|(name, at)| (upsert(1, name, Some(*at)), 1)).collect();
        apply(&mut table, &changes, false).await.unwrap();
        let mut names: Vec<String> =
            read(uri).await.iter().flat_map(rows_of).map(|(_, row)| row.name.unwrap_or_default()).collect();
        names.sort();
        shown.push(names.concat());
    }
    shown
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_rows_of_one_position_are_all_rows_of_a_changelog() {
    // A COPY of equal rows into a table without a primary key.
    assert_eq!(changelog_after(&[&[("a", 1), ("c", 5), ("c", 5), ("c", 5), ("d", 5)]]).await, ["acccd"]);
    assert_eq!(
        changelog_after(&[&[("a", 1), ("c", 5)], &[("c", 5)], &[("c", 5), ("e", 6)]]).await,
        ["ac", "acc", "accce"]
    );
    // It comes again as a whole.
    let copy: &[(&str, u64)] = &[("a", 1), ("c", 5), ("c", 5), ("c", 5), ("d", 5)];
    assert_eq!(changelog_after(&[copy, copy, copy]).await, ["acccd"; 3]);
    assert_eq!(changelog_after(&[&[copy, copy, copy].concat()]).await, ["acccd"]);
    assert_eq!(
        changelog_after(&[&copy[..2], &copy[2..], copy, &[("e", 6)], &copy[1..]]).await[2..],
        ["acccd", "acccde", "acccde"]
    );
    // The crash was between its rows: what comes again has more of them.
    assert_eq!(changelog_after(&[&copy[..2], copy, copy]).await, ["ac", "acccd", "acccd"]);
    assert_eq!(changelog_after(&[&[&copy[..3], copy, copy].concat()]).await, ["acccd"]);
    assert_eq!(changelog_after(&[&[&copy[..2], &copy[..3]].concat(), copy]).await, ["acc", "acccd"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_of_one_position_are_all_versions() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let options = TableOptions { write_mode: scd2(), ..options(uri, MergeMode::Auto) };
    let mut table = KeyedTable::open(options).await.unwrap();
    let changes: Vec<_> =
        [("a", 1), ("b", 5), ("c", 5), ("b", 5)].map(|(name, at)| (upsert(1, name, Some(at)), 1)).into();
    for batch in [&changes[..2], &changes[2..]] {
        apply(&mut table, batch, false).await.unwrap();
    }
    let found = versions(uri).await;
    let current: Vec<_> = found[&(0, 1)].iter().filter(|version| version.1.is_none()).collect();
    assert_eq!((found[&(0, 1)].len(), current.len()), (4, 1));
    assert_eq!(current[0].2.name.as_deref(), Some("b"));
}

/// The rows after these batches of one change each: its position, and the value of a column `__note`.
async fn rows_after_notes(write_mode: WriteMode, tells_of_the_change: bool, notes: &[(u64, &str)]) -> u64 {
    let folder = temporary::folder();
    let options = TableOptions { write_mode, ..options(folder.path().to_str().unwrap(), MergeMode::Auto) };
    let mut table = KeyedTable::open(options).await.unwrap();
    for (position, note) in notes {
        let batch = with_times(ipc(&[upsert(1, "a", Some(*position))], &[], false, false), "_time", &[1]);
        let mut batch = with_column(batch, "__note", Arc::new(StringArray::from(vec![*note])));
        if tells_of_the_change {
            batch = with_metadata(batch, "kafka2delta.ofTheChange", r#"["__note"]"#);
        }
        apply_batch(&mut table, batch, 1).await.unwrap();
    }
    table.info().num_rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_batch_says_to_tell_of_the_change_makes_no_row_of_a_history() {
    let update = [(1, "new"), (2, "paid")];
    assert_eq!(rows_after_notes(scd2(), false, &update).await, 2);
    assert_eq!(rows_after_notes(scd2(), true, &update).await, 1);
    let sent_again = [(1, "new"), (2, "new"), (1, "later")];
    assert_eq!(rows_after_notes(WriteMode::Append, false, &sent_again).await, 3);
    assert_eq!(rows_after_notes(WriteMode::Append, true, &sent_again).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncate_is_a_row_of_a_changelog() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let options = TableOptions { write_mode: WriteMode::Append, ..options(uri, MergeMode::Auto) };
    let mut table = KeyedTable::open(options).await.unwrap();
    apply(&mut table, &[(upsert(1, "a", None), 1), (Change::Truncate { sequence: None }, 2)], false).await.unwrap();
    assert_eq!(table.info().num_rows, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_holds_in_every_mode() {
    for write_mode in [WriteMode::Append, scd2()] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let options = TableOptions { write_mode, ..options(uri, MergeMode::Auto) };
        let mut first = KeyedTable::open(options.clone()).await.unwrap();
        apply(&mut first, &[(upsert(1, "a", None), 1)], false).await.unwrap();
        let mut second = KeyedTable::open(options).await.unwrap();
        apply(&mut first, &[(upsert(1, "b", None), 2)], false).await.unwrap();
        let error = apply(&mut second, &[(upsert(1, "b", None), 2)], false).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Fenced, "{error:?}");
        assert_eq!(second.info().num_rows, 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_another_mode_is_refused() {
    let modes = [WriteMode::Upsert, WriteMode::Append, scd2()];
    for made in &modes {
        for opened in &modes {
            let folder = temporary::folder();
            let uri = folder.path().to_str().unwrap();
            let with = |write_mode: &WriteMode| TableOptions {
                write_mode: write_mode.clone(),
                ..options(uri, MergeMode::Auto)
            };
            let mut table = KeyedTable::open(with(made)).await.unwrap();
            apply(&mut table, &[(upsert(1, "a", None), 1)], false).await.unwrap();
            let mut table = KeyedTable::open(with(opened)).await.unwrap();
            let result = apply(&mut table, &[(upsert(1, "b", None), 2)], false).await;
            match made == opened {
                true => assert_eq!(result.unwrap().version, 1),
                false => assert_eq!(result.unwrap_err().code, ErrorCode::SchemaIncompatible),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_own_columns_are_held_against_the_table_and_the_topic() {
    let named = |is_current: &str| match scd2() {
        WriteMode::Scd2(columns) => WriteMode::Scd2(VersionColumns { is_current: is_current.to_owned(), ..columns }),
        other => other,
    };
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let cases = [
        (named("Name"), Some((ErrorCode::ConfigInvalid, "the topic has a column 'Name'"))),
        (named("is_current"), None),
        (named("is_now"), Some((ErrorCode::SchemaIncompatible, "the table lacks the column 'is_now'"))),
    ];
    for (write_mode, refused) in cases {
        let options = TableOptions { write_mode, ..options(uri, MergeMode::Auto) };
        let mut table = KeyedTable::open(options).await.unwrap();
        let result = apply(&mut table, &[(upsert(1, "a", None), 1)], false).await;
        let Some((code, message)) = refused else {
            result.unwrap();
            continue;
        };
        let error = result.unwrap_err();
        assert_eq!(error.code, code);
        assert!(error.message.contains(message) && error.message.contains("(scd2Columns)"), "{error}");
    }
}
