"""The truth: the changes of a topic, replayed one by one into a dict."""

from __future__ import annotations

import datetime
import hashlib
import heapq
import json
import random
import re
import uuid
from dataclasses import dataclass, field
from typing import Any, Iterator

from delta_types import Column, OutOfRange, TypeMapper
from messages import Message, SchemaSet
from sequences import mysql_sequence, postgres_sequence

PLACEHOLDER = "__debezium_unavailable_value"

#: the names under which the flattening transform adds the source's metadata
OP, SNAPSHOT, SEQUENCE = "__op", "__source_snapshot", "__source_sequence"
MYSQL_FIELDS = tuple(f"__source_{name}" for name in ("server_id", "file", "pos"))
OLD_KEY_HEADER = "__debezium.oldkey"


@dataclass
class Options:
    primary_key: list[str] | None = None
    deleted_column: str = "__deleted"
    out_of_range: str = "fail"
    #: name of the stored column → what it holds: of any message `kafka.topic`, `kafka.partition`, `kafka.offset`,
    #: `kafka.timestamp`, `operation`; of envelopes a path in them, e.g. {"__op": "op"}
    metadata: dict[str, str] = field(default_factory=dict)
    topic: str = ""
    #: deleted rows stay, and this column says that they are deleted
    soft_delete: str | None = None
    #: columns of the value that are not stored
    exclude: list[str] = field(default_factory=list)
    #: names of topics' partitions interleaved by this seed instead of by timestamp
    interleave_seed: int | None = None
    #: the messages stand in the order in which the source made the changes, and leave nothing out: no rule is needed
    source_order: bool = False


@dataclass
class Truth:
    primary_key: list[str]
    types: dict[str, Any]
    rows: dict[tuple, dict[str, Any]]
    missing_values: int = 0
    dropped_stale: int = 0
    last_offsets: dict[int, int] = field(default_factory=dict)
    #: columns that only messages which remove rows have: a table that waited for its first row may lack them
    optional: set[str] = field(default_factory=set)
    #: columns that may be there, all null, or not
    untold: set[str] = field(default_factory=set)
    #: by key, its changes in words
    changes: dict[tuple, list[str]] = field(default_factory=dict)


@dataclass
class Change:
    op: str  # upsert | delete | truncate | tombstone
    key: tuple | None
    row: dict[str, Any]
    left_out: set[str]
    old_key: tuple | None
    seq: tuple | None
    epoch: tuple | None
    snapshot: str  # no | full | incremental | unknown
    partition: int
    #: what the change says of itself: columns that a soft delete stores too
    known: dict[str, Any] = field(default_factory=dict)
    #: the delete of the old key, where an update changed a key that the connector does not know
    also: "Change | None" = None


MESSAGE_TYPES = {
    "kafka.topic": "string",
    "kafka.partition": "integer",
    "kafka.offset": "long",
    "kafka.timestamp": "timestamp",
    "operation": "string",
}


def left_out_forms() -> list:
    """Every form in which Debezium writes the placeholder."""
    raw = PLACEHOLDER.encode()
    digest = bytearray(hashlib.md5(raw).digest())
    digest[6] = digest[6] & 0x0F | 0x30
    digest[8] = digest[8] & 0x3F | 0x80
    return [
        PLACEHOLDER,
        raw,
        [PLACEHOLDER],
        [raw],
        list(raw),
        [str(uuid.UUID(bytes=bytes(digest)))],
        {PLACEHOLDER: PLACEHOLDER},
    ]


LEFT_OUT = left_out_forms()

BARE_MOMENT = re.compile(r'"(\w+)":((?:(\d{4}-\d\d-\d\d)T?)?(?:(\d\d):(\d\d):(\d\d)\.(\d{3})Z)?)(?=[,}])')


