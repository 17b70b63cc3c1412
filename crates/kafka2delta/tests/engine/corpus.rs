//! Tables that others wrote, as they are in `tests/corpus` (`npm run corpus` makes them), read and changed in every way of the
//! engine. What they hold, Spark has told, or they were given. `CORPUS_OUT` names a folder that keeps the changed tables, each with its rows,
//! for other readers.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, RecordBatch, StructArray, UInt8Array, UInt32Array,
};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{self as t, DataType as T, Field, Schema};
use arrow::ipc::writer::StreamWriter;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kafka2delta::options::MergeMode;
use kafka2delta::scan::changes::changes;
use kafka2delta::scan::{AsOf, Batches, ScanOptions, scan};
use kafka2delta::{CompactOptions, Error, ErrorCode, KeyedTable, Offset};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::rows::plain_options;
use crate::temporary;

/// Rows in the form of `scripts/corpus/plain.py`, by their ids.
type Rows = BTreeMap<i32, Vec<Value>>;

/// Tables that are read but not written to, and what the refusal names.
const NOT_WRITTEN: &[(&str, &str)] = &[
    ("mapped-by-name-spark-3", "column mapping (mode 'name')"),
    ("mapped-by-name-spark-4", "column mapping (mode 'name')"),
    ("mapped-by-id-spark-3", "column mapping (mode 'id')"),
    ("mapped-by-id-spark-4", "column mapping (mode 'id')"),
    ("widened", "typeWidening"),
    ("row-tracking", "enableRowTracking"),
];
/// Tables of which the values are refused, and by which words.
const NOT_READ: &[(&str, &str)] = &[
    ("rebased-int96-zone", "column 'at' has instants before 1900"),
    ("rebased-micros-zone", "column 'at' has instants before 1900"),
];

struct Packed {
    name: String,
    content: Value,
}

impl Packed {
    fn all() -> Vec<Self> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
        let mut all: Vec<Self> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| {
                let path = file.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().strip_suffix(".json.gz").unwrap().to_owned();
                let text = flate2::read::GzDecoder::new(std::fs::File::open(&path).unwrap());
                Self { name, content: serde_json::from_reader(text).unwrap() }
            })
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The table's rows, as its writer knows them.
    fn rows(&self) -> Rows {
        let rows = self.content["rows"].as_array().unwrap();
        let at = self.columns().iter().position(|name| name == "id" || name == "Id").unwrap();
        rows.iter()
            .map(|row| {
                let row = row.as_array().unwrap();
                (row[at].as_str().unwrap().parse().unwrap(), row.clone())
            })
            .collect()
    }

    fn columns(&self) -> Vec<String> {
        let columns = self.content["columns"].as_array().unwrap();
        columns.iter().map(|column| column["name"].as_str().unwrap().to_owned()).collect()
    }

    fn key(&self) -> String {
        self.columns().into_iter().find(|name| name.eq_ignore_ascii_case("id")).unwrap()
    }

    fn unpack(&self, folder: &Path) {
        for (path, bytes) in self.content["files"].as_object().unwrap() {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, BASE64_STANDARD.decode(bytes.as_str().unwrap()).unwrap()).unwrap();
        }
    }

    fn is_among(&self, names: &[(&'static str, &'static str)]) -> Option<&'static str> {
        names.iter().find(|(name, _)| *name == self.name).map(|(_, words)| *words)
    }
}

