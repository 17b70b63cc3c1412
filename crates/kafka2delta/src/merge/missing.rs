//! Columns that the options name and the changes do not have, so far or at all.
//!
//! A topic's first messages may be of an older schema, which lacks a column of `additionalCols`, `partitionCols` or
//! `clusterBy`. Such a column counts as null until a schema brings it, and the user is told of it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::computed::CompiledColumns;
use crate::error::{Error, ErrorCode, Result};
use crate::schema::{canonical, fits};
use crate::table::KeyedTable;

impl KeyedTable {
    /// Tells of what additional columns need and the table does not have. A column that the changes have, and
    /// `schemaEvolution` keeps out of the table, is refused: its values are not null.
    pub(super) fn note_missing(&mut self, compiled: &CompiledColumns, fields: &[Field]) -> Result<()> {
        for missing in compiled.missing() {
            let (additional, name) = (&missing.additional, &missing.name);
            if fields.iter().any(|field| field.name().eq_ignore_ascii_case(name)) {
                return Err(Error::new(
                    ErrorCode::ExpressionInvalid,
                    format!(
                        "the additional column '{additional}' needs '{name}', which is not in the table and which \
                         schemaEvolution 'none' keeps out of it: set schemaEvolution to 'add'"
                    ),
                ));
            }
            self.notes.add(format!(
                "the additional column '{additional}' needs '{name}', which the changes do not have so far: it counts as \
                 null. If that is a mistake, correct additionalCols, and make the table anew"
            ));
        }
        Ok(())
    }

    /// The schema of a new table, with the columns to partition by that the changes do not have yet. They are texts
    /// until a change tells their type.
    pub(super) fn with_partition_columns(&mut self, schema: SchemaRef) -> Result<SchemaRef> {
        if self.snapshot.state().is_some() {
            return Ok(schema);
        }
        let mut fields = schema.fields().to_vec();
        for name in &self.options.partition_columns {
            match fields.iter().find(|field| field.name().eq_ignore_ascii_case(name)) {
                Some(field) if field.name() == name => {}
                Some(field) => {
                    return Err(Error::new(
                        ErrorCode::ConfigInvalid,
                        format!("partitionCols names '{name}', and the column's name is '{}'", field.name()),
                    ));
                }
                None => {
                    self.notes.add(format!(
                        "partitionCols names '{name}', which the changes do not have so far: it is null until they do. \
                         If that is a mistake, correct partitionCols, and make the table anew"
                    ));
                    fields.push(Arc::new(Field::new(name, DataType::Utf8, true)));
                }
            }
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Tells of columns to sort by that the table does not have.
    pub(super) fn note_missing_clusters(&mut self, schema: &Schema) {
        for name in self.options.cluster_by.iter().filter(|name| schema.field_with_name(name).is_err()) {
            self.notes.add(format!(
                "clusterBy names '{name}', which the changes do not have so far: compaction does not sort by it until \
                 they do"
            ));
        }
    }

    /// The table's schema in which partition columns that were made before their type was known get it from `fields`, and
    /// their names. Such a column has no value in any file: its values are in the log, where all are null.
    pub(super) fn with_partition_types(
        &self,
        schema: &SchemaRef,
        fields: &[Field],
    ) -> Result<(SchemaRef, Vec<String>)> {
        let Some(state) = self.snapshot.state() else { return Ok((schema.clone(), Vec::new())) };
        let mut typed = Vec::new();
        let mut columns = schema.fields().to_vec();
        for column in columns.iter_mut().filter(|column| state.metadata.partition_columns.contains(column.name())) {
            let Some(field) = fields.iter().find(|field| field.name() == column.name()) else { continue };
            let is_null = |value: Option<&Option<String>>| value.is_none_or(|v| v.as_deref().is_none_or(str::is_empty));
            if *column.data_type() == DataType::Utf8
                && !fits(field.data_type(), column.data_type())
                && !field.data_type().is_nested()
                && state.live_files().all(|(_, file)| is_null(file.add.partition_values.get(column.name())))
            {
                typed.push(column.name().clone());
                *column = Arc::new(canonical(field)?);
            }
        }
        Ok((if typed.is_empty() { schema.clone() } else { Arc::new(Schema::new(columns)) }, typed))
    }

    /// Tells of partition columns with empty texts.
    pub(super) fn note_empty_partition_values(&mut self, columns: &[String], primary_key: &[String]) {
        for name in columns {
            let key = self.options.primary_key.as_deref().unwrap_or(primary_key);
            let in_key = match key.contains(name) {
                true => ". It is part of the key, where an empty text and null are one value then",
                false => "",
            };
            self.notes.add(format!(
                "the partition column '{name}' has empty texts: they are stored as null, since Delta has no empty \
                 partition value{in_key}"
            ));
        }
    }
}
