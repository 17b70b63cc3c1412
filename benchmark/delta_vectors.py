"""Deletion vectors by the text of the Delta protocol: file, checksum, RoaringBitmapArray. No library of any reader.

https://github.com/delta-io/delta/blob/master/PROTOCOL.md#deletion-vector-format
https://github.com/RoaringBitmap/RoaringFormatSpec
"""

from __future__ import annotations

import os
import struct
import urllib.parse
import uuid
import zlib

MAGIC = 1681511377
Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


class VectorError(Exception):
    """A vector that is not as the protocol says."""


def z85_decode(text: str) -> bytes:
    if len(text) % 5:
        raise VectorError(f"z85 text of {len(text)} characters")
    out = bytearray()
    for at in range(0, len(text), 5):
        value = 0
        for letter in text[at : at + 5]:
            digit = Z85.find(letter)
            if digit < 0:
                raise VectorError(f"no z85 character: {letter!r}")
            value = value * 85 + digit
        if value >= 1 << 32:
            raise VectorError("z85 beyond 32 bits")
        out += value.to_bytes(4, "big")
    return bytes(out)


class Bytes:
    """A cursor that knows the end."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise VectorError("a bitmap ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def u16(self) -> int:
        return struct.unpack("<H", self.take(2))[0]

    def u32(self) -> int:
        return struct.unpack("<I", self.take(4))[0]

    def u64(self) -> int:
        return struct.unpack("<Q", self.take(8))[0]


# Rows as bits: the number of 65,536 rows to an integer whose bits are the rows. Sets of many rows are compared at once.
Rows = dict[int, int]


def bits_of(values) -> int:
    bits = bytearray(8192)
    for value in values:
        bits[value >> 3] |= 1 << (value & 7)
    return int.from_bytes(bits, "little")


def read_bitmap(source: Bytes) -> Rows:
    """A 32-bit roaring bitmap of the portable format."""
    begin = source.at
    cookie = source.u32()
    if cookie & 0xFFFF == 12347:
        count = (cookie >> 16) + 1
        flags = source.take((count + 7) // 8)
        runs = [flags[i // 8] >> (i % 8) & 1 == 1 for i in range(count)]
        has_offsets = count >= 4
    elif cookie == 12346:
        count = source.u32()
        runs = [False] * count
        has_offsets = True
    else:
        raise VectorError(f"a bitmap begins with {cookie}")
    if count > 1 << 16:
        raise VectorError("a bitmap of more than 65,536 containers")
    heads = [(source.u16(), source.u16() + 1) for _ in range(count)]
    if [key for key, _ in heads] != sorted({key for key, _ in heads}):
        raise VectorError("a bitmap's containers are not in order")
    offsets = [source.u32() for _ in range(count)] if has_offsets else None
    rows: Rows = {}
    for n, ((key, cardinality), is_run) in enumerate(zip(heads, runs)):
        if offsets is not None and offsets[n] != source.at - begin:
            raise VectorError("a container is not where its offset says")
        if is_run:
            bits = 0
            for _ in range(source.u16()):
                start, length = source.u16(), source.u16() + 1
                if start + length > 1 << 16:
                    raise VectorError("a run leaves its container")
                bits |= ((1 << length) - 1) << start
        elif cardinality <= 4096:
            values = struct.unpack(f"<{cardinality}H", source.take(2 * cardinality))
            if any(one >= other for one, other in zip(values, values[1:])):
                raise VectorError("a container's values are not in order")
            bits = bits_of(values)
        else:
            bits = int.from_bytes(source.take(8192), "little")
        if bits.bit_count() != cardinality:
            raise VectorError("a container holds another number of values than its head says")
        rows[key] = bits
    return rows


def read_array(data: bytes) -> Rows:
    """The RoaringBitmapArray behind a vector's size: magic number, count, and bitmaps by the high 32 bits."""
    source = Bytes(data)
    magic = source.u32()
    if magic != MAGIC:
        raise VectorError(f"the magic number is {magic}")
    rows: Rows = {}
    last = -1
    for _ in range(source.u64()):
        high = source.u32()
        if high <= last:
            raise VectorError("the bitmaps' keys are not in order")
        last = high
        rows.update({(high << 16) + key: bits for key, bits in read_bitmap(source).items()})
    if source.at != len(data):
        raise VectorError(f"{len(data) - source.at} bytes behind the bitmaps")
    return rows


def count(rows: Rows) -> int:
    return sum(bits.bit_count() for bits in rows.values())


def greatest(rows: Rows) -> int:
    """The last row; -1 where there is none."""
    return max(((key << 16) + bits.bit_length() - 1 for key, bits in rows.items() if bits), default=-1)


def without(rows: Rows, others: Rows) -> Rows:
    """Rows that are not among the others."""
    rest = {key: bits & ~others.get(key, 0) for key, bits in rows.items()}
    return {key: bits for key, bits in rest.items() if bits}


def unique_id(vector: dict | None) -> str | None:
    """What tells vectors apart, by the protocol."""
    if vector is None:
        return None
    text = vector["storageType"] + vector["pathOrInlineDv"]
    return text if vector.get("offset") is None else f"{text}@{vector['offset']}"


def file_of(table: str, vector: dict) -> str | None:
    """The file of a vector; none where it is inline."""
    kind, text = vector["storageType"], vector["pathOrInlineDv"]
    if kind == "i":
        return None
    if kind == "p":
        return urllib.parse.unquote(urllib.parse.urlparse(text).path)
    if kind != "u" or len(text) < 20:
        raise VectorError(f"no descriptor: {kind} {text}")
    name = uuid.UUID(bytes=z85_decode(text[-20:]))
    return os.path.join(table, text[:-20], f"deletion_vector_{name}.bin")


def read(table: str, vector: dict) -> Rows:
    """The deleted rows, after every check that the format allows. OSError where the file is gone."""
    path = file_of(table, vector)
    if path is None:
        data = z85_decode(vector["pathOrInlineDv"])
        # z85 is of whole groups of four bytes; what is behind the data is filling.
        if not vector["sizeInBytes"] <= len(data) < vector["sizeInBytes"] + 4:
            raise VectorError("an inline vector has another size than its descriptor says")
        data = data[: vector["sizeInBytes"]]
    else:
        with open(path, "rb") as file:
            if file.read(1) != b"\x01":
                raise VectorError("the file's version is not 1")
            file.seek(vector.get("offset") or 1)
            size = int.from_bytes(file.read(4), "big")
            if size != vector["sizeInBytes"]:
                raise VectorError(f"the file says {size} bytes, the descriptor {vector['sizeInBytes']}")
            data = file.read(size)
            checksum = int.from_bytes(file.read(4), "big")
        if len(data) != size or zlib.crc32(data) != checksum:
            raise VectorError("the checksum is wrong")
    rows = read_array(data)
    if count(rows) != vector["cardinality"]:
        raise VectorError(f"{count(rows)} rows, the descriptor says {vector['cardinality']}")
    return rows
