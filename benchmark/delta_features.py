"""What a table's protocol must name, by what the table uses."""

from __future__ import annotations

# Feature: the versions (reader, writer) that imply it without lists; none where only the lists name it.
LEGACY = {
    "appendOnly": (1, 2),
    "invariants": (1, 2),
    "checkConstraints": (1, 3),
    "changeDataFeed": (1, 4),
    "generatedColumns": (1, 4),
    "columnMapping": (2, 5),
    "identityColumns": (1, 6),
}
# Features that readers must know too.
FOR_READERS = {
    "columnMapping", "deletionVectors", "timestampNtz", "v2Checkpoint", "typeWidening", "typeWidening-preview",
    "vacuumProtocolCheck", "variantType", "variantType-preview", "variantShredding-preview",
}  # fmt: skip
FOR_WRITERS = {
    "appendOnly", "invariants", "checkConstraints", "changeDataFeed", "generatedColumns", "identityColumns",
    "domainMetadata", "rowTracking", "icebergCompatV1", "icebergCompatV2", "clustering", "inCommitTimestamp",
    "allowColumnDefaults", "checkpointProtection", "materializePartitionColumns",
}  # fmt: skip


def primitive_types(data_type) -> set[str]:
    """All primitive types in a type of the schema's JSON."""
    if isinstance(data_type, str):
        return {data_type}
    kind = data_type["type"]
    if kind == "struct":
        return set().union(*[primitive_types(field["type"]) for field in data_type["fields"]])
    if kind == "array":
        return primitive_types(data_type["elementType"])
    if kind == "map":
        return primitive_types(data_type["keyType"]) | primitive_types(data_type["valueType"])
    return primitive_types(kind)


def fields_of(data_type):
    """All fields, at any depth."""
    if isinstance(data_type, str):
        return
    if data_type["type"] == "struct":
        for field in data_type["fields"]:
            yield field
            yield from fields_of(field["type"])
    for inner in ("elementType", "keyType", "valueType"):
        if inner in data_type:
            yield from fields_of(data_type[inner])


def used_features(schema: dict, configuration: dict, has_vectors: bool) -> set[str]:
    """The features that a table needs to name."""
    on = lambda name: str(configuration.get(name, "false")).lower() == "true"  # noqa: E731
    used = set()
    if has_vectors or on("delta.enableDeletionVectors"):
        used.add("deletionVectors")
    if "timestamp_ntz" in primitive_types(schema):
        used.add("timestampNtz")
    if "variant" in primitive_types(schema):
        used.add("variantType")
    if on("delta.enableChangeDataFeed"):
        used.add("changeDataFeed")
    if on("delta.appendOnly"):
        used.add("appendOnly")
    if on("delta.enableRowTracking"):
        used |= {"rowTracking", "domainMetadata"}
    if on("delta.enableInCommitTimestamps"):
        used.add("inCommitTimestamp")
    if configuration.get("delta.columnMapping.mode", "none") != "none":
        used.add("columnMapping")
    if configuration.get("delta.checkpointPolicy") == "v2":
        used.add("v2Checkpoint")
    if any(name.startswith("delta.constraints.") for name in configuration):
        used.add("checkConstraints")
    for field in fields_of(schema):
        metadata = field.get("metadata") or {}
        if "delta.generationExpression" in metadata:
            used.add("generatedColumns")
        if "delta.identity.start" in metadata:
            used.add("identityColumns")
        if "delta.invariants" in metadata or field.get("nullable") is False:
            used.add("invariants")
    return used


def named_features(protocol: dict) -> set[str]:
    """The features that a protocol names, or that its versions imply."""
    reader, writer = protocol["minReaderVersion"], protocol["minWriterVersion"]
    named = set(protocol.get("readerFeatures") or []) | set(protocol.get("writerFeatures") or [])
    if writer < 7:
        named |= {feature for feature, (_, since) in LEGACY.items() if writer >= since}
    elif reader < 3 and reader >= 2:
        named.add("columnMapping")
    return named


def check_protocol(protocol: dict):
    """What is wrong with the action itself."""
    reader, writer = protocol.get("minReaderVersion"), protocol.get("minWriterVersion")
    if not isinstance(reader, int) or not isinstance(writer, int):
        yield "the protocol has no versions"
        return
    if (reader == 3) != (protocol.get("readerFeatures") is not None):
        yield "readerFeatures go with reader version 3, and only with it"
    if (writer == 7) != (protocol.get("writerFeatures") is not None):
        yield "writerFeatures go with writer version 7, and only with it"
    if reader == 3 and writer != 7:
        yield "reader version 3 needs writer version 7"
    readers, writers = set(protocol.get("readerFeatures") or []), set(protocol.get("writerFeatures") or [])
    if not readers <= writers:
        yield f"features for readers alone: {sorted(readers - writers)}"
    if reader == 3 and (writers & FOR_READERS) - readers:
        yield f"readers are not told of {sorted((writers & FOR_READERS) - readers)}"
    if readers & FOR_WRITERS:
        yield f"features that only writers need stand with the readers': {sorted(readers & FOR_WRITERS)}"
    unknown = (readers | writers) - FOR_READERS - FOR_WRITERS
    if unknown:
        yield f"features that the protocol does not know: {sorted(unknown)}"
