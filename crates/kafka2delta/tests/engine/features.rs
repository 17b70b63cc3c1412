//! Tables of others, their logs written by hand: what we honour is kept, and what we do not know is refused before
//! anything is written.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use crate::support::{Change, Key, Model, Row, merge, options, rows};
use crate::temporary;
use kafka2delta::options::{KeyIndexMode, MergeMode};
use kafka2delta::{ErrorCode, KeyedTable, TableOptions};
use serde_json::{Value, json};

fn upsert(key: Key, name: Option<&str>) -> Change {
    let row = Row { name: name.map(Into::into), part: Some(key.1 as i32 % 2), ..Row::default() };
    Change::Upsert { key, row, leaves_big: false, old: None, sequence: None }
}

fn field(name: &str, data_type: Value, nullable: bool, metadata: Value) -> Value {
    json!({"name": name, "type": data_type, "nullable": nullable, "metadata": metadata})
}

/// The model's table.
fn fields() -> Vec<Value> {
    let types = [
        ("tenant", "integer"),
        ("id", "long"),
        ("name", "string"),
        ("big", "string"),
        ("part", "integer"),
        ("shout", "string"),
    ];
    types.iter().map(|(name, data_type)| field(name, json!(data_type), true, json!({}))).collect()
}

fn metadata(fields: &[Value], configuration: &Value) -> Value {
    let schema = json!({"type": "struct", "fields": fields}).to_string();
    json!({"metaData": {
        "id": "6b5c9d38-3b4f-4f53-8a3e-9a0c6a4b1c11", "format": {"provider": "parquet", "options": {}},
        "schemaString": schema, "partitionColumns": ["part"], "configuration": configuration, "createdTime": 1
    }})
}

fn write_log(folder: &Path, version: u64, lines: &[Value]) {
    let log = folder.join("_delta_log");
    std::fs::create_dir_all(&log).unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(log.join(format!("{version:020}.json")), text).unwrap();
}

fn legacy(reader: i32, writer: i32) -> Value {
    json!({"protocol": {"minReaderVersion": reader, "minWriterVersion": writer}})
}

fn features(reader: &[&str], writer: &[&str]) -> Value {
    match reader {
        [] => json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": writer}}),
        reader => json!({"protocol": {
            "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": reader, "writerFeatures": writer
        }}),
    }
}

fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.path().is_dir() {
                true => folders.push(entry.path()),
                false => drop(found.insert(entry.path().to_str().unwrap().to_owned())),
            }
        }
    }
    found
}

