//! A key whose columns come in another order after a restart.

use arrow::datatypes::DataType as T;
use kafka2delta::options::MergeMode;
use kafka2delta::{ErrorCode, KeyedTable, TableOptions};
use serde_json::json;

use crate::rows::{field, plain_options, put, read};
use crate::temporary;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_columns_in_another_order_are_the_same_key() {
    for (is_saved, is_option) in [(false, false), (false, true), (true, false), (true, true)] {
        let (folder, index) = (temporary::folder(), temporary::folder());
        let uri = folder.path().to_str().unwrap();
        let options = TableOptions {
            index_folder: is_saved.then(|| index.path().to_owned()),
            ..plain_options(uri, MergeMode::MergeOnRead)
        };
        let fields = [field("a", T::Int32), field("b", T::Int32), field("v", T::Utf8)];
        let mut table = KeyedTable::open(options.clone()).await.unwrap();
        let rows = [json!({"a": 1, "b": 2, "v": "x"}), json!({"a": 2, "b": 1, "v": "y"})];
        put(&mut table, &["a", "b"], &fields, &rows).await.unwrap();
        table.close().await;
        let turned = ["b", "a"];
        let primary_key = is_option.then(|| turned.map(str::to_owned).to_vec());
        let mut table = KeyedTable::open(TableOptions { primary_key, ..options.clone() }).await.unwrap();
        let updated = put(&mut table, &turned, &fields, &[json!({"a": 1, "b": 2, "v": "z"})]).await.unwrap();
        assert_eq!((updated.inserted, updated.updated), (0, 1));
        let deleted = put(&mut table, &turned, &fields, &[json!({"a": 2, "b": 1, "_op": 1})]).await.unwrap();
        assert_eq!(deleted.deleted, 1);
        assert_eq!(read(uri, "SELECT * FROM t").await, [json!({"a": 1, "b": 2, "v": "z"})]);
        let key = table.info().properties.into_iter().find(|(name, _)| name == "kafka2delta.primaryKey");
        assert_eq!(key.unwrap().1, r#"["a","b"]"#);
        table.close().await;
        for other in [&["a"][..], &["a", "a"], &["a", "v"], &["a", "b", "v"]] {
            let mut table = KeyedTable::open(options.clone()).await.unwrap();
            let error = put(&mut table, other, &fields, &rows).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::SchemaIncompatible, "{other:?}");
        }
    }
}
