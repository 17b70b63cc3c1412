"""Values of a table in a form that JSON carries without loss, the same whichever reader they come from.

null, booleans and text as they are; numbers as text (floats in hexadecimal, unless another text is wanted, decimals without
exponent, dates in days and timestamps in microseconds since 1970), binary as `0x…`, arrays as lists, structs and maps as
objects with sorted names.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Callable


def plain(value: Any, float_text: Callable[[float], str] = float.hex) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (bytes, bytearray)):
        return f"0x{bytes(value).hex()}"
    if isinstance(value, list):
        return [plain(v, float_text) for v in value]
    if isinstance(value, dict):
        return {str(k): plain(v, float_text) for k, v in sorted(value.items())}
    raise TypeError(f"a value of type {type(value).__name__}: {value!r}")