/// Protocol, properties, fields, and a part of the message.
fn refused() -> Vec<(Value, Value, Vec<Value>, &'static str)> {
    let property =
        |protocol: Value, name: &str, value: &str, message| (protocol, json!({name: value}), fields(), message);
    let column = |protocol: Value, metadata: Value, message| {
        let mut fields = fields();
        fields.push(field("rule", json!("long"), true, metadata));
        (protocol, json!({}), fields, message)
    };
    let nested = |inner: Value, message| {
        let mut fields = fields();
        fields.push(field("nested", inner, true, json!({})));
        (legacy(1, 2), json!({}), fields, message)
    };
    let variant = |data_type: Value| {
        let mut fields = fields();
        fields.push(field("loose", data_type, true, json!({})));
        (features(&["variantType"], &["variantType"]), json!({}), fields, "column 'loose' is a variant")
    };
    let mapped = |mode: &str, message| {
        let mut fields = fields();
        for (n, field) in (1..).zip(&mut fields) {
            let physical = format!("col-{n}");
            field["metadata"] = json!({"delta.columnMapping.id": n, "delta.columnMapping.physicalName": physical});
        }
        let configuration = json!({"delta.columnMapping.mode": mode, "delta.columnMapping.maxColumnId": "9"});
        (legacy(2, 5), configuration, fields, message)
    };
    let must = json!({"type": "struct", "fields": [field("x", json!("long"), false, json!({}))]});
    let nested_rule = json!({"type": "struct", "fields": [
        field("x", json!("long"), true, json!({"delta.invariants": "{}"}))
    ]});
    vec![
        property(legacy(1, 3), "delta.constraints.positive", "id > 0", "delta.constraints.positive"),
        mapped("name", "column mapping (mode 'name')"),
        mapped("id", "column mapping (mode 'id')"),
        property(features(&[], &["rowTracking", "domainMetadata"]), "delta.enableRowTracking", "true", "row tracking"),
        property(features(&[], &["rowTracking", "domainMetadata"]), "x", "y", "DROP FEATURE rowTracking"),
        property(features(&[], &["icebergCompatV1"]), "delta.enableIcebergCompatV1", "true", "Iceberg"),
        property(features(&[], &["icebergCompatV2"]), "delta.enableIcebergCompatV2", "TRUE", "Iceberg"),
        property(legacy(1, 2), "delta.enableTypeWidening", "true", "type widening"),
        property(legacy(1, 2), "delta.setTransactionRetentionDuration", "interval 7 days", "UNSET TBLPROPERTIES"),
        property(legacy(1, 2), "delta.enableChangeDataFeed", "true", "feature 'changeDataFeed'"),
        property(legacy(1, 2), "delta.enableInCommitTimestamps", "true", "feature 'inCommitTimestamp'"),
        column(legacy(1, 4), json!({"delta.generationExpression": "id + 1"}), "'rule' has a generation expression"),
        column(legacy(1, 6), json!({"delta.identity.start": 1, "delta.identity.step": 1}), "identity values"),
        column(features(&[], &["allowColumnDefaults"]), json!({"CURRENT_DEFAULT": "7"}), "a default value"),
        column(
            legacy(1, 2),
            json!({"delta.invariants": "{\"expression\":{\"expression\":\"x > 3\"}}"}),
            "an invariant",
        ),
        nested(must.clone(), "'nested.x' is NOT NULL"),
        nested(json!({"type": "array", "elementType": must, "containsNull": true}), "'nested.element.x' is NOT NULL"),
        nested(nested_rule, "'nested' has an invariant"),
        property(features(&["typeWidening"], &["typeWidening"]), "x", "y", "typeWidening"),
        property(features(&[], &["collations"]), "x", "y", "collations"),
        variant(json!("variant")),
        variant(json!({"type": "array", "elementType": "variant", "containsNull": true})),
        property(legacy(4, 8), "x", "y", "version 4"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_we_do_not_keep_is_refused_before_anything_is_written() {
    for (protocol, configuration, fields, message) in refused() {
        let folder = temporary::folder();
        write_log(folder.path(), 0, &[protocol.clone(), metadata(&fields, &configuration)]);
        let before = files(folder.path());
        let options = options(folder.path().to_str().unwrap(), MergeMode::Auto);
        let error = KeyedTable::open(options).await.map(drop).unwrap_err();
        assert_eq!(error.code, ErrorCode::TableUnsupported, "{configuration}: {:?}", error.chain());
        assert!(error.message.contains(message), "{message}: {error}");
        assert_eq!(files(folder.path()), before, "{message}");

        // The same where another writer makes the table so while we hold it.
        let folder = temporary::folder();
        write_log(folder.path(), 0, &[legacy(1, 2), metadata(&self::fields(), &json!({}))]);
        let mut table =
            KeyedTable::open(crate::support::options(folder.path().to_str().unwrap(), MergeMode::Auto)).await.unwrap();
        merge(&mut table, "q:t:0", &[upsert((0, 1), Some("a"))], false).await.unwrap();
        write_log(folder.path(), 2, &[protocol, metadata(&fields, &configuration)]);
        for _ in 0..2 {
            let error = merge(&mut table, "q:t:0", &[upsert((0, 1), Some("b"))], false).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::TableUnsupported, "{configuration}: {:?}", error.chain());
            assert!(error.message.contains(message), "{message}: {error}");
        }
        assert!(!folder.path().join("_delta_log/00000000000000000003.json").exists(), "{message}");
        // And mended again, it goes on.
        write_log(folder.path(), 3, &[legacy(1, 2), metadata(&self::fields(), &json!({}))]);
        merge(&mut table, "q:t:0", &[upsert((0, 1), Some("c"))], false).await.unwrap();
        let found = rows(folder.path().to_str().unwrap()).await;
        assert_eq!(found.values().map(|r| r.name.as_deref()).collect::<Vec<_>>(), [Some("c")], "{message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_a_table_that_we_cannot_write_to_are_not_read() {
    for key_index in [KeyIndexMode::Auto, KeyIndexMode::None] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        write_log(folder.path(), 0, &[legacy(1, 2), metadata(&fields(), &json!({}))]);
        let mut table = KeyedTable::open(TableOptions { key_index, ..options(uri, MergeMode::Auto) }).await.unwrap();
        merge(&mut table, "q:t:0", &[upsert((0, 1), Some("a"))], false).await.unwrap();
        // Another writer's feature, and a file as only this feature's readers understand it.
        let path = "part=1/of-the-feature.parquet";
        std::fs::write(folder.path().join(path), "no Parquet as we know it").unwrap();
        let file = json!({"path": path, "partitionValues": {"part": "1"}, "size": 24, "modificationTime": 1,
            "dataChange": true});
        let feature = features(&["collations"], &["collations"]);
        write_log(folder.path(), 2, &[feature, json!({"add": file})]);
        for _ in 0..2 {
            let error = merge(&mut table, "q:t:0", &[upsert((0, 1), Some("b"))], false).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::TableUnsupported, "{:?}", error.chain());
            assert!(error.message.contains("collations"), "{error}");
        }
        let remove = json!({"remove": {"path": path, "dataChange": true, "deletionTimestamp": 1}});
        write_log(folder.path(), 3, &[legacy(1, 2), remove]);
        merge(&mut table, "q:t:0", &[upsert((0, 1), Some("c"))], false).await.unwrap();
        assert_eq!(rows(uri).await[&(0, 1)].name.as_deref(), Some("c"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_listed_and_unused_is_no_obstacle() {
    let writer = [
        "appendOnly",
        "invariants",
        "checkConstraints",
        "changeDataFeed",
        "generatedColumns",
        "allowColumnDefaults",
        "identityColumns",
        "inCommitTimestamp",
        "icebergCompatV1",
        "domainMetadata",
        "deletionVectors",
        "timestampNtz",
        "v2Checkpoint",
    ];
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let reader = ["deletionVectors", "timestampNtz", "v2Checkpoint"];
    write_log(folder.path(), 0, &[features(&reader, &writer), metadata(&fields(), &json!({}))]);
    let mut table = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    assert!(table.info().copy_on_write);
    merge(&mut table, "q:t:0", &[upsert((0, 1), Some("a"))], false).await.unwrap();
    let mut table = KeyedTable::open(options(uri, MergeMode::MergeOnRead)).await.unwrap();
    merge(&mut table, "q:t:0", &[upsert((0, 1), Some("b")), upsert((0, 2), Some("b"))], false).await.unwrap();
    assert_eq!(rows(uri).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_null_columns_are_kept() {
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap();
        let mut fields = fields();
        for name in ["tenant", "id", "name", "part"] {
            fields.iter_mut().find(|f| f["name"] == name).unwrap()["nullable"] = json!(false);
        }
        write_log(folder.path(), 0, &[legacy(1, 2), metadata(&fields, &json!({}))]);
        let mut table = KeyedTable::open(options(uri, mode)).await.unwrap();
        let mut model = Model::default();
        let mut good = vec![upsert((0, 1), Some("a")), upsert((0, 2), Some("b")), upsert((1, 3), Some("c"))];
        merge(&mut table, "q:t:0", &good, false).await.unwrap();
        good.push(Change::Delete { key: (0, 2), sequence: None });
        good.push(upsert((0, 1), Some("d")));
        // With a new column the metadata is written anew.
        merge(&mut table, "q:t:0", &good[3..], true).await.unwrap();
        good.iter().for_each(|change| model.apply(change));
        let before = files(folder.path());
        let bad = [upsert((0, 1), None), upsert((0, 5), None), upsert((0, 6), Some("x"))];
        for _ in 0..2 {
            let error = merge(&mut table, "q:t:0", &bad, true).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::SchemaIncompatible, "{:?}", error.chain());
            assert!(error.message.contains("2 of 3 rows") && error.message.contains("'name'"), "{error}");
        }
        assert_eq!(files(folder.path()), before, "nothing is written");
        model.assert_equals(&rows(uri).await, &format!("{mode:?}"));
        let mut table = KeyedTable::open(options(uri, mode)).await.unwrap();
        merge(&mut table, "q:t:0", &[upsert((0, 7), Some("e"))], true).await.unwrap();
        model.apply(&upsert((0, 7), Some("e")));
        model.assert_equals(&rows(uri).await, &format!("{mode:?}"));
        let schema: Value = serde_json::from_str(&table.info().schema_json.unwrap()).unwrap();
        let nullable: HashMap<&str, bool> = schema["fields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| (f["name"].as_str().unwrap(), f["nullable"].as_bool().unwrap()))
            .collect();
        let expected = [
            ("tenant", false),
            ("id", false),
            ("name", false),
            ("big", true),
            ("part", false),
            ("shout", true),
            ("extra", true),
        ];
        assert_eq!(nullable, HashMap::from(expected));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_commit_timestamps_grow() {
    let folder = temporary::folder();
    let uri = folder.path().to_str().unwrap();
    let properties = HashMap::from([("delta.enableInCommitTimestamps".to_owned(), "true".to_owned())]);
    let created = TableOptions { properties, ..options(uri, MergeMode::Auto) };
    let mut table = KeyedTable::open(created).await.unwrap();
    let entry = |version: u64| -> Vec<Value> {
        let text = std::fs::read_to_string(folder.path().join(format!("_delta_log/{version:020}.json"))).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    merge(&mut table, "q:t:0", &[upsert((0, 1), Some("a"))], false).await.unwrap();
    merge(&mut table, "q:t:0", &[upsert((0, 2), Some("a"))], false).await.unwrap();
    // Another writer's clock is ahead of ours.
    let ahead = 1 << 46;
    write_log(folder.path(), 2, &[json!({"commitInfo": {"timestamp": 1, "inCommitTimestamp": ahead}})]);
    merge(&mut table, "q:t:0", &[upsert((0, 3), Some("a"))], false).await.unwrap();
    let mut table = KeyedTable::open(options(uri, MergeMode::Auto)).await.unwrap();
    merge(&mut table, "q:t:0", &[upsert((0, 4), Some("a"))], false).await.unwrap();
    let times: Vec<i64> =
        (0..5).map(|version| entry(version)[0]["commitInfo"]["inCommitTimestamp"].as_i64().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a < b) && times[3] == ahead + 1 && times[4] == ahead + 2, "{times:?}");
    let protocol = entry(0).into_iter().find(|l| l["protocol"].is_object()).unwrap();
    assert!(protocol["protocol"]["writerFeatures"].as_array().unwrap().contains(&json!("inCommitTimestamp")));
    assert_eq!(rows(uri).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_are_of_the_columns_that_the_table_names() {
    let cases = [
        ("delta.dataSkippingNumIndexedCols", "2", vec!["id", "tenant"]),
        ("delta.dataSkippingNumIndexedCols", "0", vec![]),
        ("delta.dataSkippingStatsColumns", "name,`id`", vec!["id", "name"]),
    ];
    for (property, value, expected) in cases {
        for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
            let folder = temporary::folder();
            let properties = HashMap::from([(property.to_owned(), value.to_owned())]);
            let options = TableOptions { properties, ..options(folder.path().to_str().unwrap(), mode) };
            let mut table = KeyedTable::open(options).await.unwrap();
            for _ in 0..2 {
                let changes = [upsert((0, 1), Some("a")), upsert((0, 3), Some("b"))];
                merge(&mut table, "q:t:0", &changes, false).await.unwrap();
                merge(&mut table, "q:t:0", &changes[..1], false).await.unwrap();
            }
            let mut seen = 0;
            for file in files(folder.path()).iter().filter(|f| f.ends_with(".json")) {
                for line in std::fs::read_to_string(file).unwrap().lines() {
                    let line: Value = serde_json::from_str(line).unwrap();
                    let Some(stats) = line["add"]["stats"].as_str() else { continue };
                    let stats: Value = serde_json::from_str(stats).unwrap();
                    for kind in ["minValues", "maxValues", "nullCount"] {
                        let mut names: Vec<&String> = stats[kind].as_object().unwrap().keys().collect();
                        names.sort();
                        assert_eq!(names, expected, "{property} {mode:?} {stats}");
                    }
                    seen += 1;
                }
            }
            assert!(seen >= 4);
        }
    }
}
