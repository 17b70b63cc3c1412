//! Several writers of one table: other partitions of the same topic, the same partition by mistake, and other engines.

use std::collections::HashMap;

use crate::delta_rs;
use crate::support::{Change, Key, Model, Row, merge, options, rows};
use crate::temporary;
use kafka2delta::options::MergeMode;
use kafka2delta::{ErrorCode, KeyedTable};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

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