def simple_header(text: str, key_schema: dict) -> dict | None:
    """JSON, or what Connect's SimpleHeaderConverter makes of a key: Connect's dates and times are not quoted there.

    It takes what is within a day of 1970, or before, for a time of day: nobody can tell then what it was.
    """
    names = {f["name"]: (f["type"] if isinstance(f["type"], dict) else {}).get("connect.name", "") for f in key_schema["fields"]}
    unknown = False

    def number(m: re.Match) -> str:
        nonlocal unknown
        kind = names[m[1]].rsplit(".", 1)[-1]
        has = (m[3] is not None, m[4] is not None)
        if has == (False, False):
            return m[0]
        unknown |= has != {"Date": (True, False), "Time": (False, True), "Timestamp": (True, True)}.get(kind)
        days = (datetime.date.fromisoformat(m[3]) - datetime.date(1970, 1, 1)).days if m[3] else 0
        ms = ((int(m[4]) * 60 + int(m[5])) * 60 + int(m[6])) * 1000 + int(m[7]) if m[4] else 0
        return f'"{m[1]}":{days if kind == "Date" else days * 86_400_000 + ms}'

    parsed = json.loads(BARE_MOMENT.sub(number, text))
    return None if unknown else parsed


def is_left_out(value) -> bool:
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            return False
        return value == {PLACEHOLDER: PLACEHOLDER}
    return any(type(value) is type(form) and value == form for form in LEFT_OUT)


def interleaved(messages: list[Message], seed: int | None) -> Iterator[Message]:
    """One stream of all partitions, each in offset order: by time of production, or at random."""
    partitions: dict[int, list[Message]] = {}
    for m in messages:
        partitions.setdefault(m.partition, []).append(m)
    for own in partitions.values():
        own.sort(key=lambda m: m.offset)
    if seed is None:
        yield from heapq.merge(*partitions.values(), key=lambda m: (m.timestamp, source_position(m)))
        return
    rng = random.Random(seed)
    queues = [list(reversed(own)) for own in partitions.values()]
    while queues:
        queue = rng.choice(queues)
        yield queue.pop()
        if not queue:
            queues.remove(queue)


def source_position(m: Message) -> int:
    """Breaks ties within a millisecond by the source's own order, where the message tells it."""
    source = (m.value or {}).get("source")
    return (source or {}).get("lsn") or 0 if isinstance(source, dict) else 0


DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")
WIDENINGS = {frozenset(("integer", "long")): "long", frozenset(("float", "double")): "double"}


def common_type(a: Any, b: Any) -> Any | None:
    """The type that holds both exactly, where a column was widened; it stays wide when an older schema comes back."""
    if a == b:
        return a
    if isinstance(a, dict) and isinstance(b, dict):
        (kind, first), (other, second) = *a.items(), *b.items()
        if kind != other:
            return None
        if kind != "struct":
            inner = common_type(first, second)
            return inner and {kind: inner}
        fields = {n: common_type(first.get(n, t), second.get(n, t)) for n, t in {**second, **first}.items()}
        return {kind: fields} if all(fields.values()) else None
    if not isinstance(a, str) or not isinstance(b, str):
        return None
    first, second = DECIMAL.fullmatch(a), DECIMAL.fullmatch(b)
    if first and second:
        scale = max(int(first[2]), int(second[2]))
        digits = max(int(first[1]) - int(first[2]), int(second[1]) - int(second[2]))
        return f"decimal({digits + scale},{scale})" if digits + scale <= 38 else None
    return WIDENINGS.get(frozenset((a, b)))


def completed(value: Any, type_: Any) -> Any:
    """The value with the fields that its type has got since."""
    if value is None or not isinstance(type_, dict):
        return value
    if "struct" in type_:
        return {n: completed(value.get(n), t) for n, t in type_["struct"].items()}
    if "array" in type_:
        return [completed(item, type_["array"]) for item in value]
    return {k: completed(item, type_["map"]) for k, item in value.items()}


