//! The commit of a batch: its actions, and what the table knows once the log has it.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use hashbrown::HashSet;
use uuid::Uuid;

use super::files::Written;
use super::locate::Located;
use super::modes::WRITE_MODE_PROPERTY;
use super::prepared::Prepared;
use super::result::{MergeResult, Offset};
use crate::change::{deleted_rows, forms};
use crate::datafile::copies::Copies;
use crate::datafile::remove_rows;
use crate::datafile::remove_rows::{Deletions, Layout, Taken};
use crate::error::{Error, ErrorCode, Result};
use crate::key::hasher::Fingerprint;
use crate::log::actions::{Commit, CommitInfo, Format, Metadata, Txn};
use crate::log::app_id::query_of;
use crate::log::commit::commit_info;
use crate::log::features;
use crate::log::features::IN_COMMIT_TIMESTAMPS;
use crate::log::liveness::row_number;
use crate::log::state::{IN_COMMIT_TIMESTAMP, TableState};
use crate::log::tags::set_committed;
use crate::machine::{new_id, now_millis};
use crate::order::truncate::Floor;
use crate::schema::to_delta;
use crate::table::{FLOOR_PROPERTY, KEY_PROPERTY, KeyedTable, Landed, key_text};

/// How long the past of a table that we create is kept, unless the user says. A commit a second that touches 20 files
/// leaves 1.7 million tombstones a day, which each checkpoint holds, and 86,400 log entries: with Delta's 7 and 30 days
/// they would be many times the table. A day of time travel, for queries too, and three of history remain.
const NEW_TABLE_PROPERTIES: &[(&str, &str)] =
    &[("delta.deletedFileRetentionDuration", "interval 1 day"), ("delta.logRetentionDuration", "interval 3 days")];

impl KeyedTable {
    /// The vectors of replaced rows, made while the new ones are encoded. None where more than these rows go.
    pub(super) async fn vectors_beside(&self, prepared: &Prepared, located: &Located) -> Result<Option<Taken>> {
        let Some(state) = self.snapshot.state() else { return Ok(None) };
        let only_replaced = prepared.collapsed.truncates.is_empty() && prepared.widened_columns.is_empty();
        if self.copy_on_write() || !only_replaced {
            return Ok(None);
        }
        remove_rows::by_vectors(self.storage.files(), state, &located.replaced).await.map(Some)
    }

    /// The commit's actions for the state as it is now.
    pub(super) async fn build_commit(
        &self,
        work: Option<(&Prepared, &(Located, Written))>,
        (already, copies): (Option<Taken>, &mut Copies),
        offsets: &[Offset],
        id: Uuid,
        result: &mut MergeResult,
    ) -> Result<(Commit, Taken)> {
        let mut commit = Commit::default();
        let Some((prepared, (located, written))) = work else {
            if self.snapshot.state().is_none() {
                return Err(Error::new(ErrorCode::BatchInvalid, "offsets alone do not create a table"));
            }
            self.add_offsets(offsets, &mut commit);
            commit.info = Some(self.note(id, &[]));
            return Ok((commit, Taken::default()));
        };
        let taken = self.take_rows(prepared, (located, written), (already, copies), result).await?;
        count_written(prepared, written, &taken, result);
        // First, since they are newer than the same keys' rows in the table: see `deleted_rows`.
        let now = now_millis();
        commit.removes = written.moved_files.iter().map(|file| deleted_rows::moved(&file.add, now)).collect();
        commit.removes.extend(taken.removes.iter().cloned());
        commit.adds.clone_from(&taken.adds);
        commit.adds.extend(written.files.iter().map(|(file, _)| file.add.clone()));
        commit.cdcs.clone_from(&taken.cdcs);
        self.add_offsets(offsets, &mut commit);
        self.add_metadata(prepared, &mut commit)?;
        let mut info = self.merge_info(id, self.writes_copies(prepared), result);
        prepared.collapsed.halves.describe(&mut info);
        commit.info = Some(info);
        Ok((commit, taken))
    }

    /// The offsets, with the time by which the files of this commit are known as those of their queries' last one, see
    /// [`COMMITTED_TAG`](crate::log::tags::COMMITTED_TAG).
    fn add_offsets(&self, offsets: &[Offset], commit: &mut Commit) {
        let time = match commit.adds.is_empty() && commit.removes.is_empty() {
            false => Some(self.next_commit_time()),
            true => None,
        };
        commit.txns.extend(offsets.iter().filter(|offset| offset.of_others().is_none()).map(|offset| Txn {
            app_id: offset.app_id.clone(),
            version: offset.last,
            // Offsets alone leave the query's last commit of rows what it was.
            last_updated: Some(time.unwrap_or_else(|| {
                self.last_commit_time(query_of(&offset.app_id)).unwrap_or_else(|| self.next_commit_time())
            })),
        }));
        if !commit.txns.is_empty() {
            commit.adds.iter_mut().for_each(|add| set_committed(add, time));
        }
    }

