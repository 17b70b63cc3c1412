//! When the key index is saved while the table is written to, and what a saving stands for.

use roaring::RoaringBitmap;

use crate::log::files::FileId;
use crate::log::state::TableState;

/// Commits that a saved index may be behind in any case, and for each of the table's files: reading one costs a request,
/// and building the index anew some requests a file.
const MOST_COMMITS: u64 = 256;
const COMMITS_A_FILE: u64 = 16;
/// Keys for each of which a commit more may go by between two savings: all of them are written each time.
const KEYS_A_COMMIT: u64 = 16 * 1024;
/// Keys that an index may gain before its growth alone has it saved.
const FEW_KEYS: u64 = 64 * 1024;

/// How far a saved index may be behind a table of so many files.
pub(super) fn most_commits(files: u64) -> u64 {
    MOST_COMMITS + COMMITS_A_FILE * files
}

/// The table's version and files when a saving began.
#[derive(Debug, Clone, Default)]
pub(super) struct Begun {
    pub(super) version: u64,
    pub(super) anchor: Option<u64>,
    live: RoaringBitmap,
}

impl Begun {
    pub(super) fn of(state: &TableState) -> Self {
        let live = state.live_files().map(|(id, _)| id).collect();
        Self { version: state.version, anchor: state.anchor, live }
    }

    pub(super) fn has(&self, file: FileId) -> bool {
        self.live.contains(file)
    }
}

/// What was saved of an index, and what is being saved.
#[derive(Debug, Default)]
pub(super) struct Saves {
    /// Version and number of keys of the newest saving.
    last: Option<(u64, u64)>,
    begun: Begun,
    /// Whether that saving is not over.
    is_open: bool,
}

impl Saves {
    /// What is on disk.
    pub(super) fn found(&mut self, version: u64, keys: usize) {
        self.last = Some((version, keys as u64));
    }

    pub(super) fn begin(&mut self, state: &TableState, keys: usize) {
        self.begun = Begun::of(state);
        self.is_open = true;
        self.found(state.version, keys);
    }

    pub(super) fn begun(&self) -> &Begun {
        &self.begun
    }

    pub(super) fn end(&mut self) {
        self.is_open = false;
    }

    /// Whether a saving was broken off, or so much has changed since that a start after a crash would have much to follow:
    /// half of what it would follow at most.
    pub(super) fn is_due(&self, state: &TableState, keys: usize) -> bool {
        let (Some((version, saved)), false, keys) = (self.last, self.is_open, keys as u64) else { return true };
        let more = || (COMMITS_A_FILE * state.live_files().count() as u64 / 2).min(keys / KEYS_A_COMMIT);
        let behind = state.version.saturating_sub(version);
        keys > 2 * saved + FEW_KEYS || behind >= MOST_COMMITS / 2 && behind >= MOST_COMMITS / 2 + more()
    }
}
