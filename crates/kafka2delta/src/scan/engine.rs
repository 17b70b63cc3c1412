//! The kernel's engine, but for Parquet files: they are opened where the whole engine opens them. Of checkpoints it is the
//! statistics that count, whose timestamps Spark writes as INT96, too.

use std::sync::Arc;

use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::schema::SchemaRef as KernelSchema;
use delta_kernel::{
    DeltaResult, DeltaResultIteratorStatic, Engine, EngineData, Error as KernelError, EvaluationHandler,
    FileDataReadResultIterator, FileMeta, JsonHandler, ParquetFooter, ParquetHandler, PredicateRef, StorageHandler,
};
use deltalake::logstore::LogStoreRef;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::file::metadata::PageIndexPolicy;
use tokio::runtime::Handle;
use tokio::sync::mpsc::channel;

use super::stored_columns::by_kernel;
use crate::datafile::open::{OpenFile, StoredFile};
use crate::error::Result;

/// The kernel's engine for a table, with our own reader of its files and checkpoints. To be made within a runtime, which
/// then reads.
pub(super) fn engine_of(log_store: &LogStoreRef) -> Arc<dyn Engine> {
    let inner = log_store.engine(None);
    let store = log_store.root_object_store(None);
    let files = ParquetFiles { inner: inner.parquet_handler(), store, runtime: Handle::current() };
    Arc::new(OwnReader { inner, files: Arc::new(files) })
}

struct OwnReader {
    inner: Arc<dyn Engine>,
    files: Arc<ParquetFiles>,
}

impl Engine for OwnReader {
    fn evaluation_handler(&self) -> Arc<dyn EvaluationHandler> {
        self.inner.evaluation_handler()
    }

    fn storage_handler(&self) -> Arc<dyn StorageHandler> {
        self.inner.storage_handler()
    }

    fn json_handler(&self) -> Arc<dyn JsonHandler> {
        self.inner.json_handler()
    }

    fn parquet_handler(&self) -> Arc<dyn ParquetHandler> {
        self.files.clone()
    }
}

struct ParquetFiles {
    inner: Arc<dyn ParquetHandler>,
    store: Arc<dyn ObjectStore>,
    runtime: Handle,
}

impl ParquetHandler for ParquetFiles {
    fn read_parquet_files(
        &self,
        files: &[FileMeta],
        physical_schema: KernelSchema,
        _predicate: Option<PredicateRef>,
    ) -> DeltaResult<FileDataReadResultIterator> {
        let (store, files) = (self.store.clone(), files.to_vec());
        let (sender, mut batches) = channel(1);
        self.runtime.spawn(async move {
            let of_file = |file| read(store.clone(), file, physical_schema.clone());
            let mut all = futures::stream::iter(files).then(of_file).try_flatten().boxed();
            while let Some(batch) = all.next().await {
                if sender.send(batch).await.is_err() {
                    return;
                }
            }
        });
        let next = move || batches.blocking_recv();
        Ok(Box::new(std::iter::from_fn(next).map(|batch| match batch {
            Ok(batch) => Ok(Box::new(batch) as Box<dyn EngineData>),
            Err(error) => Err(KernelError::generic_err(error)),
        })))
    }

    fn write_parquet_file(
        &self,
        location: url::Url,
        data: DeltaResultIteratorStatic<Box<dyn EngineData>>,
    ) -> DeltaResult<()> {
        self.inner.write_parquet_file(location, data)
    }

    fn read_parquet_footer(&self, file: &FileMeta) -> DeltaResult<ParquetFooter> {
        self.inner.read_parquet_footer(file)
    }
}

/// The columns of a file that the kernel asks for.
async fn read(
    store: Arc<dyn ObjectStore>,
    file: FileMeta,
    physical: KernelSchema,
) -> Result<impl futures::Stream<Item = Result<ArrowEngineData>>> {
    let path = Path::from_url_path(file.location.path()).map_err(object_store::Error::from)?;
    let opened = OpenFile::open(StoredFile::at(store, path, file.size), PageIndexPolicy::Skip).await?;
    let batches = by_kernel(&opened, &physical, file.location.as_str(), None)?;
    Ok(batches.map(|batch| batch.map(ArrowEngineData::new)))
}
