//! What steps of compaction hold, by the allocator's own count: in a program of its own, where nothing else allocates.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]

mod counted;
#[path = "../engine/temporary.rs"]
mod temporary;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt8Array};
use arrow::ipc::writer::StreamWriter;
use kafka2delta::options::{Compression, KeyIndexMode, MergeMode, OnMissingValue, WriteMode};
use kafka2delta::schema::SchemaEvolution;
use kafka2delta::{CompactOptions, KeyedTable, Offset, SharedMemory, TableOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

const MB: u64 = 1 << 20;

fn options(uri: &str, cluster_by: &[&str]) -> TableOptions {
    TableOptions {
        uri: uri.to_owned(),
        storage_options: HashMap::new(),
        primary_key: None,
        additional_columns: vec![],
        partition_columns: vec![],
        name: None,
        description: None,
        properties: HashMap::new(),
        write_mode: WriteMode::Upsert,
        merge_mode: MergeMode::MergeOnRead,
        schema_evolution: SchemaEvolution::Add,
        soft_delete_column: None,
        on_missing_value: OnMissingValue::Null,
        target_file_size: 128 << 20,
        max_rewrite_bytes: 10 << 30,
        remembered_keys: 100_000,
        compression: Compression::Snappy,
        key_index: KeyIndexMode::Auto,
        index_memory: 1 << 30,
        index_folder: None,
        cluster_by: cluster_by.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// Texts that no codec makes smaller, or that it makes a twentieth of.
fn text(bytes: usize, is_noise: bool, seed: i64) -> String {
    let mut rng = StdRng::seed_from_u64(seed as u64);
    match is_noise {
        true => {
            let mut noise = vec![0; bytes];
            rng.fill(noise.as_mut_slice());
            noise.iter().map(|byte| char::from(b' ' + byte % 64)).collect()
        }
        false => format!("{seed} {}", "all the same ".repeat(bytes / 13)),
    }
}

/// What a table's rows are.
struct Shape {
    name: &'static str,
    files: i64,
    rows_of_file: i64,
    /// Of one column, beside those of short texts.
    text_bytes: usize,
    is_noise: bool,
    columns: usize,
    cluster_by: &'static [&'static str],
}

const LARGE: Shape = Shape {
    name: "large texts that shrink",
    files: 8,
    rows_of_file: 1,
    text_bytes: 12 << 20,
    is_noise: false,
    columns: 1,
    cluster_by: &[],
};

const SHAPES: [Shape; 7] = [
    LARGE,
    Shape { name: "large texts that do not", is_noise: true, ..LARGE },
    Shape { name: "large and small texts", rows_of_file: 20, text_bytes: 3 << 20, ..LARGE },
    Shape { name: "wide rows", rows_of_file: 2_000, text_bytes: 100, columns: 300, ..LARGE },
    Shape { name: "many rows", rows_of_file: 100_000, text_bytes: 200, is_noise: true, ..LARGE },
    Shape { name: "few rows", rows_of_file: 10, text_bytes: 20, ..LARGE },
    Shape { name: "sorted rows", rows_of_file: 50_000, text_bytes: 200, is_noise: true, cluster_by: &["id"], ..LARGE },
];

impl Shape {
    fn batch(&self, file: i64) -> bytes::Bytes {
        let ids: Vec<i64> = (file * self.rows_of_file..(file + 1) * self.rows_of_file).collect();
        let texts: StringArray = ids.iter().map(|id| Some(text(self.text_bytes, self.is_noise, *id))).collect();
        let ops = UInt8Array::from(vec![0; ids.len()]);
        let short = |column: usize| -> ArrayRef {
            Arc::new(ids.iter().map(|id| Some(format!("{} of {column}", id % 100))).collect::<StringArray>())
        };
        let mut columns: Vec<(String, ArrayRef)> = vec![("text".into(), Arc::new(texts))];
        columns.extend((1..self.columns).map(|column| (format!("c{column}"), short(column))));
        columns.push(("id".into(), Arc::new(Int64Array::from(ids))));
        columns.push(("_op".into(), Arc::new(ops)));
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap().into()
    }

    async fn table(&self, uri: &str, memory: &SharedMemory) -> KeyedTable {
        let mut table = KeyedTable::open_within(options(uri, self.cluster_by), memory).await.unwrap();
        for file in 0..self.files {
            let expected = (file > 0).then_some(file - 1);
            let offset = Offset { may_fall: false, app_id: "q:t:0".into(), expected, last: file };
            let key = ["id".to_owned()];
            table.merge(Some(self.batch(file)), &key, &[offset], &CancellationToken::new()).await.unwrap();
        }
        table
    }
}

/// One after the other: what is counted is the whole program's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_holds_what_its_permit_says() {
    for memory_of_steps in [32 * MB, 1 << 30] {
        for shape in &SHAPES {
            let folder = temporary::folder();
            let memory = SharedMemory::default();
            memory.steps.limit(memory_of_steps);
            let mut table = shape.table(folder.path().to_str().unwrap(), &memory).await;
            let all = CompactOptions { min_files: 2, max_bytes: 1 << 30, deleted_share: 0.1, full: true };
            let cancel = CancellationToken::new();
            let mut plan = table.plan_compaction(&all).unwrap().unwrap();
            assert!(!plan.take_permit(&cancel).await.unwrap());
            let permit = memory.held().compaction;
            let before = counted::start();
            let rewritten = plan.rewrite(&cancel).await.unwrap();
            let held = counted::most() - before;
            println!("{}: {} MB held, {} MB permitted", shape.name, held / MB, permit / MB);
            assert!(held <= permit, "{}: {held} bytes held, {permit} permitted", shape.name);
            assert!(permit <= 6 * held + 2 * MB, "{}: {held} bytes held, {permit} permitted", shape.name);
            table.commit_compaction(rewritten).await.unwrap().unwrap();
            assert_eq!(memory.held().compaction, 0);
            assert_eq!(table.info().num_rows, (shape.files * shape.rows_of_file) as u64);
        }
    }
}
