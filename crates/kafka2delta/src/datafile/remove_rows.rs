//! Taking rows out of data files: by deletion vectors, or by writing the files anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::file::metadata::PageIndexPolicy;
use roaring::RoaringBitmap;
use serde_json::value::RawValue;
use tokio::task::JoinSet;

use super::copies::{Copies, FileCopy};
use super::encode::DataFile;
use super::format::FileFormat;
use super::open::{OpenFile, StoredFile};
use super::order_columns;
use super::output::{GroupWriter, Output, OutputLayout, ROW_GROUP_BYTES};
use super::partition_values::partition_text;
use super::read::{FileReader, partition_column};
use crate::error::{Error, ErrorCode, Result};
use crate::key::columns::KeyColumns;
use crate::key::hasher::Fingerprint;
use crate::log::actions::{Add, Cdc, Remove, StringMap};
use crate::log::deletion_vectors;
use crate::log::files::{FileEntry, FileId};
use crate::log::liveness::vector_of;
use crate::log::state::TableState;
use crate::log::tags::{committed, set_committed};
use crate::machine::now_millis;

/// Files that are written anew at the same time.
const PARALLEL_COPIES: usize = 4;

/// Rows to be taken out, by file.
pub type Deletions = BTreeMap<FileId, RoaringBitmap>;

/// The actions that take rows out of their files.
#[derive(Debug, Default)]
pub struct Taken {
    /// Of the files as they were.
    pub removes: Vec<Remove>,
    /// Of the same files with a new vector, or of the files written instead.
    pub adds: Vec<Add>,
    /// The file of these vectors, where they are not in the log.
    pub vector_file: Option<Path>,
    /// The new vectors by file.
    pub vectors: Vec<(FileId, Arc<RoaringBitmap>)>,
    /// Files that were written instead.
    pub rewritten: Vec<FileCopy>,
    /// Files of the change data feed.
    pub cdcs: Vec<Cdc>,
    /// Bytes written.
    pub bytes: u64,
}

impl Taken {
    /// Stores a file that takes the place of a part of another one.
    pub(crate) async fn store_copy(
        &mut self,
        store: &Arc<dyn ObjectStore>,
        file: DataFile,
        keys: Vec<Fingerprint>,
    ) -> Result<()> {
        let DataFile { path, bytes, add } = file;
        store.put(&path, bytes.into()).await?;
        self.push(FileCopy { path, add, keys: Arc::new(keys) });
        Ok(())
    }

    fn push(&mut self, copy: FileCopy) {
        self.bytes += u64::try_from(copy.add.size).unwrap_or(0);
        self.adds.push(copy.add.clone());
        self.rewritten.push(copy);
    }
}

/// Rows of the file, deleted ones included.
pub async fn num_records(store: &Arc<dyn ObjectStore>, file: &FileEntry) -> Result<u64> {
    if let Some(rows) = file.num_records {
        return Ok(rows);
    }
    Ok(OpenFile::open(StoredFile::new(store, &file.add)?, PageIndexPolicy::Skip).await?.num_rows())
}

/// Marks rows as deleted. A file that has no row left leaves the table.
pub async fn by_vectors(store: &Arc<dyn ObjectStore>, state: &TableState, deletions: &Deletions) -> Result<Taken> {
    let mut taken = Taken::default();
    let mut vectors = Vec::new();
    let now = now_millis();
    for (id, rows) in deletions {
        let file = &state.files[*id as usize];
        let deleted = vector_of(state, *id)? | rows;
        let total = num_records(store, file).await?;
        taken.removes.push(file.add.to_remove(now));
        if deleted.len() < total {
            let mut add = file.add.clone();
            add.data_change = true;
            add.stats = Some(loose_stats(file.add.stats.as_deref(), total));
            taken.adds.push(add);
            vectors.push(deleted.clone());
        }
        taken.vectors.push((*id, Arc::new(deleted)));
    }
    let (descriptors, file) = deletion_vectors::write(&vectors)?;
    for (add, descriptor) in taken.adds.iter_mut().zip(descriptors) {
        add.deletion_vector = Some(descriptor);
    }
    if let Some((path, bytes)) = file {
        taken.bytes = bytes.len() as u64;
        store.put(&path, bytes.into()).await?;
        taken.vector_file = Some(path);
    }
    Ok(taken)
}

