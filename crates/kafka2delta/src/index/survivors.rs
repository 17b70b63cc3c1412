//! Which places an index still needs when its entries are written anew.

use std::sync::Arc;

use crate::key::hasher::Fingerprint;
use crate::log::files::Place;
use crate::log::liveness::Liveness;
use crate::log::state::TableState;
use crate::order::memory::Memory;

/// The table's live rows, and the deleted keys that are remembered: a key update may still ask for their values.
#[derive(Debug)]
pub struct Survivors {
    live: Liveness,
    remembered: Arc<Memory>,
}

impl Survivors {
    /// At the state's version.
    pub fn of(state: &TableState, remembered: Arc<Memory>) -> Self {
        Self { live: Liveness::of(state), remembered }
    }

    fn is_live(&self, place: u64) -> bool {
        Place::of_bits(place).is_some_and(|place| self.live.is_live(place))
    }

    /// Whether a key's place is still needed.
    pub(super) fn keep(&self, key: &Fingerprint, place: u64) -> bool {
        self.is_live(place) || (Place::of_bits(place).is_some() && self.remembered.get(key).is_some())
    }

    /// Whether two places of one key both hold a row.
    pub(super) fn are_two_rows(&self, newer: u64, older: u64) -> bool {
        newer != older && self.is_live(newer) && self.is_live(older)
    }
}
