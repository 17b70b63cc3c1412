//! Commits of another engine, made by hand: OPTIMIZE, DELETE and UPDATE as Spark makes them, quick enough for thousands of
//! random sequences. Files that it writes have the table's columns alone, and none of our tags.
#![allow(dead_code, reason = "the simulation uses another part than the engine's tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int32Array, RecordBatch, StringArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use roaring::{RoaringBitmap, RoaringTreemap};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::changes::{Key, Row, rows_of};

/// Begins the data of a vector.
const MAGIC: u32 = 1_681_511_377;

/// Where a table lies.
pub trait Files: Send + Sync {
    /// The log's entry of a version, if there is one.
    fn entry(&self, version: u64) -> Option<String>;
    fn read(&self, path: &str) -> Bytes;
    fn write(&self, path: &str, bytes: Bytes);
    /// Makes the log's entry of a version. False where another writer has it.
    fn commit(&self, version: u64, entry: String) -> bool;
    fn now_millis(&self) -> i64;
    fn new_id(&self) -> Uuid;
}

/// A folder.
struct Folder(PathBuf);

impl Folder {
    fn entry_path(&self, version: u64) -> PathBuf {
        self.0.join(format!("_delta_log/{version:020}.json"))
    }
}

impl Files for Folder {
    fn entry(&self, version: u64) -> Option<String> {
        std::fs::read_to_string(self.entry_path(version)).ok()
    }

    fn read(&self, path: &str) -> Bytes {
        std::fs::read(self.0.join(path)).unwrap().into()
    }

    fn write(&self, path: &str, bytes: Bytes) {
        std::fs::write(self.0.join(path), bytes).unwrap();
    }

    fn commit(&self, version: u64, entry: String) -> bool {
        let mut file = std::fs::File::options().write(true).create_new(true).open(self.entry_path(version)).unwrap();
        std::io::Write::write_all(&mut file, entry.as_bytes()).unwrap();
        true
    }

    fn now_millis(&self) -> i64 {
        1
    }

    fn new_id(&self) -> Uuid {
        Uuid::new_v4()
    }
}

/// A table as its log has it. Checkpoints are not read: no entry may be missing.
#[derive(Clone)]
pub struct ByHand {
    files: Arc<dyn Files>,
    next: u64,
    /// The live files' add actions, by path.
    adds: BTreeMap<String, Value>,
    has_vectors: bool,
    /// The rows of live files that were read.
    read: Arc<Mutex<BTreeMap<String, RecordBatch>>>,
}

/// A live file's rows.
struct Stored {
    add: Value,
    /// All of them, deleted ones too, in the columns of the schema.
    rows: RecordBatch,
    deleted: RoaringBitmap,
}

impl Stored {
    /// The rows with the partition column.
    fn complete(&self) -> RecordBatch {
        if self.rows.column_by_name("part").is_some() {
            return self.rows.clone();
        }
        let part: Option<i32> = self.add["partitionValues"]["part"].as_str().map(|part| part.parse().unwrap());
        let column: ArrayRef = Arc::new(Int32Array::from(vec![part; self.rows.num_rows()]));
        let mut fields: Vec<_> = self.rows.schema().fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new("part", DataType::Int32, true)));
        let columns = self.rows.columns().iter().cloned().chain([column]).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    fn live(&self) -> BooleanArray {
        (0..self.rows.num_rows() as u32).map(|row| Some(!self.deleted.contains(row))).collect()
    }

    /// The numbers of live rows with this id.
    fn rows_of(&self, id: i64) -> RoaringBitmap {
        let ids = self.rows.column_by_name("id").unwrap().as_primitive::<Int64Type>();
        (0..self.rows.num_rows() as u32)
            .filter(|n| ids.value(*n as usize) == id && !self.deleted.contains(*n))
            .collect()
    }
}

fn keys_of(rows: &RecordBatch) -> Vec<Key> {
    let tenants = rows.column_by_name("tenant").unwrap().as_primitive::<Int32Type>();
    let ids = rows.column_by_name("id").unwrap().as_primitive::<Int64Type>();
    (0..rows.num_rows()).map(|row| (tenants.value(row), ids.value(row))).collect()
}

impl ByHand {
    /// The table in a folder.
    pub fn read(folder: &Path) -> Self {
        Self::of(Arc::new(Folder(folder.to_owned())))
    }

    pub fn of(files: Arc<dyn Files>) -> Self {
        let mut table = Self { files, next: 0, adds: BTreeMap::new(), has_vectors: false, read: Arc::default() };
        table.advance();
        table
    }

