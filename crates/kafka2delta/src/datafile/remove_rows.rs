//! Taking rows out of data files: by deletion vectors, or by writing the files anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::async_reader::AsyncFileReader;
use roaring::RoaringBitmap;
use serde_json::value::RawValue;

use super::encode::{DataFile, encode};
use super::order_columns;
use super::parquet_properties::writer_properties;
use super::partition_values::partition_text;
use super::read::{StoredFile, read_columns};
use super::split::FileRows;
use super::stats::StatsColumns;
use crate::error::{Error, ErrorCode, Result};
use crate::key::columns::KeyColumns;
use crate::key::hasher::Fingerprint;
use crate::log::actions::{Add, Cdc, Remove, StringMap};
use crate::log::clock::now_millis;
use crate::log::deletion_vectors;
use crate::log::files::{FileEntry, FileId};
use crate::log::liveness::vector_of;
use crate::log::state::TableState;
use crate::options::Compression;

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
    /// Files that were written instead, with the keys of their rows.
    pub rewritten: Vec<(DataFile, Vec<Fingerprint>)>,
    /// Files of the change data feed.
    pub cdcs: Vec<Cdc>,
    /// Bytes written.
    pub bytes: u64,
}

impl Taken {
    /// Stores a file that was written instead of another one. It is no longer held: a rewrite of the whole table must
    /// not stay in memory.
    pub(crate) async fn store_copy(
        &mut self,
        store: &Arc<dyn ObjectStore>,
        mut copy: DataFile,
        keys: Vec<Fingerprint>,
    ) -> Result<()> {
        self.bytes += copy.bytes.len() as u64;
        store.put(&copy.path, std::mem::take(&mut copy.bytes).into()).await?;
        self.adds.push(copy.add.clone());
        self.rewritten.push((copy, keys));
        Ok(())
    }
}

/// Rows of the file, deleted ones included.
pub async fn num_records(store: &Arc<dyn ObjectStore>, file: &FileEntry) -> Result<u64> {
    if let Some(rows) = file.num_records {
        return Ok(rows);
    }
    let metadata = StoredFile::new(store, &file.add)?.get_metadata(None).await?;
    u64::try_from(metadata.file_metadata().num_rows())
        .map_err(|_| Error::new(ErrorCode::TableCorrupt, format!("{} has a negative number of rows", file.add.path)))
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
    pub compression: Compression,
    /// To find the rows again, where they have keys.
    pub key: Option<KeyColumns>,
    /// Columns of new files with statistics.
    pub stats: StatsColumns,
}

/// Writes the files anew without the rows.
pub async fn by_copies(
    store: &Arc<dyn ObjectStore>,
    state: &TableState,
    deletions: &Deletions,
    layout: &Layout,
) -> Result<Taken> {
    let mut taken = Taken::default();
    let now = now_millis();
    for (id, rows) in deletions {
        let file = &state.files[*id as usize];
        // A file that is only written in other types changes no rows.
        let data_change = !rows.is_empty();
        taken.removes.push(Remove { data_change, ..file.add.to_remove(now) });
        let deleted = vector_of(state, *id)? | rows;
        if let Some((mut copy, keys)) = copy_without(store, file, &deleted, layout).await? {
            copy.add.data_change = data_change;
            taken.store_copy(store, copy, keys).await?;
        }
    }
    Ok(taken)
}

async fn copy_without(
    store: &Arc<dyn ObjectStore>,
    file: &FileEntry,
    deleted: &RoaringBitmap,
    layout: &Layout,
) -> Result<Option<(DataFile, Vec<Fingerprint>)>> {
    let schema = order_columns::with_columns(&layout.schema);
    let columns: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    let mut kept: Vec<RecordBatch> = Vec::new();
    let mut first = 0u32;
    read_columns(store, &file.add, &schema, &columns, None, |arrays| {
        let batch = RecordBatch::try_new(schema.clone(), arrays)?;
        let end = first + batch.num_rows() as u32;
        let mask: BooleanArray = (first..end).map(|row| Some(!deleted.contains(row))).collect();
        first = end;
        if mask.true_count() > 0 {
            kept.push(filter_record_batch(&batch, &mask)?);
        }
        Ok(())
    })
    .await?;
    if kept.is_empty() {
        return Ok(None);
    }
    let rows = arrow::compute::concat_batches(&schema, &kept)?;
    let rows = order_columns::without_empty(rows)?;
    let layout = layout.clone();
    let partition_values = restated(&file.add.partition_values, &rows)?;
    let kafka_partition = file.partition;
    tokio::task::spawn_blocking(move || {
        let group = FileRows { partition_values, rows: (0..rows.num_rows() as u32).collect(), kafka_partition };
        let properties = writer_properties(layout.compression);
        let copy = encode(&rows, &group, &layout.partition_columns, properties, layout.compression, &layout.stats)?;
        let keys = layout.key.map(|key| key.fingerprints(&rows)).transpose()?.unwrap_or_default();
        Ok(Some((copy, keys)))
    })
    .await?
}

/// Partition values as texts of the columns' types as they are now: a decimal that has grown has more digits, and readers
/// take no other number of them. Texts of other types, which their writers may form as they like, stay.
fn restated(values: &StringMap, rows: &RecordBatch) -> Result<StringMap> {
    let mut values = values.clone();
    for (name, value) in values.iter_mut().filter(|(_, value)| value.is_some()) {
        if let Some(column) = rows.column_by_name(name)
            && matches!(column.data_type(), DataType::Decimal128(_, _))
        {
            *value = partition_text(column, 0)?;
        }
    }
    Ok(values)
}

/// The new paths of rewritten files to their rows' keys.
pub fn rewritten_keys(taken: &Taken) -> HashMap<&str, &[Fingerprint]> {
    taken.rewritten.iter().map(|(file, keys)| (file.add.path.as_str(), keys.as_slice())).collect()
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
