//! Fields within structs, arrays and maps come, go, change their order and grow, as columns do.

use arrow::datatypes::{DataType as T, Field};
use kafka2delta::options::{MergeMode, VersionColumns, WriteMode};
use kafka2delta::scan::{ScanOptions, scan};
use kafka2delta::schema::SchemaEvolution;
use kafka2delta::{CompactOptions, ErrorCode, KeyedTable, TableOptions};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::rows::{field, list, map, plain_options, put, read, structure, with_old_key};
use crate::support::all_rows;
use crate::temporary;

const MODES: [MergeMode; 2] = [MergeMode::MergeOnRead, MergeMode::CopyOnWrite];

/// A column with a struct, an array of structs, and a map of arrays of structs, each with these fields.
fn columns(fields: &[(&str, T)]) -> Vec<Field> {
    let part = structure(fields);
    vec![
        field("id", T::Int64),
        field("one", part.clone()),
        field("many", list(part.clone())),
        field("named", map(list(part))),
    ]
}

fn row(id: i64, part: Value) -> Value {
    json!({"id": id, "one": part, "many": [part, null], "named": {"k": [part]}})
}

/// The row as it is read: the JSON writer leaves nulls out.
fn stored(id: i64, part: Value) -> Value {
    json!({"id": id, "one": part, "many": [part, null], "named": {"k": [part]}})
}

async fn all(uri: &str) -> Vec<Value> {
    read(uri, "SELECT * FROM t ORDER BY id").await
}

/// Whatever is due or not.
const FULL: CompactOptions = CompactOptions { min_files: 2, max_bytes: 1 << 30, deleted_share: 0.1, full: true };

