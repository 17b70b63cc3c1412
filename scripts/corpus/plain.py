"""Values in the form of the corpus: the same text whichever program has read them.

Floats are the bits of the double, so that -0.0 is not 0.0; numbers, decimals, days and microseconds are texts; binary is
hexadecimal; structs and maps are objects with sorted names.
"""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from typing import Any


def plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return "nan" if math.isnan(value) else f"double {struct.pack('>d', value).hex()}"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (bytes, bytearray)):
        return f"0x{bytes(value).hex()}"
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in sorted(value.items())}
    raise TypeError(f"a value of type {type(value).__name__}: {value!r}")
