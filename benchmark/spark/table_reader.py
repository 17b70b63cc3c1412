"""Reads a Delta table with Spark into plain values (values.py) and names of types."""

from __future__ import annotations

from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from values import plain


def read_table(spark: SparkSession, path: str) -> dict[str, Any]:
    return read_frame(spark.read.format("delta").load(path))


def read_frame(df: DataFrame) -> dict[str, Any]:
    fields = df.schema.fields
    # A position as name: a struct's fields and the columns' names may hold dots.
    columns = [as_numbers(F.col(quoted(f.name)), f.dataType).alias(f"c{i}") for i, f in enumerate(fields)]
    rows = [[plain(as_python(v)) for v in row] for row in df.select(columns).collect()]
    return {
        "columns": [{"name": f.name, "type": type_text(f.dataType), "nullable": f.nullable} for f in fields],
        "rows": rows,
    }


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def type_text(t: T.DataType) -> str:
    """As Spark writes types, and where nulls are excluded inside of them."""
    if isinstance(t, T.ArrayType):
        return f"array<{type_text(t.elementType)}{'' if t.containsNull else ' not null'}>"
    if isinstance(t, T.MapType):
        return f"map<{type_text(t.keyType)},{type_text(t.valueType)}{'' if t.valueContainsNull else ' not null'}>"
    if isinstance(t, T.StructType):
        inner = [f"{f.name}:{type_text(f.dataType)}{'' if f.nullable else ' not null'}" for f in t.fields]
        return f"struct<{','.join(inner)}>"
    return t.simpleString()


def has_times(t: T.DataType) -> bool:
    if isinstance(t, T.ArrayType):
        return has_times(t.elementType)
    if isinstance(t, T.MapType):
        return has_times(t.valueType)
    if isinstance(t, T.StructType):
        return any(has_times(f.dataType) for f in t.fields)
    return isinstance(t, (T.DateType, T.TimestampType, T.TimestampNTZType))


def as_numbers(c: Column, t: T.DataType) -> Column:
    """Dates and timestamps as numbers: Python's have no years before 1 or after 9999."""
    if not has_times(t):
        return c
    if isinstance(t, T.DateType):
        return F.unix_date(c)
    if isinstance(t, T.TimestampType):
        return F.unix_micros(c)
    if isinstance(t, T.TimestampNTZType):
        return F.unix_micros(c.cast(T.TimestampType()))
    if isinstance(t, T.ArrayType):
        return F.transform(c, lambda x: as_numbers(x, t.elementType))
    if isinstance(t, T.MapType):
        return F.transform_values(c, lambda _, v: as_numbers(v, t.valueType))
    parts = [as_numbers(c.getField(f.name), f.dataType).alias(f.name) for f in t.fields]
    return F.when(c.isNotNull(), F.struct(*parts))


def as_python(value: Any) -> Any:
    """Rows as dicts, at any depth."""
    if isinstance(value, T.Row):
        return {k: as_python(v) for k, v in value.asDict().items()}
    if isinstance(value, list):
        return [as_python(v) for v in value]
    if isinstance(value, dict):
        return {k: as_python(v) for k, v in value.items()}
    return value
