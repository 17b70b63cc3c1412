"""Reads a Delta table by delta-rs or DuckDB for benchmark/scan.ts, batch by batch; prints rows, seconds, peak memory."""

import json
import re
import sys
import time
from pathlib import Path


def open_duckdb(path: str):
    import duckdb

    connection = duckdb.connect()
    try:
        connection.execute("LOAD delta")
    except duckdb.Error:
        from duckdb_extensions import import_extension

        import_extension("delta", con=connection)
        connection.execute("LOAD delta")

    def read(select: str):
        return connection.execute(select.replace("FROM t", f"FROM delta_scan('{path}')")).to_arrow_reader(100_000)

    return read


def open_delta_rs(path: str):
    from deltalake import DeltaTable, QueryBuilder

    return lambda select: QueryBuilder().register("t", DeltaTable(path)).execute(select)


def main() -> None:
    reader, path, query = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    columns = "*" if query["columns"] is None else ", ".join(query["columns"])
    where = "" if query["where"] is None else f" WHERE {query['where']}"
    read = open_duckdb(path) if reader == "duckdb" else open_delta_rs(path)
    began = time.perf_counter()
    rows = sum(batch.num_rows for batch in read(f"SELECT {columns} FROM t{where}"))
    seconds = time.perf_counter() - began
    # The resource usage of a process begins with that of its parent.
    peak = int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    print(json.dumps({"rows": rows, "seconds": seconds, "peak": peak}))


main()
