"""Compares a table with the truth, exactly: types, keys and every value."""

from __future__ import annotations

import math
import struct
from typing import Any

from replay import Truth


def same(a: Any, b: Any) -> bool:
    """Equal in type and value; NaN equals NaN, and 0.0 is not -0.0."""
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    return a == b and (a is None) == (b is None)


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


def compare_types(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    out = []
    for name, t in expected.items():
        if name not in found:
            out.append(f"column {name}: missing (should be {t})")
        elif found[name] != t:
            out.append(f"column {name}: is {found[name]}, should be {t}")
    out += [f"column {name}: should not be there" for name in found if name not in expected]
    return out


def compare_rows(truth: Truth, found: dict[tuple, dict], twice: list[tuple]) -> list[str]:
    out = [f"key {shown(k)}: more than one row" for k in twice]
    for key, row in truth.rows.items():
        other = found.get(key)
        if other is None:
            out.append(f"key {shown(key)}: no row")
            continue
        for name, value in row.items():
            if name not in other:
                continue  # the types' comparison has said it
            if not same(value, other[name]):
                out.append(f"key {shown(key)} column {name}: is {shown(other[name])}, should be {shown(value)}")
    out += [f"key {shown(k)}: should not be there" for k in found if k not in truth.rows]
    return out


def changes_of_differing_keys(truth: Truth, found: dict[tuple, dict], twice: list[tuple], most: int = 2) -> list[str]:
    """Every change of the first keys that differ, for whoever looks for the cause."""
    keys = [*truth.rows, *(k for k in found if k not in truth.rows)]
    differing = [k for k in keys if k in twice or not same(truth.rows.get(k), found.get(k))]
    return [f"  change of {shown(k)}: {line}" for k in differing[:most] for line in truth.changes.get(k, [])]
