//! Where a table lies: its log and its files.

use std::sync::Arc;

use deltalake::logstore::LogStoreRef;
use object_store::ObjectStore;

use crate::error::Result;
use crate::log::store::{OpenStore, open_renewable, root_url};
use crate::options::TableOptions;

/// The log and the files of one table, in a folder or a cloud.
#[derive(Debug, Clone)]
pub(crate) struct Storage {
    log: LogStoreRef,
    files: Arc<dyn ObjectStore>,
    open: OpenStore,
}

impl Storage {
    pub(crate) fn open(options: &TableOptions) -> Result<Self> {
        let (log, open) = open_renewable(&options.uri, &options.storage_options)?;
        let files = log.object_store(None);
        Ok(Self { log, files, open })
    }

    pub(crate) fn log(&self) -> &LogStoreRef {
        &self.log
    }

    /// The store, rooted at the table.
    pub(crate) fn files(&self) -> &Arc<dyn ObjectStore> {
        &self.files
    }

    /// What its options are replaced by.
    pub(crate) fn open_store(&self) -> &OpenStore {
        &self.open
    }

    /// The table's URL, with a slash at its end.
    pub(crate) fn uri(&self) -> String {
        root_url(&self.log).to_string()
    }
}
