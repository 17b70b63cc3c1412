//! Several handles on one table that do not know of each other's commits: what was decided on an older version is decided
//! anew, and each change takes effect once. Random histories of them are in `random_handles`.

use std::collections::BTreeSet;
use std::path::Path;

use kafka2delta::options::MergeMode;
use kafka2delta::{CompactOptions, ErrorCode, KeyedTable, MergeResult, Offset, Result, TableOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::by_hand::vector_path;
use crate::counted::Counted;
use crate::support::{Change, Row, ipc, options, primary_key, rows, with_times};
use crate::temporary;

fn row(name: &str) -> Row {
    Row { name: Some(name.into()), big: Some(format!("big {name}")), part: Some(0), extra: None, deleted: None }
}

fn upsert(id: i64, name: &str, sequence: u64) -> Change {
    let (key, row) = ((0, id), row(name));
    Change::Upsert { key, row, leaves_big: false, old: None, sequence: Some(sequence) }
}

/// Merges changes of one partition, whose offset is the number of its changes. `expected`: the offset that the caller
/// believes to be stored.
async fn merge_from(
    table: &mut KeyedTable,
    partition: i32,
    expected: Option<i64>,
    changes: &[Change],
) -> Result<MergeResult> {
    let last = expected.unwrap_or(-1) + changes.len() as i64;
    let offset = Offset { may_fall: false, app_id: format!("q:t:{partition}"), expected, last };
    // Without the column all are of partition 0: a second change tells the batch that there are others.
    let partitions = vec![partition; changes.len()];
    let batch = ipc(changes, &partitions, false, table.soft_deletes());
    table.merge(Some(batch), &primary_key(), &[offset], &CancellationToken::new()).await
}

async fn name_of(uri: &str, id: i64) -> Option<String> {
    rows(uri).await.remove(&(0, id)).map(|row| row.name.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_is_decided_anew_after_a_lost_version() {
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut a = KeyedTable::open(options(uri, mode)).await.unwrap();
        merge_from(&mut a, 0, None, &[upsert(1, "first", 5)]).await.unwrap();
        let mut b = KeyedTable::open(options(uri, mode)).await.unwrap();
        merge_from(&mut b, 1, None, &[upsert(1, "newer", 10)]).await.unwrap();
        // a learns of b's commit by losing the version to it.
        let result = merge_from(&mut a, 0, Some(0), &[upsert(1, "older", 7)]).await.unwrap();
        assert_eq!(result.dropped_stale, 1, "{mode:?}");
        assert_eq!(name_of(uri, 1).await.as_deref(), Some("newer"), "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_remembered_of_a_deleted_key_ends_where_others_wrote_it_again() {
    for memory in [1 << 30, 1] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let options = TableOptions { index_memory: memory, ..options(uri, MergeMode::Auto) };
        let mut a = KeyedTable::open(options.clone()).await.unwrap();
        let delete = Change::Delete { key: (0, 1), sequence: Some(5) };
        merge_from(&mut a, 0, None, &[upsert(1, "first", 4), upsert(2, "other", 4)]).await.unwrap();
        merge_from(&mut a, 0, Some(1), &[delete]).await.unwrap();
        let mut b = KeyedTable::open(options).await.unwrap();
        merge_from(&mut b, 1, None, &[upsert(1, "newer", 10)]).await.unwrap();
        a.follow().await.unwrap();
        let result = merge_from(&mut a, 0, Some(2), &[upsert(1, "older", 7)]).await.unwrap();
        assert_eq!(result.dropped_stale, 1);
        assert_eq!(name_of(uri, 1).await.as_deref(), Some("newer"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_saved_of_a_deleted_key_does_not_take_the_place_of_what_is_known_since() {
    let (folder, index) = (temporary::folder(), temporary::folder());
    let uri = folder.path().to_str().unwrap();
    let options = TableOptions { index_folder: Some(index.path().to_owned()), ..options(uri, MergeMode::Auto) };
    let delete = |sequence| Change::Delete { key: (0, 1), sequence: Some(sequence) };
    let mut table = KeyedTable::open(options.clone()).await.unwrap();
    let first = [upsert(1, "first", 4), upsert(2, "other", 4)];
    merge_from(&mut table, 1, None, &first).await.unwrap();
    merge_from(&mut table, 1, Some(1), &[delete(5)]).await.unwrap();
    table.close().await;
    let mut table = KeyedTable::open(options).await.unwrap();
    merge_from(&mut table, 0, None, &[upsert(1, "second", 19)]).await.unwrap();
    merge_from(&mut table, 0, Some(0), &[delete(20)]).await.unwrap();
    // The index is built anew, from what was saved, since the log cannot be read for a while.
    let next = table.info().version.unwrap() + 1;
    let entry = folder.path().join(format!("_delta_log/{next:020}.json"));
    std::fs::write(&entry, "{").unwrap();
    table.follow().await.unwrap_err();
    std::fs::remove_file(entry).unwrap();
    let late = merge_from(&mut table, 1, Some(2), &[upsert(1, "late", 15)]).await.unwrap();
    assert_eq!(late.dropped_stale, 1);
    assert_eq!(name_of(uri, 1).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn left_out_values_come_from_the_row_that_another_writer_put_there_meanwhile() {
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut a = KeyedTable::open(options(uri, mode)).await.unwrap();
        merge_from(&mut a, 0, None, &[plain(1, "old"), plain(3, "third")]).await.unwrap();
        let mut b = KeyedTable::open(options(uri, mode)).await.unwrap();
        merge_from(&mut b, 1, None, &[plain(1, "new")]).await.unwrap();
        let same = Change::Upsert { key: (0, 3), row: row("kept"), leaves_big: true, old: None, sequence: None };
        let changes = [Change::Moved { key: (0, 1), new: None }, moved_from(1, 2, "moved"), same];
        merge_from(&mut a, 0, Some(1), &changes).await.unwrap();
        let rows = rows(uri).await;
        assert_eq!(rows[&(0, 2)].big.as_deref(), Some("big new"), "{mode:?}");
        assert_eq!(rows[&(0, 3)].big.as_deref(), Some("big third"), "{mode:?}");
        assert!(!rows.contains_key(&(0, 1)));
    }
}

fn plain(id: i64, name: &str) -> Change {
    Change::Upsert { key: (0, id), row: row(name), leaves_big: false, old: None, sequence: None }
}

fn moved_from(old: i64, id: i64, name: &str) -> Change {
    Change::Upsert { key: (0, id), row: row(name), leaves_big: true, old: Some((0, old)), sequence: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn left_out_values_come_from_the_last_row_that_another_writer_gave_a_deleted_key() {
    let moved = Change::Moved { key: (0, 1), new: None };
    // Before the other writer the key's row was stored, or updated in the batch that brought it. That writer deletes its row,
    // in a file that stays or goes with it, or the first one does.
    for case in 0..32 {
        let [is_stored, by_vectors, stays, is_theirs, on_disk] = [1, 2, 4, 8, 16].map(|bit| case & bit != 0);
        let mode = if by_vectors { MergeMode::MergeOnRead } else { MergeMode::CopyOnWrite };
        let note = format!("case {case}: {is_stored}, {mode:?}, {stays}, {is_theirs}, {on_disk}");
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let options = TableOptions { index_memory: if on_disk { 1 } else { 1 << 30 }, ..options(uri, mode) };
        let mut a = KeyedTable::open(options.clone()).await.unwrap();
        merge_from(&mut a, 0, None, &[plain(2, "beside")]).await.unwrap();
        let mut last = 0;
        let first = [plain(1, "old"), moved.clone()];
        for batch in if is_stored { first.chunks(1) } else { first.chunks(2) } {
            merge_from(&mut a, 0, Some(last), batch).await.unwrap();
            last += batch.len() as i64;
        }
        let mut b = KeyedTable::open(options).await.unwrap();
        let theirs = [plain(1, "new"), plain(4, "beside")];
        let theirs = &theirs[..if stays { 2 } else { 1 }];
        merge_from(&mut b, 1, None, theirs).await.unwrap();
        if is_theirs {
            merge_from(&mut b, 1, Some(theirs.len() as i64 - 1), std::slice::from_ref(&moved)).await.unwrap();
        }
        a.follow().await.unwrap();
        let ours = [moved.clone(), moved_from(1, 3, "moved")];
        merge_from(&mut a, 0, Some(last), &ours[usize::from(is_theirs)..]).await.unwrap();
        assert_eq!(rows(uri).await[&(0, 3)].big.as_deref(), Some("big new"), "{note}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_a_truncate_holds_back_leaves_rows_of_unproven_order() {
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut table = KeyedTable::open(options(uri, mode)).await.unwrap();
        let (mut expected, mut dropped) = ([None; 2], 0);
        let read = Change::Upsert { key: (0, 1), row: row("read"), leaves_big: false, old: None, sequence: None };
        // Messages' times are those of their positions. Rows of a snapshot have no position.
        for (partition, change, time) in [
            (0, upsert(2, "b", 90), 90),
            (0, Change::Truncate { sequence: Some(100) }, 100),
            (0, read, 115),
            (1, upsert(1, "late", 50), 50),
            (1, upsert(3, "newer", 110), 110),
        ] {
            let stored = &mut expected[partition as usize];
            let last = stored.unwrap_or(-1) + 1;
            let offset = Offset { may_fall: false, app_id: format!("q:t:{partition}"), expected: *stored, last };
            let batch = with_times(ipc(&[change], &[partition], false, false), "_timestamp", &[time]);
            let merged = table.merge(Some(batch), &primary_key(), &[offset], &CancellationToken::new()).await;
            dropped += merged.unwrap().dropped_stale;
            *stored = Some(last);
        }
        assert_eq!(dropped, 1, "{mode:?}");
        let names: Vec<String> = rows(uri).await.into_values().map(|row| row.name.unwrap()).collect();
        assert_eq!(names, ["read", "newer"], "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncate_of_another_worker_holds_back_what_loses_its_version_to_it() {
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut a = KeyedTable::open(options(uri, mode)).await.unwrap();
        merge_timed(&mut a, 0, None, upsert(1, "first", 5), 5).await;
        let mut b = KeyedTable::open(options(uri, mode)).await.unwrap();
        merge_timed(&mut b, 0, Some(0), Change::Truncate { sequence: Some(100) }, 100).await;
        // It is known to a by losing the version to it.
        let late = merge_timed(&mut a, 1, None, upsert(2, "late", 50), 50).await;
        assert_eq!(late.dropped_stale, 1, "{mode:?}");
        // And b learns likewise that the partition was read past it.
        merge_timed(&mut a, 1, Some(0), upsert(3, "newer", 110), 110).await;
        merge_timed(&mut b, 0, Some(1), upsert(4, "own", 120), 120).await;
        let begun_anew = merge_timed(&mut b, 1, Some(1), upsert(5, "of a source that begins anew", 7), 130).await;
        assert_eq!(begun_anew.dropped_stale, 0, "{mode:?}");
        let keys: Vec<i64> = rows(uri).await.into_keys().map(|key| key.1).collect();
        assert_eq!(keys, [3, 4, 5], "{mode:?}");
    }
}

/// Merges a change of a partition, whose message has this time.
async fn merge_timed(
    table: &mut KeyedTable,
    partition: i32,
    expected: Option<i64>,
    change: Change,
    time: i64,
) -> MergeResult {
    let last = expected.map_or(0, |last| last + 1);
    let offset = Offset { may_fall: false, app_id: format!("q:t:{partition}"), expected, last };
    let batch = with_times(ipc(&[change], &[partition], false, false), "_timestamp", &[time]);
    table.merge(Some(batch), &primary_key(), &[offset], &CancellationToken::new()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_compaction_is_dropped_where_the_table_was_made_anew_meanwhile() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    for id in 0..4 {
        let expected = (id > 0).then(|| id - 1);
        merge_from(&mut table, 0, expected, &[upsert(id, "x", 1)]).await.unwrap();
    }
    let full = CompactOptions { min_files: 2, max_bytes: 1 << 30, deleted_share: 0.3, full: true };
    let plan = table.plan_compaction(&full).unwrap().unwrap();
    let rewritten = plan.rewrite(&CancellationToken::new()).await.unwrap();
    std::fs::remove_dir_all(folder.path().join("_delta_log")).unwrap();
    let mut again = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    merge_from(&mut again, 0, None, &[upsert(7, "new", 1)]).await.unwrap();
    let error = table.commit_compaction(rewritten).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::TableReplaced, "{error}");
    let log = std::fs::read_dir(folder.path().join("_delta_log")).unwrap();
    let entries: Vec<String> = log.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(entries.iter().filter(|name| name.ends_with(".json")).count(), 1, "{entries:?}");
    assert_eq!(rows(uri).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merges_that_are_cancelled_or_lose_leave_no_files() {
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut rng = StdRng::seed_from_u64(7);
        let mut table = KeyedTable::open(options(uri, mode)).await.unwrap();
        let mut other = KeyedTable::open(options(uri, mode)).await.unwrap();
        let (mut expected, mut cancelled) = (None, 0);
        for round in 0..120 {
            let changes: Vec<Change> = (0..20).map(|id| upsert(id, &format!("r{round}"), 1)).collect();
            let offset = Offset { may_fall: false, app_id: "q:t:0".into(), expected, last: round };
            let cancel = CancellationToken::new();
            let (batch, token) = (ipc(&changes, &[], false, false), cancel.clone());
            let wait = std::time::Duration::from_micros(rng.random_range(0..8000));
            let timer = tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                token.cancel();
            });
            match table.merge(Some(batch), &primary_key(), &[offset], &cancel).await {
                Ok(_) => expected = Some(round),
                Err(error) => {
                    assert_eq!(error.code, ErrorCode::Cancelled, "{error}");
                    cancelled += 1;
                }
            }
            timer.abort();
            if round % 10 == 9 && expected.is_some() {
                other.follow().await.unwrap();
                let stored = other.info().offsets.iter().find(|(app, _)| app == "q:t:1").map(|(_, last)| *last);
                merge_from(&mut other, 1, stored, &[upsert(100, "beside", 1)]).await.unwrap();
            }
        }
        assert!(cancelled > 5, "{mode:?}: {cancelled}");
        let (stored, named) = (files_of(folder.path()), named_files(folder.path()));
        assert_eq!(stored.difference(&named).collect::<Vec<_>>(), Vec::<&String>::new(), "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_written_anew_lacks_rows_that_others_deleted_meanwhile() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut by_vectors = KeyedTable::open(options(uri, MergeMode::MergeOnRead)).await.unwrap();
    merge_from(&mut by_vectors, 0, None, &[plain(1, "a"), plain(2, "a"), plain(3, "a")]).await.unwrap();
    let mut by_copies = KeyedTable::open(options(uri, MergeMode::CopyOnWrite)).await.unwrap();
    merge_from(&mut by_vectors, 1, None, &[Change::Delete { key: (0, 2), sequence: None }]).await.unwrap();
    // The file is written without the first row, and once more without both.
    merge_from(&mut by_copies, 0, Some(2), &[plain(1, "b")]).await.unwrap();
    assert_eq!(rows(uri).await.into_keys().collect::<Vec<_>>(), [(0, 1), (0, 3)]);
}

/// Data files and vectors in the table's folder.
pub fn files_of(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            match path.is_dir() {
                true if name == "_delta_log" => {}
                true => folders.push(path),
                false => assert!(found.insert(name.replace('=', "%3D").replace("%3D", "="))),
            }
        }
    }
    found
}

/// Those that the log names, or named.
pub fn named_files(folder: &Path) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for entry in std::fs::read_dir(folder.join("_delta_log")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let action: serde_json::Value = serde_json::from_str(line).unwrap();
            let Some(add) = action.get("add") else { continue };
            named.insert(add["path"].as_str().unwrap().to_owned());
            if let Some(vector) = add.get("deletionVector").filter(|vector| vector["storageType"] == "u") {
                named.insert(vector_path(vector["pathOrInlineDv"].as_str().unwrap()));
            }
        }
    }
    named
}

/// Looks for others' commits, and is given up at some moment: what it did not come to, the next call does.
pub async fn refresh_in_part(rng: &mut StdRng, table: &mut KeyedTable) -> bool {
    let cancel = CancellationToken::new();
    let (token, turns) = (cancel.clone(), rng.random_range(0..80));
    let canceller = tokio::spawn(async move {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        token.cancel();
    });
    let result = table.refresh(&cancel).await;
    canceller.await.unwrap();
    match result {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.code, ErrorCode::Cancelled, "{:?}", error.chain());
            true
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_that_is_given_up_leaves_nothing_unseen() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut rng = StdRng::seed_from_u64(11);
    let plain = |id, name: &str, leaves_big| Change::Upsert {
        key: (0, id),
        row: row(name),
        leaves_big,
        old: None,
        sequence: None,
    };
    let mut other = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    let mut table = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    merge_from(&mut other, 0, None, &[plain(1, "first", false)]).await.unwrap();
    let (mut given_up, mut theirs, mut ours) = (0, 0, None);
    for round in 0..60 {
        for _ in 0..5 {
            merge_from(&mut other, 0, Some(theirs), &[plain(1, &format!("theirs {theirs}"), false)]).await.unwrap();
            theirs += 1;
        }
        given_up += usize::from(refresh_in_part(&mut rng, &mut table).await);
        // The value that is left out is the other writer's last one.
        merge_from(&mut table, 1, ours, &[plain(1, "ours", true)]).await.unwrap();
        ours = Some(ours.map_or(0, |last: i64| last + 1));
        let rows = rows(uri).await;
        assert_eq!(rows[&(0, 1)].big, Some(format!("big theirs {}", theirs - 1)), "round {round}");
        assert_eq!(rows.len(), 1);
        other.follow().await.unwrap();
    }
    assert!(given_up > 10, "{given_up}");
}

/// A RESTORE to version 0 of a table of which each commit added one file, as another engine commits it.
fn restore(folder: &Path, version: usize) {
    let entry = |version: usize| folder.join(format!("_delta_log/{version:020}.json"));
    let info = json!({ "operation": "RESTORE", "operationParameters": { "version": "0" } });
    let mut lines = vec![json!({ "commitInfo": info })];
    for version in 1..version {
        let text = std::fs::read_to_string(entry(version)).unwrap();
        let actions = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let paths = actions.filter_map(|action| Some(action.get("add")?["path"].clone()));
        let remove = |path| json!({ "remove": { "path": path, "deletionTimestamp": 1, "dataChange": true } });
        lines.extend(paths.map(remove));
    }
    std::fs::write(entry(version), lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_that_is_given_up_hides_no_restore() {
    // At each of its reads.
    for read in 1.. {
        let store = Counted::new();
        let mut table = KeyedTable::open(options(&store.uri, MergeMode::Auto)).await.unwrap();
        for id in 0..3 {
            merge_from(&mut table, 0, (id > 0).then(|| id - 1), &[upsert(id, "a", 1)]).await.unwrap();
        }
        restore(store.folder.path(), 3);
        let (cancel, ended) = (CancellationToken::new(), CancellationToken::new());
        let (cancelled, held, mut reads) = (cancel.clone(), ended.clone(), 0);
        store.hold_get(move || {
            reads += 1;
            (reads == read).then(|| {
                cancelled.cancel();
                held.clone()
            })
        });
        let refreshed = table.refresh(&cancel).await;
        ended.cancel();
        let error = merge_from(&mut table, 0, Some(2), &[upsert(9, "b", 1)]).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::TableReplaced, "read {read}: {error}");
        if refreshed.is_ok() {
            assert!(read > 3, "{read} reads");
            break;
        }
        assert_eq!(refreshed.unwrap_err().code, ErrorCode::Cancelled, "read {read}");
    }
}
