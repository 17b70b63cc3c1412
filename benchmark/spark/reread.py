"""Reads tables with a reader that is not Spark: `reread.py PLAN RESULT`, run by the test oracle's Python.

A plan as main.py's: its "reads" are read. A result: {"reader": name, "tables": {id: {"columns", "rows"} or {"error"}}}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "__test__" / "oracle")]

import readers  # noqa: E402
from values import plain  # noqa: E402


def read_table(reader: str, path: str) -> dict:
    table = readers.READERS[reader](path)
    columns = [[plain(v) for v in readers.column_values(table.column(name))] for name in table.column_names]
    return {"columns": [{"name": name} for name in table.column_names], "rows": list(zip(*columns))}


def main(plan_file: str, result_file: str) -> None:
    plan = json.loads(Path(plan_file).read_text("utf8"))
    # DuckDB's reader shares nothing with the writer; deltalake's is built on the same crates.
    reader = "duckdb" if "duckdb" in readers.available_readers() else "deltalake"
    tables = {}
    for read in plan["reads"]:
        try:
            tables[read["id"]] = read_table(reader, read["path"])
        except Exception as error:
            tables[read["id"]] = {"error": f"{type(error).__name__}: {error}"}
    Path(result_file).write_text(json.dumps({"reader": reader, "tables": tables}), "utf8")


if __name__ == "__main__":
    main(*sys.argv[1:])
