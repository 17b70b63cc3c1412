"""Data files against their statistics in the log."""

from __future__ import annotations

import datetime
import decimal
import json
import struct

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def micros(text: str) -> int:
    """A timestamp of the statistics as microseconds since 1970; years beyond 9999 are not in ISO 8601's short form."""
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return (moment - EPOCH) // datetime.timedelta(microseconds=1)


def read_stats(add: dict) -> dict:
    """The statistics of an add, whose numbers are exact: a decimal may have 38 digits."""
    return json.loads(add["stats"], parse_float=decimal.Decimal)


def statistic(value, kind: str):
    """A minimum or maximum of the statistics in the form in which columns are compared."""
    if value is None:
        return None
    if kind == "date":
        return (datetime.date.fromisoformat(value) - datetime.date(1970, 1, 1)).days
    if kind in ("timestamp", "timestamp_ntz"):
        return micros(value)
    if kind.startswith("decimal"):
        return decimal.Decimal(str(value))
    if kind == "float":
        # The shortest text of a single: another number as a double.
        return struct.unpack("f", struct.pack("f", float(value)))[0]
    if kind == "double":
        return float(value)
    if kind == "string":
        return str(value).encode()
    return value


def column_bounds(column: pa.ChunkedArray, kind: str):
    """Least and greatest value of a column in the same form; none where there is none."""
    column = column.drop_null()
    if kind in ("timestamp", "timestamp_ntz"):
        column = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
    elif kind == "date":
        column = column.cast(pa.int32())
    elif kind == "string":
        column = column.cast(pa.large_binary())
    elif kind in ("float", "double"):
        column = column.filter(pc.invert(pc.is_nan(column)))
    if len(column) == 0:
        return None
    if kind == "boolean":
        values = set(pc.unique(column).to_pylist())
        return min(values), max(values)
    bounds = pc.min_max(column)
    return bounds["min"].as_py(), bounds["max"].as_py()


def leaves(fields: list[dict], mapped: bool, prefix=()):
    """Paths of names in statistics and in the file, with the type, of all columns that are no list and no map."""
    for field in fields:
        name = field["name"]
        if mapped:
            name = (field.get("metadata") or {}).get("delta.columnMapping.physicalName", name)
        kind = field["type"]
        if isinstance(kind, str):
            yield (*prefix, name), kind
        elif kind["type"] == "struct":
            yield from leaves(kind["fields"], mapped, (*prefix, name))


def dig(value, path):
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def column_at(table: pa.Table, path):
    """The column under nested structs; a null struct has null members."""
    if path[0] not in table.column_names:
        return None
    column = table[path[0]]
    for name in path[1:]:
        if not pa.types.is_struct(column.type) or column.type.get_field_index(name) < 0:
            return None
        column = pc.struct_field(column, name)
    return column


def check_file(file: str, add: dict, schema: dict, partition_columns: list[str], mapped: bool):
    """What is wrong with a data file: rows and statistics. A generator of texts."""
    stats = read_stats(add)
    parquet = pq.ParquetFile(file)
    if parquet.metadata.num_rows != stats["numRecords"]:
        yield f"numRecords is {stats['numRecords']}, the file has {parquet.metadata.num_rows} rows"
        return
    wanted = [(path, kind) for path, kind in leaves(schema["fields"], mapped) if path[0] not in partition_columns]
    least, greatest, nulls = stats.get("minValues") or {}, stats.get("maxValues") or {}, stats.get("nullCount") or {}
    told = [(p, k) for p, k in wanted if any(dig(s, p) is not None for s in (least, greatest, nulls))]
    present = set(parquet.schema_arrow.names)
    table = parquet.read(columns=sorted({path[0] for path, _ in told if path[0] in present}))
    for path, kind in told:
        name = ".".join(path)
        column = column_at(table, path)
        count = stats["numRecords"] if column is None else column.null_count
        if dig(nulls, path) is not None and dig(nulls, path) != count:
            yield f"{name}: nullCount is {dig(nulls, path)}, the file has {count}"
        if column is None:
            continue
        if isinstance(kind, dict) or kind == "binary":
            continue
        bounds = column_bounds(column, kind)
        if bounds is None:
            continue
        low, high = statistic(dig(least, path), kind), statistic(dig(greatest, path), kind)
        # Timestamps are cut to milliseconds, of the greatest too.
        slack = 999 if kind.startswith("timestamp") else 0
        if low is not None and low > bounds[0]:
            yield f"{name}: the least value is {bounds[0]!r}, the statistics say {low!r}"
        if high is not None and (high + slack if slack else high) < bounds[1]:
            yield f"{name}: the greatest value is {bounds[1]!r}, the statistics say {high!r}"
