//! The first changes lack columns that the options name: the columns are null until a change brings them.

use arrow::datatypes::{DataType as T, Field};
use kafka2delta::options::MergeMode;
use kafka2delta::schema::SchemaEvolution;
use kafka2delta::{CompactOptions, ErrorCode, KeyedTable, TableOptions};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::rows::{field, plain_options, put, read};
use crate::temporary;

fn utc() -> T {
    T::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()))
}

fn late() -> Vec<Field> {
    vec![field("id", T::Int32), field("created", utc()), field("region", T::Int32), field("n", T::Int32)]
}

fn early() -> Vec<Field> {
    vec![field("id", T::Int32)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn additional_and_partition_columns_come_with_a_later_schema() {
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        for restarts in [false, true] {
            let folder = temporary::folder();
            let uri = folder.path().to_str().unwrap();
            let options = TableOptions {
                additional_columns: vec![
                    "YEAR(created) AS year".into(),
                    "region AS copied".into(),
                    "coalesce(n, 0) AS known".into(),
                ],
                partition_columns: vec!["year".into(), "region".into(), "copied".into()],
                cluster_by: vec!["region".into()],
                ..plain_options(uri, mode)
            };
            let mut table = KeyedTable::open(options.clone()).await.unwrap();
            let notes = put(&mut table, &["id"], &early(), &[json!({"id": 1}), json!({"id": 2})]).await.unwrap().notes;
            for name in ["'year' needs 'created'", "'copied' needs 'region'", "'known' needs 'n'", "names 'region'"] {
                assert!(notes.iter().any(|note| note.contains(name)), "{name}: {notes:?}");
            }
            if restarts {
                table = KeyedTable::open(options.clone()).await.unwrap();
            }
            let again = put(&mut table, &["id"], &early(), &[json!({"id": 3})]).await.unwrap();
            assert!(restarts || again.notes.is_empty(), "{:?}", again.notes);
            let rows = [
                json!({"id": 2, "created": "2024-05-06T07:08:09Z", "region": 7, "n": 7}),
                json!({"id": 4, "created": "2023-05-06T07:08:09Z", "region": 8, "n": 8}),
            ];
            let result = put(&mut table, &["id"], &late(), &rows).await.unwrap();
            assert_eq!((result.inserted, result.updated), (1, 1));
            assert!(result.notes.is_empty(), "{:?}", result.notes);
            if restarts {
                table = KeyedTable::open(options).await.unwrap();
            }
            put(&mut table, &["id"], &early(), &[json!({"id": 3})]).await.unwrap();
            put(&mut table, &["id"], &late(), &[json!({"id": 1, "_op": 1})]).await.unwrap();
            let expected = [
                json!({"id": 2, "year": 2024, "region": 7, "copied": 7, "known": 7}),
                json!({"id": 3, "known": 0}),
                json!({"id": 4, "year": 2023, "region": 8, "copied": 8, "known": 8}),
            ];
            let sql = "SELECT id, year, region, copied, known FROM t ORDER BY id";
            assert_eq!(read(uri, sql).await, expected);
            let full = CompactOptions { min_files: 2, max_bytes: 1 << 30, deleted_share: 0.1, full: true };
            while let Some(plan) = table.plan_compaction(&full).unwrap() {
                let rewritten = plan.rewrite(&CancellationToken::new()).await.unwrap();
                let done = table.commit_compaction(rewritten).await.unwrap().unwrap();
                if done.files_removed <= done.files_added {
                    break;
                }
            }
            assert_eq!(read(uri, sql).await, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_column_with_values_keeps_its_type() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let options = TableOptions { partition_columns: vec!["region".into()], ..plain_options(uri, MergeMode::Auto) };
    let mut table = KeyedTable::open(options).await.unwrap();
    let texts = [field("id", T::Int32), field("region", T::Utf8)];
    put(&mut table, &["id"], &texts, &[json!({"id": 1, "region": "eu"})]).await.unwrap();
    let error = put(&mut table, &["id"], &late(), &[json!({"id": 1, "region": 7})]).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::SchemaIncompatible);
    assert!(error.message.contains("columns: { \"region\": { type: 'string' } }"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_schema_evolution_keeps_out_is_not_taken_for_null() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = KeyedTable::open(plain_options(uri, MergeMode::Auto)).await.unwrap();
    put(&mut table, &["id"], &early(), &[json!({"id": 1})]).await.unwrap();
    let options = TableOptions {
        additional_columns: vec!["region + 1 AS next".into()],
        schema_evolution: SchemaEvolution::None,
        ..plain_options(uri, MergeMode::Auto)
    };
    let mut table = KeyedTable::open(options).await.unwrap();
    let error = put(&mut table, &["id"], &late(), &[json!({"id": 2, "region": 7})]).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ExpressionInvalid);
    assert!(error.message.contains("schemaEvolution"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletes_and_truncates_alone_can_make_a_table() {
    for op in [1, 2] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let options = TableOptions {
            additional_columns: vec!["YEAR(created) AS year".into()],
            partition_columns: vec!["year".into()],
            ..plain_options(uri, MergeMode::Auto)
        };
        let mut table = KeyedTable::open(options).await.unwrap();
        put(&mut table, &["id"], &early(), &[json!({"id": 1, "_op": op})]).await.unwrap();
        let row = json!({"id": 1, "created": "2024-05-06T07:08:09Z", "region": 7});
        put(&mut table, &["id"], &late(), &[row]).await.unwrap();
        assert_eq!(read(uri, "SELECT id, year FROM t").await, [json!({"id": 1, "year": 2024})]);
    }
}
