//! A hold on a table for work beside its merges.

use std::sync::Arc;

use delta_kernel::table_properties::TableProperties;
use deltalake::logstore::LogStoreRef;
use object_store::ObjectStore;
use tokio::sync::Mutex;

use crate::log::state::TableState;
use crate::table::KeyedTable;

/// Checkpoints and vacuum of a table: owned, so that the table itself is free meanwhile.
#[derive(Debug, Clone)]
pub struct Maintenance {
    pub(super) log_store: LogStoreRef,
    pub(super) store: Arc<dyn ObjectStore>,
    /// One checkpoint at a time.
    pub(super) lock: Arc<Mutex<()>>,
}

impl Maintenance {
    pub(super) fn uri(&self) -> String {
        crate::table::root_url(&self.log_store).to_string()
    }
}

impl KeyedTable {
    /// For checkpoints and vacuum beside the merges.
    pub fn maintenance(&self) -> Maintenance {
        Maintenance { log_store: self.log_store.clone(), store: self.store.clone(), lock: self.checkpoint_lock.clone() }
    }
}

/// The table properties that the protocol names.
pub(super) fn properties(state: &TableState) -> TableProperties {
    TableProperties::from(state.metadata.configuration.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}
