//! Deletion vectors: rows of a data file that are deleted.
//!
//! Format: <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#deletion-vector-format>: a file starts with the
//! version byte 1; each vector is its size (big endian), the magic number (little endian) with the portable 64-bit
//! roaring bitmap, and the CRC-32 of both (big endian).

use bytes::{BufMut, Bytes, BytesMut};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use roaring::{RoaringBitmap, RoaringTreemap};
use uuid::Uuid;

use super::actions::DeletionVectorDescriptor;
use crate::error::{Error, ErrorCode, Result};
use crate::machine::new_id;

const MAGIC: u32 = 1_681_511_377;

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::TableCorrupt, message)
}

/// Bytes of a vector that may stand in the log itself. Each stands there three times: added, removed, and in the
/// checkpoints' tombstones.
const MAX_INLINE: usize = 200;
/// Bytes of all vectors of a commit that stand in the log.
const MAX_INLINE_TOTAL: usize = 2000;

fn too_large<E>(_: E) -> Error {
    Error::new(ErrorCode::Internal, "a commit's deletion vectors exceed 2 GiB")
}

/// Magic number and bitmap.
fn serialize(rows: &RoaringBitmap) -> Result<Vec<u8>> {
    let treemap = RoaringTreemap::from_bitmaps([(0, rows.clone())]);
    let mut bytes = Vec::with_capacity(4 + treemap.serialized_size());
    bytes.put_u32_le(MAGIC);
    treemap
        .serialize_into(&mut bytes)
        .map_err(|e| Error::with_source(ErrorCode::Internal, "a deletion vector cannot be written", e))?;
    Ok(bytes)
}

/// A file's path in the table, and its bytes.
pub type NewFile = (Path, Bytes);

/// The vectors of one commit: where they are small, in the log itself, which saves the file and its request; otherwise
/// all in one file, whose path and bytes are given too.
pub fn write(vectors: &[RoaringBitmap]) -> Result<(Vec<DeletionVectorDescriptor>, Option<NewFile>)> {
    let sizes = || vectors.iter().map(|rows| 4 + 8 + 4 + rows.serialized_size());
    if sizes().all(|size| size <= MAX_INLINE) && sizes().sum::<usize>() <= MAX_INLINE_TOTAL {
        return Ok((vectors.iter().map(inline).collect::<Result<_>>()?, None));
    }
    let mut file = VectorFile::default();
    let descriptors = vectors.iter().map(|rows| file.append(rows)).collect::<Result<_>>()?;
    Ok((descriptors, Some(file.finish())))
}

/// A vector in the log: z85, for which zeros fill it up to a multiple of four bytes.
fn inline(rows: &RoaringBitmap) -> Result<DeletionVectorDescriptor> {
    let mut bytes = serialize(rows)?;
    let size_in_bytes = i32::try_from(bytes.len()).map_err(too_large)?;
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(DeletionVectorDescriptor {
        storage_type: "i".to_owned(),
        path_or_inline_dv: z85::encode(&bytes),
        offset: None,
        size_in_bytes,
        cardinality: i64::try_from(rows.len()).unwrap_or(i64::MAX),
    })
}

/// Collects the vectors of one commit into one file.
#[derive(Debug)]
pub struct VectorFile {
    id: Uuid,
    bytes: BytesMut,
}

impl Default for VectorFile {
    fn default() -> Self {
        let mut bytes = BytesMut::new();
        bytes.put_u8(1);
        Self { id: new_id(), bytes }
    }
}

