//! The order of stored rows. Files that have none are remembered, so that it is not looked for in them again.

use hashbrown::HashSet;
use parking_lot::Mutex;

use super::storage::Storage;
use crate::datafile::order_columns;
use crate::error::Result;
use crate::log::files::FileEntry;
use crate::order::sequence::Order;

/// Files that are remembered at most.
const MAX_FILES: usize = 100_000;

/// Paths of files whose rows have no order. A file never changes.
#[derive(Debug, Default)]
pub(crate) struct StoredOrders {
    without: Mutex<HashSet<String>>,
}

impl StoredOrders {
    /// The order of a file's rows; of `rows` alone (ascending, distinct) where given.
    pub(crate) async fn read(&self, storage: &Storage, file: &FileEntry, rows: Option<&[u32]>) -> Result<Vec<Order>> {
        let count = match rows {
            Some(rows) => Some(rows.len()),
            None => file.num_records.and_then(|rows| usize::try_from(rows).ok()),
        };
        if let Some(count) = count.filter(|_| self.without.lock().contains(&file.add.path)) {
            return Ok(vec![Order::default(); count]);
        }
        let (orders, has_some) = order_columns::read(storage.files(), &file.add, rows).await?;
        if !has_some {
            let mut without = self.without.lock();
            if without.len() >= MAX_FILES {
                without.clear();
            }
            without.insert(file.add.path.clone());
        }
        Ok(orders)
    }
}
