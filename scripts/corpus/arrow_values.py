"""Arrow arrays as lists of Python values, with days and instants as numbers: Python's own end in the year 9999."""

from __future__ import annotations

import pyarrow as pa


def values(array: pa.Array | pa.ChunkedArray) -> list:
    if isinstance(array, pa.ChunkedArray):
        return [value for chunk in array.chunks for value in values(chunk)]
    kind = array.type
    if pa.types.is_dictionary(kind):
        return values(array.dictionary_decode())
    if pa.types.is_timestamp(kind):
        return array.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.int64()).to_pylist()
    if pa.types.is_date32(kind):
        return array.cast(pa.int32()).to_pylist()
    if pa.types.is_struct(kind):
        parts = {kind.field(i).name: values(part) for i, part in enumerate(array.flatten())}
        rows = zip(*parts.values()) if parts else [()] * len(array)
        return [dict(zip(parts, row)) if valid else None for row, valid in zip(rows, array.is_valid().to_pylist())]
    if pa.types.is_map(kind):
        pairs = list(zip(values(array.keys), values(array.items)))
        return [None if slice is None else dict(pairs[slice]) for slice in slices(array)]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        items = values(array.values)
        return [None if slice is None else items[slice] for slice in slices(array)]
    return array.to_pylist()


def slices(array: pa.Array) -> list[slice | None]:
    offsets = array.offsets.to_pylist()
    valid = array.is_valid().to_pylist()
    return [slice(offsets[i], offsets[i + 1]) if valid[i] else None for i in range(len(array))]
