//! Making a batch ready for the table's schema.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use hashbrown::HashMap;

use super::prepared::Prepared;
use crate::change::batch::{ChangeBatch, Op};
use crate::change::collapse::{Collapsed, Known, collapse};
use crate::change::forms;
use crate::change::forms::FORMS;
use crate::datafile::order_columns;
use crate::error::{Error, ErrorCode, Result};
use crate::key::columns::KeyColumns;
use crate::key::hasher::Fingerprint;
use crate::order::memory::Remembered;
use crate::schema::{Evolved, SchemaEvolution, conform_batch, evolve, evolve_additional};
use crate::table::KeyedTable;

impl KeyedTable {
    /// Makes a batch ready: its columns in the table's types, its changes as rows to be written.
    pub(super) async fn prepare(&mut self, batch: &ChangeBatch, primary_key: &[String]) -> Result<Prepared> {
        let fields = self.columns_of(batch)?;
        let prepared = self.fit_to_schema(batch, &fields)?;
        self.prepare_rows(batch, primary_key, prepared).await
    }

    /// Keeps of the changes of a key the last one. Gives the key of each change, too.
    pub(super) async fn prepare_last_changes(
        &mut self,
        batch: &ChangeBatch,
        primary_key: &[String],
        mut prepared: Prepared,
    ) -> Result<(Prepared, Vec<Fingerprint>)> {
        self.ensure_index(primary_key, &prepared.schema).await?;
        let key = self.keys.required()?.clone();
        let keys = fingerprints(batch, &key)?;
        let other_keys = other_fingerprints(batch, &key)?;
        let is_second = |(row, other): (usize, &Option<Fingerprint>)| other.filter(|_| batch.ops[row] == Op::Upsert);
        let old_keys: Vec<Option<Fingerprint>> = other_keys.iter().enumerate().map(is_second).collect();
        self.keys.stage(&keys, &old_keys, &self.storage, &self.snapshot).await?;
        // An earlier commit may have the other half, also of an update that has both in the batch.
        if other_keys.iter().any(Option::is_some)
            && let Some(state) = self.snapshot.state()
        {
            self.keys.learn_updates(&self.storage, state.version).await?;
        }
        let recalled = self.recall(batch, &keys, &old_keys).await?;
        prepared.collapsed = self.collapse_batch(batch, &keys, &other_keys, &recalled);
        prepared.left_out = left_out(batch, &prepared.base);
        Ok((prepared, keys))
    }

    /// The columns that the batch brings, with those that the options and the write mode add.
    fn columns_of(&self, batch: &ChangeBatch) -> Result<Vec<Field>> {
        self.computed.names().try_for_each(check_name)?;
        let mut fields = Vec::new();
        for field in batch.schema().fields() {
            check_name(field.name())?;
            if self.computed.has(field.name()) {
                return Err(Error::new(
                    ErrorCode::ConfigInvalid,
                    format!(
                        "the additional column '{name}' has the name of a column of the topic: give it another name, or \
                         the topic's column (renameColumns: {{ '{name}': <new name> }}), or leave that one out \
                         (excludeColumns)",
                        name = field.name()
                    ),
                ));
            }
            fields.push(field.as_ref().clone());
        }
        if let Some(name) = &self.options.soft_delete_column
            && !fields.iter().any(|field| field.name() == name)
        {
            fields.push(Field::new(name, DataType::Boolean, true));
        }
        let mode = &self.options.write_mode;
        let own = mode.own_columns_with(batch);
        if let Some(taken) = own.iter().find(|own| fields.iter().any(|f| f.name().eq_ignore_ascii_case(own.name()))) {
            return Err(Error::new(
                ErrorCode::ConfigInvalid,
                format!(
                    "the topic has a column '{}', which this writeMode adds itself: rename the topic's \
                     (renameColumns){}",
                    taken.name(),
                    mode.columns_option().map(|option| format!(", or the own one ({option})")).unwrap_or_default()
                ),
            ));
        }
        fields.extend(own);
        Ok(fields)
    }

