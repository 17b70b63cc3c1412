"""The tables of the corpus: what Spark is told to write them. Each function takes the session and the table's path in
backquotes, and returns nothing; its document string says what is special about the table."""

from __future__ import annotations

from pyspark.sql import types as T

PARQUET = "spark.sql.parquet."
PLAIN = {
    PARQUET + "outputTimestampType": "INT96",
    PARQUET + "datetimeRebaseModeInWrite": "CORRECTED",
    PARQUET + "int96RebaseModeInWrite": "CORRECTED",
    "spark.sql.session.timeZone": "UTC",
}
SPARK_3, SPARK_4 = "3", "4"
TABLES: dict[str, tuple] = {}


def table(*versions: str, **settings: str):
    """Registers a table for some major versions of Spark, with settings of its session: `a__b` for `a.b`."""

    def register(function):
        conf = {PARQUET + name.replace("__", "."): value for name, value in settings.items()}
        for version in versions or (SPARK_3,):
            name = function.__name__.replace("_", "-") + (f"-spark-{version}" if len(versions) > 1 else "")
            TABLES[name] = (version, {**PLAIN, **conf}, function)
        return function

    return register


# Every kind of column, with values at their ends.
KINDS = """id INT, flag BOOLEAN, tiny BYTE, small SHORT, whole BIGINT, single FLOAT, real DOUBLE, text STRING, wide STRING,
bytes BINARY, day DATE, at TIMESTAMP, local TIMESTAMP_NTZ, cents DECIMAL(5,2), price DECIMAL(15,3), exact DECIMAL(38,10),
nothing STRING, numbers ARRAY<INT>, times ARRAY<TIMESTAMP>, days MAP<STRING,DATE>,
one STRUCT<a: INT, at: TIMESTAMP, cost: DECIMAL(9,2), parts: ARRAY<STRUCT<x: INT, at: TIMESTAMP>>>,
named MAP<STRING,STRUCT<at: TIMESTAMP, real: DOUBLE>>"""


def kind_row(id: int, at: str, day: str, real: str, number: str) -> str:
    """`number`: MAX or MIN of the integers, or a small number."""
    ends = {"MAX": ("127Y", "32767S", "9223372036854775807L"), "MIN": ("-128Y", "-32768S", "-9223372036854775808L")}
    tiny, small, whole = ends.get(number, (f"{number}Y", f"{number}S", f"{number}L"))
    sign = "-" if number == "MIN" else ""
    int32 = {"MAX": "2147483647", "MIN": "-2147483648"}.get(number, number)
    instant = f"TIMESTAMP '{at}'"
    return f"""SELECT {id}, {id} % 2 = 0, {tiny}, {small}, {whole}, FLOAT({real}), DOUBLE({real}), 'text {id} é🎉',
repeat('wide {id} ', 20), X'00FF{id:02d}', DATE '{day}', {instant}, TIMESTAMP_NTZ '{at}', {sign}999.99,
{sign}123456789012.345, {sign}1234567890123456789012345678.0123456789, CAST(NULL AS STRING), array({int32}, NULL, {id}),
array({instant}, NULL), map('d', DATE '{day}', 'n', NULL),
named_struct('a', {int32}, 'at', {instant}, 'cost', {sign}1234567.89,
  'parts', array(named_struct('x', {id}, 'at', {instant}), NULL)),
map('k', named_struct('at', {instant}, 'real', DOUBLE({real})), 'n', NULL)"""


KIND_ROWS = [
    kind_row(1, "2024-02-29 12:34:56.789012", "2024-02-29", "1.5", "7"),
    "SELECT 2" + ", NULL" * 21,
    kind_row(3, "9999-12-31 23:59:59.999999", "9999-12-31", "'NaN'", "MAX"),
    kind_row(4, "0001-01-01 00:00:00", "0001-01-01", "'-0.0'", "MIN"),
    kind_row(5, "2262-04-12 00:00:00.000001", "1582-10-04", "'Infinity'", "0"),
    kind_row(6, "1677-09-20 23:59:59.999999", "1582-10-15", "'-Infinity'", "-1"),
    """SELECT 7, FALSE, 0Y, 0S, 0L, FLOAT(0), DOUBLE('4.9E-324'), '', '', X'', DATE '1970-01-01',
TIMESTAMP '1969-12-31 23:59:59.999999', TIMESTAMP_NTZ '1969-12-31 23:59:59.999999', 0.00, 0.000, 0.0000000000, NULL,
array(), array(), map(), named_struct('a', NULL, 'at', NULL, 'cost', NULL, 'parts', array()), map()""",
]


