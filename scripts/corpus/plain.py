"""Values in the form of the corpus: as the comparison with Spark writes them, but for floats, which are the bits of the
double: the engine's tests compare these."""

from __future__ import annotations

import math
import struct
import sys
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmark" / "spark"))

import values  # noqa: E402


def bits(value: float) -> str:
    return "nan" if math.isnan(value) else f"double {struct.pack('>d', value).hex()}"


plain = partial(values.plain, float_text=bits)
