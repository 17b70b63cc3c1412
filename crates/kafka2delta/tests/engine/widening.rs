//! Columns that grow: the table is rewritten, and every reader finds the values that were there.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int32Array, RecordBatch, UInt8Array};
use arrow::datatypes::DataType;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use kafka2delta::options::MergeMode;
use kafka2delta::{KeyedTable, TableOptions};
use tokio_util::sync::CancellationToken;

use crate::delta_rs;
use crate::support::options;
use crate::temporary;

fn ipc(ids: &[i32], values: ArrayRef) -> Bytes {
    let ops = UInt8Array::from(vec![0; ids.len()]);
    let columns: [(&str, ArrayRef); 3] =
        [("id", Arc::new(Int32Array::from(ids.to_vec()))), ("v", values), ("_op", Arc::new(ops))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap().into()
}

async fn read(uri: &str) -> Vec<(i32, String)> {
    let mut rows = Vec::new();
    for batch in delta_rs::query(uri, None, "SELECT id, CAST(v AS STRING) AS v FROM t ORDER BY id").await {
        let ids = arrow::compute::cast(batch.column(0), &DataType::Int32).unwrap();
        let texts = arrow::compute::cast(batch.column(1), &DataType::Utf8).unwrap();
        for row in 0..batch.num_rows() {
            let id = ids.as_any().downcast_ref::<Int32Array>().unwrap().value(row);
            let text = texts.as_any().downcast_ref::<arrow::array::StringArray>().unwrap();
            rows.push((id, if arrow::array::Array::is_null(text, row) { "null" } else { text.value(row) }.to_owned()));
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_column_grows() {
    let decimals = |values: Vec<Option<i128>>, precision, scale| -> ArrayRef {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap())
    };
    let before = decimals(vec![Some(622_232_700), None, Some(-5)], 12, 3);
    let after = decimals(vec![Some(123_456)], 18, 5);
    let expected = ["622232.70000", "null", "-0.00500", "1.23456"];
    for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
        let folder = temporary::folder();
        let uri = folder.path().to_str().unwrap().to_owned();
        let options =
            TableOptions { additional_columns: vec![], partition_columns: vec!["v".into()], ..options(&uri, mode) };
        let mut table = KeyedTable::open(options).await.unwrap();
        let key = ["id".to_owned()];
        let never = CancellationToken::new();
        table.merge(Some(ipc(&[1, 2, 3], before.clone())), &key, &[], &never).await.unwrap();
        let grown = table.merge(Some(ipc(&[4], after.clone())), &key, &[], &never).await.unwrap();
        assert_eq!(grown.widened_columns, ["v"]);
        let expected: Vec<(i32, String)> = (1..).zip(expected.iter().map(|v| (*v).to_owned())).collect();
        assert_eq!(read(&uri).await, expected);
        // Rows are found again.
        let moved = table.merge(Some(ipc(&[1], after.clone())), &key, &[], &never).await.unwrap();
        assert_eq!((moved.inserted, moved.updated), (0, 1));
        assert_eq!(read(&uri).await[0].1, expected[3].1);
    }
}
