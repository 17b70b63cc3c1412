"""The Spark side of the comparison: `main.py PLAN RESULT`, both JSON files.

A plan: {"jars": folder, "scratch": folder, "jobs": [{"id", "messages": file, "schemas": file, "additionalCols",
"partitionCols", "table": folder}], "reads": [{"id", "path"}]}. Runs the jobs, then reads their tables and the others.
A result: {"version", "jobs": {id: {"stops", "stopped", "without", "table"}}, "tables": {id: table}}.
"""

from __future__ import annotations

import glob
import json
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from job import SparkJob, TableConfig, read_messages  # noqa: E402
from limits import reason, stopping_columns  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402
from pyspark.sql import functions as F  # noqa: E402
from table_reader import read_table  # noqa: E402

CORES = 2

# Spark refuses dates before 1582 and times before 1900 unless these are set; the job sets neither.
REBASE = ("spark.sql.avro.datetimeRebaseModeInRead", "spark.sql.parquet.datetimeRebaseModeInWrite")


def start_spark(jars: str, scratch: str, metastore: str | None = None, memory: str = "2g") -> SparkSession:
    builder = (
        SparkSession.builder.master(f"local[{CORES}]")
        .appName("kafka2delta-compare")
        .config("spark.driver.memory", memory)
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.extraJavaOptions", f"-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dderby.system.home={scratch}")
        .config("spark.jars", ",".join(sorted(glob.glob(f"{jars}/*.jar"))))
        .config("spark.local.dir", f"{scratch}/local")
        .config("spark.sql.warehouse.dir", f"{scratch}/warehouse")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        # Compiling plans takes most of the time where tables have ten rows; what is computed is the same.
        .config("spark.sql.codegen.wholeStage", "false")
        .config("spark.sql.codegen.factoryMode", "NO_CODEGEN")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", str(CORES))
        .config("spark.databricks.delta.snapshotPartitions", "1")
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        # As Delta's writer has it, for the columns that limits.py writes alone.
        .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
        # The job's own settings.
        .config("spark.databricks.delta.schema.autoMerge.enabled", "true")
        .config("spark.sql.adaptive.enabled", "false")
    )
    if metastore:
        builder = builder.config("spark.hadoop.hive.metastore.uris", metastore).enableHiveSupport()
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    return spark


def replay(spark: SparkSession, job: dict, schemas: dict, without: frozenset[str]) -> None:
    shutil.rmtree(job["table"], ignore_errors=True)
    table = TableConfig(job["table"], job["additionalCols"], job["partitionCols"], without)
    merging = SparkJob(spark, schemas, table)
    messages = read_messages(spark, job["messages"])
    for (batch,) in messages.select("batch").distinct().sort("batch").collect():
        merging.merge_batch(messages.filter(F.col("batch") == batch))


def run(spark: SparkSession, job: dict, scratch: str) -> dict:
    """Replays a topic; where the job stops, says why, and goes on without what stopped it, to compare the rest."""
    schemas = {int(id): schema for id, schema in json.loads(Path(job["schemas"]).read_text("utf8")).items()}
    outcome = {"stops": [], "stopped": None, "without": []}
    try:
        replay(spark, job, schemas, frozenset())
        return outcome
    except Exception as error:
        outcome["stopped"] = reason(error)
    messages = read_messages(spark, job["messages"])
    outcome["stops"] = stopping_columns(messages, schemas, scratch)
    if not outcome["stops"]:
        return outcome  # not a column's fault: there is no table to compare
    for name in REBASE:
        spark.conf.set(name, "CORRECTED")
    try:
        stops = {c["column"] for c in outcome["stops"]}
        outcome["without"] = [c["column"] for c in stopping_columns(messages, schemas, scratch, stops)]
        replay(spark, job, schemas, frozenset(outcome["without"]))
        outcome["stopped"] = None
    except Exception as error:
        outcome["stopped"] = reason(error)
    finally:
        for name in REBASE:
            spark.conf.unset(name)
    return outcome


def main(plan_file: str, result_file: str) -> None:
    plan = json.loads(Path(plan_file).read_text("utf8"))
    scratch = plan["scratch"]
    began = time.monotonic()
    spark = start_spark(plan["jars"], scratch)
    print(f"Spark {spark.version} started", flush=True)
    result = {"version": spark.version, "jobs": {}, "tables": {}}

    # On tables of ten rows Spark's driver is the slow part, and it works on one query at a time. A session of its own
    # for each keeps settings and views apart.
    def replay_topic(job: dict) -> None:
        at = time.monotonic()
        session = spark.newSession()
        outcome = run(session, job, f"{scratch}/{threading.get_ident()}")
        if outcome["stopped"] is None:
            outcome["table"] = read_table(session, job["table"])
        result["jobs"][job["id"]] = outcome
        print(f"replayed {job['id']} in {time.monotonic() - at:.1f} s\n", end="", flush=True)

    def read(table: dict) -> None:
        at = time.monotonic()
        try:
            result["tables"][table["id"]] = read_table(spark.newSession(), table["path"])
        except Exception as error:
            result["tables"][table["id"]] = {"error": reason(error)}
        print(f"read {table['id']} in {time.monotonic() - at:.1f} s\n", end="", flush=True)

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(replay_topic, plan["jobs"]))
        list(pool.map(read, plan["reads"]))
    spark.stop()
    Path(result_file).write_text(json.dumps(result), "utf8")
    print(f"Spark's part took {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
