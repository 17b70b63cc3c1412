"""others.py OUT [NAME...]: has delta-rs write tables, and makes tables of Parquet files that Polars, DuckDB and PyArrow
write. Each is packed into a file OUT/NAME.json.gz, with the rows that the writer was given."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import tempfile
from pathlib import Path

import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq
from arrow_values import values
from deltalake import ColumnProperties, DeltaTable, WriterProperties, convert_to_deltalake, write_deltalake
from pack import pack
from plain import plain

TABLES: dict[str, tuple] = {}
SECOND = 1_000_000
# Instants at the ends of the years 1 to 9999, and some between.
INSTANTS = [-62135596800 * SECOND, 253402300799 * SECOND + 999999, 1709210096789012, -1, None]
# The same within what nanoseconds can count.
NEAR = [-9223372036 * SECOND, 9223372036 * SECOND + 854775, 1709210096789012, -1, None]
REALS = [1.5, float("nan"), -0.0, float("-inf"), None]


def table(*writers: str):
    """Registers a table, and the packages that write it."""

    def register(function):
        TABLES[function.__name__.replace("_", "-")] = (writers, function)
        return function

    return register


def rows(first: int, instants: list[int | None] = INSTANTS) -> pa.Table:
    """Five rows of many kinds of columns."""
    at = pa.timestamp("us", "UTC")
    part = pa.struct([("n", pa.int64()), ("at", at), ("real", pa.float64())])
    parts = [{"n": n, "at": instant, "real": real} for n, (instant, real) in enumerate(zip(instants, REALS))]
    prices = [None if n == 4 else pa.scalar(f"{n - 2}12345678901.2{n}").cast(pa.decimal128(20, 2)) for n in range(5)]
    columns = {
        "id": pa.array(range(first, first + 5), pa.int32()),
        "flag": pa.array([True, False, None, True, False]),
        "small": pa.array([-32768, 32767, 0, None, 1], pa.int16()),
        "whole": pa.array([2**63 - 1, -(2**63), None, 0, 1]),
        "single": pa.array(REALS, pa.float32()),
        "real": pa.array(REALS),
        "text": pa.array(["é🎉", "", None, "long text " * 20, "x"]),
        "bytes": pa.array([b"\x00\xff", b"", None, b"long" * 20, b"x"]),
        "day": pa.array([-719162, 2932896, 0, None, 19782], pa.date32()),
        "at": pa.array(instants, at),
        "price": pa.array(prices, pa.decimal128(20, 2)),
        "times": pa.array([instants, [], None, [None], instants[:1]], pa.list_(at)),
        "one": pa.array([*parts[:4], None], part),
        "many": pa.array([parts, [None], None, [], parts[:2]], pa.list_(part)),
        "named": pa.array([[("k", parts[0]), ("n", None)], [], None, [("k", parts[1])], []], pa.map_(pa.string(), part)),
    }
    return pa.table(columns)


@table("deltalake")
def delta_rs(path: Path) -> pa.Table:
    """Rows of delta-rs, some of them deleted, and a checkpoint"""
    given = [rows(first).select(["id", "real", "text", "at", "price", "many"]) for first in (1, 6)]
    for part in given:
        write_deltalake(path, part, mode="append")
    DeltaTable(path).delete("id IN (2, 8)")
    DeltaTable(path).create_checkpoint()
    return pa.concat_tables(given).take([0, 2, 3, 4, 5, 6, 8, 9])


@table("deltalake")
def delta_rs_small_pages(path: Path) -> pa.Table:
    """Row groups of two rows, pages of one, Brotli, and no statistics in the files"""
    nothing = ColumnProperties(dictionary_enabled=False, statistics_enabled="NONE")
    small = {"data_page_row_count_limit": 1, "max_row_group_size": 2, "write_batch_size": 1}
    properties = WriterProperties(compression="BROTLI", default_column_properties=nothing, **small)
    write_deltalake(path, rows(1), writer_properties=properties)
    return rows(1)


@table("deltalake")
def delta_rs_row_groups(path: Path) -> pa.Table:
    """Row groups of one row with statistics, which leave NaN out, and statistics of few columns in the log"""
    properties = WriterProperties(compression="ZSTD", max_row_group_size=1)
    configuration = {"delta.dataSkippingStatsColumns": "id,text"}
    given = rows(1).select(["id", "single", "real", "text", "day", "at", "price"])
    write_deltalake(path, given, writer_properties=properties, configuration=configuration)
    return given


@table("deltalake")
def delta_rs_added_fields(path: Path) -> pa.Table:
    """A field that was added to a struct, and a column"""
    old = pa.struct([("a", pa.int32())])
    new = pa.struct([("a", pa.int32()), ("b", pa.timestamp("us", "UTC"))])
    ids = [pa.array(range(first, first + 3), pa.int32()) for first in (1, 4)]
    before = pa.table({"id": ids[0], "one": pa.array([{"a": 1}, {"a": None}, None], old)})
    one = pa.array([{"a": 1, "b": INSTANTS[1]}, {"a": None, "b": None}, None], new)
    after = pa.table({"id": ids[1], "one": one, "flag": pa.array([True, None, False])})
    write_deltalake(path, before)
    write_deltalake(path, after, mode="append", schema_mode="merge")
    one = pa.array([{"a": 1, "b": None}, {"a": None, "b": None}, None], new)
    before = pa.table({"id": ids[0], "one": one, "flag": pa.nulls(3, pa.bool_())})
    return pa.concat_tables([before, after])


@table("deltalake")
def like_databricks(path: Path) -> pa.Table:
    """Entries as Databricks writes them: tags, statistics that are missing or count rows alone"""
    for first in (1, 6, 11):
        write_deltalake(path, rows(first), mode="append")
    stats = [None, '{"numRecords":5}']
    for version, entry in enumerate(sorted((path / "_delta_log").glob("*.json"))):
        actions = [json.loads(line) for line in entry.read_text().splitlines()]
        for add in (action["add"] for action in actions if "add" in action):
            inserted = "1709210096789012"
            add["tags"] = {"INSERTION_TIME": inserted, "MIN_INSERTION_TIME": inserted, "OPTIMIZE_TARGET_SIZE": "268435456"}
            add["stats"] = (stats + [add["stats"]])[version]
        entry.write_text("\n".join(json.dumps(action) for action in actions) + "\n")
    return pa.concat_tables([rows(1), rows(6), rows(11)])


@table("polars", "deltalake")
def polars_rows(path: Path) -> pa.Table:
    """Rows of Polars"""
    given = [rows(first).drop_columns(["named"]) for first in (1, 6)]
    for part in given:
        polars.from_arrow(part).write_delta(path, mode="append")
    return pa.concat_tables(given)


def converted(path: Path, given: pa.Table) -> pa.Table:
    convert_to_deltalake(path)
    return given


@table("polars", "deltalake")
def polars_files(path: Path) -> pa.Table:
    """Files of Polars with instants in nanoseconds and small row groups"""
    given = rows(1, NEAR).select(["id", "real", "text", "bytes", "day", "at", "price", "times"])
    frame = polars.from_arrow(given).with_columns(polars.col("at").cast(polars.Datetime("ns", "UTC")))
    frame.write_parquet(path / "a.parquet", compression="gzip", row_group_size=2)
    return converted(path, given)


@table("duckdb", "deltalake")
def duckdb_files(path: Path) -> pa.Table:
    """Files of DuckDB: pages of version 2, Brotli"""
    given = rows(1)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("given", given)
    connection.execute(
        f"COPY (FROM given) TO '{path / 'a.parquet'}' (FORMAT parquet, PARQUET_VERSION v2, COMPRESSION brotli)"
    )
    return converted(path, given)


@table("pyarrow", "deltalake")
def pyarrow_int96_files(path: Path) -> pa.Table:
    """Files of PyArrow whose instants are INT96, and which say that they are microseconds"""
    given = rows(1, NEAR)
    pq.write_table(given, path / "a.parquet", use_deprecated_int96_timestamps=True, compression="lz4", row_group_size=2)
    return converted(path, given)


@table("pyarrow", "deltalake")
def pyarrow_nanosecond_files(path: Path) -> pa.Table:
    """Files of PyArrow with instants in nanoseconds, large texts and a dictionary of bytes"""
    given = rows(1, NEAR)
    kept = given.select(["id", "text", "bytes", "at", "real"])
    written = kept.set_column(3, "at", kept["at"].cast(pa.timestamp("ns", "UTC")))
    written = written.set_column(1, "text", kept["text"].cast(pa.large_string()))
    written = written.set_column(2, "bytes", kept["bytes"].dictionary_encode())
    pq.write_table(written, path / "a.parquet", compression="brotli", data_page_version="2.0", write_page_index=True)
    return converted(path, kept)


def told(function, writers: tuple[str, ...], given: pa.Table) -> dict:
    columns = [[plain(value) for value in values(given.column(name))] for name in given.column_names]
    return {
        "what": function.__doc__,
        "writer": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in writers),
        "columns": [{"name": field.name, "type": str(field.type), "nullable": True} for field in given.schema],
        "rows": sorted([list(row) for row in zip(*columns)], key=str),
    }


def main():
    out, *names = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        for name, (writers, write) in TABLES.items():
            if names and name not in names:
                continue
            path = Path(folder) / name
            path.mkdir()
            try:
                pack(path, told(write, writers, write(path)), Path(out) / f"{name}.json.gz")
            except Exception as error:
                print(f"{name}: {type(error).__name__}: {str(error).strip()[:300]}", flush=True)


if __name__ == "__main__":
    main()
