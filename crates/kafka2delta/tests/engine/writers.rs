//! Several writers of one table: other partitions of the same topic, the same partition by mistake, and other engines.

use std::collections::HashMap;

use crate::delta_rs;
use crate::support::{Change, Key, Model, Row, merge, options, rows};
use crate::temporary;
use kafka2delta::options::MergeMode;
use kafka2delta::{CompactOptions, ErrorCode, KeyedTable, Offset};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio_util::sync::CancellationToken;

fn upsert(key: Key, name: &str) -> Change {
    let row = Row {
        name: Some(name.into()),
        big: Some(name.repeat(3)),
        part: Some(key.1 as i32 % 2),
        extra: None,
        deleted: None,
    };
    Change::Upsert { key, row, leaves_big: false, old: None, sequence: None }
}

fn delete(key: Key) -> Change {
    Change::Delete { key, sequence: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_writer_of_the_same_offsets_is_fenced() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut a = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    merge(&mut a, "q:t:0", &[upsert((0, 1), "a")], false).await.unwrap();
    let mut b = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    merge(&mut a, "q:t:0", &[upsert((0, 2), "a")], false).await.unwrap();
    // b does not know of a's second commit: it loses the version, follows, and finds the offset taken.
    let error = merge(&mut b, "q:t:0", &[upsert((0, 3), "b")], false).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Fenced, "{error}");
    assert_eq!(rows(uri).await.len(), 2);
    // With the new offset it goes on.
    merge(&mut b, "q:t:0", &[upsert((0, 3), "b")], false).await.unwrap();
    assert_eq!(rows(uri).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_can_be_fenced_by_the_partitions_that_are_not_there_yet() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut a = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    merge(&mut a, "q:t:0", &[upsert((0, 1), "a")], false).await.unwrap();
    let offset = |app_id: &str, expected, last| Offset { may_fall: false, app_id: app_id.into(), expected, last };
    let (all, never) = ([offset("q:t:0", Some(0), 0), offset("q:t:*", None, -1)], CancellationToken::new());
    let mut b = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    b.merge(None, &[], &all, &never).await.unwrap();
    for (other, is_fenced) in [("q:t:0:time", false), ("q:t.u:1", false), ("q:t:1", true)] {
        merge(&mut a, other, &[upsert((0, 2), "a")], false).await.unwrap();
        let merged = b.merge(None, &[], &all, &never).await;
        let code = merged.as_ref().err().map(|error| error.code);
        assert_eq!(code, is_fenced.then_some(ErrorCode::Fenced), "{other}: {merged:?}");
    }
    let all = [all.as_slice(), &[offset("q:t:1", Some(0), 0)]].concat();
    b.merge(None, &[], &all, &never).await.unwrap();
    let stored: Vec<String> = b.info().offsets.into_iter().map(|(app_id, _)| app_id).collect();
    assert_eq!(stored, ["q:t.u:1", "q:t:0", "q:t:0:time", "q:t:1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_other_partitions_lose_nothing() {
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut model = Model::default();
        let first: Vec<Change> = (0..40).map(|id| upsert((id as i32 % 2, id), "first")).collect();
        let mut a = KeyedTable::open(options(uri, mode)).await.unwrap();
        merge(&mut a, "q:t:9", &first, false).await.unwrap();
        first.iter().for_each(|c| model.apply(c));
        // Each writer has its own keys (tenants), which lie in common files.
        let work = |tenant: i32| {
            let uri = uri.to_owned();
            tokio::spawn(async move {
                let mut rng = StdRng::seed_from_u64(tenant as u64);
                let mut table = KeyedTable::open(options(&uri, mode)).await.unwrap();
                let mut done = Vec::new();
                for _ in 0..25 {
                    let batch: Vec<Change> = (0..rng.random_range(1..6))
                        .map(|_| {
                            let key = (tenant, rng.random_range(0..30) * 2 + i64::from(tenant));
                            if rng.random_bool(0.3) {
                                delete(key)
                            } else {
                                upsert(key, &format!("n{}", rng.random_range(0..99)))
                            }
                        })
                        .collect();
                    merge(&mut table, &format!("q:t:{tenant}"), &batch, false).await.unwrap();
                    done.extend(batch);
                }
                done
            })
        };
        let (x, y) = tokio::join!(work(0), work(1));
        x.unwrap().iter().chain(&y.unwrap()).for_each(|c| model.apply(c));
        model.assert_equals(&rows(uri).await, &format!("{mode:?}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletes_and_compactions_of_others_are_followed() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    let mut model = Model::default();
    for round in 0..4 {
        let batch: Vec<Change> = (0..20).map(|id| upsert((0, id), &format!("round{round}"))).collect();
        merge(&mut table, "q:t:0", &batch, false).await.unwrap();
        batch.iter().for_each(|c| model.apply(c));
        // A person deletes, another engine compacts: both between our commits.
        delta_rs::delete(uri, "id < 3").await;
        (0..3).for_each(|id| model.apply(&delete((0, id))));
        let removed = delta_rs::optimize(uri).await;
        assert!(round == 0 || removed > 0);
        let batch = [upsert((0, 2), "back"), delete((0, 7)), upsert((0, 100 + round), "new")];
        merge(&mut table, "q:t:0", &batch, false).await.unwrap();
        batch.iter().for_each(|c| model.apply(c));
        model.assert_equals(&rows(uri).await, &format!("round {round}"));
    }
}

/// A table of three commits, which another writer has taken back to the second one; it was open meanwhile.
async fn restored(uri: &str) -> KeyedTable {
    let mut table = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    for id in 0..3 {
        merge(&mut table, "q:t:0", &[upsert((0, id), "a")], false).await.unwrap();
    }
    delta_rs::restore(uri, 1).await;
    table
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_table_goes_on_under_another_query_name_alone() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = restored(uri).await;
    let refused = async |table: &mut KeyedTable| {
        let error = merge(table, "q:t:0", &[upsert((0, 9), "a")], false).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::TableReplaced);
        assert!(error.message.contains("q:t:0 at 2") && error.message.contains(r#"{"t":{"0":2}}"#), "{error}");
    };
    // One that was open, and one that is opened afterwards: also after another query has gone on.
    refused(&mut table).await;
    for round in 0..2 {
        refused(&mut KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap()).await;
        let mut other = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
        merge(&mut other, "next:t:0", &[upsert((0, 2 + round), "b")], false).await.unwrap();
        assert_eq!(rows(uri).await.len() as i64, 3 + round);
    }
    refused(&mut table).await;
    // Maintenance and merges without offsets need no query.
    table.maintenance().checkpoint().await.unwrap();
    assert_eq!(table.info().num_rows, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_table_is_refused_also_where_the_log_is_read_anew() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = restored(uri).await;
    delta_rs::checkpoint(uri).await;
    // As clean-up does while the table stands still: the entry of the version that it knows is gone.
    for version in 0..3 {
        std::fs::remove_file(folder.path().join(format!("_delta_log/{version:020}.json"))).unwrap();
    }
    let error = merge(&mut table, "q:t:0", &[upsert((0, 9), "a")], false).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::TableReplaced, "{error}");
}

/// A checkpoint of the newest version, and all entries before it are cleaned up.
async fn clean_log(uri: &str) {
    for version in 0..delta_rs::checkpoint(uri).await {
        let _ = std::fs::remove_file(format!("{uri}/_delta_log/{version:020}.json"));
    }
}

async fn commit_by_others(uri: &str) {
    for days in [8, 9] {
        delta_rs::set_property(uri, "delta.logRetentionDuration", &format!("interval {days} days")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_whose_entry_was_cleaned_up_is_not_forgotten() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut open = restored(uri).await;
    commit_by_others(uri).await;
    clean_log(uri).await;
    let mut opened = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    for table in [&mut open, &mut opened] {
        let error = merge(table, "q:t:0", &[upsert((0, 9), "a")], false).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::TableReplaced, "{error}");
        assert!(error.message.contains("cannot be told") && error.message.contains(r#"{"t":{"0":3}}"#), "{error}");
    }
    // The way on: from where the rows end.
    merge(&mut opened, "next:t:0", &[upsert((0, 2), "again")], false).await.unwrap();
    assert_eq!(rows(uri).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_whose_last_commit_is_still_in_the_table_goes_on_without_the_log() {
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Last {
        Rows,
        Deletes,
        OffsetsAlone,
        Compaction,
        DeleteWhere,
    }
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        for last in [Last::Rows, Last::Deletes, Last::OffsetsAlone, Last::Compaction, Last::DeleteWhere] {
            let folder = temporary::folder();
            let uri = folder.path().to_str().unwrap();
            let note = format!("{mode:?}, {last:?}");
            let never = CancellationToken::new();
            let mut table = KeyedTable::open(options(uri, mode)).await.unwrap();
            let mut model = Model::default();
            for round in 0..3 {
                let batch: Vec<Change> = (0..8).map(|id| upsert((0, id + round * 4), "a")).collect();
                merge(&mut table, "q:t:0", &batch, false).await.unwrap();
                batch.iter().for_each(|change| model.apply(change));
            }
            match last {
                Last::Rows => {}
                Last::Deletes => {
                    let deletes = [delete((0, 1)), delete((0, 9))];
                    merge(&mut table, "q:t:0", &deletes, false).await.unwrap();
                    deletes.iter().for_each(|change| model.apply(change));
                }
                Last::OffsetsAlone => {
                    let stored = table.info().offsets[0].1;
                    let offset = Offset { may_fall: false, app_id: "q:t:0".into(), expected: Some(stored), last: 99 };
                    table.merge(None, &[], &[offset], &never).await.unwrap();
                }
                Last::Compaction => {
                    let full = CompactOptions { min_files: 2, max_bytes: 1 << 30, deleted_share: 0.3, full: true };
                    let plan = table.plan_compaction(&full).unwrap().unwrap();
                    let rewritten = plan.rewrite(&never).await.unwrap();
                    table.commit_compaction(rewritten).await.unwrap().unwrap();
                }
                Last::DeleteWhere => {
                    // Rows of all files.
                    table.delete_where("id % 4 > 1", &never).await.unwrap();
                    model.rows.retain(|key, _| key.1 % 4 <= 1);
                }
            }
            commit_by_others(uri).await;
            clean_log(uri).await;
            let batch = [upsert((0, 5), "after"), upsert((1, 100), "after")];
            let mut opened = KeyedTable::open(options(uri, mode)).await.unwrap();
            merge(&mut opened, "q:t:0", &batch, false).await.unwrap_or_else(|error| panic!("{note}: {error}"));
            batch.iter().for_each(|change| model.apply(change));
            model.assert_equals(&rows(uri).await, &note);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_all_of_whose_files_others_replaced_does_not_go_on_without_the_log() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    for id in 0..3 {
        merge(&mut table, "q:t:0", &[upsert((0, id), "a"), upsert((0, id + 10), "a")], false).await.unwrap();
    }
    assert!(delta_rs::optimize(uri).await > 0);
    // As long as the log tells, it goes on.
    let mut table = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    merge(&mut table, "q:t:0", &[upsert((0, 3), "a")], false).await.unwrap();
    delta_rs::delete(uri, "id = 3").await;
    commit_by_others(uri).await;
    clean_log(uri).await;
    let mut table = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    let error = merge(&mut table, "q:t:0", &[upsert((0, 9), "a")], false).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::TableReplaced, "{error}");
    assert!(error.message.contains("cannot be told") && error.message.contains(r#"{"t":{"0":7}}"#), "{error}");
    merge(&mut table, "next:t:0", &[upsert((0, 9), "a")], false).await.unwrap();
    assert_eq!(rows(uri).await.len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_to_a_timestamp_tells_its_offsets_too() {
    // As delta-rs and Spark say it. The second one's text is in the time zone of the session.
    for parameters in
        [json!({ "datetime": 1_732_955_400_000_i64 }), json!({ "version": null, "timestamp": "2024-11-30 08:30:00" })]
    {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut table = KeyedTable::open(options(uri, MergeMode::MergeOnRead)).await.unwrap();
        merge(&mut table, "q:t:0", &[upsert((0, 1), "a"), upsert((0, 2), "a")], false).await.unwrap();
        merge(&mut table, "q:t:0", &[upsert((0, 1), "b")], false).await.unwrap();
        // A row that is updated to another key before it is stored: its file is never in the table.
        let row = Row { name: Some("c".into()), part: Some(1), ..Row::default() };
        let moved = Change::Upsert { key: (0, 8), row, leaves_big: true, old: Some((0, 7)), sequence: None };
        merge(&mut table, "q:t:0", &[upsert((0, 7), "c"), Change::Moved { key: (0, 7), new: None }, moved], false)
            .await
            .unwrap();
        merge(&mut table, "q:t:0", &[delete((0, 2))], false).await.unwrap();
        delta_rs::restore(uri, 1).await;
        let path = folder.path().join(format!("_delta_log/{:020}.json", 4));
        let lines: Vec<String> = std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|line| {
                let mut action: serde_json::Value = serde_json::from_str(line).unwrap();
                if let Some(info) = action.get_mut("commitInfo") {
                    assert_eq!(info["operation"], "RESTORE");
                    info["operationParameters"] = parameters.clone();
                }
                action.to_string()
            })
            .collect();
        std::fs::write(path, lines.join("\n")).unwrap();
        let mut opened = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
        for table in [&mut table, &mut opened] {
            let error = merge(table, "q:t:0", &[upsert((0, 9), "a")], false).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::TableReplaced, "{error}");
            let told = error.message.contains("to version 1 by") && error.message.contains(r#"{"t":{"0":3}}"#);
            assert!(told, "{parameters}: {error}");
        }
    }
}

#[tokio::test]
async fn tables_that_we_cannot_keep_are_refused() {
    let cases = [("delta.appendOnly", "true"), ("delta.setTransactionRetentionDuration", "interval 7 days")];
    for (property, value) in cases {
        let folder = temporary::folder();
        let mut options = options(folder.path().to_str().unwrap(), MergeMode::Auto);
        options.properties = HashMap::from([(property.to_owned(), value.to_owned())]);
        let mut table = KeyedTable::open(options).await.unwrap();
        let error = merge(&mut table, "q:t:0", &[upsert((0, 1), "a")], false).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::TableUnsupported, "{property}");
        assert!(!folder.path().join("_delta_log").exists(), "{property}: nothing is written");
    }
}
