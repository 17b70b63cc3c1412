"""The Spark job on a topic of a real broker: `job.py PLAN`, a JSON text of "brokers", "topic", "schemas" (by id), "table",
"scratch", "jars" (folders), "events" and "tuned". Tells when all events are in the table, and what it has used.

The job is benchmark/spark/job.py; "tuned" has fewer partitions for a machine of two cores, and adaptive plans.
"""

from __future__ import annotations

import glob
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "spark"))

from job import SparkJob, TableConfig, schema_id  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402
from pyspark.sql import functions as F  # noqa: E402

CORES = 2
TUNED = {
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.shuffle.partitions": "8",
    "spark.databricks.delta.snapshotPartitions": "2",
}


def start_spark(plan: dict) -> SparkSession:
    jars = sorted(jar for folder in plan["jars"] for jar in glob.glob(f"{folder}/*.jar"))
    scratch = plan["scratch"]
    settings = {
        "spark.driver.memory": "4g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={scratch}",
        "spark.jars": ",".join(jars),
        "spark.local.dir": f"{scratch}/local",
        "spark.sql.warehouse.dir": f"{scratch}/warehouse",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.databricks.delta.schema.autoMerge.enabled": "true",
        "spark.sql.adaptive.enabled": "false",
    }
    builder = SparkSession.builder.master(f"local[{CORES}]").appName("kafka2delta-e2e")
    for name, value in {**settings, **(TUNED if plan["tuned"] else {})}.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def use_of(pid: int) -> tuple[float, float]:
    """CPU seconds and highest resident MiB of a process."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK"), peak / 1024


def main(plan: dict) -> None:
    spark = start_spark(plan)
    schemas = {int(id): schema for id, schema in plan["schemas"].items()}
    table = TableConfig(plan["table"])
    messages = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", ",".join(plan["brokers"]))
        .option("subscribe", plan["topic"])
        .option("startingOffsets", "earliest")
        .load()
        .select(
            schema_id(F.col("key")).alias("key_schema_id"),
            schema_id(F.col("value")).alias("value_schema_id"),
            F.expr("substring(value, 6)").alias("value_avro"),
        )
    )
    query = (
        messages.writeStream.option("checkpointLocation", f"{plan['scratch']}/checkpoint")
        .trigger(processingTime="0 seconds")
        # A stream works in a session of its own.
        .foreachBatch(lambda batch, _: SparkJob(batch.sparkSession, schemas, table).merge_batch(batch))
        .start()
    )
    batches: dict[int, int] = {}
    while sum(batches.values()) < plan["events"]:
        if not query.isActive:
            raise RuntimeError(str(query.exception()))
        time.sleep(0.1)
        batches.update({p["batchId"]: p["numInputRows"] for p in query.recentProgress if p["numInputRows"]})
    java, java_peak = use_of(spark._jvm.java.lang.ProcessHandle.current().pid())
    python, python_peak = use_of(os.getpid())
    use = {
        "events": sum(batches.values()),
        "commits": len(batches),
        "cpu": java + python,
        "peakMib": java_peak + python_peak,
    }
    print(json.dumps({"done": use}), flush=True)
    query.stop()
    spark.stop()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