def create(spark, at: str, columns: str, clauses: str = "", **properties: str) -> None:
    listed = ", ".join(f"'delta.{name}' = '{value}'" for name, value in properties.items())
    spark.sql(f"CREATE TABLE {at} ({columns}) USING DELTA {clauses}" + (f" TBLPROPERTIES ({listed})" if listed else ""))


def insert(spark, at: str, *selects: str) -> None:
    """One file."""
    spark.sql(f"INSERT INTO {at} SELECT /*+ COALESCE(1) */ * FROM ({' UNION ALL '.join(selects)})")


def kinds(spark, at: str) -> None:
    create(spark, at, KINDS)
    insert(spark, at, *KIND_ROWS)


@table()
def kinds_int96(spark, at):
    """Every kind of column; timestamps as INT96, Spark's default"""
    kinds(spark, at)


@table(outputTimestampType="TIMESTAMP_MICROS")
def kinds_micros(spark, at):
    """Every kind of column; timestamps in microseconds"""
    kinds(spark, at)


@table(outputTimestampType="TIMESTAMP_MILLIS", writeLegacyFormat="true")
def kinds_millis_legacy_format(spark, at):
    """Every kind of column; timestamps in milliseconds, decimals and lists as Spark 1 wrote them"""
    kinds(spark, at)


@table(SPARK_4)
def kinds_spark_4(spark, at):
    """Every kind of column, as Spark 4 writes them"""
    kinds(spark, at)


# A few columns, for what concerns files and not kinds.
FEW = "id INT, at TIMESTAMP, price DECIMAL(20,2), text STRING, parts ARRAY<STRUCT<n: BIGINT, at: TIMESTAMP>>"


def few(*ids: int) -> list[str]:
    ends = ["9999-12-31 00:00:00", "2024-02-29 12:00:00.5", "0001-01-01 00:00:00"]
    return [
        f"SELECT {id}, TIMESTAMP '{ends[id % 3]}', {'-' if id % 2 else ''}{id}.25, repeat('text {id} ', {id}), "
        f"array(named_struct('n', {id}L, 'at', TIMESTAMP '{ends[(id + 1) % 3]}'))"
        for id in ids
    ]


def few_rows(spark, at: str, **properties: str) -> None:
    create(spark, at, FEW, **properties)
    insert(spark, at, *few(1, 2, 3))
    insert(spark, at, *few(4, 5, 6))


def codec(name: str):
    def write(spark, at):
        few_rows(spark, at)

    write.__name__, write.__doc__ = f"codec_{name}", f"Files compressed with {name}"
    table(**{"compression__codec": name})(write)


for name in ("none", "gzip", "zstd", "lz4", "lz4_raw"):
    codec(name)


@table()
def pages_v2(spark, at):
    """Data pages of version 2, with values encoded as deltas"""
    spark.conf.set("parquet.writer.version", "PARQUET_2_0")
    few_rows(spark, at)
    spark.conf.unset("parquet.writer.version")


@table()
def without_dictionary(spark, at):
    """Values without a dictionary, a page for each two rows"""
    settings = {"parquet.enable.dictionary": "false", "parquet.page.row.count.limit": "2"}
    for name, value in settings.items():
        spark.conf.set(name, value)
    few_rows(spark, at)
    for name in settings:
        spark.conf.unset(name)


@table()
def without_statistics(spark, at):
    """Files without statistics in the log"""
    few_rows(spark, at, **{"dataSkippingNumIndexedCols": "0"})


@table()
def statistics_of_some(spark, at):
    """Statistics of the first two columns alone"""
    few_rows(spark, at, dataSkippingNumIndexedCols="2")


