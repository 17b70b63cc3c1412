//! Reading entries of the log, many at a time.

use bytes::Bytes;
use deltalake::logstore::LogStoreRef;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};

use crate::error::{Error, Result};

/// Entries that are read at the same time.
const PARALLEL_READS: usize = 32;

/// The entry of a version; none where the log does not have it.
pub(crate) async fn read_entry(log: &LogStoreRef, version: u64) -> Result<Option<Bytes>> {
    let named = |error| Error::from(error).in_file(&format!("{version:020}.json"));
    log.read_commit_entry(version).await.map_err(named)
}

/// The entries of these versions, in their order; none for one that the log does not have. The first is read alone, since
/// it may be all that is asked for, and the longer the reader goes on, the more are read ahead.
pub(crate) fn read_entries(
    log: &LogStoreRef,
    versions: impl Iterator<Item = u64> + Send + 'static,
) -> BoxStream<'static, Result<Option<Bytes>>> {
    let log = log.clone();
    let mut reads = versions.map(move |version| -> BoxFuture<'static, Result<Option<Bytes>>> {
        let log = log.clone();
        async move { read_entry(&log, version).await }.boxed()
    });
    let mut most = 1;
    let portions = std::iter::from_fn(move || {
        let portion: Vec<_> = reads.by_ref().take(most).collect();
        most *= 2;
        (!portion.is_empty()).then_some(portion)
    });
    stream::iter(portions).flat_map(|portion| stream::iter(portion).buffered(PARALLEL_READS)).boxed()
}
