//! Which tables we may write to. What we do not know, we do not touch.

use std::collections::BTreeMap;

use delta_kernel::schema::{DataType, StructField};

use super::actions::Protocol;
use super::state::TableState;
use crate::error::{Error, ErrorCode, Result};

/// Reader features that we support.
///
/// delta-rs's Python package 1.6 lists `variantType` whenever it sets a property of a table with deletion vectors: it is
/// allowed as long as no column is a variant.
const READER_FEATURES: &[&str] =
    &["deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck", "variantType"];

/// Writer features that we honour, whether the table uses them or merely lists them.
const WRITER_FEATURES: &[&str] = &[
    "deletionVectors",
    "timestampNtz",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "domainMetadata",
    "clustering",
    "changeDataFeed",
    "inCommitTimestamp",
    "invariants",
    "variantType",
];

/// Writer features that are allowed as long as the table does not use them, each with a look in [`check_writable`].
const UNUSED_WRITER_FEATURES: &[&str] = &[
    "appendOnly",
    "checkConstraints",
    "generatedColumns",
    "allowColumnDefaults",
    "identityColumns",
    "columnMapping",
    "rowTracking",
    "icebergCompatV1",
    "icebergCompatV2",
];

/// Features that a writer version below 7 stands for, each with the first one.
const IMPLIED: [(i32, &str); 7] = [
    (2, "appendOnly"),
    (2, "invariants"),
    (3, "checkConstraints"),
    (4, "changeDataFeed"),
    (4, "generatedColumns"),
    (5, "columnMapping"),
    (6, "identityColumns"),
];

/// Table property: commits tell the rows that they change.
pub const CHANGE_DATA_FEED: &str = "delta.enableChangeDataFeed";
/// Table property: commits tell their time.
pub const IN_COMMIT_TIMESTAMPS: &str = "delta.enableInCommitTimestamps";

/// What a column's metadata may have that a writer would have to heed, and what it is called.
const COLUMN_RULES: [(&str, &str); 4] = [
    ("delta.invariants", "an invariant"),
    ("delta.generationExpression", "a generation expression"),
    ("delta.identity.start", "identity values"),
    ("CURRENT_DEFAULT", "a default value"),
];

fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::TableUnsupported, message)
}

fn is_true(state: &TableState, property: &str) -> bool {
    state.property(property).is_some_and(|v| v.eq_ignore_ascii_case("true"))
}

/// Refuses a table to which rows may only be added, unless that is all that is done.
pub fn check_append_only(state: &TableState, appends: bool) -> Result<()> {
    match is_true(state, "delta.appendOnly") && !appends {
        false => Ok(()),
        true => Err(unsupported(
            "the table takes appended rows only (delta.appendOnly is true): set delta.appendOnly to false, or write a \
             changelog with writeMode: append",
        )),
    }
}

/// Refuses a table that our commits would damage or that would damage our offsets, before anything is written.
pub fn check_writable(state: &TableState) -> Result<()> {
    check_known(&state.protocol)?;
    let refused = [
        ("delta.enableRowTracking", "row tracking is not kept: set delta.enableRowTracking to false"),
        ("delta.enableIcebergCompatV1", "Iceberg compatibility is not kept"),
        ("delta.enableIcebergCompatV2", "Iceberg compatibility is not kept"),
        ("delta.enableTypeWidening", "type widening locks delta-rs out: set delta.enableTypeWidening to false"),
    ];
    for (property, message) in refused {
        if is_true(state, property) {
            return Err(unsupported(format!("{message} ({property} is true)")));
        }
    }
    // Row ids are due as soon as the feature is listed, used or not.
    let lists_row_ids = state.protocol.writer_features.iter().flatten().any(|f| f == "rowTracking");
    if lists_row_ids && !is_true(state, "delta.rowTrackingSuspended") {
        return Err(unsupported(
            "the table lists the feature 'rowTracking', and row ids are not assigned here: run ALTER TABLE … DROP \
             FEATURE rowTracking",
        ));
    }
    for (property, feature) in [(CHANGE_DATA_FEED, "changeDataFeed"), (IN_COMMIT_TIMESTAMPS, "inCommitTimestamp")] {
        if is_true(state, property) && !supports(&state.protocol, feature) {
            return Err(unsupported(format!(
                "{property} is true, and the table's protocol does not list the feature '{feature}': set the property \
                 again with ALTER TABLE … SET TBLPROPERTIES, which adds it"
            )));
        }
    }
    if let Some(retention) = state.property("delta.setTransactionRetentionDuration") {
        return Err(unsupported(format!(
            "delta.setTransactionRetentionDuration is '{retention}': the Kafka offsets kept in the table would expire. \
             Run ALTER TABLE … UNSET TBLPROPERTIES ('delta.setTransactionRetentionDuration')"
        )));
    }
    if let Some(mode) = state.property("delta.columnMapping.mode").filter(|m| !m.eq_ignore_ascii_case("none")) {
        return Err(unsupported(format!("column mapping (mode '{mode}') is not written")));
    }
    if let Some(name) = state.metadata.configuration.keys().find(|k| k.starts_with("delta.constraints.")) {
        return Err(unsupported(format!("the check constraint {name} is not enforced here: drop it first")));
    }
    for field in state.schema()?.fields() {
        if let Some(inner) = nested_not_null(field.data_type()) {
            return Err(unsupported(format!(
                "'{}.{inner}' is NOT NULL, which is enforced here for whole columns alone: run ALTER TABLE … ALTER \
                 COLUMN {}.{inner} DROP NOT NULL",
                field.name(),
                field.name()
            )));
        }
        if holds_variant(field.data_type()) {
            return Err(unsupported(format!("column '{}' is a variant, which is not written", field.name())));
        }
        if let Some((key, rule)) = COLUMN_RULES.iter().find(|(key, _)| has_metadata(field, key)) {
            return Err(unsupported(format!(
                "column '{}' has {rule} ({key}), which is not kept here: drop it, or write to another table",
                field.name()
            )));
        }
    }
    Ok(())
}

