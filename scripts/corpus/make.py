"""make.py JARS OUT [NAME...]: has Spark write the tables of tables.py for its version, reads them back with Spark, and
packs each into a file OUT/NAME.json.gz: its files, and the rows that Spark reads."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "benchmark" / "readers"), str(HERE.parents[1] / "benchmark" / "spark")]

import pyspark  # noqa: E402
from pack import pack  # noqa: E402
from spark_read import delta_version, start  # noqa: E402
from table_rows import rows_of  # noqa: E402
from tables import PLAIN, TABLES  # noqa: E402


def make(spark, name: str, writer: str, folder: Path) -> dict:
    _, settings, write = TABLES[name]
    for key, value in settings.items():
        spark.conf.set(key, value)
    path = folder / name
    write(spark, f"delta.`{path}`")
    for key, value in PLAIN.items():
        spark.conf.set(key, value)
    for key in set(settings) - set(PLAIN):
        spark.conf.unset(key)
    made = {"what": write.__doc__, "writer": writer}
    readable = spark.read.format("delta").load(str(path))
    if "variant" not in str(readable.schema).lower():
        made["columns"], made["rows"] = rows_of(readable)
    if name == "change-feed":
        feed = spark.read.format("delta").option("readChangeFeed", "true").option("startingVersion", 0).load(str(path))
        made["changes"] = rows_of(feed.drop("_commit_timestamp"))[1]
    return made


def main():
    jars, out, *names = sys.argv[1:]
    spark = start(jars)
    spark.sparkContext.setLogLevel("ERROR")
    # One file for each statement.
    for name in ("spark.sql.shuffle.partitions", "spark.default.parallelism", "spark.sql.leafNodeDefaultParallelism"):
        try:
            spark.conf.set(name, "1")
        except Exception:
            pass
    spark.conf.set("spark.databricks.delta.snapshotPartitions", "1")
    spark.conf.set("spark.databricks.delta.alterTable.dropColumn.enabled", "true")
    version = pyspark.__version__
    writer = f"Spark {version}, Delta {delta_version(jars)}"
    with tempfile.TemporaryDirectory() as folder:
        for name, (major, _, _) in TABLES.items():
            if major != version[0] or (names and name not in names):
                continue
            try:
                made = make(spark, name, writer, Path(folder))
            except Exception as error:
                print(f"{name}: {str(error).strip().splitlines()[0][:300]}", flush=True)
                continue
            pack(Path(folder) / name, made, Path(out) / f"{name}.json.gz")
    spark.stop()


if __name__ == "__main__":
    main()
