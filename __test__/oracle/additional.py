"""Additional columns of the form YEAR(c) AS y, MONTH(c) AS m, DAY(c) AS d, of a date or timestamp column."""

from __future__ import annotations

import datetime
import re

from delta_types import DAY_US
from replay import Truth

EXPRESSION = re.compile(r"(YEAR|MONTH|DAY)\((\w+)\)\s+AS\s+(\w+)", re.IGNORECASE)
EPOCH = datetime.date(1970, 1, 1)


def add(truth: Truth, expression: str) -> None:
    m = EXPRESSION.fullmatch(expression.strip())
    if not m:
        raise ValueError(f"the oracle does not know how to compute {expression!r}")
    part, column, name = m[1].lower(), m[2], m[3]
    if column not in truth.types or column in truth.optional:
        # No row has the column: whether its part is there, and of which type, depends on the batches.
        truth.untold.add(name)
        return
    unit = DAY_US if truth.types[column] == "timestamp" else 1
    for row in truth.rows.values():
        value = row[column]
        row[name] = None if value is None else getattr(EPOCH + datetime.timedelta(days=value // unit), part)
    truth.types[name] = "integer"
