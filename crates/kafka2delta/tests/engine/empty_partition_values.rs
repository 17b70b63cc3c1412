//! Empty texts in partition columns, which Delta reads back as null: they are null from the start, so that a key stays
//! one row.

use arrow::datatypes::{DataType as T, Field};
use kafka2delta::options::{MergeMode, VersionColumns, WriteMode};
use kafka2delta::{KeyedTable, TableOptions};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::rows::{field, plain_options, put, read, with_old_key};
use crate::temporary;

fn columns() -> Vec<Field> {
    vec![field("region", T::Utf8), field("id", T::Int32), field("name", T::Utf8)]
}

fn partitioned(uri: &str, mode: MergeMode) -> TableOptions {
    TableOptions { partition_columns: vec!["region".into()], ..plain_options(uri, mode) }
}

const KEY: [&str; 2] = ["region", "id"];
const ALL: &str = "SELECT region, id, name FROM t ORDER BY id, name";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_with_an_empty_text_is_one_row_before_and_after_a_restart() {
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        for restarts in [false, true] {
            let folder = temporary::folder();
            let uri = folder.path().to_str().unwrap();
            let mut table = KeyedTable::open(partitioned(uri, mode)).await.unwrap();
            let first = put(&mut table, &KEY, &columns(), &[json!({"region": "", "id": 1, "name": "first"})]).await;
            let notes = first.unwrap().notes;
            assert!(notes.len() == 1 && notes[0].contains("'region' has empty texts"), "{notes:?}");
            assert!(notes[0].contains("part of the key"), "{notes:?}");
            for name in ["second", "third"] {
                if restarts {
                    table = KeyedTable::open(partitioned(uri, mode)).await.unwrap();
                }
                let row = json!({"region": "", "id": 1, "name": name});
                let result = put(&mut table, &KEY, &columns(), &[row]).await.unwrap();
                assert_eq!((result.inserted, result.updated, result.notes.len()), (0, 1, usize::from(restarts)));
                assert_eq!(read(uri, ALL).await, [json!({"id": 1, "name": name})]);
            }
            let gone = [json!({"region": "", "id": 1, "_op": 1})];
            put(&mut table, &KEY, &columns(), &gone).await.unwrap();
            assert!(read(uri, ALL).await.is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_move_between_an_empty_text_null_and_a_value() {
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut table = KeyedTable::open(partitioned(uri, mode)).await.unwrap();
        for region in [json!(""), json!(null), json!("eu"), json!(""), json!("__HIVE_DEFAULT_PARTITION__"), json!("")] {
            let row = json!({"region": region, "id": 1, "name": "a"});
            put(&mut table, &["id"], &columns(), &[row]).await.unwrap();
            let expected = match region.as_str() {
                None | Some("") => json!({"id": 1, "name": "a"}),
                Some(text) => json!({"region": text, "id": 1, "name": "a"}),
            };
            assert_eq!(read(uri, ALL).await, [expected]);
            table = KeyedTable::open(partitioned(uri, mode)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_update_from_an_empty_text_takes_the_values_of_its_row() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = KeyedTable::open(partitioned(uri, MergeMode::Auto)).await.unwrap();
    let columns = [field("region", T::Utf8), field("name", T::Utf8)];
    put(&mut table, &["region"], &columns, &[json!({"region": "", "name": "kept"})]).await.unwrap();
    let key = ["region".to_owned()];
    let rows = [json!({"region": "", "_op": 4}), json!({"region": "eu", "_left": ["name"]})];
    let changes = with_old_key(&columns, &rows, "region", vec![None, Some("")]);
    let result = table.merge(Some(changes), &key, &[], &CancellationToken::new()).await.unwrap();
    assert_eq!(result.missing_values, 0);
    assert_eq!(read(uri, "SELECT * FROM t").await, [json!({"region": "eu", "name": "kept"})]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_takes_an_empty_text_and_null_for_one_value() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let versions = VersionColumns { valid_from: "f".into(), valid_to: "t".into(), is_current: "c".into() };
    let options = TableOptions { write_mode: WriteMode::Scd2(versions), ..partitioned(uri, MergeMode::Auto) };
    for name in ["a", "a", "b"] {
        let mut table = KeyedTable::open(options.clone()).await.unwrap();
        put(&mut table, &KEY, &columns(), &[json!({"region": "", "id": 1, "name": name})]).await.unwrap();
    }
    let found = read(uri, "SELECT id, name, c FROM t ORDER BY name").await;
    assert_eq!(found, [json!({"id": 1, "name": "a", "c": false}), json!({"id": 1, "name": "b", "c": true})]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soft_deletes_and_changelogs_store_an_empty_text_as_null() {
    for append in [false, true] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let options = match append {
            true => TableOptions { write_mode: WriteMode::Append, ..partitioned(uri, MergeMode::Auto) },
            false => TableOptions { soft_delete_column: Some("gone".into()), ..partitioned(uri, MergeMode::Auto) },
        };
        for op in [0, 0, 5] {
            let mut table = KeyedTable::open(options.clone()).await.unwrap();
            let row = json!({"region": "", "id": 1, "name": "a", "_op": op, "_left": if op == 5 { vec!["name"] } else { vec![] }});
            let notes = put(&mut table, &KEY, &columns(), &[row]).await.unwrap().notes;
            assert_eq!(notes.len(), 1);
        }
        let found = read(uri, "SELECT * FROM t").await;
        match append {
            true => assert!(found.len() == 3 && found.iter().all(|row| row["region"] == Value::Null)),
            false => assert_eq!(found, [json!({"id": 1, "name": "a", "gone": true})]),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_additional_column_that_gives_an_empty_text_is_null_where_the_table_is_partitioned_by_it() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let options = TableOptions {
        additional_columns: vec!["left(name, 1) AS letter".into()],
        partition_columns: vec!["letter".into()],
        ..plain_options(uri, MergeMode::Auto)
    };
    let mut table = KeyedTable::open(options).await.unwrap();
    let columns = [field("id", T::Int32), field("name", T::Utf8)];
    let rows = [json!({"id": 1, "name": ""}), json!({"id": 2, "name": "xy"})];
    let notes = put(&mut table, &["id"], &columns, &rows).await.unwrap().notes;
    assert!(notes.len() == 1 && notes[0].contains("'letter' has empty texts"), "{notes:?}");
    let found = read(uri, "SELECT * FROM t ORDER BY id").await;
    assert_eq!(found, [json!({"id": 1, "name": ""}), json!({"id": 2, "name": "xy", "letter": "x"})]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_text_that_another_writer_put_for_null_is_null() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = KeyedTable::open(partitioned(uri, MergeMode::Auto)).await.unwrap();
    put(&mut table, &KEY, &columns(), &[json!({"region": null, "id": 1, "name": "a"})]).await.unwrap();
    drop(table);
    let path = folder.path().join("_delta_log").join(format!("{:020}.json", 0));
    let entry = std::fs::read_to_string(&path).unwrap();
    assert!(entry.contains(r#""region":null"#), "{entry}");
    std::fs::write(&path, entry.replace(r#""region":null"#, r#""region":"""#)).unwrap();
    let mut table = KeyedTable::open(partitioned(uri, MergeMode::Auto)).await.unwrap();
    let result = put(&mut table, &KEY, &columns(), &[json!({"region": null, "id": 1, "name": "b"})]).await.unwrap();
    assert_eq!((result.inserted, result.updated), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instants_are_partition_values_that_readers_and_copies_read_back() {
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let options = TableOptions { partition_columns: vec!["at".into()], ..plain_options(uri, mode) };
        let instant = T::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
        let columns = vec![field("id", T::Int32), field("at", instant), field("name", T::Utf8)];
        let mut table = KeyedTable::open(options).await.unwrap();
        let row = |id: i32, at: &str, name: &str| json!({"id": id, "at": at, "name": name});
        let rows = [row(1, "2024-05-01T12:30:00.000001Z", "a"), row(2, "2024-05-01T12:30:00.000001Z", "b")];
        put(&mut table, &["id"], &columns, &rows).await.unwrap();
        put(&mut table, &["id"], &columns, &[row(2, "1969-12-31T23:59:59Z", "c")]).await.unwrap();
        let found = read(uri, "SELECT id, CAST(at AS STRING) AS at, name FROM t ORDER BY id").await;
        let at: Vec<&str> = found.iter().map(|row| row["at"].as_str().unwrap()).collect();
        assert!(at[0].starts_with("2024-05-01") && at[0].contains("12:30:00.000001"), "{at:?}");
        assert!(at[1].starts_with("1969-12-31") && at[1].contains("23:59:59"), "{at:?}");
    }
}
