"""protocol_self_test.py TABLE: damages copies of a table with deletion vectors and checkpoints in many ways; protocol.py
must find each. TABLE is merge on read and has at least one checkpoint."""

from __future__ import annotations

import glob
import json
import os
import shutil
import sys
import tempfile

import delta_vectors
import pyarrow.parquet as pq
from protocol import Checker


def lines_of(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def write(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def first(table, kind, that=lambda action: True):
    """The first commit with such an action: its file, all its lines, and the action."""
    for path in sorted(glob.glob(os.path.join(table, "_delta_log", "*[0-9].json"))):
        lines = lines_of(path)
        for line in lines:
            if kind in line and that(line[kind]) and not path.endswith(f"{0:020}.json"):
                return path, lines, line
    raise LookupError(kind)


def vector(action):
    return action.get("deletionVector") is not None


def edit(kind, change, that=lambda action: True):
    def damage(table):
        path, lines, line = first(table, kind, that)
        change(line[kind])
        write(path, lines)

    return damage


def drop(kind, that=lambda action: True):
    def damage(table):
        path, lines, line = first(table, kind, that)
        lines.remove(line)
        write(path, lines)

    return damage


def stats(**values):
    def change(add):
        add["stats"] = json.dumps({**json.loads(add["stats"]), **values})

    return change


def flip(offset):
    """Turns a bit of a vector's file: an offset from the vector's begin, or its end where it is negative."""

    def damage(table):
        _, _, line = first(table, "add", vector)
        descriptor = line["add"]["deletionVector"]
        at = descriptor["offset"] + (offset if offset >= 0 else 8 + descriptor["sizeInBytes"] + offset)
        with open(delta_vectors.file_of(table, descriptor), "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))

    return damage


def checkpoint(change):
    def damage(table):
        path = sorted(glob.glob(os.path.join(table, "_delta_log", "*.checkpoint*.parquet")))[-1]
        read = pq.read_table(path)
        pq.write_table(change(read), path)
        last = os.path.join(table, "_delta_log", "_last_checkpoint")
        hint = json.load(open(last, encoding="utf-8"))
        hint.pop("sizeInBytes", None)
        json.dump(hint, open(last, "w", encoding="utf-8"))

    return damage


def without_first(kind):
    def change(read):
        rows = read.to_pylist()
        at = next(i for i, row in enumerate(rows) if row[kind] is not None)
        return read.take([i for i in range(len(rows)) if i != at])

    return change


def newest_gone(table):
    checker = Checker(table, False)
    checker.run()
    os.remove(os.path.join(table, next(iter(checker.state.live))))


def info_last(table):
    path, lines, _ = first(table, "commitInfo")
    write(path, lines[1:] + lines[:1])


def twice(table):
    path, lines, line = first(table, "add", lambda a: not vector(a))
    write(path, [*lines, {"add": {**line["add"], "size": line["add"]["size"]}}])


def features(protocol):
    protocol["writerFeatures"].remove("deletionVectors")


def protocol_zero(table):
    path = os.path.join(table, "_delta_log", f"{0:020}.json")
    lines = lines_of(path)
    for line in lines:
        if "protocol" in line:
            features(line["protocol"])
    write(path, lines)


DAMAGES = {
    "a remove names another vector": edit("remove", lambda r: r["deletionVector"].update(offset=99999), vector),
    "a remove names another path": edit("remove", lambda r: r.update(path="x.parquet")),
    "a remove is missing": drop("remove"),
    "an add is missing": drop("add", vector),
    "an add is there twice": twice,
    "numRecords is missing": edit("add", lambda a: a.pop("stats"), vector),
    "numRecords is wrong": edit("add", stats(numRecords=100_000), lambda a: not vector(a)),
    "tightBounds is true": edit("add", stats(tightBounds=True), vector),
    "the least value is too great": edit("add", stats(minValues={"id": 1 << 60}), lambda a: not vector(a)),
    "the greatest value is too small": edit("add", stats(maxValues={"id": -1}), lambda a: not vector(a)),
    "nullCount is wrong": edit("add", stats(nullCount={"id": 1}), lambda a: not vector(a)),
    "the size is wrong": edit("add", lambda a: a.update(size=1), lambda a: not vector(a)),
    "the cardinality is wrong": edit("add", lambda a: a["deletionVector"].update(cardinality=1 << 20), vector),
    "a vector's size is wrong": edit("add", lambda a: a["deletionVector"].update(sizeInBytes=4), vector),
    "a vector's magic number": flip(4),
    "a bit of a vector": flip(-6),
    "a vector's checksum": flip(-1),
    "a txn goes down": edit("txn", lambda t: t.update(version=1 << 40)),
    "commitInfo is last": info_last,
    "the protocol does not name deletion vectors": protocol_zero,
    "a live file is gone": newest_gone,
    "a checkpoint lacks a file": checkpoint(without_first("add")),
    "a checkpoint lacks a tombstone": checkpoint(without_first("remove")),
    "a checkpoint lacks a txn": checkpoint(without_first("txn")),
}


def main():
    table, failed = sys.argv[1], 0
    for name, damage in {"nothing": lambda _: None, **DAMAGES}.items():
        with tempfile.TemporaryDirectory() as folder:
            copy = os.path.join(folder, "table")
            shutil.copytree(table, copy)
            damage(copy)
            checker = Checker(copy, True)
            checker.run()
            right = bool(checker.problems) != (name == "nothing")
            failed += not right
            print(f"{'ok' if right else 'MISSED'}: {name}: {(checker.problems or ['no problem'])[0][:150]}")
    print(f"{len(DAMAGES) + 1 - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
