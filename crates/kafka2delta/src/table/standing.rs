//! Whether a table may be written to, whether what is known of it may be behind the log, and what its user should know.

use hashbrown::{HashMap, HashSet};

use crate::error::{Error, ErrorCode, Result};

/// How far the table is to be trusted.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// After an error: others' commits, or our own, may stand in the log.
    uncertain: bool,
    /// Others' commits were followed, and not to the end: what is known may be of several versions.
    interrupted: bool,
    /// Why the table is not to be written to any more.
    stopped: Option<String>,
    /// Queries whose offsets were held against the log: none where they fit the rows, otherwise what is wrong.
    queries: HashMap<String, Option<String>>,
}

impl Standing {
    /// Refuses a table that is not to be written to any more.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.stopped {
            Some(reason) => Err(Error::new(ErrorCode::TableReplaced, reason.clone())),
            None => Ok(()),
        }
    }

    pub(super) fn knows_query(&self, query: &str) -> bool {
        self.queries.contains_key(query)
    }

    pub(super) fn admit_query(&mut self, query: &str) {
        self.queries.insert(query.to_owned(), None);
    }

    pub(super) fn refuse_query(&mut self, query: &str, reason: String) {
        self.queries.insert(query.to_owned(), Some(reason));
    }

    /// The log was read anew: what was found in it before may not be all.
    pub(super) fn forget_queries(&mut self) {
        self.queries.clear();
    }

    /// Refuses a query whose offsets do not fit the rows.
    pub(super) fn check_query(&self, query: &str) -> Result<()> {
        match self.queries.get(query) {
            Some(Some(reason)) => Err(Error::new(ErrorCode::TableReplaced, reason.clone())),
            _ => Ok(()),
        }
    }

    pub(crate) fn stop(&mut self, reason: String) {
        self.stopped = Some(reason);
    }

    /// Whether the log is to be read before the table is used.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.uncertain || self.interrupted
    }

    /// Whether the table is to be read anew.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    pub(super) fn interrupted(&mut self) {
        self.interrupted = true;
    }

    /// Until the end of a call is known, the log may be ahead of us.
    pub(crate) fn doubt(&mut self) {
        self.uncertain = true;
    }

    pub(crate) fn trust(&mut self) {
        (self.uncertain, self.interrupted) = (false, false);
    }

    /// The end of a call is known.
    pub(crate) fn ended<T>(&mut self, result: &Result<T>) {
        self.uncertain = result.is_err();
    }
}

/// What the user should know, each said once as long as the table is open.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    said: HashSet<String>,
    waiting: Vec<String>,
}

impl Notes {
    pub(crate) fn add(&mut self, note: String) {
        if self.said.insert(note.clone()) {
            self.waiting.push(note);
        }
    }

    /// Those that were not said yet.
    pub(crate) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.waiting)
    }
}
