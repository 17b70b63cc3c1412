"""Rows in a form in which tables of different readers are compared: nothing in it depends on a reader."""

from __future__ import annotations

import datetime
import decimal
import hashlib
import math

import pyarrow as pa

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MICROSECOND = datetime.timedelta(microseconds=1)


def plain(value):
    """Days and microseconds since 1970, decimals without an exponent, floats told apart, maps in order."""
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            value = value.replace(tzinfo=datetime.timezone.utc)
        return (value - EPOCH) // MICROSECOND
    if isinstance(value, datetime.date):
        return value.toordinal() - EPOCH.toordinal()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, float):
        return "nan" if math.isnan(value) else repr(value)
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        pairs = [tuple(v.values()) if isinstance(v, dict) and set(v) == {"key", "value"} else v for v in value]
        if pairs and all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
            return sorted([plain(key), plain(inner)] for key, inner in pairs)
        return [plain(inner) for inner in value]
    return value


def microseconds(kind: pa.DataType) -> pa.DataType:
    """The same type with timestamps of microseconds, which Python holds."""
    if pa.types.is_timestamp(kind) and kind.unit != "us":
        return pa.timestamp("us", kind.tz)
    return kind


def rows_of(table: pa.Table) -> dict[int, dict]:
    """Id to row. An id that is there twice is an error."""
    columns = {}
    for name in table.column_names:
        column = table[name]
        columns[name] = column.cast(microseconds(column.type), safe=False).to_pylist()
    rows = {}
    for at, key in enumerate(columns["id"]):
        if key in rows:
            raise ValueError(f"the row {key} is there twice")
        rows[key] = {name: plain(values[at]) for name, values in columns.items()}
    return rows


def digest(rows: dict[int, dict]) -> str:
    """A hash over all columns of all rows."""
    text = repr([sorted(rows[key].items()) for key in sorted(rows)])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def difference(expected: dict[int, dict], got: dict[int, dict]) -> str | None:
    """The first difference in words; none where there is none."""
    if len(expected) != len(got):
        return f"{len(got)} rows of {len(expected)}"
    if set(expected) != set(got):
        return f"other ids, as {min(set(expected) ^ set(got))}"
    wrong = {}
    for key, row in expected.items():
        for name, value in row.items():
            if got[key].get(name, "(no such column)") != value:
                wrong.setdefault(name, []).append((value, got[key].get(name, "(no such column)")))
    if not wrong:
        return None
    name, pairs = next(iter(wrong.items()))
    shorten = lambda value: repr(value)[:60]  # noqa: E731
    return f"{name}: {len(pairs)} values of {len(expected)}, as {shorten(pairs[0][1])} for {shorten(pairs[0][0])}"