    /// Whether files of which rows are taken are written anew: always where they are written in wider types.
    fn writes_copies(&self, prepared: &Prepared) -> bool {
        self.copy_on_write() || !prepared.widened_columns.is_empty()
    }

    /// Takes out the rows that the batch replaces, deletes and truncates, and tells the change data feed of all changes.
    async fn take_rows(
        &self,
        prepared: &Prepared,
        (located, written): (&Located, &Written),
        (already, copies): (Option<Taken>, &mut Copies),
        result: &mut MergeResult,
    ) -> Result<Taken> {
        // Of files that are added alone, readers of the feed take the rows as inserted.
        let mut feed = match self.options.write_mode.replaces_rows() {
            true => self.change_feed(&prepared.schema)?,
            false => None,
        };
        let mut taken = Taken::default();
        if let Some(state) = self.snapshot.state() {
            let (deletions, truncated) = self.deletions(state, prepared, located).await?;
            taken = match (self.writes_copies(prepared), already) {
                (false, Some(already)) => already,
                (false, None) => remove_rows::by_vectors(self.storage.files(), state, &deletions).await?,
                (true, _) => {
                    let layout = self.layout(&prepared.schema);
                    remove_rows::by_copies(self.storage.files(), state, &deletions, &layout, copies).await?
                }
            };
            let kept = self.keeps_deleted_rows().then_some(&truncated);
            if let Some(feed) = &mut feed {
                feed.push_taken(state, located, &deletions, kept).await?;
            }
            if let Some(kept) = kept {
                self.keep_as_deleted(state, kept, prepared, &mut taken, feed.as_mut()).await?;
            }
            count_taken(prepared, located, &deletions, result);
        }
        if let Some(mut feed) = feed {
            feed.push_written(located, written).await?;
            let (files, bytes) = feed.finish().await?;
            taken.cdcs = files;
            taken.bytes += bytes;
        }
        Ok(taken)
    }

    /// The stored rows that go, by file, and those of them that go by truncates alone. A file that is written anew for a
    /// wider column is among them without rows.
    async fn deletions(
        &self,
        state: &TableState,
        prepared: &Prepared,
        located: &Located,
    ) -> Result<(Deletions, Deletions)> {
        let mut deletions = located.replaced.clone();
        let mut truncated = self.truncated(state, &prepared.collapsed.truncates).await?;
        self.retain_truncatable(state, &mut truncated).await?;
        for (id, rows) in &mut truncated {
            let taken = deletions.entry(*id).or_default();
            *rows -= &*taken;
            *taken |= &*rows;
        }
        if !prepared.widened_columns.is_empty() {
            for (id, _) in state.live_files() {
                deletions.entry(id).or_default();
            }
        }
        Ok((deletions, truncated))
    }

    /// What files that are written anew are like.
    pub(super) fn layout(&self, schema: &SchemaRef) -> Layout {
        Layout {
            schema: schema.clone(),
            partition_columns: self.partition_columns(),
            format: self.file_format(),
            key: self.keys.columns().cloned(),
        }
    }

    /// What the log says of a merge.
    fn merge_info(&self, id: Uuid, copies: bool, result: &MergeResult) -> CommitInfo {
        let mut info = self.note(
            id,
            &[
                ("numTargetRowsInserted", result.inserted),
                ("numTargetRowsUpdated", result.updated),
                ("numTargetRowsDeleted", result.deleted),
                ("numTargetFilesAdded", result.files_added),
                ("numTargetFilesRemoved", result.files_removed),
                ("numOutputRows", result.upserted),
                ("numTargetBytesAdded", result.bytes_written),
            ],
        );
        self.options.write_mode.describe(&mut info, copies);
        info
    }