/// A value in the form of `scripts/corpus/plain.py`.
fn plain(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    macro_rules! number {
        ($kind:ty) => {
            array.as_primitive::<$kind>().value(row).to_string().into()
        };
    }
    let double = |value: f64| match value.is_nan() {
        true => "nan".into(),
        false => format!("double {:016x}", value.to_bits()).into(),
    };
    match array.data_type() {
        T::Boolean => array.as_boolean().value(row).into(),
        T::Int8 => number!(t::Int8Type),
        T::Int16 => number!(t::Int16Type),
        T::Int32 => number!(t::Int32Type),
        T::Int64 => number!(t::Int64Type),
        T::Date32 => number!(t::Date32Type),
        T::Timestamp(t::TimeUnit::Microsecond, _) => number!(t::TimestampMicrosecondType),
        T::Float32 => double(array.as_primitive::<t::Float32Type>().value(row).into()),
        T::Float64 => double(array.as_primitive::<t::Float64Type>().value(row)),
        T::Decimal128(_, _) => array.as_primitive::<t::Decimal128Type>().value_as_string(row).into(),
        T::Utf8 => array.as_string::<i32>().value(row).into(),
        T::Binary => {
            let bytes = array.as_binary::<i32>().value(row).iter().map(|byte| format!("{byte:02x}"));
            format!("0x{}", bytes.collect::<String>()).into()
        }
        T::Struct(fields) => {
            let parts = fields.iter().zip(array.as_struct().columns());
            parts.map(|(field, part)| (field.name().clone(), plain(part, row))).collect::<Map<_, _>>().into()
        }
        T::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).map(|item| plain(&items, item)).collect::<Vec<_>>().into()
        }
        T::Map(_, _) => {
            let entries = array.as_map().value(row);
            let of = |column: usize, entry| plain(entries.column(column), entry);
            let entry = |entry| (of(0, entry).as_str().unwrap().to_owned(), of(1, entry));
            (0..entries.len()).map(entry).collect::<Map<_, _>>().into()
        }
        other => panic!("a value of type {other}"),
    }
}

fn rows_of(batch: &RecordBatch) -> Vec<Vec<Value>> {
    (0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| plain(column, row)).collect()).collect()
}

fn options(folder: &Path, condition: Option<String>) -> ScanOptions {
    let uri = folder.to_str().unwrap().to_owned();
    ScanOptions { uri, storage_options: Default::default(), columns: None, condition, as_of: AsOf::Newest }
}

async fn all(mut batches: Batches) -> Result<RecordBatch, Error> {
    let mut read = Vec::new();
    while let Some(batch) = batches.next().await? {
        read.push(batch);
    }
    Ok(concat_batches(batches.schema(), &read)?)
}

/// The table, and its rows by id.
async fn scanned(folder: &Path, key: &str) -> Result<(RecordBatch, Rows), Error> {
    let batch = all(scan(options(folder, None)).await?).await?;
    let ids = batch.column_by_name(key).unwrap().as_primitive::<t::Int32Type>().clone();
    let rows: Rows = ids.values().iter().copied().zip(rows_of(&batch)).collect();
    assert_eq!(rows.len(), batch.num_rows(), "an id is there twice");
    Ok((batch, rows))
}

#[track_caller]
fn assert_rows(found: &Rows, expected: &Rows, columns: &[String], note: &str) {
    let ids = |rows: &Rows| rows.keys().copied().collect::<Vec<_>>();
    assert_eq!(ids(found), ids(expected), "{note}");
    for (id, row) in expected {
        for ((name, expected), found) in columns.iter().zip(row).zip(&found[id]) {
            assert_eq!(found, expected, "{note}: column {name} of row {id}");
        }
    }
}

/// What a change does.
enum Change {
    /// The row `id` becomes one with the values of row `of`.
    Put {
        id: i32,
        of: i32,
    },
    /// A change of the row that leaves all its values out.
    Same {
        id: i32,
    },
    Delete {
        id: i32,
    },
}

impl Change {
    /// The row that is written, the op, and the row that the values are of.
    fn parts(&self) -> (i32, u8, i32) {
        match *self {
            Self::Put { id, of } => (id, 0, of),
            Self::Same { id } => (id, 0, id),
            Self::Delete { id } => (id, 1, id),
        }
    }

    fn apply(&self, rows: &mut Rows, key: usize) {
        match *self {
            Self::Put { id, of } => {
                let mut row = rows[&of].clone();
                row[key] = id.to_string().into();
                rows.insert(id, row);
            }
            Self::Same { .. } => {}
            Self::Delete { id } => {
                rows.remove(&id);
            }
        }
    }
}