@table()
def structured_statistics(spark, at):
    """A checkpoint without the statistics as JSON, which is how Databricks writes them, and deleted rows"""
    properties = {"checkpoint.writeStatsAsStruct": "true", "checkpoint.writeStatsAsJson": "false"}
    few_rows(spark, at, checkpointInterval="3", enableDeletionVectors="true", **properties)
    spark.sql(f"DELETE FROM {at} WHERE id IN (2, 5)")


@table()
def checkpoint_parts(spark, at):
    """A checkpoint in parts"""
    spark.conf.set("spark.databricks.delta.checkpoint.partSize", "1")
    create(spark, at, "id INT, at TIMESTAMP", checkpointInterval="2")
    insert(spark, at, "SELECT 1, TIMESTAMP '9999-12-31 00:00:00'", "SELECT 2, NULL")
    insert(spark, at, "SELECT 3, TIMESTAMP '0001-01-01 00:00:00'")
    spark.conf.unset("spark.databricks.delta.checkpoint.partSize")


@table(SPARK_3, SPARK_4)
def vectors(spark, at):
    """Deletion vectors: deleted rows, and updated ones"""
    few_rows(spark, at, enableDeletionVectors="true")
    insert(spark, at, *few(7, 8, 9))
    spark.sql(f"DELETE FROM {at} WHERE id IN (2, 7)")
    spark.sql(f"UPDATE {at} SET text = 'updated' WHERE id IN (4, 8)")


@table(SPARK_3, SPARK_4)
def optimized(spark, at):
    """Small files that OPTIMIZE made one, and a checkpoint"""
    few_rows(spark, at, checkpointInterval="2")
    spark.sql(f"OPTIMIZE {at}")


@table()
def change_feed(spark, at):
    """A change data feed whose timestamps are INT96"""
    few_rows(spark, at, enableChangeDataFeed="true")
    spark.sql(f"UPDATE {at} SET text = 'updated' WHERE id IN (1, 3, 5)")
    spark.sql(f"DELETE FROM {at} WHERE id = 6")


@table(SPARK_3, SPARK_4)
def partitions(spark, at):
    """Partition values of each type, some of them hard, and null"""
    partitioned(spark, at)


@table()
def partitions_zone(spark, at):
    """The same by a session in New York"""
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    partitioned(spark, at)


def partitioned(spark, at: str) -> None:
    columns = "id INT, name STRING, p STRING, n INT, d DATE, at TIMESTAMP, f BOOLEAN, c DECIMAL(9,2), r DOUBLE"
    create(spark, at, columns, "PARTITIONED BY (p, n, d, at, f, c, r)")
    rows = [
        "SELECT 1, 'a', 'a=b/c%20:é 🎉', 1, DATE '2024-02-29', TIMESTAMP '2024-02-29 12:34:56.789', TRUE, -1.50, 1.5D",
        "SELECT 2, 'b', NULL, NULL, NULL, NULL, NULL, NULL, NULL",
        "SELECT 3, 'c', '', -1, DATE '9999-12-31', TIMESTAMP '9999-12-31 00:00:00', FALSE, 0.00, DOUBLE('NaN')",
        "SELECT 4, 'd', ' %7B#?*\"<>|\\\\', 0, DATE '0001-01-01', TIMESTAMP '0001-01-01 00:00:00', TRUE, 9999999.99, -0.0D",
    ]
    insert(spark, at, *rows)
    insert(spark, at, *(row.replace("SELECT ", "SELECT 1", 1) for row in rows))