    /// Protocol and metadata where the table is new, its schema grew, or a truncate's floor changed.
    pub(super) fn add_metadata(&self, prepared: &Prepared, commit: &mut Commit) -> Result<()> {
        let has_ntz = prepared.schema.fields().iter().any(|f| contains_ntz(f.data_type()));
        let floor = prepared.collapsed.floor.as_ref();
        let Some(state) = self.snapshot.state() else {
            let vectors = !self.copy_on_write();
            let mut configuration: BTreeMap<String, String> =
                self.options.properties.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
            if vectors {
                configuration.insert("delta.enableDeletionVectors".into(), "true".into());
            }
            for (name, value) in NEW_TABLE_PROPERTIES {
                configuration.entry((*name).to_owned()).or_insert_with(|| (*value).to_owned());
            }
            self.set_own_properties(floor, &mut configuration)?;
            forms::remember(&prepared.forms, &mut configuration)?;
            let mode = self.options.write_mode.name();
            configuration.extend(mode.map(|mode| (WRITE_MODE_PROPERTY.to_owned(), mode.to_owned())));
            let protocol = features::new_protocol(vectors, has_ntz, &configuration);
            let metadata = Metadata {
                id: new_id().to_string(),
                name: self.options.name.clone(),
                description: self.options.description.clone(),
                format: Format { provider: "parquet".into(), options: Default::default() },
                schema_string: serde_json::to_string(&to_delta(&prepared.schema)?)?,
                partition_columns: self.options.partition_columns.clone(),
                configuration,
                created_time: Some(now_millis()),
            };
            let state = TableState::new(0, metadata.clone(), protocol.clone());
            features::check_writable(&state)?;
            features::check_append_only(&state, !self.options.write_mode.replaces_rows())?;
            (commit.metadata, commit.protocol) = (Some(metadata), Some(protocol));
            return Ok(());
        };
        let mut metadata = state.metadata.clone();
        if !prepared.added_columns.is_empty() || !prepared.widened_columns.is_empty() {
            metadata.schema_string = grown_schema(&metadata.schema_string, &prepared.schema)?;
        }
        self.set_own_properties(floor, &mut metadata.configuration)?;
        forms::remember(&prepared.forms, &mut metadata.configuration)?;
        if !self.copy_on_write() && !state.deletion_vectors_enabled() {
            metadata.configuration.insert("delta.enableDeletionVectors".into(), "true".into());
            commit.protocol = features::with_feature(&state.protocol, "deletionVectors");
        }
        if has_ntz {
            let protocol = commit.protocol.as_ref().unwrap_or(&state.protocol);
            if let Some(protocol) = features::with_feature(protocol, "timestampNtz") {
                commit.protocol = Some(protocol);
            }
        }
        if metadata != state.metadata {
            commit.metadata = Some(metadata);
        }
        Ok(())
    }

    /// The properties that are ours: the key, and what a truncate holds back.
    fn set_own_properties(&self, floor: Option<&Floor>, configuration: &mut BTreeMap<String, String>) -> Result<()> {
        configuration.extend(self.keys.columns().map(|key| (KEY_PROPERTY.to_owned(), key_text(&key.names))));
        match floor {
            Some(floor) => configuration.insert(FLOOR_PROPERTY.to_owned(), serde_json::to_string(floor)?),
            None => configuration.remove(FLOOR_PROPERTY),
        };
        Ok(())
    }

    /// A commit's note on itself, with the time that tables with in-commit timestamps want: later than the last one's.
    pub(crate) fn note(&self, id: Uuid, metrics: &[(&str, u64)]) -> CommitInfo {
        let mut info = commit_info(id, metrics);
        if self.property(IN_COMMIT_TIMESTAMPS).is_some_and(|v| v.eq_ignore_ascii_case("true")) {
            let last = self.snapshot.state().and_then(|s| s.in_commit_timestamp);
            let time = now_millis().max(last.map_or(0, |last| last + 1));
            info.insert(IN_COMMIT_TIMESTAMP.into(), time.into());
        }
        info
    }