impl VectorFile {
    /// Appends a vector of row numbers and tells where it stands.
    pub fn append(&mut self, rows: &RoaringBitmap) -> Result<DeletionVectorDescriptor> {
        let offset = i32::try_from(self.bytes.len()).map_err(too_large)?;
        let data = serialize(rows)?;
        let size_in_bytes = i32::try_from(data.len()).map_err(too_large)?;
        self.bytes.put_i32(size_in_bytes);
        self.bytes.put_slice(&data);
        self.bytes.put_u32(crc32fast::hash(&data));
        Ok(DeletionVectorDescriptor {
            storage_type: "u".to_owned(),
            path_or_inline_dv: z85::encode(self.id.as_bytes()),
            offset: Some(offset),
            size_in_bytes,
            cardinality: i64::try_from(rows.len()).unwrap_or(i64::MAX),
        })
    }

    /// Whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() <= 1
    }

    /// The file's path in the table, and its bytes.
    pub fn finish(self) -> NewFile {
        (Path::from(format!("deletion_vector_{}.bin", self.id)), self.bytes.freeze())
    }
}

/// Path of a vector's file relative to the table; none for an inline one.
pub fn relative_path(descriptor: &DeletionVectorDescriptor) -> Result<Option<Path>> {
    match descriptor.storage_type.as_str() {
        "i" => Ok(None),
        "u" => {
            let text = &descriptor.path_or_inline_dv;
            let split = text.len().checked_sub(20).filter(|at| text.is_char_boundary(*at));
            let Some(split) = split else {
                return Err(corrupt(format!("'{text}' names no deletion vector")));
            };
            let (prefix, id) = text.split_at(split);
            let id = z85::decode(id).map_err(|e| {
                Error::with_source(ErrorCode::TableCorrupt, format!("'{text}' names no deletion vector"), e.to_string())
            })?;
            let id = Uuid::from_slice(&id)
                .map_err(|e| Error::with_source(ErrorCode::TableCorrupt, "a deletion vector's name is no UUID", e))?;
            let name = format!("deletion_vector_{id}.bin");
            Ok(Some(if prefix.is_empty() { Path::from(name) } else { Path::from(format!("{prefix}/{name}")) }))
        }
        other => Err(Error::new(
            ErrorCode::TableUnsupported,
            format!("a deletion vector is stored outside the table (storage type '{other}'): rewrite the table first"),
        )),
    }
}

/// Reads a vector: the numbers of the deleted rows.
pub async fn read(store: &dyn ObjectStore, descriptor: &DeletionVectorDescriptor) -> Result<RoaringBitmap> {
    let data = match relative_path(descriptor)? {
        None => {
            let bytes = z85::decode(&descriptor.path_or_inline_dv)
                .map_err(|e| corrupt(format!("an inline deletion vector is no z85: {e}")))?;
            let size = usize::try_from(descriptor.size_in_bytes).ok().filter(|size| *size <= bytes.len());
            let size = size.ok_or_else(|| corrupt("an inline deletion vector is shorter than its descriptor says"))?;
            Bytes::from(bytes).slice(..size)
        }
        Some(path) => {
            let offset = u64::try_from(descriptor.offset.unwrap_or(0))
                .map_err(|_| corrupt("a deletion vector has a negative offset"))?;
            let size = u64::try_from(descriptor.size_in_bytes)
                .map_err(|_| corrupt("a deletion vector has a negative size"))?;
            let bytes = store.get_range(&path, offset..offset + size + 8).await?;
            let size = descriptor.size_in_bytes as usize;
            if bytes.len() != size + 8 || bytes[..4] != descriptor.size_in_bytes.to_be_bytes() {
                return Err(corrupt(format!("the deletion vector in {path} has another size than its descriptor")));
            }
            let data = bytes.slice(4..4 + size);
            if bytes[4 + size..] != crc32fast::hash(&data).to_be_bytes() {
                return Err(corrupt(format!("the deletion vector in {path} has a wrong checksum")));
            }
            data
        }
    };
    let rows = parse(&data)?;
    if i64::try_from(rows.len()).ok() != Some(descriptor.cardinality) {
        return Err(corrupt("a deletion vector has another cardinality than its descriptor"));
    }
    Ok(rows)
}

