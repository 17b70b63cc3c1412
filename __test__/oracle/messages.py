"""Captured topics: the messages of a fixture set, decoded with the schemas beside them."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import fastavro


@dataclass
class Message:
    partition: int
    offset: int
    timestamp: int
    key: dict | None
    value: dict | None
    #: the writer schema of the value, as parsed JSON; None for a tombstone
    value_schema: dict | None
    key_schema: dict | None
    headers: dict[str, bytes] = field(default_factory=dict)
    #: what it does, in words, if whoever made the set knows it
    what: str = ""


def without_logical_types(schema):
    """The same schema, so that values come as they are on the wire: this oracle converts them itself."""
    if isinstance(schema, list):
        return [without_logical_types(s) for s in schema]
    if isinstance(schema, dict):
        return {k: without_logical_types(v) for k, v in schema.items() if k != "logicalType"}
    return schema


def record_of(schema):
    """The record of a schema that may be a union of it and null, as Connect writes it for an optional struct."""
    records = [s for s in schema if s != "null"] if isinstance(schema, list) else [schema]
    if len(records) != 1:
        raise ValueError("a union of several types")
    return records[0]


class SchemaSet:
    """The schemas of one set by id, as `schemas.json` holds them."""

    def __init__(self, path: Path):
        raw = json.loads(path.read_text("utf-8"))
        self.schemas = {int(k): json.loads(v) if isinstance(v, str) else v for k, v in raw.items()}
        self._parsed: dict[int, object] = {}

    def decode(self, data: bytes):
        """The value and its writer schema."""
        if len(data) < 5 or data[0] != 0:
            raise ValueError("no Confluent header")
        schema_id = int.from_bytes(data[1:5], "big")
        if schema_id not in self._parsed:
            self._parsed[schema_id] = fastavro.parse_schema(without_logical_types(self.schemas[schema_id]))
        stream = io.BytesIO(data[5:])
        value = fastavro.schemaless_reader(stream, self._parsed[schema_id], None)
        if stream.read(1):
            raise ValueError(f"bytes left over after schema {schema_id}")
        return value, record_of(self.schemas[schema_id])


def read_topic(folder: Path, topic: str) -> list[Message]:
    """All messages of a topic, each partition in offset order, in the order of the file."""
    schemas = SchemaSet(folder / "schemas.json")
    messages = []
    for line in (folder / f"{topic}.jsonl").read_text("utf-8").splitlines():
        if not line.strip():
            continue
        raw = json.loads(line)
        key = value = key_schema = value_schema = None
        if raw["key_b64"] is not None:
            key, key_schema = schemas.decode(base64.b64decode(raw["key_b64"]))
        # where the change leaves values out: the same value with all of them, if whoever made the set knows it
        whole = raw.get("full_b64") or raw["value_b64"]
        if whole is not None:
            value, value_schema = schemas.decode(base64.b64decode(whole))
        headers = {k: base64.b64decode(v) for k, v in (raw.get("headers") or {}).items() if isinstance(v, str)}
        messages.append(
            Message(
                raw["partition"], raw["offset"], raw["timestamp"], key, value, value_schema, key_schema, headers, raw.get("what", "")
            )
        )
    return messages


def topics_of(folder: Path) -> list[str]:
    return sorted(p.name[: -len(".jsonl")] for p in folder.glob("*.jsonl"))
