"""duckdb_scan.py TABLE FRESH: seconds of a read of the whole table by DuckDB, of two tables in turns, as JSON."""

import json
import statistics
import sys
import time

import duckdb

ALL_COLUMNS = """SELECT count(*), sum(id), max(customer), epoch_us(max(order_date)), sum(total_amount), max(status), max(note),
    max(created_at), sum(__timestamp), sum(__log_sequence_number) FROM delta_scan(?)"""
READS = 3


def connect():
    connection = duckdb.connect()
    try:
        connection.execute('LOAD delta')
    except duckdb.Error:
        from duckdb_extensions import import_extension

        import_extension('delta', con=connection)
        connection.execute('LOAD delta')
    return connection


def main():
    names = ['table', 'fresh']
    times = {name: [] for name in names}
    rows = {}
    # The first of each is for the page cache. Each read opens the table anew.
    for turn in range(READS + 1):
        for name, path in zip(names, sys.argv[1:3]):
            connection = connect()
            began = time.perf_counter()
            rows[name] = [str(value) for value in connection.execute(ALL_COLUMNS, [path]).fetchone()]
            if turn > 0:
                times[name].append(time.perf_counter() - began)
            connection.close()
    if rows['table'] != rows['fresh']:
        raise SystemExit(f'the tables differ: {rows}')
    table, fresh = (statistics.median(times[name]) for name in names)
    print(json.dumps({'table_s': round(table, 4), 'fresh_s': round(fresh, 4), 'ratio': round(table / fresh, 3)}))


if __name__ == '__main__':
    main()