    /// Enters our own commit. Nothing here can fail once the log has it but for a defect.
    pub(super) fn committed(
        &mut self,
        landed: Landed,
        commit: &Commit,
        taken: &Taken,
        prepared: Option<Prepared>,
        written: Option<(Located, Written)>,
    ) -> Result<()> {
        self.snapshot.commit(landed, commit, taken.vectors.iter().cloned())?;
        let Some(state) = self.snapshot.state() else { return Ok(()) };
        for (path, keys) in remove_rows::rewritten_keys(taken) {
            if let Some(file) = state.file_by_path(path) {
                row_number(keys.len())?;
                self.keys.enter_file(file, keys);
            }
        }
        let (Some(prepared), Some((located, written))) = (prepared, written) else { return Ok(()) };
        let collapsed = prepared.collapsed;
        for (file, group) in &written.files {
            let Some(file) = state.file_by_path(&file.add.path) else { continue };
            let keys: Vec<Fingerprint> = group.rows.iter().map(|row| collapsed.upsert_keys[*row as usize]).collect();
            self.keys.enter_file(file, &keys);
        }
        let deleted = collapsed.deletes.iter().zip(&located.deletes).filter(|(_, place)| place.is_some());
        let deleted: HashSet<Fingerprint> = deleted.map(|(key, _)| *key).collect();
        self.keys.enter_updates(state.version, commit);
        let never_stored = &collapsed.never_stored;
        self.keys.remember(state, &collapsed.upsert_keys, collapsed.deleted, &deleted, never_stored);
        self.snapshot.set_schema(prepared.schema);
        Ok(())
    }
}

/// Counts the rows that were replaced and deleted. A row that is only marked as deleted was replaced by its mark.
fn count_taken(prepared: &Prepared, located: &Located, deletions: &Deletions, result: &mut MergeResult) {
    let collapsed = &prepared.collapsed;
    let is_marked = |row: &&u32| collapsed.flagged.get(**row as usize) == Some(&true);
    let marked = collapsed.upserts.iter().filter(is_marked).count() as u64;
    let replaced = located.upserts.iter().flatten().count() as u64;
    let taken: u64 = deletions.values().map(roaring::RoaringBitmap::len).sum();
    result.updated = replaced.saturating_sub(marked);
    result.deleted = taken.saturating_sub(result.updated);
}

/// Counts what was written, after [`count_taken`].
fn count_written(prepared: &Prepared, written: &Written, taken: &Taken, result: &mut MergeResult) {
    result.upserted = prepared.collapsed.upserts.len() as u64;
    result.inserted = result.upserted - result.updated;
    result.dropped_stale = prepared.collapsed.dropped_stale;
    result.missing_values = written.missing;
    result.added_columns.clone_from(&prepared.added_columns);
    result.widened_columns.clone_from(&prepared.widened_columns);
    result.files_touched = taken.removes.len() as u64;
    result.files_added = (written.files.len() + taken.rewritten.len()) as u64;
    result.files_removed = (taken.removes.len() - (taken.adds.len() - taken.rewritten.len())) as u64;
    result.bytes_written = taken.bytes + written.files.iter().map(|(f, _)| f.bytes.len() as u64).sum::<u64>();
}

/// Brings the schema's JSON up to the table's new schema. What is there already stays as it is written, with its metadata.
pub(super) fn grown_schema(json: &str, schema: &Schema) -> Result<String> {
    let mut known: serde_json::Value = serde_json::from_str(json)?;
    grow(&mut known, &serde_json::to_value(to_delta(schema)?)?);
    Ok(known.to_string())
}

/// Adds what a type lacks of another: new fields of structs, and wider types.
fn grow(known: &mut serde_json::Value, wanted: &serde_json::Value) {
    let mut part = |name: &str| {
        if let (Some(known), Some(wanted)) = (known.get_mut(name), wanted.get(name)) {
            grow(known, wanted);
        }
    };
    match wanted.get("type").and_then(|kind| kind.as_str()) {
        Some("array") => part("elementType"),
        Some("map") => ["keyType", "valueType"].into_iter().for_each(part),
        Some("struct") => {
            let fields = known.get_mut("fields").and_then(|fields| fields.as_array_mut());
            let (Some(fields), Some(wanted)) = (fields, wanted["fields"].as_array()) else { return };
            for field in wanted {
                match fields.iter_mut().find(|f| f["name"] == field["name"]).and_then(|f| f.get_mut("type")) {
                    Some(known) => grow(known, &field["type"]),
                    None => fields.push(field.clone()),
                }
            }
        }
        _ if is_same_type(known, wanted) => {}
        _ => *known = wanted.clone(),
    }
}

/// Whether two types that are not nested are the same, however they are written.
fn is_same_type(one: &serde_json::Value, other: &serde_json::Value) -> bool {
    let parsed =
        |value: &serde_json::Value| serde_json::from_value::<delta_kernel::schema::DataType>(value.clone()).ok();
    one == other || parsed(one).is_some_and(|one| parsed(other) == Some(one))
}

pub(super) fn contains_ntz(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, None) => true,
        DataType::List(field) | DataType::LargeList(field) | DataType::Map(field, _) => contains_ntz(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|f| contains_ntz(f.data_type())),
        _ => false,
    }
}