@table(SPARK_3, SPARK_4)
def added_fields(spark, at):
    """Fields that were added to structs, also within arrays and maps, at all places of them"""
    part = "STRUCT<a: INT>"
    create(spark, at, f"id INT, one {part}, many ARRAY<{part}>, named MAP<STRING,{part}>, deep STRUCT<s: {part}>")
    old = "named_struct('a', {0})"
    row = f"SELECT {{0}}, {old}, array({old}, NULL), map('k', {old}, 'n', NULL), named_struct('s', {old})"
    insert(spark, at, *(row.format(id) for id in (1, 2)), "SELECT 3, NULL, NULL, NULL, named_struct('s', NULL)")
    for place in ("one", "many.element", "named.value", "deep.s"):
        spark.sql(f"ALTER TABLE {at} ADD COLUMNS ({place}.at TIMESTAMP FIRST)")
        spark.sql(f"ALTER TABLE {at} ADD COLUMNS ({place}.more STRUCT<x: INT, y: ARRAY<STRING>>)")
    spark.sql(f"ALTER TABLE {at} ADD COLUMNS (flag BOOLEAN AFTER id)")
    new = (
        "named_struct('at', TIMESTAMP '9999-12-31 00:00:00', 'a', {0}, 'more', "
        "named_struct('x', {0}, 'y', array('y', NULL)))"
    )
    row = f"SELECT {{0}}, TRUE, {new}, array({new}, NULL), map('k', {new}), named_struct('s', {new})"
    insert(spark, at, *(row.format(id) for id in (4, 5, 6)))


@table(SPARK_3, SPARK_4)
def reordered(spark, at):
    """Columns and fields in another order than in the older files, and constraints that were dropped"""
    create(spark, at, "id INT NOT NULL, a INT NOT NULL, s STRUCT<x: INT, y: STRING>, b STRING")
    insert(spark, at, *(f"SELECT {id}, {id}, named_struct('x', {id}, 'y', 'y{id}'), 'b'" for id in (1, 2, 3)))
    spark.sql(f"ALTER TABLE {at} ALTER COLUMN b FIRST")
    spark.sql(f"ALTER TABLE {at} ALTER COLUMN s.y FIRST")
    spark.sql(f"ALTER TABLE {at} ALTER COLUMN a DROP NOT NULL")
    insert(spark, at, *(f"SELECT NULL, {id}, NULL, named_struct('y', NULL, 'x', {id})" for id in (4, 5, 6)))


@table(SPARK_3, SPARK_4)
def never_null_inside(spark, at):
    """Arrays and maps whose values are never null"""
    part = T.StructType([T.StructField("x", T.IntegerType())])
    kinds = [
        T.StructField("id", T.IntegerType()),
        T.StructField("many", T.ArrayType(T.TimestampType(), containsNull=False)),
        T.StructField("named", T.MapType(T.StringType(), part, valueContainsNull=False)),
    ]
    row = "SELECT {0} AS id, array(TIMESTAMP '9999-12-31 00:00:00') AS many, map('k', named_struct('x', {0})) AS named"
    for ids in ((1, 2, 3), (4, 5)):
        frame = spark.sql(" UNION ALL ".join(row.format(id) for id in ids))
        frame = spark.createDataFrame(frame.coalesce(1).rdd, T.StructType(kinds))
        frame.coalesce(1).write.format("delta").mode("append").save(at.split("`")[1])


@table()
def other_case(spark, at):
    """Rows appended with names in another case"""
    create(spark, at, "Id INT, sText STRING, one STRUCT<aB: INT>")
    insert(spark, at, *(f"SELECT {id}, 'x', named_struct('aB', {id})" for id in (1, 2)))
    frame = spark.sql("SELECT 3 AS ID, 'y' AS STEXT, named_struct('AB', 3) AS ONE")
    frame.coalesce(1).write.format("delta").mode("append").save(at.split("`")[1])


def mapped(mode: str):
    def write(spark, at):
        create(spark, at, FEW, **{"columnMapping.mode": mode})
        insert(spark, at, *few(1, 2, 3))
        spark.sql(f"ALTER TABLE {at} RENAME COLUMN text TO words")
        spark.sql(f"ALTER TABLE {at} DROP COLUMN price")
        spark.sql(f"ALTER TABLE {at} ADD COLUMNS (price STRING)")
        row = "SELECT {0}, TIMESTAMP '9999-12-31 00:00:00', 'w', array(named_struct('n', 1L, 'at', NULL)), 'p'"
        insert(spark, at, row.format(4))

    write.__name__, write.__doc__ = f"mapped_by_{mode}", f"Column mapping by {mode}, with a renamed and a replaced column"
    table(SPARK_3, SPARK_4)(write)


