//! A small table, its changes, and the map that says what the table must hold (`docs/architecture.md`). The engine's tests
//! and its simulation share it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use kafka2delta::TableOptions;
use kafka2delta::options::{Compression, KeyIndexMode, MergeMode, OnMissingValue, WriteMode};
use kafka2delta::schema::SchemaEvolution;
use rand::Rng;
use rand::rngs::StdRng;

/// A row without its key: `name`, `big` (a value that changes may leave out), `part` (the partition column), `extra`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    pub name: Option<String>,
    pub big: Option<String>,
    pub part: Option<i32>,
    pub extra: Option<i64>,
    /// With soft deletes, whether it is marked as deleted.
    pub deleted: Option<bool>,
}

/// `(tenant, id)`
pub type Key = (i32, i64);

#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Upsert {
        key: Key,
        row: Row,
        leaves_big: bool,
        old: Option<Key>,
        sequence: Option<u64>,
    },
    Delete {
        key: Key,
        sequence: Option<u64>,
    },
    /// The old key of a key update, and the new one where the change tells.
    Moved {
        key: Key,
        new: Option<Key>,
    },
    Truncate {
        sequence: Option<u64>,
    },
}

/// The old key and the new one.
type Update = (Key, Key);

/// What a rule tells of an update of a key after its last half.
#[derive(Debug, Clone)]
enum Half {
    /// The second one is to come, for the row that the first one took; whether a rule tells its `big`.
    Second(Row, bool),
    /// The first one is to come.
    First,
    /// The same half came twice: a second one leaves out what nobody knows.
    Untold,
    /// It depends on the batches.
    Unknown,
}

/// The map of `docs/architecture.md`.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub rows: BTreeMap<Key, Row>,
    /// By key update, with the version before which its last half was.
    halves: HashMap<Update, (Half, u64)>,
    /// Of these, those of before the last restart: they are looked for in the newest commits alone.
    looked_for: HashSet<Update>,
    /// Rows of keys that were updated where nothing tells to which ones.
    moved: HashMap<Key, (Row, bool)>,
    /// The table's version.
    pub version: u64,
    /// Keys whose `big` no rule tells: a key update came again when its old key had been deleted otherwise.
    pub untold: HashSet<Key>,
    /// Deleted rows stay, marked.
    pub soft: bool,
    /// Whether the halves of the updates that follow come through different partitions: in one nothing lies between them.
    pub halves_apart: bool,
}

impl Model {
    pub fn apply(&mut self, change: &Change) {
        let key = match change {
            Change::Upsert { key, .. } | Change::Delete { key, .. } | Change::Moved { key, .. } => *key,
            Change::Truncate { .. } if self.soft => {
                self.rows.values_mut().for_each(|row| row.deleted = Some(true));
                return;
            }
            Change::Truncate { .. } => {
                self.rows.clear();
                self.moved.clear();
                return;
            }
        };
        match change {
            Change::Upsert { row, leaves_big, old, .. } => {
                let mut row = Row { deleted: self.soft.then_some(false), ..row.clone() };
                let other = old.map(|old| self.second_half(old, key));
                let own = self.rows.get(&key).filter(|own| old.is_none() || own.deleted != Some(true));
                if !*leaves_big {
                    self.untold.remove(&key);
                } else if let Some(own) = own {
                    // A key update that comes again finds its values in the row that it made.
                    row.big = own.big.clone();
                } else {
                    let (big, is_told) = other.unwrap_or((None, true));
                    row.big = big;
                    let _ = if is_told { self.untold.remove(&key) } else { self.untold.insert(key) };
                }
                self.rows.insert(key, row);
            }
            _ if self.soft => {
                let Some(row) = self.rows.get_mut(&key) else { return };
                let marked = Row { deleted: Some(true), ..row.clone() };
                let before = std::mem::replace(row, marked);
                if let Change::Moved { new, .. } = change {
                    self.first_half(key, *new, before);
                }
            }
            Change::Moved { new, .. } => match (self.rows.remove(&key), new) {
                (Some(row), _) => self.first_half(key, *new, row),
                // What came early waits for it no more.
                (None, Some(new)) if matches!(self.half((key, *new)), Some(Half::First)) => {
                    self.set_half((key, *new), None);
                }
                (None, _) => {}
            },
            _ => {
                self.rows.remove(&key);
                self.moved.remove(&key);
            }
        }
    }
}

impl Model {
    /// What is known of an update. Halves of before a restart are known by the newest commits alone.
    fn half(&self, update: Update) -> Option<Half> {
        let (half, at) = self.halves.get(&update)?;
        let is_known = !self.looked_for.contains(&update) || at + LOOKED_THROUGH > self.version;
        is_known.then(|| half.clone())
    }

