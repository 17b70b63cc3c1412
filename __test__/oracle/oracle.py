"""Checks Delta tables that kafka2delta wrote from captured topics. Shares no code with it.

    python oracle.py FIXTURE_SET TOPIC TABLE [options]    one table; exit code 1 and the differences if it differs
    python oracle.py --serve                              one JSON job a line on stdin, one JSON answer a line on stdout

A job: {"set": …, "topic": …, "table": …} and the options by their long names with "_" for "-".
An answer: {"ok": bool, "rows": n, "readers": […], "differences": […]} or {"ok": false, "error": …}.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import additional  # noqa: E402
import compare  # noqa: E402
import readers  # noqa: E402
import source_rows  # noqa: E402
from messages import SchemaSet, read_topic  # noqa: E402
from replay import Options, Truth, replay  # noqa: E402


def truth_of(job: dict) -> Truth:
    folder = Path(job["set"])
    messages = read_topic(folder, job["topic"])
    limit = job.get("limit")
    if limit is not None:
        messages = messages[:limit]
    options = Options(
        primary_key=job.get("primary_key") or None,
        out_of_range=job.get("out_of_range") or "fail",
        metadata=job.get("metadata") or {},
        topic=job["topic"],
        soft_delete=job.get("soft_delete") or None,
        exclude=job.get("exclude") or [],
        source_order=job.get("source_order") or False,
    )
    truth = replay(messages, options, SchemaSet(folder / "schemas.json"))
    for expression in job.get("additional") or []:
        additional.add(truth, expression)
    return truth


def check(job: dict) -> dict:
    truth = truth_of(job)
    uri = job["table"]
    # Changes that only remove rows make no table.
    if not truth.rows and "://" not in uri and not (Path(uri) / "_delta_log").exists():
        return {"ok": True, "rows": 0, "readers": [], "differences": []}
    types, required = readers.delta_schema(uri)
    # A column to partition by that no message has is there all the same.
    for name in {*(job.get("partition") or []), *truth.untold} - truth.types.keys():
        types.pop(name, None)
    for name in truth.optional - types.keys():
        del truth.types[name]
        for row in truth.rows.values():
            row.pop(name, None)
    differences = compare.compare_types(truth.types, types)
    differences += [f"column {name}: is not nullable" for name in required]
    used = job.get("readers") or readers.available_readers()
    for name in used:
        table = readers.READERS[name](uri)
        found, twice = readers.rows_by_key(table, truth.primary_key)
        differing = compare.compare_rows(truth, found, twice)
        differences += [f"{name}: {d}" for d in differing]
        if differing and job.get("source_order"):
            differences += compare.changes_of_differing_keys(truth, found, twice)
        if job.get("source_rows"):
            differences += [f"{name}: {d}" for d in source_rows.differences(Path(job["set"]), job["topic"], found)]
    if job.get("query_name"):
        for partition, last in truth.last_offsets.items():
            app_id = f"{job['query_name']}:{job['topic']}:{partition}"
            stored = readers.stored_offset(uri, app_id)
            if stored is None or stored < last:
                differences.append(f"offset of {app_id}: is {stored}, should be {last}")
    return {"ok": not differences, "rows": len(truth.rows), "readers": used, "differences": differences}


def serve() -> None:
    for line in sys.stdin:
        if not line.strip():
            continue
        try:
            answer = check(json.loads(line))
        except Exception as e:  # a job that fails must not end the others
            answer = {"ok": False, "error": f"{type(e).__name__}: {e}", "trace": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", nargs="?", help="folder of a fixture set")
    parser.add_argument("topic", nargs="?")
    parser.add_argument("table", nargs="?", help="path or URI of the Delta table")
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--primary-key", nargs="+", help="for topics whose key is null")
    parser.add_argument("--out-of-range", choices=["fail", "null", "clamp"], default="fail")
    parser.add_argument("--metadata", type=json.loads, default={}, help='{"__kafka_offset": "kafka.offset", "__op": "op"}')
    parser.add_argument("--soft-delete", help="the column that marks deleted rows, which stay")
    parser.add_argument("--exclude", nargs="+", help="columns of the value that are not stored")
    parser.add_argument("--additional", nargs="+", help='"YEAR(created_at) AS year": YEAR, MONTH and DAY of a column')
    parser.add_argument("--query-name", help="checks the offsets stored under this name, too")
    parser.add_argument("--readers", nargs="+", choices=list(readers.READERS))
    parser.add_argument("--source-rows", action="store_true", help="compare with source/*.csv of the set, too")
    parser.add_argument("--limit", type=int, help="only the first N messages")
    args = parser.parse_args()
    if args.serve:
        serve()
        return 0
    if not (args.set and args.topic and args.table):
        parser.error("SET, TOPIC and TABLE are needed")
    answer = check(vars(args))
    for difference in answer["differences"][:50]:
        print(difference)
    if len(answer["differences"]) > 50:
        print(f"… and {len(answer['differences']) - 50} more")
    print(f"{answer['rows']} rows, read with {', '.join(answer['readers'])}: {'equal' if answer['ok'] else 'DIFFERENT'}")
    return 0 if answer["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
