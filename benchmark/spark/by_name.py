"""Spark on a Hive metastore: `by_name.py JARS SCRATCH THRIFT_URI`.

Each line of the input is a statement of SQL, and has a line of JSON as its answer: {"columns", "rows"} or {"error"}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from limits import reason  # noqa: E402
from main import start_spark  # noqa: E402
from table_reader import read_frame  # noqa: E402


def main(jars: str, scratch: str, metastore: str) -> None:
    spark = start_spark(jars, scratch, metastore, "1g")
    print(json.dumps({"version": spark.version}), flush=True)
    for line in sys.stdin:
        try:
            answer = read_frame(spark.sql(line))
        except Exception as error:
            answer = {"error": reason(error)}
        print(json.dumps(answer), flush=True)
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