/// The changes as a batch. Values of rows come from `rows`, which was read.
fn batch_of(changes: &[Change], rows: &RecordBatch, key: &str) -> Vec<u8> {
    let at = rows.schema().index_of(key).unwrap();
    let ids = rows.column(at).as_primitive::<t::Int32Type>();
    let place = |id: i32| ids.values().iter().position(|known| *known == id).unwrap() as u32;
    let picked = UInt32Array::from_iter_values(changes.iter().map(|change| place(change.parts().2)));
    let rows = take_record_batch(rows, &picked).unwrap();
    let mut columns = rows.columns().to_vec();
    columns[at] = Arc::new(Int32Array::from_iter_values(changes.iter().map(|change| change.parts().0)));
    let mut fields = rows.schema().fields().to_vec();
    fields.iter_mut().for_each(|field| *field = Arc::new(field.as_ref().clone().with_nullable(true)));
    let left: ArrayRef =
        Arc::new(changes.iter().map(|change| Some(matches!(change, Change::Same { .. }))).collect::<BooleanArray>());
    let named = fields.iter().filter(|field| field.name() != key);
    let mask: Vec<(Arc<Field>, ArrayRef)> =
        named.map(|f| (Arc::new(Field::new(f.name(), T::Boolean, false)), left.clone())).collect();
    fields.push(Arc::new(Field::new("_op", T::UInt8, false)));
    columns.push(Arc::new(UInt8Array::from_iter_values(changes.iter().map(|change| change.parts().1))));
    if !mask.is_empty() {
        let mask = StructArray::from(mask);
        fields.push(Arc::new(Field::new("_left_out", mask.data_type().clone(), false)));
        columns.push(Arc::new(mask));
    }
    // What is left out has no value.
    for (column, field) in columns.iter_mut().zip(&fields).take(rows.num_columns()) {
        if field.name() != key {
            *column = arrow::compute::nullif(column, left.as_boolean()).unwrap_or_else(|_| column.clone());
        }
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

async fn merge(table: &mut KeyedTable, changes: &[Change], rows: &RecordBatch, key: &str) -> Result<(), Error> {
    let stored = table.info().offsets.first().map(|(_, version)| *version);
    let last = stored.unwrap_or(-1) + 1;
    let offset = Offset { may_fall: false, app_id: "q:t:0".to_owned(), expected: stored, last };
    let ipc = batch_of(changes, rows, key).into();
    table.merge(Some(ipc), &[key.to_owned()], &[offset], &CancellationToken::new()).await.map(|_| ())
}

/// Whatever is due or not.
const FULL: CompactOptions = CompactOptions { min_files: 2, max_bytes: 1 << 30, deleted_share: 0.01, full: true };

async fn compact(table: &mut KeyedTable) -> bool {
    let Some(plan) = table.plan_compaction(&FULL).unwrap() else { return false };
    let rewritten = plan.rewrite(&CancellationToken::new()).await.unwrap();
    table.commit_compaction(rewritten).await.unwrap().is_some()
}

/// The changes of a way: rows of the table's own files are deleted, replaced and left out.
fn changes_of(way: &str, ids: &[i32]) -> Vec<Change> {
    let (first, rest) = (ids[0], &ids[1..]);
    match way {
        // Every other row is read from its file, and written anew.
        "left out" => rest.iter().map(|id| Change::Same { id: *id }).collect(),
        "deleted" => vec![Change::Delete { id: first }],
        _ => vec![
            Change::Put { id: 1000, of: ids[ids.len() / 2] },
            Change::Put { id: first, of: ids[ids.len() - 1] },
            Change::Delete { id: rest[0] },
        ],
    }
}

/// Changes a table in one way and mode, compacts it, changes it once more, and looks at its rows each time.
async fn change(packed: &Packed, mode: MergeMode, way: &str) {
    let note = format!("{}, {mode:?}, {way}", packed.name);
    let (columns, key) = (packed.columns(), packed.key());
    let at = columns.iter().position(|name| *name == key).unwrap();
    let temporary = temporary::folder();
    let kept =
        std::env::var("CORPUS_OUT").ok().map(|out| Path::new(&out).join(note.replace(", ", "+").replace(' ', "-")));
    let folder = kept.as_deref().unwrap_or(temporary.path());
    packed.unpack(folder);
    let mut rows = packed.rows();
    let (read, _) = scanned(folder, &key).await.unwrap();
    let mut table = KeyedTable::open(plain_options(folder.to_str().unwrap(), mode)).await.unwrap();
    let ids: Vec<i32> = rows.keys().copied().collect();
    for (round, way) in [way, "mixed"].into_iter().enumerate() {
        let ids: Vec<i32> = ids.iter().copied().filter(|id| rows.contains_key(id)).collect();
        let changes = changes_of(way, &ids);
        changes.iter().for_each(|change| change.apply(&mut rows, at));
        if let Err(error) = merge(&mut table, &changes, &read, &key).await {
            panic!("{note}, round {round}: {:?}", error.chain());
        }
        let (_, found) = scanned(folder, &key).await.unwrap();
        assert_rows(&found, &rows, &columns, &format!("{note}, merged in round {round}"));
        compact(&mut table).await;
        let (_, found) = scanned(folder, &key).await.unwrap();
        assert_rows(&found, &rows, &columns, &format!("{note}, compacted in round {round}"));
    }
    if let Some(kept) = kept {
        let text = serde_json::json!({"columns": packed.content["columns"], "rows": rows.values().collect::<Vec<_>>()});
        std::fs::write(kept.with_extension("json"), text.to_string()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_read_as_their_writers_read_them() {
    for packed in Packed::all().iter().filter(|packed| !packed.content["rows"].is_null()) {
        let folder = temporary::folder();
        packed.unpack(folder.path());
        let found = scanned(folder.path(), &packed.key()).await;
        match (found, packed.is_among(NOT_READ)) {
            (Ok((_, rows)), None) => assert_rows(&rows, &packed.rows(), &packed.columns(), &packed.name),
            (Err(error), Some(words)) => assert!(error.message.contains(words), "{}: {error}", packed.name),
            (found, _) => panic!("{}: {:?}", packed.name, found.map(|_| ()).map_err(|error| error.chain())),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_changed_and_compacted() {
    let is_left = |packed: &&Packed| packed.is_among(NOT_READ).is_none() && packed.is_among(NOT_WRITTEN).is_none();
    for packed in Packed::all().iter().filter(is_left).filter(|packed| !packed.content["rows"].is_null()) {
        for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
            for way in ["left out", "deleted", "mixed"] {
                change(packed, mode, way).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_kept_is_refused_with_its_name() {
    for packed in Packed::all() {
        let Some(words) = packed.is_among(NOT_WRITTEN) else { continue };
        let folder = temporary::folder();
        packed.unpack(folder.path());
        let (read, _) = scanned(folder.path(), &packed.key()).await.unwrap();
        let error = match KeyedTable::open(plain_options(folder.path().to_str().unwrap(), MergeMode::Auto)).await {
            Ok(mut table) => merge(&mut table, &[Change::Delete { id: 1 }], &read, &packed.key()).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.code, ErrorCode::TableUnsupported, "{}: {:?}", packed.name, error.chain());
        assert!(error.message.contains(words), "{}: {error}", packed.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instants_of_an_unknown_calendar_are_never_rewritten() {
    for packed in Packed::all() {
        let Some(words) = packed.is_among(NOT_READ) else { continue };
        for mode in [MergeMode::MergeOnRead, MergeMode::CopyOnWrite] {
            let folder = temporary::folder();
            packed.unpack(folder.path());
            // The key alone can be read: rows are deleted where their file stays.
            let mut table = KeyedTable::open(plain_options(folder.path().to_str().unwrap(), mode)).await.unwrap();
            let ids: ArrayRef = Arc::new(Int32Array::from(vec![1]));
            let read = RecordBatch::try_from_iter([("id", ids)]).unwrap();
            let deleted = merge(&mut table, &[Change::Delete { id: 1 }], &read, "id").await;
            let error = match (mode, deleted) {
                (MergeMode::MergeOnRead, Ok(())) => {
                    let plan = table.plan_compaction(&FULL).unwrap().unwrap();
                    plan.rewrite(&CancellationToken::new()).await.unwrap_err()
                }
                (_, deleted) => deleted.unwrap_err(),
            };
            assert_eq!(error.code, ErrorCode::TableUnsupported, "{}: {:?}", packed.name, error.chain());
            assert!(error.message.contains(words), "{}: {error}", packed.name);
        }
    }
}

/// A value as a literal of Spark SQL, and as what it is compared by.
fn literal(kind: &T, value: &Value) -> Option<(String, Comparable)> {
    let text = value.as_str()?;
    let number = || Comparable::Number(text.replace('.', "").parse().unwrap());
    Some(match kind {
        T::Int8 | T::Int16 | T::Int32 => (text.to_owned(), number()),
        T::Int64 => (format!("CAST('{text}' AS BIGINT)"), number()),
        T::Date32 => (format!("date_from_unix_date({text})"), number()),
        T::Timestamp(_, Some(_)) => (format!("timestamp_micros({text})"), number()),
        T::Decimal128(p, s) => (format!("CAST('{text}' AS DECIMAL({p},{s}))"), number()),
        T::Float32 => (format!("CAST('{}' AS FLOAT)", real(text) as f32), Comparable::Real(real(text))),
        T::Float64 => (format!("CAST('{}' AS DOUBLE)", real(text)), Comparable::Real(real(text))),
        T::Utf8 => {
            let quoted = text.replace('\\', "\\\\").replace('\'', "\\'");
            (format!("'{quoted}'"), Comparable::Text(text.to_owned()))
        }
        _ => return None,
    })
}

/// A floating point number in the form of `scripts/corpus/plain.py`.
fn real(text: &str) -> f64 {
    let bits = text.strip_prefix("double ").map(|bits| u64::from_str_radix(bits, 16).unwrap());
    bits.map_or(f64::NAN, f64::from_bits)
}

enum Comparable {
    Number(i128),
    Real(f64),
    Text(String),
}

impl Comparable {
    /// As Spark orders them: NaN is the largest number, and there is one zero.
    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => one.cmp(other),
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            (Self::Real(one), Self::Real(other)) => {
                one.partial_cmp(other).unwrap_or_else(|| one.is_nan().cmp(&other.is_nan()))
            }
            _ => panic!("values of different types"),
        }
    }
}

/// The conditions on a column: each with the rows that meet it.
fn conditions(field: &Field, at: usize, rows: &Rows) -> Vec<(String, Vec<i32>)> {
    let name = field.name();
    let those = |is_met: &dyn Fn(&Value) -> bool| {
        rows.iter().filter(|(_, row)| is_met(&row[at])).map(|(id, _)| *id).collect::<Vec<i32>>()
    };
    let mut all = vec![
        (format!("`{name}` IS NULL"), those(&Value::is_null)),
        (format!("`{name}` IS NOT NULL"), those(&|value| !value.is_null())),
    ];
    for (text, value) in rows.values().filter_map(|row| literal(field.data_type(), &row[at])).take(4) {
        for (comparison, order) in [("=", Ordering::Equal), ("<", Ordering::Less), (">", Ordering::Greater)] {
            let is_met = |other: &Value| {
                literal(field.data_type(), other).is_some_and(|(_, other)| other.order(&value) == order)
            };
            all.push((format!("`{name}` {comparison} {text}"), those(&is_met)));
        }
    }
    all
}

/// Holds what scans find by conditions on each column against the rows.
async fn find_by_conditions(packed: &Packed) {
    let (folder, key) = (temporary::folder(), packed.key());
    packed.unpack(folder.path());
    let (read, rows) = scanned(folder.path(), &key).await.unwrap();
    for (at, field) in read.schema().fields().iter().enumerate() {
        for (condition, expected) in conditions(field, at, &rows) {
            let found = all(scan(options(folder.path(), Some(condition.clone()))).await.unwrap()).await.unwrap();
            let ids = found.column_by_name(&key).unwrap().as_primitive::<t::Int32Type>();
            let mut ids = ids.values().to_vec();
            ids.sort_unstable();
            assert_eq!(ids, expected, "{}: {condition}", packed.name);
        }
    }
}

/// What files and row groups say of their values never hides a row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_find_all_their_rows() {
    let is_read = |packed: &&Packed| packed.is_among(NOT_READ).is_none() && !packed.content["rows"].is_null();
    for packed in Packed::all().iter().filter(is_read) {
        find_by_conditions(packed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_in_another_calendar_or_unit_hide_no_row() {
    for name in ["rebased-alone", "kinds-millis-legacy-format"] {
        find_by_conditions(Packed::all().iter().find(|packed| packed.name == name).unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_feed_is_read_as_spark_reads_it() {
    for packed in Packed::all().iter().filter(|packed| !packed.content["changes"].is_null()) {
        let folder = temporary::folder();
        packed.unpack(folder.path());
        let uri = folder.path().to_str().unwrap();
        let feed = all(changes(uri, &Default::default(), 0, None).await.unwrap()).await.unwrap();
        let kept: Vec<usize> =
            (0..feed.num_columns()).filter(|at| feed.schema().field(*at).name() != "_commit_timestamp").collect();
        let sorted = |rows: Vec<Vec<Value>>| {
            let mut rows: Vec<String> = rows.iter().map(|row| Value::from(row.clone()).to_string()).collect();
            rows.sort();
            rows
        };
        let expected = packed.content["changes"].as_array().unwrap().iter().map(|row| row.as_array().unwrap().clone());
        assert_eq!(sorted(rows_of(&feed.project(&kept).unwrap())), sorted(expected.collect()), "{}", packed.name);
    }
}
