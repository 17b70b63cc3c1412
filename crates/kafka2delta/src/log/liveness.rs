//! Which rows of the table's files are there, and which are deleted, at the state's version.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use object_store::ObjectStore;
use roaring::RoaringBitmap;

use super::deletion_vectors;
use super::files::{FileId, Place};
use super::state::TableState;
use crate::error::{Error, ErrorCode, Result};

/// Reads the deletion vectors of these files that the state does not have yet.
pub async fn load_vectors(store: &Arc<dyn ObjectStore>, state: &mut TableState, files: &[FileId]) -> Result<()> {
    let wanted: Vec<_> = files
        .iter()
        .filter(|id| state.files[**id as usize].deleted.is_none())
        .filter_map(|id| Some((*id, state.files[*id as usize].add.deletion_vector.clone()?)))
        .collect();
    // Boxed futures of owned things: closures over references are not Send in general.
    let reads: Vec<BoxFuture<'static, Result<_>>> = wanted
        .into_iter()
        .map(|(id, descriptor)| {
            let store = store.clone();
            async move { deletion_vectors::read(store.as_ref(), &descriptor).await.map(|rows| (id, rows)) }.boxed()
        })
        .collect();
    let mut vectors = futures::stream::iter(reads).buffer_unordered(16);
    while let Some(vector) = vectors.next().await {
        let (id, rows) = vector?;
        state.files[id as usize].deleted = Some(Arc::new(rows));
    }
    Ok(())
}

/// Which places hold rows, at one version.
#[derive(Debug)]
pub struct Liveness(Vec<Option<Arc<RoaringBitmap>>>);

impl Liveness {
    /// At the state's version.
    pub fn of(state: &TableState) -> Self {
        Self(state.files.iter().map(|f| f.live.then(|| f.deleted.clone().unwrap_or_default())).collect())
    }

    /// Whether a place holds a row.
    pub fn is_live(&self, place: Place) -> bool {
        self.0.get(place.file as usize).and_then(Option::as_ref).is_some_and(|deleted| !deleted.contains(place.row))
    }
}

/// Rows that a file's deletion vector deletes.
pub fn vector_of(state: &TableState, file: FileId) -> Result<&RoaringBitmap> {
    state.files[file as usize]
        .deleted
        .as_deref()
        .ok_or_else(|| Error::new(ErrorCode::Internal, "a deletion vector was not read before it was asked for"))
}

/// Whether a place holds a row of the table at the state's version.
pub fn is_live(state: &TableState, place: Place) -> bool {
    let file = &state.files[place.file as usize];
    file.live && !file.deleted.as_ref().is_some_and(|deleted| deleted.contains(place.row))
}

/// A row's number, which Delta bounds by what a deletion vector can name.
pub fn row_number(row: usize) -> Result<u32> {
    u32::try_from(row).map_err(|_| Error::new(ErrorCode::TableUnsupported, "a data file has more than 2^32 rows"))
}
