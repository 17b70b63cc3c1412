"""The Spark job that kafka2delta replaces, written anew for the comparison: what its `foreachBatch` does to one topic.

Per micro-batch and pair of schema ids, in the order of the ids: decode with `from_avro`, keep each key's change with
the highest LSN, merge the rows that are not deleted (updates only where the stored LSN is lower), then merge the
deletes. The micro-batches are static DataFrames here; Kafka and the registry are files.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avro_schema import without_logical_type
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.avro.functions import from_avro

LSN = "__log_sequence_number"
DELETED = "__deleted"
ZONED_TIMESTAMP = "io.debezium.time.ZonedTimestamp"

MESSAGE = T.StructType(
    [
        T.StructField("batch", T.IntegerType()),
        T.StructField("offset", T.LongType()),
        T.StructField("key_b64", T.StringType()),
        T.StructField("value_b64", T.StringType()),
    ]
)


class NoSchema(LookupError):
    """What the registry's client raises: a message without key or value has no schema id."""


@dataclass(frozen=True)
class TableConfig:
    """One topic's table, and what the comparison leaves out of it."""

    path: str
    additional_cols: Sequence[str] = ()
    partition_cols: Sequence[str] = ()
    # Columns that stop the job: decoded as the bytes or number that they are, and not stored.
    without: Collection[str] = field(default_factory=frozenset)


def read_messages(spark: SparkSession, file: str) -> DataFrame:
    """Captured messages with their schema ids and Avro bytes, without the Confluent header."""
    captured = spark.read.schema(MESSAGE).json(file)
    key, value = F.unbase64("key_b64"), F.unbase64("value_b64")
    return captured.select(
        "batch",
        "offset",
        schema_id(key).alias("key_schema_id"),
        schema_id(value).alias("value_schema_id"),
        F.expr("substring(unbase64(value_b64), 6)").alias("value_avro"),
    )


def schema_id(framed: Column) -> Column:
    return F.conv(F.hex(F.substring(framed, 2, 4)), 16, 10).cast("int")


def zoned_timestamp(avro_type: Any) -> bool:
    members = avro_type if isinstance(avro_type, list) else [avro_type]
    return any(isinstance(m, dict) and m.get("connect.name") == ZONED_TIMESTAMP for m in members)


def decode(messages: DataFrame, schema: Mapping[str, Any], without: Collection[str] = ()) -> DataFrame:
    """The rows of messages that all have this value schema."""
    fields = [{**f, "type": without_logical_type(f["type"])} if f["name"] in without else f for f in schema["fields"]]
    text = json.dumps({**schema, "fields": fields})
    columns = [
        F.col(f["name"]).cast(T.TimestampType()) if zoned_timestamp(f["type"]) else F.col(f["name"])
        for f in fields
        if f["name"] not in without
    ]
    decoded = messages.select(from_avro(F.col("value_avro"), text, {"mode": "FAILFAST"}).alias("value"))
    return decoded.select("value.*").select(columns)


class SparkJob:
    def __init__(self, spark: SparkSession, schemas: Mapping[int, Mapping[str, Any]], table: TableConfig):
        self.spark = spark
        self.schemas = schemas
        self.table = table

    def schema(self, id: int | None) -> Mapping[str, Any]:
        if id is None or id not in self.schemas:
            raise NoSchema(f"the schema registry has no schema {id}")
        return self.schemas[id]

    def merge_batch(self, batch: DataFrame) -> None:
        batch = batch.cache()
        try:
            ids = batch.select("key_schema_id", "value_schema_id").distinct()
            for key_id, value_id in ids.sort("value_schema_id", "key_schema_id").collect():
                key_columns = [f["name"] for f in self.schema(key_id)["fields"]]
                schema = self.schema(value_id)
                messages = batch.filter((F.col("key_schema_id") == key_id) & (F.col("value_schema_id") == value_id))
                self.merge_version(decode(messages, schema, self.table.without), key_columns)
        finally:
            batch.unpersist()

    def merge_version(self, rows: DataFrame, key: Sequence[str]) -> None:
        """The changes of one pair of schema versions."""
        latest = Window.partitionBy(*key).orderBy(F.desc(LSN))
        changes = rows.withColumn("__rank", F.row_number().over(latest)).filter("__rank = 1").drop("__rank")
        if self.table.additional_cols:
            changes = changes.select("*", *[F.expr(text) for text in self.table.additional_cols])
        stored = T.StructType([f for f in changes.schema.fields if f.name != DELETED])
        self.create_table(stored)
        # Names are not quoted: the job does not quote them.
        same_place = " AND ".join(f"target.{c} = changes.{c}" for c in [*key, *self.table.partition_cols])
        same_key = " AND ".join(f"target.{c} = changes.{c}" for c in key)
        target = f"delta.`{self.table.path}` AS target"
        changes.filter(F.col(DELETED) != "true").createOrReplaceTempView("changes")
        self.spark.sql(
            f"""MERGE INTO {target} USING changes ON {same_place}
                WHEN MATCHED AND target.{LSN} < changes.{LSN} THEN
                  UPDATE SET {", ".join(f"{c} = changes.{c}" for c in stored.names)}
                WHEN NOT MATCHED THEN
                  INSERT ({", ".join(stored.names)}) VALUES ({", ".join(f"changes.{c}" for c in stored.names)})"""
        )
        changes.filter(F.col(DELETED) == "true").createOrReplaceTempView("changes")
        self.spark.sql(f"MERGE INTO {target} USING changes ON {same_key} WHEN MATCHED THEN DELETE")

    def create_table(self, schema: T.StructType) -> None:
        if Path(self.table.path, "_delta_log").exists():
            return
        writer = self.spark.createDataFrame([], schema).write.format("delta")
        if self.table.partition_cols:
            writer = writer.partitionBy(*self.table.partition_cols)
        writer.save(self.table.path)
