//! A hold on a table for work beside its merges.

use std::sync::Arc;
use std::time::Instant;

use delta_kernel::table_properties::TableProperties;
use tokio::sync::Mutex;

use crate::log::state::TableState;
use crate::table::{KeyedTable, Storage};

/// Checkpoints and vacuum of a table: owned, so that the table itself is free meanwhile.
#[derive(Debug, Clone)]
pub struct Maintenance {
    pub(super) storage: Storage,
    /// One checkpoint at a time. When the log was cleaned up last.
    pub(super) cleaned: Arc<Mutex<Option<Instant>>>,
}

impl KeyedTable {
    /// For checkpoints and vacuum beside the merges.
    pub fn maintenance(&self) -> Maintenance {
        Maintenance { storage: self.storage.clone(), cleaned: self.log_cleaned.clone() }
    }
}

/// The table properties that the protocol names.
pub(super) fn properties(state: &TableState) -> TableProperties {
    TableProperties::from(state.metadata.configuration.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}
