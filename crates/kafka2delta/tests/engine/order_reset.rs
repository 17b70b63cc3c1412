//! A source whose order began anew, a failover or a restored database, is told from changes that are sent again.

use crate::support::{Change, Row, merge, options, rows};
use kafka2delta::options::MergeMode;
use kafka2delta::{ErrorCode, KeyedTable, MergeResult, Result, TableOptions};

fn updates(ids: std::ops::Range<i64>, first_sequence: u64, name: &str) -> Vec<Change> {
    let row = |id: i64| Row { name: Some(format!("{name}{id}")), part: Some(0), ..Row::default() };
    ids.enumerate()
        .map(|(i, id)| Change::Upsert {
            key: (0, id),
            row: row(id),
            leaves_big: false,
            old: None,
            sequence: Some(first_sequence + i as u64),
        })
        .collect()
}

async fn apply(table: &mut KeyedTable, changes: &[Change]) -> Result<MergeResult> {
    merge(table, "q:t:0", changes, false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_is_an_error_until_it_is_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path().to_str().unwrap(), MergeMode::Auto);
    let mut table = KeyedTable::open(options.clone()).await.unwrap();
    apply(&mut table, &updates(0..300, 10_000, "a")).await.unwrap();
    // What is sent again after a crash was seen before.
    let again = apply(&mut table, &updates(0..300, 10_000, "a")).await.unwrap();
    assert_eq!(again.dropped_stale, 0);
    apply(&mut table, &updates(0..300, 20_000, "b")).await.unwrap();
    let again = apply(&mut table, &updates(0..300, 10_000, "a")).await.unwrap();
    assert_eq!(again.dropped_stale, 300);

    let before = table.info().offsets;
    let error = apply(&mut table, &updates(0..300, 500, "c")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::OrderResetSuspected, "{error:?}");
    assert!(error.message.contains("resetOrder"), "{}", error.message);
    assert_eq!(table.info().offsets, before);
    assert!(rows(&options.uri).await.values().all(|row| row.name.as_ref().unwrap().starts_with('b')));

    let mut table = KeyedTable::open(TableOptions { reset_order: true, ..options.clone() }).await.unwrap();
    let applied = apply(&mut table, &updates(0..300, 500, "c")).await.unwrap();
    assert_eq!((applied.dropped_stale, applied.updated), (0, 300));
    // The generation stands in the table: what comes through another partition is not compared with the old order.
    let mut table = KeyedTable::open(options.clone()).await.unwrap();
    assert_eq!(apply(&mut table, &updates(0..300, 900, "d")).await.unwrap().dropped_stale, 0);
    assert!(rows(&options.uri).await.values().all(|row| row.name.as_ref().unwrap().starts_with('d')));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_in_small_batches_is_found_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = KeyedTable::open(options(folder.path().to_str().unwrap(), MergeMode::Auto)).await.unwrap();
    apply(&mut table, &updates(0..500, 10_000, "a")).await.unwrap();
    let mut dropped = 0;
    let error = loop {
        let from = dropped as i64;
        match apply(&mut table, &updates(from..from + 10, 100 + dropped, "c")).await {
            Ok(result) => dropped += result.dropped_stale,
            Err(error) => break error,
        }
        assert!(dropped <= 400, "{dropped} changes were dropped in silence");
    };
    assert_eq!(error.code, ErrorCode::OrderResetSuspected);
}
