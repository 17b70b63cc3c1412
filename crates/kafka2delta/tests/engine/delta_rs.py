"""delta_rs.py: does to Delta tables what the engine's tests ask of delta-rs, another writer and reader of them.

Each line of the standard input is a JSON object: the name of an operation below in `op`, and its arguments. Each gets
one line as its answer, `{"ok": result}` or `{"error": text}`. Rows come and go as files of Arrow's IPC stream format."""

import json
import sys

import pyarrow
from deltalake import DeltaTable, Field, QueryBuilder, write_deltalake
from deltalake.schema import PrimitiveType


def stored(path):
    with pyarrow.OSFile(path) as file, pyarrow.ipc.open_stream(file) as reader:
        return reader.read_all()


def store(stream, path):
    reader = pyarrow.RecordBatchReader.from_stream(stream)
    with pyarrow.OSFile(path, 'wb') as file, pyarrow.ipc.new_stream(file, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)


def write(uri, rows, mode, partition_by):
    schema_mode = 'merge' if mode == 'append' else None
    write_deltalake(uri, stored(rows), mode=mode, partition_by=partition_by or None, schema_mode=schema_mode)


def delete(uri, predicate):
    return DeltaTable(uri).delete(predicate)


def update(uri, predicate, updates):
    return DeltaTable(uri).update(updates=updates, predicate=predicate)


def merge(uri, rows, predicate, updates, inserts):
    merger = DeltaTable(uri).merge(stored(rows), predicate, source_alias='s', target_alias='t')
    return merger.when_matched_update(updates).when_not_matched_insert(inserts).execute()


def optimize(uri):
    return DeltaTable(uri).optimize.compact()


def add_column(uri, name):
    DeltaTable(uri).alter.add_columns(Field(name, PrimitiveType('long')))


def set_properties(uri, properties):
    table = DeltaTable(uri)
    table.alter.set_table_properties(properties)
    return table.version()


def restore(uri, version):
    return DeltaTable(uri).restore(version)


def checkpoint(uri):
    table = DeltaTable(uri)
    table.create_checkpoint()
    return table.version()


def vacuum(uri):
    return DeltaTable(uri).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)


def query(uri, version, sql, out):
    store(QueryBuilder().register('t', DeltaTable(uri, version=version)).execute(sql), out)


def change_feed(uri, version, out):
    store(DeltaTable(uri).load_cdf(starting_version=version, ending_version=version), out)


OPERATIONS = {
    operation.__name__: operation
    for operation in (
        write, delete, update, merge, optimize, add_column, set_properties, restore, checkpoint, vacuum, query,
        change_feed,
    )
}  # fmt: skip


def answer(request):
    try:
        return {'ok': OPERATIONS[request.pop('op')](**request)}
    except Exception as error:
        return {'error': f'{type(error).__name__}: {error}'}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line)), default=str), flush=True)
