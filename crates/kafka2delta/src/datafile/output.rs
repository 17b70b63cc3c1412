//! Writing new data files batch by batch: encoded on threads for such work, uploaded in parts.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use parquet::arrow::ArrowWriter;

use super::format::{FileFormat, large_columns};
use super::order_columns;
use super::paths::file_path;
use super::stats::Summary;
use crate::error::{Error, ErrorCode, Result};
use crate::key::columns::KeyColumns;
use crate::key::hasher::Fingerprint;
use crate::log::actions::{Add, StringMap};
use crate::log::store::delete_unused;
use crate::log::tags;
use crate::log::tags::SequenceRange;
use crate::machine::{now_millis, spawn_blocking};

/// Bytes of a part of an upload. All but the last have this size, as some stores demand.
pub(crate) const PART_BYTES: usize = 16 << 20;
/// Bytes of encoded rows that are held before they become a row group, unless the layout says less.
pub(crate) const ROW_GROUP_BYTES: usize = 64 << 20;
/// Bytes of a piece of what is encoded.
const CHUNK_BYTES: usize = 1 << 20;

/// Of what kind the files of a group are.
#[derive(Debug, Clone)]
pub(crate) struct OutputLayout {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) partition_columns: Vec<String>,
    pub(crate) format: FileFormat,
    pub(crate) target_file_size: u64,
    /// Bytes of a row group.
    pub(crate) row_group_bytes: usize,
    pub(crate) key: Option<KeyColumns>,
    pub(crate) partition_values: StringMap,
    pub(crate) kafka_partition: Option<i32>,
}

/// A stored file, not committed.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) path: Path,
    pub(crate) add: Add,
    /// Number of its first row among the rows of its group.
    pub(crate) start: u64,
    pub(crate) rows: u64,
    /// Of its rows; none where the table had no index.
    pub(crate) keys: Option<Vec<Fingerprint>>,
}

/// Writes the rows of a group into files of the target size.
pub(crate) struct GroupWriter {
    layout: OutputLayout,
    outputs: Vec<Output>,
    current: Option<OpenFile>,
    rows: u64,
}

struct OpenFile {
    path: Path,
    /// None while a thread works with it.
    encoder: Option<Encoder>,
    upload: Option<Box<dyn MultipartUpload>>,
    uploaded: u64,
    keys: Option<Vec<Fingerprint>>,
}

/// What is encoded and not uploaded, in pieces: one buffer would be twice as large while it grows.
#[derive(Debug, Default)]
struct Pending {
    full: VecDeque<Bytes>,
    last: Vec<u8>,
    len: usize,
}

impl Pending {
    fn close_last(&mut self) {
        if !self.last.is_empty() {
            self.full.push_back(std::mem::take(&mut self.last).into());
        }
    }

    /// Takes the first bytes.
    fn take(&mut self, most: usize) -> PutPayload {
        self.close_last();
        let mut left = most.min(self.len);
        self.len -= left;
        let mut taken = Vec::new();
        while left > 0
            && let Some(mut bytes) = self.full.pop_front()
        {
            if bytes.len() > left {
                self.full.push_front(bytes.split_off(left));
            }
            left -= bytes.len();
            taken.push(bytes);
        }
        taken.into_iter().collect()
    }
}

impl Write for Pending {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.last.len() + bytes.len() > CHUNK_BYTES {
            self.close_last();
        }
        self.last.extend_from_slice(bytes);
        self.len += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Encoder {
    writer: ArrowWriter<Pending>,
    row_group_bytes: usize,
    schema: SchemaRef,
    /// Columns that are not in the path.
    kept: Vec<usize>,
    summary: Summary,
    sequences: SequenceRange,
    rows: u64,
}

impl Encoder {
    /// Of a file that begins with these rows.
    fn new(rows: &RecordBatch, layout: &OutputLayout) -> Result<Self> {
        let columns = rows.schema_ref();
        let kept: Vec<usize> =
            (0..rows.num_columns()).filter(|i| !layout.partition_columns.contains(columns.field(*i).name())).collect();
        let schema: SchemaRef = Arc::new(Schema::new(columns.project(&kept)?.fields().clone()));
        let properties = layout.format.writer_properties(&large_columns(rows));
        Ok(Self {
            writer: ArrowWriter::try_new(Pending::default(), schema.clone(), Some(properties))?,
            row_group_bytes: layout.row_group_bytes,
            summary: Summary::new(schema.clone(), layout.format.stats()),
            schema,
            kept,
            sequences: SequenceRange::default(),
            rows: 0,
        })
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let columns = rows.project(&self.kept)?.columns().to_vec();
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        self.writer.write(&rows)?;
        if self.writer.in_progress_size() >= self.row_group_bytes {
            self.writer.flush()?;
        }
        self.summary.add(&rows);
        order_columns::orders_of(&rows).into_iter().for_each(|order| self.sequences.add(order.sequence));
        self.rows += rows.num_rows() as u64;
        Ok(())
    }

