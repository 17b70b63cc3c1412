"""spark_read.py JARS FOLDER OUT NAME...: Spark reads the Delta tables of a folder with its defaults, and writes what it
has read as Parquet. The last line that it prints is JSON: its version, and the errors by table."""

from __future__ import annotations

import glob
import json
import os
import sys

import pyspark
from pyspark.sql import SparkSession


def start(jars: str) -> SparkSession:
    paths = sorted(glob.glob(os.path.join(jars, "*.jar")))
    return (
        SparkSession.builder.master("local[2]")
        .config("spark.jars", ",".join(paths))
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        .config("spark.driver.memory", "2g")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )


def delta_version(jars: str) -> str:
    names = [os.path.basename(path) for path in glob.glob(os.path.join(jars, "delta-spark_*.jar"))]
    return names[0].rsplit("-", 1)[1].removesuffix(".jar") if names else "?"


def main():
    jars, folder, out, *names = sys.argv[1:]
    spark = start(jars)
    spark.sparkContext.setLogLevel("ERROR")
    # Of writing alone: the values as they were read.
    for name in ("datetimeRebaseModeInWrite", "int96RebaseModeInWrite"):
        spark.conf.set(f"spark.sql.parquet.{name}", "CORRECTED")
    spark.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
    errors = {}
    for name in names:
        try:
            frame = spark.read.format("delta").load(os.path.join(folder, name))
            frame.coalesce(1).write.parquet(os.path.join(out, name))
        except Exception as error:
            java = getattr(error, "java_exception", None)
            text = java.toString() if java is not None else str(error)
            errors[name] = text.strip().split("\n")[0][:300]
    print(json.dumps({"version": f"{pyspark.__version__}, Delta {delta_version(jars)}", "errors": errors}))
    spark.stop()


if __name__ == "__main__":
    main()
