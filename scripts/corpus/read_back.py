"""read_back.py READER FOLDER [JARS]: reads each table of a folder, which the tests of the engine have changed, with one
reader, and compares its rows with those that the tests say it holds (NAME.json beside it). The last line that it prints is
JSON: the reader's version, and what is other than it should be, by table."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Callable

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "benchmark" / "readers"), str(HERE.parents[1] / "benchmark" / "spark")]

from plain import plain  # noqa: E402

Rows = list[list]


def spark(jars: str) -> tuple[Callable[[str], tuple[list[str], Rows]], str]:
    import pyspark
    from spark_read import delta_version, start
    from table_rows import rows_of

    session = start(jars)
    session.sparkContext.setLogLevel("OFF")
    session.conf.set("spark.sql.shuffle.partitions", "1")

    def read(path: str) -> tuple[list[str], Rows]:
        columns, rows = rows_of(session.read.format("delta").load(path))
        return [column["name"] for column in columns], rows

    return read, f"{pyspark.__version__}, Delta {delta_version(jars)}"


def of_arrow(read_table: Callable, package: str) -> tuple[Callable[[str], tuple[list[str], Rows]], str]:
    from arrow_values import values

    def read(path: str) -> tuple[list[str], Rows]:
        table = read_table(path)
        columns = [[plain(value) for value in values(table.column(name))] for name in table.column_names]
        return list(table.column_names), [list(row) for row in zip(*columns)]

    return read, importlib.metadata.version(package)


def reader(name: str, jars: str | None) -> tuple[Callable[[str], tuple[list[str], Rows]], str]:
    if name == "spark":
        return spark(jars or "")
    import programs

    return {
        "duckdb": lambda: of_arrow(programs.duckdb_delta_scan, "duckdb"),
        "polars": lambda: of_arrow(programs.polars_scan_delta, "polars"),
        "delta-rs": lambda: of_arrow(programs.deltalake_query_builder, "deltalake"),
    }[name]()


def difference(expected: dict, names: list[str], rows: Rows) -> str | None:
    columns = [column["name"] for column in expected["columns"]]
    if sorted(names) != sorted(columns):
        return f"columns {names}"
    order = [names.index(name) for name in columns]
    key = next(i for i, name in enumerate(columns) if name.lower() == "id")
    found = {row[key]: row for row in ([row[at] for at in order] for row in rows)}
    told = {row[key]: row for row in expected["rows"]}
    if sorted(found) != sorted(told) or len(found) != len(rows):
        return f"rows {sorted(found)} for {sorted(told)}"
    for id, row in told.items():
        for name, value, other in zip(columns, row, found[id]):
            if value != other:
                return f"{name} of row {id} is {json.dumps(other)[:80]} for {json.dumps(value)[:80]}"
    return None


def main():
    name, folder, *rest = sys.argv[1:]
    read, version = reader(name, rest[0] if rest else None)
    results: dict[str, str | None] = {}
    for path in sorted(Path(folder).glob("*.json")):
        expected = json.loads(path.read_text("utf8"))
        try:
            wrong = difference(expected, *read(str(path.with_suffix(""))))
            results[path.stem] = wrong and f"wrong: {wrong}"
        except BaseException as error:  # a panic of Rust is no Exception
            results[path.stem] = f"refuses: {str(error).strip().splitlines()[0][:200]}"
    print(json.dumps({"version": version, "results": results}))


if __name__ == "__main__":
    main()
