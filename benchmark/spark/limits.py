"""Which columns stop the Spark job, and why: each alone, decoded and written as the job does it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from job import decode, zoned_timestamp
from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def reason(error: BaseException) -> str:
    """The innermost cause: Spark's own name of the error where it has one, otherwise the exception's."""
    java = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    if java is None:
        return f"{type(error).__name__}: {error}"
    while java.getCause() is not None:
        java = java.getCause()
    message = (java.getMessage() or "").strip().split("\n")[0]
    name = re.match(r"\[([A-Z0-9_.]+)\]", message)
    return name[1] if name else f"{java.getClass().getSimpleName()}: {message}"


def may_fail(avro_type: Any) -> bool:
    """Whether Spark makes more of it than a number, bytes or text: nothing else can fail."""
    return zoned_timestamp(avro_type) or '"logicalType"' in json.dumps(avro_type)


def stopping_columns(
    messages: DataFrame, schemas: Mapping[int, Mapping[str, Any]], scratch: str, among: Collection[str] | None = None
) -> list[dict]:
    """Of each column that cannot be decoded or written: its name, the reason, and the first offset that shows it."""
    messages = messages.cache()
    found: dict[str, dict] = {}
    ids = [row[0] for row in messages.select("value_schema_id").distinct().sort("value_schema_id").collect()]
    for id in ids:
        if id not in schemas:
            continue
        schema = schemas[id]
        own = messages.filter(F.col("value_schema_id") == id)
        for f in schema["fields"]:
            name = f["name"]
            if name in found or not may_fail(f["type"]) or (among is not None and name not in among):
                continue
            others = {other["name"] for other in schema["fields"]} - {name}

            def attempt(some: DataFrame) -> str | None:
                try:
                    decode(some, schema, others).write.mode("overwrite").parquet(f"{scratch}/attempt")
                    return None
                except Exception as error:
                    return reason(error)

            why = attempt(own)
            if why is None:
                continue
            offsets = [row[0] for row in own.select("offset").sort("offset").collect()]
            first = next((o for o in offsets if attempt(own.filter(F.col("offset") == o))), None)
            found[name] = {"column": name, "reason": why, "offset": first}
    messages.unpersist()
    return list(found.values())
