//! Write modes: whatever a merge does differently in one of them is decided here, by a `match` that names all of them.

mod append;
mod scd2;
mod soft_delete;

use arrow::datatypes::Field;

use super::prepared::Prepared;
use crate::change::batch::ChangeBatch;
use crate::datafile::remove_rows::Deletions;
use crate::error::{Error, ErrorCode, Result};
use crate::log::actions::CommitInfo;
use crate::log::commit::MERGE_MODE;
use crate::log::features;
use crate::log::state::TableState;
use crate::options::WriteMode;
use crate::table::{KEY_PROPERTY, KeyedTable};

/// Table property that tells the write mode where it is another one than upsert.
pub(super) const WRITE_MODE_PROPERTY: &str = "kafka2delta.writeMode";

impl WriteMode {
    /// Columns that each table of the mode has beside the topic's.
    fn own_columns(&self) -> Vec<Field> {
        match self {
            Self::Upsert | Self::Append => Vec::new(),
            Self::Scd2(columns) => scd2::own_columns(columns),
        }
    }

    /// Columns that the table has with this batch: [`Self::own_columns`], and those that only some batches need.
    pub(super) fn own_columns_with(&self, batch: &ChangeBatch) -> Vec<Field> {
        let mut columns = self.own_columns();
        match self {
            Self::Append => columns.extend(append::own_column(batch)),
            Self::Upsert | Self::Scd2(_) => {}
        }
        columns
    }

    /// Says in a commit's note what kind of write it is. `copies`: files were written anew for rows that left them.
    pub(super) fn describe(&self, info: &mut CommitInfo, copies: bool) {
        match self {
            Self::Append => {
                info.insert("operation".into(), "WRITE".into());
                info.insert("operationParameters".into(), serde_json::json!({ "mode": "Append" }));
                info.insert("isBlindAppend".into(), true.into());
            }
            Self::Upsert | Self::Scd2(_) => {
                let mode = if copies { "copy-on-write" } else { "merge-on-read" };
                info.insert("operationParameters".into(), serde_json::json!({ MERGE_MODE: mode }));
            }
        }
    }
}

impl KeyedTable {
    /// Turns the changes of a batch into the rows to be written and the keys whose rows go.
    pub(super) async fn prepare_rows(
        &mut self,
        batch: &ChangeBatch,
        primary_key: &[String],
        prepared: Prepared,
    ) -> Result<Prepared> {
        match self.options.write_mode.clone() {
            WriteMode::Append => self.prepare_append(batch, prepared).await,
            WriteMode::Upsert => Ok(self.prepare_last_changes(batch, primary_key, prepared).await?.0),
            WriteMode::Scd2(columns) => {
                let (prepared, keys) = self.prepare_last_changes(batch, primary_key, prepared).await?;
                self.versions(batch, &keys, prepared, &columns).await
            }
        }
    }

    /// Whether rows that are deleted stay in the table, marked.
    pub(super) fn keeps_deleted_rows(&self) -> bool {
        self.options.soft_delete_column.is_some() || self.options.write_mode.version_columns().is_some()
    }

    /// Of the rows that a truncate takes, those that it changes: versions that ended before are history.
    pub(super) async fn retain_truncatable(&self, state: &TableState, truncated: &mut Deletions) -> Result<()> {
        match &self.options.write_mode {
            WriteMode::Upsert | WriteMode::Append => Ok(()),
            WriteMode::Scd2(columns) => self.retain_current(state, truncated, columns).await,
        }
    }

    /// Refuses a table whose rows are something else than this mode writes.
    pub(super) fn check_write_mode(&self) -> Result<()> {
        let Some(state) = self.snapshot.state() else { return Ok(()) };
        let mode = &self.options.write_mode;
        features::check_append_only(state, !mode.replaces_rows())?;
        let stored = state.property(WRITE_MODE_PROPERTY);
        // A changelog may be appended to what others made.
        let others = !mode.replaces_rows() && stored.is_none() && state.property(KEY_PROPERTY).is_none();
        if stored != mode.name() && !others {
            return Err(Error::new(
                ErrorCode::SchemaIncompatible,
                format!(
                    "the table was written with writeMode {stored}, and the options say {}: set writeMode to \
                     '{stored}', or write to a new table",
                    mode.name().unwrap_or("upsert"),
                    stored = stored.unwrap_or("upsert"),
                ),
            ));
        }
        let names: Vec<&str> = self.snapshot.schema().fields().iter().map(|f| f.name().as_str()).collect();
        match mode.own_columns().iter().find(|own| !names.contains(&own.name().as_str())) {
            None => Ok(()),
            Some(lacking) => Err(Error::new(
                ErrorCode::SchemaIncompatible,
                format!(
                    "the table lacks the column '{}', which writeMode {} adds: it has another name there. Give it \
                     that name{}; the table's columns are {}",
                    lacking.name(),
                    mode.name().unwrap_or("upsert"),
                    mode.columns_option().map(|option| format!(" ({option})")).unwrap_or_default(),
                    names.join(", ")
                ),
            )),
        }
    }
}
