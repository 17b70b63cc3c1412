"""Compares Delta tables with the rows of their source tables, value by value, through independent readers.

One JSON job a line on stdin, one JSON answer a line on stdout. A job: {"table": path or URI, "storage_options": {…},
"keys": [column, …], "rows": file}; the file has a line of JSON for each row of the source: its values as the database
writes them as text, binary ones as \\x and hexadecimal digits, or null. An answer: {"rows": n, "differences": […]}.
"""

from __future__ import annotations

import datetime
import json
import re
import struct
import sys
import traceback
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent))

import readers  # noqa: E402
from compare import same, shown  # noqa: E402

TIME = re.compile(r"(-?)(\d+):(\d\d):(\d\d)(?:\.(\d{1,6}))?")
MOMENT = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:\+00)?)?")
EPOCH = datetime.date(1970, 1, 1).toordinal()


def micros(hours: str, minutes: str, seconds: str, fraction: str | None) -> int:
    return (int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * 1_000_000 + int((fraction or "").ljust(6, "0"))


def whole(text: str) -> int:
    """A number, or a time of day in microseconds."""
    time = TIME.fullmatch(text)
    if time is None:
        return int(text)
    return micros(*time.groups()[1:]) * (-1 if time[1] else 1)


def moment(text: str) -> tuple[int, int]:
    """Days since 1970 and microseconds of the day."""
    parts = MOMENT.fullmatch(text)
    if parts is None:
        raise ValueError(f"not a date or time: {text}")
    day = datetime.date(int(parts[1]), int(parts[2]), int(parts[3])).toordinal() - EPOCH
    return day, micros(*parts.groups()[3:]) if parts[4] else 0


def timestamp(text: str) -> int:
    day, rest = moment(text)
    return day * 86_400_000_000 + rest


def items(text: str) -> list[str | None]:
    """The items of a one-dimensional array literal of PostgreSQL: {a,NULL,"c d"}."""
    if text == "{}":
        return []
    found = re.findall(r'"((?:[^"\\]|\\.)*)"|([^,]+)', text[1:-1])
    return [re.sub(r"\\(.)", r"\1", a) if a or not b else None if b == "NULL" else b for a, b in found]


def convert(text: str | None, of: Any) -> Any:
    """The text of a source's value as the plain value of a Delta type."""
    if text is None:
        return None
    if isinstance(of, dict):
        return [convert(item, of["array"]) for item in items(text)]
    if of in ("byte", "short", "integer", "long"):
        return whole(text)
    if of == "float":
        return struct.unpack("f", struct.pack("f", float(text)))[0]
    if of == "double":
        return float(text)
    if of == "boolean":
        return text in ("t", "true", "1")
    if of == "date":
        return moment(text)[0]
    if of in ("timestamp", "timestamp_ntz"):
        return timestamp(text)
    if of == "binary":
        return bytes.fromhex(text.removeprefix("\\x"))
    if of.startswith("decimal"):
        return Decimal(text)
    return text


def read_all(job: dict) -> tuple[dict[str, Any], dict[str, pa.Table]]:
    uri, options = job["table"], job.get("storage_options")
    types, _ = readers.delta_schema(uri, options)
    read = {"deltalake": readers.read_with_deltalake(uri, options)}
    if not options:
        read["duckdb"] = readers.read_with_duckdb(uri)
    return types, read


def check(job: dict) -> dict:
    types, read = read_all(job)
    keys, differences = job["keys"], []
    source = {}
    with open(job["rows"], encoding="utf-8") as file:
        for line in file:
            raw = json.loads(line)
            differences += [f"column {name} is missing" for name in raw if name not in types]
            row = {name: convert(text, types[name]) for name, text in raw.items() if name in types}
            source[tuple(row[k] for k in keys)] = row
    for reader, table in read.items():
        rows, twice = readers.rows_by_key(table, keys)
        found = [f"key {shown(k)}: more than one row" for k in twice]
        found += [f"key {shown(k)}: no row" for k in source if k not in rows]
        found += [f"key {shown(k)}: not at the source" for k in rows if k not in source]
        for key, row in source.items():
            for name, value in row.items() if key in rows else ():
                if not same(value, rows[key][name]):
                    found.append(f"key {shown(key)} column {name}: is {shown(rows[key][name])}, source {shown(value)}")
        differences += [f"{reader}: {text}" for text in found]
    return {"rows": len(source) * len(read), "differences": sorted(set(differences))[:30]}


for request in sys.stdin:
    try:
        answer = check(json.loads(request))
    except Exception as e:  # a job that fails must not end the others
        answer = {"rows": 0, "differences": [f"{type(e).__name__}: {e}", traceback.format_exc()]}
    print(json.dumps(answer), flush=True)
