//! What the types of columns do not tell of their values: units of numbers, forms of texts, members of unions.
//!
//! A batch names the forms of its columns, and the table remembers them as a property, so that a later batch cannot mix
//! milliseconds with microseconds in one column.

use std::collections::{BTreeMap, HashMap};

use arrow::datatypes::{DataType, Schema};

use crate::error::{Error, ErrorCode, Result};

/// The table property, and the metadata of a batch's schema, both as JSON.
pub const FORMS: &str = "kafka2delta.forms";

/// Forms by column and path within it.
pub type Forms = BTreeMap<String, String>;

/// The metadata of a batch's schema that the engine keeps.
pub fn of_batch(metadata: &HashMap<String, String>) -> HashMap<String, String> {
    metadata.get(FORMS).map(|forms| (FORMS.to_owned(), forms.clone())).into_iter().collect()
}

/// Reads forms from their JSON; none where there is no text.
pub fn parse(text: Option<&str>) -> Result<Forms> {
    text.map_or_else(|| Ok(Forms::new()), |text| Ok(serde_json::from_str(text)?))
}

/// The forms of a batch's columns, without those that the table does not take (`schemaEvolution: none`).
pub fn of_columns(batch: &Schema, table: &Schema) -> Result<Forms> {
    let mut forms = parse(batch.metadata().get(FORMS).map(String::as_str))?;
    forms.retain(|path, _| {
        table
            .fields()
            .iter()
            .filter_map(|field| path.strip_prefix(field.name().as_str()))
            .any(|within| within.is_empty() || within.starts_with(['.', '[', '{']))
    });
    Ok(forms)
}

/// Refuses a batch whose values mean something else than those of the table.
pub fn check(known: &Forms, table: &Schema, forms: &Forms, batch: &Schema) -> Result<()> {
    for (path, form) in forms {
        let stored = match known.get(path) {
            Some(stored) if stored == form => continue,
            Some(stored) => stored.as_str(),
            // The forms of an older table are not known, but a number of another size has another unit.
            None if grows(table, batch, path) => "numbers of another unit",
            None => continue,
        };
        return Err(Error::new(
            ErrorCode::SchemaIncompatible,
            format!(
                "column '{path}' holds {stored} in the table and {form} in the changes, which one column cannot tell \
                 apart: set the connector (time.precision.mode) or the option back, or write to a new table; times of \
                 day as texts (columns: {{name: {{time: 'string'}}}}) have no unit"
            ),
        ));
    }
    Ok(())
}

fn grows(table: &Schema, batch: &Schema, column: &str) -> bool {
    let (Ok(table), Ok(batch)) = (table.field_with_name(column), batch.field_with_name(column)) else { return false };
    matches!(
        (table.data_type(), batch.data_type()),
        (DataType::Int32, DataType::Int64) | (DataType::Int64, DataType::Int32)
    )
}

/// Adds the forms of a batch to the properties of its table.
pub fn remember(forms: &Forms, properties: &mut BTreeMap<String, String>) -> Result<()> {
    if forms.is_empty() {
        return Ok(());
    }
    let mut all = parse(properties.get(FORMS).map(String::as_str))?;
    all.extend(forms.iter().map(|(path, form)| (path.clone(), form.clone())));
    properties.insert(FORMS.to_owned(), serde_json::to_string(&all)?);
    Ok(())
}