    /// Bytes of the file, were it closed now.
    fn size(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }
}

impl OpenFile {
    fn new(rows: &RecordBatch, layout: &OutputLayout) -> Result<Self> {
        Ok(Self {
            path: file_path(&layout.partition_values, layout.format.suffix()),
            encoder: Some(Encoder::new(rows, layout)?),
            upload: None,
            uploaded: 0,
            keys: layout.key.as_ref().map(|_| Vec::new()),
        })
    }

    async fn write(&mut self, rows: RecordBatch, layout: &OutputLayout) -> Result<()> {
        let mut encoder = self.encoder.take().ok_or_else(broken)?;
        let key = layout.key.clone();
        let (mut encoder, keys) = spawn_blocking(move || {
            let keys = key.map(|key| key.fingerprints(&rows)).transpose()?;
            encoder.write(&rows)?;
            Ok::<_, Error>((encoder, keys))
        })
        .await??;
        if let (Some(all), Some(keys)) = (&mut self.keys, keys) {
            all.extend(keys);
        }
        self.put_full_parts(encoder.writer.inner_mut(), layout).await?;
        self.encoder = Some(encoder);
        Ok(())
    }

    async fn put_full_parts(&mut self, pending: &mut Pending, layout: &OutputLayout) -> Result<()> {
        while pending.len > PART_BYTES {
            self.put_part(pending.take(PART_BYTES), layout).await?;
        }
        Ok(())
    }

    async fn put_part(&mut self, part: PutPayload, layout: &OutputLayout) -> Result<()> {
        if self.upload.is_none() {
            self.upload = Some(layout.store.put_multipart(&self.path).await?);
        }
        self.uploaded += part.content_length() as u64;
        if let Some(upload) = &mut self.upload {
            upload.put_part(part).await?;
        }
        Ok(())
    }

    async fn close(&mut self, layout: &OutputLayout, start: u64) -> Result<Output> {
        let mut encoder = self.encoder.take().ok_or_else(broken)?;
        let (mut encoder, metadata) = spawn_blocking(move || {
            let metadata = encoder.writer.finish()?;
            Ok::<_, Error>((encoder, metadata))
        })
        .await??;
        let pending = encoder.writer.inner_mut();
        self.put_full_parts(pending, layout).await?;
        let last = pending.take(PART_BYTES);
        if self.upload.is_some() {
            self.put_part(last, layout).await?;
            if let Some(mut upload) = self.upload.take() {
                upload.complete().await?;
            }
        } else {
            self.uploaded = last.content_length() as u64;
            layout.store.put(&self.path, last).await?;
        }
        let tags = tags::of_new_file(layout.kafka_partition, encoder.sequences.tag());
        let add = Add {
            path: self.path.to_string(),
            partition_values: layout.partition_values.clone(),
            size: i64::try_from(self.uploaded).map_err(|_| broken())?,
            modification_time: now_millis(),
            data_change: false,
            stats: Some(encoder.summary.to_json(metadata.row_groups())),
            tags: (!tags.is_empty()).then_some(tags),
            ..Add::default()
        };
        Ok(Output { path: self.path.clone(), add, start, rows: encoder.rows, keys: self.keys.take() })
    }
}

fn broken() -> Error {
    Error::new(ErrorCode::Internal, "a data file was written on after it had failed")
}

impl GroupWriter {
    pub(crate) fn new(layout: OutputLayout) -> Self {
        Self { layout, outputs: Vec::new(), current: None, rows: 0 }
    }

