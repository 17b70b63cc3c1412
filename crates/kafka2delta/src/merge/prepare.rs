//! Making a batch ready for the table's schema.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::modes::{append, scd2};
use super::prepared::Prepared;
use crate::change::batch::{ChangeBatch, Op};
use crate::change::collapse::{Collapsed, Known, collapse};
use crate::change::forms;
use crate::change::forms::FORMS;
use crate::computed::CompiledColumns;
use crate::datafile::order_columns;
use crate::error::{Error, ErrorCode, Result};
use crate::key::hasher::Fingerprint;
use crate::options::WriteMode;
use crate::schema::{Evolved, SchemaEvolution, conform_batch, evolve, evolve_additional};
use crate::table::KeyedTable;

impl KeyedTable {
    pub(super) async fn prepare(&mut self, batch: &ChangeBatch, primary_key: &[String]) -> Result<Prepared> {
        let additional: Vec<&str> = self.additional.iter().map(|a| a.name.as_str()).collect();
        additional.iter().try_for_each(|name| check_name(name))?;
        let mut fields = Vec::new();
        for field in batch.schema().fields() {
            check_name(field.name())?;
            if additional.iter().any(|name| name.eq_ignore_ascii_case(field.name())) {
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
        let own = match &self.options.write_mode {
            WriteMode::Upsert => Vec::new(),
            WriteMode::Append => append::own_fields(batch),
            WriteMode::Scd2(columns) => scd2::own_fields(columns),
        };
        if let Some(taken) = own.iter().find(|own| fields.iter().any(|f| f.name().eq_ignore_ascii_case(own.name()))) {
            return Err(Error::new(
                ErrorCode::ConfigInvalid,
                format!(
                    "the topic has a column '{}', which this writeMode adds itself: rename the topic's (renameColumns), \
                     or the own ones of scd2 (scd2Columns)",
                    taken.name()
                ),
            ));
        }
        fields.extend(own);
        let evolution = if self.state.is_some() { self.options.schema_evolution } else { SchemaEvolution::Add };
        let (known, mut typed_columns) = self.with_partition_types(&self.schema, &fields)?;
        let Evolved { schema: with_batch, added: mut added_columns, widened: mut widened_columns } =
            evolve(&known, &fields, evolution)?;
        let known_forms = forms::parse(self.property(FORMS))?;
        let batch_forms = forms::of_columns(&batch.schema(), &with_batch)?;
        forms::check(&known_forms, &self.schema, &batch_forms, &batch.schema())?;
        let base_fields: Vec<Field> = with_batch
            .fields()
            .iter()
            .filter(|f| !additional.iter().any(|name| name.eq_ignore_ascii_case(f.name())))
            .map(|f| f.as_ref().clone())
            .collect();
        let base_schema: SchemaRef = Arc::new(Schema::new(base_fields));
        let compiled = self.compile(&base_schema)?;
        self.note_missing(&compiled, &fields)?;
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
        if self.schema.fields().is_empty() && self.state.is_none() {
            self.schema = schema.clone();
        }
        let mut prepared = Prepared {
            based_on: self.schema.clone(),
            schema: schema.clone(),
            added_columns,
            widened_columns,
            compiled,
            base: conform_batch(&batch.data, &base_schema)?,
            forms: batch_forms,
            left_out: Vec::new(),
            partitions: batch.partitions.clone(),
            collapsed: Collapsed::default(),
            missing: 0,
        };
        if self.options.write_mode == WriteMode::Append {
            self.prepare_append(batch, &mut prepared).await?;
            return Ok(prepared);
        }
        self.ensure_index(primary_key, &schema).await?;
        let key = self.key.clone().ok_or_else(|| Error::new(ErrorCode::Internal, "the table has no key"))?;
        // A truncate has no key, and a batch of nothing else need not have its columns.
        let keys = match batch.ops.iter().all(|op| *op == Op::Truncate) {
            true => vec![Fingerprint::default(); batch.num_rows()],
            false => key.hasher.fingerprints(&batch.key_columns(&key.names)?)?,
        };
        let old_keys = match &batch.old_keys {
            None => Vec::new(),
            Some(old) => {
                let columns: Result<Vec<ArrayRef>> = key
                    .names
                    .iter()
                    .map(|name| {
                        old.column_by_name(name).cloned().ok_or_else(|| {
                            Error::new(ErrorCode::BatchInvalid, format!("_old_key lacks the key column '{name}'"))
                        })
                    })
                    .collect();
                let prints = key.hasher.fingerprints(&columns?)?;
                prints.into_iter().enumerate().map(|(row, print)| old.is_valid(row).then_some(print)).collect()
            }
        };
        self.stage_keys(&keys, &old_keys).await?;
        let recalled = self.recall(batch, &keys, &old_keys).await?;
        let last = |key: &Fingerprint| self.memory.get(key).or_else(|| recalled.get(key).copied());
        let is_stored = |key: &Fingerprint| self.live_place(key).is_some();
        let soft = self.options.soft_delete_column.as_ref().map(|_| &is_stored as &dyn Fn(&Fingerprint) -> bool);
        let history = self.options.write_mode.version_columns().is_some();
        let collapsed = collapse(batch, &keys, &old_keys, Known { last: &last, floor: self.floor(), soft, history });
        let mut left_out: Vec<(String, BooleanArray)> = batch
            .left_out
            .iter()
            .map(|(index, mask)| (batch.data.schema().field(*index).name().clone(), mask.clone()))
            .collect();
        // A row that is only marked keeps the values of columns that the batch does not know.
        if batch.ops.contains(&Op::SoftDelete) {
            let marked: BooleanArray = batch.ops.iter().map(|op| Some(*op == Op::SoftDelete)).collect();
            let unknown = base_schema.fields().iter().filter(|f| batch.data.column_by_name(f.name()).is_none());
            left_out.extend(unknown.map(|field| (field.name().clone(), marked.clone())));
        }
        (prepared.left_out, prepared.collapsed) = (left_out, collapsed);
        match &self.options.write_mode {
            WriteMode::Scd2(columns) => self.versions(batch, &keys, prepared, columns).await,
            _ => Ok(prepared),
        }
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

    pub(super) fn compile(&mut self, base: &SchemaRef) -> Result<Arc<CompiledColumns>> {
        if let Some((schema, compiled)) = &self.compiled
            && schema == base
        {
            return Ok(compiled.clone());
        }
        let compiled = Arc::new(CompiledColumns::compile(&self.additional, base)?);
        self.compiled = Some((base.clone(), compiled.clone()));
        Ok(compiled)
    }
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