/// The statistics of a file with a deletion vector: its bounds may be wider than its rows.
pub(crate) fn loose_stats(stats: Option<&str>, num_records: u64) -> String {
    let mut fields: BTreeMap<String, Box<RawValue>> =
        stats.and_then(|s| serde_json::from_str(s).ok()).unwrap_or_default();
    let mut set = |name: &str, value: String| {
        if let Ok(value) = RawValue::from_string(value) {
            fields.insert(name.to_owned(), value);
        }
    };
    set("numRecords", num_records.to_string());
    set("tightBounds", "false".to_owned());
    serde_json::to_string(&fields).unwrap_or_else(|_| format!(r#"{{"numRecords":{num_records},"tightBounds":false}}"#))
}

/// What a rewrite needs to know of the table.
#[derive(Debug, Clone)]
pub struct Layout {
    /// All columns of the table.
    pub schema: SchemaRef,
    /// Those that are in the path.
    pub partition_columns: Vec<String>,
    /// Of new files.
    pub format: FileFormat,
    /// To find the rows again, where they have keys.
    pub key: Option<KeyColumns>,
}

/// Writes the files anew without the rows, unless there are copies from an earlier attempt. Some are written at a time: of
/// each, memory holds a batch, the row group being written and the keys.
///
/// What was written stays in `copies`, after an error too.
pub async fn by_copies(
    store: &Arc<dyn ObjectStore>,
    state: &TableState,
    deletions: &Deletions,
    layout: &Layout,
    copies: &mut Copies,
) -> Result<Taken> {
    copies.begin(&layout.schema);
    write_copies(store, state, deletions, layout, copies).await?;
    let mut taken = Taken::default();
    let now = now_millis();
    for (id, rows) in deletions {
        let add = &state.files[*id as usize].add;
        // A file that is only written in other types changes no rows.
        let data_change = !rows.is_empty();
        taken.removes.push(Remove { data_change, ..add.to_remove(now) });
        let copy = copies
            .find(&add.path, &(vector_of(state, *id)? | rows))
            .ok_or_else(|| Error::new(ErrorCode::Internal, "a file was not written anew"))?;
        if let Some(mut copy) = copy {
            copy.add.data_change = data_change;
            taken.push(copy);
        }
    }
    Ok(taken)
}

/// Writes the copies that are not there yet.
async fn write_copies(
    store: &Arc<dyn ObjectStore>,
    state: &TableState,
    deletions: &Deletions,
    layout: &Layout,
    copies: &mut Copies,
) -> Result<()> {
    let mut missing = Vec::new();
    for (id, rows) in deletions {
        let file = &state.files[*id as usize];
        let without = vector_of(state, *id)? | rows;
        if copies.find(&file.add.path, &without).is_none() {
            missing.push((file, without));
        }
    }
    let mut missing = missing.into_iter();
    let mut under_way = JoinSet::new();
    let mut failed = None;
    loop {
        while failed.is_none()
            && under_way.len() < PARALLEL_COPIES
            && let Some((file, without)) = missing.next()
        {
            let (store, layout, add, partition) = (store.clone(), layout.clone(), file.add.clone(), file.partition);
            under_way.spawn(async move {
                let copy = copy_without(&store, &add, partition, &without, &layout).await?;
                Ok::<_, Error>((add.path, without, copy))
            });
        }
        match under_way.join_next().await.map(|done| done.map_err(Error::from).flatten()) {
            None => return failed.map_or(Ok(()), Err),
            Some(Ok((path, without, copy))) => copies.keep(path, without, copy),
            // Those under way are waited for, so that what they store is known.
            Some(Err(error)) => _ = failed.get_or_insert(error),
        }
    }
}

/// Stores a file's rows but for the deleted ones as another file, batch by batch; none where no row is left.
async fn copy_without(
    store: &Arc<dyn ObjectStore>,
    add: &Add,
    kafka_partition: Option<i32>,
    deleted: &RoaringBitmap,
    layout: &Layout,
) -> Result<Option<FileCopy>> {
    let reader = FileReader::open(store, add).await?;
    let ordered = reader.has_column(order_columns::COLUMNS[0]);
    let schema = if ordered { order_columns::with_columns(&layout.schema) } else { layout.schema.clone() };
    let mut writer = GroupWriter::new(OutputLayout {
        store: store.clone(),
        partition_columns: layout.partition_columns.clone(),
        format: layout.format.clone(),
        target_file_size: u64::MAX,
        row_group_bytes: ROW_GROUP_BYTES,
        key: layout.key.clone(),
        partition_values: restated(&add.partition_values, &layout.schema)?,
        kafka_partition,
    });
    match write_without(reader.batches(schema, None)?, deleted, &mut writer).await {
        Ok(mut copy) => {
            if let Some(copy) = &mut copy {
                set_committed(&mut copy.add, committed(add));
            }
            Ok(copy)
        }
        Err(error) => {
            writer.abort().await;
            Err(error)
        }
    }
}

async fn write_without(
    mut batches: BoxStream<'static, Result<RecordBatch>>,
    deleted: &RoaringBitmap,
    writer: &mut GroupWriter,
) -> Result<Option<FileCopy>> {
    let mut first = 0u32;
    while let Some(batch) = batches.try_next().await? {
        let end = first + batch.num_rows() as u32;
        let mask: BooleanArray = (first..end).map(|row| Some(!deleted.contains(row))).collect();
        first = end;
        writer.write(filter_record_batch(&batch, &mask)?).await?;
    }
    let copy = writer.finish().await?.pop();
    Ok(copy.map(|Output { path, add, keys, .. }| FileCopy { path, add, keys: Arc::new(keys.unwrap_or_default()) }))
}

/// Partition values as texts of the columns' types as they are now: a decimal that has grown has more digits, and readers
/// take no other number of them. Texts of other types, which their writers may form as they like, stay.
fn restated(values: &StringMap, schema: &Schema) -> Result<StringMap> {
    let mut values = values.clone();
    let names: Vec<String> = values.iter().filter(|(_, value)| value.is_some()).map(|(name, _)| name.clone()).collect();
    for name in names {
        if let Ok(field) = schema.field_with_name(&name)
            && matches!(field.data_type(), DataType::Decimal128(_, _))
        {
            let text = partition_text(&partition_column(&values, field, 1)?, 0)?;
            values.insert(name, text);
        }
    }
    Ok(values)
}

/// The new paths of rewritten files to their rows' keys.
pub fn rewritten_keys(taken: &Taken) -> HashMap<&str, &[Fingerprint]> {
    taken.rewritten.iter().map(|copy| (copy.add.path.as_str(), copy.keys.as_slice())).collect()
}

#[cfg(test)]
mod tests {
    use super::loose_stats;

    #[test]
    fn bounds_stay_to_the_digit() {
        let stats = r#"{"numRecords":3,"minValues":{"d":12345678901234567890.123456789012345678},"tightBounds":true}"#;
        let loose = loose_stats(Some(stats), 3);
        assert!(loose.contains("12345678901234567890.123456789012345678") && loose.contains(r#""tightBounds":false"#));
        assert_eq!(loose_stats(None, 7), r#"{"numRecords":7,"tightBounds":false}"#);
    }
}