    fn set_half(&mut self, update: Update, half: Option<Half>) {
        self.looked_for.remove(&update);
        match half {
            Some(half) => drop(self.halves.insert(update, (half, self.version))),
            None => drop(self.halves.remove(&update)),
        }
    }

    fn first_half(&mut self, old: Key, new: Option<Key>, row: Row) {
        let is_told = !self.untold.contains(&old);
        let Some(new) = new else {
            self.moved.insert(old, (row, is_told));
            return;
        };
        // Of the rows that a key had in one batch, one is kept.
        let others: Vec<Update> = self.halves.keys().filter(|(o, n)| *o == old && *n != new).copied().collect();
        for update in others {
            if let Some(Half::Second(..)) = self.half(update) {
                self.set_half(update, Some(Half::Unknown));
            }
        }
        let after = match self.half((old, new)) {
            // Whether a row was marked before is known within a batch.
            _ if row.deleted == Some(true) => Some(Half::Unknown),
            None => Some(Half::Second(row, is_told)),
            Some(Half::First) => None,
            // A row that was marked in an earlier batch may be a repeat's.
            Some(Half::Second(..)) if self.soft => Some(Half::Unknown),
            Some(Half::Second(..) | Half::Untold) => Some(Half::Untold),
            Some(Half::Unknown) => Some(Half::Unknown),
        };
        self.set_half((old, new), after);
    }

    /// What the second half of an update leaves out, and whether a rule tells it; not of one whose key has a row.
    fn second_half(&mut self, old: Key, new: Key) -> (Option<String>, bool) {
        let update = (old, new);
        let half = self.half(update);
        let is_repeat = self.rows.get(&new).is_some_and(|own| own.deleted != Some(true));
        let after = match &half {
            _ if !self.halves_apart => None,
            // By stored rows, which may be marked, a repeat is not known.
            Some(Half::Second(..)) if is_repeat && self.soft => Some(Half::Unknown),
            Some(Half::Second(..)) if is_repeat => Some(Half::Untold),
            Some(Half::Second(..)) => None,
            None if self.rows.contains_key(&old) && self.soft => Some(Half::Unknown),
            None if self.rows.contains_key(&old) && !is_repeat => Some(Half::First),
            other => (*other).clone(),
        };
        self.set_half(update, after);
        match half {
            Some(Half::Second(row, is_told)) => (row.big, is_told),
            Some(Half::Untold) => (None, true),
            // One that came early, or is sent again: the old key may have another row.
            None | Some(Half::First | Half::Unknown) => match (self.rows.get(&old), self.moved.get(&old)) {
                (None, Some((row, is_told))) => (row.big.clone(), *is_told),
                (row, _) => (row.and_then(|row| row.big.clone()), false),
            },
        }
    }
}

/// Commits in which a restart looks for the rows of keys that were updated (`docs/semantics.md`).
const LOOKED_THROUGH: u64 = 32;

impl Model {
    /// The table was opened anew.
    pub fn restarted(&mut self) {
        self.looked_for.extend(self.halves.keys());
    }

    /// In what a table differs; none where it holds the same rows.
    pub fn difference(&self, table: &BTreeMap<Key, Row>) -> Option<String> {
        let told = |rows: &BTreeMap<Key, Row>| -> BTreeMap<Key, Row> {
            let hide = |(key, row): (&Key, &Row)| match self.untold.contains(key) {
                true => (*key, Row { big: None, ..row.clone() }),
                false => (*key, row.clone()),
            };
            rows.iter().map(hide).collect()
        };
        let (found, expected) = (told(table), told(&self.rows));
        let keys: BTreeSet<&Key> = found.keys().chain(expected.keys()).collect();
        let differs = |key: &&Key| found.get(*key) != expected.get(*key);
        let text = |key: &Key| format!("{key:?} is {:?} instead of {:?}", found.get(key), expected.get(key));
        let differences: Vec<String> = keys.into_iter().filter(differs).map(text).collect();
        (!differences.is_empty()).then(|| differences.join("; "))
    }

    /// Fails where the table holds other rows.
    pub fn assert_equals(&self, table: &BTreeMap<Key, Row>, note: &str) {
        assert_eq!(self.difference(table), None, "{note}");
    }
}