    /// Adds rows at the end. All batches have one schema.
    pub(crate) async fn write(&mut self, rows: RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        if self.current.is_none() {
            self.current = Some(OpenFile::new(&rows, &self.layout)?);
        }
        let Some(file) = &mut self.current else { return Ok(()) };
        file.write(rows, &self.layout).await?;
        if file.encoder.as_ref().is_some_and(|encoder| encoder.size() >= self.layout.target_file_size) {
            self.close().await?;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        if let Some(file) = &mut self.current {
            let output = file.close(&self.layout, self.rows).await?;
            self.rows += output.rows;
            self.outputs.push(output);
            self.current = None;
        }
        Ok(())
    }

    /// Closes the last file and gives all.
    pub(crate) async fn finish(&mut self) -> Result<Vec<Output>> {
        self.close().await?;
        Ok(std::mem::take(&mut self.outputs))
    }

    /// Removes what was stored.
    pub(crate) async fn abort(self) {
        let mut paths: Vec<Path> = self.outputs.into_iter().map(|output| output.path).collect();
        if let Some(file) = self.current {
            match file.upload {
                Some(mut upload) => {
                    if let Err(error) = upload.abort().await {
                        tracing::debug!(%error, path = %file.path, "an upload could not be given up");
                    }
                }
                None => paths.push(file.path),
            }
        }
        delete_unused(&self.layout.store, paths).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datafile::read::FileReader;
    use crate::log::tags::PARTITION_TAG;
    use arrow::array::{Array, ArrayRef, BinaryArray, Int64Array};
    use arrow::datatypes::{DataType, Field};
    use futures::TryStreamExt;
    use object_store::memory::InMemory;
    use parquet::file::metadata::ParquetMetaDataReader;

    /// Rows whose second column cannot be compressed.
    fn rows(first: i64, count: i64) -> RecordBatch {
        let mut state = first as u64 + 1;
        let mut noise = || {
            let number = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as u32
            };
            std::iter::repeat_with(number).take(256).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()
        };
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + count));
        let noise: ArrayRef = Arc::new(BinaryArray::from_iter_values((0..count).map(|_| noise())));
        let schema =
            Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("noise", DataType::Binary, true)]);
        RecordBatch::try_new(Arc::new(schema), vec![ids, noise]).unwrap()
    }

    #[tokio::test]
    async fn large_files_are_uploaded_in_parts() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let layout = OutputLayout {
            store: store.clone(),
            partition_columns: Vec::new(),
            format: FileFormat::of_tests(),
            target_file_size: 90 << 20,
            row_group_bytes: ROW_GROUP_BYTES,
            key: None,
            partition_values: StringMap::new(),
            kafka_partition: Some(3),
        };
        let mut writer = GroupWriter::new(layout);
        let (batches, count) = (15, 8192);
        for batch in 0..batches {
            writer.write(rows(batch * count, count)).await.unwrap();
        }
        let outputs = writer.finish().await.unwrap();
        let starts: Vec<u64> = outputs.iter().map(|output| output.start).collect();
        assert_eq!(starts, [0, 12 * count as u64], "a file is closed at its target size");
        let mut next = 0;
        for output in outputs {
            let meta = store.head(&output.path).await.unwrap();
            assert_eq!((meta.size as i64, output.add.size > 20 << 20), (output.add.size, true));
            assert_eq!(output.add.num_records(), Some(output.rows));
            let stats = output.add.stats.as_deref().unwrap();
            assert!(stats.contains(&format!(r#""minValues":{{"id":{next}}}"#)), "{stats}");
            assert_eq!(output.add.tags.as_ref().unwrap()[PARTITION_TAG].as_deref(), Some("3"));
            let bytes = store.get(&output.path).await.unwrap().bytes().await.unwrap();
            let footer = ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap();
            let chunks = footer.row_groups().iter().flat_map(|group| group.columns());
            let places: i32 = chunks.map(|chunk| chunk.offset_index_length().expect("places of pages")).sum();
            assert!((places as u64) < meta.size / 2000, "the places of the pages take {places} bytes");
            let reader = FileReader::open(&store, &output.add).await.unwrap();
            assert!(!reader.has_column(order_columns::COLUMNS[0]));
            let read: Vec<RecordBatch> =
                reader.batches(rows(0, 1).schema(), None).unwrap().try_collect().await.unwrap();
            for batch in read {
                let ids = arrow::compute::cast(batch.column(0), &DataType::Int64).unwrap();
                let expected: ArrayRef = Arc::new(Int64Array::from_iter_values(next..next + ids.len() as i64));
                assert_eq!(&ids, &expected);
                next += ids.len() as i64;
            }
        }
        assert_eq!(next, batches * count);
    }
}