/// The path of a struct's field that must not be null.
fn nested_not_null(data_type: &DataType) -> Option<String> {
    let below = |name: &str, data_type: &DataType| nested_not_null(data_type).map(|inner| format!("{name}.{inner}"));
    match data_type {
        DataType::Struct(parts) => parts.fields().find_map(|part| match part.is_nullable() {
            false => Some(part.name().clone()),
            true => below(part.name(), part.data_type()),
        }),
        DataType::Array(array) => below("element", array.element_type()),
        DataType::Map(map) => below("key", map.key_type()).or_else(|| below("value", map.value_type())),
        _ => None,
    }
}

/// Whether a type is a variant, or a part of it.
fn holds_variant(data_type: &DataType) -> bool {
    match data_type {
        DataType::Variant(_) => true,
        DataType::Struct(parts) => parts.fields().any(|part| holds_variant(part.data_type())),
        DataType::Array(array) => holds_variant(array.element_type()),
        DataType::Map(map) => holds_variant(map.key_type()) || holds_variant(map.value_type()),
        _ => false,
    }
}

/// Whether a column, or a part of it, has this metadata.
fn has_metadata(field: &StructField, key: &str) -> bool {
    fn inside(data_type: &DataType, key: &str) -> bool {
        match data_type {
            DataType::Struct(parts) => parts.fields().any(|part| has_metadata(part, key)),
            DataType::Array(array) => inside(array.element_type(), key),
            DataType::Map(map) => inside(map.key_type(), key) || inside(map.value_type(), key),
            _ => false,
        }
    }
    field.metadata().contains_key(key) || inside(field.data_type(), key)
}

/// Whether writers of the table know the feature.
fn supports(protocol: &Protocol, feature: &str) -> bool {
    match protocol.min_writer_version {
        7.. => protocol.writer_features.iter().flatten().any(|f| f == feature),
        version => IMPLIED.iter().any(|(first, name)| *name == feature && version >= *first),
    }
}

/// Refuses a table with features that we do not know.
pub fn check_known(protocol: &Protocol) -> Result<()> {
    if protocol.min_reader_version > 3 || protocol.min_writer_version > 7 {
        return Err(unsupported(format!(
            "the table needs reader version {} and writer version {}; 3 and 7 are known",
            protocol.min_reader_version, protocol.min_writer_version
        )));
    }
    // Column mapping is what reader version 2 stands for; whether it is used, its property tells.
    for feature in protocol.reader_features.iter().flatten() {
        if !READER_FEATURES.contains(&feature.as_str()) && feature != "columnMapping" {
            return Err(unsupported(format!("the table's reader feature '{feature}' is not known")));
        }
    }
    for feature in protocol.writer_features.iter().flatten() {
        let feature = feature.as_str();
        if !WRITER_FEATURES.contains(&feature) && !UNUSED_WRITER_FEATURES.contains(&feature) {
            return Err(unsupported(format!("the table's writer feature '{feature}' is not known")));
        }
    }
    Ok(())
}

/// The protocol of a table that we create with these properties.
pub fn new_protocol(deletion_vectors: bool, timestamp_ntz: bool, properties: &BTreeMap<String, String>) -> Protocol {
    // Spark does not open a table that has the policy and does not name the feature.
    let v2_checkpoints = properties.get("delta.checkpointPolicy").is_some_and(|policy| policy == "v2");
    let features =
        [(deletion_vectors, "deletionVectors"), (timestamp_ntz, "timestampNtz"), (v2_checkpoints, "v2Checkpoint")];
    let reader: Vec<String> = features.into_iter().filter(|(used, _)| *used).map(|(_, f)| f.to_owned()).collect();
    let used = |property: &str| properties.get(property).is_some_and(|v| v.eq_ignore_ascii_case("true"));
    let own = [(CHANGE_DATA_FEED, "changeDataFeed"), (IN_COMMIT_TIMESTAMPS, "inCommitTimestamp")];
    let own = own.into_iter().filter(|(property, _)| used(property)).map(|(_, feature)| feature.to_owned());
    let writer: Vec<String> = reader.iter().cloned().chain(own).collect();
    if writer.is_empty() {
        return Protocol { min_reader_version: 1, min_writer_version: 2, reader_features: None, writer_features: None };
    }
    Protocol {
        min_reader_version: if reader.is_empty() { 1 } else { 3 },
        min_writer_version: 7,
        reader_features: (!reader.is_empty()).then_some(reader),
        writer_features: Some(writer),
    }
}

/// The protocol with a feature for readers and writers added; none where it has it.
pub fn with_feature(protocol: &Protocol, feature: &str) -> Option<Protocol> {
    if protocol.writer_features.iter().flatten().any(|f| f == feature) {
        return None;
    }
    // What the version numbers stood for must be named once features are.
    let mut reader: Vec<String> = protocol.reader_features.clone().unwrap_or_default();
    let mut writer: Vec<String> = protocol.writer_features.clone().unwrap_or_default();
    if protocol.min_writer_version < 7 {
        for (version, name) in IMPLIED {
            if protocol.min_writer_version >= version {
                writer.push(name.to_owned());
            }
        }
    }
    if protocol.min_reader_version == 2 {
        reader.push("columnMapping".to_owned());
    }
    reader.push(feature.to_owned());
    writer.push(feature.to_owned());
    Some(Protocol {
        min_reader_version: 3,
        min_writer_version: 7,
        reader_features: Some(reader),
        writer_features: Some(writer),
    })
}