    /// The batch in the table's types, and the schema that the table has with it.
    fn fit_to_schema(&mut self, batch: &ChangeBatch, fields: &[Field]) -> Result<Prepared> {
        let evolution =
            if self.snapshot.state().is_some() { self.options.schema_evolution } else { SchemaEvolution::Add };
        let (known, mut typed_columns) = self.with_partition_types(self.snapshot.schema(), fields)?;
        let Evolved { schema: with_batch, added: mut added_columns, widened: mut widened_columns } =
            evolve(&known, fields, evolution)?;
        let known_forms = forms::parse(self.property(FORMS))?;
        let batch_forms = forms::of_columns(&batch.schema(), &with_batch)?;
        forms::check(&known_forms, self.snapshot.schema(), &batch_forms, &batch.schema())?;
        let of_batch = with_batch.fields().iter().filter(|field| !self.computed.has(field.name()));
        let base_schema: SchemaRef = Arc::new(Schema::new(of_batch.cloned().collect::<Vec<_>>()));
        let compiled = self.computed.compile(&base_schema)?;
        self.note_missing(&compiled, fields)?;
        let (with_batch, typed) = self.with_partition_types(&with_batch, &compiled.fields())?;
        typed_columns.extend(typed);
        let complete = evolve_additional(&with_batch, &compiled.fields())?;
        let schema = self.with_partition_columns(complete.schema)?;
        self.note_missing_clusters(&schema);
        added_columns.extend(complete.added);
        added_columns.extend(typed_columns);
        widened_columns.extend(complete.widened);
        self.check_rewrite(&widened_columns)?;
        self.check_feed_names(&schema)?;
        Ok(Prepared {
            basis: self.snapshot.basis(),
            schema,
            added_columns,
            widened_columns,
            compiled,
            base: conform_batch(&batch.data, &base_schema)?,
            base_schema,
            forms: batch_forms,
            left_out: Vec::new(),
            partitions: batch.partitions.clone(),
            collapsed: Collapsed::default(),
            missing: 0,
        })
    }

    /// The last change of each key, in view of what the table holds and remembers of it.
    fn collapse_batch(
        &self,
        batch: &ChangeBatch,
        keys: &[Fingerprint],
        other_keys: &[Option<Fingerprint>],
        recalled: &HashMap<Fingerprint, Remembered>,
    ) -> Collapsed {
        let last = |key: &Fingerprint| self.keys.memory().get(key).or_else(|| recalled.get(key).copied());
        let is_stored = |key: &Fingerprint| self.keys.live_place(self.snapshot.state(), key).is_some();
        let keeps_deleted = self.options.soft_delete_column.is_some();
        let history = self.options.write_mode.version_columns().is_some();
        let updates = self.keys.updates();
        let floor = self.snapshot.floor();
        let known = Known { last: &last, floor, is_stored: &is_stored, keeps_deleted, history, updates };
        collapse(batch, keys, other_keys, known)
    }

    /// A wider column has the whole table rewritten: up to a bound.
    pub(super) fn check_rewrite(&self, widened: &[String]) -> Result<()> {
        if widened.is_empty() {
            return Ok(());
        }
        let size = self.info().size_bytes;
        if size <= self.options.max_rewrite_bytes {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::SchemaIncompatible,
            format!(
                "column {} needs a wider type, and the table's {size} bytes would be rewritten, more than \
                 maxRewriteBytes ({}): raise it, or store the values from now on in another column (renameColumns)",
                widened.join(", "),
                self.options.max_rewrite_bytes
            ),
        ))
    }
}

/// The keys of the changes. A truncate has none, and a batch of nothing else need not have the key's columns.
fn fingerprints(batch: &ChangeBatch, key: &KeyColumns) -> Result<Vec<Fingerprint>> {
    match batch.ops.iter().all(|op| *op == Op::Truncate) {
        true => Ok(vec![Fingerprint::default(); batch.num_rows()]),
        false => key.hasher.fingerprints(&batch.key_columns(&key.names)?),
    }
}

/// Of the halves of key updates the other keys; empty for a batch without any.
fn other_fingerprints(batch: &ChangeBatch, key: &KeyColumns) -> Result<Vec<Option<Fingerprint>>> {
    let Some(old) = &batch.other_keys else { return Ok(Vec::new()) };
    let column = |name: &String| {
        old.column_by_name(name)
            .cloned()
            .ok_or_else(|| Error::new(ErrorCode::BatchInvalid, format!("_old_key lacks the key column '{name}'")))
    };
    let columns: Vec<ArrayRef> = key.names.iter().map(column).collect::<Result<_>>()?;
    let prints = key.hasher.fingerprints(&columns)?;
    Ok(prints.into_iter().enumerate().map(|(row, print)| old.is_valid(row).then_some(print)).collect())
}

/// Which changes leave out the value of which column.
fn left_out(batch: &ChangeBatch, base: &RecordBatch) -> Vec<(String, BooleanArray)> {
    let given = batch.left_out.iter();
    let mut left_out: Vec<(String, BooleanArray)> =
        given.map(|(index, mask)| (batch.data.schema().field(*index).name().clone(), mask.clone())).collect();
    // A row that is only marked keeps the values of columns that the batch does not know.
    if batch.ops.contains(&Op::SoftDelete) {
        let marked: BooleanArray = batch.ops.iter().map(|op| Some(*op == Op::SoftDelete)).collect();
        let schema = base.schema();
        let unknown = schema.fields().iter().filter(|field| batch.data.column_by_name(field.name()).is_none());
        left_out.extend(unknown.map(|field| (field.name().clone(), marked.clone())));
    }
    left_out
}

/// Our own columns of the data files cannot be the table's too.
fn check_name(name: &str) -> Result<()> {
    match order_columns::COLUMNS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        false => Ok(()),
        true => Err(Error::new(
            ErrorCode::ConfigInvalid,
            format!("the column '{name}' has a name that kafka2delta keeps for itself: rename it (renameColumns)"),
        )),
    }
}