/// An IPC stream of changes, with only the control columns that they need.
/// `partitions`: of each change the Kafka partition; none for 0.
pub fn ipc(changes: &[Change], partitions: &[i32], with_extra: bool, soft: bool) -> Bytes {
    let row_of = |c: &Change| match c {
        Change::Upsert { row, leaves_big, .. } => Row { big: row.big.clone().filter(|_| !leaves_big), ..row.clone() },
        _ => Row::default(),
    };
    let key_of = |c: &Change| match c {
        Change::Upsert { key, .. } | Change::Delete { key, .. } | Change::Moved { key, .. } => Some(*key),
        Change::Truncate { .. } => None,
    };
    let rows: Vec<Row> = changes.iter().map(row_of).collect();
    let mut fields = vec![
        Field::new("tenant", DataType::Int32, true),
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("big", DataType::Utf8, true),
        Field::new("part", DataType::Int32, true),
    ];
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(changes.iter().map(|c| key_of(c).map(|k| k.0)).collect::<Int32Array>()),
        Arc::new(changes.iter().map(|c| key_of(c).map(|k| k.1)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.name.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|r| r.big.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|r| r.part).collect::<Int32Array>()),
    ];
    if with_extra {
        fields.push(Field::new("extra", DataType::Int64, true));
        columns.push(Arc::new(rows.iter().map(|r| r.extra).collect::<Int64Array>()));
    }
    fields.push(Field::new("_op", DataType::UInt8, false));
    columns.push(Arc::new(UInt8Array::from_iter_values(changes.iter().map(|c| match c {
        Change::Upsert { .. } => 0,
        Change::Delete { .. } if soft => 5,
        Change::Moved { .. } if soft => 6,
        Change::Delete { .. } => 1,
        Change::Truncate { .. } => 2,
        Change::Moved { .. } => 4,
    }))));
    if partitions.iter().any(|p| *p != 0) {
        fields.push(Field::new("_part", DataType::Int32, false));
        columns.push(Arc::new(Int32Array::from(partitions.to_vec())));
    }
    let sequence_of = |c: &Change| match c {
        Change::Upsert { sequence, .. } | Change::Delete { sequence, .. } | Change::Truncate { sequence } => *sequence,
        Change::Moved { .. } => None,
    };
    if changes.iter().any(|c| sequence_of(c).is_some()) {
        let mut builder = FixedSizeBinaryBuilder::new(24);
        for change in changes {
            match sequence_of(change) {
                Some(sequence) => {
                    let mut bytes = [0; 24];
                    bytes[..8].copy_from_slice(&sequence.to_be_bytes());
                    builder.append_value(bytes).unwrap();
                }
                None => builder.append_null(),
            }
        }
        fields.push(Field::new("_seq", DataType::FixedSizeBinary(24), true));
        columns.push(Arc::new(builder.finish()));
        fields.push(Field::new("_epoch", DataType::UInt64, true));
        columns.push(Arc::new(UInt64Array::from(vec![7; changes.len()])));
    }
    let other_half = |change: &Change| match change {
        Change::Upsert { old: other, .. } | Change::Moved { new: other, .. } => *other,
        _ => None,
    };
    let old: Vec<Option<Key>> = changes.iter().map(other_half).collect();
    if old.iter().any(Option::is_some) {
        let parts =
            Fields::from(vec![Field::new("tenant", DataType::Int32, true), Field::new("id", DataType::Int64, true)]);
        let nulls = NullBuffer::from_iter(old.iter().map(Option::is_some));
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(old.iter().map(|k| k.map(|k| k.0)).collect::<Int32Array>()),
            Arc::new(old.iter().map(|k| k.map(|k| k.1)).collect::<Int64Array>()),
        ];
        fields.push(Field::new("_old_key", DataType::Struct(parts.clone()), true));
        columns.push(Arc::new(StructArray::new(parts, arrays, Some(nulls))));
    }
    let leaves: Vec<bool> = changes.iter().map(|c| matches!(c, Change::Upsert { leaves_big: true, .. })).collect();
    let marks: Vec<bool> = changes.iter().map(|c| soft && !matches!(c, Change::Upsert { .. })).collect();
    if leaves.contains(&true) || marks.contains(&true) {
        let names = ["big", "name", "part", "extra"];
        let names = &names[..if with_extra { 4 } else { 3 }];
        let parts: Fields = names.iter().map(|name| Field::new(*name, DataType::Boolean, false)).collect();
        let big = leaves.iter().zip(&marks).map(|(a, b)| *a || *b).collect::<Vec<_>>();
        let mut masks: Vec<ArrayRef> = vec![Arc::new(BooleanArray::from(big))];
        masks.resize(names.len(), Arc::new(BooleanArray::from(marks)));
        fields.push(Field::new("_left_out", DataType::Struct(parts.clone()), false));
        columns.push(Arc::new(StructArray::new(parts, masks, None)));
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner().unwrap().into()
}