fn parse(data: &[u8]) -> Result<RoaringBitmap> {
    let (magic, bitmap) = data.split_at_checked(4).ok_or_else(|| corrupt("a deletion vector is too short"))?;
    if magic != MAGIC.to_le_bytes() {
        return Err(Error::new(ErrorCode::TableUnsupported, "a deletion vector has an unknown format"));
    }
    let treemap = RoaringTreemap::deserialize_from(bitmap)
        .map_err(|e| Error::with_source(ErrorCode::TableCorrupt, "a deletion vector cannot be read", e))?;
    let mut rows = RoaringBitmap::new();
    for (high, bitmap) in treemap.bitmaps() {
        if high != 0 && !bitmap.is_empty() {
            return Err(Error::new(ErrorCode::TableUnsupported, "a data file has more than 2^32 rows"));
        }
        if high == 0 {
            rows = bitmap.clone();
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    #[tokio::test]
    async fn what_is_written_is_read() {
        let store = InMemory::new();
        let sets: Vec<RoaringBitmap> =
            vec![[1u32, 5, 70_000].into_iter().collect(), (0..100_000).collect(), [u32::MAX].into_iter().collect()];
        let mut file = VectorFile::default();
        let descriptors: Vec<_> = sets.iter().map(|s| file.append(s).unwrap()).collect();
        let (path, bytes) = file.finish();
        store.put(&path, bytes.into()).await.unwrap();
        for (set, descriptor) in sets.iter().zip(&descriptors) {
            assert_eq!(relative_path(descriptor).unwrap().unwrap(), path);
            assert_eq!(&read(&store, descriptor).await.unwrap(), set);
        }
    }

    #[tokio::test]
    async fn small_vectors_stand_in_the_log() {
        let store = InMemory::new();
        for count in 1..90u32 {
            let rows: RoaringBitmap = (0..count).map(|n| n * 7).collect();
            let (descriptors, file) = write(std::slice::from_ref(&rows)).unwrap();
            assert!(file.is_none() && descriptors[0].storage_type == "i" || count > 80, "{count}");
            if file.is_none() {
                assert!(descriptors[0].size_in_bytes as usize <= MAX_INLINE);
                assert_eq!(read(&store, &descriptors[0]).await.unwrap(), rows);
                let mut broken = descriptors[0].clone();
                broken.path_or_inline_dv.truncate(broken.path_or_inline_dv.len() - 5);
                assert_eq!(read(&store, &broken).await.unwrap_err().code, ErrorCode::TableCorrupt);
            }
        }
        let many = vec![RoaringBitmap::from_iter(0..40u32); 30];
        let (descriptors, file) = write(&many).unwrap();
        assert!(file.is_some() && descriptors.iter().all(|d| d.storage_type == "u"));
        assert_eq!(write(&[]).unwrap(), (Vec::new(), None));
        // As Delta's own tests have it.
        let known = DeletionVectorDescriptor {
            storage_type: "i".into(),
            path_or_inline_dv: "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L".into(),
            offset: None,
            size_in_bytes: 44,
            cardinality: 6,
        };
        let rows = read(&store, &known).await.unwrap();
        assert_eq!(rows.iter().collect::<Vec<_>>(), [3, 4, 7, 11, 18, 29]);
        assert_eq!(inline(&rows).unwrap(), known);
    }

    #[tokio::test]
    async fn damage_is_an_error() {
        let store = InMemory::new();
        let mut file = VectorFile::default();
        let descriptor = file.append(&(0..1000).step_by(3).collect()).unwrap();
        let (path, bytes) = file.finish();
        for at in 1..bytes.len() {
            let mut broken = bytes.to_vec();
            broken[at] ^= 0x41;
            store.put(&path, broken.into()).await.unwrap();
            let error = read(&store, &descriptor).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::TableCorrupt);
        }
        store.put(&path, bytes.slice(..bytes.len() - 9).into()).await.unwrap();
        assert!(read(&store, &descriptor).await.is_err());
    }
}
