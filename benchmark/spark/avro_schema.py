"""Small changes to Avro schemas that leave the bytes readable."""

from __future__ import annotations

from typing import Any


def without_logical_type(schema: Any) -> Any:
    """The same schema as the plain numbers, bytes and strings that are on the wire."""
    if isinstance(schema, list):
        return [without_logical_type(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {k: v for k, v in schema.items() if k not in ("logicalType", "connect.name")}
    for part in ("type", "items", "values"):
        if isinstance(plain.get(part), (dict, list)):
            plain[part] = without_logical_type(plain[part])
    if "fields" in plain:
        plain["fields"] = [{**f, "type": without_logical_type(f["type"])} for f in plain["fields"]]
    return plain