    /// Reads the entries that have come since.
    pub fn advance(&mut self) {
        while let Some(text) = self.files.entry(self.next) {
            let mut added = Vec::new();
            for line in text.lines() {
                let action: Value = serde_json::from_str(line).unwrap();
                if let Some(path) = action["remove"]["path"].as_str() {
                    self.adds.remove(path);
                }
                if action["add"].is_object() {
                    added.push(action["add"].clone());
                }
                if let Some(metadata) = action.get("metaData") {
                    self.has_vectors = metadata["configuration"]["delta.enableDeletionVectors"] == "true";
                }
            }
            // A file whose vector changes is removed and added in one commit.
            let by_path = added.into_iter().map(|add| (add["path"].as_str().unwrap().to_owned(), add));
            self.adds.extend(by_path);
            self.next += 1;
        }
        self.read.lock().unwrap().retain(|path, _| self.adds.contains_key(path));
    }

    /// The live rows.
    pub fn rows(&self) -> Vec<(Key, Row)> {
        let rows_of = |file: &Stored| rows_of(&filter_record_batch(&file.complete(), &file.live()).unwrap());
        self.stored().iter().flat_map(rows_of).collect()
    }

    fn open(&self, add: &Value) -> Stored {
        let rows = self.read_rows(add["path"].as_str().unwrap());
        Stored { add: add.clone(), rows, deleted: self.vector(&add["deletionVector"]) }
    }

    /// The rows of a file, in the columns of the schema.
    fn read_rows(&self, path: &str) -> RecordBatch {
        if let Some(rows) = self.read.lock().unwrap().get(path) {
            return rows.clone();
        }
        let file = self.files.read(path);
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let (schema, batches) = (reader.schema().clone(), reader.build().unwrap());
        let rows = concat_batches(&schema, &batches.map(Result::unwrap).collect::<Vec<_>>()).unwrap();
        let kept = (0..rows.num_columns()).filter(|at| !schema.field(*at).name().starts_with("_kafka2delta"));
        let rows = rows.project(&kept.collect::<Vec<_>>()).unwrap();
        self.read.lock().unwrap().insert(path.to_owned(), rows.clone());
        rows
    }

    fn vector(&self, vector: &Value) -> RoaringBitmap {
        let Some(text) = vector["pathOrInlineDv"].as_str() else { return RoaringBitmap::new() };
        let size = vector["sizeInBytes"].as_u64().unwrap() as usize;
        let data = match vector["storageType"].as_str().unwrap() {
            "i" => z85::decode(text).unwrap()[..size].to_vec(),
            _ => {
                let bytes = self.files.read(&vector_path(text));
                let start = vector["offset"].as_u64().unwrap() as usize + 4;
                bytes[start..start + size].to_vec()
            }
        };
        assert_eq!(data[..4], MAGIC.to_le_bytes());
        RoaringTreemap::deserialize_from(&data[4..]).unwrap().iter().map(|row| row as u32).collect()
    }

    fn stored(&self) -> Vec<Stored> {
        self.adds.values().map(|add| self.open(add)).collect()
    }

    /// False where another writer took the version.
    fn commit(&self, operation: &str, actions: Vec<Value>) -> bool {
        let info = json!({ "commitInfo": {
            "timestamp": self.files.now_millis(), "operation": operation, "operationParameters": { "predicate": "[]" },
            "engineInfo": "Apache-Spark/3.5.6 Delta-Lake/3.3.2", "txnId": self.files.new_id().to_string(),
        }});
        let text: String = [info].into_iter().chain(actions).map(|action| format!("{action}\n")).collect();
        self.files.commit(self.next, text)
    }

