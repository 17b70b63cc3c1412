"""The source's own rows, where a fixture set has them: SET/source/TABLE.csv, as PostgreSQL's COPY wrote them.

    python source_rows.py FIXTURE_SET...    compares the replayed truth with them

Not everything that the source holds can be known from its topics; those differences are listed here, with why.
"""

from __future__ import annotations

import csv
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, Callable

csv.field_size_limit(10_000_000)
NULL = "\\N"


def array_items(text: str) -> list[str]:
    """The items of a one-dimensional array literal: {a,b,"c"}."""
    inner = text[1:-1]
    return next(csv.reader([inner], escapechar="\\", doublequote=False)) if inner else []


def bytea(text: str) -> bytes:
    if not text.startswith("\\x"):
        raise ValueError(f"not a bytea: {text[:20]}")
    return bytes.fromhex(text[2:])


def hstore(text: str) -> dict:
    pairs = {}
    for pair in text.split(", "):
        k, v = pair.split("=>")
        pairs[k.strip('"')] = v.strip('"')
    return pairs


def days(text: str) -> int:
    from delta_types import days_from_civil

    return days_from_civil(*(int(x) for x in text.split("-")))


READ: dict[str, dict[str, Callable[[str], Any]]] = {
    "arr": {
        "id": int,
        "n": int,
        "b": bytea,
        "ta": array_items,
        "ia": lambda t: [int(x) for x in array_items(t)],
        "la": lambda t: [int(x) for x in array_items(t)],
        "ua": array_items,
        "da": lambda t: [days(x) for x in array_items(t)],
        "ba": lambda t: [bytea(x) for x in array_items(t)],
        "h": hstore,
    },
    "nums": {"id": int, "a": Decimal, "b": Decimal, "e": Decimal},
    "openx": {"id": int},
    "part": {"id": int},
    "pkt": {"id": int, "n": int},
    "swap": {"id": int},
    "moved": {"id": int, "n": int, "bin": bytea, "ta": array_items},
    "far_nanos": {"id": int},
    "users": {"id": int, "created_at": days},
    "counted": {"id": int, "n": int},
    "truncated": {"id": int},
}
KEYS = {"part": ["id", "region"]}

#: what differs since the topic has lost it: (topic's table, "row" or column) → reason
LOST = {
    ("flat", "openx", "rows"): "a flattened stream carries no truncate",
    ("any", "swap", "rows"): "keys that change places in one statement arrive as if row 2 were deleted last",
    ("flat", "arr", "da"): "a left-out date array is null with time.precision.mode=connect",
    ("any", "nums", "d@2"): "NaN in a numeric arrives as null",
}


def source_table(topic: str) -> str:
    table = topic.rsplit(".", 1)[-1]
    return "part" if table.startswith("part_") else table


def source_file(folder: Path, topic: str) -> Path | None:
    """The rows at the source; the sets of one scenario share those of the first."""
    for candidate in (folder, folder.parent / folder.name.split("-")[0]):
        path = candidate / "source" / f"{source_table(topic)}.csv"
        if path.exists():
            return path
    return None


def read_source(path: Path) -> dict[tuple, dict]:
    table = path.stem
    convert = READ[table]
    keys = KEYS.get(table, ["id"])
    rows = {}
    with path.open(newline="", encoding="utf-8") as f:
        for raw in csv.DictReader(f):
            row = {n: None if v == NULL else convert.get(n, str)(v) for n, v in raw.items()}
            rows[tuple(row[k] for k in keys)] = row
    return rows


def matches(stored: Any, source: Any) -> bool:
    if isinstance(source, dict) and isinstance(stored, str):
        return json.loads(stored) == source
    return stored == source


def is_lost(folder: Path, table: str, what: str) -> bool:
    flavour = "env" if folder.name.endswith("-env") else "flat"
    return any((f, table, what) in LOST for f in (flavour, "any"))


def differences(folder: Path, topic: str, rows: dict[tuple, dict]) -> list[str]:
    """What a table's rows (plain form) have otherwise than the source, but for what the topic has lost."""
    path = source_file(folder, topic)
    if path is None:
        return []
    table = path.stem
    source = read_source(path)
    out = []
    if topic.rsplit(".", 1)[-1].startswith("part_"):
        region = topic.rsplit("_", 1)[-1]
        source = {k: r for k, r in source.items() if r["region"] == region}
    if not is_lost(folder, table, "rows"):
        out += [f"source row {k} is missing" for k in source if k not in rows]
        out += [f"row {k} is not at the source" for k in rows if k not in source]
    for key, row in source.items():
        stored = rows.get(key)
        if stored is None:
            continue
        for name, value in row.items():
            if is_lost(folder, table, name) or is_lost(folder, table, f"{name}@{key[0]}"):
                continue
            if not matches(stored.get(name), value):
                out.append(f"row {key} column {name}: is {stored.get(name)!r:.80}, at the source {value!r:.80}")
    return out


def main(folders: list[str]) -> int:
    from messages import SchemaSet, read_topic, topics_of
    from replay import Options, replay

    bad = 0
    for name in folders:
        folder = Path(name)
        for topic in topics_of(folder):
            if source_file(folder, topic) is None:
                continue
            truth = replay(read_topic(folder, topic), Options(out_of_range="null"), SchemaSet(folder / "schemas.json"))
            found = differences(folder, topic, truth.rows)
            bad += bool(found)
            print(f"{folder.name}/{topic}: {len(truth.rows)} rows, {'equal' if not found else 'DIFFERENT'}")
            for line in found:
                print("  " + line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main(sys.argv[1:]))