async fn compact(table: &mut KeyedTable) -> bool {
    let Some(plan) = table.plan_compaction(&FULL).unwrap() else { return false };
    let rewritten = plan.rewrite(&CancellationToken::new()).await.unwrap();
    table.commit_compaction(rewritten).await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nested_fields_are_added_dropped_and_reordered() {
    for mode in MODES {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let options = plain_options(uri, mode);
        let mut table = KeyedTable::open(options.clone()).await.unwrap();
        let first = columns(&[("a", T::Int32), ("b", T::Utf8)]);
        put(&mut table, &["id"], &first, &[row(1, json!({"a": 1, "b": "x"})), row(2, json!({"a": 2, "b": "y"}))])
            .await
            .unwrap();
        // c comes, b is gone, and c stands before a.
        let second = columns(&[("c", T::Float64), ("a", T::Int32)]);
        let result = put(&mut table, &["id"], &second, &[row(3, json!({"a": 3, "c": 0.5}))]).await.unwrap();
        assert_eq!(result.added_columns, ["one.c", "many.element.c", "named.value.element.c"]);
        // Not every reader finds null where a map of an older file lacks a field.
        assert_eq!(result.widened_columns, ["named"]);
        // Also where the first row's file is written anew, or its old row is marked; and after a restart.
        drop(table);
        let mut table = KeyedTable::open(options).await.unwrap();
        put(&mut table, &["id"], &first, &[row(2, json!({"a": 22, "b": "z"}))]).await.unwrap();
        let expected = [
            stored(1, json!({"a": 1, "b": "x"})),
            stored(2, json!({"a": 22, "b": "z"})),
            stored(3, json!({"a": 3, "c": 0.5})),
        ];
        assert_eq!(all(uri).await, expected);
        assert!(compact(&mut table).await);
        assert_eq!(all(uri).await, expected);
        put(&mut table, &["id"], &second, &[json!({"id": 1, "_op": 1}), row(3, json!({"c": 9.5}))]).await.unwrap();
        assert_eq!(all(uri).await, [stored(2, json!({"a": 22, "b": "z"})), stored(3, json!({"c": 9.5}))]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nested_values_grow_and_the_table_is_rewritten() {
    for mode in MODES {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut table = KeyedTable::open(plain_options(uri, mode)).await.unwrap();
        let first = columns(&[("n", T::Int32), ("d", T::Decimal128(5, 2))]);
        put(&mut table, &["id"], &first, &[row(1, json!({"n": 1, "d": "1.25"}))]).await.unwrap();
        let wide = columns(&[("n", T::Int64), ("d", T::Decimal128(12, 4))]);
        let result = put(&mut table, &["id"], &wide, &[row(2, json!({"n": 1_i64 << 40, "d": "2.5"}))]).await.unwrap();
        assert_eq!(
            result.widened_columns,
            ["one.n", "one.d", "many.element.n", "many.element.d", "named.value.element.n", "named.value.element.d"]
        );
        // Narrow values still fit.
        put(&mut table, &["id"], &first, &[row(3, json!({"n": 3, "d": "3.00"}))]).await.unwrap();
        let expected = [
            stored(1, json!({"n": 1, "d": 1.25})),
            stored(2, json!({"n": 1_i64 << 40, "d": 2.5})),
            stored(3, json!({"n": 3, "d": 3.0})),
        ];
        let found: Vec<Value> = all(uri).await;
        let text = |rows: &[Value]| serde_json::to_string(rows).unwrap().replace(".0000", ".0").replace("2500", "25");
        assert_eq!(text(&found), text(&expected));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arrays_and_maps_of_single_values_grow() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = KeyedTable::open(plain_options(uri, MergeMode::Auto)).await.unwrap();
    let of = |item: T| vec![field("id", T::Int32), field("l", list(item.clone())), field("m", map(item))];
    put(&mut table, &["id"], &of(T::Int32), &[json!({"id": 1, "l": [1, null], "m": {"a": 1}})]).await.unwrap();
    let large = 1_i64 << 40;
    let result =
        put(&mut table, &["id"], &of(T::Int64), &[json!({"id": 2, "l": [large], "m": {"b": large}})]).await.unwrap();
    assert_eq!(result.widened_columns, ["l.element", "m.value"]);
    assert_eq!(
        all(uri).await,
        [json!({"id": 1, "l": [1, null], "m": {"a": 1}}), json!({"id": 2, "l": [large], "m": {"b": large}})]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nested_changes_that_the_options_or_types_forbid_are_told_by_delta_names_of_types() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let options = plain_options(uri, MergeMode::Auto);
    let mut table = KeyedTable::open(options.clone()).await.unwrap();
    let part =
        |fields: &[(&str, T)]| vec![field("id", T::Int32), field("s", structure(fields)), field("l", list(T::Int32))];
    put(&mut table, &["id"], &part(&[("a", T::Int32)]), &[json!({"id": 1, "s": {"a": 1}})]).await.unwrap();
    let new = part(&[("a", T::Int32), ("b", T::Utf8)]);
    let row = json!({"id": 2, "s": {"a": 2, "b": "new"}});
    for (evolution, fails) in [(SchemaEvolution::None, false), (SchemaEvolution::Fail, true)] {
        let options = TableOptions { schema_evolution: evolution, ..options.clone() };
        let mut table = KeyedTable::open(options).await.unwrap();
        let result = put(&mut table, &["id"], &new, std::slice::from_ref(&row)).await;
        match fails {
            false => assert!(result.unwrap().added_columns.is_empty()),
            true => assert!(result.unwrap_err().message.contains("a new nested field 's.b' of type string")),
        }
    }
    assert_eq!(all(uri).await, [json!({"id": 1, "s": {"a": 1}}), json!({"id": 2, "s": {"a": 2}})]);
    drop(table);
    let mut table = KeyedTable::open(options).await.unwrap();
    let cases = [
        (part(&[("a", T::Utf8)]), "'s.a' has type int in the table and string"),
        (part(&[("A", T::Int32)]), "'a' and 'A' of 's' differ only in case"),
        (part(&[("z", T::Int32)]), "'s' has type struct<a:int> in the table and struct<z:int>"),
        (vec![field("id", T::Int32), field("l", list(T::Utf8))], "'l.element' has type int in the table and string"),
        (vec![field("id", T::Int32), field("l", T::Utf8)], "'l' has type array<int> in the table and string"),
    ];
    for (fields, message) in cases {
        let error = put(&mut table, &["id"], &fields, &[json!({"id": 3})]).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::SchemaIncompatible);
        assert!(error.message.contains(message), "{error}");
        assert!(error.message.contains("excludeColumns"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_of_the_log_keeps_what_other_writers_said_of_nested_fields() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let options = plain_options(uri, MergeMode::Auto);
    let mut table = KeyedTable::open(options.clone()).await.unwrap();
    let first = [field("id", T::Int32), field("s", structure(&[("a", T::Int32)]))];
    put(&mut table, &["id"], &first, &[json!({"id": 1, "s": {"a": 1}})]).await.unwrap();
    drop(table);
    // A comment, as ALTER TABLE … ALTER COLUMN s.a COMMENT writes it.
    let log = folder.path().join("_delta_log");
    let entry = std::fs::read_to_string(log.join(format!("{:020}.json", 0))).unwrap();
    let metadata = entry.lines().find(|line| line.contains("schemaString")).unwrap();
    let mut metadata: Value = serde_json::from_str(metadata).unwrap();
    let mut schema: Value = serde_json::from_str(metadata["metaData"]["schemaString"].as_str().unwrap()).unwrap();
    schema["fields"][1]["type"]["fields"][0]["metadata"] = json!({"comment": "hers"});
    metadata["metaData"]["schemaString"] = schema.to_string().into();
    std::fs::write(log.join(format!("{:020}.json", 1)), format!("{metadata}\n")).unwrap();

    let mut table = KeyedTable::open(options).await.unwrap();
    let second = [field("id", T::Int32), field("s", structure(&[("a", T::Int64), ("b", T::Date32)]))];
    put(&mut table, &["id"], &second, &[json!({"id": 2, "s": {"a": 2}})]).await.unwrap();
    let schema: Value = serde_json::from_str(&table.info().schema_json.unwrap()).unwrap();
    assert_eq!(
        schema["fields"][1]["type"]["fields"],
        json!([
            {"name": "a", "type": "long", "nullable": true, "metadata": {"comment": "hers"}},
            {"name": "b", "type": "date", "nullable": true, "metadata": {}}
        ])
    );
    assert_eq!(all(uri).await, [json!({"id": 1, "s": {"a": 1}}), json!({"id": 2, "s": {"a": 2}})]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_left_out_come_from_rows_of_before_a_nested_field() {
    for mode in MODES {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut table = KeyedTable::open(plain_options(uri, mode)).await.unwrap();
        let first = [field("id", T::Int32), field("v", T::Int32), field("l", list(structure(&[("a", T::Int32)])))];
        put(&mut table, &["id"], &first, &[json!({"id": 1, "v": 1, "l": [{"a": 1}]})]).await.unwrap();
        let second = [
            field("id", T::Int32),
            field("v", T::Int32),
            field("l", list(structure(&[("b", T::Utf8), ("a", T::Int64)]))),
        ];
        let left = json!({"id": 1, "v": 2, "_left": ["l"]});
        put(&mut table, &["id"], &second, &[left, json!({"id": 2, "v": 2, "l": [{"b": "x"}]})]).await.unwrap();
        assert_eq!(
            all(uri).await,
            [json!({"id": 1, "v": 2, "l": [{"a": 1}]}), json!({"id": 2, "v": 2, "l": [{"b": "x"}]})]
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_kept_for_a_key_update_gives_its_values_after_its_column_grew() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = KeyedTable::open(plain_options(uri, MergeMode::Auto)).await.unwrap();
    let first = [field("id", T::Utf8), field("s", structure(&[("a", T::Int32)])), field("n", T::Int32)];
    // A row that is never stored: it comes and is moved to another key in one batch.
    let rows = [json!({"id": "a", "s": {"a": 7}, "n": 7}), json!({"id": "a", "_op": 4}), json!({"id": "z", "n": 1})];
    put(&mut table, &["id"], &first, &rows).await.unwrap();
    let wider = structure(&[("a", T::Int32), ("b", T::Int32)]);
    let second = [field("id", T::Utf8), field("s", wider), field("n", T::Int64)];
    let key = ["id".to_owned()];
    let moved = with_old_key(&second, &[json!({"id": "b", "_left": ["s", "n"]})], "id", vec![Some("a")]);
    let result = table.merge(Some(moved), &key, &[], &CancellationToken::new()).await.unwrap();
    assert_eq!(result.missing_values, 0);
    assert_eq!(all(uri).await, [json!({"id": "b", "s": {"a": 7}, "n": 7}), json!({"id": "z", "n": 1})]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_sees_no_change_in_a_nested_field_that_is_new_and_null() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let versions = VersionColumns { valid_from: "f".into(), valid_to: "t".into(), is_current: "c".into() };
    let options = TableOptions { write_mode: WriteMode::Scd2(versions), ..plain_options(uri, MergeMode::Auto) };
    let mut table = KeyedTable::open(options.clone()).await.unwrap();
    let first = [field("id", T::Int32), field("m", map(structure(&[("a", T::Int32)])))];
    put(&mut table, &["id"], &first, &[json!({"id": 1, "m": {"k": {"a": 1}}}), json!({"id": 2, "m": {"k": {"a": 2}}})])
        .await
        .unwrap();
    drop(table);
    let mut table = KeyedTable::open(options).await.unwrap();
    let second = [field("id", T::Int32), field("m", map(structure(&[("b", T::Int32), ("a", T::Int32)])))];
    let rows = [json!({"id": 1, "m": {"k": {"a": 1}}}), json!({"id": 2, "m": {"k": {"a": 2, "b": 5}}})];
    put(&mut table, &["id"], &second, &rows).await.unwrap();
    let found = read(uri, "SELECT id, m, c FROM t ORDER BY id, c").await;
    assert_eq!(
        found,
        [
            json!({"id": 1, "m": {"k": {"a": 1}}, "c": true}),
            json!({"id": 2, "m": {"k": {"a": 2}}, "c": false}),
            json!({"id": 2, "m": {"k": {"a": 2, "b": 5}}, "c": true}),
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn additional_columns_use_nested_fields_as_soon_as_they_come() {
    for mode in MODES {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let additional = vec!["s.a * 2 AS twice".into(), "upper(s.b) AS loud".into(), "s.c AS plain".into()];
        let options = TableOptions { additional_columns: additional, ..plain_options(uri, mode) };
        let mut table = KeyedTable::open(options.clone()).await.unwrap();
        let first = [field("id", T::Int32), field("s", structure(&[("a", T::Int32)]))];
        let result = put(&mut table, &["id"], &first, &[json!({"id": 1, "s": {"a": 1}})]).await.unwrap();
        assert_eq!(result.notes.len(), 2, "{:?}", result.notes);
        let wider = [("c", T::Date32), ("b", T::Utf8), ("a", T::Int32)];
        let second = [field("id", T::Int32), field("s", structure(&wider))];
        let rows = [json!({"id": 2, "s": {"a": 2, "b": "x", "c": "2024-02-03"}})];
        put(&mut table, &["id"], &second, &rows).await.unwrap();
        drop(table);
        let mut table = KeyedTable::open(options).await.unwrap();
        put(&mut table, &["id"], &first, &[json!({"id": 1, "s": {"a": 5}})]).await.unwrap();
        let found = read(uri, "SELECT id, twice, loud, plain FROM t ORDER BY id").await;
        assert_eq!(
            found,
            [json!({"id": 1, "twice": 10}), json!({"id": 2, "twice": 4, "loud": "X", "plain": "2024-02-03"})]
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_give_nested_texts_and_fields_that_came_later() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let mut table = KeyedTable::open(plain_options(uri, MergeMode::MergeOnRead)).await.unwrap();
    let before = columns(&[("a", T::Utf8), ("raw", T::Binary)]);
    put(&mut table, &["id"], &before, &[row(1, json!({"a": "one", "raw": "ab"}))]).await.unwrap();
    let after = columns(&[("b", T::Utf8), ("a", T::Utf8)]);
    put(&mut table, &["id"], &after, &[row(2, json!({"b": "new", "a": "two"}))]).await.unwrap();
    for (condition, ids) in [(None, vec![1, 2]), (Some("one.a = 'two' AND size(many) = 2"), vec![2])] {
        let options = ScanOptions { condition: condition.map(str::to_owned), ..all_rows(uri) };
        let mut batches = scan(options).await.unwrap();
        let schema = batches.schema().clone();
        let mut found = Vec::new();
        while let Some(batch) = batches.next().await.unwrap() {
            assert_eq!(batch.schema(), schema);
            let mut writer = arrow::json::ArrayWriter::new(Vec::new());
            writer.write(&batch).unwrap();
            writer.finish().unwrap();
            found.extend(serde_json::from_slice::<Vec<Value>>(&writer.into_inner()).unwrap());
        }
        found.sort_by_key(|row| row["id"].as_i64());
        let parts = [json!({"a": "one", "raw": "ab"}), json!({"a": "two", "b": "new"})];
        let expected: Vec<Value> = ids.iter().map(|id| stored(*id, parts[*id as usize - 1].clone())).collect();
        assert_eq!(found, expected, "{condition:?}");
    }
}