    /// Stores rows in place of those of `like`, with its partition value; nothing where there are none.
    fn add(&self, rows: &RecordBatch, like: &Value, data_change: bool) -> Option<Value> {
        if rows.num_rows() == 0 {
            return None;
        }
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
        writer.write(rows).unwrap();
        let bytes = Bytes::from(writer.into_inner().unwrap());
        let path = format!("theirs-{}.parquet", self.files.new_id());
        self.files.write(&path, bytes.clone());
        Some(json!({ "add": {
            "path": path, "partitionValues": like["partitionValues"], "size": bytes.len(), "modificationTime": self.files.now_millis(),
            "dataChange": data_change, "stats": format!(r#"{{"numRecords":{}}}"#, rows.num_rows()),
        }}))
    }

    fn remove(&self, add: &Value, data_change: bool) -> Value {
        let mut remove = json!({
            "path": add["path"], "deletionTimestamp": self.files.now_millis(), "dataChange": data_change, "extendedFileMetadata": true,
            "partitionValues": add["partitionValues"], "size": add["size"],
        });
        if add["deletionVector"].is_object() {
            remove["deletionVector"] = add["deletionVector"].clone();
        }
        json!({ "remove": remove })
    }

    /// Gives the table the files that an earlier reading had, by a commit that does not say so.
    pub fn put_back(self, then: &Self) {
        let without = |adds: &BTreeMap<String, Value>, others: &BTreeMap<String, Value>| -> Vec<Value> {
            adds.iter().filter(|(path, add)| others.get(*path) != Some(add)).map(|(_, add)| add.clone()).collect()
        };
        let (gone, back) = (without(&self.adds, &then.adds), without(&then.adds, &self.adds));
        let actions = gone.iter().map(|add| self.remove(add, true)).chain(back.iter().map(|add| json!({ "add": add })));
        let actions = actions.collect();
        self.commit("UPDATE", actions);
    }

    /// OPTIMIZE of the files of one partition value, chosen by a number. Gives the keys of the rows that it moved.
    pub fn optimize(self, choice: usize) -> Vec<Key> {
        let mut groups: BTreeMap<String, Vec<Stored>> = BTreeMap::new();
        for stored in self.stored() {
            groups.entry(stored.add["partitionValues"].to_string()).or_default().push(stored);
        }
        let Some(group) = groups.values().nth(choice % groups.len().max(1)) else { return Vec::new() };
        let live: Vec<_> =
            group.iter().map(|stored| filter_record_batch(&stored.rows, &stored.live()).unwrap()).collect();
        // Files from before a column was added lack it.
        let wide = live.iter().max_by_key(|rows| rows.num_columns()).unwrap().schema();
        if live.iter().any(|rows| rows.schema().fields() != wide.fields()) {
            return Vec::new();
        }
        let rows = concat_batches(&wide, &live).unwrap();
        let mut actions: Vec<Value> = group.iter().map(|stored| self.remove(&stored.add, false)).collect();
        actions.extend(self.add(&rows, &group[0].add, false));
        let keys = keys_of(&rows);
        self.commit("OPTIMIZE", actions);
        keys
    }

    /// DELETE of the rows with this id, by vectors where the table has them and `by_vectors` says so, or by writing files anew.
    /// Gives the keys of the rows that were written anew.
    pub fn delete(self, id: i64, by_vectors: bool) -> Vec<Key> {
        self.change(id, by_vectors, "DELETE", |_| None)
    }

    /// UPDATE of `big` in the rows with this id, likewise.
    pub fn update(self, id: i64, big: &str, by_vectors: bool) -> Vec<Key> {
        self.change(id, by_vectors, "UPDATE", |rows| {
            let at = rows.schema().index_of("big").unwrap();
            let mut columns = rows.columns().to_vec();
            let texts: ArrayRef = Arc::new(StringArray::from(vec![big; rows.num_rows()]));
            columns[at] = arrow::compute::cast(&texts, rows.schema().field(at).data_type()).unwrap();
            Some(RecordBatch::try_new(rows.schema(), columns).unwrap())
        })
    }

    fn change(
        self,
        id: i64,
        by_vectors: bool,
        operation: &str,
        new: impl Fn(&RecordBatch) -> Option<RecordBatch>,
    ) -> Vec<Key> {
        let (mut actions, mut keys) = (Vec::new(), Vec::new());
        for stored in self.stored() {
            let found = stored.rows_of(id);
            if found.is_empty() {
                continue;
            }
            let mask = |rows: &dyn Fn(u32) -> bool| (0..stored.rows.num_rows() as u32).map(|n| Some(rows(n))).collect();
            let changed = filter_record_batch(&stored.rows, &mask(&|n| found.contains(n))).unwrap();
            let deleted = &stored.deleted | &found;
            let rest = filter_record_batch(&stored.rows, &mask(&|n| !deleted.contains(n))).unwrap();
            actions.push(self.remove(&stored.add, true));
            let mut written: Vec<RecordBatch> = new(&changed).into_iter().collect();
            if by_vectors && self.has_vectors && rest.num_rows() > 0 {
                let mut add = stored.add.clone();
                add["deletionVector"] = vector_of(&deleted);
                add["stats"] = format!(r#"{{"numRecords":{}}}"#, stored.rows.num_rows()).into();
                actions.push(json!({ "add": add }));
            } else {
                written.push(rest);
            }
            let written = concat_batches(&stored.rows.schema(), &written).unwrap();
            keys.extend(keys_of(&written));
            actions.extend(self.add(&written, &stored.add, true));
        }
        if !actions.is_empty() {
            self.commit(operation, actions);
        }
        keys
    }
}

/// A vector within the log.
fn vector_of(rows: &RoaringBitmap) -> Value {
    let mut data = MAGIC.to_le_bytes().to_vec();
    RoaringTreemap::from_bitmaps([(0, rows.clone())]).serialize_into(&mut data).unwrap();
    let size = data.len();
    data.resize(size.next_multiple_of(4), 0);
    json!({
        "storageType": "i", "pathOrInlineDv": z85::encode(&data), "sizeInBytes": size, "cardinality": rows.len(),
    })
}

/// The file of a vector: its name is a UUID in Z85.
pub fn vector_path(text: &str) -> String {
    let bytes: [u8; 16] = z85::decode(&text[text.len() - 20..]).unwrap().try_into().unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    format!("deletion_vector_{}.bin", parts.join("-"))
}
