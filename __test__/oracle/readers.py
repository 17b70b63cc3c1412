"""Independent readers of a Delta table: all its rows, in the plain form of delta_types.py."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder


def read_with_deltalake(uri: str, storage_options: dict | None = None) -> pa.Table:
    """Through DataFusion: deltalake's pyarrow way refuses deletion vectors."""
    table = DeltaTable(uri, storage_options=storage_options)
    names = [f.name for f in table.schema().fields]
    columns = ", ".join('"' + n.replace('"', '""') + '"' for n in names)
    result = QueryBuilder().register("t", table).execute(f"select {columns} from t").read_all()
    return pa.table(result)


def read_with_duckdb(uri: str) -> pa.Table:
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    try:
        connection.execute("LOAD delta")
    except duckdb.Error:
        from duckdb_extensions import import_extension

        import_extension("delta", con=connection)
        connection.execute("LOAD delta")
    quoted = uri.replace("'", "''")
    return connection.execute(f"select * from delta_scan('{quoted}')").to_arrow_table()


READERS = {"deltalake": read_with_deltalake, "duckdb": read_with_duckdb}


def available_readers() -> list[str]:
    names = ["deltalake"]
    try:
        import duckdb  # noqa: F401
        import duckdb_extensions  # noqa: F401

        names.append("duckdb")
    except ImportError:
        pass
    return names


def plain_type(t: pa.DataType) -> pa.DataType:
    """The same type with dates and times as numbers, and without view and large types."""
    if pa.types.is_date32(t):
        return pa.int32()
    if pa.types.is_timestamp(t):
        return pa.int64()
    if pa.types.is_list(t) or pa.types.is_large_list(t) or pa.types.is_list_view(t):
        return pa.list_(plain_type(t.value_type))
    if pa.types.is_struct(t):
        return pa.struct([pa.field(f.name, plain_type(f.type)) for f in t])
    if pa.types.is_string_view(t) or pa.types.is_large_string(t):
        return pa.string()
    if pa.types.is_binary_view(t) or pa.types.is_large_binary(t):
        return pa.binary()
    return t


def contains_map(t: pa.DataType) -> bool:
    if pa.types.is_map(t):
        return True
    return any(contains_map(t.field(i).type) for i in range(t.num_fields))


def in_microseconds(t: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(t):
        return pa.timestamp("us", t.tz)
    if pa.types.is_list(t):
        return pa.list_(in_microseconds(t.value_type))
    if pa.types.is_struct(t):
        return pa.struct([pa.field(f.name, in_microseconds(f.type)) for f in t])
    return t


def column_values(column: pa.ChunkedArray) -> list:
    if contains_map(column.type):
        return [dict(v) if isinstance(v, list) else v for v in column.to_pylist(maps_as_pydicts="strict")]
    return column.cast(in_microseconds(column.type)).cast(plain_type(column.type)).to_pylist()


def rows_by_key(table: pa.Table, primary_key: list[str]) -> tuple[dict[tuple, dict], list[tuple]]:
    """Rows by key, and the keys that occur more than once."""
    columns = {name: column_values(table.column(name)) for name in table.column_names}
    rows: dict[tuple, dict] = {}
    twice = []
    for i in range(table.num_rows):
        row = {name: values[i] for name, values in columns.items()}
        key = tuple(row[k] for k in primary_key)
        if key in rows:
            twice.append(key)
        rows[key] = row
    return rows, twice


def plain_delta_type(t: Any) -> Any:
    """A type of the Delta schema's JSON in the form of delta_types.py."""
    if isinstance(t, str):
        return t.replace(" ", "")
    if t["type"] == "array":
        return {"array": plain_delta_type(t["elementType"])}
    if t["type"] == "map":
        return {"map": plain_delta_type(t["valueType"])}
    return {"struct": {f["name"]: plain_delta_type(f["type"]) for f in t["fields"]}}


def delta_schema(uri: str, storage_options: dict | None = None) -> tuple[dict[str, Any], list[str]]:
    """Types by column, and the columns that are not nullable."""
    fields = json.loads(DeltaTable(uri, storage_options=storage_options).schema().to_json())["fields"]
    types = {f["name"]: plain_delta_type(f["type"]) for f in fields}
    return types, [f["name"] for f in fields if not f["nullable"]]


def stored_offset(uri: str, app_id: str) -> int | None:
    return DeltaTable(uri).transaction_version(app_id)
