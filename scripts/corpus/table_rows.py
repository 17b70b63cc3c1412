"""A Spark frame's columns and rows in the form of plain.py."""

from __future__ import annotations

from plain import plain
from pyspark.sql import functions as F
from table_reader import as_numbers, as_python, quoted, type_text


def rows_of(frame) -> tuple[list[dict], list[list]]:
    fields = frame.schema.fields
    columns = [as_numbers(F.col(quoted(f.name)), f.dataType).alias(f"c{i}") for i, f in enumerate(fields)]
    rows = [[plain(as_python(value)) for value in row] for row in frame.select(columns).collect()]
    named = [{"name": f.name, "type": type_text(f.dataType), "nullable": f.nullable} for f in fields]
    return named, sorted(rows, key=str)
