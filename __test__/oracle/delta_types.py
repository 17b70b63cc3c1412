"""What each Avro type becomes in Delta, and each value.

Values are brought into a plain form that has no doubt in it: days and microseconds since 1970 as
integers, decimals as `Decimal`, everything else as Python has it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any, Callable

DAY_US = 86_400_000_000


class OutOfRange(ValueError):
    """A date or time that Delta's readers cannot hold: infinity, years before 1 or after 9999."""


@dataclass(frozen=True)
class Column:
    """A Delta type (as in the schema's JSON) and the conversion of one non-null value."""

    type: Any
    convert: Callable[[Any], Any]


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the proleptic Gregorian calendar, for any year."""
    year -= month <= 2
    era = year // 400
    yoe = year - era * 400
    doy = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    doe = yoe * 365 + yoe // 4 - yoe // 100 + doy
    return era * 146097 + doe - 719468


MIN_DAY = days_from_civil(1, 1, 1)
MAX_DAY = days_from_civil(9999, 12, 31)
MIN_US = MIN_DAY * DAY_US
MAX_US = (MAX_DAY + 1) * DAY_US - 1


def in_range(value: int, low: int, high: int, policy: str) -> int | None:
    if low <= value <= high:
        return value
    if policy == "null":
        return None
    if policy == "clamp":
        return low if value < low else high
    raise OutOfRange(str(value))


#: beyond all dates, whatever the number is that stands for it
FUTURE, PAST = MAX_US + 1, MIN_US - 1

#: PostgreSQL's dates infinity and -infinity, as captured: streamed, of a snapshot, of a snapshot as text
INFINITE_DAYS = {
    -2147472692: FUTURE,
    -2147472691: PAST,
    -622191234: FUTURE,
    -622191233: FUTURE,
    -625821272: PAST,
    -625821271: PAST,
    106748361128: PAST,
    106748361129: PAST,
}


def date(policy: str) -> Column:
    return Column("date", lambda v: in_range(INFINITE_DAYS.get(v, v), MIN_DAY, MAX_DAY, policy))


def timestamp(policy: str, num: int, den: int) -> Column:
    """From a number of units of num/den microseconds; a fraction of a microsecond is cut downwards."""

    def convert(v: int):
        if den == 1000 and v in (2**63 - 1, -(2**63)):
            # Infinity: the ends of 64 bits are moments that nanoseconds could be
            return in_range(FUTURE if v > 0 else PAST, MIN_US, MAX_US, policy)
        return in_range(v * num // den, MIN_US, MAX_US, policy)

    return Column("timestamp", convert)


ISO_DAY = re.compile(r"([+-]?\d{4,})-(\d\d)-(\d\d)Z?")


def iso_date(policy: str) -> Column:
    def convert(text: str):
        m = ISO_DAY.fullmatch(text)
        if not m:
            raise ValueError(f"not a date: {text!r}")
        days = days_from_civil(int(m[1]), int(m[2]), int(m[3]))
        return in_range(INFINITE_DAYS.get(days, days), MIN_DAY, MAX_DAY, policy)

    return Column("date", convert)


def seconds_of_day(v: dict) -> int:
    return (v["hour"] * 60 + v["minute"]) * 60 + v["second"]


def structured_date(policy: str) -> Column:
    def convert(v: dict):
        if v["specialValue"] is not None:
            days = FUTURE if v["specialValue"] == "POSITIVE_INFINITY" else PAST
        else:
            days = days_from_civil(v["year"], v["month"], v["day"])
        return in_range(days, MIN_DAY, MAX_DAY, policy)

    return Column("date", convert)


def structured_timestamp(policy: str) -> Column:
    def convert(v: dict):
        if v["specialValue"] is not None:
            return in_range(FUTURE if v["specialValue"] == "POSITIVE_INFINITY" else PAST, MIN_US, MAX_US, policy)
        seconds = days_from_civil(v["year"], v["month"], v["day"]) * 86400 + seconds_of_day(v)
        # of a zoned timestamp only: its clock is that of the zone
        seconds -= v.get("offsetSeconds") or 0
        return in_range(seconds * 1_000_000 + v["nanos"] // 1000, MIN_US, MAX_US, policy)

    return Column("timestamp", convert)


def zoned_time_text(v: dict) -> str:
    """ISO 8601, as short as it can be without losing a digit of the fraction."""
    text = "%02d:%02d:%02d" % (v["hour"], v["minute"], v["second"])
    if v["nanos"]:
        text += ("." + str(v["nanos"]).rjust(9, "0")).rstrip("0")
    offset = v["offsetSeconds"]
    if offset == 0:
        return text + "Z"
    minutes, seconds = divmod(abs(offset), 60)
    zone = "%s%02d:%02d" % ("-" if offset < 0 else "+", *divmod(minutes, 60))
    return text + zone + (":%02d" % seconds if seconds else "")


STRUCTURED_TIME = Column("long", lambda v: seconds_of_day(v) * 1_000_000_000 + v["nanos"])
STRUCTURED_ZONED_TIME = Column("string", zoned_time_text)

ISO = re.compile(r"([+-]?\d{4,})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(?:(Z)|([+-])(\d\d):?(\d\d)(?::?(\d\d))?)")


def zoned_timestamp(policy: str) -> Column:
    def convert(text: str):
        if text in ("infinity", "-infinity"):
            return in_range(FUTURE if text == "infinity" else PAST, MIN_US, MAX_US, policy)
        m = ISO.fullmatch(text)
        if not m:
            raise ValueError(f"not a timestamp: {text!r}")
        year, month, day, hour, minute = (int(m[i]) for i in range(1, 6))
        us = int(((m[7] or "") + "000000")[:6])
        total = days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + int(m[6] or 0)
        if m[9]:
            offset = int(m[10]) * 3600 + int(m[11]) * 60 + int(m[12] or 0)
            total += -offset if m[9] == "+" else offset
        return in_range(total * 1_000_000 + us, MIN_US, MAX_US, policy)

    return Column("timestamp", convert)


def plain_decimal(unscaled: int, scale: int) -> str:
    """Digits without an exponent; a negative scale appends zeros."""
    if scale <= 0:
        return str(unscaled * 10**-scale)
    digits = str(abs(unscaled)).rjust(scale + 1, "0")
    return ("-" if unscaled < 0 else "") + digits[:-scale] + "." + digits[-scale:]


def to_int(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def decimal_column(precision: int, scale: int, is_money: bool) -> Column:
    shift = 0
    if scale > 1023:
        # PostgreSQL's negative scale, 11 bits wide: numeric(3,-2) says 2046
        shift, precision, scale = scale, precision + 2048 - scale, 0
    elif scale > precision:
        precision = scale
    if is_money:
        precision = 38
    if precision > 38 or scale > 38:
        return Column("string", lambda v: plain_decimal(to_int(v), scale))

    def convert(data: bytes) -> Decimal:
        unscaled = to_int(data)
        if shift:
            unscaled, rest = divmod(unscaled, 10**shift)
            if rest:
                raise ValueError("a fraction where the scale is negative")
        if len(str(abs(unscaled))) > precision:
            raise OutOfRange(str(unscaled))
        with localcontext() as ctx:
            ctx.prec = 80
            return Decimal(unscaled).scaleb(-scale)

    return Column(f"decimal({precision},{scale})", convert)


SCALARS: dict[str, str] = {
    "boolean": "boolean",
    "int": "integer",
    "long": "long",
    "float": "float",
    "double": "double",
    "string": "string",
    "bytes": "binary",
}


class TypeMapper:
    """Columns for the fields of one writer schema."""

    def __init__(self, out_of_range: str = "fail"):
        self.policy = out_of_range
        self._names: dict[str, dict] = {}
        p = out_of_range
        self._semantic: dict[str, Callable[[], Column]] = {
            "org.apache.kafka.connect.data.Date": lambda: date(p),
            "io.debezium.time.Date": lambda: date(p),
            "org.apache.kafka.connect.data.Timestamp": lambda: timestamp(p, 1000, 1),
            "io.debezium.time.Timestamp": lambda: timestamp(p, 1000, 1),
            "io.debezium.time.MicroTimestamp": lambda: timestamp(p, 1, 1),
            "io.debezium.time.NanoTimestamp": lambda: timestamp(p, 1, 1000),
            "io.debezium.time.ZonedTimestamp": lambda: zoned_timestamp(p),
            "io.debezium.time.IsoDate": lambda: iso_date(p),
            "io.debezium.time.IsoTimestamp": lambda: zoned_timestamp(p),
            "io.debezium.time.StructuredDate": lambda: structured_date(p),
            "io.debezium.time.StructuredTimestamp": lambda: structured_timestamp(p),
            "io.debezium.time.StructuredZonedTimestamp": lambda: structured_timestamp(p),
            "io.debezium.time.StructuredTime": lambda: STRUCTURED_TIME,
            "io.debezium.time.StructuredZonedTime": lambda: STRUCTURED_ZONED_TIME,
        }

    def nullable(self, schema) -> Column:
        """The column of a schema; null passes through."""
        column = self._column(schema)
        return Column(column.type, lambda v: None if v is None else column.convert(v))

    def register(self, schema, namespace: str = "") -> None:
        """Remembers named records, since a later field may only name them."""
        if isinstance(schema, list):
            for s in schema:
                self.register(s, namespace)
        elif isinstance(schema, dict):
            kind = schema.get("type")
            if kind == "record":
                name = schema["name"]
                namespace = schema.get("namespace", namespace)
                full = name if "." in name or not namespace else f"{namespace}.{name}"
                self._names[full] = self._names[name] = schema
                for f in schema["fields"]:
                    self.register(f["type"], namespace)
            elif kind == "array":
                self.register(schema["items"], namespace)
            elif kind == "map":
                self.register(schema["values"], namespace)
            elif isinstance(kind, (dict, list)):
                self.register(kind, namespace)

    def record(self, schema) -> dict:
        """A record's schema, where it may only be named."""
        return self._names[schema] if isinstance(schema, str) else schema

    def _column(self, schema) -> Column:
        if isinstance(schema, list):
            members = [s for s in schema if s != "null"]
            if len(members) != 1:
                raise ValueError(f"a union of several types: {members}")
            return self._column(members[0])
        if isinstance(schema, str):
            if schema in SCALARS:
                return Column(SCALARS[schema], lambda v: v)
            return self._column(self._names[schema])
        semantic = schema.get("connect.name")
        if semantic in self._semantic:
            return self._semantic[semantic]()
        kind = schema["type"]
        if schema.get("logicalType") == "decimal":
            parameters = schema.get("connect.parameters", {})
            is_money = schema["precision"] == 64 and "connect.decimal.precision" not in parameters
            return decimal_column(schema["precision"], schema.get("scale", 0), is_money)
        if semantic == "io.debezium.data.VariableScaleDecimal":
            return Column("string", lambda v: plain_decimal(to_int(v["value"]), v["scale"]))
        if kind == "array":
            items = self.nullable(schema["items"])
            return Column({"array": items.type}, lambda v: [items.convert(x) for x in v])
        if kind == "map":
            values = self.nullable(schema["values"])
            return Column({"map": values.type}, lambda v: {k: values.convert(x) for k, x in v.items()})
        if kind == "record":
            fields = {f["name"]: self.nullable(f["type"]) for f in schema["fields"]}
            return Column(
                {"struct": {n: c.type for n, c in fields.items()}},
                lambda v: {n: c.convert(v[n]) for n, c in fields.items()},
            )
        if isinstance(kind, (dict, list)):
            return self._column(kind)
        if kind in SCALARS:
            return Column(SCALARS[kind], lambda v: v)
        raise ValueError(f"unknown type {schema}")