/// The stream with the number of the topic's partitions.
pub fn with_partitions(ipc: Bytes, partitions: usize) -> Bytes {
    with_metadata(ipc, "kafka2delta.partitions", &partitions.to_string())
}

/// The stream with metadata.
pub fn with_metadata(ipc: Bytes, name: &str, value: &str) -> Bytes {
    let batch = StreamReader::try_new(std::io::Cursor::new(ipc), None).unwrap().next().unwrap().unwrap();
    let metadata = HashMap::from([(name.to_owned(), value.to_owned())]);
    let schema = Arc::new(batch.schema().as_ref().clone().with_metadata(metadata));
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
    writer.write(&batch.with_schema(schema).unwrap()).unwrap();
    writer.into_inner().unwrap().into()
}

/// The stream with the times of its changes: those of the source in `_time`, those of the messages in `_timestamp`.
pub fn with_times(ipc: Bytes, column: &str, times: &[i64]) -> Bytes {
    with_column(ipc, column, Arc::new(Int64Array::from(times.to_vec())))
}

/// The stream with one column more.
pub fn with_column(ipc: Bytes, name: &str, column: ArrayRef) -> Bytes {
    let batch = StreamReader::try_new(std::io::Cursor::new(ipc), None).unwrap().next().unwrap().unwrap();
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
    let mut columns = batch.columns().to_vec();
    columns.push(column);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap().into()
}

pub fn options(uri: &str, mode: MergeMode) -> TableOptions {
    TableOptions {
        uri: uri.to_owned(),
        storage_options: HashMap::new(),
        primary_key: None,
        additional_columns: vec!["upper(NAME) AS shout".into()],
        partition_columns: vec!["part".into()],
        name: Some("model".into()),
        description: None,
        properties: HashMap::new(),
        write_mode: WriteMode::Upsert,
        merge_mode: mode,
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
        cluster_by: vec![],
    }
}

/// Column that marks deleted rows, where they stay.
pub const SOFT: &str = "__deleted";

pub fn primary_key() -> Vec<String> {
    vec!["tenant".into(), "id".into()]
}

/// The rows of a batch with the table's columns.
pub fn rows_of(batch: &RecordBatch) -> Vec<(Key, Row)> {
    let text = |name: &str| arrow::compute::cast(batch.column_by_name(name).unwrap(), &DataType::Utf8).unwrap();
    let (name, big, shout) = (text("name"), text("big"), text("shout"));
    let int = |name: &str| {
        let column = batch.column_by_name(name).cloned();
        arrow::compute::cast(
            &column.unwrap_or_else(|| new_null_array(&DataType::Int64, batch.num_rows())),
            &DataType::Int64,
        )
        .unwrap()
    };
    let (tenant, id, part, extra) = (int("tenant"), int("id"), int("part"), int("extra"));
    let get = |a: &ArrayRef, i: usize| a.is_valid(i).then(|| a.as_primitive::<arrow::datatypes::Int64Type>().value(i));
    let str = |a: &ArrayRef, i: usize| a.is_valid(i).then(|| a.as_string::<i32>().value(i).to_owned());
    let deleted = batch.column_by_name(SOFT).map(|c| c.as_boolean().clone());
    let row = |i: usize| {
        let key = (get(&tenant, i).unwrap() as i32, get(&id, i).unwrap());
        let row = Row {
            name: str(&name, i),
            big: str(&big, i),
            part: get(&part, i).map(|p| p as i32),
            extra: get(&extra, i),
            deleted: deleted.as_ref().filter(|d| d.is_valid(i)).map(|d| d.value(i)),
        };
        assert_eq!(str(&shout, i), row.name.as_ref().map(|n| n.to_uppercase()), "additional column of {key:?}");
        (key, row)
    };
    (0..batch.num_rows()).map(row).collect()
}

/// A row, which tells the step that wrote it.
pub fn random_row(rng: &mut StdRng, step: usize) -> Row {
    Row {
        name: rng.random_bool(0.9).then(|| format!("n{}", rng.random_range(0..50))),
        big: rng.random_bool(0.8).then(|| format!("big-{step}-{}", "x".repeat(rng.random_range(0..40)))),
        part: rng.random_bool(0.9).then(|| rng.random_range(0..3)),
        extra: rng.random_bool(0.5).then(|| rng.random_range(0..1000)),
        deleted: None,
    }
}
