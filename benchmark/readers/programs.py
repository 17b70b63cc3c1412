"""The readers: each gives all rows of a Delta table as an Arrow table."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess

import pyarrow as pa


ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OURS = "kafka2delta"


def kafka2delta_scan(path: str) -> pa.Table:
    program = [os.environ.get("NODE", "node"), "--import", "tsx", "benchmark/readers/ours.ts", path]
    done = subprocess.run(program, cwd=ROOT, capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode())
    return pa.ipc.open_stream(done.stdout).read_all()


def deltalake_query_builder(path: str) -> pa.Table:
    from deltalake import DeltaTable, QueryBuilder

    return pa.table(QueryBuilder().register("t", DeltaTable(path)).execute("select * from t").read_all())


def deltalake_pyarrow(path: str) -> pa.Table:
    from deltalake import DeltaTable

    return DeltaTable(path).to_pyarrow_dataset().to_table()


def duckdb_delta_scan(path: str) -> pa.Table:
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    try:
        connection.execute("LOAD delta")
    except duckdb.Error:
        from duckdb_extensions import import_extension

        import_extension("delta", con=connection)
        connection.execute("LOAD delta")
    return connection.execute("SELECT * FROM delta_scan(?)", [path]).to_arrow_table()


def polars_scan_delta(path: str) -> pa.Table:
    import polars

    return polars.scan_delta(path).collect().to_arrow()


def polars_read_delta_pyarrow(path: str) -> pa.Table:
    import polars

    return polars.read_delta(path, use_pyarrow=True).to_arrow()


def polars_kernel(path: str) -> pa.Table:
    import polars_deltalake

    return polars_deltalake.scan_delta(path).collect().to_arrow()


def kernel_rust(path: str) -> pa.Table:
    from delta_kernel_rust_sharing_wrapper import PythonInterface, ScanBuilder, Table

    url = f"file://{path}/"
    interface = PythonInterface(url)
    batches = ScanBuilder(Table(url).snapshot(interface)).build().execute(interface)
    return pa.Table.from_batches(batches)


def daft_read_deltalake(path: str) -> pa.Table:
    import daft

    return daft.read_deltalake(path).to_arrow()


def chdb_delta_lake_local(path: str) -> pa.Table:
    import chdb

    # It reads files below the working folder only.
    os.chdir(os.path.dirname(path))
    table = chdb.query(f"SELECT * FROM deltaLakeLocal('{path}')", "ArrowTable")
    # ClickHouse has one type for text and bytes.
    for at, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            column = table[field.name].cast(pa.binary())
            try:
                column.cast(pa.string())
            except pa.ArrowInvalid:
                table = table.set_column(at, field.name, column)
    return table


def sail(path: str) -> pa.Table:
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

    server = SparkConnectServer(ip="127.0.0.1", port=0)
    server.start(background=True)
    session = SparkSession.builder.remote(f"sc://127.0.0.1:{server.listening_address[1]}").getOrCreate()
    session.conf.set("spark.sql.session.timeZone", "UTC")
    return session.read.format("delta").load(path).toArrow()


def parquet_without_log(path: str) -> pa.Table:
    import pyarrow.dataset

    return pyarrow.dataset.dataset(path, format="parquet", partitioning="hive", exclude_invalid_files=True).to_table()


# Name for people: the function, and the package whose version counts.
READERS = {
    "kafka2delta `scanTable`": (kafka2delta_scan, OURS),
    "delta-rs, Python `QueryBuilder`": (deltalake_query_builder, "deltalake"),
    "DuckDB `delta_scan`": (duckdb_delta_scan, "duckdb"),
    "Polars `scan_delta`": (polars_scan_delta, "polars"),
    "polars-deltalake `scan_delta` (Delta Kernel, Rust)": (polars_kernel, "polars-deltalake"),
    "Delta Kernel, Rust, as delta-sharing has it": (kernel_rust, "delta-kernel-rust-sharing-wrapper"),
    "ClickHouse (chDB) `deltaLakeLocal`": (chdb_delta_lake_local, "chdb"),
    "Sail": (sail, "pysail"),
    "Daft `read_deltalake`": (daft_read_deltalake, "daft"),
    "delta-rs, Python `to_pyarrow_dataset`": (deltalake_pyarrow, "deltalake"),
    "Polars `read_delta(use_pyarrow=True)`": (polars_read_delta_pyarrow, "polars"),
    "the Parquet files, without the log (pyarrow)": (parquet_without_log, "pyarrow"),
}


def version(package: str) -> str | None:
    if package == OURS:
        with open(os.path.join(ROOT, "package.json"), encoding="utf-8") as file:
            return json.load(file)["version"]
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