class Replay:
    def __init__(self, options: Options, schemas: SchemaSet | None = None):
        self.options = options
        self.schemas = schemas
        self.types: dict[str, Any] = {}
        #: names of columns that some row or mark has
        self.stored: set[str] = set()
        self.primary_key: list[str] | None = options.primary_key
        self.rows: dict[tuple, dict] = {}
        #: the last row of keys that are deleted: key updates take left-out values from there
        self.buried: dict[tuple, dict] = {}
        #: (seq, epoch, partition) of the last change of a key, deletes included, where it was a streaming one
        self.remembered: dict[tuple, tuple] = {}
        #: (seq, epoch, partition, timestamp) of a live row, for truncates
        self.row_origin: dict[tuple, tuple] = {}
        #: truncates, their times, and the partitions that have been read past them
        self.floors: list[tuple[Change, int, set[int]]] = []
        #: of the message that is applied
        self.time = 0
        #: by partition, key of the delete that came last, and whether it stood
        self.last_delete: dict[int, tuple] = {}
        self.missing = 0
        self.dropped = 0
        self.last_offsets: dict[int, int] = {}
        self.told: dict[tuple, list[str]] = {}
        self._columns: dict[int, dict[str, Column]] = {}
        self._kept_alive: list = []

    # --- decoding -----------------------------------------------------------------------------

    def columns_of(self, schema: dict, mapper: TypeMapper | None = None) -> dict[str, Column]:
        """Columns of a record's schema, compiled once per schema object."""
        if id(schema) not in self._columns:
            own = mapper or TypeMapper(self.options.out_of_range)
            own.register(schema)
            self._columns[id(schema)] = {f["name"]: own.nullable(f["type"]) for f in schema["fields"]}
            self._kept_alive.append(schema)
        return self._columns[id(schema)]

    def learn(self, columns: dict[str, Column]) -> None:
        for name, column in columns.items():
            known = self.types.get(name)
            if known is None:
                self.types[name] = column.type
            elif known != column.type:
                wider = common_type(known, column.type)
                if wider is None:
                    raise ValueError(f"column {name} changes from {known} to {column.type}")
                self.types[name] = wider

    def key_of(self, m: Message, value_row: dict | None) -> tuple | None:
        if self.options.primary_key:
            source = dict(value_row or {})
            source.update(self.converted_key(m))
            missing = [k for k in self.options.primary_key if k not in source]
            if missing:
                return None
            return tuple(source[k] for k in self.options.primary_key)
        key = self.converted_key(m)
        if not key:
            return None
        if self.primary_key is None:
            self.primary_key = list(key)
        return tuple(key[k] for k in self.primary_key)

    def converted_key(self, m: Message) -> dict:
        if m.key is None or m.key_schema is None:
            return {}
        columns = self.columns_of(m.key_schema)
        return {n: c.convert(m.key[n]) for n, c in columns.items()}

    def old_key(self, m: Message) -> tuple | None:
        raw = m.headers.get(OLD_KEY_HEADER)
        if raw is None or self.primary_key is None or m.key_schema is None or self.options.source_order:
            return None
        if raw[:1] == b"\x00" and self.schemas is not None:
            old, _ = self.schemas.decode(raw)
        else:
            old = simple_header(raw.decode(), m.key_schema)
            if old is None:
                return None
            old = old.get("payload", old)
        columns = self.columns_of(m.key_schema)
        return tuple(columns[k].convert(old[k]) for k in self.primary_key)

    def of_message(self, m: Message, operation: str | None) -> dict[str, Any]:
        """Metadata columns that any message has."""
        values = {
            "kafka.topic": self.options.topic,
            "kafka.partition": m.partition,
            "kafka.offset": m.offset,
            "kafka.timestamp": None if m.timestamp < 0 else m.timestamp * 1000,
            "operation": operation,
        }
        wanted = {name: path for name, path in self.options.metadata.items() if path in values}
        self.types.update({name: MESSAGE_TYPES[path] for name, path in wanted.items()})
        return {name: values[path] for name, path in wanted.items()}

    def changes(self, m: Message) -> Change | None:
        """What a message does, or None where it changes no row."""
        if m.value is None:
            key = self.key_of(m, None)
            if key is None:
                return None
            if m.key_schema is not None and not self.options.primary_key:
                self.learn(self.columns_of(m.key_schema))
            known = self.of_message(m, "d")
            return Change("tombstone", key, {}, set(), None, None, None, "unknown", m.partition, known)
        fields = {f["name"] for f in m.value_schema["fields"]}
        if {"before", "after", "op", "source"} <= fields:
            return self.envelope(m)
        return self.flattened(m)

    def flattened(self, m: Message) -> Change:
        value = m.value
        columns = {n: c for n, c in self.columns_of(m.value_schema).items() if self.is_stored(n)}
        deleted = str(value.get(self.options.deleted_column)).lower() == "true"
        op, snapshot, sequence = value.get(OP), value.get(SNAPSHOT), value.get(SEQUENCE)
        told = OP in value or SNAPSHOT in value
        if not told:
            kind = "unknown"
        elif snapshot == "incremental":
            kind = "incremental"
        elif op == "r" or snapshot not in (None, "false"):
            kind = "full"
        else:
            kind = "no"
        if self.options.source_order:
            sequence = None
        seq, epoch = postgres_sequence(sequence), ("flattened",)
        if not self.options.source_order and all(value.get(name) is not None for name in MYSQL_FIELDS):
            seq, epoch = mysql_sequence(*(value[name] for name in MYSQL_FIELDS))
        if kind != "no":
            seq = None
        names = list(columns)
        after = m.value_schema["fields"][self.position(m.value_schema, self.options.deleted_column) + 1 :]
        companions = [f["name"] for f in after if f["name"].startswith("__") and f["name"] in names]
        operation = "d" if deleted else op if op in ("c", "r", "u") else None
        return self.change(m, value, columns, deleted, kind, seq, epoch, companions, operation)

    @staticmethod
    def position(schema: dict, name: str) -> int:
        return next((i for i, f in enumerate(schema["fields"]) if f["name"] == name), len(schema["fields"]))

    def envelope(self, m: Message) -> Change | None:
        value, source, op = m.value, m.value["source"], m.value["op"]
        mapper = TypeMapper(self.options.out_of_range)
        mapper.register(m.value_schema)
        row_schema = next(f["type"] for f in m.value_schema["fields"] if f["name"] == "before")
        row_schema = mapper.record(next(s for s in row_schema if s != "null"))
        columns = {n: c for n, c in self.columns_of(row_schema, mapper).items() if self.is_stored(n)}
        # the schema tells the columns whatever the event does
        self.learn(columns)
        if op == "m":
            return None
        snapshot = source.get("snapshot")
        if snapshot == "incremental":
            kind = "incremental"
        elif op == "r" or snapshot not in (None, "false"):
            kind = "full"
        else:
            kind = "no"
        seq, epoch = None, None
        if kind == "no" and not self.options.source_order:
            seq, epoch = self.envelope_sequence(source)
        if op == "t":
            return Change("truncate", None, {}, set(), None, seq, epoch, kind, m.partition)
        row = value["before"] if op == "d" else value["after"]
        row = dict(row or {})
        plain = dict(columns)
        own = {name: path for name, path in self.options.metadata.items() if path not in MESSAGE_TYPES}
        for name, path in own.items():
            schema, inner = m.value_schema, value
            for part in path.split("."):
                schema = next(f["type"] for f in mapper.record(schema)["fields"] if f["name"] == part)
                inner = None if inner is None else inner[part]
            columns = {**columns, name: mapper.nullable(schema)}
            row[name] = inner
        change = self.change(m, row, columns, op == "d", kind, seq, epoch, list(own), op)
        before = value["before"]
        if op == "u" and before is not None and m.key is None and self.options.primary_key:
            old = tuple(plain[k].convert(before[k]) for k in self.options.primary_key)
            if old != change.key:
                # without a key the connector cannot tell that it changed: no delete of the old one comes
                change.old_key = old
                known = {**change.known, **self.of_message(m, "d")}
                change.also = Change("delete", old, {}, set(), None, seq, epoch, kind, m.partition, known)
        return change

    def envelope_sequence(self, source: dict) -> tuple[tuple | None, tuple | None]:
        connector = source["connector"]
        if connector == "postgresql":
            return postgres_sequence(source.get("sequence")), (connector, source["db"])
        if connector in ("mysql", "mariadb"):
            return mysql_sequence(source["server_id"], source["file"], source["pos"])
        return None, None

    def is_stored(self, name: str) -> bool:
        return name != self.options.deleted_column and name not in self.options.exclude

    def change(
        self, m: Message, value: dict, columns, deleted: bool, kind: str, seq, epoch, companions: list[str], operation
    ) -> Change:
        self.learn(columns)
        known = self.of_message(m, operation)
        if not deleted or self.options.soft_delete:
            known.update({n: columns[n].convert(value.get(n)) for n in companions})
        key_values = self.converted_key(m)
        if m.key_schema is not None:
            # a key column may be wider in the key than in the value
            self.learn(self.columns_of(m.key_schema))
        if deleted:
            # of a delete only the key counts
            key_row = {k: columns[k].convert(value.get(k)) for k in self.options.primary_key or [] if k in columns}
            key = self.key_of(m, key_row)
            self.require_key(m, key)
            return Change("delete", key, {}, set(), None, seq, epoch, kind, m.partition, known)
        of_key = {*key_values, *(self.options.primary_key or [])}
        left_out = {n for n in columns if n not in of_key and is_left_out(value.get(n))}
        row = {}
        for name, column in columns.items():
            try:
                row[name] = None if name in left_out else column.convert(value.get(name))
            except OutOfRange as e:
                raise OutOfRange(f"{m.partition}/{m.offset} column {name}: {e}") from e
        for name, v in key_values.items():
            row.setdefault(name, v)
        key = self.key_of(m, row)
        self.require_key(m, key)
        row.update(self.of_message(m, operation))
        return Change("upsert", key, row, left_out, self.old_key(m), seq, epoch, kind, m.partition, known)

    @staticmethod
    def require_key(m: Message, key) -> None:
        if key is None:
            raise ValueError(f"{m.partition}/{m.offset}: no key and no primary key named")
        if any(is_left_out(part) for part in key):
            raise ValueError(f"{m.partition}/{m.offset}: the key is left out")

    # --- applying -----------------------------------------------------------------------------

    def apply(self, m: Message) -> None:
        self.last_offsets[m.partition] = m.offset
        if self.options.soft_delete:
            self.types[self.options.soft_delete] = "boolean"
        self.time = m.timestamp
        self.read_past(m)
        change = self.changes(m)
        if change is None:
            return
        for one in (change, change.also):
            if one is not None:
                self.stored.update(one.known if one.op != "upsert" else one.row)
        if self.options.source_order:
            self.apply_in_order(m, change)
        elif change.op == "truncate":
            self.truncate(change)
        else:
            self.apply_change(change)
            if change.also:
                self.apply_change(change.also)

    def apply_in_order(self, m: Message, change: Change) -> None:
        """Applies a change that comes after all that came before it."""
        line = f"{m.partition}/{m.offset} at {m.timestamp}: {m.what or change.op}"
        if change.op == "truncate":
            for key in list(self.rows):
                self.told.setdefault(key, []).append(line)
                self.remove(key)
            return
        for one in (change, change.also):
            if one is None:
                continue
            self.told.setdefault(one.key, []).append(line)
            if one.op == "upsert":
                flag = {self.options.soft_delete: False} if self.options.soft_delete else {}
                self.rows[one.key] = {**one.row, **flag}
            else:
                self.remove(one.key, one.known)

    def apply_change(self, change: Change) -> None:
        key = change.key
        if change.op == "tombstone":
            # one that follows a delete of its key stands or falls with it: what stood is done already
            last, stood = self.last_delete.pop(change.partition, (None, False))
            if last != key or stood:
                self.remove(key, change.known)
            if last != key:
                self.remembered.pop(key, None)
            return
        self.last_delete.pop(change.partition, None)
        stale = self.is_stale(change)
        if change.op == "delete":
            self.last_delete[change.partition] = (key, not stale)
        if stale:
            self.dropped += 1
            return
        if change.op == "delete":
            self.remove(key, change.known)
        else:
            row = self.filled(change)
            if self.options.soft_delete:
                row = {**row, self.options.soft_delete: self.is_below_floor(change)}
            self.rows[key] = row
            self.row_origin[key] = (change.seq, change.epoch, change.partition, self.time)
        if change.snapshot == "no" and change.seq is not None:
            self.remembered[key] = (change.seq, change.epoch, change.partition)
        else:
            self.remembered.pop(key, None)

    def read_past(self, m: Message) -> None:
        """Truncates say nothing about what a partition brings once it has been read past them."""
        for _, time, past in self.floors:
            if m.timestamp > time:
                past.add(m.partition)

    @staticmethod
    def is_before(truncate: Change, truncate_time: int, seq, epoch, partition: int, time: int) -> bool:
        """Whether a change came before the truncate: in its partition it did; positions prove it, otherwise times do."""
        if partition == truncate.partition:
            return True
        if seq is not None and truncate.seq is not None and epoch == truncate.epoch:
            return seq < truncate.seq
        return time < truncate_time

    def is_below_floor(self, change: Change) -> bool:
        """Whether a truncate has removed it, or with soft deletes marked it, that came through another partition."""
        return any(
            change.partition != truncate.partition
            and change.partition not in past
            and self.is_before(truncate, time, change.seq, change.epoch, change.partition, self.time)
            for truncate, time, past in self.floors
        )

    def is_stale(self, change: Change) -> bool:
        if self.is_below_floor(change) and not self.options.soft_delete:
            return True
        known = self.remembered.get(change.key)
        if change.snapshot != "no" or change.seq is None or known is None:
            return False
        # within a partition nothing is dropped for its position
        return known[2] != change.partition and known[1] == change.epoch and change.seq < known[0]

    def filled(self, change: Change) -> dict:
        """The row with left-out values taken from the stored row, or from the old key's."""
        if not change.left_out:
            return change.row
        source_key = change.key if change.old_key is None else change.old_key
        stored = self.rows.get(change.key)
        if change.old_key is not None and (stored is None or stored.get(self.options.soft_delete)):
            # a key update that is sent again finds its row, whatever has become of the old key
            stored = self.rows.get(source_key)
        if stored is None:
            # without an old key: an update that is sent again after its row has moved away
            stored = self.buried.get(source_key)
        row = dict(change.row)
        for name in change.left_out:
            if stored is None:
                self.missing += 1
            row[name] = None if stored is None else stored.get(name)
        return row

    def remove(self, key: tuple, known: dict | None = None) -> None:
        """Takes the row away; where deletes are soft, marks it, with what the change says of itself."""
        if self.options.soft_delete:
            if key in self.rows:
                self.rows[key] = {**self.rows[key], **(known or {}), self.options.soft_delete: True}
            return
        row = self.rows.pop(key, None)
        self.row_origin.pop(key, None)
        if row is not None:
            self.buried[key] = row

    def truncate(self, change: Change) -> None:
        for key, (seq, epoch, partition, time) in list(self.row_origin.items()):
            if self.is_before(change, self.time, seq, epoch, partition, time):
                self.remove(key)
        self.floors.append((change, self.time, set()))

    def result(self) -> Truth:
        names = list(self.types)
        rows = {k: {n: completed(r.get(n), self.types[n]) for n in names} for k, r in self.rows.items()}
        own = {*self.stored, *(self.primary_key or []), self.options.soft_delete}
        optional = {name for name in self.types if name not in own}
        return Truth(
            self.primary_key or [], self.types, rows, self.missing, self.dropped, self.last_offsets, optional, set(), self.told
        )


def replay(messages: list[Message], options: Options, schemas: SchemaSet | None = None) -> Truth:
    machine = Replay(options, schemas)
    for m in messages if options.source_order else interleaved(messages, options.interleave_seed):
        machine.apply(m)
    return machine.result()
