//! Which tables we may write to. What we do not know, we do not touch.

use super::actions::Protocol;
use super::state::TableState;
use crate::error::{Error, ErrorCode, Result};

/// Reader features that our reading and writing honours.
const READER_FEATURES: &[&str] = &["deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"];

/// Writer features that we honour, whether the table uses them or merely lists them.
const WRITER_FEATURES: &[&str] =
    &["deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck", "domainMetadata", "clustering"];

/// Writer features that are allowed as long as the table does not use them, each with the look that tells.
const UNUSED_WRITER_FEATURES: &[&str] = &[
    "appendOnly",
    "invariants",
    "checkConstraints",
    "changeDataFeed",
    "generatedColumns",
    "allowColumnDefaults",
    "identityColumns",
    "columnMapping",
    "rowTracking",
    "inCommitTimestamp",
    "icebergCompatV1",
    "icebergCompatV2",
];

fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::TableUnsupported, message)
}

fn is_true(state: &TableState, property: &str) -> bool {
    state.property(property).is_some_and(|v| v.eq_ignore_ascii_case("true"))
}

/// Refuses a table that our commits would damage or that would damage our offsets, before anything is written.
pub fn check_writable(state: &TableState) -> Result<()> {
    check_known(&state.protocol)?;
    let refused = [
        ("delta.appendOnly", "the table takes appended rows only: set delta.appendOnly to false"),
        ("delta.enableChangeDataFeed", "the change data feed is not written: set delta.enableChangeDataFeed to false"),
        ("delta.enableRowTracking", "row tracking is not kept: set delta.enableRowTracking to false"),
        ("delta.enableInCommitTimestamps", "in-commit timestamps are not written"),
        ("delta.enableIcebergCompatV1", "Iceberg compatibility is not kept"),
        ("delta.enableIcebergCompatV2", "Iceberg compatibility is not kept"),
        ("delta.enableTypeWidening", "type widening locks delta-rs out: set delta.enableTypeWidening to false"),
    ];
    for (property, message) in refused {
        if is_true(state, property) {
            return Err(unsupported(format!("{message} ({property} is true)")));
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
        if !field.is_nullable() {
            return Err(unsupported(format!(
                "column '{}' is NOT NULL: a deleted or dropped value could not be stored. \
                 Run ALTER TABLE … ALTER COLUMN … DROP NOT NULL",
                field.name()
            )));
        }
        let used = ["delta.invariants", "delta.generationExpression", "delta.identity.start"];
        if let Some(key) = used.into_iter().find(|key| field.metadata().contains_key(*key)) {
            return Err(unsupported(format!("column '{}' has {key}, which is not kept here", field.name())));
        }
    }
    Ok(())
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

/// The protocol of a table that we create.
pub fn new_protocol(deletion_vectors: bool, timestamp_ntz: bool) -> Protocol {
    let mut features = Vec::new();
    if deletion_vectors {
        features.push("deletionVectors".to_owned());
    }
    if timestamp_ntz {
        features.push("timestampNtz".to_owned());
    }
    if features.is_empty() {
        return Protocol { min_reader_version: 1, min_writer_version: 2, reader_features: None, writer_features: None };
    }
    Protocol {
        min_reader_version: 3,
        min_writer_version: 7,
        reader_features: Some(features.clone()),
        writer_features: Some(features),
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
        let implied = [
            (2, "appendOnly"),
            (2, "invariants"),
            (3, "checkConstraints"),
            (4, "changeDataFeed"),
            (4, "generatedColumns"),
            (5, "columnMapping"),
            (6, "identityColumns"),
        ];
        for (version, name) in implied {
            if protocol.min_writer_version >= version {
                writer.push(name.to_owned());
            }
        }
        if protocol.min_reader_version == 2 {
            reader.push("columnMapping".to_owned());
        }
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