mapped("name")
mapped("id")


@table(SPARK_4)
def widened(spark, at):
    """Types that were widened, also within arrays and maps"""
    columns = "id INT, b BYTE, n INT, c DECIMAL(5,2), l ARRAY<SHORT>, m MAP<STRING,INT>, s STRUCT<x: SHORT>"
    create(spark, at, columns, enableTypeWidening="true")
    insert(spark, at, "SELECT 1, 1Y, -1, -1.25, array(1S), map('k', -1), named_struct('x', 1S)", "SELECT 2" + ", NULL" * 6)
    wider = {"n": "BIGINT", "c": "DECIMAL(25,4)", "l.element": "INT", "m.value": "BIGINT", "s.x": "INT", "b": "SHORT"}
    for name, kind in wider.items():
        spark.sql(f"ALTER TABLE {at} ALTER COLUMN {name} TYPE {kind}")
    row = "SELECT 3, 300S, -3000000000, -99999999999.1234, array(70000), map('k', 3000000000), named_struct('x', 70000)"
    insert(spark, at, row)


OLD = "id INT, day DATE, at TIMESTAMP, parts ARRAY<STRUCT<day: DATE, at: TIMESTAMP>>"
OLD_VALUES = ["1582-10-04", "1582-10-15", "1500-02-28", "1000-03-01", "0001-01-01", "1899-12-31", "1900-01-01"]
NEW_VALUES = ["1900-01-01", "2024-02-29", "9999-12-31", "1970-01-01"]


def old_rows(spark, at: str, values: list[str]) -> None:
    create(spark, at, OLD)
    row = (
        "SELECT {0}, DATE '{1}', TIMESTAMP '{1} 01:02:03.456789Z', "
        "array(named_struct('day', DATE '{1}', 'at', TIMESTAMP '{1} 20:00:00Z'), NULL)"
    )
    insert(spark, at, *(row.format(id, value) for id, value in enumerate(values, 1)))


LEGACY = {"datetimeRebaseModeInWrite": "LEGACY", "int96RebaseModeInWrite": "LEGACY"}


def rebased(name: str, zone: str, kind: str, values: list[str], what: str):
    def write(spark, at):
        spark.conf.set("spark.sql.session.timeZone", zone)
        old_rows(spark, at, values)

    write.__name__, write.__doc__ = f"rebased_{name}", what
    table(outputTimestampType=kind, **LEGACY)(write)


for kind, name in (("INT96", "int96"), ("TIMESTAMP_MICROS", "micros"), ("TIMESTAMP_MILLIS", "millis")):
    rebased(name, "UTC", kind, OLD_VALUES, f"Old days and instants in Spark's old calendar, in UTC; {kind}")
rebased(
    "alone", "UTC", "TIMESTAMP_MICROS", ["1400-01-01", "1500-02-28", "1500-03-01"], "Old values alone: so are the statistics"
)
for kind, name in (("INT96", "int96"), ("TIMESTAMP_MICROS", "micros")):
    rebased(f"{name}_zone", "America/New_York", kind, OLD_VALUES, f"The same in New York's old times; {kind}")
    rebased(f"{name}_new", "America/New_York", kind, NEW_VALUES, f"The marks of the old calendar, and no old value; {kind}")


@table(SPARK_4)
def variant(spark, at):
    """A variant column"""
    create(spark, at, "id INT, v VARIANT")
    insert(spark, at, "SELECT 1, parse_json('{\"a\": 1}')", "SELECT 2, NULL")


@table(SPARK_4)
def row_tracking(spark, at):
    """Row tracking"""
    few_rows(spark, at, enableRowTracking="true")


@table(SPARK_4)
def clustered(spark, at):
    """Liquid clustering"""
    create(spark, at, FEW, "CLUSTER BY (id)")
    insert(spark, at, *few(1, 2, 3))
    spark.sql(f"OPTIMIZE {at}")


@table(SPARK_3, SPARK_4)
def v2_checkpoint(spark, at):
    """A V2 checkpoint"""
    few_rows(spark, at, checkpointPolicy="v2", checkpointInterval="2")


