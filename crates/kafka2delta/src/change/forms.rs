//! What the types of columns do not tell of their values: units of numbers, forms of texts, members of unions.
//!
//! A batch names the forms of its columns, and the table remembers them as a property, so that a later batch cannot mix
//! milliseconds with microseconds in one column, nor with plain numbers. A path that the property does not name is not
//! known: another writer made the column, or a version that did not remember plain values. The next batch tells of it.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::datatypes::{DataType, Field, Fields, Schema};

use crate::error::{Error, ErrorCode, Result};

/// The table property, and the metadata of a batch's schema, both as JSON.
pub const FORMS: &str = "kafka2delta.forms";

/// The form of numbers and texts that are stored as they are.
const PLAIN: &str = "plain";

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
    let columns: HashSet<&str> = table.fields().iter().map(|field| field.name().as_str()).collect();
    forms.retain(|path, _| columns.contains(path.as_str()) || leads_into(table.fields(), path));
    Ok(forms)
}

/// Whether a path is that of one of the fields, or of a value within it: `s.a`, `list[]`, `map{}`.
fn leads_into(fields: &Fields, path: &str) -> bool {
    fields.iter().any(|field| {
        path.strip_prefix(field.name().as_str()).is_some_and(|within| leads_within(field.data_type(), within))
    })
}

fn leads_within(data_type: &DataType, path: &str) -> bool {
    let into =
        |item: &Field, step: &str| path.strip_prefix(step).is_some_and(|within| leads_within(item.data_type(), within));
    match data_type {
        _ if path.is_empty() => true,
        DataType::Struct(fields) => path.strip_prefix('.').is_some_and(|within| leads_into(fields, within)),
        DataType::List(item) => into(item, "[]"),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(parts) => parts.get(1).is_some_and(|values| into(values, "{}")),
            _ => false,
        },
        _ => false,
    }
}

/// Refuses a batch whose values mean something else than those of the table.
pub fn check(known: &Forms, table: &Schema, forms: &Forms, batch: &Schema) -> Result<()> {
    for (path, form) in forms {
        let stored = match known.get(path) {
            Some(stored) if stored == form => continue,
            Some(stored) => in_words(stored),
            // What is not known has another unit where the number has another size. Plain numbers grow.
            None if form != PLAIN && grows(table, batch, path) => "numbers of another unit",
            None => continue,
        };
        return Err(Error::new(
            ErrorCode::SchemaIncompatible,
            format!(
                "column '{path}' holds {stored} in the table and {} in the changes, which one column cannot tell \
                 apart: set the connector (time.precision.mode) or the option back, or write to a new table; times of \
                 day as texts (columns: {{name: {{time: 'string'}}}}) have no unit",
                in_words(form)
            ),
        ));
    }
    Ok(())
}

fn in_words(form: &str) -> &str {
    if form == PLAIN { "plain values" } else { form }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn forms_of_values_that_the_table_does_not_take_are_left_out() {
        let part = || DataType::Struct(vec![Field::new("a", DataType::Int32, true)].into());
        let entries = vec![Field::new("key", DataType::Utf8, false), Field::new("value", part(), true)];
        let entries = Arc::new(Field::new("entries", DataType::Struct(entries.into()), false));
        let table = Schema::new(vec![
            Field::new("n", DataType::Int32, true),
            Field::new("s", part(), true),
            Field::new("l", DataType::new_list(part(), true), true),
            Field::new("m", DataType::Map(entries, false), true),
        ]);
        let taken = ["l[].a", "m{}.a", "n", "s.a"];
        let others = ["l{}.a", "m[].a", "m{}.b", "n[]", "nn", "s.a.b", "s.b", "s[]"];
        let forms: Forms =
            taken.iter().chain(&others).map(|path| ((*path).to_owned(), "milliseconds".to_owned())).collect();
        let metadata = HashMap::from([(FORMS.to_owned(), serde_json::to_string(&forms).unwrap())]);
        let kept = of_columns(&Schema::new_with_metadata(Fields::empty(), metadata), &table).unwrap();
        assert_eq!(kept.keys().collect::<Vec<_>>(), taken);
    }
}
