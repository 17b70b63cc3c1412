#!/usr/bin/env python3
"""Writes what Spark 3.5 makes of each expression of a table file into that file.

    pip install 'pyspark==3.5.*'
    python3 crates/spark-expr/tests/spark-expressions.py [expressions.json]

The file has `columns` (name, type, and the values as texts), `cases` (an expression each) and `refused` (expressions that
kafka2delta refuses). Each case gets Spark's `type`, and `values` as texts; a case that Spark itself refuses gets `error`.
Texts: floats as Java writes them, dates as days and timestamps as microseconds since 1970, binary as hexadecimal digits,
arrays, maps and structs as JSON. `cargo test --release -p spark-expr` compares without Spark. The file is the one beside this script, unless another is named.
"""

import json
import os
import sys

os.environ['TZ'] = 'UTC'

from pyspark.sql import SparkSession, functions as F  # noqa: E402

NESTED = ('array', 'map', 'struct')


def source(spark, columns):
    rows = list(zip(*[c['values'] for c in columns]))
    names = [f'c{i}' for i in range(len(columns))]
    schema = 'row_ int, ' + ', '.join(f'{n} string' for n in names)
    texts = spark.createDataFrame([(i, *row) for i, row in enumerate(rows)], schema)
    made = [F.col('row_')]
    for name, column in zip(names, columns):
        kind = column['type']
        if kind.startswith(NESTED):
            value = F.from_json(name, kind)
        elif kind == 'binary':
            value = F.unhex(name)
        else:
            value = F.col(name).cast(kind)
        made.append(value.alias(column['name']))
    frame = texts.select(*made).coalesce(1).cache()
    frame.count()
    return frame


def encoded(kind):
    x = F.col('x')
    if kind.startswith(NESTED):
        return F.to_json(x)
    if kind == 'binary':
        return F.hex(x)
    if kind == 'date':
        return F.unix_date(x).cast('string')
    if kind == 'timestamp':
        return F.unix_micros(x).cast('string')
    if kind == 'timestamp_ntz':
        return F.unix_micros(x.cast('timestamp')).cast('string')
    return x.cast('string')


def plain(kind, text):
    if text is not None and kind.startswith('decimal'):
        from decimal import Decimal
        return format(Decimal(text), 'f')
    return text


def main():
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'expressions.json')
    path = sys.argv[1] if len(sys.argv) > 1 else beside
    with open(path, encoding='utf-8') as file:
        table = json.load(file)
    spark = (
        SparkSession.builder.master('local[1]')
        .config('spark.ui.enabled', 'false')
        .config('spark.driver.host', '127.0.0.1')
        .config('spark.driver.bindAddress', '127.0.0.1')
        .config('spark.sql.session.timeZone', 'UTC')
        .config('spark.sql.ansi.enabled', 'false')
        .config('spark.sql.legacy.timeParserPolicy', 'CORRECTED')
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel('OFF')
    frame = source(spark, table['columns'])
    table['spark'] = spark.version
    failed = 0
    for case in table['cases']:
        for key in ('type', 'values', 'error'):
            case.pop(key, None)
        try:
            made = frame.select('row_', F.expr(case['sql']).alias('x'))
            kind = made.schema['x'].dataType.simpleString()
            rows = made.select('row_', encoded(kind).alias('x')).collect()
            case['type'] = kind
            case['values'] = [plain(kind, row['x']) for row in sorted(rows, key=lambda r: r['row_'])]
        except Exception as error:  # what Spark refuses is a result, too
            failed += 1
            case['error'] = str(error).splitlines()[0][:160]
    with open(path, 'w', encoding='utf-8') as file:
        body = dict(table, columns=None, cases=None, refused=None)
        lines = [f'  "spark": {json.dumps(body["spark"])}']
        for key in ('columns', 'cases', 'refused'):
            items = ',\n'.join('    ' + json.dumps(item, ensure_ascii=False) for item in table.get(key, []))
            lines.append(f'  "{key}": [\n{items}\n  ]')
        file.write('{\n' + ',\n'.join(lines) + '\n}\n')
    print(f'Spark {spark.version}: {len(table["cases"])} expressions, {failed} refused by Spark')
    spark.stop()


if __name__ == '__main__':
    main()
